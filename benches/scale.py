#!/usr/bin/env python3
"""Measures how hfget's cost grows with the size of its input:  python3 benches/scale.py [WORK...]

Needs only Rust and Python, and about 10 GB of disk below --folder. Makes its repos, serves them on the
loopback interface, and prints the tables of README.md: seconds, CPU seconds, peak memory, requests.
"""

import argparse
import http.server
import json
import multiprocessing
import os
import pathlib
import re
import shutil
import struct
import subprocess
import threading
import time

from run import HFGET, TARGET, build

LINE = "| {:<34} | {:>9} | {:>7} | {:>7} | {:>8} | {:>8} |"


class Bytes(http.server.BaseHTTPRequestHandler):
    """Serves files with ranges, for bytes that the loopback Hub does not serve itself."""

    protocol_version = "HTTP/1.1"
    root = pathlib.Path()

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.paths.append(self.path)
        path = self.root / self.path.split("?")[0].lstrip("/")
        size = path.stat().st_size
        asked = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        first, last = (int(asked[1]), int(asked[2])) if asked else (0, size - 1)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(last - first + 1))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        with open(path, "rb") as file:
            file.seek(first)
            left = last - first + 1
            while left > 0:
                block = file.read(min(left, 1 << 20))
                self.wfile.write(block)
                left -= len(block)


class Server(http.server.ThreadingHTTPServer):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.paths = []

    def handle_error(self, *_):
        """Ignores errors: a client that has read enough of a header closes the connection."""


