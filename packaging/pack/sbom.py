"""The bill of materials as CycloneDX: every crate in the binary, as Cargo resolved them."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess

from .common import ROOT, Binary, Lacking, version


def cyclonedx(binary: Binary) -> bytes:
    """The crates of `hfget` for the binary's platform, without those that only tests need."""
    return _of_target(binary.target)


@functools.cache
def _of_target(target: str) -> bytes:
    if shutil.which("cargo") is None:
        raise Lacking("cargo is needed, to say which crates are in the binary")
    command = ["cargo", "metadata", "--format-version=1", "--locked", f"--filter-platform={target}"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if run.returncode != 0:
        raise Lacking(f"cargo metadata failed: {run.stderr.strip()}")
    metadata = json.loads(run.stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = next(package["id"] for package in metadata["packages"] if package["name"] == "hfget")
    inside, open_ends = {root}, [root]
    while open_ends:
        for dependency in nodes[open_ends.pop()]["deps"]:
            # The kind `None` is a normal dependency; build scripts and tests have other kinds.
            built_in = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if built_in and dependency["pkg"] not in inside:
                inside.add(dependency["pkg"])
                open_ends.append(dependency["pkg"])

    def component(identity: str) -> dict[str, object]:
        package = packages[identity]
        entry: dict[str, object] = {
            "type": "application" if identity == root else "library",
            "bom-ref": f"pkg:cargo/{package['name']}@{package['version']}",
            "name": package["name"],
            "version": package["version"],
            "purl": f"pkg:cargo/{package['name']}@{package['version']}",
        }
        if package["license"]:
            entry["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        return entry

    components = sorted((component(one) for one in inside - {root}), key=lambda one: str(one["bom-ref"]))
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(root), "tools": [{"name": "packaging/build", "version": version()}]},
        "components": components,
    }
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()
