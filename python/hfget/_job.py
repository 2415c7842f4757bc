"""One call of huggingface_hub's functions as runs of the command: plan, fetch, serve local files, raise the right error."""

from __future__ import annotations

import importlib
import logging
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import _api, _compat, _local, errors
from ._ask import ask, error_of, file_url, revision_url
from ._progress import TqdmProgress
from ._run import Progress, Stopped, run
from ._types import Event, Plan, PlannedFile, Report, read

logger = logging.getLogger("hfget")

_TYPES = ("model", "dataset", "space", "kernel")
_ID = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]*/)?[A-Za-z0-9_][A-Za-z0-9._-]*")
_OFFLINE = "Outgoing traffic is disabled ('local_files_only=True' or HF_HUB_OFFLINE)."

#: The files that this process has seen verified, by path. A file that has changed since is verified again.
_seen: dict[str, _local.Stamp] = {}
#: Flags that `patch` adds to each run.
policy: list[str] = []


class Job:
    """One call: its arguments as flags of the command."""

    def __init__(
        self,
        repo_id: str,
        *,
        repo_type: str | None,
        revision: str | None,
        cache_dir: str | Path | None,
        local_dir: str | Path | None,
        etag_timeout: float,
        force_download: bool,
        token: bool | str | None,
        local_files_only: bool,
        max_workers: int,
        tqdm_class: Any,
        headers: dict[str, str] | None,
        endpoint: str | None,
        shown: str,
    ) -> None:
        why = cannot_serve(repo_type=repo_type, headers=headers)
        _check_id(repo_id)
        if repo_type is not None and repo_type not in _TYPES:
            raise errors.UsageError(f"Invalid repo type: {repo_type}. Accepted repo types are: {list(_TYPES)}")
        if why is not None:
            raise errors.UnsupportedError(why)
        self.repo_id, self.repo_type = repo_id, repo_type or "model"
        self.name = repo_id if self.repo_type == "model" else f"{self.repo_type}s/{repo_id}"
        resolved = getattr(revision, "resolved", None)
        self.revision: str = resolved if isinstance(resolved, str) else (revision or "main")
        self.cache = str(Path(cache_dir or _local.cache_dir()).expanduser().resolve())
        self.local_dir = None if local_dir is None else str(Path(local_dir).expanduser().resolve())
        self.storage = _local.storage_folder(self.cache, self.repo_type, repo_id)
        self.endpoint = endpoint or _local.endpoint()
        self.force, self.token = force_download, token
        self.offline = local_files_only or _local.is_offline()
        self.local_files_only = local_files_only
        self.workers = None if max_workers == 8 else min(256, max(1, max_workers))
        self.extra = {}
        if etag_timeout != 10 and "HF_HUB_ETAG_TIMEOUT" not in os.environ:
            self.extra["HF_HUB_ETAG_TIMEOUT"] = str(max(1, int(etag_timeout)))
        self.bar = TqdmProgress(tqdm_class, shown)

    def _where(self) -> list[str]:
        place = {"local_dir": self.local_dir} if self.local_dir is not None else {"cache_dir": self.cache}
        return _api.flags(**place, endpoint=self.endpoint)

    def plan(self, *, offline: bool = False, revision: str | None = None) -> Plan:
        """Every file of the repo, with its state here."""
        words = _api.flags(all=True, revision=revision or self.revision, offline=offline)
        watch: Progress | None = None
        if not offline and self.local_commit() is not None:
            watch = _only_if_the_hub_answers()
        outcome = run(
            ["plan", *words, *self._where(), "--json", "--", self.name],
            token=self.token, progress=watch, extra=self.extra,
        )  # fmt: skip
        return read(Plan, _api.one(outcome, "plans"))

    def fetch_all(self) -> Report:
        """Fetches and verifies the whole repo."""
        words = _api.flags(all=True, revision=self.revision, force=self.force, jobs=self.workers)
        watch = _only_if_the_hub_answers(self.bar) if self.local_commit() is not None else self.bar
        with self.bar:
            outcome = run(
                [*words, *policy, *self._where(), "--json", "--", self.name],
                token=self.token, progress=watch, extra=self.extra,
            )  # fmt: skip
        return _api.report_of(outcome, self.name)

    def fetch(self, plan: Plan, files: Sequence[PlannedFile], *, offline: bool = False) -> Report:
        """Fetches and verifies exactly these files: the command takes them from a lockfile."""
        with tempfile.TemporaryDirectory(prefix="hfget-") as folder:
            lock = Path(folder) / "files.lock"
            lock.write_text(_lock_text(plan, self.revision, files), encoding="utf-8")
            words = _api.flags(locked=lock, force=self.force and not offline, jobs=self.workers, offline=offline)
            with self.bar:
                outcome = run(
                    [*words, *policy, *self._where(), "--json"],
                    token=self.token, progress=self.bar, extra=self.extra,
                )  # fmt: skip
        return _api.report_of(outcome, self.name)

    def local_commit(self) -> str | None:
        """The commit, if any of its files is on this machine."""
        commit = _local.cached_commit(self.storage, self.revision)
        if self.local_dir is not None:
            return commit or ("" if os.path.isdir(self.local_dir) and os.listdir(self.local_dir) else None)
        if commit is not None and os.path.isdir(os.path.join(self.storage, "snapshots", commit)):
            return commit
        return None

    def folder(self, commit: str) -> str:
        """The folder of a commit's files."""
        return self.local_dir or os.path.join(self.storage, "snapshots", commit)

    def from_here(self, allow: Any, ignore: Any, why: Exception | None) -> str | None:
        """The folder on this machine, verified without the Hub, or ``None`` if there is none."""
        commit = self.local_commit()
        if commit is None:
            return None
        folder = self.folder(commit)
        kept = os.path.join(folder, ".cache", "huggingface") if self.local_dir else self.storage
        listed = _local.kept_tree(kept, commit) if commit else None
        wanted = _local.matching(listed or (), allow, ignore)
        missing = [path for path in wanted if not os.path.isfile(os.path.join(folder, *path.split("/")))]
        if missing:
            sample = ", ".join(missing[:3]) + (f", ... ({len(missing) - 3} more)" if len(missing) > 3 else "")
            reason = f"The Hub could not be reached ({type(why).__name__}: {why})." if why else _OFFLINE
            raise errors.IncompleteSnapshotError(
                f"The cached snapshot for '{self.repo_id}' (revision '{self.revision}', commit {commit}) is"
                f" incomplete: {len(missing)} file(s) are missing ({sample}). {reason} Re-run the download with"
                " network access to complete the snapshot.",
                folder,
            ) from why
        if self.local_dir is not None:
            logger.warning("the Hub is not asked; %s is verified without changes", self.local_dir)
        plan = self.plan(offline=True, revision=commit or None)
        paths = _local.matching((f.path for f in plan.files if f.state in ("verified", "cached")), allow, ignore)
        here = [f for f in plan.files if f.path in set(paths)]
        if here:
            self.fetch(plan, here, offline=True)
        return folder

    def file_from_here(self, filename: str) -> str | None:
        """The path of a file on this machine, verified without the Hub, or ``None`` if there is none."""
        commit = self.local_commit()
        if commit is None:
            return None
        path = os.path.join(self.folder(commit), *filename.split("/"))
        if not os.path.isfile(path):
            return None
        if path in _seen and _seen[path] == _local.stamp(path):
            return path
        try:
            plan = self.plan(offline=True, revision=commit or None)
        except errors.NotAvailableError:
            return None
        here = [f for f in plan.files if f.path == filename and f.state in ("verified", "cached")]
        if not here:
            return None
        self.fetch(plan, here, offline=True)
        return remember(path)

    def refined(self, error: errors.NotAvailableError, filename: str | None = None) -> errors.NotAvailableError:
        """The error as huggingface_hub raises it; asks the Hub which one it is."""
        url = revision_url(self.endpoint, self.repo_type, self.repo_id, self.revision)
        found = error_of(ask("GET", url, self.token), str(error))
        if found is None and filename is not None:
            url = file_url(self.endpoint, self.repo_type, self.repo_id, self.revision, filename)
            found = error_of(ask("HEAD", url, self.token), str(error), on_file=True)
        if found is None:
            return error
        found.with_details(
            findings=error.findings, remedy=error.remedy, exit_code=error.exit_code, report=error.report
        )
        return found


