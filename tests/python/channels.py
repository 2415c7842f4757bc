"""The programs that install and run the artifacts elsewhere: the shell installer, and the steps of the action."""

import functools
import http.server
import json
import os
import re
import shutil
import struct
import subprocess
import threading
import unittest
import unittest.mock
from pathlib import Path

import yaml
from packing import SOURCE, Folder
from pack import archive, common


class Installer(Folder):
    def setUp(self):
        super().setUp()
        self.into = self.folder / "bin"
        common.DIST.mkdir()
        handler = functools.partial(_Quiet, directory=str(common.DIST))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.url = f"http://127.0.0.1:{server.server_address[1]}"

    def install(self, url=None, **env):
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "HFGET_INSTALL_DIR": str(self.into), **env}
        command = ["sh", SOURCE / "packaging" / "install.sh", url or self.url]
        return subprocess.run(command, env=env, capture_output=True, text=True)

    def released(self, binary=None):
        made = archive.build(common.look_at(binary or self.stand_in()))
        self.sums()
        return made

    def test_the_command_is_installed_and_replaced(self):
        self.released()
        for _ in range(2):
            said = self.install()
            self.assertEqual(said.returncode, 0, said.stderr)
            run = subprocess.run([self.into / "hfget", "--version"], capture_output=True, text=True)
            self.assertEqual(run.stdout.strip(), f"hfget {common.version()}")
        self.assertEqual([p.name for p in self.into.iterdir()], ["hfget"])

    def test_another_sum_installs_nothing(self):
        made = self.released()
        data = bytearray(made.read_bytes())
        data[-1] ^= 1
        made.write_bytes(data)
        said = self.install()
        self.assertNotEqual(said.returncode, 0)
        self.assertIn("does not have the checksum", said.stderr)
        self.assertFalse(self.into.exists())

    def test_a_command_that_does_not_run_here_is_not_installed(self):
        path = self.stand_in()
        data = bytearray(path.read_bytes())
        # A program whose first instruction cannot be found.
        struct.pack_into("<Q", data, 24, 0)
        path.write_bytes(data)
        with unittest.mock.patch.object(archive, "papers", lambda _: []):
            self.released(path)
        said = self.install()
        self.assertNotEqual(said.returncode, 0)
        self.assertIn("does not run", said.stderr)
        self.assertFalse((self.into / "hfget").exists())

    def test_plain_http_to_another_host_and_an_empty_folder_are_refused(self):
        said = self.install("http://example.org/releases")
        self.assertIn("not an https:// URL", said.stderr)
        self.assertNotEqual(said.returncode, 0)
        said = self.install()
        self.assertIn("SHA256SUMS cannot be downloaded", said.stderr)
        self.assertNotEqual(said.returncode, 0)

    def test_wget_is_as_good_as_curl(self):
        if shutil.which("wget") is None:
            self.skipTest("wget is not installed")
        self.released()
        tools = self.folder / "tools"
        tools.mkdir()
        for name in "sh uname mktemp rm wget grep tail tar gzip sha256sum mkdir cp chmod mv cat".split():
            (tools / name).symlink_to(shutil.which(name))
        said = self.install(PATH=str(tools))
        self.assertEqual(said.returncode, 0, said.stderr)

    def test_a_signature_of_another_key_installs_nothing(self):
        if shutil.which("minisign") is None:
            self.skipTest("minisign is not installed")
        self.released()
        for name in ("good", "other"):
            subprocess.run(
                ["minisign", "-G", "-W", "-p", f"{name}.pub", "-s", f"{name}.key"],
                cwd=self.folder, check=True, capture_output=True,
            )  # fmt: skip
        sums = common.DIST / "SHA256SUMS"
        command = ["minisign", "-S", "-W", "-s", self.folder / "good.key", "-m", sums, "-x", f"{sums}.sig"]
        subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
        said = self.install(HFGET_MINISIGN_PUB=str(self.folder / "other.pub"))
        self.assertNotEqual(said.returncode, 0)
        self.assertFalse(self.into.exists())
        self.assertEqual(self.install(HFGET_MINISIGN_PUB=str(self.folder / "good.pub")).returncode, 0)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Action(Folder):
    """Runs the steps of action.yml as the runner does: env filled in, outputs by files."""

    def setUp(self):
        super().setUp()
        self.action = yaml.safe_load((SOURCE / "packaging/action/action.yml").read_text())
        tools = self.folder / "tools"
        tools.mkdir()
        (tools / "hfget").symlink_to(os.environ["HFGET_BINARY"])
        self.path = f"{tools}:{os.environ['PATH']}"

    def run_steps(self, **inputs):
        values = {f"inputs.{name}": about["default"] for name, about in self.action["inputs"].items()}
        values.update({f"inputs.{name.replace('_', '-')}": value for name, value in inputs.items()})
        values["github.action_path"] = str(SOURCE / "packaging/action")
        files = {name: self.folder / name for name in ("GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")}
        self.said, code = "", 0
        for step in self.action["runs"]["steps"]:
            if "run" not in step:
                continue
            for file in files.values():
                file.write_text("")
            env = {
                **os.environ, "PATH": self.path, "RUNNER_TEMP": str(self.folder),
                **{name: str(file) for name, file in files.items()},
            }  # fmt: skip
            for name, value in step["env"].items():
                env[name] = re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda found: values[found[1]], value)
            done = subprocess.run(["bash", "-e", "-c", step["run"]], env=env, capture_output=True, text=True)
            self.said += done.stdout
            self.errors = done.stderr
            for line in files["GITHUB_OUTPUT"].read_text().splitlines():
                name, _, value = line.partition("=")
                values[f"steps.{step['id']}.outputs.{name}"] = value
            self.summary = files["GITHUB_STEP_SUMMARY"].read_text()
            code = done.returncode
            if code:
                break
        outputs = {
            name: values.get(re.search(r"\{\{ (.*) \}\}", about["value"])[1])
            for name, about in self.action["outputs"].items()
        }
        self.values = values
        return code, outputs

    def test_no_input_is_put_into_a_scripts_text(self):
        for step in self.action["runs"]["steps"]:
            if "run" in step:
                self.assertNotIn("${{", step["run"])
                self.assertEqual(step["shell"], "bash")
        used = set(re.findall(r"inputs\.([\w-]+)", json.dumps(self.action["runs"])))
        self.assertEqual(used, set(self.action["inputs"]))

    def test_a_repo_is_fetched_and_verified(self):
        code, outputs = self.run_steps(repos="org/one\n\n")
        self.assertEqual(code, 0, self.said + self.errors)
        self.assertEqual((outputs["result"], outputs["exit-code"]), ("verified", "0"))
        self.assertIn('<testsuite name="org/one"', Path(outputs["report"]).read_text())
        self.assertIn("result=verified", self.summary)
        self.assertTrue(self.values["steps.install.outputs.cache-key"].startswith("hfget-"))
        code, outputs = self.run_steps(repos="org/one", verify_only="true")
        self.assertEqual((code, outputs["result"]), (0, "verified"))

    def test_a_wrong_file_fails_the_step_and_is_shown(self):
        code, outputs = self.run_steps(repos="org/one\norg/bad")
        self.assertEqual((code, outputs["result"], outputs["exit-code"]), (1, "failed", "1"))
        self.assertIn("::error title=hfget org/bad", self.said)
        self.assertIn("result=failed", self.summary)

    def test_an_input_is_a_word_and_never_a_command(self):
        mark = self.folder / "mark"
        code, _ = self.run_steps(repos=f"org/one; touch {mark}\n$(touch {mark})", only=f"`touch {mark}`")
        self.assertEqual(code, 2)
        self.assertFalse(mark.exists())

    def test_more_than_github_shows_is_in_the_summary(self):
        tools = self.folder / "many"
        tools.mkdir()
        fake = tools / "hfget"
        fake.write_text(
            "#!/bin/sh\n[ \"$1\" = --version ] && { echo hfget 0; exit; }\n"
            "for i in $(seq 25); do echo \"::error title=hfget org/one%3A x::file$i: wrong\"; done\n"
            "echo 'hfget: result=failed repo=org/one' >&2\nexit 1\n"
        )
        fake.chmod(0o755)
        self.path = f"{tools}:{self.path}"
        code, _ = self.run_steps(repos="org/one")
        self.assertEqual(code, 1)
        self.assertEqual(self.said.count("::error "), 10)
        self.assertIn("15 more of level error", self.said)
        self.assertEqual(self.summary.count(": wrong"), 25)

    def test_without_a_command_and_without_releases_the_step_says_so(self):
        self.path = "/usr/bin:/bin"
        code, _ = self.run_steps(repos="org/one")
        self.assertEqual(code, 1)
        self.assertIn("names no folder", self.said)


if __name__ == "__main__":
    unittest.main()
