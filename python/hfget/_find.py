"""Finds the command ``hfget`` of this package's own version."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from ._version import __version__
from .errors import CommandNotFoundError

_known: dict[tuple[str, int, int], str | None] = {}


def candidates() -> Iterator[tuple[str, Path]]:
    """The places to look for the command, nearest to the package first, each with a description.

    ``pip install --target`` and ``--prefix`` put it beside the package. They come before the scripts of
    the running Python, which may contain the command of another installation.
    """
    name = "hfget" + (sysconfig.get_config_var("EXE") or "")
    package = Path(__file__).resolve().parent
    site = package.parent
    yield "beside the package (pip install --target)", site / "bin" / name
    parts = site.parts
    # PREFIX/lib/pythonX.Y/site-packages/hfget
    if len(parts) >= 4 and parts[-1] in ("site-packages", "dist-packages") and parts[-2].startswith("python"):
        yield "in the prefix of the package (pip install --prefix)", site.parents[2] / "bin" / name
    yield "with the scripts of this Python", Path(sysconfig.get_path("scripts")) / name
    base = sysconfig.get_path("scripts", vars={"base": sys.base_prefix})
    yield "with the scripts of the base Python", Path(base) / name
    user = sysconfig.get_path("scripts", scheme=sysconfig.get_preferred_scheme("user"))
    yield "with the user's scripts", Path(user) / name
    found = shutil.which("hfget")
    if found:
        yield "on PATH", Path(found)


def version_of(path: Path) -> str | None:
    """The version that the command prints, or ``None`` if it prints none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    key = (str(path), stat.st_mtime_ns, stat.st_size)
    if key not in _known:
        try:
            run = subprocess.run(
                [str(path), "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30
            )
            words = run.stdout.split()
            _known[key] = words[1] if run.returncode == 0 and words[:1] == ["hfget"] and len(words) > 1 else None
        except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
            _known[key] = None
    return _known[key]


def find() -> str:
    """The path of the command: ``$HFGET_BINARY``, or the first one of this package's version."""
    named = os.environ.get("HFGET_BINARY")
    places = [("named by HFGET_BINARY", Path(named))] if named else candidates()
    looked = []
    for place, path in places:
        if not path.is_file():
            looked.append(f"{path} ({place}): no file")
            continue
        version = version_of(path)
        if version == __version__:
            return str(path)
        looked.append(f"{path} ({place}): " + (f"version {version}" if version else "it does not run"))
    raise CommandNotFoundError(
        f"the command hfget {__version__} was not found. Looked at:\n  " + "\n  ".join(looked)
    ).with_details(remedy="Install the package again, or set HFGET_BINARY to the command of the same version.")