class _only_if_the_hub_answers:
    """Ends a run at the first failed try to reach the Hub: files on this machine can be served instead."""

    def __init__(self, then: Progress | None = None) -> None:
        self._then, self._reached = then, False

    def __call__(self, event: Event) -> None:
        self._reached = self._reached or event.name in ("resolved", "planned")
        if event.name == "retry" and not self._reached:
            raise Stopped(str(event.fields.get("why", "the Hub does not answer")))
        if self._then is not None:
            self._then(event)


def _check_id(repo_id: Any) -> None:
    if _compat.INSTALLED:
        try:
            importlib.import_module("huggingface_hub.utils").validate_repo_id(repo_id)
        except _compat.HFValidationError as why:
            raise errors.InvalidRepoIdError(str(why)) from why
    elif not isinstance(repo_id, str) or len(repo_id) > 96 or not _ID.fullmatch(repo_id):
        raise errors.InvalidRepoIdError(f"{repo_id!r} is not the name of a repo, such as 'owner/name' or 'name'")


def cannot_serve(*, repo_type: str | None, headers: dict[str, str] | None) -> str | None:
    """Why the command cannot do what these arguments ask, or ``None`` if it can."""
    if repo_type == "kernel":
        return "hfget does not fetch repos of type 'kernel'"
    if headers:
        return "hfget sends no headers of the caller's"
    return None


def _toml(text: str) -> str:
    """A text in the form of TOML."""
    short = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(short.get(c) or (f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else c) for c in text) + '"'


def _lock_text(plan: Plan, revision: str, files: Sequence[PlannedFile]) -> str:
    """A lockfile of these files."""
    lines = ["version = 1", "", "[[repo]]", f"id = {_toml(plan.repo)}", f'type = "{plan.repo_type}"']
    lines += [f"revision = {_toml(revision)}", f'commit = "{plan.commit}"', "files = ["]
    for file in files:
        digest = "sha256" if file.algorithm == "sha256" else "git"
        lines.append(f'  {{ path = {_toml(file.path)}, size = {file.size}, {digest} = "{file.digest}" }},')
    return "\n".join([*lines, "]", ""])


def remember(path: str) -> str:
    found = _local.stamp(path)
    if found is not None:
        _seen[path] = found
    return path
