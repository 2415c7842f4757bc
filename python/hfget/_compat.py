"""The base classes of our errors: huggingface_hub's, or stand-ins if it is not installed."""

from __future__ import annotations

import dataclasses

try:
    from huggingface_hub.errors import (
        DisabledRepoError,
        DryRunError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        IncompleteSnapshotError,
        LocalEntryNotFoundError,
        LocalTokenNotFoundError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.file_download import DryRunFileInfo

    INSTALLED = True
except ImportError:
    INSTALLED = False

    class HfHubHTTPError(OSError):
        """The Hub answered with an error."""

        def __init__(self, message, *, response=None, server_message=None):
            super().__init__(message)
            self.response = response
            self.server_message = server_message

    class RepositoryNotFoundError(HfHubHTTPError):
        """There is no such repo, or it is private."""

    class GatedRepoError(RepositoryNotFoundError):
        """Access to the repo must be granted first."""

    class DisabledRepoError(HfHubHTTPError):
        """The Hub disabled the repo."""

    class RevisionNotFoundError(HfHubHTTPError):
        """The repo has no such revision."""

    class EntryNotFoundError(Exception):
        """There is no such file."""

    class RemoteEntryNotFoundError(HfHubHTTPError, EntryNotFoundError):
        """The repo has no such file."""

    class LocalEntryNotFoundError(FileNotFoundError, EntryNotFoundError):
        """The file is not on this machine, and the Hub cannot be asked."""

        def __init__(self, message):
            super().__init__(message)

    class IncompleteSnapshotError(LocalEntryNotFoundError):
        """Files of the snapshot are missing here, and the Hub cannot be asked."""

        def __init__(self, message, snapshot_path):
            super().__init__(message)
            self.snapshot_path = snapshot_path

    class LocalTokenNotFoundError(OSError):
        """A token is required, and there is none."""

    class DryRunError(OSError):
        """A dry run needs the Hub."""

    class HFValidationError(ValueError):
        """The name of a repo is not valid."""

    @dataclasses.dataclass
    class DryRunFileInfo:
        """The result of a dry run for one file."""

        commit_hash: str
        file_size: int | None
        filename: str
        local_path: str
        is_cached: bool
        will_download: bool


__all__ = [
    "INSTALLED",
    "DisabledRepoError",
    "DryRunError",
    "DryRunFileInfo",
    "GatedRepoError",
    "HFValidationError",
    "HfHubHTTPError",
    "IncompleteSnapshotError",
    "LocalEntryNotFoundError",
    "LocalTokenNotFoundError",
    "RemoteEntryNotFoundError",
    "RepositoryNotFoundError",
    "RevisionNotFoundError",
]
