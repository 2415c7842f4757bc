#!/usr/bin/env python3
"""Measures hfget beside its peers, all in one run:  python3 benches/run.py [--runs 5] [WORK...]

With --against BINARY it also measures another build of hfget, in turn with this one.

Needs nginx, curl, aria2, and openssl (Debian: apt-get install nginx-light curl aria2 openssl), Rust, `hf` in .venv (.ci/run
makes it) or in $HFGET_PYTHON_BIN, and some 14 GB in /dev/shm. Makes its data, builds its programs, and prints
the first table of README.md; the ratios are computed from that. Every tool starts with an empty cache on tmpfs;
bytes of large files come from nginx on the loopback interface.

Servers and tools run in a network namespace of their own with TCP's congestion control `cubic`, the default of Linux (--tcp NAME).
Some machines have `bbr`, which sends each packet by a timer: on loopback these timers take the processor time that is measured.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK = pathlib.Path("/dev/shm/hfget-bench")
REPOS = WORK / "repos"
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "dist"
HFGET = TARGET / "hfget"
HF = pathlib.Path(os.environ.get("HFGET_PYTHON_BIN", ROOT / ".venv" / "bin")) / "hf"
FULL, SLOW, TLS = "http://127.0.0.2:8471", "http://127.0.0.2:8472", "https://127.0.0.2:8473"
GIB = 1 << 30


def tensors(path: pathlib.Path, size: int, name: str) -> None:
    """A valid safetensors file of about `size` bytes, with data that neither compresses nor repeats."""
    header = json.dumps({name: {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        while size > 0:
            file.write(os.urandom(min(size, 64 << 20)))
            size -= 64 << 20


def make_data() -> None:
    if (WORK / "made-2").exists():
        return
    shutil.rmtree(WORK, ignore_errors=True)
    one, four, small = REPOS / "org" / "one", REPOS / "org" / "four", REPOS / "org" / "small"
    for folder in (one, four, small):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    tensors(one / "model.safetensors", 2 * GIB, "w")
    shards = {f"t{i}": f"model-0000{i}-of-00004.safetensors" for i in range(1, 5)}
    for name, shard in shards.items():
        tensors(four / shard, GIB // 2, name)
    index = {"metadata": {"total_size": 2 * GIB}, "weight_map": shards}
    (four / "model.safetensors.index.json").write_text(json.dumps(index))
    for i in range(399):
        (small / f"file-{i:03}.txt").write_bytes(os.urandom(10_000))
    (WORK / "made-2").touch()


def build(examples: tuple = (), servers: tuple = ("hfget-loopback-hub",)) -> None:
    """Builds hfget as users get it, and the programs for the measurement."""
    cargo = ["cargo", "build", "--quiet", "--profile", "dist"]
    subprocess.run([*cargo, "--bin", "hfget", *(f"--example={name}" for name in examples)], cwd=ROOT, check=True)
    subprocess.run([*cargo, *(f"--package={name}" for name in servers)], cwd=ROOT, check=True)


def make_certificates() -> None:
    """A certificate for the byte host, and the authority that every tool is told to trust."""
    if (WORK / "host.pem").exists():
        return
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    quietly = {"check": True, "cwd": WORK, "stderr": subprocess.DEVNULL}
    subprocess.run(["openssl", "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "30",
                    "-subj", "/CN=bench", "-addext", "keyUsage=critical,keyCertSign"], **quietly)
    subprocess.run(["openssl", "req", *key, "-keyout", "host.key", "-out", "host.csr", "-subj", "/CN=bytes"], **quietly)
    (WORK / "host.ext").write_text("subjectAltName=IP:127.0.0.2\n")
    subprocess.run(["openssl", "x509", "-req", "-in", "host.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                    "-CAcreateserial", "-days", "30", "-extfile", "host.ext", "-out", "host.pem"], **quietly)


def use_tcp(name: str) -> None:
    """Continues with this congestion control of TCP, in a network namespace of its own if the machine has another one. Without
    the right to make one, it says so and continues as it is."""
    setting = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control")
    inside = os.environ.get("HFGET_BENCH_NETWORK")
    if inside:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            # SIOCSIFFLAGS with IFF_UP (netdevice(7)): a new namespace's loopback interface is down.
            fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH22x", b"lo", 1))
        try:
            setting.write_text(name)
        except OSError as error:
            print(f"{name} cannot be set here: {error}")
    elif setting.read_text().strip() != name:
        unshare = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
        if shutil.which("unshare") and subprocess.run([*unshare, "true"], stderr=subprocess.DEVNULL).returncode == 0:
            os.environ["HFGET_BENCH_NETWORK"] = "own"
            # All is built, and there is no registry in there.
            os.execvp(unshare[0], [*unshare, sys.executable, *sys.argv, "--built"])
        print("no network namespace can be made here, so TCP is as the machine has it")
    print(f"TCP: {setting.read_text().strip()}\n", flush=True)


def start_nginx() -> subprocess.Popen:
    make_certificates()
    config = WORK / "nginx.conf"
    server = "server {{ listen {at}; root {root}; {more} }}"
    at = lambda url: url.partition("://")[2]
    secure = f"ssl_certificate {WORK}/host.pem; ssl_certificate_key {WORK}/host.key;"
    # In a namespace of a user's own there is no other user for its workers, and elsewhere root makes no difference here.
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(
        f"{user} worker_processes 2; daemon off; pid {WORK}/nginx.pid; error_log {WORK}/nginx.log;\n"
        "events { worker_connections 1024; }\n"
        "http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000; types {}"
        " default_type application/octet-stream;\n"
        + server.format(at=at(FULL), root=REPOS, more="")
        + server.format(at=at(SLOW), root=REPOS, more="limit_rate 60m;")
        + server.format(at=at(TLS) + " ssl", root=REPOS, more=secure)
        + "}\n"
    )
    return subprocess.Popen(["nginx", "-c", str(config), "-p", str(WORK)], stderr=subprocess.DEVNULL)


def start_hub(byte_host: str, latency: int = 0, *cas: str) -> tuple[subprocess.Popen, str]:
    command = [TARGET / "loopback-hub", REPOS, byte_host, str(latency), *cas]
    hub = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return hub, hub.stdout.readline().strip()


def start_cas(file: pathlib.Path) -> tuple[subprocess.Popen, list[str]]:
    """Uploads a file to a CAS; returns the CAS's URL and the file's Xet hash."""
    (WORK / "cas").mkdir(exist_ok=True)
    copy = WORK / "cas" / file.name
    copy.unlink(missing_ok=True)
    copy.symlink_to(file)
    cas = subprocess.Popen([TARGET / "loopback-cas", copy], stdout=subprocess.PIPE, text=True)
    return cas, cas.stdout.readline().split()


def stat_of(number: int | str) -> tuple[int, float]:
    """The parent of a running process, and its CPU seconds so far."""
    fields = pathlib.Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1]), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def servers_cpu() -> float:
    """The CPU seconds so far of this script's running children and theirs: the servers."""
    running = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            running[int(folder.name)] = stat_of(folder.name)
    servers, new = set(), {os.getpid()}
    while new:
        new = {number for number, (parent, _) in running.items() if parent in new}
        servers |= new
    return sum(running[number][1] for number in servers)


