"""The command's own jobs from Python: typed results, errors with findings, interrupts, finding the command."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import hfget
from hfget import errors

CHATGLM = "THUDM/chatglm3-6b"


class Jobs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(os.path.realpath(folder.name))

    def test_get_gives_the_report_of_one_family(self):
        seen = []
        report = hfget.get(CHATGLM, prefer="safetensors", cache_dir=self.folder, progress=seen.append)
        self.assertEqual((report.verdict, report.against, report.verified), ("verified", "hub", True))
        self.assertEqual([one.family for one in report.weights], ["safetensors"])
        self.assertIsInstance(report.files[0], hfget.VerifiedFile)
        self.assertEqual({file.evidence for file in report.files}, {"hashed"})
        self.assertFalse([file.path for file in report.files if file.path.endswith(".bin")])
        self.assertEqual(report.totals.files, len(report.files))
        self.assertTrue(Path(report.path, "config.json").is_file())
        names = [event.name for event in seen]
        self.assertEqual((names[0], names[-1]), ("resolved", "report"))
        self.assertIn("model-00001-of-00007.safetensors", [event.path for event in seen if event.name == "file-done"])

    def test_plan_says_what_is_left_out(self):
        plan = hfget.plan(CHATGLM, prefer="safetensors", cache_dir=self.folder)
        self.assertEqual(plan.bytes, sum(file.size for file in plan.files))
        self.assertEqual({file.state for file in plan.files}, {"fetch"})
        self.assertTrue([group for group in plan.left_out if group.family == "bin"])
        self.assertEqual(list(self.folder.rglob("*.safetensors")), [])

    def test_verify_raises_its_findings_and_is_silent_on_right_files(self):
        folder = self.folder / "model"
        hfget.get("org/one", local_dir=folder)
        (report,) = hfget.verify(folder)
        self.assertTrue(report.verified)
        data = bytearray((folder / "model.safetensors").read_bytes())
        data[-1] ^= 1
        (folder / "model.safetensors").write_bytes(data)
        with self.assertRaises(hfget.VerificationError) as caught:
            hfget.verify(folder)
        (finding,) = [one for one in caught.exception.findings if one.severity == "error"]
        self.assertEqual((finding.code, finding.path), ("checksum-mismatch", "model.safetensors"))
        self.assertEqual(caught.exception.exit_code, 1)
        self.assertFalse(caught.exception.report.verified)
        self.assertIsInstance(caught.exception, OSError)

    def test_lock_notes_and_locked_fetches(self):
        lock = self.folder / "hfget.lock"
        (noted,) = hfget.lock(CHATGLM, file=lock, prefer="safetensors")
        self.assertEqual(noted.repo, CHATGLM)
        self.assertFalse(noted.moved and noted.locked_commit)
        (report,) = hfget.locked(lock, cache_dir=self.folder / "c")
        self.assertEqual((report.against, report.totals.files), ("lock", noted.files))
        (checked,) = hfget.lock(file=lock, check=True)
        self.assertFalse(checked.moved)
        (again,) = hfget.verify(lock=lock, cache_dir=self.folder / "c")
        self.assertTrue(again.verified)

    def test_compare_says_whether_a_mirror_is_the_same(self):
        found = hfget.compare(CHATGLM, os.environ["HFGET_TEST_MIRROR"], level="metadata")
        self.assertEqual((found.exit_code, found.findings), (0, ()))
        self.assertEqual(found.level, "metadata")

    def test_a_missing_repo_is_an_error_with_a_remedy(self):
        with self.assertRaises(hfget.NotAvailableError) as caught:
            hfget.get("org/none", cache_dir=self.folder)
        self.assertIn("org/none", str(caught.exception))
        self.assertTrue(caught.exception.remedy)
        with self.assertRaises(hfget.NotAvailableError):
            hfget.get("org/bin-only", only="gguf", cache_dir=self.folder)
        with self.assertRaises(hfget.UsageError):
            hfget.get("org/one", only="nothing-of-the-kind", cache_dir=self.folder)
        with self.assertRaises(hfget.UnsupportedError):
            hfget.get("org/one", repo_type="kernel")

    def test_everything_works_without_huggingface_hub(self):
        code = (
            "import sys\nsys.modules['huggingface_hub'] = None\n"
            "import hfget\nfrom hfget import errors\n"
            "print(hfget.snapshot_download('org/one', cache_dir=sys.argv[1]))\n"
            "print(hfget.hf_hub_download('org/one', 'config.json', cache_dir=sys.argv[1], dry_run=True).is_cached)\n"
            "for call, kind in [\n"
            "    (lambda: hfget.snapshot_download('org/none'), errors.RepositoryNotFoundError),\n"
            "    (lambda: hfget.hf_hub_download('org/one', 'none'), errors.RemoteEntryNotFoundError),\n"
            "    (lambda: hfget.hf_hub_download('org/one', 'x', local_files_only=True, cache_dir='/none'),\n"
            "     errors.LocalEntryNotFoundError),\n"
            "    (lambda: hfget.snapshot_download('a/b/c'), errors.InvalidRepoIdError),\n"
            "]:\n"
            "    try:\n        call()\n    except kind:\n        print(kind.__name__)\n"
        )
        said = subprocess.run([sys.executable, "-c", code, self.folder], capture_output=True, text=True)
        path, cached, *names = said.stdout.splitlines()
        self.assertTrue(Path(path, "model.safetensors").is_file(), said.stderr)
        wanted = ["RepositoryNotFoundError", "RemoteEntryNotFoundError", "LocalEntryNotFoundError", "InvalidRepoIdError"]
        self.assertEqual((cached, names), ("True", wanted), said.stderr)

    def test_an_exception_of_the_progress_ends_the_run_and_is_raised(self):
        class Enough(Exception):
            pass

        def stop(event):
            if event.name == "planned":
                raise Enough

        with self.assertRaises(Enough):
            hfget.get(CHATGLM, cache_dir=self.folder, progress=stop)
        self.assertTrue(hfget.get(CHATGLM, cache_dir=self.folder).verified)


class Interrupt(unittest.TestCase):
    def test_an_interrupt_of_python_alone_ends_the_command_too(self):
        with tempfile.TemporaryDirectory() as folder:
            # A shell that starts a job in the background tells it to ignore interrupts.
            code = (
                "import hfget, signal\n"
                "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
                f"hfget.snapshot_download('org/one', cache_dir={folder!r}, tqdm_class=None)\n"
            )
            process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            deadline = time.monotonic() + 60
            while not list(Path(folder).rglob("*partial*/*")) and time.monotonic() < deadline:
                self.assertIsNone(process.poll(), "it ended before it was interrupted")
                time.sleep(0.05)
            # The server sends the first bytes after 50 ms.
            time.sleep(0.1)
            (child,) = [int(word) for word in children.read_text().split()]
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=60)[1]
            self.assertIn("KeyboardInterrupt", said)
            with self.assertRaises(ProcessLookupError):
                os.kill(child, 0)
            self.assertTrue(list(Path(folder).rglob("*partial*/*")), "arrived bytes are kept")
            path = hfget.snapshot_download("org/one", cache_dir=folder)
            self.assertTrue(os.path.isfile(os.path.join(path, "model.safetensors")))


class Find(unittest.TestCase):
    """Installations of the package beside commands of other versions, each asked which one it takes."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(os.path.realpath(folder.name))

    def install(self, site):
        source = Path(os.environ["HFGET_SOURCE"], "python", "hfget")
        shutil.copytree(source, site / "hfget", ignore=shutil.ignore_patterns("__pycache__"))

    def command(self, path, version=hfget.__version__):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\necho hfget {version}\n")
        path.chmod(0o755)
        return path

    def found(self, site, path="/usr/bin:/bin"):
        code = "import hfget; print(hfget.find_command())"
        env = {"PYTHONPATH": str(site), "PATH": path, "HOME": str(self.folder)}
        return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)

    def test_beside_the_package_comes_before_every_other_place(self):
        site = self.folder / "target"
        self.install(site)
        mine = self.command(site / "bin" / "hfget")
        other = self.command(self.folder / "elsewhere" / "hfget")
        self.assertEqual(self.found(site, str(other.parent)).stdout.strip(), str(mine))

    def test_the_prefix_of_the_package_is_a_place(self):
        site = self.folder / "prefix" / "lib" / "python3.11" / "site-packages"
        self.install(site)
        mine = self.command(self.folder / "prefix" / "bin" / "hfget")
        self.assertEqual(self.found(site).stdout.strip(), str(mine))

    def test_a_command_of_another_version_is_skipped(self):
        site = self.folder / "target"
        self.install(site)
        self.command(site / "bin" / "hfget", "0.0.1")
        right = self.command(self.folder / "elsewhere" / "hfget")
        self.assertEqual(self.found(site, str(right.parent)).stdout.strip(), str(right))

    def test_without_a_command_the_error_names_the_places(self):
        site = self.folder / "target"
        self.install(site)
        self.command(site / "bin" / "hfget", "0.0.1")
        said = self.found(site).stderr
        self.assertIn("CommandNotFoundError", said)
        self.assertIn(f"{site / 'bin' / 'hfget'} (beside the package (pip install --target)): version 0.0.1", said)

    def test_a_command_that_is_named_must_be_of_the_version(self):
        os.environ["HFGET_BINARY"], real = str(self.command(self.folder / "old", "0.0.1")), os.environ["HFGET_BINARY"]
        self.addCleanup(os.environ.__setitem__, "HFGET_BINARY", real)
        with self.assertRaises(errors.CommandNotFoundError):
            hfget.find_command()


if __name__ == "__main__":
    unittest.main()
