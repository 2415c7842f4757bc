//! `hfget inspect`: tensors of files, folders and repos, of which only headers are fetched.

use hfget_loopback_hub::{Fault, Kind, Place, Repo};

use super::support::{CHATGLM, Machine, fixture, safetensors};

fn file(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats").join(name)
}

#[test]
fn a_remote_repo_is_inspected_by_range_requests() {
    let size = 40 << 20;
    let repo = Repo::new("org/big").file("config.json", "{}").lfs("model.safetensors", safetensors("w", size));
    let machine = Machine::new([repo]);
    let run = machine.run(["inspect", "org/big", "--json"]).ends_with(0);
    assert_eq!(run.json()["inspected"][0]["parameters"], size);
    let requests = machine.hub.requests();
    let asked: Vec<_> = requests.iter().filter(|r| r.cdn && r.path.ends_with(".safetensors")).collect();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].range.is_some());
    assert!(machine.visible("org/big").is_empty());
}

#[test]
fn a_server_that_ignores_ranges_is_reported_and_not_read_to_the_end() {
    let size = 64 << 20;
    let repo = Repo::new("org/big").file("config.json", "{}").lfs("model.safetensors", safetensors("w", size));
    let machine = Machine::new([repo]);
    machine.hub.fault(Fault::new(Place::Bytes, Kind::IgnoreRange).on("*.safetensors"));
    machine.run(["inspect", "org/big"]).ends_with(4).says("it ignores requests for ranges");
    assert!(machine.hub.bytes_sent() < size as u64 / 2, "{} bytes were sent", machine.hub.bytes_sent());
}

#[test]
fn files_folders_and_cached_repos_are_inspected_without_a_hub() {
    let machine = Machine::new([fixture(CHATGLM)]);
    machine.run([CHATGLM]).ends_with(0);
    let asked = machine.hub.requests().len();
    let run = machine.run(["inspect", CHATGLM, "--offline", "--json"]).ends_with(0);
    assert!(run.json()["inspected"][0]["tensors"].as_u64().unwrap() > 0);
    let gguf = file("gguf/little.gguf");
    machine.run(["inspect", gguf.to_str().unwrap()]).ends_with(0).shows("token_embd.weight").shows("Q4_K");
    machine.run(["inspect", file("onnx").to_str().unwrap()]).ends_with(0).shows("chosen/b").shows("BFLOAT16");
    machine
        .run(["inspect", gguf.to_str().unwrap(), "--filter", "blk.*", "--json"])
        .ends_with(0)
        .shows("\"tensors\": 8");
    assert_eq!(machine.hub.requests().len(), asked);
}

/// The bytes and the name of a file decide its format, in a folder as in a repo.
#[test]
fn the_bytes_of_a_file_decide_its_format_if_its_name_does_not() {
    let machine = Machine::new([]);
    let folder = machine.home.path().join("odd");
    std::fs::create_dir(&folder).unwrap();
    let torch = std::fs::read(file("../torch/torchscript.pt")).unwrap();
    for name in ["model.torchscript", "model.pth.tar", "weights.bin"] {
        std::fs::write(folder.join(name), &torch).unwrap();
        machine.run(["inspect", folder.join(name).to_str().unwrap()]).ends_with(0).shows("weight");
    }
    // Raw numbers of OpenVINO and of an ONNX graph, and a GGML model from before GGUF: none of them is a PyTorch
    // checkpoint.
    std::fs::write(folder.join("openvino_model.bin"), [0x3f; 64]).unwrap();
    std::fs::write(folder.join("openvino_model.xml"), "<net/>").unwrap();
    std::fs::write(folder.join("data.bin"), [7; 64]).unwrap();
    std::fs::write(folder.join("ggml-model-q4_0.bin"), b"lmgg\0\0\0\0").unwrap();
    machine.run(["inspect", folder.to_str().unwrap()]).ends_with(0).shows("openvino_model.bin").shows("data.bin");
    // A name that only PyTorch's loaders use promises a format.
    std::fs::write(folder.join("pytorch_model.bin"), [7; 64]).unwrap();
    machine.run(["inspect", folder.to_str().unwrap()]).ends_with(1).shows("pytorch_model.bin");
}

