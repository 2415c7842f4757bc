//! Caches that are warmed for other users: who may read them, which tools read them, and the recipes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use hfget_loopback_hub::Repo;

use super::disk::in_namespace;
use super::interop::python;
use super::support::{Machine, Run, safetensors, tree};

const TOKENIZER: &str = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [{"id": 3,
 "content": "<unk>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
 "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
 "model": {"type": "WordLevel", "vocab": {"hello": 0, "fleet": 1, "ready": 2, "<unk>": 3}, "unk_token": "<unk>"}}"#;

fn model() -> Repo {
    Repo::new("org/model")
        .file("config.json", r#"{"model_type": "gpt2"}"#)
        .file("tokenizer.json", TOKENIZER)
        .file("tokenizer_config.json", r#"{"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}"#)
        .lfs("model.safetensors", safetensors("w", 64))
}

/// `transformers` reads a read-only volume without a Hub.
#[test]
fn a_warmed_volume_serves_transformers_read_only_and_offline() {
    let Some(bin) = python() else { return };
    let machine = Machine::new([model()]);
    machine.hfget("org/model --cache-dir volume").ends_with(0);
    machine.hub.forget();
    let script = "
from transformers import AutoConfig, AutoTokenizer
print(type(AutoConfig.from_pretrained('org/model')).__name__)
print(AutoTokenizer.from_pretrained('org/model')('hello fleet')['input_ids'])
";
    let volume = machine.home.path().join("volume");
    let before = tree(&volume);
    let (volume, python) = (volume.display(), bin.join("python"));
    std::fs::write(machine.home.path().join("read.py"), script).unwrap();
    let command = format!(
        "mount --bind {volume} {volume} && mount -o remount,ro,bind {volume} && \
         HF_HUB_CACHE={volume} HF_HUB_OFFLINE=1 exec {} read.py",
        python.display()
    );
    let Some(run) = in_namespace(&machine, &command) else { return };
    let run = run.ends_with(0);
    assert_eq!(run.out, "GPT2Config\n[0, 1]\n", "{}", run.err);
    assert_eq!(tree(&machine.home.path().join("volume")), before);
    assert_eq!(machine.hub.requests(), []);
}

/// Files have the modes that the user's umask allows: a cache for a group is made with `umask 027`.
#[test]
fn files_have_the_modes_that_the_umask_gives() {
    for (umask, files, folders) in [("022", 0o644, 0o755), ("027", 0o640, 0o750), ("077", 0o600, 0o700)] {
        for place in ["--cache-dir volume", "--local-dir volume"] {
            let machine = Machine::new([model()]);
            let mut command = Command::new("sh");
            machine.environment(&mut command);
            let line = format!("umask {umask}; exec {} org/model {place}", env!("CARGO_BIN_EXE_hfget"));
            Run::from(command.args(["-c", &line]).output().unwrap()).ends_with(0);
            let mut folders_left = vec![machine.home.path().join("volume")];
            while let Some(folder) = folders_left.pop() {
                let mode = |path: &Path| std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
                assert_eq!(mode(&folder), folders, "{umask} {}", folder.display());
                for entry in std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap()) {
                    let kind = entry.file_type().unwrap();
                    if kind.is_dir() {
                        folders_left.push(entry.path());
                    } else if entry.file_name().to_string_lossy().ends_with(".lock") {
                        // Lock files are empty and shared with other users' downloads; they have `huggingface_hub`'s
                        // mode.
                        assert_eq!(mode(&entry.path()), 0o664);
                    } else if kind.is_file() {
                        assert_eq!(mode(&entry.path()), files, "{umask} {}", entry.path().display());
                    }
                }
            }
        }
    }
}

/// Every command of every recipe, in order, with the volume in the home folder.
#[test]
fn the_recipes_work_as_written() {
    // Kubernetes passes arguments to the image's entry point: see
    // `python::the_recipes_for_images_run_in_a_root_that_has_the_image_and_nothing_else`.
    for name in ["Dockerfile", "github-actions.yml", "gitlab-ci.yml"] {
        let text =
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/recipes").join(name)).unwrap();
        let machine = Machine::new([model()]);
        machine.hfget("lock org/model --prefer safetensors").ends_with(0);
        let home = machine.home.path().display().to_string();
        let mut ran = 0;
        for line in text.lines().map(str::trim) {
            let line = line.trim_start_matches("RUN ").trim_start_matches("- ");
            if !line.starts_with("hfget ") {
                continue;
            }
            let words = line.replace("/models", &format!("{home}/models"));
            let mut command = Command::new(env!("CARGO_BIN_EXE_hfget"));
            machine.environment(&mut command);
            let run: Run = command.args(words.split_whitespace().skip(1)).output().unwrap().into();
            assert_eq!(run.code, Some(0), "{name}: {line}\n{}\n{}", run.out, run.err);
            ran += 1;
        }
        assert!(ran >= 2, "{name}: {ran} commands");
    }
}

/// Makes a model with random weights, and its embeddings of two sentences.
const MAKE: &str = r"
import os, torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
from sentence_transformers import SentenceTransformer
try:
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
except ImportError:
    from sentence_transformers.models import Normalize, Pooling, Transformer
words = {w: i for i, w in enumerate(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'hello', 'fleet', 'ready'])}
tokenizer = Tokenizer(models.WordLevel(words, unk_token='[UNK]'))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token='[UNK]', pad_token='[PAD]')
fast.save_pretrained('base')
torch.manual_seed(7)
config = BertConfig(vocab_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
                    max_position_embeddings=32)
