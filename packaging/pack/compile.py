"""Compiles the static binary of a target, so that two machines get the same bytes."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

from .common import EPOCH, ROOT

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


def build(target: str) -> Path:
    """Compiles the binary with the dist profile. This takes a quarter of an hour on two cores."""
    home = os.environ.get("CARGO_HOME") or os.path.expanduser("~/.cargo")
    env = {
        **os.environ,
        "SOURCE_DATE_EPOCH": str(EPOCH),
        # Keeps this machine's folders out of the binary.
        "RUSTFLAGS": f"--remap-path-prefix={ROOT}=/build --remap-path-prefix={home}=/cargo",
        "CFLAGS": f"-ffile-prefix-map={ROOT}=/build -ffile-prefix-map={home}=/cargo",
    }
    # cargo-auditable writes the list of crates into the binary.
    auditable = ["auditable"] if shutil.which("cargo-auditable") else []
    words = ["cargo", *auditable, "zigbuild", "--profile", "dist", "--locked", "--target", target, "--package", "hfget"]
    subprocess.run(words, cwd=ROOT, env=env, check=True)
    folder = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    return folder / target / "dist" / "hfget"