#[test]
fn a_quantisation_and_a_graph_are_chosen_on_request_and_verified() {
    let read = |name: &str| std::fs::read(file(name)).unwrap();
    let mut repo = Repo::new("org/many").file("config.json", "{}").lfs("model.safetensors", safetensors("w", 64));
    for (name, from) in [
        ("m-Q4_K_M.gguf", "gguf/little.gguf"),
        ("m-Q8_0-00001-of-00003.gguf", "gguf/split-00001-of-00003.gguf"),
        ("m-Q8_0-00002-of-00003.gguf", "gguf/split-00002-of-00003.gguf"),
        ("m-Q8_0-00003-of-00003.gguf", "gguf/split-00003-of-00003.gguf"),
        ("onnx/outside.onnx", "onnx/outside.onnx"),
        ("onnx/outside.onnx_data", "onnx/outside.onnx_data"),
        ("onnx/outside_fp16.onnx", "onnx/plain.onnx"),
    ] {
        repo = repo.lfs(name, read(from));
    }
    let weights = |arguments: &[&str]| {
        let machine = Machine::new([repo.clone()]);
        let all = ["org/many", "--json"].into_iter().chain(arguments.iter().copied());
        let files = machine.run(all).ends_with(0).json()["reports"][0]["files"].clone();
        let weights = files.as_array().unwrap().iter().filter(|f| f["purpose"] == "weights");
        weights.map(|f| f["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(weights(&["--only", "gguf"]), "m-Q4_K_M.gguf");
    assert_eq!(
        weights(&["--only", "gguf", "--variant", "Q8_0"]),
        "m-Q8_0-00001-of-00003.gguf m-Q8_0-00002-of-00003.gguf m-Q8_0-00003-of-00003.gguf"
    );
    assert_eq!(weights(&["--only", "onnx"]), "onnx/outside.onnx onnx/outside.onnx_data");
    assert_eq!(weights(&["--only", "onnx", "--variant", "fp16"]), "onnx/outside_fp16.onnx");
    assert_eq!(weights(&[]), "model.safetensors");
}

#[test]
fn a_gguf_repo_is_inspected_and_a_file_without_weights_is_refused() {
    let bytes = std::fs::read(file("gguf/little.gguf")).unwrap();
    let machine = Machine::new([Repo::new("org/g").lfs("tiny-Q4_K_M.gguf", bytes)]);
    machine.run(["inspect", "org/g"]).ends_with(0).shows("IQ4_XS").shows("\ntotal ").shows("  14,369  ");
    let text = machine.home.path().join("a.txt");
    std::fs::write(&text, "hello").unwrap();
    machine.run(["inspect", text.to_str().unwrap()]).ends_with(3).says("no weight files");
    std::fs::write(machine.home.path().join("a.gguf"), "hello").unwrap();
    machine.run(["inspect", "./a.gguf"]).ends_with(1).shows("format-unexpected");
}

#[test]
fn tensorflow_keras_and_flax_are_fetched_verified_and_inspected() {
    let mut repo = Repo::new("org/tf").file("config.json", "{}").lfs("model.safetensors", safetensors("w", 64));
    for (name, from) in [
        ("m.ckpt-1.index", "tf/sharded/model.ckpt-1.index"),
        ("m.ckpt-1.data-00000-of-00002", "tf/sharded/model.ckpt-1.data-00000-of-00002"),
        ("m.ckpt-1.data-00001-of-00002", "tf/sharded/model.ckpt-1.data-00001-of-00002"),
        ("tf_model.h5", "h5/tf_model-00001-of-00002.h5"),
        ("flax_model.msgpack", "flax/flax_model.msgpack"),
        ("saved_model/saved_model.pb", "tf/saved_model/saved_model.pb"),
        ("saved_model/fingerprint.pb", "tf/saved_model/fingerprint.pb"),
        ("saved_model/assets/vocab.txt", "tf/saved_model/assets/vocab.txt"),
        ("saved_model/variables/variables.index", "tf/saved_model/variables/variables.index"),
        (
            "saved_model/variables/variables.data-00000-of-00001",
            "tf/saved_model/variables/variables.data-00000-of-00001",
        ),
    ] {
        repo = repo.lfs(name, std::fs::read(file(from)).unwrap());
    }
    for (family, files, tensors) in [("tf-checkpoint", 3, 13), ("tf", 1, 3), ("flax", 1, 17), ("saved-model", 5, 3)] {
        let machine = Machine::new([repo.clone()]);
        let remote = machine.run(["inspect", "org/tf", "--only", family, "--json"]).ends_with(0).json();
        let count = |value: &serde_json::Value| {
            let all = value["inspected"].as_array().unwrap();
            all.iter().map(|one| one["tensors"].as_u64().unwrap()).sum::<u64>()
        };
        assert_eq!(count(&remote), tensors, "{family}");
        let got = machine.run(["org/tf", "--only", family, "--json"]).ends_with(0).json();
        let weights =
            got["reports"][0]["files"].as_array().unwrap().iter().filter(|f| f["purpose"] == "weights").count();
        assert_eq!((weights, &got["reports"][0]["totals"]["tensors"]), (files, &tensors.into()), "{family}");
        machine.run(["verify", "org/tf", "--only", family, "--deep"]).ends_with(0);
    }
    let machine = Machine::new([]);
    machine.run(["inspect", file("tf").to_str().unwrap()]).ends_with(0).shows("dense/kernel").shows("DT_BFLOAT16");
    machine.run(["inspect", file("h5/keras.h5").to_str().unwrap()]).ends_with(0).shows("first/first/kernel");
    machine.run(["inspect", file("flax").to_str().unwrap()]).ends_with(0).shows("ln_f/scale").shows("bfloat16");
}

#[test]
fn a_flipped_byte_of_a_checkpoint_without_a_known_digest_is_found_when_every_byte_is_read() {
    let machine = Machine::new([]);
    let folder = machine.home.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    for name in ["model.ckpt.index", "model.ckpt.data-00000-of-00001"] {
        std::fs::copy(file("tf/saver").join(name), folder.join(name)).unwrap();
    }
    let data = folder.join("model.ckpt.data-00000-of-00001");
    let mut bytes = std::fs::read(&data).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&data, bytes).unwrap();
    let verify = ["verify", "./model", "--only", "tf-checkpoint", "--allow", "digests-unknown"];
    machine.run(verify).ends_with(0);
    machine.run(verify.into_iter().chain(["--deep"])).ends_with(1).says("checksum-mismatch");
}

#[test]
fn shards_of_keras_and_flax_are_compared_with_their_indexes_before_and_after_the_fetch() {
    for (family, folder, stem, ending) in [("tf", "h5", "tf_model", "h5"), ("flax", "flax", "flax_model", "msgpack")] {
        let index = format!("{stem}.{ending}.index.json");
        let shards = [1, 2].map(|n| format!("{stem}-0000{n}-of-00002.{ending}"));
        let read = |name: &str| std::fs::read(file(folder).join(name)).unwrap();
        let repo = |swapped: bool| {
            let mut repo = Repo::new("org/s").file("config.json", "{}").file(&index, read(&index));
            for (at, name) in shards.iter().enumerate() {
                repo = repo.lfs(name, read(&shards[if swapped { 1 - at } else { at }]));
            }
            repo
        };
        let machine = Machine::new([repo(false)]);
        machine.run(["plan", "org/s", "--only", family, "--deep"]).ends_with(0);
        machine.run(["org/s", "--only", family]).ends_with(0);
        let machine = Machine::new([repo(true)]);
        machine.run(["plan", "org/s", "--only", family, "--deep"]).ends_with(1).shows("tensor-misplaced");
        machine.run(["org/s", "--only", family]).ends_with(1).says("tensor-misplaced");
    }
}
