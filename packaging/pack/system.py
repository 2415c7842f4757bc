"""Packages of Linux systems: deb, written here, and rpm, written by rpmbuild."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .common import EPOCH, ROOT, SUMMARY, Binary, File, Lacking, gz, papers, put, tar, version, with_folders

_TEXT = """hfget takes exactly one weight family of a repository with its configuration,
tokenizer and code, verifies the checksum of every file and that every tensor
is where the index says, and puts the files into the ordinary Hub cache."""


def _files(binary: Binary) -> list[File]:
    return [
        File("usr/bin/hfget", binary.content(), 0o755),
        File("usr/share/doc/hfget/copyright", (ROOT / "LICENSE").read_bytes()),
        *papers(binary),
    ]


def deb(binary: Binary) -> Path:
    """`hfget_VERSION-1_ARCH.deb`."""
    arch = {"x86_64": "amd64", "aarch64": "arm64"}[binary.arch]
    files = _files(binary)
    needs = ""
    if binary.glibc is not None:
        needs = "Depends: libc6 (>= {}.{}), libgcc-s1\n".format(*binary.glibc)
    body = "\n".join(" " + line for line in _TEXT.splitlines())
    size = sum(len(file.content) for file in files) // 1024 + 1
    control = (
        f"Package: hfget\nVersion: {version()}-1\nArchitecture: {arch}\nMaintainer: The hfget authors <hfget@localhost>\n"
        f"Installed-Size: {size}\n{needs}Recommends: ca-certificates\nSection: utils\nPriority: optional\n"
        f"Description: {SUMMARY}\n{body}\n"
    )
    sums = "".join(f"{hashlib.md5(file.content).hexdigest()}  {file.name}\n" for file in sorted(files, key=lambda f: f.name))
    inner = [File("./control", control.encode()), File("./md5sums", sums.encode())]
    data = [File("./" + file.name, file.content, file.mode) for file in files]
    members = [
        ("debian-binary", b"2.0\n"),
        ("control.tar.gz", gz(tar([File("./", mode=0o755), *inner]))),
        ("data.tar.gz", gz(tar(with_folders(data)))),
    ]
    out = b"!<arch>\n"
    for name, content in members:
        out += f"{name:<16}{EPOCH:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        out += content + b"\n" * (len(content) % 2)
    return put(f"hfget_{version()}-1_{arch}.deb", out)


def rpm(binary: Binary) -> Path:
    """`hfget-VERSION-1.ARCH.rpm`."""
    if shutil.which("rpmbuild") is None:
        raise Lacking("rpmbuild is needed (Debian: rpm)")
    with tempfile.TemporaryDirectory(prefix="hfget-rpm-") as folder:
        root = Path(folder) / "root"
        files = _files(binary)
        for file in files:
            path = root / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content)
            path.chmod(file.mode)
            os.utime(path, (EPOCH, EPOCH))
        needs = "" if binary.glibc is None else "Requires: glibc >= {}.{}\n".format(*binary.glibc)
        listed = "\n".join(f"%attr({file.mode:o},root,root) /{file.name}" for file in files)
        spec = Path(folder) / "hfget.spec"
        spec.write_text(
            f"Name: hfget\nVersion: {version()}\nRelease: 1\nSummary: {SUMMARY}\nLicense: Apache-2.0\n{needs}"
            f"AutoReqProv: no\n%description\n{_TEXT}\n%install\nmkdir -p %{{buildroot}}\ncp -a {root}/. %{{buildroot}}/\n"
            f"%files\n{listed}\n",
            encoding="utf-8",
        )
        defines = {
            "_topdir": f"{folder}/top",
            "_rpmdir": f"{folder}/out",
            "_buildhost": "localhost",
            "_build_name_fmt": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
            "use_source_date_epoch_as_buildtime": "1",
            "clamp_mtime_to_source_date_epoch": "1",
            # The binary must keep its bytes: rpmbuild must not strip or rewrite it.
            "__os_install_post": "%{nil}",
            "debug_package": "%{nil}",
            "_build_id_links": "none",
        }
        words = [word for key, value in defines.items() for word in ("--define", f"{key} {value}")]
        command = ["rpmbuild", "-bb", "--target", f"{binary.arch}-linux", *words, str(spec)]
        env = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)}
        run = subprocess.run(command, capture_output=True, text=True, env=env)
        made = sorted((Path(folder) / "out").rglob("*.rpm"))
        if run.returncode != 0 or len(made) != 1:
            raise Lacking(f"rpmbuild failed: {run.stderr.strip()[-2000:]}")
        return put(made[0].name, made[0].read_bytes())
