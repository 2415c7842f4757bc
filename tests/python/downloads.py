"""huggingface_hub and hfget side by side on one Hub: results, files, offline rules, exceptions."""

import inspect
import os
import pathlib
import stat
import sys
import tempfile
import unittest

import hfget
import huggingface_hub as hub
from hfget import errors

GUIDE = "lysandre/arxiv-nlp"
NOWHERE = "http://127.0.0.1:9"


def tree(folder):
    """Every file below a folder with its bytes, links followed, without records."""
    found = {}
    for at, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in (".cache", ".hfget", ".locks", ".no_exist", "trees")]
        for name in files:
            path = os.path.join(at, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, folder)] = file.read()
    found.pop("CACHEDIR.TAG", None)
    return found


class Place(unittest.TestCase):
    """A folder for each of the two, and calls that say which one they are for."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = os.path.realpath(folder.name)

    def into(self, module, call, **place):
        root = os.path.join(self.folder, module.__name__)
        os.makedirs(root, exist_ok=True)
        where = {key: os.path.join(root, value) for key, value in place.items()}
        return call(module, **where), root

    def both(self, call, **place):
        """The same call through both; the files must be equal below each one's own folder."""
        (theirs, their_root), (ours, our_root) = self.into(hub, call, **place), self.into(hfget, call, **place)
        self.assertEqual(tree(our_root), tree(their_root))
        return theirs, ours, their_root, our_root

    def same_path(self, call, **place):
        theirs, ours, their_root, our_root = self.both(call, **place)
        self.assertIsInstance(ours, str)
        self.assertEqual(os.path.relpath(ours, our_root), os.path.relpath(theirs, their_root))
        self.assertTrue(os.path.exists(ours))


