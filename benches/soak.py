#!/usr/bin/env python3
"""Runs hfget through half an hour of faults:  python3 benches/soak.py [--minutes 30] [--seed N] [--bin FOLDER]

Several hfget and the real `hf download` fetch the same repos at once, into the same cache and the same plain folder,
from the loopback Hub, behind a proxy that breaks connections, stalls, answers 429 and 503 and stops for seconds.
Processes are killed at random. After each round no wrong file may be visible, and no file may have disappeared;
every round ends with a calm run of each, which must be right. Needs Rust and `hf` in .venv (.ci/run makes it) or in
$HFGET_PYTHON_BIN. If something is lost, prints the seed and exits with 1.
"""

import argparse
import hashlib
import http.client
import http.server
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
HF = pathlib.Path(os.environ.get("HFGET_PYTHON_BIN", ROOT / ".venv" / "bin")) / "hf"
REPOS = ("org/one", "org/shards", "org/small")
MIB = 1 << 20
OWN = "notes of my own.txt"


def tensors(path: pathlib.Path, size: int, name: str) -> None:
    header = json.dumps({name: {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + random.Random(name).randbytes(size))


def make_repos(root: pathlib.Path) -> None:
    for repo in REPOS:
        (root / repo).mkdir(parents=True)
        (root / repo / "config.json").write_text("{}")
    tensors(root / "org/one/model.safetensors", 40 * MIB, "w")
    names = {f"t{i}": f"model-0000{i}-of-00003.safetensors" for i in range(1, 4)}
    for tensor, name in names.items():
        tensors(root / "org/shards" / name, 12 * MIB, tensor)
    index = {"metadata": {"total_size": 36 * MIB}, "weight_map": names}
    (root / "org/shards/model.safetensors.index.json").write_text(json.dumps(index))
    tensors(root / "org/small/model.safetensors", 2 * MIB, "s")
    for n in range(80):
        (root / "org/small" / f"part-{n:02}.json").write_text(json.dumps({"n": n}))


class Trouble:
    """The present fault, which is the same for all connections."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.share = 0.0
        self.away_until = 0.0

    def calm(self) -> None:
        self.share, self.away_until = 0.0, 0.0

    def away(self) -> bool:
        return time.monotonic() < self.away_until

    def next(self) -> str:
        with self.lock:
            if self.random.random() >= self.share:
                return ""
            return self.random.choice(["429", "429", "503", "500", "cut", "cut", "stall", "close"])

    def number(self, most: int) -> int:
        with self.lock:
            return self.random.randrange(max(most, 1))


class Front(http.server.BaseHTTPRequestHandler):
    """The proxy in front of the Hub's API and bytes, with the network's faults."""

    protocol_version = "HTTP/1.1"
    trouble: Trouble
    repos: pathlib.Path
    hub = ""
    # The connection is accepted but not answered.
    timeout = 60

    def log_message(self, *_):
        pass

    def drop(self) -> None:
        self.close_connection = True
        try:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        except OSError:
            pass

    def refuse(self, status: int) -> None:
        self.send_response(status)
        if status == 429 and self.trouble.number(2):
            self.send_header("retry-after", "1")
        self.send_header("content-length", "0")
        self.end_headers()

    def serve(self, head: bool) -> None:
        if self.trouble.away():
            return self.drop()
        trouble = self.trouble.next()
        if trouble == "close":
            return self.drop()
        if trouble == "stall":
            time.sleep(3)
            return self.drop()
        if trouble.isdigit():
            return self.refuse(int(trouble))
        cut = trouble == "cut"
        try:
            self.bytes(head, cut) if self.path.startswith("/bytes/") else self.api(head, cut)
        except (BrokenPipeError, ConnectionError):
            self.close_connection = True

    def do_GET(self):
        self.serve(False)

    def do_HEAD(self):
        self.serve(True)

    def send(self, head: bool, body: bytes, cut: bool) -> None:
        """Sends an answer in pieces, each of which may be the last."""
        self.end_headers()
        if head:
            return
        until = self.trouble.number(len(body)) if cut else len(body)
        for at in range(0, until, MIB // 4):
            if self.trouble.away():
                return self.drop()
            self.wfile.write(body[at : min(at + MIB // 4, until)])
            time.sleep(0.01)
        if cut:
            self.drop()

    def bytes(self, head: bool, cut: bool) -> None:
        path = self.repos / self.path.split("?")[0].removeprefix("/bytes/")
        body = path.read_bytes()
        size, asked = len(body), re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        if asked:
            start, end = int(asked[1]), min(int(asked[2] or size - 1), size - 1)
            self.send_response(206)
            self.send_header("content-range", f"bytes {start}-{end}/{size}")
            body = body[start : end + 1]
        else:
            self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.send(head, body, cut)

    def api(self, head: bool, cut: bool) -> None:
        hub = http.client.HTTPConnection(self.hub, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        hub.request(self.command, self.path, headers=headers)
        answer = hub.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "date"):
                self.send_header(name, value)
        length = answer.getheader("content-length", "0") if head else str(len(body))
        self.send_header("content-length", length)
        self.send(head, body, cut)
        hub.close()


class Quiet(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        # The client was killed, which is expected.
        pass


class Lost(Exception):
    pass


class Soak:
    def __init__(self, arguments: argparse.Namespace, work: pathlib.Path):
        self.bin, self.work = pathlib.Path(arguments.bin), work
        self.random = random.Random(arguments.seed)
        self.trouble = Trouble(arguments.seed)
        self.repos, self.home = work / "repos", work / "home"
        make_repos(self.repos)
        self.contents = {
            repo: {str(f.relative_to(self.repos / repo)): f.read_bytes() for f in (self.repos / repo).rglob("*") if f.is_file()}
            for repo in REPOS
        }
        self.right = {hashlib.sha256(c).hexdigest() for files in self.contents.values() for c in files.values()}
        self.counts = dict.fromkeys(["rounds", "runs", "killed", "ended 0", "ended otherwise", "hf runs", "hf failed"], 0)
        front = type("ThisFront", (Front,), {"trouble": self.trouble, "repos": self.repos})
        self.server = Quiet(("127.0.0.1", 0), front)
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        hub = [self.bin / "loopback-hub", self.repos, f"{self.endpoint}/bytes"]
        self.hub = subprocess.Popen(hub, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        front.hub = self.hub.stdout.readline().strip().removeprefix("http://")
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.env = {
            "PATH": os.environ["PATH"], "HOME": str(self.home), "HF_HOME": str(self.home / "hf"),
            "HF_ENDPOINT": self.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        self.folder = self.home / "folder"
        self.begin_anew()

    def begin_anew(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)
        (self.folder / "one").mkdir(parents=True)
        (self.folder / "one" / OWN).write_text("mine")

    def hfget(self, repo: str, *more: str) -> list:
        return [self.bin / "hfget", repo, "--all", "--retry-base-ms", "20", "--stall-timeout", "2", *more]

    def start(self, command: list) -> subprocess.Popen:
        return subprocess.Popen(
            [str(word) for word in command], env=self.env, cwd=self.home, text=True, errors="replace",
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        )

    def some_command(self) -> list:
        repo = self.random.choice(REPOS)
        kind = self.random.randrange(10)
        if kind < 3:
            return [HF, "download", repo, "--max-workers", "4", "--quiet"]
        if kind < 5:
            return self.hfget("org/one", "--local-dir", str(self.folder / "one"), "--connections", "4")
        if kind < 6:
            return [self.bin / "hfget", "verify", repo, "--all", "--retry-base-ms", "20"]
        return self.hfget(repo, "--connections", str(self.random.choice([1, 4, 8])))

    def troubled(self) -> None:
        """Runs several programs at once, with faults, and kills some of them."""
        self.trouble.share = self.random.choice([0.0, 0.02, 0.1, 0.25])
        running = [(command, self.start(command)) for command in (self.some_command() for _ in range(self.random.randint(1, 4)))]
        until = time.monotonic() + self.random.uniform(0.5, 12)
        if self.random.random() < 0.4:
            time.sleep(self.random.uniform(0, 1))
            self.trouble.away_until = time.monotonic() + self.random.uniform(1, 8)
        to_kill = [process for _, process in running if self.random.random() < 0.5]
        while time.monotonic() < until and any(process.poll() is None for _, process in running):
            time.sleep(0.05)
            for process in list(to_kill):
                if self.random.random() < 0.03:
                    self.kill(process)
                    to_kill.remove(process)
        for process in to_kill:
            self.kill(process)
        self.trouble.calm()
        for command, process in running:
            try:
                said = process.communicate(timeout=120)[1]
            except subprocess.TimeoutExpired:
                process.kill()
                raise Lost(f"does not end: {command}")
            self.judge(command, process.returncode, said)

    def kill(self, process: subprocess.Popen) -> None:
        if process.poll() is None:
            process.send_signal(self.random.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM]))
            self.counts["killed"] += 1

    def judge(self, command: list, code: int, said: str) -> None:
        if command[0] == HF:
            self.counts["hf runs"] += 1
            self.counts["hf failed"] += code != 0
            return
        self.counts["runs"] += 1
        self.counts["ended 0" if code == 0 else "ended otherwise"] += 1
        verify = command[1] == "verify"
        # `verify` ends with 1 if the files are incomplete, and with 3 if none are here.
        allowed = {0, 4, 130, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, 143} | ({1, 3} if verify else set())
        if code not in allowed:
            raise Lost(f"{' '.join(map(str, command))} ended with {code}:\n{said}")

    def visible(self) -> set:
        """Checks every file that a loader could see: each must be right."""
        found = set()
        cache = self.home / "hf" / "hub"
        for repo in REPOS:
            model = cache / f"models--{repo.replace('/', '--')}"
            for file in sorted(model.glob("snapshots/*/**/*")) + sorted(model.glob("blobs/*")):
                if file.is_dir() or file.name.endswith(".incomplete"):
                    continue
                try:
                    content = file.read_bytes()
                except FileNotFoundError:
                    raise Lost(f"{file} leads nowhere")
                if hashlib.sha256(content).hexdigest() not in self.right:
                    raise Lost(f"{file} has wrong bytes ({len(content)})")
                if "snapshots" in file.parts:
                    name = str(pathlib.Path(*file.parts[file.parts.index("snapshots") + 2 :]))
                    if content != self.contents[repo].get(name):
                        raise Lost(f"{file} is another file of the repo")
                found.add(file)
        for file in (self.folder / "one").glob("*"):
            if file.is_file() and file.name != OWN and not file.name.startswith("."):
                if file.read_bytes() != self.contents["org/one"].get(file.name):
                    raise Lost(f"{file} has wrong bytes")
                found.add(file)
        if (self.folder / "one" / OWN).read_text() != "mine":
            raise Lost("the user's own file was changed")
        return found

    def calm(self) -> None:
        """Checks that a last run of each program succeeds, whatever happened before."""
        self.trouble.calm()
        commands = [self.hfget(repo) for repo in REPOS]
        commands.append(self.hfget("org/one", "--local-dir", str(self.folder / "one")))
        commands += [[self.bin / "hfget", "verify", repo, "--all"] for repo in REPOS]
        commands += [self.hfget(repo, "--offline") for repo in REPOS]
        commands += [[HF, "download", repo, "--quiet"] for repo in REPOS]
        for command in commands:
            process = self.start(command)
            said = process.communicate(timeout=300)[1]
            if process.returncode != 0:
                raise Lost(f"calm, and {' '.join(map(str, command))} ended with {process.returncode}:\n{said}")
        for repo in REPOS:
            snapshots = list((self.home / "hf/hub" / f"models--{repo.replace('/', '--')}" / "snapshots").glob("*"))
            names = {str(f.relative_to(s)) for s in snapshots for f in s.rglob("*") if not f.is_dir()}
            if names != set(self.contents[repo]):
                raise Lost(f"{repo}: {set(self.contents[repo]) ^ names} are missing or unexpected")
        left = [f for f in self.home.rglob("*") if ".hfget" in f.parts and f.suffix in (".part", ".journal")]
        left += [f for f in self.home.rglob("tmp-*") if time.time() - f.lstat().st_mtime > 3600]
        if left:
            raise Lost(f"leftovers: {left}")

    def run(self, minutes: float) -> None:
        until = time.monotonic() + minutes * 60
        while time.monotonic() < until:
            self.counts["rounds"] += 1
            before = self.visible()
            for _ in range(self.random.randint(1, 5)):
                self.troubled()
                now = self.visible()
                if not before <= now:
                    raise Lost(f"gone: {sorted(map(str, before - now))}")
                before = now
            self.calm()
            self.visible()
            print(", ".join(f"{name} {n}" for name, n in self.counts.items()), flush=True)
            if self.random.random() < 0.7:
                self.begin_anew()

    def stop(self) -> None:
        self.hub.kill()
        self.hub.wait()
        self.server.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--bin", help="the folder of built programs [default: build them]")
    arguments = parser.parse_args()
    if not HF.exists():
        sys.exit(f"there is no hf at {HF}: .ci/run installs it")
    if not arguments.bin:
        build = ["cargo", "build", "--quiet", "--release", "-p", "hfget", "-p", "hfget-loopback-hub"]
        subprocess.run(build, cwd=ROOT, check=True)
        arguments.bin = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    arguments.bin = pathlib.Path(arguments.bin).resolve()
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="hfget-soak-") as work:
        soak = Soak(arguments, pathlib.Path(work))
        try:
            soak.run(arguments.minutes)
        except Lost as lost:
            sys.exit(f"seed {arguments.seed}, round {soak.counts['rounds']}: {lost}")
        finally:
            soak.stop()
    print("nothing was lost, and every last run was right")


if __name__ == "__main__":
    main()
