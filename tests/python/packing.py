"""Packing, checks of the artifacts, and the recipes that use them."""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import unittest
import unittest.mock
import zlib
from pathlib import Path

import yaml

SOURCE = Path(os.environ["HFGET_SOURCE"])
sys.path.insert(0, str(SOURCE / "packaging"))

from pack import archive, common, compile, image, judge, system, wheel  # noqa: E402


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(os.path.realpath(folder.name))
        self.dist = common.DIST
        self.addCleanup(setattr, common, "DIST", self.dist)
        common.DIST = self.folder / "dist"

    def stand_in(self, version=None):
        """A small static program that says its version, and nothing else: packing is not about its bytes."""
        source = self.folder / "stand_in.c"
        source.write_text(f'#include <stdio.h>\nint main(void) {{ puts("hfget {version or common.version()}"); }}\n')
        path = self.folder / "hfget"
        built = subprocess.run(["cc", "-static", "-Os", "-o", path, source], capture_output=True, text=True)
        if built.returncode != 0:
            self.skipTest(f"no static C library: {built.stderr}")
        return path

    def sums(self):
        names = sorted(p for p in common.DIST.iterdir() if p.name != "SHA256SUMS")
        run = subprocess.run(["sha256sum", *(p.name for p in names)], cwd=common.DIST, capture_output=True, text=True)
        (common.DIST / "SHA256SUMS").write_text(run.stdout)


