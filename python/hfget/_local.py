"""Facts about this machine: the cache's folder, the last commit of a revision, the files of a kept listing.

The rules are those of huggingface_hub. If it is loaded, its own values are used, because a program may have
changed them.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath
from typing import Any

_COMMIT = re.compile(r"[0-9a-f]{40}")
_TRUE = ("1", "ON", "YES", "TRUE")
#: The largest kept listing. It has one line for each file, so a real one is far smaller.
_LISTING_LIMIT = 1 << 30


def _constant(name: str) -> Any:
    """A value of ``huggingface_hub.constants``, if a program has loaded it."""
    return getattr(sys.modules.get("huggingface_hub.constants"), name, None)


def cache_dir() -> str:
    """The Hub cache's folder."""
    loaded = _constant("HF_HUB_CACHE")
    if isinstance(loaded, (str, Path)):
        return str(loaded)
    env = os.environ.get

    def path(value: str) -> str:
        return os.path.expandvars(os.path.expanduser(value))

    home = env("HF_HOME") or os.path.join(env("XDG_CACHE_HOME") or os.path.join("~", ".cache"), "huggingface")
    return path(env("HF_HUB_CACHE") or env("HUGGINGFACE_HUB_CACHE") or os.path.join(path(home), "hub"))


def endpoint() -> str | None:
    """The endpoint that a program set in huggingface_hub, if it differs from the environment's."""
    loaded = _constant("ENDPOINT")
    return loaded if isinstance(loaded, str) else os.environ.get("HF_ENDPOINT") or None


def is_offline() -> bool:
    """Whether the Hub must not be asked."""
    loaded = _constant("is_offline_mode")
    if callable(loaded):
        return bool(loaded())
    named = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return named.upper() in _TRUE


def is_commit(revision: str) -> bool:
    """Whether the revision is a whole commit id, which never moves."""
    return _COMMIT.fullmatch(revision) is not None


def storage_folder(cache: str, repo_type: str, repo_id: str) -> str:
    """The folder of a repo in the cache."""
    return os.path.join(cache, "--".join([f"{repo_type}s", *repo_id.split("/")]))


def cached_commit(storage: str, revision: str) -> str | None:
    """The commit of the revision when it was last fetched."""
    if is_commit(revision):
        return revision
    if not is_safe(revision):
        return None
    try:
        with open(os.path.join(storage, "refs", *revision.split("/")), encoding="ascii") as file:
            commit = file.read(64).strip()
    except (OSError, UnicodeDecodeError):
        return None
    return commit if is_commit(commit) else None


def kept_tree(folder: str, commit: str) -> list[str] | None:
    """The paths of the listing that huggingface_hub keeps of a whole repo, or ``None``."""
    try:
        path = os.path.join(folder, "trees", f"{commit}.json")
        if os.path.getsize(path) > _LISTING_LIMIT:
            return None
        with open(path, encoding="utf-8") as file:
            files = json.load(file)["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return [str(name) for name in files] if isinstance(files, dict) else None


def is_safe(name: str) -> bool:
    """Whether a relative name stays below its folder, on this system and on Windows."""
    parts = name.replace("\\", "/").split("/")
    drives = any(PureWindowsPath(part).anchor for part in name.split("/"))
    return bool(name) and not any(part in ("", ".", "..") for part in parts) and not drives


def note_missing(storage: str, commit: str, filename: str) -> None:
    """Notes that a commit has no such file, where huggingface_hub and loaders look before they ask the Hub."""
    below = os.path.join(".no_exist", commit, *filename.split("/"))
    path = os.path.join(storage, below)
    # Links are not followed: one could lead out of the cache.
    if os.path.realpath(path) != os.path.join(os.path.realpath(storage), below):
        return
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o666))
    except OSError:
        # The note only saves a request, so a failure does not matter.
        pass


def matching(paths: Iterable[str], allow: list[str] | str | None, ignore: list[str] | str | None) -> list[str]:
    """The paths that match a pattern of ``allow``, if it is given, and none of ``ignore``."""
    allowed, ignored = _patterns(allow), _patterns(ignore)
    return [
        path
        for path in paths
        if (allowed is None or any(fnmatch.fnmatchcase(path, p) for p in allowed))
        and not (ignored is not None and any(fnmatch.fnmatchcase(path, p) for p in ignored))
    ]


def _patterns(given: list[str] | str | None) -> list[str] | None:
    if given is None:
        return None
    return [p + "*" if p.endswith("/") else p for p in ([given] if isinstance(given, str) else given)]


Stamp = tuple[int, int, int, int, int]


def stamp(path: str) -> Stamp | None:
    """A stamp that changes when a file is written to, as far as the system tells."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
