#!/usr/bin/env python3
"""Measures a fleet's requests to the Hub, with and without a bucket or a registry in between:
python3 benches/fleet.py [--nodes 1,10,64]

Each node is a process of hfget with a cache of its own; --at-once is how many run at the same time. The loopback Hub
has the real one's limits for an address without a token: 500 requests of the API and 3,000 of files within five
minutes. The bucket is moto's S3 server in .venv, the registry Debian's docker-registry. Needs binaries in --binaries
(`cargo build`, then `cargo build -p hfget-loopback-hub`). Prints the table of docs/src/fleet.md, and writes the page
that draws it. The figures of a thousand nodes are computed from the requests of each measured node.
"""

import argparse
import base64
import concurrent.futures
import hashlib
import html
import json
import math
import os
import pathlib
import random
import socket
import struct
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
API, RESOLVERS, WINDOW = 500, 3000, 300
# A usual model: some shards, and the documents beside them.
SHARDS, SHARD, DOCUMENTS = 10, 1 << 20, 20
MANY = 1000
WAYS = {
    "hub": "every node asks the Hub",
    "mirror": "the Hub and a bucket share the bytes",
    "bucket": "a bucket alone",
    "registry": "a registry alone",
}
# A node's flag, and the place in between, which is filled first.
PLACES = {"mirror": ("--mirror", "s3://fleet/m"), "bucket": ("--endpoint", "s3://fleet/m"), "registry": ("--endpoint", "oci://{}/fleet/m:main")}


def make_repo(folder):
    folder.mkdir(parents=True)
    weight_map = {}
    for at in range(SHARDS):
        name = f"model-{at + 1:05}-of-{SHARDS:05}.safetensors"
        header = json.dumps({f"w{at}": {"dtype": "U8", "shape": [SHARD], "data_offsets": [0, SHARD]}}).encode()
        (folder / name).write_bytes(struct.pack("<Q", len(header)) + header + random.Random(at).randbytes(SHARD))
        weight_map[f"w{at}"] = name
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    for at in range(DOCUMENTS - 2):
        (folder / f"document-{at}.json").write_text(json.dumps({"document": at}))


