#!/usr/bin/env python3
"""Measures an upload of 2 GiB into an object store:  python3 benches/objects.py [--runs 3] [--built] [--moto | --s3rver PROGRAM]

hfget fetches the files from the loopback Hub and verifies them on the way. The server has Amazon's protocol and is on this
machine; each upload goes into an empty bucket. Without an option the server is benches/sink.py, which keeps no large object, so
the client sets the time. moto (Python) and s3rver (JavaScript: `npm install s3rver` in a folder; PROGRAM is its
node_modules/.bin/s3rver) keep them, and need far more time than any client: `server CPU s` shows it. With these two, `rclone
copy` uploads the same from a folder that is filled before. (s3s-fs was tried too: it reads a whole object for each range.)

Usually each request is signed with the SHA-256 of its content. The row "CRC-64" has AWS_UNSIGNED_PAYLOAD and
AWS_CHECKSUM_ALGORITHM=crc64nvme instead. For comparison, hfget also fetches the same files to disk. Needs nginx (Debian: apt-get install nginx-light), Rust, and
some 12 GB in /dev/shm. `rclone` (Debian: rclone) is left out if it is missing; moto is in the .venv that .ci/run makes.
Prints a table; --built uses the programs in target/dist, or in $CARGO_TARGET_DIR/dist, and builds nothing.
"""

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from registry import make_data
from run import FULL, HFGET, REPOS, ROOT, WORK, build, measure, start_hub, start_nginx, stat_of, use_tcp

MOTO = ROOT / ".venv" / "bin" / "moto_server"
# The only key that s3rver knows.
KEY, SECRET = "S3RVER", "S3RVER"


def start_store(arguments: argparse.Namespace, repo: str) -> tuple[subprocess.Popen, str]:
    """Starts a server with one empty bucket, for an upload of `repo`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, Path(__file__).with_name("sink.py"), str(port), REPOS / "org" / repo]
    if arguments.moto:
        words = [MOTO, "-p", str(port)]
    elif arguments.s3rver:
        shutil.rmtree(WORK / "s3rver", ignore_errors=True)
        words = [arguments.s3rver, "-s", "-d", WORK / "s3rver", "-a", "127.0.0.1", "-p", str(port)]
        words += ["--configure-bucket", "bucket"]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    for _ in range(200):
        try:
            # s3rver has its bucket already. It refuses an unsigned request, so it runs.
            urllib.request.urlopen(urllib.request.Request(f"{url}/bucket", method="PUT"))
            return server, url
        except urllib.error.HTTPError:
            return server, url
        except OSError:
            time.sleep(0.1)
    sys.exit("the server does not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--built", action="store_true", help="use the programs that are built already")
    parser.add_argument("--tcp", metavar="NAME", default="cubic", help="the congestion control of TCP, as in benches/run.py")
    store = parser.add_mutually_exclusive_group()
    store.add_argument("--moto", action="store_true", help="upload into moto")
    store.add_argument("--s3rver", metavar="PROGRAM", help="upload into s3rver")
    arguments = parser.parse_args()
    if not arguments.built:
        build()
    use_tcp(arguments.tcp)
    WORK.mkdir(parents=True, exist_ok=True)
    if arguments.moto and not MOTO.exists():
        sys.exit(f"{MOTO} does not exist: .ci/run installs it")
    tools = ["hfget --to s3", "hfget --to s3, CRC-64", "hfget to disk", "rclone copy (from a folder)"]
    if not (arguments.moto or arguments.s3rver):
        # It compares MD5s, which the sink does not compute.
        tools.pop()
    elif shutil.which("rclone") is None:
        print("rclone is not installed: its rows are left out")
        tools.pop()
    crc64 = {"AWS_UNSIGNED_PAYLOAD": "true", "AWS_CHECKSUM_ALGORITHM": "crc64nvme"}
    make_data()
    nginx = start_nginx()
    hub, endpoint = start_hub(FULL)
    print("| work | tool | wall s | CPU s | peak MB | server CPU s |\n|---|---|---|---|---|---|")
    try:
        for repo in ("push-one", "push-four"):
            figures = {}
            for turn in range(arguments.runs + 1):
                for tool in tools:
                    server, url = start_store(arguments, repo)
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
                    upload = [HFGET, f"org/{repo}", "--all", "-q", "--to", "s3://bucket/models"]
                    if tool.endswith("CRC-64"):
                        env |= crc64
                    command = {
                        "hfget --to s3": upload,
                        "hfget --to s3, CRC-64": upload,
                        "hfget to disk": [HFGET, f"org/{repo}", "--all", "-q"],
                    }.get(tool, ["rclone", "copy", "-q", REPOS / "org" / repo, remote])
                    try:
                        figure = (*measure(command, env)[:3], stat_of(server.pid)[1])
                    finally:
                        server.terminate()
                        server.wait()
                    # The first turn only warms the machine up.
                    if turn > 0:
                        figures.setdefault(tool, []).append(figure)
            for tool, measured in figures.items():
                wall, cpu, peak, server_cpu = (statistics.median(column) for column in zip(*measured))
                print(f"| {repo} | {tool} | {wall:.2f} | {cpu:.2f} | {peak:.0f} | {server_cpu:.1f} |", flush=True)
    finally:
        for process in (hub, nginx):
            process.terminate()
            process.wait()
        for name in ("home", "s3rver"):
            shutil.rmtree(WORK / name, ignore_errors=True)


if __name__ == "__main__":
    main()
