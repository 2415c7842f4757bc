"""Bars of tqdm that follow the command's events."""

from __future__ import annotations

import importlib
import os
from typing import Any

from ._types import Event


class TqdmProgress:
    """Shows a run's bytes in a bar of ``tqdm_class``. Pass it as ``progress``, and close it at the end.

    The class is called with ``total``, ``unit``, ``unit_scale`` and ``desc``, and its ``update``,
    ``refresh`` and ``close`` are used, as huggingface_hub does.
    """

    def __init__(self, tqdm_class: Any | None = None, desc: str = "hfget") -> None:
        self._class = tqdm_class if tqdm_class is not None else default_class()
        self._desc = desc
        self._bar: Any = None
        self._shown = 0

    def __call__(self, event: Event) -> None:
        """Shows one event."""
        if self._class is None:
            return
        number = event.fields.get
        if event.name == "planned":
            self._open("Downloading", int(number("bytes", 0)), int(number("bytes", 0)) - int(number("missing", 0)))
        elif event.name == "verify-started":
            self._open("Verifying", int(number("bytes", 0)), 0)
        elif event.name == "bytes":
            if self._bar is None:
                self._open("Downloading", int(number("total", 0)), 0)
            done = int(number("done", 0))
            if self._bar is not None:
                self._bar.update(done - self._shown)
            self._shown = done
        elif event.name == "report":
            self.close()

    def _open(self, what: str, total: int, done: int) -> None:
        self.close()
        if total > done and self._class is not None:
            self._bar = self._class(
                total=total, initial=done, unit="B", unit_scale=True, desc=f"{what} {self._desc}".strip()
            )
            self._shown = done

    def close(self) -> None:
        """Closes the bar that is open."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._shown = 0

    def __enter__(self) -> TqdmProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def default_class() -> Any | None:
    """huggingface_hub's own bar, otherwise tqdm's, otherwise none; none if the environment switches bars off."""
    if os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS", "").upper() in ("1", "ON", "YES", "TRUE"):
        return None
    for module in ("huggingface_hub.utils.tqdm", "tqdm.auto"):
        try:
            return importlib.import_module(module).tqdm
        except ImportError:
            continue
    return None