def measure(command: list, env: dict) -> tuple[float, float, float, float]:
    """Runs a command; returns wall seconds, CPU seconds, peak memory in MB, and the CPU seconds of the servers."""
    servers = servers_cpu()
    begin = time.monotonic()
    process = subprocess.Popen(
        [str(c) for c in command], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=WORK
    )
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - begin
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"{command} failed:\n{errors.decode()[-2000:]}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, servers_cpu() - servers


def log_of(command: list, env: dict) -> str:
    """A run's log lines about files, parts and requests."""
    run = subprocess.run([*map(str, command), "-vv"], env=env, cwd=WORK, check=True, capture_output=True, text=True)
    return re.sub(r"\x1b\[[0-9;]*m", "", run.stderr)


def read_back(command: list, env: dict, fetched: int) -> str:
    """The share of the fetched bytes that were read from files again to be hashed, by hfget's log of one more run.
    (A tracer that counts the reads slows the run down, so that more bytes are read back.)"""
    log = log_of([part for part in command if part != "-q"], env)
    return f"{sum(map(int, re.findall(r'read_back=([0-9]+)', log))) / fetched:.1%}"


# Hashes a file while another program fetches it. Nothing that fetches as that program does, and verifies, is much faster.
BESIDE = 'openssl dgst -sha256 "$0" > /dev/null & "$@"; code=$?; wait; exit $code'

