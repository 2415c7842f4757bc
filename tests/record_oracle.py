#!/usr/bin/env python3
"""Records a repo for tests/data/oracle.json again, from the real Hub and the real loader.

    python3 tests/record_oracle.py OWNER/NAME [--loader LOADER] [--revision REV] [--into tests/data/oracle.json]

Lists the repo, keeps its small documents, and loads it with the real loader, whose requests are watched: the model
needs the existing files that it asks for. Small files are fetched, and weights are not: the first one that is asked for
ends the load, and the index that was read by then names the others. Prints the record and what differs from the one in
the file; `--into` writes it there. Needs huggingface_hub and the loader's packages (torch, too, for all but
`transformers-config`); it is not part of CI, since it asks the real Hub."""

import argparse
import datetime
import fnmatch
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


class Enough(Exception):
    """Raised when weights are asked for: the rest follows from the index."""


class Watch:
    """Replaces the function that fetches a file, and notes every name."""

    def __init__(self, repo: str, sizes: dict):
        self.repo, self.sizes, self.asked, self.read = repo, sizes, set(), set()

    def over(self, fetch):
        def watched(*args, **kwargs):
            repo = kwargs.get("repo_id", args[0] if args else None)
            name = kwargs.get("filename", args[1] if len(args) > 1 else None)
            folder = kwargs.get("subfolder")
            path = f"{folder}/{name}" if folder else name
            if repo != self.repo:
                return fetch(*args, **kwargs)
            self.asked.add(path)
            if self.sizes.get(path, 0) > LARGE and not path.endswith(".json"):
                raise Enough(path)
            got = fetch(*args, **kwargs)
            self.read.add(path)
            return got

        return watched


def patch(watch: Watch) -> None:
    """Replaces the function by the watch in every module that has imported it."""
    import huggingface_hub
    from huggingface_hub import file_download

    real = file_download.hf_hub_download
    watched = watch.over(real)
    huggingface_hub.hf_hub_download = watched
    for module in list(sys.modules.values()):
        if getattr(module, "hf_hub_download", None) is real:
            module.hf_hub_download = watched


def load(loader: str, repo: str, revision: str, trust: bool) -> list[str]:
    """Loads with the real loader; returns the packages whose versions count."""
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
        return ["transformers"]
    if loader == "transformers":
        packages = load("transformers-config", repo, revision, trust)
        from transformers import AutoModel

        AutoModel.from_pretrained(repo, revision=revision, trust_remote_code=trust)
        return packages
    if loader == "diffusers":
        from diffusers import DiffusionPipeline

        DiffusionPipeline.from_pretrained(repo, revision=revision)
        return ["diffusers", "transformers"]
    if loader == "sentence-transformers":
        from sentence_transformers import SentenceTransformer

        SentenceTransformer(repo, revision=revision, device="cpu", trust_remote_code=trust)
        return ["sentence-transformers", "transformers"]
    if loader == "peft":
        from peft import PeftConfig
        from peft.utils import load_peft_weights

        PeftConfig.from_pretrained(repo, revision=revision)
        load_peft_weights(repo, revision=revision, device="cpu")
        return ["peft"]
    raise SystemExit(f"no such loader: {loader}")


def short(path: str, text: str) -> str:
    """Shortens an index to one tensor for each shard: only the names of the shards matter."""
    if not path.endswith(".index.json"):
        return text
    index = json.loads(text)
    shards = dict.fromkeys(index.get("weight_map", {}).values())
    return json.dumps({"metadata": {"total_size": 48}, "weight_map": {f"t{n}": shard for n, shard in enumerate(shards)}})


def record(repo: str, revision: str, loader: str, trust: bool) -> dict:
    from huggingface_hub import HfApi, hf_hub_download

    info = HfApi().model_info(repo, revision=revision, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings}
    with tempfile.TemporaryDirectory() as cache:
        documents = {}
        for path, size in sizes.items():
            index = path.endswith(".index.json")
            if any(fnmatch.fnmatch(path, glob) for glob in DOCUMENTS) and (size <= DOCUMENT or index):
                place = hf_hub_download(repo, path, revision=info.sha, cache_dir=cache)
                documents[path] = short(path, pathlib.Path(place).read_text(encoding="utf-8", errors="replace"))
        watch = Watch(repo, sizes)
        # The loader's modules must be imported before the watch is put into them.
        __import__(loader.replace("-config", "").replace("-", "_"))
        patch(watch)
        packages = [loader.replace("-config", "")]
        try:
            packages = load(loader, repo, info.sha, trust)
            ended = "loaded"
        except Enough as first:
            ended = f"until the first weights: {first}"
    if FAILED:
        ended += f", but for {', '.join(FAILED)}"
    needs = {path for path in watch.asked if path in sizes}
    for index in [path for path in needs if path.endswith(".index.json") and path in documents]:
        folder = index.rpartition("/")[0]
        shards = json.loads(documents[index])["weight_map"].values()
        needs |= {f"{folder}/{shard}" if folder else shard for shard in shards} & sizes.keys()
    versions = " ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)
    return {
        "files": sorted(sizes),
        "sizes": {path: size for path, size in sorted(sizes.items()) if size > LARGE},
        "documents": dict(sorted(documents.items())),
        "loader": f"{versions} ({loader})",
        "evidence": f"run {datetime.date.today()} at {info.sha}, {ended}",
        "needs": sorted(needs),
        "may": [],
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
    loaders = ["transformers", "transformers-config", "diffusers", "sentence-transformers", "peft"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repo")
    parser.add_argument("--loader", choices=loaders, default="transformers")
    parser.add_argument("--revision", default="main")
    parser.add_argument("--trust-remote-code", action="store_true", help="run the repo's own code on this machine")
    parser.add_argument("--into", type=pathlib.Path, help="write the record into this file")
    arguments = parser.parse_args()
    known = json.loads((arguments.into or FILE).read_text()) if (arguments.into or FILE).exists() else {}
    with tempfile.TemporaryDirectory() as cache:
        # Use an empty cache: for a cached file there would be no request.
        os.environ["HF_HUB_CACHE"] = cache
        new = record(arguments.repo, arguments.revision, arguments.loader, arguments.trust_remote_code)
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
