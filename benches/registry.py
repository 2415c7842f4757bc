#!/usr/bin/env python3
"""Measures a push of 2 GiB into a registry:  python3 benches/registry.py [--runs 5] [--built]

hfget fetches them from the loopback Hub and verifies them on the way; `skopeo copy` reads them from an image layout in a
folder, which is filled before. Both push into Debian's docker-registry on this machine, in turn, each time
into an empty one on tmpfs. Needs nginx, skopeo and docker-registry (Debian: apt-get install nginx-light skopeo
docker-registry), Rust, and some 9 GB in /dev/shm. Prints a table; --built uses the programs in target/dist, or in
$CARGO_TARGET_DIR/dist, and builds nothing.
"""

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time

from run import FULL, GIB, HFGET, REPOS, WORK, build, measure, start_hub, start_nginx, tensors

REGISTRY = WORK / "registry"


def make_data() -> None:
    """Two repos: one file of 2 GiB, and the same bytes as four files."""
    for name, sizes in {"push-one": [2 * GIB], "push-four": [GIB // 2] * 4}.items():
        folder = REPOS / "org" / name
        if (folder / "made").exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text("{}")
        for number, size in enumerate(sizes):
            tensors(folder / f"model-{number}.safetensors", size, f"t{number}")
        (folder / "made").touch()


def start_registry() -> tuple[subprocess.Popen, str]:
    """Starts an empty registry."""
    shutil.rmtree(REGISTRY, ignore_errors=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = WORK / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {REGISTRY}}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}', secret: bench}}\n"
    )
    registry = subprocess.Popen(["docker-registry", "serve", str(config)], stderr=subprocess.DEVNULL)
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return registry, f"127.0.0.1:{port}"
        time.sleep(0.05)
    sys.exit("docker-registry does not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--built", action="store_true", help="use the programs that are built already")
    arguments = parser.parse_args()
    if not arguments.built:
        build()
    WORK.mkdir(parents=True, exist_ok=True)
    make_data()
    nginx = start_nginx()
    hub, endpoint = start_hub(FULL)
    env = {"PATH": os.environ["PATH"], "HOME": str(WORK / "home"), "HF_ENDPOINT": endpoint}
    print("| work | tool | wall s | CPU s | peak MB |\n|---|---|---|---|---|")
    try:
        for repo in ("push-one", "push-four"):
            layout = WORK / f"{repo}-layout"
            shutil.rmtree(layout, ignore_errors=True)
            measure([HFGET, f"org/{repo}", "--all", "--to", f"oci:{layout}:main"], env)
            figures = {}
            for turn in range(arguments.runs + 1):
                for tool in ("hfget", "hfget, raw layers", "skopeo copy (from a folder)"):
                    registry, address = start_registry()
                    shutil.rmtree(WORK / "home", ignore_errors=True)
                    (WORK / "home").mkdir()
                    to = f"oci://{address}/acme/m:main"
                    command = {
                        "hfget": [HFGET, f"org/{repo}", "--all", "--to", to],
                        "hfget, raw layers": [HFGET, f"org/{repo}", "--all", "--layout", "modelpack", "--to", to],
                    }.get(
                        tool,
                        ["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", f"oci:{layout}:main"]
                        + [f"docker://{address}/acme/m:main"],
                    )
                    try:
                        figure = measure(command, env)
                    finally:
                        registry.terminate()
                        registry.wait()
                    # The first turn only warms the machine up.
                    if turn > 0:
                        figures.setdefault(tool, []).append(figure)
            for tool, measured in figures.items():
                wall, cpu, peak, _ = (statistics.median(column) for column in zip(*measured))
                print(f"| {repo} | {tool} | {wall:.2f} | {cpu:.2f} | {peak:.0f} |", flush=True)
            shutil.rmtree(layout)
    finally:
        for process in (hub, nginx):
            process.terminate()
            process.wait()
        shutil.rmtree(REGISTRY, ignore_errors=True)


if __name__ == "__main__":
    main()