class Hub:
    """The loopback Hub with its limits. Each measurement begins a new window."""

    def __init__(self, options, repos):
        command = [options.binaries / "limited-hub", repos, *map(str, (API, RESOLVERS, options.window))]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()

    def counted(self):
        """The counts of requests and bytes since the last call."""
        print(file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Bucket:
    """An S3 server with a bucket that is called `fleet`."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        bin = ROOT / ".venv/bin"
        command = [bin / "moto_server", "-H", "127.0.0.1", "-p", str(port)]
        self.process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.env = {
            "AWS_ACCESS_KEY_ID": "AKIATEST",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        }
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.1)
        make = "import boto3; boto3.client('s3').create_bucket(Bucket='fleet')"
        subprocess.run([bin / "python", "-c", make], env={**os.environ, **self.env}, check=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Registry:
    """Debian's registry. No environment variable names it: its address is part of the command line."""

    env = {}

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        config = pathlib.Path(folder) / "registry.yml"
        config.write_text(
            f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
            f"storage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\nhttp: {{addr: '{self.address}', secret: bench}}\n"
        )
        self.process = subprocess.Popen(["docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def hfget(options, hub, bucket, home, *words):
    """Runs hfget with a home of its own, and returns the seconds that it took. A failure ends the benchmark."""
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "HF_ENDPOINT": hub.url, **(bucket.env if bucket else {})}
    began = time.monotonic()
    run = subprocess.run([options.binaries / "hfget", *words], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"hfget {' '.join(words)} ended with {run.returncode}:\n{run.stderr}")
    return time.monotonic() - began


def measure(options, repos, way, nodes):
    """The requests of `nodes` nodes to a new Hub."""
    with tempfile.TemporaryDirectory(dir=options.folder) as work, Hub(options, repos) as hub, (Registry if way == "registry" else Bucket)(work) as bucket:
        work = pathlib.Path(work)
        flag, place = PLACES.get(way, ("", ""))
        place = place.format(getattr(bucket, "address", ""))
        extra = [flag, place] if flag else []
        filling = {"api": 0, "resolvers": 0, "cdn": 0, "refused": 0, "bytes": 0}
        if way != "hub":
            hfget(options, hub, bucket, work / "filler", "org/model", "--all", "--to", place, "--quiet")
            filling = hub.counted()

        def node(at):
            home = work / f"node{at}"
            took = hfget(options, hub, bucket if way != "hub" else None, home, "org/model", "--all", "--quiet", *extra)
            # Sixty-four caches at once would need too much space.
            subprocess.run(["rm", "-rf", home], check=True)
            return took

        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(options.at_once) as pool:
            took = list(pool.map(node, range(nodes)))
        counted = hub.counted()
        row = {"way": way, "nodes": nodes, "seconds": time.monotonic() - began, "slowest": max(took), "computed": False}
        row.update({key: counted[key] + filling[key] for key in counted})
        row["per_node"] = {key: (counted[key] - (counted["refused"] if key == "resolvers" else 0)) / nodes for key in counted}
        row["filling"] = filling
        return row


def windows(row):
    """The least number of five-minute windows that the limits cost. Requests that fit into one window cost none."""
    return max(math.ceil(row["api"] / API), math.ceil((row["resolvers"] - row["refused"]) / RESOLVERS), 1) - 1


def computed(row, nodes):
    """The same for more nodes: each makes as many requests as each measured node."""
    more = {key: round(row["filling"][key] + row["per_node"][key] * nodes) for key in row["filling"]}
    more["refused"] = 0
    return {**row, **more, "nodes": nodes, "computed": True, "slowest": None}


def number(value):
    return f"{value:,}"


def size(value):
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value} B"


def wait(row):
    return "none" if windows(row) == 0 else f"{windows(row) * WINDOW // 60} min"


def table(rows):
    lines = ["| nodes | way | API requests | file requests | bytes from the Hub | wait for the limits |", "|---:|---|---:|---:|---:|---:|"]
    for row in rows:
        nodes = number(row["nodes"]) + (" *" if row["computed"] else "")
        asked = row["resolvers"] - row["refused"]
        lines.append(f"| {nodes} | {WAYS[row['way']]} | {number(row['api'])} | {number(asked)} | {size(row['bytes'])} | {wait(row)} |")
    return "\n".join(lines)


def bars(rows, key, title, limit):
    """A drawing: a bar for each row on a logarithmic scale, and the limit of a window if there is one."""
    width, left, step = 960, 390, 26
    most = max([row[key] for row in rows] + [limit or 1, 10])
    at = lambda value: left + (width - left - 110) * (math.log10(max(value, 1)) / math.log10(most))
    out = [f'<svg viewBox="0 0 {width} {len(rows) * step + 30}" role="img" aria-label="{html.escape(title)}">']
    for index, row in enumerate(rows):
        y = index * step + 4
        tone = "bad" if limit and row[key] > limit else "good"
        name = f"{number(row['nodes'])}{' (computed)' if row['computed'] else ''}: {WAYS[row['way']]}"
        text = size(row[key]) if key == "bytes" else number(row[key])
        out.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{html.escape(name)}</text>')
        if row[key]:
            out.append(f'<rect class="{tone}" x="{left}" y="{y}" width="{max(at(row[key]) - left, 2):.1f}" height="18" rx="2"/>')
        out.append(f'<text x="{max(at(row[key]), left) + 6:.1f}" y="{y + 14}">{text}</text>')
    if limit:
        x, end = at(limit), len(rows) * step + 6
        out.append(f'<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{end}"/><text x="{x:.1f}" y="{end + 16}" text-anchor="middle">limit: {number(limit)} in 5 minutes</text>')
    out.append("</svg>")
    return f"<section><h2>{html.escape(title)}</h2>\n{''.join(out)}</section>"


def page(rows):
    style = (ROOT / "src/render/html/style.css").read_text()
    style += """svg { display: block; width: 100%; max-width: 60rem; font-size: 13px; }
svg text { fill: var(--text); } svg rect.good { fill: var(--good); } svg rect.bad { fill: var(--bad); }
svg line { stroke: var(--warn); stroke-dasharray: 4 3; stroke-width: 1.5; }
"""
    # The page's own policy allows this style, and loads nothing.
    policy = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    for row in rows:
        row["files"] = row["resolvers"] - row["refused"]
    cells = "".join(
        f'<tr><th scope="row" class="number">{number(r["nodes"])}{" (computed)" if r["computed"] else ""}</th><td>{WAYS[r["way"]]}</td>'
        f'<td class="number">{number(r["api"])}</td><td class="number">{number(r["files"])}</td><td class="number">{size(r["bytes"])}</td>'
        f'<td class="number {"bad" if windows(r) else "good"}">{wait(r)}</td>'
        f'<td class="number">{"–" if r["computed"] else number(r["refused"])}</td>'
        f'<td class="number">{"–" if r["computed"] else format(r["slowest"], ".0f") + " s"}</td></tr>'
        for r in rows
    )
    heads = ["Nodes", "Way", "API requests", "File requests", "Bytes from the Hub", "Wait for the limits", "429 seen", "Slowest node"]
    kind = {True: "", False: ' class="number"'}
    head = "".join(f'<th scope="col"{kind[name == "Way"]}>{name}</th>' for name in heads)
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-{policy}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>hfget: what a fleet asks of the Hub</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>What a fleet asks of the Hub</h1>
<p>{when}. One model: {SHARDS} shards of {size(SHARD)}, {DOCUMENTS} documents. Each node is a process with an empty cache. The Hub
is the loopback Hub with the limits for an address without a token. Rows that are computed multiply what each node was seen to
ask.</p>
</header>
<div class="wide" tabindex="0" role="region" aria-label="Figures">
<table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table>
</div>
{bars(rows, "api", "Requests of the API", API)}
{bars(rows, "files", "Requests for files", RESOLVERS)}
{bars(rows, "bytes", "Bytes from the Hub", None)}
<footer>benches/fleet.py. The page needs no network and loads nothing. Bars have a logarithmic scale.</footer>
</body>
</html>
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", default="1,10,64", help="how many nodes [default: 1,10,64]")
    parser.add_argument("--at-once", type=int, default=8, help="processes at once [default: 8]")
    parser.add_argument("--window", type=int, default=WINDOW, help="seconds of a window [default: 300, as the Hub's]")
    parser.add_argument("--binaries", type=pathlib.Path, default=ROOT / "target/debug")
    parser.add_argument("--folder", type=pathlib.Path, help="where caches go while it runs")
    parser.add_argument("--page", type=pathlib.Path, default=pathlib.Path("fleet.html"))
    options = parser.parse_args()
    counts = [int(text) for text in options.nodes.split(",")]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        repos = pathlib.Path(folder) / "repos"
        make_repo(repos / "org/model")
        rows = []
        for way in WAYS:
            of_way = [measure(options, repos, way, nodes) for nodes in counts]
            for row in of_way:
                print(f"{row['nodes']} nodes, {WAYS[way]}: {row['seconds']:.0f} s, {row['refused']} times 429", flush=True)
            rows += [*of_way, computed(of_way[-1], MANY)]
    rows.sort(key=lambda row: (row["nodes"], list(WAYS).index(row["way"])))
    print(table(rows))
    options.page.write_text(page(rows))
    print(f"the page: {options.page}")


if __name__ == "__main__":
    main()
