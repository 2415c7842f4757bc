"""The archive that people and `cargo binstall` unpack."""

from __future__ import annotations

from pathlib import Path

from . import sbom
from .common import ROOT, Binary, File, gz, papers, put, tar, version, with_folders


def build(binary: Binary) -> Path:
    """`hfget-TARGET-vVERSION.tgz`, which contains a folder of that name, as binstall expects."""
    name = f"hfget-{binary.target}-v{version()}"
    files = [File("hfget", binary.content(), 0o755), File("hfget.cyclonedx.json", sbom.cyclonedx(binary))]
    files += [File(paper, (ROOT / paper).read_bytes()) for paper in ("LICENSE", "README.md", "CHANGELOG.md")]
    files += [File(file.name.removeprefix("usr/"), file.content) for file in papers(binary)]
    inside = [File(f"{name}/{file.name}", file.content, file.mode) for file in files]
    return put(f"{name}.tgz", gz(tar(with_folders(inside))))
