"""huggingface_hub's ``snapshot_download`` and ``hf_hub_download``, served by the command.

Signatures, results, offline rules and exceptions are those of huggingface_hub 2.4. The difference: every
file is verified before its path is returned, even if it was in the cache already.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, NoReturn, overload

from . import _compat, _local, errors
from ._job import Job, logger, remember
from ._run import Stopped
from ._types import Plan, PlannedFile


def _nothing_here(job: Job, why: Exception | None, what: str) -> NoReturn:
    """The file is not on this machine, and the Hub gave nothing: the error says what to change."""
    if isinstance(why, (errors.RepositoryNotFoundError, errors.LocalTokenNotFoundError)):
        raise why
    if isinstance(why, errors.HubError) and getattr(getattr(why, "response", None), "status_code", None) == 401:
        raise why
    if job.local_files_only:
        reason = "'local_files_only=True' is set. To ask the Hub, pass 'local_files_only=False'"
    elif job.offline:
        reason = "the Hub must not be asked. To ask it, set 'HF_HUB_OFFLINE=0' as environment variable"
    else:
        reason = f"the Hub could not be asked ({type(why).__name__}: {why}). Check the connection, and try again"
    error = errors.LocalEntryNotFoundError(f"Cannot find {what} on the local disk, and {reason}.")
    if isinstance(why, errors.Error):
        error.with_details(findings=why.findings, remedy=why.remedy, exit_code=why.exit_code, report=why.report)
    raise error from why


@overload
def snapshot_download(
    repo_id: str,
    *,
    repo_type: str | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_dir: str | Path | None = None,
    library_name: str | None = None,
    library_version: str | None = None,
    user_agent: dict[str, Any] | str | None = None,
    etag_timeout: float = 10,
    force_download: bool = False,
    token: bool | str | None = None,
    local_files_only: bool = False,
    allow_patterns: list[str] | str | None = None,
    ignore_patterns: list[str] | str | None = None,
    max_workers: int = 8,
    tqdm_class: type[Any] | None = None,
    headers: dict[str, str] | None = None,
    endpoint: str | None = None,
    dry_run: Literal[False] = False,
) -> str: ...


@overload
def snapshot_download(
    repo_id: str,
    *,
    repo_type: str | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_dir: str | Path | None = None,
    library_name: str | None = None,
    library_version: str | None = None,
    user_agent: dict[str, Any] | str | None = None,
    etag_timeout: float = 10,
    force_download: bool = False,
    token: bool | str | None = None,
    local_files_only: bool = False,
    allow_patterns: list[str] | str | None = None,
    ignore_patterns: list[str] | str | None = None,
    max_workers: int = 8,
    tqdm_class: type[Any] | None = None,
    headers: dict[str, str] | None = None,
    endpoint: str | None = None,
    dry_run: Literal[True],
) -> list[_compat.DryRunFileInfo]: ...


@overload
def snapshot_download(
    repo_id: str,
    *,
    repo_type: str | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_dir: str | Path | None = None,
    library_name: str | None = None,
    library_version: str | None = None,
    user_agent: dict[str, Any] | str | None = None,
    etag_timeout: float = 10,
    force_download: bool = False,
    token: bool | str | None = None,
    local_files_only: bool = False,
    allow_patterns: list[str] | str | None = None,
    ignore_patterns: list[str] | str | None = None,
    max_workers: int = 8,
    tqdm_class: type[Any] | None = None,
    headers: dict[str, str] | None = None,
    endpoint: str | None = None,
    dry_run: bool = False,
) -> str | list[_compat.DryRunFileInfo]: ...


def snapshot_download(
    repo_id: str,
    *,
    repo_type: str | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_dir: str | Path | None = None,
    library_name: str | None = None,
    library_version: str | None = None,
    user_agent: dict[str, Any] | str | None = None,
    etag_timeout: float = 10,
    force_download: bool = False,
    token: bool | str | None = None,
    local_files_only: bool = False,
    allow_patterns: list[str] | str | None = None,
    ignore_patterns: list[str] | str | None = None,
    max_workers: int = 8,
    tqdm_class: type[Any] | None = None,
    headers: dict[str, str] | None = None,
    endpoint: str | None = None,
    dry_run: bool = False,
) -> str | list[_compat.DryRunFileInfo]:
    """Downloads the files of a repo, as huggingface_hub does, and verifies every one.

    The result is the snapshot's folder, or the resolved ``local_dir``. ``library_name``,
    ``library_version`` and ``user_agent`` are accepted, but not sent.
    """
    job = Job(
        repo_id, repo_type=repo_type, revision=revision, cache_dir=cache_dir, local_dir=local_dir,
        etag_timeout=etag_timeout, force_download=force_download, token=token, local_files_only=local_files_only,
        max_workers=max_workers, tqdm_class=tqdm_class, headers=headers, endpoint=endpoint, shown=repo_id,
    )  # fmt: skip
    why: Exception | None = None
    if not job.offline:
        try:
            return _snapshot(job, allow_patterns, ignore_patterns, dry_run)
        except errors.NotAvailableError as error:
            why = job.refined(error)
            if isinstance(why, errors.RevisionNotFoundError) or error.report is not None:
                raise why from error
        except (errors.NetworkError, Stopped) as error:
            why = error
    if dry_run:
        raise errors.DryRunError(
            "Dry run cannot be performed as the repository cannot be accessed. Please check your internet"
            " connection or authentication token."
        ) from why
    try:
        found = job.from_here(allow_patterns, ignore_patterns, why)
    except errors.NotAvailableError as error:
        # Files without a recorded digest cannot be verified without the Hub.
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise
        found, why = None, why or error
    if found is not None:
        return found
    _nothing_here(job, why, f"a snapshot of '{job.repo_id}' at revision '{job.revision}'")


def _snapshot(job: Job, allow: Any, ignore: Any, dry_run: bool) -> str | list[_compat.DryRunFileInfo]:
    """The snapshot with the Hub's help."""
    if allow is None and ignore is None and not dry_run:
        report = job.fetch_all()
        for file in report.files:
            remember(os.path.join(job.folder(report.commit or ""), *file.path.split("/")))
        return os.path.realpath(report.path)
    plan = job.plan()
    wanted = set(_local.matching((file.path for file in plan.files), allow, ignore))
    files = [file for file in plan.files if file.path in wanted]
    if plan.files and not files:
        logger.warning("No files matched allow_patterns=%r, ignore_patterns=%r.", allow, ignore)
    if dry_run:
        return [_dry(job, plan, file) for file in files]
    if files:
        job.fetch(plan, files)
    return os.path.realpath(job.folder(plan.commit))


