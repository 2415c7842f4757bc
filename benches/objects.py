#!/usr/bin/env python3
"""Measures how 2 GiB get into an object store:  python3 benches/objects.py [--runs 5] [--built]

hfget fetches them from the loopback Hub and verifies them on the way; `rclone copy` reads them from a folder that is
filled before. Both upload into s3s-fs, a server with Amazon's protocol, on this machine, in turn, each time into an
empty bucket on tmpfs. Beside them, hfget fetches the same to disk (tmpfs too). Needs nginx and rclone (Debian:
apt-get install nginx-light rclone), Rust, and some 9 GB in /dev/shm; `cargo install` brings s3s-fs. Prints a table;
--built uses what is in target/dist, or in $CARGO_TARGET_DIR/dist, and builds nothing.
"""

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time

from registry import make_data
from run import FULL, HFGET, REPOS, ROOT, WORK, measure, start_hub, start_nginx

SERVER = WORK / "tools" / "bin" / "s3s-fs"
STORE = WORK / "store"
KEY, SECRET = "bench", "bench-secret"


def start_store() -> tuple[subprocess.Popen, str]:
    """Starts a server with one empty bucket."""
    shutil.rmtree(STORE, ignore_errors=True)
    (STORE / "bucket").mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [SERVER, "--host", "127.0.0.1", "--port", str(port), "--access-key", KEY, "--secret-key", SECRET, STORE]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server, f"http://127.0.0.1:{port}"
        time.sleep(0.05)
    sys.exit("s3s-fs does not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--built", action="store_true", help="use the programs that are built already")
    arguments = parser.parse_args()
    if not arguments.built:
        build = ["cargo", "build", "--quiet", "--profile", "dist"]
        subprocess.run([*build, "--bin", "hfget"], cwd=ROOT, check=True)
        subprocess.run([*build, "-p", "hfget-loopback-hub"], cwd=ROOT, check=True)
    WORK.mkdir(parents=True, exist_ok=True)
    if not SERVER.exists():
        install = ["cargo", "install", "--quiet", "--locked", "s3s-fs@0.13.0", "--features", "binary"]
        subprocess.run([*install, "--root", WORK / "tools"], check=True)
    make_data()
    nginx = start_nginx()
    hub, endpoint = start_hub(FULL)
    print("| work | tool | wall s | CPU s | peak MB |\n|---|---|---|---|---|")
    try:
        for repo in ("push-one", "push-four"):
            figures = {}
            for turn in range(arguments.runs + 1):
                for tool in ("hfget --to s3", "hfget to disk", "rclone copy (from a folder)"):
                    server, url = start_store()
                    home = WORK / "home"
                    shutil.rmtree(home, ignore_errors=True)
                    home.mkdir()
                    env = {
                        "PATH": os.environ["PATH"],
                        "HOME": str(home),
                        "HF_ENDPOINT": endpoint,
                        "AWS_ACCESS_KEY_ID": KEY,
                        "AWS_SECRET_ACCESS_KEY": SECRET,
                        "AWS_REGION": "us-east-1",
                        "AWS_ENDPOINT_URL": url,
                        "AWS_ALLOW_HTTP": "true",
                    }
                    remote = f":s3,provider=Other,env_auth=true,region=us-east-1,endpoint='{url}':bucket/models"
                    command = {
                        "hfget --to s3": [HFGET, f"org/{repo}", "--all", "-q", "--to", "s3://bucket/models"],
                        "hfget to disk": [HFGET, f"org/{repo}", "--all", "-q"],
                    }.get(tool, ["rclone", "copy", "-q", REPOS / "org" / repo, remote])
                    try:
                        figure = measure(command, env)
                    finally:
                        server.terminate()
                        server.wait()
                    # The first turn only warms the machine up.
                    if turn > 0:
                        figures.setdefault(tool, []).append(figure)
            for tool, measured in figures.items():
                wall, cpu, peak = (statistics.median(column) for column in zip(*measured))
                print(f"| {repo} | {tool} | {wall:.2f} | {cpu:.2f} | {peak:.0f} |", flush=True)
    finally:
        for process in (hub, nginx):
            process.terminate()
            process.wait()
        shutil.rmtree(STORE, ignore_errors=True)
        shutil.rmtree(WORK / "home", ignore_errors=True)


if __name__ == "__main__":
    main()
