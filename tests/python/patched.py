"""Loaders in a process where hfget took the place of huggingface_hub's downloads."""

import logging
import os
import subprocess
import sys
import tempfile
import unittest

GUIDE = "lysandre/arxiv-nlp"
GPT2 = "org/loads"


class Patched(unittest.TestCase):
    def setUp(self):
        import hfget

        self.hfget = hfget
        self.addCleanup(hfget.unpatch)

    def test_every_name_of_the_two_functions_is_replaced_and_given_back(self):
        import huggingface_hub
        from huggingface_hub import file_download, snapshot_download

        sys.modules["loaded_before"] = type(sys)("loaded_before")
        sys.modules["loaded_before"].fetch = snapshot_download
        self.addCleanup(sys.modules.pop, "loaded_before")
        self.hfget.patch()
        self.hfget.patch()
        for function in (
            huggingface_hub.snapshot_download,
            huggingface_hub.hf_hub_download,
            file_download.hf_hub_download,
            sys.modules["loaded_before"].fetch,
        ):
            self.assertTrue(getattr(function, "__hfget__", False))
        self.hfget.unpatch()
        self.assertIs(huggingface_hub.snapshot_download, snapshot_download)
        self.assertIs(sys.modules["loaded_before"].fetch, snapshot_download)
        self.assertFalse(hasattr(file_download.hf_hub_download, "__hfget__"))

    def test_from_pretrained_loads_verified_files(self):
        from transformers import AutoConfig, AutoTokenizer

        self.hfget.patch()
        with tempfile.TemporaryDirectory() as cache:
            config = AutoConfig.from_pretrained(GPT2, cache_dir=cache)
            self.assertEqual(config.model_type, "gpt2")
            tokenizer = AutoTokenizer.from_pretrained(GPT2, cache_dir=cache)
            self.assertEqual(type(tokenizer).__name__[:4], "GPT2")
            records = os.path.join(cache, "models--org--loads", ".hfget", "verified.jsonl")
            with open(records, encoding="utf-8") as file:
                self.assertGreaterEqual(len(file.read().splitlines()), 2, "hfget fetched them")
            # A wrong byte that huggingface_hub would hand on is an error.
            snapshot = self.hfget.snapshot_download(GPT2, cache_dir=cache, allow_patterns="config.json")
            path = os.path.join(snapshot, "config.json")
            with open(path, "r+b") as file:
                file.write(b" ")
            with self.assertRaises(OSError):
                AutoConfig.from_pretrained(GPT2, cache_dir=cache, local_files_only=True)

    def test_the_weights_that_a_loader_reads_are_verified(self):
        from huggingface_hub import ModelHubMixin, hf_hub_download
        from safetensors.numpy import load_file

        class Model(ModelHubMixin):
            """A model without a framework: its weights are what the file has."""

            def __init__(self, weights):
                self.weights = weights

            @classmethod
            def _from_pretrained(cls, *, model_id, cache_dir, local_files_only, **_):
                import huggingface_hub

                path = huggingface_hub.hf_hub_download(
                    model_id, "model.safetensors", cache_dir=cache_dir, local_files_only=local_files_only
                )
                return cls(load_file(path))

        self.assertFalse(hasattr(hf_hub_download, "__hfget__"))
        self.hfget.patch()
        with tempfile.TemporaryDirectory() as cache:
            model = Model.from_pretrained(GPT2, cache_dir=cache)
            self.assertEqual(list(model.weights), ["w"])
            folder = self.hfget.snapshot_download(GPT2, cache_dir=cache)
            with open(os.path.realpath(os.path.join(folder, "model.safetensors")), "r+b") as file:
                file.seek(-1, os.SEEK_END)
                file.write(b"x")
            with self.assertRaises(self.hfget.VerificationError):
                Model.from_pretrained(GPT2, cache_dir=cache, local_files_only=True)
            # The twin: without hfget the wrong byte is loaded.
            self.hfget.unpatch()
            self.assertEqual(list(Model.from_pretrained(GPT2, cache_dir=cache, local_files_only=True).weights), ["w"])

    def test_a_file_that_a_repo_lacks_is_asked_for_once(self):
        from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache
        from transformers import AutoConfig, GenerationConfig

        self.hfget.patch()
        with tempfile.TemporaryDirectory() as cache:
            AutoConfig.from_pretrained(GPT2, cache_dir=cache)
            with self.assertRaises(OSError):
                GenerationConfig.from_pretrained(GPT2, cache_dir=cache)
            found = try_to_load_from_cache(GPT2, "generation_config.json", cache_dir=cache)
            self.assertIs(found, _CACHED_NO_EXIST)

    def test_the_note_of_a_missing_file_follows_no_link_out_of_the_cache(self):
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError

        self.hfget.patch()
        with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as elsewhere:
            storage = os.path.join(cache, "models--org--loads")
            os.mkdir(storage)
            os.symlink(elsewhere, os.path.join(storage, ".no_exist"))
            with self.assertRaises(EntryNotFoundError):
                huggingface_hub.hf_hub_download(GPT2, "missing.json", cache_dir=cache)
            self.assertEqual(os.listdir(elsewhere), [])

    def test_from_pretrained_takes_the_folder_that_snapshot_download_gives(self):
        from transformers import AutoConfig, AutoTokenizer

        with tempfile.TemporaryDirectory() as cache:
            folder = self.hfget.snapshot_download(GPT2, cache_dir=cache)
            self.assertEqual(AutoConfig.from_pretrained(folder).model_type, "gpt2")
            self.assertGreater(len(AutoTokenizer.from_pretrained(folder)), 0)

    def test_calls_that_hfget_cannot_serve_go_to_the_original_with_a_warning(self):
        import huggingface_hub

        self.hfget.patch()
        with tempfile.TemporaryDirectory() as cache:
            with self.assertLogs("hfget", logging.WARNING) as said:
                path = huggingface_hub.hf_hub_download(GUIDE, "config.json", cache_dir=cache, headers={"X-Own": "1"})
            self.assertTrue(os.path.isfile(path))
            self.assertIn("unverified", said.output[0])
            with self.assertNoLogs("hfget", logging.WARNING):
                huggingface_hub.hf_hub_download(GUIDE, "vocab.json", cache_dir=cache)

    def test_the_api_object_is_served_too(self):
        import huggingface_hub

        self.hfget.patch()
        with tempfile.TemporaryDirectory() as cache:
            path = huggingface_hub.HfApi().hf_hub_download(GUIDE, "config.json", cache_dir=cache)
            self.assertTrue(os.path.isfile(path))
            self.assertTrue(os.path.isfile(os.path.join(cache, "models--lysandre--arxiv-nlp", ".hfget", "verified.jsonl")))


