"""The common part of all artifacts: the version, the facts about the binary, archives with the same bytes each time."""

from __future__ import annotations

import gzip
import io
import os
import re
import struct
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DIST = Path(os.environ.get("HFGET_DIST") or ROOT / "dist")
#: 2026-01-01, unless the caller names the commit's time.
EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH") or 1767225600)
SUMMARY = "Download Hugging Face repositories and verify every file"
_MACHINES = {62: "x86_64", 183: "aarch64"}


class Lacking(Exception):
    """Some needed tools or files are missing. The text names all of them."""


def version() -> str:
    """The version in Cargo.toml."""
    text = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
    found = re.search(r'^\[workspace\.package\][^\[]*?^version = "([^"]+)"', text, re.M | re.S)
    if found is None:
        raise Lacking("Cargo.toml names no version of the workspace")
    return found[1]


@dataclass(frozen=True)
class Binary:
    """The built command, and the facts in its ELF header."""

    path: Path
    #: ``x86_64`` or ``aarch64``.
    arch: str
    #: Whether it runs without the system's libraries.
    static: bool
    #: The newest glibc that it needs, as (2, 34); ``None`` if it is static.
    glibc: tuple[int, int] | None

    @property
    def target(self) -> str:
        """Rust's name for the platform."""
        return f"{self.arch}-unknown-linux-{'musl' if self.static else 'gnu'}"

    @property
    def runs_here(self) -> bool:
        """Whether this machine has its processor."""
        return os.uname().machine == self.arch

    def content(self) -> bytes:
        """Its bytes."""
        return self.path.read_bytes()

    def says(self, *arguments: str) -> str:
        """The output of the command."""
        run = subprocess.run([str(self.path), *arguments], capture_output=True, text=True, check=True)
        return run.stdout


def look_at(path: Path) -> Binary:
    """Reads the header of an ELF file."""
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        raise Lacking(f"{path} is not a 64-bit ELF program; only Linux programs are packed")
    machine = struct.unpack_from("<H", data, 18)[0]
    if machine not in _MACHINES:
        raise Lacking(f"{path} is for processor {machine}; x86_64 and aarch64 are packed")
    offset, size, count = struct.unpack_from("<Q", data, 32)[0], *struct.unpack_from("<HH", data, 54)
    kinds = [struct.unpack_from("<I", data, offset + at * size)[0] for at in range(count)]
    interpreter = 3 in kinds
    wanted = [(int(a), int(b)) for a, b in re.findall(rb"GLIBC_(\d+)\.(\d+)", data)] if interpreter else []
    if interpreter and not wanted:
        raise Lacking(f"{path} needs a C library that is not glibc; build it for the -musl target instead")
    return Binary(path, _MACHINES[machine], not interpreter, max(wanted) if wanted else None)


def section(path: Path, name: str) -> bytes | None:
    """A section of an ELF file; ``None`` if it has none of that name."""
    data = path.read_bytes()
    offset, size, count, names = struct.unpack_from("<Q", data, 40)[0], *struct.unpack_from("<HHH", data, 58)
    # For each section: the offsets of its name and of its bytes.
    heads = [struct.unpack_from("<I20xQQ", data, offset + at * size) for at in range(count)]
    for at, begins, length in heads:
        begin = heads[names][1] + at
        if data[begin : data.index(b"\0", begin)].decode(errors="replace") == name:
            return data[begins : begins + length]
    return None


@dataclass(frozen=True)
class File:
    """A file, or a folder (a name with `/` at its end), of an archive."""

    name: str
    content: bytes = b""
    mode: int = 0o644
    owner: int = 0


def tar(files: list[File]) -> bytes:
    """A tar archive of these files; the same files make the same bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for file in sorted(files, key=lambda f: f.name):
            info = tarfile.TarInfo(file.name.rstrip("/"))
            info.mtime, info.uid, info.gid, info.mode = EPOCH, file.owner, file.owner, file.mode
            if file.name.endswith("/"):
                info.type = tarfile.DIRTYPE
            info.size = len(file.content)
            archive.addfile(info, io.BytesIO(file.content))
    return out.getvalue()


def gz(data: bytes) -> bytes:
    """Compresses with gzip, without a time or a name."""
    out = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=out, mode="wb", compresslevel=9, mtime=0) as file:
        file.write(data)
    return out.getvalue()


def with_folders(files: list[File]) -> list[File]:
    """The files, and all folders above them."""
    names = {file.name for file in files}
    folders = set()
    for file in files:
        parts = file.name.rstrip("/").split("/")[:-1]
        while parts:
            folders.add("/".join(parts) + "/")
            parts.pop()
    return [*(File(name, mode=0o755) for name in folders - names), *files]


def papers(binary: Binary) -> list[File]:
    """Manual pages and completions below `usr/`, if the binary runs on this machine."""
    if not binary.runs_here:
        return []
    places = {
        "bash": "usr/share/bash-completion/completions/hfget",
        "zsh": "usr/share/zsh/vendor-completions/_hfget",
        "fish": "usr/share/fish/vendor_completions.d/hfget.fish",
    }
    files = [File(place, binary.says("completions", shell).encode()) for shell, place in places.items()]
    return [*files, File("usr/share/man/man1/hfget.1.gz", gz(binary.says("man").encode()))]


def put(name: str, data: bytes) -> Path:
    """Writes an artifact into dist/ completely or not at all."""
    DIST.mkdir(parents=True, exist_ok=True)
    path = DIST / name
    part = DIST / f".{name}.part"
    part.write_bytes(data)
    part.replace(path)
    print(f"made {path} ({len(data):,} bytes)", flush=True)
    return path
