"""``python -m hfget …`` is the command; ``python -m hfget run -- COMMAND`` runs a program with `patch`."""

from __future__ import annotations

import os
import shutil
import sys

from . import errors
from ._find import find

_USAGE = """Usage: python -m hfget run [--allow CODE,...] [--deny CODE,...] -- COMMAND [ARGUMENT]...

Run a Python program whose downloads from the Hub go through hfget and are verified:
  python -m hfget run -- vllm serve org/model
"""


def _run(words: list[str]) -> int:
    codes = {"--allow": "", "--deny": ""}
    while words and words[0] != "--":
        name, equals, value = words.pop(0).partition("=")
        if name not in codes or (not equals and not words):
            sys.stderr.write(_USAGE)
            return 2
        codes[name] = value if equals else words.pop(0)
    if len(words) < 2:
        sys.stderr.write(_USAGE)
        return 2
    command = words[1:]
    program = shutil.which(command[0])
    if program is None:
        sys.stderr.write(f"error: the command {command[0]!r} does not exist\n")
        return 2
    env = os.environ
    env["HFGET_BINARY"] = find()
    env["HFGET_PATCH_ALLOW"], env["HFGET_PATCH_DENY"] = codes["--allow"], codes["--deny"]
    inject = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_inject")
    env["PYTHONPATH"] = os.pathsep.join([inject, *filter(None, [env.get("PYTHONPATH")])])
    os.execv(program, command)


def main() -> int:
    """Runs the command or the program that the arguments name."""
    words = sys.argv[1:]
    try:
        if words[:1] == ["run"]:
            return _run(words[1:])
        os.execv(find(), ["hfget", *words])
    except errors.Error as error:
        sys.stderr.write(f"error: {error}\n" + (f"  → {error.remedy}\n" if error.remedy else ""))
        return error.exit_code or 5


if __name__ == "__main__":
    sys.exit(main())