class Hub:
    """Serves the repos of a folder."""

    def __init__(self, repos):
        handler = type("Handler", (Bytes,), {"root": repos})
        self.server = Server(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        command = [TARGET / "loopback-hub", repos, f"http://127.0.0.1:{self.server.server_port}"]
        self.hub = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.hub.stdout.readline().strip()

    def requests(self):
        """The requests since the last call: to the Hub, its CDN and the server of bytes."""
        print(file=self.hub.stdin, flush=True)
        paths, self.server.paths = self.server.paths, []
        return int(self.hub.stdout.readline()) + len(paths)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.hub.kill()
        self.hub.wait()
        self.server.shutdown()


def run(folder, arguments, hub=None, want=0):
    """Runs hfget; returns (seconds, CPU seconds, peak MB, requests; None without a Hub)."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "HF_HOME": str(folder / "hf")}
    if hub:
        environment["HF_ENDPOINT"] = hub.url
    began = time.monotonic()
    child = subprocess.Popen(
        [HFGET, *map(str, arguments)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    said = child.stderr.read()
    _, status, used = os.wait4(child.pid, 0)
    took = time.monotonic() - began
    code = os.waitstatus_to_exitcode(status)
    if code != want:
        raise SystemExit(f"hfget {arguments} ended with {code}:\n{said[-2000:]}")
    return took, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000, hub.requests() if hub else None


def row(work, n, figures):
    took, cpu, peak, requests = figures
    requests = "-" if requests is None else requests
    print(LINE.format(work, n, f"{took:.2f}", f"{cpu:.2f}", f"{peak:.0f}", requests), flush=True)


def shard(path, names, each):
    """A safetensors file with one U8 tensor of `each` bytes for each name."""
    header, at = {}, 0
    for name in names:
        header[name] = {"dtype": "U8", "shape": [each], "data_offsets": [at, at + each]}
        at += each
    text = json.dumps(header, separators=(",", ":")).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.write(bytes(at))


def sharded(*arguments):
    """A model of that many shards with that many tensors each. Another process makes it, because a child's peak memory
    starts at its parent's."""
    maker = multiprocessing.get_context("fork").Process(target=make_sharded, args=arguments)
    maker.start()
    maker.join()


def make_sharded(folder, shards, tensors, each):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    names = {}
    for n in range(1, shards + 1):
        file = f"model-{n:05}-of-{shards:05}.safetensors"
        own = [f"model.layers.{n}.mlp.experts.{i}.down_proj.weight" for i in range(tensors)]
        shard(folder / file, own, each)
        names.update(dict.fromkeys(own, file))
    index = {"metadata": {"total_size": shards * tensors * each}, "weight_map": names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def listing(folder):
    """Repos of many files."""
    for n in (1_000, 10_000, 100_000):
        repo = folder / "repos" / "org" / "many"
        shutil.rmtree(folder / "repos", ignore_errors=True)
        repo.mkdir(parents=True)
        (repo / "config.json").write_text("{}")
        shard(repo / "model.safetensors", ["w"], 100)
        for i in range(n):
            if i % 1000 == 0:
                (repo / f"part-{i // 1000:03}").mkdir()
            (repo / f"part-{i // 1000:03}" / f"{i:06}.txt").write_text(str(i))
        with Hub(folder / "repos") as hub:
            row("plan, a listing of N files", n, run(folder, ["plan", "org/many"], hub))
            row("plan --all --json of it", n, run(folder, ["plan", "org/many", "--all", "--json"], hub))
            if n <= 10_000:
                row("fetch all of it", n, run(folder, ["org/many", "--all"], hub))
                row("again, nothing to do", n, run(folder, ["org/many", "--all"], hub))
                row("verify --offline", n, run(folder, ["verify", "org/many", "--offline"], hub))
        shutil.rmtree(folder / "hf", ignore_errors=True)


def shards(folder):
    """Models of many shards."""
    for n in (100, 300, 1_000):
        shutil.rmtree(folder / "repos", ignore_errors=True)
        sharded(folder / "repos" / "org" / "model", n, 20, 20_000)
        with Hub(folder / "repos") as hub:
            row("plan, N shards of 400 kB", n, run(folder, ["plan", "org/model"], hub))
            row("plan --deep", n, run(folder, ["plan", "org/model", "--deep"], hub))
            row("fetch and verify", n, run(folder, ["org/model"], hub))
            row("again, nothing to do", n, run(folder, ["org/model"], hub))
            row("verify --offline", n, run(folder, ["verify", "org/model", "--offline"], hub))
        shutil.rmtree(folder / "hf", ignore_errors=True)


def tensors(folder):
    """Indexes of many tensors."""
    for n in (100_000, 300_000, 1_000_000):
        shutil.rmtree(folder / "repos", ignore_errors=True)
        model = folder / "repos" / "org" / "model"
        sharded(model, 20, n // 20, 16)
        with Hub(folder / "repos") as hub:
            row("plan, an index of N tensors", n, run(folder, ["plan", "org/model"], hub))
            row("fetch and verify", n, run(folder, ["org/model"], hub))
            row("again, nothing to do", n, run(folder, ["org/model"], hub))
            row("verify --offline", n, run(folder, ["verify", "org/model", "--offline"], hub))
        row("inspect", n, run(folder, ["inspect", model]))
        shutil.rmtree(folder / "hf", ignore_errors=True)


def sparse(folder):
    """Large sparse files: only the header takes space on the disk."""
    for n in (50, 100, 200):
        model = folder / "sparse"
        shutil.rmtree(model, ignore_errors=True)
        model.mkdir(parents=True)
        (model / "config.json").write_text("{}")
        size = n * 1_000_000_000
        header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
        with open(model / "model.safetensors", "wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            file.truncate(8 + len(header) + size)
        row("verify a folder, N GB, no digest known", n, run(folder, ["verify", model], want=1))
        row("inspect it", n, run(folder, ["inspect", model]))
        shutil.rmtree(model)


def hashing(folder):
    """Large files, hashed."""
    for n in (1, 2, 4, 8):
        shutil.rmtree(folder / "repos", ignore_errors=True)
        model = folder / "repos" / "org" / "model"
        model.mkdir(parents=True)
        (model / "config.json").write_text("{}")
        size = n * 1_000_000_000
        header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
        with open(model / "model.safetensors", "wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            file.truncate(8 + len(header) + size)
        with Hub(folder / "repos") as hub:
            if n <= 4:
                row("fetch and verify, N GB", n, run(folder, ["org/model"], hub))
                row("verify --offline", n, run(folder, ["verify", "org/model", "--offline"], hub))
            row("lock and verify --lock a folder", n, (lambda *_: run(
                folder, ["verify", "--lock", lock(folder, hub), model]))())
        shutil.rmtree(folder / "hf", ignore_errors=True)


def lock(folder, hub):
    """Writes a lockfile of the model."""
    path = folder / "hfget.lock"
    path.unlink(missing_ok=True)
    run(folder, ["lock", "org/model", "-o", path], hub)
    return path


WORKS = {work.__name__: work for work in (listing, shards, tensors, sparse, hashing)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", nargs="*", choices=[[], *WORKS], help="all of it by default")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("/var/tmp/hfget-scale"))
    parser.add_argument("--built", action="store_true", help="use the programs in target/dist, and build nothing")
    arguments = parser.parse_args()
    if not arguments.built:
        build()
    print(LINE.format("work", "N", "s", "CPU s", "peak MB", "requests"))
    print("|---|---|---|---|---|---|")
    for name in arguments.work or WORKS:
        folder = arguments.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        WORKS[name](folder)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
