"""Replaces huggingface_hub's two download functions in this process, and restores them."""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from . import _hub, _job
from ._find import find

logger = logging.getLogger("hfget")

_originals: dict[str, Callable[..., Any]] = {}
_HOMES = {"snapshot_download": "huggingface_hub._snapshot_download", "hf_hub_download": "huggingface_hub.file_download"}


def _serving(name: str, original: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
    known = set(inspect.signature(ours).parameters)

    @functools.wraps(original)
    def serve(*args: Any, **kwargs: Any) -> Any:
        # Loaders still pass arguments that huggingface_hub dropped; `None` means that they are not set.
        kwargs = {key: value for key, value in kwargs.items() if key in known or value is not None}
        why = _job.cannot_serve(repo_type=kwargs.get("repo_type"), headers=kwargs.get("headers"))
        unknown = sorted(set(kwargs) - known)
        if why is None and unknown:
            why = f"it has no argument {', '.join(unknown)}"
        if why is not None:
            logger.warning("%s goes to huggingface_hub unverified: hfget cannot serve this call (%s)", name, why)
            return original(*args, **kwargs)
        return ours(*args, **kwargs)

    serve.__hfget__ = True  # type: ignore[attr-defined]
    return serve


def _replace(old: Callable[..., Any], new: Callable[..., Any]) -> None:
    """Replaces ``old`` by ``new`` in every loaded module, under whatever name."""
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", None)
        if not isinstance(names, dict):
            continue
        for name, value in list(names.items()):
            if value is old:
                setattr(module, name, new)


def _policy(flag: str, codes: Sequence[str]) -> list[str]:
    named = ",".join(codes) or os.environ.get(f"HFGET_PATCH_{flag.upper()}", "")
    return [f"--{flag}={named}"] if named else []


def patch(*, allow: Sequence[str] = (), deny: Sequence[str] = ()) -> None:
    """Replaces ``snapshot_download`` and ``hf_hub_download`` of huggingface_hub by hfget's.

    Modules that have imported the two already get the new ones too. A call that hfget cannot serve (repos of
    type ``kernel``, calls with ``headers``) goes to the original with a warning of the logger ``hfget``.
    ``allow`` and ``deny`` are codes of findings, as of the command. Calling it again changes only those.

    Raises:
        CommandNotFoundError: The command is not installed. Nothing is patched then.
        ImportError: huggingface_hub is not installed.
    """
    find()
    _job.policy[:] = _policy("allow", allow) + _policy("deny", deny)
    if _originals:
        return
    package = importlib.import_module("huggingface_hub")
    for name, home in _HOMES.items():
        original = getattr(importlib.import_module(home), name)
        new = _serving(name, original, getattr(_hub, name))
        _originals[name] = original
        _replace(original, new)
        # The package imports its names on demand.
        setattr(package, name, new)


def unpatch() -> None:
    """Restores huggingface_hub's own functions."""
    for name, home in _HOMES.items():
        original = _originals.pop(name, None)
        if original is not None:
            _replace(getattr(importlib.import_module(home), name), original)
    _job.policy.clear()