class Examples(Place):
    def test_one_file_into_the_cache(self):
        for more in ({}, {"revision": "v1.0"}, {"revision": "test-branch"}, {"revision": "refs/pr/3"}):
            with self.subTest(more):
                self.same_path(
                    lambda m, **w: m.hf_hub_download(repo_id=GUIDE, filename="config.json", **more, **w), cache_dir="c"
                )

    def test_one_file_of_a_commit(self):
        commit = hub.HfApi().model_info(GUIDE).sha
        self.same_path(lambda m, **w: m.hf_hub_download(GUIDE, "config.json", revision=commit, **w), cache_dir="c")
        self.same_path(lambda m, **w: m.hf_hub_download(GUIDE, "config.json", revision=commit, **w), cache_dir="c")

    def test_a_file_in_a_subfolder_and_in_a_dataset(self):
        self.same_path(
            lambda m, **w: m.hf_hub_download(GUIDE, "a name.txt", subfolder="nested/deep", **w), cache_dir="c"
        )
        self.same_path(
            lambda m, **w: m.hf_hub_download("google/fleurs", filename="fleurs.py", repo_type="dataset", **w),
            cache_dir="d",
        )

    def test_a_whole_snapshot(self):
        self.same_path(lambda m, **w: m.snapshot_download(repo_id=GUIDE, **w), cache_dir="c")
        self.same_path(lambda m, **w: m.snapshot_download(repo_id=GUIDE, revision="refs/pr/3", **w), cache_dir="r")
        self.same_path(
            lambda m, **w: m.snapshot_download(repo_id="google/fleurs", repo_type="dataset", **w), cache_dir="d"
        )

    def test_patterns_choose_files(self):
        patterns = [
            {"allow_patterns": "*.json"},
            {"allow_patterns": ["*.md", "*.json"], "ignore_patterns": "vocab.json"},
            {"ignore_patterns": ["*.safetensors", "*.md"]},
            {"allow_patterns": "nested/"},
            {"allow_patterns": ["[!c]*.json", "nested/*/a ?ame.txt"]},
        ]
        for at, chosen in enumerate(patterns):
            with self.subTest(chosen):
                self.same_path(lambda m, **w: m.snapshot_download(GUIDE, **chosen, **w), cache_dir=f"c{at}")

    def test_patterns_without_a_match_are_no_error(self):
        theirs, ours, their_root, our_root = self.both(
            lambda m, **w: m.snapshot_download(GUIDE, revision="v1.0", allow_patterns="*.nothing", **w), local_dir="d"
        )
        self.assertEqual(os.path.relpath(ours, our_root), os.path.relpath(theirs, their_root))

    def test_into_a_folder(self):
        self.same_path(lambda m, **w: m.snapshot_download(GUIDE, **w), local_dir="d")
        for name in ("config.json", "vocab.json"):
            self.same_path(lambda m, **w: m.hf_hub_download(GUIDE, filename=name, **w), local_dir="one/by/one")

    def test_a_dry_run_says_the_same(self):
        def facts(info, root):
            path = os.path.relpath(info.local_path, root)
            return (info.filename, info.commit_hash, info.file_size, path, info.is_cached, info.will_download)

        def compared(call, **place):
            theirs, ours, their_root, our_root = self.both(call, **place)
            self.assertIs(type(ours), type(theirs))
            if not isinstance(ours, list):
                theirs, ours = [theirs], [ours]
            self.assertEqual({type(one) for one in ours}, {hub.file_download.DryRunFileInfo})
            self.assertEqual(sorted(facts(o, our_root) for o in ours), sorted(facts(t, their_root) for t in theirs))

        def refs_aside(module, **where):
            result = module.snapshot_download(GUIDE, dry_run=True, **where)
            # huggingface_hub notes the revision even so.
            for ref in pathlib.Path(where["cache_dir"]).glob("*/refs/main"):
                ref.unlink()
            return result

        compared(refs_aside, cache_dir="c")
        self.same_path(lambda m, **w: m.hf_hub_download(GUIDE, "config.json", **w), cache_dir="c")
        compared(lambda m, **w: m.snapshot_download(GUIDE, dry_run=True, **w), cache_dir="c")
        compared(lambda m, **w: m.hf_hub_download(GUIDE, "vocab.json", dry_run=True, **w), cache_dir="c")
        compared(
            lambda m, **w: m.hf_hub_download(GUIDE, "config.json", dry_run=True, force_download=True, **w),
            cache_dir="c",
        )

    def test_the_signatures_are_the_same(self):
        for name in ("snapshot_download", "hf_hub_download"):
            theirs, ours = (inspect.signature(getattr(m, name)).parameters for m in (hub, hfget))
            self.assertEqual(list(ours), list(theirs))
            for key in ours:
                self.assertEqual((ours[key].kind, ours[key].default), (theirs[key].kind, theirs[key].default), key)

    def test_bars_are_of_the_class_that_is_given(self):
        made = []

        class Bar:
            def __init__(self, **about):
                self.total, self.done, self.closed = about["total"], about["initial"], False
                made.append(self)

            def update(self, n):
                self.done += n

            def close(self):
                self.closed = True

        hfget.snapshot_download(GUIDE, cache_dir=os.path.join(self.folder, "c"), tqdm_class=Bar)
        self.assertTrue(made and all(bar.closed for bar in made))
        self.assertEqual(made[0].done, made[0].total)