BertModel(config).save_pretrained('base')
parts = Transformer('base', max_seq_length=16)
model = SentenceTransformer(modules=[parts, Pooling(16), Normalize()], device='cpu')
model.save('made')
print(model.encode(['hello fleet', 'ready']).round(5).tolist(), flush=True)
# torch's threads may keep an interpreter from its end.
os._exit(0)
";

const ENCODE: &str = r"
import os
from sentence_transformers import SentenceTransformer
print(SentenceTransformer('org/sentences', device='cpu').encode(['hello fleet', 'ready']).round(5).tolist(), flush=True)
os._exit(0)
";

/// A Python with `sentence-transformers` and torch, if there is one: `.ci/run` makes it with Debian's torch.
fn python_with_torch() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = std::env::var_os("HFGET_TORCH_PYTHON").map(PathBuf::from);
    let mut candidates =
        named.into_iter().chain([".venv-torch", ".venv"].map(|venv| root.join(venv).join("bin/python")));
    candidates.find(|python| {
        let probe = Command::new(python).args(["-c", "import sentence_transformers, torch"]).output();
        probe.is_ok_and(|probe| probe.status.success())
    })
}

#[test]
fn a_warmed_cache_serves_sentence_transformers_offline() {
    let Some(python) = python_with_torch() else {
        eprintln!("skipped: no Python with sentence-transformers and torch in .venv-torch (.ci/run makes it)");
        return;
    };
    let maker = Machine::new([]);
    let run = |machine: &Machine, script: &str, offline: bool| -> Run {
        let mut command = Command::new(&python);
        machine.environment(&mut command);
        command.env("HF_HUB_DISABLE_XET", "1").env("NO_COLOR", "1").env("CUDA_VISIBLE_DEVICES", "");
        if offline {
            command.env("HF_HUB_OFFLINE", "1");
        }
        Run::from(command.args(["-c", script]).output().unwrap()).ends_with(0)
    };
    let made = run(&maker, MAKE, true);
    let repo = Repo::new("org/sentences").dir(&maker.home.path().join("made"));
    let machine = Machine::new([repo]);
    machine.hfget("org/sentences").ends_with(0).says("result=verified");
    machine.hub.forget();
    let encoded = run(&machine, ENCODE, true);
    assert_eq!(encoded.out, made.out, "{}", encoded.err);
    assert_eq!(machine.hub.requests(), [], "no request was made");
    // The twin: without one of the modules' files it does not load, so all of them were needed.
    for part in ["1_Pooling/config.json", "modules.json", "model.safetensors"] {
        let snapshots = machine.model("org/sentences").join("snapshots");
        let snapshot = std::fs::read_dir(snapshots).unwrap().next().unwrap().unwrap().path();
        let (file, aside) = (snapshot.join(part), machine.home.path().join("aside"));
        std::fs::rename(&file, &aside).unwrap();
        let mut command = Command::new(&python);
        machine.environment(&mut command);
        command.env("HF_HUB_OFFLINE", "1").env("CUDA_VISIBLE_DEVICES", "").args(["-c", ENCODE]);
        let without: Run = command.output().unwrap().into();
        assert!(without.code != Some(0) || without.out != made.out, "{part} is not needed: {}", without.err);
        std::fs::rename(&aside, &file).unwrap();
    }
}
