"""Compiles the static binary of a target, so that two machines get the same bytes."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .common import EPOCH, ROOT, Lacking

TARGETS = ("x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl")


def lacking(target: str) -> list[str]:
    """The tools that are missing for compiling for the target."""
    lacks = []
    if shutil.which("cargo") is None:
        lacks.append("cargo (https://rustup.rs)")
    if shutil.which("cargo-zigbuild") is None:
        lacks.append("cargo-zigbuild (pip install cargo-zigbuild ziglang, with the venv's bin in PATH)")
    elif shutil.which("zig") is None and shutil.which("python-zig") is None and importlib.util.find_spec("ziglang") is None:
        lacks.append("zig (pip install ziglang)")
    if shutil.which("rustc") is not None:
        root = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
        if not (Path(root) / "lib" / "rustlib" / target / "lib").is_dir():
            lacks.append(f"Rust's library for {target} (rustup target add {target})")
    return lacks


def build(target: str, profile: str = "dist", *, twice: bool = False) -> Path:
    """The binary. The profile ``dist`` takes a quarter of an hour on two cores, ``dev`` half of that.

    With ``twice`` a copy of the source in another folder is compiled too, and the two binaries are compared.
    """
    folder = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    first = _compile(ROOT, folder, target, profile)
    if twice:
        with tempfile.TemporaryDirectory(prefix="hfget-twice-") as place:
            copy = Path(place) / "source"
            _copy(copy)
            second = _compile(copy, copy / "target", target, profile)
            _same(first, second)
        print(f"compiled twice: {target} comes out the same, byte for byte", flush=True)
    return first


def _compile(source: Path, folder: Path, target: str, profile: str) -> Path:
    home = os.environ.get("CARGO_HOME") or os.path.expanduser("~/.cargo")
    # No folder of this machine is in the binary.
    places = [(folder, "/build/target"), (source, "/build"), (Path(home), "/cargo")]
    env = {
        **os.environ,
        "SOURCE_DATE_EPOCH": str(EPOCH),
        # Some kernels for aarch64 have pages of 64 kB. An allocator that is compiled for smaller pages ends there.
        **({"JEMALLOC_SYS_WITH_LG_PAGE": "16"} if target.startswith("aarch64") else {}),
        "CARGO_TARGET_DIR": str(folder),
        # If several match, the last one counts.
        "RUSTFLAGS": " ".join(f"--remap-path-prefix={path}={name}" for path, name in reversed(places)),
        "CFLAGS": " ".join(f"-ffile-prefix-map={path}={name}" for path, name in reversed(places)),
    }
    # cargo-auditable writes the list of crates into the binary.
    auditable = ["auditable"] if shutil.which("cargo-auditable") else []
    words = ["cargo", *auditable, "zigbuild", "--profile", profile, "--locked", "--target", target, "--package", "hfget"]
    subprocess.run(words, cwd=source, env=env, check=True)
    return folder / target / ("debug" if profile == "dev" else profile) / "hfget"


def _copy(copy: Path) -> None:
    """Copies what git knows of the source, with the commit as a published package notes it."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in listed.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (copy / ".cargo_vcs_info.json").write_text(json.dumps({"git": {"sha1": commit.strip()}}), encoding="utf-8")


def _same(first: Path, second: Path) -> None:
    one, other = first.read_bytes(), second.read_bytes()
    if one == other:
        return
    at = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    raise Lacking(f"compiled twice, {first.name} differs: {len(one):,} and {len(other):,} bytes, first at byte {at:,}")
