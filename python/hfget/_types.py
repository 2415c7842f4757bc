"""The command's JSON as typed values. Keys that this version does not know are ignored."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One fact about a repo or one of its files: an error, a warning or a note."""

    code: str
    #: ``error``, ``warning`` or ``note``.
    severity: str
    #: One sentence. It may quote names from the repo: escape it before you print it.
    message: str
    #: The file, or ``None`` if the finding is about the repo.
    path: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        where = f"{self.path!r}: " if self.path is not None else ""
        return f"{self.severity}[{self.code}] {where}{self.message}"


@dataclasses.dataclass(frozen=True)
class Weights:
    """The weights of one folder of the repo."""

    #: The folder. It is empty for the root.
    scope: str
    family: str
    files: int
    variant: str | None = None
    index: str | None = None
    sound: bool | None = None


@dataclasses.dataclass(frozen=True)
class VerifiedFile:
    """One file of a report, with the evidence about its bytes."""

    path: str
    size: int
    purpose: str
    #: ``fetched``, ``checked``, ``already-verified``, ``unchecked`` or ``failed``.
    status: str
    #: Who stated the file's digest.
    against: str
    #: ``hashed``, ``xet-merkle``, ``recorded``, ``stated``, ``unread``, ``absent`` or ``wrong``.
    evidence: str
    algorithm: str | None = None
    digest: str | None = None


@dataclasses.dataclass(frozen=True)
class Totals:
    """Sums over a report's files."""

    files: int = 0
    bytes: int = 0
    bytes_fetched: int = 0
    bytes_over_xet: int = 0
    bytes_hashed: int = 0
    digests: int = 0
    tensors: int = 0
    indexed: int = 0
    parameters: int = 0
    milliseconds: int = 0


@dataclasses.dataclass(frozen=True)
class Report:
    """The result for one repo or folder."""

    #: ``verified``, ``contents-only``, ``failed`` or ``nothing``.
    verdict: str
    verified: bool
    already_verified: bool
    #: The folder, or the object store's URL.
    path: str
    weights: tuple[Weights, ...]
    files: tuple[VerifiedFile, ...]
    findings: tuple[Finding, ...]
    totals: Totals
    against: str | None = None
    repo: str | None = None
    repo_type: str | None = None
    revision: str | None = None
    commit: str | None = None


@dataclasses.dataclass(frozen=True)
class PlannedFile:
    """One file that would be taken."""

    path: str
    size: int
    algorithm: str
    digest: str
    purpose: str
    reason: str
    #: ``verified``, ``cached``, ``resume`` or ``fetch``.
    state: str
    bytes_here: int | None = None


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """Files that would not be taken, all for the same reason."""

    reason: str
    bytes: int
    paths: tuple[str, ...]
    family: str | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """The plan for one repo: the files that would be fetched, and those that are left out."""

    repo: str
    repo_type: str
    canonical_repo: str
    revision: str
    commit: str
    private: bool
    gated: str
    weights: tuple[Weights, ...]
    files: tuple[PlannedFile, ...]
    left_out: tuple[LeftOut, ...]
    findings: tuple[Finding, ...]
    bytes: int
    bytes_to_fetch: int
    bytes_left_out: int
    free_space: int | None = None
    license: str | None = None


@dataclasses.dataclass(frozen=True)
class LockedRepo:
    """A repo of a lockfile, and its changes."""

    repo: str
    revision: str
    commit: str
    moved: bool
    #: ``~ PATH``, ``+ PATH`` or ``- PATH``, with figures.
    changes: tuple[str, ...]
    files: int
    bytes: int
    locked_commit: str | None = None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The result of comparing a mirror with the Hub."""

    repo: str
    repo_type: str
    revision: str
    endpoint: str
    mirror: str
    level: str
    #: The command's word. Scripts should compare ``exit_code``.
    result: str
    exit_code: int
    findings: tuple[Finding, ...]
    bytes: int = 0
    milliseconds: int = 0
    listed: int = 0
    seed: int | None = None
    commit: str | None = None
    mirror_commit: str | None = None


@dataclasses.dataclass(frozen=True)
class Event:
    """One event of a run. Later versions may add events and keys: ignore those that you do not know."""

    #: Such as ``planned``, ``bytes``, ``file-done`` or ``retry``.
    name: str
    fields: Mapping[str, Any]

    @property
    def path(self) -> str | None:
        """The file that the event is about."""
        value = self.fields.get("path")
        return value if isinstance(value, str) else None


_NESTED: dict[str, type[Any]] = {"weights": Weights, "findings": Finding, "left_out": LeftOut}


def read(kind: type[_T], value: Mapping[str, Any]) -> _T:
    """Makes a ``kind`` from a JSON object."""
    known: dict[str, Any] = {}
    planned = issubclass(kind, Plan)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.name not in value:
            continue
        given = value[field.name]
        inner = _NESTED.get(field.name)
        if field.name == "files" and isinstance(given, list):
            inner = PlannedFile if planned else VerifiedFile
        if field.name == "totals" and isinstance(given, Mapping):
            known[field.name] = read(Totals, given)
        elif inner is not None and isinstance(given, list):
            known[field.name] = tuple(read(inner, one) for one in given)
        elif isinstance(given, list):
            known[field.name] = tuple(given)
        else:
            known[field.name] = given
    return kind(**known)
