"""The command's own jobs as functions: get, plan, verify, lock, compare. Results are typed values."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import errors
from ._run import Outcome, Progress, run
from ._types import Comparison, LockedRepo, Plan, Report, read

_Path = str | os.PathLike[str]


def flags(**given: Any) -> list[str]:
    """Flags of the command from keyword arguments: ``local_dir="x"`` is ``--local-dir=x``.

    ``None`` and ``False`` give no flag, a list repeats its flag, ``True`` gives the flag without a value.
    """
    words: list[str] = []
    for name, value in given.items():
        flag = "--" + name.replace("_", "-")
        if value is None or value is False:
            continue
        if value is True:
            words.append(flag)
        elif isinstance(value, (str, os.PathLike, int, float)):
            words.append(f"{flag}={os.fspath(value) if isinstance(value, os.PathLike) else value}")
        else:
            words.extend(f"{flag}={one}" for one in value)
    return words


def one(outcome: Outcome, key: str) -> Mapping[str, Any]:
    """The only object under ``key``; raises the error if it describes one."""
    found = outcome.entries(key)
    if len(found) != 1:
        raise errors.Error(f"the command gave {len(found)} {key} where one was asked for")
    return checked(found[0])


def checked(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the object, or raises the error that it describes."""
    if "error" in entry:
        raise errors.of_run(int(entry.get("exit_code", 1)), str(entry["error"]), entry.get("hint"))
    return entry


def report_of(outcome: Outcome, name: str) -> Report:
    """The only report; an error unless the command ended with 0."""
    report = read(Report, one(outcome, "reports"))
    if outcome.code == 0:
        return report
    wrong = [finding for finding in report.findings if finding.severity == "error"]
    text = "; ".join(str(finding) for finding in wrong[:3]) or f"its verdict is {report.verdict!r}"
    if len(wrong) > 3:
        text += f"; and {len(wrong) - 3} more"
    remedy = next((finding.hint for finding in wrong if finding.hint), None)
    raise errors.of_run(outcome.code, f"{name} is not verified: {text}", remedy, report)


def _name(repo: str, repo_type: str | None) -> str:
    if repo_type in (None, "model"):
        return repo
    if repo_type not in ("dataset", "space"):
        raise errors.UnsupportedError(f"repo_type={repo_type!r} is not one of 'model', 'dataset', 'space'")
    return f"{repo_type}s/{repo}"