class Packing(Folder):
    def judged(self, *words):
        env = {**os.environ, "HFGET_DIST": str(common.DIST)}
        command = [sys.executable, SOURCE / "packaging" / "check", *words]
        return subprocess.run(command, env=env, capture_output=True, text=True)

    def build(self, *words):
        env = {**os.environ, "HFGET_DIST": str(common.DIST)}
        command = [sys.executable, SOURCE / "packaging" / "build", *words]
        return subprocess.run(command, env=env, capture_output=True, text=True)

    def test_packed_artifacts_are_right_and_changed_ones_are_not(self):
        built = self.build("--binary", self.stand_in(), "wheel", "image", "deb")
        self.assertEqual(built.returncode, 0, built.stderr)
        judged = self.judged()
        self.assertEqual(judged.returncode, 0, judged.stdout + judged.stderr)
        self.assertIn("comes out the same, byte for byte", judged.stdout)
        (deb,) = common.DIST.glob("*.deb")
        data = bytearray(deb.read_bytes())
        data[-30] ^= 1
        deb.write_bytes(data)
        judged = self.judged("--once")
        self.assertEqual(judged.returncode, 1)
        self.assertIn(f"wrong: {deb.name} has the sum", judged.stderr)

    def test_a_command_of_another_version_is_found(self):
        self.assertEqual(self.build("--binary", self.stand_in("0.0.1"), "wheel").returncode, 0)
        judged = self.judged("--once")
        self.assertEqual(judged.returncode, 1)
        self.assertIn("the installed command prints its version", judged.stderr)

    def test_the_header_of_a_binary_says_where_it_runs(self):
        static = common.look_at(self.stand_in())
        self.assertTrue(static.static)
        self.assertTrue(static.target.endswith("-unknown-linux-musl"))
        names = [tag.rsplit("_x86_64")[0].rsplit("_aarch64")[0] for tag in wheel.tags(static)]
        self.assertEqual(names, ["manylinux2014", "manylinux_2_17", "musllinux_1_2"])
        dynamic = common.look_at(Path(os.path.realpath("/bin/true")))
        self.assertFalse(dynamic.static)
        self.assertEqual(len(wheel.tags(dynamic)), 1)
        self.assertTrue(wheel.tags(dynamic)[0].startswith("manylinux_2_"))
        other = bytearray(self.stand_in().read_bytes())
        struct.pack_into("<H", other, 18, 243)
        (self.folder / "riscv").write_bytes(other)
        with self.assertRaises(common.Lacking):
            common.look_at(self.folder / "riscv")

    def test_two_binaries_that_differ_are_reported_with_the_first_byte(self):
        one, other = self.folder / "one", self.folder / "other"
        one.write_bytes(b"hfget")
        other.write_bytes(b"hfgot")
        compile._same(one, one)
        with self.assertRaisesRegex(common.Lacking, "first at byte 3"):
            compile._same(one, other)

    def test_the_crates_that_a_binary_names_are_in_its_bill(self):
        if shutil.which("objcopy") is None:
            self.skipTest("objcopy is not installed (Debian: binutils)")
        own = {"name": "hfget", "version": common.version(), "kind": "runtime"}
        bill = json.dumps({"components": [{"name": "a", "version": "1.0.0"}]}).encode()

        def judged(*packages):
            binary = self.stand_in()
            if packages:
                (self.folder / "noted").write_bytes(zlib.compress(json.dumps({"packages": packages}).encode()))
                subprocess.run(["objcopy", "--add-section", f".dep-v0={self.folder / 'noted'}", binary], check=True)
            findings = judge.Findings()
            judge._materials(binary, bill, "x.whl", findings)
            return findings

        listed = judged(own, {"name": "a", "version": "1.0.0"}, {"name": "cc", "version": "1.0.0", "kind": "build"})
        self.assertEqual((len(listed.right), listed.wrong), (1, []))
        self.assertIn("('a', '1.0.1')", judged(own, {"name": "a", "version": "1.0.1"}).wrong[0])
        self.assertTrue(judged({"name": "a", "version": "1.0.0"}).wrong, "it is not this command")
        self.assertEqual(len(judged().unjudged), 1)

    def test_two_processors_are_one_image(self):
        path = self.stand_in()
        data = bytearray(path.read_bytes())
        struct.pack_into("<H", data, 18, 183)
        (self.folder / "arm").write_bytes(data)
        made = image.build([common.look_at(path), common.look_at(self.folder / "arm")])
        unpacked = self.folder / "layout"
        shutil.unpack_archive(made, unpacked, "tar")
        index = json.loads((unpacked / "index.json").read_text())
        names = {m["annotations"]["org.opencontainers.image.ref.name"]: m for m in index["manifests"]}
        number = common.version()
        self.assertEqual(set(names), {number, f"{number}-amd64", f"{number}-arm64"})
        inner = json.loads((unpacked / "blobs/sha256" / names[number]["digest"].removeprefix("sha256:")).read_text())
        self.assertEqual([m["platform"]["architecture"] for m in inner["manifests"]], ["amd64", "arm64"])

    def test_packing_twice_gives_the_same_bytes(self):
        binary = common.look_at(self.stand_in())
        for build in (wheel.build, system.deb, lambda one: image.build([one])):
            first = build(binary).read_bytes()
            self.assertEqual(build(binary).read_bytes(), first)

    def test_the_formula_has_the_sums_of_its_archives(self):
        os.environ["HFGET_RELEASES"] = "https://example.org/releases"
        self.addCleanup(os.environ.pop, "HFGET_RELEASES")
        self.assertEqual(self.build("--binary", self.stand_in(), "archive", "formula").returncode, 0)
        judged = self.judged("--once")
        self.assertEqual(judged.returncode, 0, judged.stdout + judged.stderr)
        self.assertIn("hfget.rb has the sum of hfget-", judged.stdout)
        formula = common.DIST / "hfget.rb"
        formula.write_text(re.sub(r'sha256 "[0-9a-f]+"', f'sha256 "{"0" * 64}"', formula.read_text()))
        self.assertIn("wrong: hfget.rb", self.judged("--once").stderr)

    def test_all_missing_tools_are_reported_together(self):
        said = self.build("--binary", self.folder / "nowhere", "wheel")
        self.assertEqual(said.returncode, 1)
        self.assertIn("nowhere", said.stderr)
        self.assertFalse(common.DIST.exists())
        self.assertEqual(self.build("wheels").returncode, 2)

    def test_the_package_has_the_commands_version_and_the_metadata_of_its_project(self):
        import hfget

        self.assertEqual(hfget.__version__, common.version())
        self.assertIn("Name: hfget\n", wheel.metadata(common.version()))

    def test_maturins_wheel_has_the_same_metadata_as_that_of_packaging_build(self):
        maturin = Path(sys.prefix, "bin", "maturin")
        if not maturin.is_file():
            self.skipTest("maturin is not installed: see .ci/requirements.txt")
        command = [maturin, "pep517", "write-dist-info", "--metadata-directory", self.folder, "--interpreter", sys.executable]
        said = subprocess.run(command, cwd=SOURCE / "python", capture_output=True, text=True)
        self.assertEqual(said.returncode, 0, said.stderr)
        info = self.folder / f"hfget-{common.version()}.dist-info"

        def fields(text):
            head, _, body = text.partition("\n\n")
            # The names of Markdown's type differ, but mean the same.
            return {line.removesuffix("; variant=GFM") for line in head.splitlines()}, body.strip()

        self.assertEqual(fields((info / "METADATA").read_text()), fields(wheel.metadata(common.version())))
        self.assertEqual((info / "licenses/LICENSE").read_bytes(), (SOURCE / "LICENSE").read_bytes())

    def test_cargo_binstalls_metadata_names_the_archive_and_its_content(self):
        import tomllib

        manifest = tomllib.loads((SOURCE / "Cargo.toml").read_text())
        told = manifest["package"]["metadata"]["binstall"]
        binary = common.look_at(self.stand_in())
        made = archive.build(binary)
        words = {
            "name": "hfget", "target": binary.target, "version": common.version(), "bin": "hfget", "binary-ext": "",
            "repo": "https://example.org/hfget",
        }  # fmt: skip

        def filled(text):
            return re.sub(r"\{ ([\w-]+) \}", lambda found: words[found[1]], text)

        self.assertEqual(filled(told["pkg-url"]).rsplit("/")[-1], made.name)
        self.assertTrue(made.name.endswith(told["pkg-fmt"]))
        with tarfile.open(made) as opened:
            self.assertIn(filled(told["bin-dir"]), opened.getnames())

    def test_pipx_and_uvx_take_the_wheel_without_a_network(self):
        made = wheel.build(common.look_at(self.stand_in()))
        bin = Path(sys.prefix, "bin")
        home = {"HOME": str(self.folder), "PIPX_HOME": str(self.folder / "pipx"), "PIPX_BIN_DIR": str(self.folder / "bin")}
        env = {"PATH": f"{bin}:/usr/bin:/bin", "UV_CACHE_DIR": str(self.folder / "uv"), **home}
        ways = {
            "uvx": [[bin / "uvx", "--offline", "--no-index", "--python", sys.executable, "--from", made, "hfget", "--version"]],
            "pipx": [
                [bin / "pipx", "install", "--pip-args=--no-index", made],
                [self.folder / "bin" / "hfget", "--version"],
            ],
        }
        for name, commands in ways.items():
            with self.subTest(name):
                if not (bin / name).is_file():
                    self.skipTest(f"{name} is not installed: see .ci/requirements.txt")
                for command in commands:
                    said = subprocess.run(command, env=env, capture_output=True, text=True)
                    self.assertEqual(said.returncode, 0, said.stderr)
                self.assertEqual(said.stdout.split(), ["hfget", common.version()])