# The comparisons: work, the tools (their figures are added up), the figure, the target for the ratio. `examples/floor/main.rs`
# tells what the floor is.
TARGETS = [
    ("one 2 GiB file", ["floor: sockets, a hash"], "wall", 1.1),
    ("one 2 GiB file", ["openssl, SHA-256 alone"], "wall", 1.15),
    ("one 2 GiB file", ["hf-hub (unverified)"], "wall", 1.0),
    ("four 512 MiB shards", ["floor: sockets, a hash"], "wall", 1.1),
    ("four 512 MiB shards", ["hf-hub (unverified)"], "wall", 1.15),
    ("four 512 MiB shards", ["hf-hub (unverified)", "openssl, SHA-256 alone"], "CPU", 0.9),
    ("one 2 GiB file over HTTPS", ["floor: sockets, a hash"], "wall", 1.1),
    ("one 2 GiB file over HTTPS", ["hf-hub (unverified)"], "wall", 1.0),
    ("four 512 MiB shards over HTTPS", ["floor: sockets, a hash"], "wall", 1.1),
    ("four 512 MiB shards over HTTPS", ["hf-hub (unverified)"], "wall", 1.15),
    ("one file, 60 MiB/s per connection", ["aria2c -x16 (unverified)"], "wall", 1.0),
    ("one 2 GiB file over Xet", ["hf-hub (unverified)"], "wall", 1.1),
    ("one 2 GiB file over Xet", ["floor: hf-hub, openssl beside it"], "wall", 1.1),
    ("400 small files, 50 ms per request", ["hf download (unverified)"], "wall", 0.2),
    ("four 512 MiB shards, verify what is cached", ["hf cache verify"], "wall", 0.3),
]


