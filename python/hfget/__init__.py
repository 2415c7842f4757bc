"""hfget downloads Hugging Face repositories and verifies every file.

``snapshot_download`` and ``hf_hub_download`` are those of huggingface_hub, with every file verified.
``get``, ``plan``, ``verify``, ``lock``, ``locked`` and ``compare`` are the command's own jobs.
``patch`` replaces huggingface_hub's two functions for every loader in this process.
"""

from ._api import compare, get, lock, locked, plan, verify
from ._compat import DryRunFileInfo
from ._find import find as find_command
from ._hub import hf_hub_download, snapshot_download
from ._patch import patch, unpatch
from ._progress import TqdmProgress
from ._types import (
    Comparison,
    Event,
    Finding,
    LeftOut,
    LockedRepo,
    Plan,
    PlannedFile,
    Report,
    Totals,
    VerifiedFile,
    Weights,
)
from ._version import __version__
from .errors import (
    CommandNotFoundError,
    Error,
    LocalError,
    NetworkError,
    NotAvailableError,
    UnsupportedError,
    UsageError,
    VerificationError,
)

__all__ = [
    "CommandNotFoundError",
    "Comparison",
    "DryRunFileInfo",
    "Error",
    "Event",
    "Finding",
    "LeftOut",
    "LocalError",
    "LockedRepo",
    "NetworkError",
    "NotAvailableError",
    "Plan",
    "PlannedFile",
    "Report",
    "Totals",
    "TqdmProgress",
    "UnsupportedError",
    "UsageError",
    "VerificationError",
    "VerifiedFile",
    "Weights",
    "__version__",
    "compare",
    "find_command",
    "get",
    "hf_hub_download",
    "lock",
    "locked",
    "patch",
    "plan",
    "snapshot_download",
    "unpatch",
    "verify",
]