def _dry(job: Job, plan: Plan, file: PlannedFile) -> _compat.DryRunFileInfo:
    cached = file.state in ("verified", "cached")
    return _compat.DryRunFileInfo(
        commit_hash=plan.commit,
        file_size=file.size,
        filename=file.path,
        local_path=os.path.join(job.folder(plan.commit), *file.path.split("/")),
        is_cached=cached,
        will_download=job.force or not cached,
    )


@overload
def hf_hub_download(
    repo_id: str,
    filename: str,
    *,
    subfolder: str | None = None,
    repo_type: str | None = None,
    revision: str | None = None,
    library_name: str | None = None,
    library_version: str | None = None,
    cache_dir: str | Path | None = None,
    local_dir: str | Path | None = None,
    user_agent: dict[str, Any] | str | None = None,
    force_download: bool = False,
    etag_timeout: float = 10,
    token: bool | str | None = None,
    local_files_only: bool = False,
    headers: dict[str, str] | None = None,
    endpoint: str | None = None,
    tqdm_class: type[Any] | None = None,
    dry_run: Literal[False] = False,
) -> str: ...


@overload
def hf_hub_download(
    repo_id: str,
    filename: str,
    *,
    subfolder: str | None = None,
    repo_type: str | None = None,
    revision: str | None = None,
    library_name: str | None = None,
    library_version: str | None = None,
    cache_dir: str | Path | None = None,
    local_dir: str | Path | None = None,
    user_agent: dict[str, Any] | str | None = None,
    force_download: bool = False,
    etag_timeout: float = 10,
    token: bool | str | None = None,
    local_files_only: bool = False,
    headers: dict[str, str] | None = None,
    endpoint: str | None = None,
    tqdm_class: type[Any] | None = None,
    dry_run: Literal[True],
) -> _compat.DryRunFileInfo: ...