class RunUnder(unittest.TestCase):
    CODE = (
        "import subprocess, sys, huggingface_hub as h\n"
        "print(getattr(h.snapshot_download, '__hfget__', False), flush=True)\n"
        f"print(h.hf_hub_download({GUIDE!r}, 'config.json', cache_dir=sys.argv[1]), flush=True)\n"
        "child = 'import huggingface_hub as h; print(getattr(h.hf_hub_download, \"__hfget__\", False))'\n"
        "subprocess.run([sys.executable, '-c', child], check=True)\n"
    )

    def run_under(self, *words, env=None):
        command = [sys.executable, "-m", "hfget", "run", *words]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(env or {})})

    def test_the_program_and_its_children_are_patched(self):
        with tempfile.TemporaryDirectory() as cache:
            said = self.run_under("--", sys.executable, "-c", self.CODE, cache)
            self.assertEqual(said.returncode, 0, said.stderr)
            first, path, child = said.stdout.splitlines()
            self.assertEqual((first, child), ("True", "True"))
            self.assertTrue(os.path.isfile(path))

    def test_the_machines_own_sitecustomize_still_runs(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "sitecustomize.py"), "w", encoding="utf-8") as file:
                file.write("print('code of this machine ran')\n")
            path = os.pathsep.join([folder, os.environ["PYTHONPATH"]])
            code = "import huggingface_hub as h; print(h.hf_hub_download.__hfget__)"
            said = self.run_under("--", sys.executable, "-c", code, env={"PYTHONPATH": path})
            self.assertEqual(said.returncode, 0, said.stderr)
            # Once by `python -m hfget` itself, and once by the program.
            self.assertEqual(said.stdout.splitlines()[-2:], ["code of this machine ran", "True"])

    def test_the_programs_exit_code_is_the_exit_code(self):
        self.assertEqual(self.run_under("--", sys.executable, "-c", "import sys; sys.exit(7)").returncode, 7)
        self.assertEqual(self.run_under("--").returncode, 2)
        self.assertEqual(self.run_under("--", "no-such-program-anywhere").returncode, 2)

    def test_other_arguments_go_to_the_command(self):
        said = subprocess.run([sys.executable, "-m", "hfget", "--version"], capture_output=True, text=True)
        self.assertTrue(said.stdout.startswith("hfget "), said.stderr)


if __name__ == "__main__":
    unittest.main()
