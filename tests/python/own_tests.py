"""huggingface_hub's own tests of its downloads, with hfget in their place.

They come from huggingface_hub's source package, which `.ci/run` unpacks. They run twice: unchanged, to see which of
them pass with this Hub, and with `hfget.patch()`. The page docs/src/python.md lists those that do not pass, and why.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import huggingface_hub

SOURCE = Path(os.environ["HFGET_SOURCE"])
THEIRS = Path(sys.prefix, "share", f"huggingface_hub-{huggingface_hub.__version__}", "tests")
FILES = ("test_snapshot_download.py", "test_file_download.py")


def listed(heading):
    """The tests that the table below a heading of the page names, in its first column."""
    page = (SOURCE / "docs/src/python.md").read_text(encoding="utf-8")
    table = page.split(f"\n{heading}\n", 1)[1].split("\n#", 1)[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`(test_\w+)`", row)}


class OwnTests(unittest.TestCase):
    def setUp(self):
        if not THEIRS.is_dir():
            self.skipTest(f"huggingface_hub's tests are not at {THEIRS}; .ci/run puts them there")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(os.path.realpath(folder.name))
        tests = self.folder / "tests"
        shutil.copytree(SOURCE / "tests/python/own", tests)
        (tests / "__init__.py").touch()
        for path in [*(THEIRS / name for name in FILES), *THEIRS.glob("testing_*.py")]:
            shutil.copy(path, tests)

    def run_them(self, *, patched):
        """The names of the tests, and of those that failed. A test with many cases is one name."""
        report = self.folder / f"report-{patched}.xml"
        env = {
            name: value for name, value in os.environ.items()
            if not name.startswith(("HF_", "HUGGING")) or name == "HF_HUB_DISABLE_XET"
        }  # fmt: skip
        env.update(HFGET_TEST_PATCHED="1" if patched else "0", HF_HOME=str(self.folder / "home"))
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        # Their tests of the function `http_get` do not involve hfget, and take long.
        command += ["--deselect=tests/test_file_download.py::TestHttpGet", "tests"]
        said = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True)
        self.assertIn(said.returncode, (0, 1), said.stdout + said.stderr)
        ran, failed = set(), set()
        for case in ElementTree.parse(report).iter("testcase"):
            name = case.attrib["name"].partition("[")[0]
            ran.add(name)
            if case.find("failure") is not None or case.find("error") is not None:
                failed.add(name)
        return ran, failed, said.stdout

    def test_what_holds_with_huggingface_hub_holds_with_hfget_but_for_what_the_page_lists(self):
        ran, not_here, said = self.run_them(patched=False)
        self.assertGreater(len(ran), 60)
        self.assertEqual(not_here, listed("### Tests that need another Hub"), said)
        again, failed, said = self.run_them(patched=True)
        self.assertEqual(again, ran)
        self.assertEqual(failed - not_here, listed("### Tests that do not pass"), said)


if __name__ == "__main__":
    unittest.main()