class Errors(Place):
    CALLS = [
        ("a repo that does not exist", lambda m, **w: m.snapshot_download("org/none", **w)),
        ("a file of a repo that does not exist", lambda m, **w: m.hf_hub_download("org/none", "config.json", **w)),
        ("a private repo", lambda m, **w: m.snapshot_download("org/one", **w)),
        ("a gated repo", lambda m, **w: m.hf_hub_download("org/gated", "config.json", **w)),
        ("a disabled repo", lambda m, **w: m.hf_hub_download("org/disabled", "config.json", **w)),
        ("a revision that does not exist", lambda m, **w: m.snapshot_download(GUIDE, revision="none", **w)),
        ("a file's revision", lambda m, **w: m.hf_hub_download(GUIDE, "config.json", revision="none", **w)),
        ("a file that does not exist", lambda m, **w: m.hf_hub_download(GUIDE, "none.json", **w)),
        ("an invalid name", lambda m, **w: m.snapshot_download("a/b/c", **w)),
        ("an invalid type", lambda m, **w: m.snapshot_download(GUIDE, repo_type="bucket", **w)),
        ("nothing cached", lambda m, **w: m.snapshot_download(GUIDE, local_files_only=True, **w)),
        ("no file cached", lambda m, **w: m.hf_hub_download(GUIDE, "config.json", local_files_only=True, **w)),
        (
            "both fetched again and not fetched",
            lambda m, **w: m.hf_hub_download(GUIDE, "config.json", local_files_only=True, force_download=True, **w),
        ),
        ("a dry run of a repo that does not exist", lambda m, **w: m.snapshot_download("org/none", dry_run=True, **w)),
        ("no token", lambda m, **w: m.hf_hub_download(GUIDE, "config.json", token=True, **w)),
    ]

    def test_the_exception_is_one_of_huggingface_hubs(self):
        for what, call in self.CALLS:
            with self.subTest(what):
                with self.assertRaises(Exception) as theirs:
                    self.into(hub, call, cache_dir="c")
                with self.assertRaises(Exception) as ours:
                    self.into(hfget, call, cache_dir="c")
                self.assertIsInstance(ours.exception, type(theirs.exception), repr(ours.exception))
                self.assertIsInstance(ours.exception, hfget.Error)
                response = getattr(theirs.exception, "response", None)
                if response is not None:
                    self.assertEqual(ours.exception.response.status_code, response.status_code)
                    self.assertEqual(
                        ours.exception.response.headers.get("x-error-code"), response.headers.get("x-error-code")
                    )

    def test_existing_files_give_no_exception(self):
        self.same_path(lambda m, **w: m.hf_hub_download(GUIDE, "config.json", **w), cache_dir="c")

    def test_what_only_huggingface_hub_can_do_is_an_error_that_says_so(self):
        with self.assertRaises(hfget.UnsupportedError):
            hfget.snapshot_download(GUIDE, repo_type="kernel")
        with self.assertRaises(hfget.UnsupportedError):
            hfget.hf_hub_download(GUIDE, "config.json", headers={"X-Other": "1"})

    def test_a_remedy_comes_with_the_error(self):
        with self.assertRaises(errors.RepositoryNotFoundError) as caught:
            hfget.snapshot_download("org/none", cache_dir=self.folder)
        self.assertEqual(caught.exception.exit_code, 3)
        self.assertIn("HF_TOKEN", caught.exception.remedy)


class Offline(Place):
    def fill(self, **more):
        for module in (hub, hfget):
            self.into(module, lambda m, **w: hub.snapshot_download(GUIDE, **more, **w), cache_dir="c")

    def test_a_complete_snapshot_is_served(self):
        self.fill()
        for more in ({"local_files_only": True}, {"endpoint": NOWHERE}):
            with self.subTest(more):
                self.same_path(lambda m, **w: m.snapshot_download(GUIDE, **more, **w), cache_dir="c")
                self.same_path(lambda m, **w: m.hf_hub_download(GUIDE, "config.json", **more, **w), cache_dir="c")

    def test_a_snapshot_that_is_known_to_be_incomplete_is_an_error(self):
        self.fill(allow_patterns="*.json")
        for call in (
            lambda m, **w: m.snapshot_download(GUIDE, local_files_only=True, **w),
            lambda m, **w: m.snapshot_download(GUIDE, endpoint=NOWHERE, **w),
        ):
            for module in (hub, hfget):
                with self.assertRaises(hub.errors.IncompleteSnapshotError) as caught:
                    self.into(module, call, cache_dir="c")
                self.assertTrue(os.path.isdir(caught.exception.snapshot_path))
        # The part that is here is complete.
        self.same_path(
            lambda m, **w: m.snapshot_download(GUIDE, local_files_only=True, allow_patterns="*.json", **w),
            cache_dir="c",
        )

    def test_a_folder_is_served_unchanged(self):
        self.same_path(lambda m, **w: m.snapshot_download(GUIDE, **w), local_dir="d")
        self.same_path(lambda m, **w: m.snapshot_download(GUIDE, local_files_only=True, **w), local_dir="d")

    def test_with_nothing_here_a_dead_hub_is_an_error(self):
        for module in (hub, hfget):
            with self.assertRaises(hub.errors.LocalEntryNotFoundError):
                self.into(module, lambda m, **w: m.hf_hub_download(GUIDE, "config.json", endpoint=NOWHERE, **w))

    def test_files_cached_by_another_program_serve_a_commit_without_the_hub(self):
        self.fill()
        commit = hub.HfApi().model_info(GUIDE).sha
        self.same_path(
            lambda m, **w: m.hf_hub_download(GUIDE, "config.json", revision=commit, endpoint=NOWHERE, **w),
            cache_dir="c",
        )


