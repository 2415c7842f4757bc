"""Runs the command: events as they come, its JSON at the end, a clean end on Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from . import errors
from ._find import find
from ._types import Event

Progress = Callable[[Event], None]

#: The time in which the command may end by itself after Ctrl-C, before it gets a signal, and then is killed.
_GRACE = (1.0, 10.0)
#: The most lines of the command, other than events, that an error quotes.
_KEEP = 20


class Stopped(Exception):
    """The caller's progress function raised an exception."""


class Outcome:
    """The result of a run of the command."""

    def __init__(self, code: int, document: Mapping[str, Any], said: Sequence[str]) -> None:
        self.code = code
        self.document = document
        self.said = tuple(said)

    def entries(self, key: str) -> list[Mapping[str, Any]]:
        """The objects under ``key``; an error if the command gave none."""
        found = self.document.get(key)
        if isinstance(found, list) and all(isinstance(one, dict) for one in found):
            return list(found)
        text = "\n".join(self.said) or f"the command ended with exit code {self.code} and printed nothing"
        raise errors.of_run(self.code or 1, text)


def environment(token: bool | str | None = None, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of the command. It contains the token, which is never an argument."""
    env = dict(os.environ)
    env["NO_COLOR"] = "1"
    if token is True:
        token = _token_of_the_program() or stored_token()
        if token is None:
            raise errors.LocalTokenNotFoundError(
                "token=True needs a token, but none was found in HF_TOKEN or in the file that `hf auth login` writes"
            ).with_details(remedy="Set HF_TOKEN, or run `hf auth login`.")
    if token is False or isinstance(token, str):
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE", "HF_HUB_DISABLE_IMPLICIT_TOKEN"):
            env.pop(name, None)
        if isinstance(token, str):
            env["HF_TOKEN"] = token
        else:
            env["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"
    elif not env.get("HF_OIDC_RESOURCE"):
        known = _token_of_the_program()
        if known is not None:
            env["HF_TOKEN"] = known
    env.update(extra or {})
    return env


def _token_of_the_program() -> str | None:
    """The token that huggingface_hub would send, if it is loaded: the program may have changed it, and in a
    notebook it comes from the notebook's secrets."""
    headers: Any = getattr(sys.modules.get("huggingface_hub.utils"), "build_hf_headers", None)
    if headers is None:
        return None
    word, _, token = headers(token=None).get("authorization", "").partition(" ")
    return token if word == "Bearer" and token else None


def stored_token() -> str | None:
    """The token of this machine, as huggingface_hub looks for it."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        token = _clean(os.environ.get(name, ""))
        if token:
            return token
    home = os.environ.get("HF_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache"), "huggingface"
    )
    path = os.environ.get("HF_TOKEN_PATH") or os.path.join(home, "token")
    try:
        with open(os.path.expandvars(os.path.expanduser(path)), encoding="utf-8") as file:
            return _clean(file.read()) or None
    except FileNotFoundError:
        return None


def _clean(token: str) -> str:
    return token.replace("\r", "").replace("\n", "").strip()


def run(
    arguments: Sequence[str],
    *,
    token: bool | str | None = None,
    progress: Progress | None = None,
    extra: Mapping[str, str] | None = None,
) -> Outcome:
    """Runs ``hfget ARGUMENTS`` and waits for its end.

    ``progress`` is called in this thread. An exception in it ends the command and is raised again.
    """
    # Flags are before `--`; everything after it is a name.
    end = arguments.index("--") if "--" in arguments else len(arguments)
    command = [find(), *arguments[:end], "--progress=json", *arguments[end:]]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(token, extra),
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    # Both are pipes, as asked for above.
    assert process.stdout is not None and process.stderr is not None
    out: list[str] = []
    reader = threading.Thread(target=_drain, args=(process.stdout, out), daemon=True)
    reader.start()
    said: list[str] = []
    try:
        for line in process.stderr:
            event = _event(line)
            if event is None:
                said = [*said, line.rstrip()][-_KEEP:]
                continue
            if event.name in ("error", "message"):
                said = [*said, str(event.fields.get("message") or event.fields.get("text") or "")][-_KEEP:]
            if progress is not None:
                progress(event)
        code = process.wait()
        reader.join()
    except BaseException as why:
        _end(process, told=isinstance(why, KeyboardInterrupt))
        raise
    finally:
        process.stderr.close()
        if process.poll() is not None:
            reader.join()
            process.stdout.close()
    if code in (130, -signal.SIGINT):
        # The terminal sent the signal to the command, and not to this process.
        raise KeyboardInterrupt
    try:
        document = json.loads("".join(out)) if out else {}
    except ValueError:
        document = {}
        said.extend("".join(out).splitlines()[-_KEEP:])
    return Outcome(code, document if isinstance(document, dict) else {}, said)


def _drain(stream: IO[str], out: list[str]) -> None:
    out.append(stream.read())


def _event(line: str) -> Event | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("event"), str):
        return None
    return Event(value["event"], value)


def _end(process: subprocess.Popen[str], *, told: bool) -> None:
    """Ends the command so that it keeps the bytes that arrived; kills it only if it does not end.

    Ctrl-C in a terminal reaches the command too, which then ends by itself. It gets a signal from here only if
    it does not.
    """
    first, second = _GRACE
    try:
        if told:
            try:
                process.wait(first)
                return
            except subprocess.TimeoutExpired:
                pass
        process.send_signal(signal.SIGINT)
        process.wait(second)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    except BaseException:
        # A second Ctrl-C: kill it immediately.
        process.kill()
        process.wait()
        raise
