#!/usr/bin/env python3
"""Records a repo for tests/data/oracle.json again, from the real Hub and the real loader.

    python3 tests/record_oracle.py OWNER/NAME [--loader LOADER] [--revision REV] [--into tests/data/oracle.json]

Lists the repo, keeps its small documents, and loads it with the real loader, whose requests are watched: what it asks
for and what is there is what the model needs. Weights above 1 MB are not fetched: the first ones that are asked for end
the load, and the index that was read by then names the others. With `--fetch-up-to MB` they are fetched, too, and the
load goes to its end; sentence-transformers needs that, as it asks for its other modules after the first one's weights.
Prints the record and what differs from the one in the file; `--into` writes it there. HF_ENDPOINT names another Hub. Needs
huggingface_hub and the loader's packages (torch, too, for all but `transformers-config`).

It is no part of CI, since it asks the real Hub. It was run against the loopback Hub, with Debian 12's torch 1.13, on one
repo for each loader: miniature ones for transformers 4.41.2 and 5.23.0 (config and tokenizer), peft 0.11.1, diffusers
0.29.2 and timm 1.0.8, and the real all-MiniLM-L6-v2 for sentence-transformers 3.0.1. `hfget plan` takes all
that these records name, and no other large file.
"""

import argparse
import datetime
import fnmatch
import functools
import importlib.metadata
import json
import os
import pathlib
import sys
import tempfile

FILE = pathlib.Path(__file__).resolve().parent / "data" / "oracle.json"
# Larger files are noted with their size, and not fetched.
LARGE = 1_000_000
# Larger documents are not kept: no case needs them.
DOCUMENT = 64_000
DOCUMENTS = ["*.json", "*.py", "*.yaml", "*.yml", "*.jinja", "modules.json"]
# A file outside `needs` and `may` that is taken and is larger than this counts as waste.
WASTE_OVER = 50_000_000


# The files that the loader could not load: the record shows its own limits.
FAILED = []


class Enough(BaseException):
    """Raised when weights are asked for that are not fetched. Loaders catch every `Exception`, and go on without."""


class Watch:
    """Replaces the functions that fetch files, and notes every name."""

    def __init__(self, repo: str, sizes: dict, most: int):
        self.repo, self.sizes, self.most, self.asked = repo, sizes, most, set()
        # While a whole snapshot is fetched, its threads note large files here; the load ends after the last of them.
        self.snapshot = None

    def over_file(self, fetch):
        def watched(*args, **kwargs):
            repo = kwargs.get("repo_id", args[0] if args else None)
            name = kwargs.get("filename", args[1] if len(args) > 1 else None)
            folder = kwargs.get("subfolder")
            path = f"{folder}/{name}" if folder else name
            if repo != self.repo:
                return fetch(*args, **kwargs)
            self.asked.add(path)
            if self.sizes.get(path, 0) > self.most and not path.endswith(".json"):
                if self.snapshot is None:
                    raise Enough(path)
                self.snapshot.append(path)
                return path
            return fetch(*args, **kwargs)

        return watched

    def over_snapshot(self, fetch):
        def watched(*args, **kwargs):
            self.snapshot = []
            try:
                folder = fetch(*args, **kwargs)
                left = sorted(self.snapshot)
            finally:
                self.snapshot = None
            if left:
                raise Enough(left[0])
            return folder

        return watched


def patch(watch: Watch) -> None:
    """Replaces the functions by the watch in every module that has imported them, under whatever name."""
    from huggingface_hub import _snapshot_download, file_download

    for real, over in (
        (file_download.hf_hub_download, watch.over_file),
        (_snapshot_download.snapshot_download, watch.over_snapshot),
    ):
        watched = over(real)
        for module in list(sys.modules.values()):
            for name, value in list(getattr(module, "__dict__", {}).items()):
                if value is real:
                    setattr(module, name, watched)
                elif isinstance(value, functools.partial) and value.func is real:
                    # timm says in each request who asks.
                    setattr(module, name, functools.partial(watched, *value.args, **value.keywords))


# The packages whose versions count.
LOADERS = {
    "transformers": ["transformers"],
    "transformers-config": ["transformers"],
    "diffusers": ["diffusers", "transformers"],
    "sentence-transformers": ["sentence-transformers", "transformers"],
    "peft": ["peft"],
    "timm": ["timm"],
}


def load(loader: str, repo: str, revision: str, trust: bool) -> None:
    """Loads with the real loader."""
    if loader == "transformers-config":
        from transformers import AutoConfig, AutoTokenizer, GenerationConfig

        for kind in (AutoConfig, AutoTokenizer, GenerationConfig):
            try:
                # Classes without remote code do not have this argument.
                own = {"trust_remote_code": True} if trust and kind is not GenerationConfig else {}
                kind.from_pretrained(repo, revision=revision, **own)
            except Enough:
                raise
            except Exception as error:
                FAILED.append(f"{kind.__name__}: {type(error).__name__}")
                print(f"{FAILED[-1]}: {str(error)[:200]}", file=sys.stderr)
        return
    if loader == "transformers":
        load("transformers-config", repo, revision, trust)
        from transformers import AutoModel

        AutoModel.from_pretrained(repo, revision=revision, trust_remote_code=trust)
        return
    if loader == "diffusers":
        from diffusers import DiffusionPipeline

        DiffusionPipeline.from_pretrained(repo, revision=revision)
        return
    if loader == "sentence-transformers":
        from sentence_transformers import SentenceTransformer

        SentenceTransformer(repo, revision=revision, device="cpu", trust_remote_code=trust)
        return
    if loader == "peft":
        from peft import PeftConfig
        from peft.utils import load_peft_weights

        PeftConfig.from_pretrained(repo, revision=revision)
        load_peft_weights(repo, revision=revision, device="cpu")
        return
    if loader == "timm":
        import timm

        timm.create_model(f"hf-hub:{repo}@{revision}", pretrained=True)
        return
    raise SystemExit(f"no such loader: {loader}")