@overload
def hf_hub_download(
    repo_id: str,
    filename: str,
    *,
    subfolder: str | None = None,
    repo_type: str | None = None,
    revision: str | None = None,
    library_name: str | None = None,
    library_version: str | None = None,
    cache_dir: str | Path | None = None,
    local_dir: str | Path | None = None,
    user_agent: dict[str, Any] | str | None = None,
    force_download: bool = False,
    etag_timeout: float = 10,
    token: bool | str | None = None,
    local_files_only: bool = False,
    headers: dict[str, str] | None = None,
    endpoint: str | None = None,
    tqdm_class: type[Any] | None = None,
    dry_run: bool = False,
) -> str | _compat.DryRunFileInfo: ...


def hf_hub_download(
    repo_id: str,
    filename: str,
    *,
    subfolder: str | None = None,
    repo_type: str | None = None,
    revision: str | None = None,
    library_name: str | None = None,
    library_version: str | None = None,
    cache_dir: str | Path | None = None,
    local_dir: str | Path | None = None,
    user_agent: dict[str, Any] | str | None = None,
    force_download: bool = False,
    etag_timeout: float = 10,
    token: bool | str | None = None,
    local_files_only: bool = False,
    headers: dict[str, str] | None = None,
    endpoint: str | None = None,
    tqdm_class: type[Any] | None = None,
    dry_run: bool = False,
) -> str | _compat.DryRunFileInfo:
    """Downloads one file of a repo, as huggingface_hub does, and verifies it. Returns its path."""
    if subfolder:
        filename = f"{subfolder}/{filename}"
    if not _local.is_safe(filename):
        raise errors.UsageError(f"Invalid filename {filename!r}: it is not a relative path within the repo")
    job = Job(
        repo_id, repo_type=repo_type, revision=revision, cache_dir=cache_dir, local_dir=local_dir,
        etag_timeout=etag_timeout, force_download=force_download, token=token, local_files_only=local_files_only,
        max_workers=8, tqdm_class=tqdm_class, headers=headers, endpoint=endpoint, shown=filename,
    )  # fmt: skip
    # A commit never moves, so files of it that are on this machine need no Hub.
    if _local.is_commit(job.revision) and not job.force and not dry_run and local_dir is None:
        found = job.file_from_here(filename)
        if found is not None:
            return found
    why: Exception | None = None
    if not job.offline:
        try:
            plan = job.plan()
            file = next((file for file in plan.files if file.path == filename), None)
            if file is None:
                if local_dir is None:
                    _local.note_missing(job.storage, plan.commit, filename)
                raise errors.NotAvailableError(f"{job.name} has no file {filename!r} at commit {plan.commit}")
            if dry_run:
                return _dry(job, plan, file)
            job.fetch(plan, [file])
            return remember(os.path.join(job.folder(plan.commit), *filename.split("/")))
        except errors.NotAvailableError as error:
            why = job.refined(error, filename)
            if isinstance(why, (errors.RevisionNotFoundError, errors.RemoteEntryNotFoundError)):
                raise why from error
        except (errors.NetworkError, Stopped) as error:
            why = error
    if job.force:
        raise errors.UsageError(
            "Cannot pass 'force_download=True' and 'local_files_only=True' at the same time."
            if local_files_only
            else "Cannot pass 'force_download=True' where the Hub cannot be asked."
        ) from why
    found = job.file_from_here(filename)
    if found is not None:
        if dry_run:
            commit = job.local_commit() or job.revision
            return _compat.DryRunFileInfo(commit, os.path.getsize(found), filename, found, True, False)
        return found
    _nothing_here(job, why, f"the file '{filename}' of '{job.repo_id}' at revision '{job.revision}'")
