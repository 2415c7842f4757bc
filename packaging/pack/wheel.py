"""The wheel: the Python package, the command beside it, and RECORD. It has the same bytes each time."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import time
import zipfile
from pathlib import Path

from . import sbom
from .common import EPOCH, ROOT, SUMMARY, Binary, put, version


def tags(binary: Binary) -> list[str]:
    """The platform tags of the wheel."""
    if binary.glibc is None:
        # A static binary runs with both C libraries.
        names = ["manylinux2014", "manylinux_2_17", "musllinux_1_2"]
    else:
        names = ["manylinux_{}_{}".format(*max(binary.glibc, (2, 17)))]
    return [f"{name}_{binary.arch}" for name in names]


def build(binary: Binary) -> Path:
    """Makes the wheel around a binary that is built already."""
    number = version()
    info = f"hfget-{number}.dist-info"
    platforms = tags(binary)
    files: dict[str, tuple[bytes, int]] = {}
    package = ROOT / "python" / "hfget"
    for path in sorted(package.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            files["hfget/" + path.relative_to(package).as_posix()] = (path.read_bytes(), 0o644)
    files[f"hfget-{number}.data/scripts/hfget"] = (binary.content(), 0o755)
    files[f"{info}/METADATA"] = (metadata(number).encode(), 0o644)
    files[f"{info}/WHEEL"] = (
        "Wheel-Version: 1.0\nGenerator: hfget packaging/build\nRoot-Is-Purelib: false\n".encode()
        + "".join(f"Tag: py3-none-{platform}\n" for platform in platforms).encode(),
        0o644,
    )
    files[f"{info}/licenses/LICENSE"] = ((ROOT / "LICENSE").read_bytes(), 0o644)
    files[f"{info}/sboms/hfget.cyclonedx.json"] = (sbom.cyclonedx(binary), 0o644)
    record = "".join(f"{name},sha256={digest(data)},{len(data)}\n" for name, (data, _) in sorted(files.items()))
    files[f"{info}/RECORD"] = (f"{record}{info}/RECORD,,\n".encode(), 0o644)
    return put(f"hfget-{number}-py3-none-{'.'.join(platforms)}.whl", packed(files))


def digest(data: bytes) -> str:
    """A digest in the form of RECORD."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def packed(files: dict[str, tuple[bytes, int]]) -> bytes:
    """A zip archive; the same files make the same bytes."""
    out = io.BytesIO()
    # A zip archive cannot state a time before 1980.
    moment = time.gmtime(max(EPOCH, 315532800))[:6]
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        # RECORD comes last, as the format recommends.
        for name in sorted(files, key=lambda name: (name.endswith(".dist-info/RECORD"), name)):
            data, mode = files[name]
            entry = zipfile.ZipInfo(name, moment)
            entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, 3
            entry.external_attr = (0o100000 | mode) << 16
            archive.writestr(entry, data)
    return out.getvalue()


def metadata(number: str) -> str:
    """METADATA from `python/pyproject.toml`, so that maturin and this script write the same."""
    text = (ROOT / "python" / "pyproject.toml").read_text(encoding="utf-8")

    def value(key: str) -> str:
        found = re.search(rf'^{key} = "([^"]*)"', text, re.M)
        return found[1] if found else ""

    def values(key: str) -> list[str]:
        found = re.search(rf"^{key} = \[(.*?)\]", text, re.M | re.S)
        return re.findall(r'"([^"]*)"', found[1]) if found else []

    lines = [
        "Metadata-Version: 2.4",
        "Name: hfget",
        f"Version: {number}",
        f"Summary: {value('description') or SUMMARY}",
        f"Keywords: {','.join(values('keywords'))}",
        f"License-Expression: {value('license')}",
        "License-File: LICENSE",
        f"Requires-Python: {value('requires-python')}",
        *(f"Classifier: {one}" for one in values("classifiers")),
        "Description-Content-Type: text/markdown; charset=UTF-8",
    ]
    return "\n".join(lines) + "\n\n" + (ROOT / "python" / "README.md").read_text(encoding="utf-8")