class Bench:
    def __init__(self, runs: int):
        self.runs = runs
        self.rows = []

    def tools(
        self, work: str, endpoint: str, tools: dict, keep: bool = False, xet: bool = False, fetched: int = 0
    ) -> None:
        """Runs every tool `runs` times, in turn, and notes the medians. For hfget, also notes how many of the
        `fetched` bytes are read back."""
        figures = {name: [] for name in tools}
        shares = dict.fromkeys(tools, "-")
        for turn in range(self.runs + 1):
            for name, command in tools.items():
                home = WORK / "home"
                if not keep:
                    shutil.rmtree(home, ignore_errors=True)
                    home.mkdir()
                env = {
                    "PATH": os.environ["PATH"],
                    "HOME": str(home),
                    "HF_HOME": str(home / "hf"),
                    "HF_ENDPOINT": endpoint,
                    "HF_HUB_DISABLE_XET": "" if xet else "1",
                    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
                    "HF_HUB_DISABLE_TELEMETRY": "1",
                    "SSL_CERT_FILE": str(WORK / "ca.pem"),
                }
                if turn < self.runs:
                    figures[name].append(measure(command, env))
                elif fetched and name == "hfget":
                    shares[name] = read_back(command, env, fetched)
        medians = {n: [statistics.median(f[i] for f in fs) for i in range(4)] for n, fs in figures.items()}
        for name, (wall, cpu, memory, servers) in medians.items():
            row = (work, name, wall, cpu, memory)
            self.rows.append(row)
            figures = f"{wall:.2f} | {cpu:.2f} | {servers:.2f} | {memory:.0f} | {shares[name]}"
            print(f"| {work} | {name} | {figures} |", flush=True)

    def ratios(self) -> None:
        """Prints hfget's figures divided by those of the tools of TARGETS, of the works that were measured."""
        print("\n| work | figure | to | ratio | at most |\n|---|---|---|---|---|")
        figures = {(work, tool): {"wall": wall, "CPU": cpu} for work, tool, wall, cpu, _ in self.rows}
        for work, tools, figure, most in TARGETS:
            ours = figures.get((work, "hfget")) or figures.get((work, "hfget verify"))
            theirs = [figures.get((work, tool)) for tool in tools]
            if ours and all(theirs):
                ratio = ours[figure] / sum(one[figure] for one in theirs)
                shown = f"{ratio:.2f}" if ratio <= most else f"**{ratio:.2f}**"
                print(f"| {work} | {figure} | {' + '.join(tools)} | {shown} | {most} |")

    def killed(self, endpoint: str, size: int) -> None:
        """Kills a run at 90 % and notes how many of the bytes the next one fetches."""
        shares = []
        for _ in range(self.runs):
            home = WORK / "home"
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            env = {**os.environ, "HF_HOME": str(home / "hf"), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1"}
            command = [HFGET, "org/one", "-q", "--json"]
            run = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
            while sum(f.stat().st_blocks * 512 for f in home.rglob("*.part")) < size * 0.9:
                time.sleep(0.002)
            run.kill()
            run.wait()
            second = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
            shares.append(json.loads(second.stdout)["reports"][0]["totals"]["bytes_fetched"] / size)
        share = statistics.median(shares)
        print(f"| kill -9 at 90 %, run again | hfget | {share:.1%} of the bytes fetched again | | | | |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="", help="tools whose names contain this")
    parser.add_argument("--against", type=pathlib.Path, help="another hfget, such as the build before a change")
    parser.add_argument("--built", action="store_true", help="use the programs in target/dist, and build nothing")
    parser.add_argument("--tcp", metavar="NAME", default="cubic", help="the congestion control of TCP")
    parser.add_argument("work", nargs="*", default=["one", "four", "https", "small", "slow", "xet", "killed", "verify", "nothing"])
    options = parser.parse_args()
    if not options.built:
        build(("floor", "hf_hub_get"), ("hfget-loopback-hub", "hfget-loopback-cas"))
    use_tcp(options.tcp)
    # Runs in a process of its own, because a child's peak memory starts at its parent's.
    maker = os.fork()
    if maker == 0:
        make_data()
        os._exit(0)
    if os.waitpid(maker, 0)[1] != 0:
        sys.exit("no data")
    nginx = start_nginx()
    hubs = []

    def hub(byte_host: str, latency: int = 0, *cas: str) -> str:
        process, endpoint = start_hub(byte_host, latency, *cas)
        hubs.append(process)
        return endpoint

    bench = Bench(options.runs)
    peer, floor = TARGET / "examples" / "hf_hub_get", TARGET / "examples" / "floor"
    weights = "model.safetensors"
    shards = [f"model-0000{i}-of-00004.safetensors" for i in range(1, 5)]
    home = WORK / "home"

    def some(tools: dict) -> dict:
        if options.against and "hfget" in tools:
            tools = {"hfget": tools["hfget"], "hfget before": [options.against, *tools["hfget"][1:]], **tools}
        return {n: c for n, c in tools.items() if options.only in n}

    print("| work | tool | wall s | CPU s | servers' CPU s | peak MB | read back |\n|---|---|---|---|---|---|---|")
    try:
        full = hub(FULL)
        if "one" in options.work:
            url = f"{FULL}/org/one/{weights}"
            digest = None
            if not options.only or "aria2c" in options.only:
                digest = hashlib.file_digest(open(REPOS / "org/one" / weights, "rb"), "sha256").hexdigest()
            aria = ["aria2c", "-q", "--file-allocation=none", "-d", home]
            bench.tools("one 2 GiB file", full, some({
                "hfget": [HFGET, "org/one", "-q"],
                "floor: sockets, a hash": [floor, FULL, home, f"/org/one/{weights}"],
                "openssl, SHA-256 alone": ["openssl", "dgst", "-sha256", REPOS / "org/one" / weights],
                "hf-hub (unverified)": [peer, "org/one", weights],
                "hf download (unverified)": [HF, "download", "org/one"],
                "curl (unverified)": ["curl", "-sf", "-o", home / "x", url],
                "aria2c -x8, checksum": [*aria, "-x8", "-s8", f"--checksum=sha-256={digest}", url],
            }), fetched=2 * GIB)
        if "four" in options.work:
            bench.tools("four 512 MiB shards", full, some({
                "hfget": [HFGET, "org/four", "-q"],
                "floor: sockets, a hash": [floor, FULL, home, *(f"/org/four/{shard}" for shard in shards)],
                "openssl, SHA-256 alone": ["openssl", "dgst", "-sha256", *(REPOS / "org/four" / shard for shard in shards)],
                "hf-hub (unverified)": [peer, "org/four", *shards],
                "hf download (unverified)": [HF, "download", "org/four"],
            }), fetched=2 * GIB)
        if "https" in options.work:
            secure = hub(TLS)
            bench.tools("one 2 GiB file over HTTPS", secure, some({
                "hfget": [HFGET, "org/one", "-q"],
                "floor: sockets, a hash": [floor, TLS, home, f"/org/one/{weights}"],
                "hf-hub (unverified)": [peer, "org/one", weights],
                "hf download (unverified)": [HF, "download", "org/one"],
            }), fetched=2 * GIB)
            bench.tools("four 512 MiB shards over HTTPS", secure, some({
                "hfget": [HFGET, "org/four", "-q"],
                "floor: sockets, a hash": [floor, TLS, home, *(f"/org/four/{shard}" for shard in shards)],
                "hf-hub (unverified)": [peer, "org/four", *shards],
                "hf download (unverified)": [HF, "download", "org/four"],
            }), fetched=2 * GIB)
        if "small" in options.work:
            slow_hub = hub(FULL, 50)
            bench.tools("400 small files, 50 ms per request", slow_hub, some({
                "hfget": [HFGET, "org/small", "-q", "--all"],
                "hf download (unverified)": [HF, "download", "org/small"],
            }))
        if "slow" in options.work:
            throttled = hub(SLOW)
            url = f"{SLOW}/org/one/{weights}"
            bench.tools("one file, 60 MiB/s per connection", throttled, some({
                "hfget": [HFGET, "org/one", "-q"],
                "aria2c -x16 (unverified)": ["aria2c", "-q", "--file-allocation=none", "-d", home, "-x16", "-s16", url],
            }), fetched=2 * GIB)
        if "xet" in options.work:
            cas, named = start_cas(REPOS / "org/one" / weights)
            hubs.append(cas)
            bench.tools("one 2 GiB file over Xet", hub(FULL, 0, *named), some({
                "hfget": [HFGET, "org/one", "-q", "--transport", "xet"],
                "hf-hub (unverified)": [peer, "org/one", weights],
                "floor: hf-hub, openssl beside it": ["sh", "-c", BESIDE, REPOS / "org/one" / weights, peer, "org/one", weights],
                "hf download (unverified)": [HF, "download", "org/one"],
            }), xet=True, fetched=2 * GIB)
            cas.send_signal(signal.SIGKILL)
            shutil.rmtree(WORK / "cas", ignore_errors=True)
        if "killed" in options.work:
            bench.killed(full, 2 * GIB)
        if "verify" in options.work or "nothing" in options.work:
            shutil.rmtree(home, ignore_errors=True)
            env = {**os.environ, "HF_HOME": str(home / "hf"), "HF_ENDPOINT": full}
            subprocess.run([HFGET, "org/four", "-q"], env=env, check=True, stdout=subprocess.DEVNULL)
            if "verify" in options.work:
                bench.tools("four 512 MiB shards, verify what is cached", full, some({
                    "hfget verify": [HFGET, "verify", "org/four", "-q"],
                    "hf cache verify": [HF, "cache", "verify", "org/four"],
                }), keep=True)
            if "nothing" in options.work:
                bench.tools("nothing to do", full, some({"hfget": [HFGET, "org/four", "-q"]}), keep=True)
        bench.ratios()
    finally:
        for process in [*hubs, nginx]:
            process.send_signal(signal.SIGTERM)
            process.wait()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