class WrongBytes(Place):
    def test_a_file_that_changed_in_the_cache_is_not_given_out_offline(self):
        cache = os.path.join(self.folder, "c")
        path = hub.hf_hub_download("org/one", "model.safetensors", cache_dir=cache)
        good = hfget.hf_hub_download("org/one", "model.safetensors", cache_dir=cache, local_files_only=True)
        self.assertEqual(good, path)
        with open(path, "r+b") as file:
            file.seek(4000)
            byte = file.read(1)
            file.seek(4000)
            file.write(bytes([byte[0] ^ 1]))
        self.assertEqual(hub.hf_hub_download("org/one", "model.safetensors", cache_dir=cache, local_files_only=True), path)
        for call in (
            lambda: hfget.hf_hub_download("org/one", "model.safetensors", cache_dir=cache, local_files_only=True),
            lambda: hfget.snapshot_download("org/one", cache_dir=cache, allow_patterns="*.safetensors", endpoint=NOWHERE),
        ):
            with self.assertRaises(hfget.VerificationError) as caught:
                call()
            self.assertIn("checksum-mismatch", [finding.code for finding in caught.exception.findings])
        # With the Hub it is repaired.
        self.assertEqual(hfget.hf_hub_download("org/one", "model.safetensors", cache_dir=cache), path)
        hfget.hf_hub_download("org/one", "model.safetensors", cache_dir=cache, local_files_only=True)

    def test_a_hub_that_sends_other_bytes_gives_an_error_and_no_file(self):
        cache = os.path.join(self.folder, "w")
        with self.assertRaises(hfget.Error) as caught:
            hfget.hf_hub_download(GUIDE, "tokenizer.model", cache_dir=cache)
        self.assertIn("tokenizer.model", str(caught.exception))
        self.assertEqual([name for name in tree(cache) if name.endswith("tokenizer.model")], [])
        # The twin: an unchanged file of the same repo.
        self.assertTrue(os.path.isfile(hfget.hf_hub_download(GUIDE, "config.json", cache_dir=cache)))


class Token(Place):
    """A stand-in for the command notes its arguments, and then runs the command."""

    def setUp(self):
        super().setUp()
        self.token = os.environ["HFGET_TEST_TOKEN"]
        self.notes = os.path.join(self.folder, "notes")
        real = os.environ["HFGET_BINARY"]
        stand_in = os.path.join(self.folder, "hfget")
        with open(stand_in, "w", encoding="utf-8") as file:
            file.write(
                f'#!/bin/sh\nprintf "%s\\n" "$*" >> {self.notes}\n'
                f'printf "token=%s off=%s\\n" "$HF_TOKEN" "$HF_HUB_DISABLE_IMPLICIT_TOKEN" >> {self.notes}\n'
                f'exec {real} "$@"\n'
            )
        os.chmod(stand_in, os.stat(stand_in).st_mode | stat.S_IXUSR)
        os.environ["HFGET_BINARY"] = stand_in
        self.addCleanup(os.environ.__setitem__, "HFGET_BINARY", real)

    def noted(self):
        with open(self.notes, encoding="utf-8") as file:
            return file.read().splitlines()

    def test_a_token_opens_a_private_repo_and_is_in_no_argument(self):
        path = hfget.snapshot_download("org/one", cache_dir=self.folder, token=self.token)
        self.assertTrue(os.path.isfile(os.path.join(path, "config.json")))
        report = hfget.get("org/one", cache_dir=os.path.join(self.folder, "g"), token=self.token)
        self.assertTrue(report.verified)
        arguments = [line for line in self.noted() if not line.startswith("token=")]
        self.assertTrue(any("org/one" in line for line in arguments))
        self.assertFalse([line for line in arguments if self.token in line])
        self.assertIn(f"token={self.token} off=", self.noted())

    def test_false_sends_no_token_that_is_set(self):
        os.environ["HF_TOKEN"] = self.token
        self.addCleanup(os.environ.pop, "HF_TOKEN", None)
        with self.assertRaises(errors.RepositoryNotFoundError):
            hfget.snapshot_download("org/one", cache_dir=self.folder, token=False)
        self.assertEqual(self.noted()[-1], "token= off=1")
        # Twins: nothing said, and "a token must be there".
        hfget.snapshot_download("org/one", cache_dir=self.folder)
        hfget.snapshot_download("org/one", cache_dir=self.folder, token=True)

    def test_the_token_is_in_no_error(self):
        with self.assertRaises(hfget.Error) as caught:
            hfget.snapshot_download("org/none", cache_dir=self.folder, token=self.token)
        self.assertNotIn(self.token, f"{caught.exception!r} {caught.exception.remedy}")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[1:])