def get(
    repo: str,
    *,
    repo_type: str | None = None,
    revision: str | None = None,
    prefer: str | None = None,
    only: str | None = None,
    variant: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    all: bool = False,
    subfolder: str | None = None,
    no_code: bool = False,
    cache_dir: _Path | None = None,
    local_dir: _Path | None = None,
    endpoint: str | None = None,
    mirror: Sequence[str] = (),
    to: str | None = None,
    offline: bool = False,
    force: bool = False,
    jobs: int | None = None,
    connections: int | None = None,
    transport: str | None = None,
    limit_rate: str | int | None = None,
    allow: Sequence[str] = (),
    deny: Sequence[str] = (),
    allow_unsafe_pickle: bool = False,
    token: bool | str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Fetches one weight family of a repo with its companions and verifies every file.

    The arguments are the command's flags. The report's ``path`` is the folder.

    Raises:
        VerificationError: A file is wrong, missing or dangerous. ``findings`` says which.
        NotAvailableError: There is no such repo, revision or family, or access is missing.
        NetworkError: The Hub could not be reached, after retries.
        LocalError: This machine failed, for example its disk.
    """
    words = flags(
        revision=revision, prefer=prefer, only=only, variant=variant, include=include, exclude=exclude, all=all,
        subfolder=subfolder, no_code=no_code, cache_dir=cache_dir, local_dir=local_dir, endpoint=endpoint,
        mirror=mirror, to=to, offline=offline, force=force, jobs=jobs, connections=connections,
        transport=transport, limit_rate=limit_rate, allow=allow, deny=deny,
        allow_unsafe_pickle=allow_unsafe_pickle,
    )  # fmt: skip
    name = _name(repo, repo_type)
    return report_of(run([*words, "--json", "--", name], token=token, progress=progress), name)


def plan(
    repo: str,
    *,
    repo_type: str | None = None,
    revision: str | None = None,
    prefer: str | None = None,
    only: str | None = None,
    variant: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    all: bool = False,
    subfolder: str | None = None,
    no_code: bool = False,
    cache_dir: _Path | None = None,
    local_dir: _Path | None = None,
    endpoint: str | None = None,
    offline: bool = False,
    deep: bool = False,
    token: bool | str | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Shows what :func:`get` would fetch, and what it would leave out and why. Fetches no weights.

    With ``deep`` the headers of all shards are compared with the index; differences are in
    ``findings``. Raises the same errors as :func:`get`, except ``VerificationError``.
    """
    words = flags(
        revision=revision, prefer=prefer, only=only, variant=variant, include=include, exclude=exclude, all=all,
        subfolder=subfolder, no_code=no_code, cache_dir=cache_dir, local_dir=local_dir, endpoint=endpoint,
        offline=offline, deep=deep,
    )  # fmt: skip
    outcome = run(["plan", *words, "--json", "--", _name(repo, repo_type)], token=token, progress=progress)
    return read(Plan, one(outcome, "plans"))


def verify(
    target: _Path | None = None,
    *,
    lock: _Path | None = None,
    repo_type: str | None = None,
    revision: str | None = None,
    cache_dir: _Path | None = None,
    local_dir: _Path | None = None,
    endpoint: str | None = None,
    offline: bool = False,
    deep: bool = False,
    allow: Sequence[str] = (),
    deny: Sequence[str] = (),
    allow_unsafe_pickle: bool = False,
    token: bool | str | None = None,
    progress: Progress | None = None,
) -> tuple[Report, ...]:
    """Checks files on this machine: a repo in the cache, a folder (as a ``Path``), or a lockfile's repos.

    A string names a repo, and a :class:`~pathlib.Path` names a folder. Returns a report for each.

    Raises:
        VerificationError: Something is wrong. The error has the first wrong ``report``.
        NotAvailableError: There is nothing to verify.
    """
    words = flags(
        lock=lock, revision=revision, cache_dir=cache_dir, local_dir=local_dir, endpoint=endpoint,
        offline=offline, deep=deep, allow=allow, deny=deny, allow_unsafe_pickle=allow_unsafe_pickle,
    )  # fmt: skip
    names: list[str] = []
    if isinstance(target, os.PathLike):
        names = [str(Path(target).absolute())]
    elif target is not None:
        names = [_name(target, repo_type)]
    outcome = run(["verify", *words, "--json", "--", *names], token=token, progress=progress)
    reports = tuple(read(Report, checked(entry)) for entry in outcome.entries("reports"))
    if outcome.code == 0 and reports:
        return reports
    for report in reports:
        if not report.verified:
            alone = Outcome(outcome.code, {"reports": [_entry(outcome, report)]}, outcome.said)
            return (report_of(alone, report.repo or report.path),)
    raise errors.of_run(outcome.code or 3, "\n".join(outcome.said) or "there was nothing to verify")


def _entry(outcome: Outcome, report: Report) -> Mapping[str, Any]:
    """The JSON object of a report."""
    return next(entry for entry in outcome.entries("reports") if read(Report, entry) == report)


def lock(
    *repos: str,
    file: _Path = "hfget.lock",
    revision: str | None = None,
    prefer: str | None = None,
    only: str | None = None,
    variant: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    all: bool = False,
    subfolder: str | None = None,
    no_code: bool = False,
    endpoint: str | None = None,
    check: bool = False,
    update: bool = False,
    token: bool | str | None = None,
    progress: Progress | None = None,
) -> tuple[LockedRepo, ...]:
    """Records the exact commit, files, sizes and digests of each repo in a lockfile.

    With ``check`` nothing is written, and ``moved`` says whether the Hub has changed since. With ``update`` the
    repos of the lockfile are locked again with their recorded options.
    """
    words = flags(
        lock=file, revision=revision, prefer=prefer, only=only, variant=variant, include=include,
        exclude=exclude, all=all, subfolder=subfolder, no_code=no_code, endpoint=endpoint, check=check,
        update=update,
    )  # fmt: skip
    outcome = run(["lock", *words, "--json", "--", *repos], token=token, progress=progress)
    found = tuple(read(LockedRepo, checked(entry)) for entry in outcome.entries("locks"))
    if outcome.code != 0 and not (check and any(repo.moved for repo in found)):
        raise errors.of_run(outcome.code, "\n".join(outcome.said) or "the repos could not be locked")
    return found


def locked(
    file: _Path = "hfget.lock",
    *,
    repos: Iterable[str] = (),
    cache_dir: _Path | None = None,
    local_dir: _Path | None = None,
    endpoint: str | None = None,
    mirror: Sequence[str] = (),
    offline: bool = False,
    force: bool = False,
    allow: Sequence[str] = (),
    deny: Sequence[str] = (),
    token: bool | str | None = None,
    progress: Progress | None = None,
) -> tuple[Report, ...]:
    """Fetches exactly the files of a lockfile, or fails. Without ``repos`` it fetches all repos of the lockfile."""
    words = flags(
        locked=file, cache_dir=cache_dir, local_dir=local_dir, endpoint=endpoint, mirror=mirror,
        offline=offline, force=force, allow=allow, deny=deny,
    )  # fmt: skip
    outcome = run([*words, "--json", "--", *repos], token=token, progress=progress)
    if outcome.code != 0:
        for entry in outcome.entries("reports"):
            alone = Outcome(outcome.code, {"reports": [entry]}, outcome.said)
            if "error" in entry or not entry.get("verified"):
                report_of(alone, str(entry.get("repo", file)))
    return tuple(read(Report, checked(entry)) for entry in outcome.entries("reports"))


def compare(
    repo: str,
    mirror: str,
    *,
    repo_type: str | None = None,
    revision: str | None = None,
    level: str | None = None,
    endpoint: str | None = None,
    allow_host: Sequence[str] = (),
    prefer: str | None = None,
    only: str | None = None,
    variant: str | None = None,
    token: bool | str | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Compares a mirror with the Hub: by ``metadata``, ``sample`` or ``full``.

    If the mirror differs, no exception is raised: ``exit_code`` is 1, and ``findings`` names the differences.
    """
    words = flags(
        mirror=mirror, revision=revision, level=level, endpoint=endpoint, allow_host=allow_host, prefer=prefer,
        only=only, variant=variant,
    )  # fmt: skip
    outcome = run(["compare", *words, "--json", "--", _name(repo, repo_type)], token=token, progress=progress)
    return read(Comparison, one(outcome, "comparisons"))