def short(path: str, text: str) -> str:
    """Shortens an index to one tensor for each shard: only the names of the shards matter."""
    if not path.endswith(".index.json"):
        return text
    index = json.loads(text)
    shards = dict.fromkeys(index.get("weight_map", {}).values())
    return json.dumps({"metadata": {"total_size": 48}, "weight_map": {f"t{n}": shard for n, shard in enumerate(shards)}})


def record(repo: str, revision: str, loader: str, trust: bool, most: int) -> dict:
    from huggingface_hub import HfApi, hf_hub_download

    info = HfApi().model_info(repo, revision=revision, files_metadata=True)
    if any(file.size is None for file in info.siblings):
        raise SystemExit(f"{repo}: the Hub does not say how large its files are")
    sizes = {file.rfilename: file.size for file in info.siblings}
    with tempfile.TemporaryDirectory() as cache:
        documents = {}
        for path, size in sizes.items():
            index = path.endswith(".index.json")
            if any(fnmatch.fnmatch(path, glob) for glob in DOCUMENTS) and (size <= DOCUMENT or index):
                place = hf_hub_download(repo, path, revision=info.sha, cache_dir=cache)
                documents[path] = short(path, pathlib.Path(place).read_text(encoding="utf-8", errors="replace"))
        watch = Watch(repo, sizes, most)
        # The loader's modules must be imported before the watch is put into them.
        __import__(loader.replace("-config", "").replace("-", "_"))
        patch(watch)
        try:
            load(loader, repo, info.sha, trust)
            ended = "loaded"
        except Enough as first:
            ended = f"until the first weights: {first}"
            print(f"{ended}. What it asks for after them is not recorded; --fetch-up-to fetches them.", file=sys.stderr)
    if FAILED:
        ended += f", but for {', '.join(FAILED)}"
    needs = {path for path in watch.asked if path in sizes}
    # sentence-transformers copies it into what it saves, and loads without it.
    may = needs & {"README.md"}
    needs -= may
    if not needs:
        raise SystemExit(f"{repo}: {loader} asked for no file in a way that is watched")
    for index in [path for path in needs if path.endswith(".index.json") and path in documents]:
        folder = index.rpartition("/")[0]
        shards = json.loads(documents[index])["weight_map"].values()
        needs |= {f"{folder}/{shard}" if folder else shard for shard in shards} & sizes.keys()
    versions = " ".join(f"{package} {importlib.metadata.version(package)}" for package in LOADERS[loader])
    return {
        "files": sorted(sizes),
        "sizes": {path: size for path, size in sorted(sizes.items()) if size > LARGE},
        "documents": dict(sorted(documents.items())),
        "loader": f"{versions} ({loader})",
        "evidence": f"run {datetime.date.today()} at {info.sha}, {ended}",
        "needs": sorted(needs),
        "may": sorted(may),
        "waste_over": WASTE_OVER,
    }


def differences(old: dict, new: dict) -> list[str]:
    lines = []
    for key in ("files", "needs"):
        before, now = set(old.get(key, [])), set(new[key])
        lines += [f"{key}: no longer {name}" for name in sorted(before - now)]
        lines += [f"{key}: now {name}" for name in sorted(now - before)]
    for path in sorted(old.get("documents", {}).keys() | new["documents"].keys()):
        if old.get("documents", {}).get(path) != new["documents"].get(path):
            lines.append(f"documents: {path} is another one")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repo")
    parser.add_argument("--loader", choices=LOADERS, default="transformers")
    parser.add_argument("--revision", default="main")
    parser.add_argument("--fetch-up-to", type=int, default=1, metavar="MB", help="fetch weights of up to this size, too")
    parser.add_argument("--trust-remote-code", action="store_true", help="run the repo's own code on this machine")
    parser.add_argument("--into", type=pathlib.Path, help="write the record into this file")
    arguments = parser.parse_args()
    known = json.loads((arguments.into or FILE).read_text()) if (arguments.into or FILE).exists() else {}
    with tempfile.TemporaryDirectory() as cache:
        # Use an empty cache: for a cached file there would be no request.
        os.environ["HF_HUB_CACHE"] = cache
        trust, most = arguments.trust_remote_code, arguments.fetch_up_to * 1_000_000
        new = record(arguments.repo, arguments.revision, arguments.loader, trust, most)
    old = known.get(arguments.repo, {})
    # Keep the decisions that a person made by reading the loader's source.
    for key in ("may", "prefer_bin", "variant_fp16", "ask", "type", "waste_over", "onnx_external"):
        if key in old:
            new[key] = old[key]
    print(json.dumps({arguments.repo: new}, indent=1, ensure_ascii=False))
    for line in differences(old, new) if old else ["it was not recorded before"]:
        print(line, file=sys.stderr)
    if arguments.into:
        known[arguments.repo] = new
        # One repo per line, so that a diff shows which ones changed.
        lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in known.items()]
        arguments.into.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
