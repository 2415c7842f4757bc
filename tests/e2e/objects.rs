//! Object stores: uploads with `--to`, reading them back, and objects that are never visible. The store is moto's S3
//! server, inspected with boto3. It speaks the whole multipart protocol (incomplete uploads are invisible, parts below
//! 5 MiB are refused), runs wherever Python runs, and is independent of our code.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hfget_loopback_hub::{Fault, Hub, Kind, Options, Place, Repo};

use super::interop::python;
use super::support::{Machine, Run, codes, one_file, safetensors, tree};

const SECRET: &str = "wJalrXUtnFEMI-not-to-be-seen";
/// Three parts, the last one short.
const SIZE: usize = 20 << 20;
const MODEL: &str = "model.safetensors";

/// A running S3 server with a bucket; it ends with the test.
pub struct S3 {
    child: Child,
    port: u16,
    python: std::path::PathBuf,
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl S3 {
    /// Prints a line and returns `None` if it is not installed.
    pub fn start(machine: &Machine) -> Option<Self> {
        let bin = python()?;
        let program = bin.join("moto_server");
        assert!(program.exists() || std::env::var_os("CI").is_none(), "CI needs moto in {}", bin.display());
        if !program.exists() {
            eprintln!("skipped: no moto in {} (.ci/run installs it)", bin.display());
            return None;
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .current_dir(machine.home.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut s3 = S3 { child, port, python: bin.join("python") };
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = s3.child.try_wait().unwrap();
            assert!(ended.is_none() && started.elapsed() < Duration::from_mins(1), "moto does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        s3.script("s3.create_bucket(Bucket='fleet')");
        Some(s3)
    }

    pub fn environment(&self, command: &mut Command) {
        command
            .env("AWS_ACCESS_KEY_ID", "AKIATEST")
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port));
    }

    pub fn hfget(&self, machine: &Machine, line: &str) -> Run {
        self.command(machine, line).output().unwrap().into()
    }

    pub fn command(&self, machine: &Machine, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hfget"));
        machine.environment(&mut command);
        self.environment(&mut command);
        command.args(line.split_whitespace());
        if !line.starts_with("lock") {
            command.args(["--retry-base-ms", "2", "--retry-for", "5"]);
        }
        command
    }

    /// Runs a script with boto3's client `s3`; returns its output.
    #[track_caller]
    pub fn script(&self, text: &str) -> String {
        let mut command = Command::new(&self.python);
        self.environment(&mut command);
        let run: Run =
            command.arg("-c").arg(format!("import boto3\ns3 = boto3.client('s3')\n{text}")).output().unwrap().into();
        run.ends_with(0).out
    }

    /// Every key with its size.
    pub fn keys(&self) -> Vec<String> {
        let listed = self.script("for o in s3.list_objects_v2(Bucket='fleet').get('Contents', []): print(o['Key'])");
        listed.lines().map(str::to_owned).collect()
    }

    /// The unfinished uploads.
    fn uploads(&self) -> String {
        self.script("print(len(s3.list_multipart_uploads(Bucket='fleet').get('Uploads', [])))").trim().to_owned()
    }

    /// The bucket's objects below `prefix`, as files below `folder`.
    fn copy(&self, prefix: &str, folder: &std::path::Path) {
        self.script(&format!(
            "import os
for o in s3.list_objects_v2(Bucket='fleet', Prefix='{prefix}').get('Contents', []):
    path = os.path.join('{}', o['Key'][len('{prefix}'):].lstrip('/'))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    s3.download_file('fleet', o['Key'], path)",
            folder.display()
        ));
    }
}

fn repo() -> Repo {
    one_file(SIZE)
}

/// A repo is uploaded, found again, verified in the store, and read back without the Hub.
#[test]
fn a_repo_goes_into_a_bucket_and_comes_back() {
    let machine = Machine::new([repo()]);
    let Some(s3) = S3::start(&machine) else { return };
    let commit = repo().commit();
    let run = s3.hfget(&machine, "org/one --to s3://fleet/models/").ends_with(0).says("verified");
    assert_eq!(run.out.trim(), format!("s3://fleet/models/models--org--one/snapshots/{commit}"));
    let below = |name: &str| format!("models/models--org--one/{name}");
    let mut wanted = vec![
        below(&format!("manifests/{commit}.lock")),
        below("refs/main"),
        below(&format!("snapshots/{commit}/config.json")),
        below(&format!("snapshots/{commit}/{MODEL}")),
    ];
    wanted.sort();
    assert_eq!(s3.keys(), wanted, "nothing else stays");
    assert_eq!(s3.uploads(), "0");
    // Nothing was written to the disk.
    assert!(!machine.cache().exists());

    // A second run asks the Hub for no bytes.
    let before = machine.byte_requests();
    s3.hfget(&machine, "org/one --to s3://fleet/models").ends_with(0).says("already verified");
    assert_eq!(machine.byte_requests(), before);
    s3.hfget(&machine, "plan org/one --to s3://fleet/models").ends_with(0).shows("0 B to fetch");

    // Any part of the URL works.
    for url in ["s3://fleet/models", "s3://fleet/models/models--org--one", run.out.trim()] {
        s3.hfget(&machine, &format!("verify {url}")).ends_with(0).says("2 of 2 digests right");
    }

    // The store as a mirror: the Hub lists, the store gives the bytes.
    machine.hub.forget();
    let path = s3.hfget(&machine, "org/one --mirror s3://fleet/models --cache-dir mirrored").ends_with(0).path();
    Machine::assert_whole(&machine.home.path().join(path), &repo(), &["config.json", MODEL]);

    // The store as the endpoint: no Hub at all, by branch and by commit.
    machine.hub.forget();
    for spec in ["org/one", &format!("org/one@{commit}")] {
        let line = format!("{spec} --endpoint s3://fleet/models --cache-dir endpoint");
        let path = s3.hfget(&machine, &line).ends_with(0).path();
        Machine::assert_whole(&machine.home.path().join(path), &repo(), &["config.json", MODEL]);
    }
    assert_eq!(machine.hub.requests().len(), 0);
    s3.hfget(&machine, "org/one@v9 --endpoint s3://fleet/models")
        .ends_with(3)
        .says("has no revision \"v9\"")
        .says("main");
    s3.hfget(&machine, "org/two --endpoint s3://fleet/models").ends_with(3).says("org/two was not found");
}

/// The layout is the Hub cache's: a copy or a mount of the prefix serves `huggingface_hub` offline.
#[test]
fn a_copy_of_the_prefix_is_a_hub_cache() {
    let machine = Machine::new([repo()]);
    let Some(s3) = S3::start(&machine) else { return };
    s3.hfget(&machine, "org/one --to s3://fleet/p").ends_with(0);
    let copy = machine.home.path().join("copy");
    s3.copy("p", &copy);
    let mut command = Command::new(&s3.python);
    machine.environment(&mut command);
    let text =
        "from huggingface_hub import snapshot_download; print(snapshot_download('org/one', local_files_only=True))";
    let run: Run =
        command.env("HF_HUB_CACHE", &copy).env("HF_HUB_OFFLINE", "1").args(["-c", text]).output().unwrap().into();
    Machine::assert_whole(&run.ends_with(0).path(), &repo(), &["config.json", MODEL]);
    // hfget can use it too.
    let line = format!("verify org/one --offline --cache-dir {}", copy.display());
    // A copy without blobs and listings has no digests, so it does not count as verified.
    s3.hfget(&machine, &line).ends_with(1).says("digests-unknown");
    s3.hfget(&machine, &format!("{line} --allow digests-unknown")).ends_with(0).says("contents checked");
}

/// An object gets its name only if its digest matches; the uploaded parts of a wrong one are removed.
#[test]
fn wrong_bytes_are_never_visible() {
    let machine = Machine::new([repo().file("notes.txt", "some notes")]);
    let Some(s3) = S3::start(&machine) else { return };
    for (at, path) in [(SIZE / 2, MODEL), (1, "notes.txt")] {
        machine.hub.fault(Fault::new(Place::Bytes, Kind::CorruptByte(at)).on(path));
        let run = s3.hfget(&machine, &format!("org/one --all --to s3://fleet/{at} --json")).ends_with(1);
        let report = &run.json()["reports"][0];
        assert_eq!(codes(report), ["checksum-mismatch"]);
        let keys = s3.keys().into_iter().filter(|key| key.starts_with(&format!("{at}/"))).collect::<Vec<_>>();
        assert!(!keys.iter().any(|key| key.ends_with(path) || key.contains("refs") || key.contains("manifests")));
        assert_eq!(s3.uploads(), "0");
        machine.hub.heal();
    }
    // A fault that happens only once is overcome.
    machine.hub.fault(Fault::new(Place::Bytes, Kind::CorruptByte(SIZE / 2)).on(MODEL).from(8 << 20..16 << 20).times(1));
    s3.hfget(&machine, "org/one --to s3://fleet").ends_with(0).says("its checksum is wrong");
    s3.hfget(&machine, "verify s3://fleet").ends_with(0);
}

/// Whatever happens to the connection, the bytes are right or there is no object.
#[test]
fn cuts_stalls_and_refusals_of_the_hub_are_overcome() {
    let machine = Machine::new([repo()]);
    let Some(s3) = S3::start(&machine) else { return };
    for (n, kind) in
        [Kind::Cut(1 << 20), Kind::Stall(1 << 20), Kind::Status(503, Vec::new()), Kind::Html, Kind::WrongContentRange]
            .into_iter()
            .enumerate()
    {
        machine.hub.fault(Fault::new(Place::Bytes, kind.clone()).on(MODEL).times(2));
        let line = format!("org/one --to s3://fleet/{n} --stall-timeout 0.3");
        s3.hfget(&machine, &line).ends_with(0);
        s3.hfget(&machine, &format!("verify s3://fleet/{n}")).ends_with(0);
        machine.hub.heal();
    }
    machine.hub.fault(Fault::new(Place::Bytes, Kind::IgnoreRange).on(MODEL));
    s3.hfget(&machine, "org/one --to s3://fleet/x").ends_with(4).says("it ignores requests for ranges");
    assert!(!s3.keys().iter().any(|key| key.starts_with("x/") && key.ends_with(MODEL)));
}

/// Each file waits a little for another one to be hashed with it, but there is memory for one part only.
#[test]
fn with_one_connection_large_files_are_uploaded_and_read_back() {
    let shards = (1..=3).map(|n| (format!("part-{n}.bin"), vec![n; 17 << 20]));
    let machine = Machine::new([shards.fold(repo(), |repo, (name, bytes)| repo.lfs(&name, bytes))]);
    let Some(s3) = S3::start(&machine) else { return };
    s3.hfget(&machine, "org/one --all --connections 1 --to s3://fleet").ends_with(0).says("verified");
    s3.hfget(&machine, "verify s3://fleet").ends_with(0);
}

/// It costs less than the SHA-256 of the content in each request's signature.
#[test]
fn the_store_can_check_crc64_instead_of_a_signature_of_the_content() {
    let machine = Machine::new([repo()]);
    let Some(s3) = S3::start(&machine) else { return };
    let upload = |algorithm: &str| -> Run {
        let mut command = s3.command(&machine, "org/one --to s3://fleet");
        command.env("AWS_UNSIGNED_PAYLOAD", "true").env("AWS_CHECKSUM_ALGORITHM", algorithm).output().unwrap().into()
    };
    upload("md5").ends_with(2).says("is not a valid checksum algorithm");
    let path = upload("crc64nvme").ends_with(0).says("verified").out;
    let key = format!("{}/{MODEL}", path.trim().trim_start_matches("s3://fleet/"));
    let with_checksum = |key: &str| {
        let object = format!("s3.get_object(Bucket='fleet', Key='{key}', ChecksumMode='ENABLED')");
        let headers = "['ResponseMetadata']['HTTPHeaders']";
        s3.script(&format!("print('x-amz-checksum-crc64nvme' in {object}{headers})")).trim() == "True"
    };
    assert!(with_checksum(&key), "the store has computed it");
    // Without these variables, the store is not asked for one.
    s3.hfget(&machine, "org/one --to s3://fleet/signed").ends_with(0);
    assert!(!with_checksum(&key.replace("models--", "signed/models--")));
    s3.hfget(&machine, "verify s3://fleet").ends_with(0).says("2 of 2 digests right");
}

/// A killed upload continues after the last part in its journal, on any machine.
#[test]
fn a_killed_upload_continues_where_it_stopped() {
    const LARGE: usize = 80 << 20;
    let options = Options { rate: Some(3 << 20), ..Options::default() };
    let machine = Machine::on(Hub::with(options, [one_file(LARGE)]));
    let Some(s3) = S3::start(&machine) else { return };
    let mut child = s3.command(&machine, "org/one --to s3://fleet").stderr(Stdio::null()).spawn().unwrap();
    let noted = "import json
def noted():
    for o in s3.list_objects_v2(Bucket='fleet').get('Contents', []):
        if '/.hfget/' in o['Key']:
            text = s3.get_object(Bucket='fleet', Key=o['Key'])['Body'].read()
            return len(json.loads(text)['parts'])
    return 0
";
    // The script kills it: on a busy machine the upload would end before this process could.
    s3.script(&format!("{noted}import os, time\nwhile noted() < 4: time.sleep(0.01)\nos.kill({}, 9)", child.id()));
    child.wait().unwrap();
    // The run continued until it was killed.
    let noted: usize = s3.script(&format!("{noted}print(noted())")).trim().parse().unwrap();
    assert!(!s3.keys().iter().any(|key| key.ends_with(MODEL)), "nothing is visible yet");
    let plan = s3.hfget(&machine, "plan org/one --to s3://fleet --json").ends_with(0).json();
    let to_fetch = plan["plans"][0]["bytes_to_fetch"].as_u64().unwrap();
    let whole = plan["plans"][0]["bytes"].as_u64().unwrap();
    assert_eq!(whole - to_fetch, (noted << 23) as u64 + 2, "the plan knows of it");
    // Another machine: it needs nothing from the first one's disk.
    let second = Machine::on(Hub::start([one_file(LARGE)]));
    let run = s3.hfget(&second, "org/one --to s3://fleet --json").ends_with(0);
    let fetched = run.json()["reports"][0]["totals"]["bytes_fetched"].as_u64().unwrap();
    assert!(fetched <= to_fetch, "{fetched} of {whole}, {to_fetch} were missing");
    s3.hfget(&second, "verify s3://fleet").ends_with(0);
    assert_eq!(s3.uploads(), "0");
    assert!(!s3.keys().iter().any(|key| key.contains(".hfget")), "{:?}", s3.keys());
}

/// A store drops uploads after some time; then the file begins again.
#[test]
fn an_upload_that_the_store_has_forgotten_begins_again() {
    const LARGE: usize = 80 << 20;
    let options = Options { rate: Some(6 << 20), ..Options::default() };
    let machine = Machine::on(Hub::with(options, [one_file(LARGE)]));
    let Some(s3) = S3::start(&machine) else { return };
    let mut child = s3.command(&machine, "org/one --to s3://fleet").stderr(Stdio::null()).spawn().unwrap();
    s3.script(
        "import time
while not any('/.hfget/' in o['Key'] for o in s3.list_objects_v2(Bucket='fleet').get('Contents', [])):
    time.sleep(0.01)
time.sleep(1)",
    );
    child.kill().unwrap();
    child.wait().unwrap();
    s3.script(
        "for u in s3.list_multipart_uploads(Bucket='fleet').get('Uploads', []):
    s3.abort_multipart_upload(Bucket='fleet', Key=u['Key'], UploadId=u['UploadId'])",
    );
    let second = Machine::on(Hub::start([one_file(LARGE)]));
    s3.hfget(&second, "org/one --to s3://fleet").ends_with(0).says("the store forgot its upload");
    s3.hfget(&second, "verify s3://fleet").ends_with(0);
}

/// Changes to the objects by other programs are found, and the next run corrects them.
#[test]
fn tampered_missing_and_extra_objects_are_found() {
    let machine = Machine::new([repo()]);
    let Some(s3) = S3::start(&machine) else { return };
    s3.hfget(&machine, "org/one --to s3://fleet").ends_with(0);
    let folder = format!("models--org--one/snapshots/{}", repo().commit());
    let lock = machine.home.path().join("hfget.lock");
    s3.hfget(&machine, "lock org/one").ends_with(0);

    s3.script(&format!("s3.put_object(Bucket='fleet', Key='{folder}/config.json', Body=b'[]')"));
    let report = s3.hfget(&machine, "verify s3://fleet --json").ends_with(1).json();
    assert_eq!(codes(&report["reports"][0]), ["checksum-mismatch"]);
    s3.hfget(&machine, &format!("verify --lock {} s3://fleet", lock.display())).ends_with(1).says("checksum-mismatch");
    // The object has the same size, but the next run still finds it.
    let before = machine.byte_requests();
    s3.hfget(&machine, "org/one --to s3://fleet").ends_with(0);
    assert!(machine.byte_requests() - before <= 2, "only what was wrong");
    s3.hfget(&machine, &format!("verify --lock {} s3://fleet", lock.display())).ends_with(0);

    s3.script(&format!(
        "s3.delete_object(Bucket='fleet', Key='{folder}/config.json')
s3.put_object(Bucket='fleet', Key='{folder}/evil.py', Body=b'import os')"
    ));
    let report = s3.hfget(&machine, "verify s3://fleet --json").ends_with(1).json();
    assert_eq!(codes(&report["reports"][0]), ["file-extra", "file-missing"]);

    s3.script(&format!(
        "s3.put_object(Bucket='fleet', Key='models--org--one/manifests/{}.lock', Body=b'x')",
        repo().commit()
    ));
    s3.hfget(&machine, "verify s3://fleet").ends_with(1).says("not a lockfile");
}

/// Several selections of one commit share its folder, and the manifest names all files.
#[test]
fn a_second_selection_joins_the_first() {
    let repo = repo().file("README.md", "read me");
    let machine = Machine::new([repo]);
    let Some(s3) = S3::start(&machine) else { return };
    s3.hfget(&machine, "org/one --to s3://fleet").ends_with(0);
    s3.hfget(&machine, "org/one --with *.md --to s3://fleet").ends_with(0);
    s3.hfget(&machine, "org/one --to s3://fleet").ends_with(0).says("already verified");
    s3.hfget(&machine, "verify s3://fleet").ends_with(0).says("3 of 3 digests right");
}

/// Any name that a repo may have, and empty files.
#[test]
fn names_and_empty_files_survive() {
    let names = ["a b+c%20.json", "ü/é~[x].txt", "empty.txt", "q's&=;.txt"];
    let mut repo = one_file(1000);
    for name in names {
        repo = repo.file(name, if name.starts_with("empty") { "" } else { "{}" });
    }
    let machine = Machine::new([repo.clone()]);
    let Some(s3) = S3::start(&machine) else { return };
    s3.hfget(&machine, "org/one --all --to s3://fleet/a").ends_with(0);
    let keys = s3.keys();
    for name in names {
        assert!(keys.iter().any(|key| key.ends_with(&format!("/{name}"))), "{name} in {keys:?}");
    }
    s3.hfget(&machine, "verify s3://fleet/a").ends_with(0);
    let path = s3.hfget(&machine, "org/one --all --endpoint s3://fleet/a --local-dir back").ends_with(0).path();
    let mut back = tree(&machine.home.path().join(path));
    back.retain(|name, _| !name.starts_with(".cache"));
    assert_eq!(back.len(), 6);
    assert!(back.iter().all(|(name, content)| Some(&content[..]) == repo.content(name)));
}

/// Shards without the tensors that the index promises are refused before they are uploaded, and a repo
/// that is refused leaves no ref.
#[test]
fn a_broken_repo_is_not_announced() {
    let index = r#"{"metadata":{},"weight_map":{"w":"model-1.safetensors","gone":"model-1.safetensors"}}"#;
    let repo = Repo::new("org/one")
        .file("config.json", "{}")
        .file("model.safetensors.index.json", index)
        .lfs("model-1.safetensors", safetensors("w", SIZE));
    let machine = Machine::new([repo]);
    let Some(s3) = S3::start(&machine) else { return };
    let report = s3.hfget(&machine, "org/one --to s3://fleet --json").ends_with(1).json();
    assert_eq!(codes(&report["reports"][0]), ["tensor-missing"]);
    assert!(!s3.keys().iter().any(|key| key.contains("/refs/") || key.contains("/manifests/")), "{:?}", s3.keys());
    s3.hfget(&machine, "verify s3://fleet").ends_with(3).says("hfget uploaded no repo to s3://fleet");
}

/// A lockfile decides which files are uploaded and verified.
#[test]
fn locked_files_are_uploaded_and_several_repos_in_one_run() {
    let machine =
        Machine::new([repo(), Repo::new("org/two").file("config.json", "{}").lfs(MODEL, safetensors("v", 100))]);
    let Some(s3) = S3::start(&machine) else { return };
    s3.hfget(&machine, "lock org/one org/two").ends_with(0);
    s3.hfget(&machine, "--locked --to s3://fleet").ends_with(0);
    s3.hfget(&machine, "verify s3://fleet").ends_with(0).says("org/one").says("org/two");
    s3.hfget(&machine, "verify --lock hfget.lock s3://fleet").ends_with(0);
    s3.hfget(&machine, "--locked --endpoint s3://fleet --cache-dir there").ends_with(0);
}

/// A store that cannot be used has its error, with advice and without a secret.
#[test]
fn trouble_with_the_store_is_named() {
    let machine = Machine::new([repo()]);
    let Some(s3) = S3::start(&machine) else { return };
    s3.hfget(&machine, "org/one --to s3://nobucket").ends_with(3).says("s3://nobucket does not exist");
    s3.hfget(&machine, "org/one --to s3://key:secret@fleet").ends_with(2).says("credentials come from the environment");
    s3.hfget(&machine, "org/one --to file:///tmp/x").ends_with(2).says("--local-dir");
    s3.hfget(&machine, "org/one --to s3://fleet/../x").ends_with(2);
    s3.hfget(&machine, "org/one --to s3://fleet --local-dir x").ends_with(2);
    s3.hfget(&machine, "compare org/one --mirror s3://fleet").ends_with(2).says("hfget verify");
    s3.hfget(&machine, "org/one --to az://container").ends_with(2).says("AZURE_STORAGE_ACCOUNT_NAME");
    let mut command = s3.command(&machine, "verify s3://fleet");
    let run: Run = command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1").output().unwrap().into();
    run.ends_with(4).says("s3://fleet").says("Connection refused");
    // A secret does not appear in a good run either.
    for line in ["org/one --to s3://fleet -v", "org/one --to s3://fleet --json", "verify s3://fleet -v --progress json"]
    {
        let run = s3.hfget(&machine, line).ends_with(0);
        assert!(!run.err.contains(SECRET) && !run.out.contains(SECRET));
    }
    assert!(!tree(machine.home.path()).values().any(|c| String::from_utf8_lossy(c).contains(SECRET)));
}
