"""mypy and pyright on the package and on a program that uses it."""

import importlib.util
import os
import subprocess
import sys
import tempfile
import unittest

PROGRAM = """
from typing_extensions import assert_type

import hfget


def use(unknown: bool) -> None:
    assert_type(hfget.snapshot_download("org/model"), str)
    assert_type(hfget.snapshot_download("org/model", dry_run=True), list[hfget.DryRunFileInfo])
    assert_type(hfget.snapshot_download("org/model", dry_run=unknown), str | list[hfget.DryRunFileInfo])
    assert_type(hfget.hf_hub_download("org/model", "config.json"), str)
    assert_type(hfget.hf_hub_download("org/model", "config.json", dry_run=True), hfget.DryRunFileInfo)
    assert_type(hfget.get("org/model").findings, tuple[hfget.Finding, ...])
    assert_type(hfget.plan("org/model").files, tuple[hfget.PlannedFile, ...])
"""
WRONG = """
import hfget

hfget.snapshot_download(repo_id=7)
hfget.get("org/model", perfer="safetensors")
"""


class Types(unittest.TestCase):
    CHECKERS = {"mypy": ["-m", "mypy", "--strict"], "pyright": ["-m", "pyright", "--pythonpath", sys.executable]}

    def said(self, checker, *paths):
        if importlib.util.find_spec(checker) is None:
            self.fail(f"{checker} is not installed: see .ci/requirements.txt")
        source = os.path.join(os.environ["HFGET_SOURCE"], "python")
        command = [sys.executable, *self.CHECKERS[checker], *paths]
        with tempfile.TemporaryDirectory() as cache:
            env = {**os.environ, "MYPYPATH": source, "MYPY_CACHE_DIR": cache}
            return subprocess.run(command, cwd=source, env=env, capture_output=True, text=True)

    def test_the_package_itself_has_no_error(self):
        for checker in self.CHECKERS:
            with self.subTest(checker):
                said = self.said(checker, "hfget")
                self.assertEqual(said.returncode, 0, said.stdout + said.stderr)

    def test_a_program_sees_the_right_types_and_its_mistakes(self):
        with tempfile.TemporaryDirectory() as folder:
            paths = {}
            for name, text in {"right": PROGRAM, "wrong": WRONG}.items():
                paths[name] = os.path.join(folder, f"{name}.py")
                with open(paths[name], "w", encoding="utf-8") as file:
                    file.write(text)
            for checker in self.CHECKERS:
                with self.subTest(checker):
                    right = self.said(checker, paths["right"])
                    self.assertEqual(right.returncode, 0, right.stdout + right.stderr)
                    wrong = self.said(checker, paths["wrong"])
                    self.assertNotEqual(wrong.returncode, 0)
                    for word in ("repo_id", "perfer"):
                        self.assertIn(word, wrong.stdout)


if __name__ == "__main__":
    unittest.main()
