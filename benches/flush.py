#!/usr/bin/env python3
"""Measures the cost of flushing to a real disk:  python3 benches/flush.py [--runs 5] [--place FOLDER] [--built]

Fetches one 2 GiB file, at two speeds, and 400 small ones, to the disk of FOLDER, in turn with real flushes and with flushes that do
nothing (a seccomp filter answers fsync, fdatasync, syncfs and sync_file_range with success). Prints both, their ratio,
and the flushes that strace counts. Needs nginx and strace (Debian: apt-get install nginx-light strace), Rust, and some
2.5 GB in /dev/shm.
"""

import argparse
import collections
import ctypes
import os
import pathlib
import re
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import run

# x86_64 and aarch64: fsync, fdatasync, sync_file_range, syncfs.
CALLS = {"x86_64": (0xC000003E, (74, 75, 277, 306)), "aarch64": (0xC00000B7, (82, 83, 84, 267))}
NAMES = "fsync,fdatasync,sync_file_range,syncfs"


def no_flushes() -> None:
    """Makes this process's flushes succeed without work from here on."""
    machine, calls = CALLS[os.uname().machine]
    # seccomp(2): load the architecture, go on if it is this machine's; load the call's number; compare; answer.
    steps = [(0x20, 0, 0, 4), (0x15, 1, 0, machine), (0x06, 0, 0, 0x7FFF0000), (0x20, 0, 0, 0)]
    for at, call in enumerate(calls):
        steps.append((0x15, len(calls) - at, 0, call))
    steps += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050000)]
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(code)
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None, use_errno=True)
    # PR_SET_NO_NEW_PRIVS, then PR_SET_SECCOMP with SECCOMP_MODE_FILTER.
    if libc.prctl(38, 1, 0, 0, 0) != 0 or libc.prctl(22, 2, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def make_data() -> None:
    run.REPOS = run.WORK / "flush"
    if (run.WORK / "flush-made").exists():
        return
    shutil.rmtree(run.REPOS, ignore_errors=True)
    one, small = run.REPOS / "org" / "one", run.REPOS / "org" / "small"
    for folder in (one, small):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    run.tensors(one / "model.safetensors", 2 * run.GIB, "w")
    for i in range(399):
        (small / f"file-{i:03}.txt").write_bytes(os.urandom(10_000))
    (run.WORK / "flush-made").touch()


class Bench:
    def __init__(self, endpoint: str, place: pathlib.Path, more: tuple):
        self.endpoint, self.place, self.more = endpoint, place, more

    def fetch(self, repo: str, flush: bool, before: tuple = ()) -> float:
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        # Flush first, so that earlier writes do not count here.
        os.sync()
        env = {"PATH": os.environ["PATH"], "HF_HOME": str(self.place), "HF_ENDPOINT": self.endpoint}
        command = [*before, str(run.HFGET), repo, "--all", "-q", *self.more]
        begin = time.monotonic()
        subprocess.run(
            command, env=env, check=True, stdout=subprocess.DEVNULL, preexec_fn=None if flush else no_flushes
        )
        return time.monotonic() - begin

    def counted(self, repo: str) -> collections.Counter:
        log = self.place.parent / "strace"
        self.fetch(repo, True, ("strace", "-f", "-qq", "-e", f"trace={NAMES}", "-o", str(log)))
        calls = re.findall(r"^\d+\s+(?:<\.\.\. )?(\w+)(?:\(| resumed)", log.read_text(), re.M)
        # strace prints two lines for a call that another thread's call interrupts.
        unfinished = len(re.findall(r"<unfinished \.\.\.>", log.read_text()))
        count = collections.Counter(calls)
        for name in list(count):
            count[name] -= len(re.findall(rf"<\.\.\. {name} resumed", log.read_text()))
        assert unfinished >= 0
        return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--place", type=pathlib.Path, default=run.ROOT / "target", help="a folder on the disk to measure")
    parser.add_argument("--only", default="", help="rows whose names contain this")
    parser.add_argument("--built", action="store_true", help="use the programs in target/dist, and build nothing")
    options = parser.parse_args()
    if not options.built:
        run.build()
    make_data()
    # If the network is faster than the disk, the time with flushes is that of the disk for any program. So in the
    # second row the disk can keep up with the network.
    rows = (
        ("org/one", "one 2 GiB file, as fast as loopback", run.FULL, ()),
        ("org/one", "one 2 GiB file at 300 MB/s", run.FULL, ("--limit-rate", "300MB")),
        ("org/small", "400 small files", run.FULL, ()),
    )
    nginx = run.start_nginx()
    hubs = {run.FULL: run.start_hub(run.FULL)}
    try:
        with tempfile.TemporaryDirectory(prefix="flush-", dir=options.place) as folder:
            print("| work | s with flushes | s without | ratio | flushes |\n|---|---|---|---|---|")
            for repo, what, host, more in (row for row in rows if options.only in row[1]):
                bench = Bench(hubs[host][1], pathlib.Path(folder) / "home", more)
                times = {True: [], False: []}
                for _ in range(options.runs):
                    for flush in (True, False):
                        times[flush].append(bench.fetch(repo, flush))
                with_them, without = (statistics.median(times[flush]) for flush in (True, False))
                count = bench.counted(repo)
                said = ", ".join(f"{n} {name}" for name, n in sorted(count.items()) if n)
                print(f"| {what} | {with_them:.2f} | {without:.2f} | {with_them / without:.3f} | {said} |", flush=True)
    finally:
        for process in (*(hub for hub, _ in hubs.values()), nginx):
            process.send_signal(signal.SIGTERM)
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
