"""Every error of this package. Each has the findings and the next step.

If huggingface_hub is installed, the errors that it has too are subclasses of its own, so that code
that catches those catches these.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import _compat
from ._types import Finding, Report


class Error(Exception):
    """The base class of all errors of hfget."""

    #: The findings, if files were checked.
    findings: tuple[Finding, ...] = ()
    #: The next step, in one sentence.
    remedy: str | None = None
    #: The command's exit code, if it ran.
    exit_code: int | None = None
    #: The report, if there is one.
    report: Report | None = None

    def with_details(
        self,
        *,
        findings: Iterable[Finding] = (),
        remedy: str | None = None,
        exit_code: int | None = None,
        report: Report | None = None,
    ) -> Error:
        """Adds facts besides the message; returns the error itself."""
        self.findings = tuple(findings)
        self.remedy = remedy
        self.exit_code = exit_code
        self.report = report
        return self


class CommandNotFoundError(Error, FileNotFoundError):
    """The command ``hfget`` of this package's version was not found. The message lists the searched places."""


class UsageError(Error, ValueError):
    """An argument is not valid (exit code 2)."""


class UnsupportedError(Error, ValueError):
    """hfget cannot do this, although huggingface_hub can."""


class VerificationError(Error, OSError):
    """Files are wrong, missing or dangerous (exit code 1): see ``findings``."""


class NotAvailableError(Error, OSError):
    """A repo, revision, file or family does not exist, or access is missing (exit code 3)."""


class NetworkError(Error, ConnectionError):
    """The network or the Hub failed, after retries (exit code 4). Run again: the bytes that arrived are kept."""


class LocalError(Error, OSError):
    """This machine failed: a full disk, missing permissions, something in the way (exit code 5)."""


class RepositoryNotFoundError(NotAvailableError, _compat.RepositoryNotFoundError):
    """There is no such repo, or it is private and the token gives no access to it."""


class GatedRepoError(RepositoryNotFoundError, _compat.GatedRepoError):
    """Access to the repo must be granted first."""


class DisabledRepoError(NotAvailableError, _compat.DisabledRepoError):
    """The Hub disabled the repo."""


class RevisionNotFoundError(NotAvailableError, _compat.RevisionNotFoundError):
    """The repo has no such revision."""


class RemoteEntryNotFoundError(NotAvailableError, _compat.RemoteEntryNotFoundError):
    """The repo has no such file."""


class HubError(NotAvailableError, _compat.HfHubHTTPError):
    """The Hub answered with another error."""


class LocalEntryNotFoundError(NotAvailableError, _compat.LocalEntryNotFoundError):
    """The file or snapshot is not on this machine, and the Hub cannot be asked."""


class IncompleteSnapshotError(LocalEntryNotFoundError, _compat.IncompleteSnapshotError):
    """Files of the snapshot are missing here, and the Hub cannot be asked."""

    def __init__(self, message: str, snapshot_path: str) -> None:
        _compat.IncompleteSnapshotError.__init__(self, message, snapshot_path)


class LocalTokenNotFoundError(Error, _compat.LocalTokenNotFoundError):
    """A token is required, and there is none on this machine."""


class DryRunError(Error, _compat.DryRunError):
    """The Hub cannot be asked, so a dry run has no result."""


class InvalidRepoIdError(UsageError, _compat.HFValidationError):
    """The name of the repo is not valid."""


BY_EXIT_CODE: dict[int, type[Error]] = {
    1: VerificationError,
    2: UsageError,
    3: NotAvailableError,
    4: NetworkError,
    5: LocalError,
}


def of_run(exit_code: int, message: str, remedy: str | None = None, report: Report | None = None, **more: Any) -> Error:
    """The error class of an exit code."""
    findings = report.findings if report is not None else ()
    kind = BY_EXIT_CODE.get(exit_code, Error)
    return kind(message).with_details(
        findings=more.get("findings", findings), remedy=remedy, exit_code=exit_code, report=report
    )