class Compiling(Folder):
    """A program of a few lines instead of the command: only its compilation is tested."""

    def setUp(self):
        super().setUp()
        self.target = f"{os.uname().machine}-unknown-linux-musl"
        path = f"{Path(sys.prefix, 'bin')}:{os.environ['PATH']}"
        # An empty program that another test made must not be found in the folder of this one.
        changed = {"PATH": path, "CARGO_TARGET_DIR": str(self.folder / "target")}
        self.enterContext(unittest.mock.patch.dict(os.environ, changed))
        lacks = compile.lacking(self.target)
        if lacks:
            self.skipTest(f"needed and not here: {lacks}")

    def program(self, says):
        source = self.folder / "source"
        (source / "src").mkdir(parents=True)
        (source / "Cargo.toml").write_text('[package]\nname = "hfget"\nversion = "0.0.0"\nedition = "2024"\n')
        (source / "src/main.rs").write_text(f'fn main() {{ println!("{{}} {{}}", {says}, file!()) }}\n')
        own = ["-c", "user.name=x", "-c", "user.email=x@x"]
        for words in (["init", "-q"], ["add", "-A"], [*own, "commit", "-qm", "x"]):
            subprocess.run(["git", *words], cwd=source, check=True)
        subprocess.run(["cargo", "generate-lockfile", "--offline"], cwd=source, check=True, capture_output=True)
        subprocess.run(["git", "add", "-A"], cwd=source, check=True)
        self.enterContext(unittest.mock.patch.object(compile, "ROOT", source))

    def test_a_program_compiled_in_two_folders_is_the_same(self):
        self.program('"one"')
        binary = compile.build(self.target, "dev", twice=True)
        self.assertTrue(common.look_at(binary).static)
        self.assertIn("one src/main.rs", common.look_at(binary).says())
        self.assertNotIn(os.fsencode(self.folder), binary.read_bytes(), "no folder of this machine is in it")

    def test_a_program_that_contains_its_folder_is_not(self):
        self.program('env!("CARGO_MANIFEST_DIR")')
        with self.assertRaisesRegex(common.Lacking, "compiled twice, hfget differs"):
            compile.build(self.target, "dev", twice=True)


class Recipes(Folder):
    """The recipes of examples/recipes: they install the artifacts of packaging/build, and work."""

    RECIPES = SOURCE / "examples" / "recipes"

    def test_every_recipe_names_the_image_and_the_wheel_of_this_version(self):
        for path in self.RECIPES.iterdir():
            text = path.read_text()
            images = re.findall(r"\bhfget:([\w.]+)", text)
            wheels = re.findall(r"pip install .*", text)
            self.assertTrue(images or wheels, f"{path.name} installs hfget from nowhere")
            self.assertEqual(set(images) - {common.version()}, set(), path.name)
            self.assertNotIn("cargo install", text)

    def test_the_wheels_line_installs_the_command(self):
        wheel.build(common.look_at(self.stand_in()))
        environment = self.folder / "venv"
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        lines = {
            line.strip().removeprefix("- ").removeprefix("run: ")
            for name in ("github-actions.yml", "gitlab-ci.yml")
            for line in (self.RECIPES / name).read_text().splitlines()
            if "pip install" in line
        }
        self.assertEqual(len(lines), 1)
        env = {"PATH": f"{environment}/bin:/usr/bin:/bin", "HFGET_WHEELS": str(common.DIST), "HOME": str(self.folder)}
        done = subprocess.run(["sh", "-ec", lines.pop() + " && hfget --version"], env=env, capture_output=True, text=True)
        self.assertIn(f"hfget {common.version()}", done.stdout, done.stderr)

    def test_the_files_that_the_dockerfile_copies_are_in_the_image(self):
        text = (self.RECIPES / "Dockerfile").read_text()
        copied = re.findall(r"^COPY --from=hfget:\S+ (\S+) ", text, re.M)
        self.assertTrue(copied)
        made = image.build([common.look_at(self.stand_in())])
        shutil.unpack_archive(made, self.folder / "layout", "tar")
        names = set()
        for blob in (self.folder / "layout/blobs/sha256").iterdir():
            if tarfile.is_tarfile(blob):
                with tarfile.open(blob) as layer:
                    names |= {"/" + name for name in layer.getnames()}
        self.assertEqual(set(copied) - names, set())


class EmptyRoot(Folder):
    """The recipes in a root that has the image, and nothing else of this machine: the image unpacked, entered as its
    own user, on the loopback Hub."""

    RECIPES = Recipes.RECIPES

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("only root can enter another root")
        place = tempfile.TemporaryDirectory()
        cls.addClassCleanup(place.cleanup)
        binary = Path(place.name, "hfget")
        # Without debug information, packing takes seconds.
        subprocess.run(["strip", "-o", binary, os.environ["HFGET_BINARY"]], check=True)
        with unittest.mock.patch.object(common, "DIST", Path(place.name, "dist")):
            cls.made = image.build([common.look_at(binary)])

    def setUp(self):
        super().setUp()
        shutil.unpack_archive(self.made, self.folder / "layout", "tar")
        self.root = self.folder / "root"
        layers = [blob for blob in (self.folder / "layout/blobs/sha256").iterdir() if tarfile.is_tarfile(blob)]
        self.assertEqual(len(layers), 1)
        with tarfile.open(layers[0]) as layer:
            layer.extractall(self.root, filter="tar")
        (config,) = (json.loads(blob.read_text()) for blob in layers[0].parent.iterdir() if b'"rootfs"' in blob.read_bytes())
        self.config = config["config"]

    def enter(self, *command, folder="/", user=65532):
        """Runs a command in the root, with the image's environment and the Hub's address."""
        env = dict(line.split("=", 1) for line in self.config["Env"])
        env["HF_ENDPOINT"] = os.environ["HF_ENDPOINT"]

        def go_in():
            os.chroot(self.root)
            os.chdir(folder)
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)

        return subprocess.run(command, env=env, preexec_fn=go_in, capture_output=True, text=True)

    def volume(self, name):
        place = self.root / name
        place.mkdir()
        os.chown(place, 65532, 65532)
        return place

    def lock(self, folder):
        import hfget

        hfget.lock("org/one", file=folder / "hfget.lock")

    def test_kubernetes_arguments_warm_a_volume_and_check_it(self):
        self.volume("models")
        self.lock(self.volume("lock"))
        ran = 0
        for document in yaml.safe_load_all((self.RECIPES / "kubernetes.yaml").read_text()):
            spec = document["spec"]["template"]["spec"]
            for container in spec.get("initContainers", []) + spec["containers"]:
                if not container["image"].split("/")[-1].startswith("hfget:"):
                    continue
                self.assertNotIn("command", container)
                words = [*self.config["Entrypoint"], *container["args"]]
                done = self.enter(*words, folder=container["workingDir"])
                self.assertEqual(done.returncode, 0, done.stderr)
                ran += 1
        self.assertEqual(ran, 2)
        self.assertTrue((self.root / "models/models--org--one").is_dir())

    def test_the_storage_container_of_kserve_fetches_what_its_pairs_say(self):
        container, service = yaml.safe_load_all((self.RECIPES / "kserve.yaml").read_text())
        self.assertEqual(container["kind"], "ClusterStorageContainer")
        spec = container["spec"]
        # KServe merges a container of this name over its own, and adds pairs of a source and a folder.
        self.assertEqual(spec["container"]["name"], "storage-initializer")
        self.assertTrue(spec["supportsMultiModelDownload"])
        self.assertEqual(spec["workloadType"], "initContainer")
        (form,) = spec["supportedUriFormats"]
        self.assertTrue(service["spec"]["predictor"]["model"]["storageUri"].startswith(form["prefix"]))
        self.assertTrue(spec["container"]["securityContext"]["readOnlyRootFilesystem"])
        models = self.volume("models")
        command = spec["container"]["command"]
        for start in range(2):
            done = self.enter(*command, form["prefix"] + "org/one:main", "/models/one", user=4321 if start else 65532)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertTrue((models / "one/config.json").is_file())
        done = self.enter(*command, form["prefix"] + "org/none", "/models/none")
        self.assertEqual(done.returncode, 1, done.stderr)

    def test_the_dockerfiles_stage_runs_with_what_it_copies(self):
        busybox = shutil.which("busybox")
        if busybox is None:
            self.skipTest("busybox, which stands for the image that the stage begins with, is not installed")
        text = (self.RECIPES / "Dockerfile").read_text()
        stage = text.split(" AS model\n")[1].split("\nFROM ")[0]
        from_the_image = re.findall(r"^COPY --from=hfget:\S+ (\S+) (\S+)$", stage, re.M)
        for source, to in from_the_image:
            self.assertTrue((self.root / source.lstrip("/")).is_file(), source)
            self.assertEqual(source, to)
        (self.root / "bin").mkdir(exist_ok=True)
        shutil.copy(busybox, self.root / "bin/sh")
        self.lock(self.root)
        lines = re.findall(r"^RUN (.*)$", stage, re.M)
        self.assertEqual(len(lines), 2)
        for line in lines:
            done = self.enter("/bin/sh", "-ec", line, user=0)
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue((self.root / "models/models--org--one").is_dir())


if __name__ == "__main__":
    unittest.main()
