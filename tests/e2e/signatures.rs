//! Signed models: signed by the reference implementation, fetched from the Hub, and refused if a bit, a file, a key or
//! a date is wrong. Tests with signers in Python print that they are skipped without it; `openssl` makes keys.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use hfget_loopback_hub::Repo;

use super::interop::python;
use super::support::{Machine, Run, safetensors};

/// A signer's working place: keys, certificates, and the folder of a model.
struct Desk {
    dir: tempfile::TempDir,
    bin: PathBuf,
}

impl Desk {
    /// A desk with a model of two weight files; `None` if the reference implementation is not installed.
    fn new() -> Option<Self> {
        let bin = python()?;
        if !bin.join("model_signing").exists() {
            eprintln!("skipped: no model_signing in {}", bin.display());
            return None;
        }
        let desk = Desk { dir: tempfile::tempdir().unwrap(), bin };
        desk.write("config.json", b"{}");
        desk.write("model.safetensors", &safetensors("w", 4096));
        desk.write("notes/readme.txt", b"not for loaders");
        desk.key("key", "prime256v1");
        Some(desk)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn model(&self) -> PathBuf {
        self.path("model")
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.model().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    #[track_caller]
    fn run(&self, program: impl AsRef<std::ffi::OsStr>, line: &str) -> Run {
        let output = Command::new(program).args(line.split_whitespace()).current_dir(self.dir.path()).output().unwrap();
        Run { code: output.status.code(), out: lossy(&output.stdout), err: lossy(&output.stderr) }
    }

    #[track_caller]
    fn openssl(&self, line: &str) {
        self.run("openssl", line).ends_with(0);
    }

    #[track_caller]
    fn model_signing(&self, line: &str) -> Run {
        self.run(self.bin.join("model_signing"), line)
    }

    /// A key pair: `NAME.pem` is private, `NAME.pub` public.
    fn key(&self, name: &str, curve: &str) {
        self.openssl(&format!("ecparam -name {curve} -genkey -noout -out {name}.pem"));
        self.openssl(&format!("ec -in {name}.pem -pubout -out {name}.pub"));
    }

    /// Signs the model with a key of the desk.
    #[track_caller]
    fn sign(&self, key: &str) {
        let line = format!("sign key model --private_key {key}.pem --signature model/model.sig");
        self.model_signing(&line).ends_with(0);
    }

    /// An authority, and its certificate for a signer, which is valid between these two numbers of days from now.
    fn certificate(&self, name: &str, from: i32, until: i32) {
        let script = format!("import sys; NAME, FROM, UNTIL = '{name}', {from}, {until}\n{CERTIFICATES}");
        let made = Command::new(self.bin.join("python")).args(["-c", &script]).current_dir(self.dir.path()).output();
        let made = made.unwrap();
        assert!(made.status.success(), "{}", lossy(&made.stderr));
    }

    #[track_caller]
    fn sign_with_certificate(&self, name: &str) {
        let line = format!(
            "sign certificate model --private_key {name}.pem --signing_certificate {name}.crt --certificate_chain ca.crt \
             --signature model/model.sig"
        );
        self.model_signing(&line).ends_with(0);
    }

    /// The model as a repo, with weights in LFS storage.
    fn repo(&self) -> Repo {
        super::support::tree(&self.model()).into_iter().fold(Repo::new("org/signed"), |repo, (name, bytes)| {
            let weights = name.ends_with(".safetensors");
            if weights { repo.lfs(&name, bytes) } else { repo.file(&name, bytes) }
        })
    }

    /// A user's machine and a Hub with the model.
    fn machine(&self) -> Machine {
        Machine::new([self.repo()])
    }

    fn get(&self, machine: &Machine, key: &str, more: &str) -> Run {
        machine.hfget(&format!("org/signed --require-signature {} {more}", self.path(key).display()))
    }
}

/// `openssl x509` cannot make a certificate with a past date, so Python makes them.
const CERTIFICATES: &str = r#"
from datetime import datetime, timedelta, timezone
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization as form
from cryptography.hazmat.primitives.asymmetric import ec
day = lambda days: datetime.now(timezone.utc) + timedelta(days=days)
name = lambda text: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
def certificate(subject, key, issuer, issuer_key, dates, is_authority):
    builder = x509.CertificateBuilder(name(issuer), name(subject), key.public_key(), x509.random_serial_number(), *dates)
    usage = dict.fromkeys(["content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign",
                           "encipher_only", "decipher_only"], False)
    usage |= {"digital_signature": not is_authority, "key_cert_sign": is_authority}
    builder = builder.add_extension(x509.BasicConstraints(is_authority, None), True)
    builder = builder.add_extension(x509.KeyUsage(**usage), True)
    if not is_authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CODE_SIGNING]), False)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(form.Encoding.PEM)
top, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
pem = leaf.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
open(NAME + ".pem", "wb").write(pem)
open("ca.crt", "wb").write(certificate("authority", top, "authority", top, (day(-99), day(99)), True))
open(NAME + ".crt", "wb").write(certificate("signer", leaf, "authority", top, (day(FROM), day(UNTIL)), False))
"#;

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The state of the only signature in a report.
#[track_caller]
fn standing(run: &Run) -> String {
    let report = &run.json()["reports"][0];
    report["signatures"][0]["standing"].as_str().unwrap_or_else(|| panic!("no signature: {report}")).to_owned()
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_signed_repo_is_fetched_with_its_key_on_every_curve_and_refused_with_another() {
    let Some(desk) = Desk::new() else { return };
    for curve in ["prime256v1", "secp384r1", "secp521r1"] {
        desk.key("key", curve);
        desk.key("other", curve);
        desk.sign("key");
        let machine = desk.machine();
        let wrong = desk.get(&machine, "other.pub", "").ends_with(1).says("error[signature-invalid] model.sig");
        assert!(wrong.err.contains("the trusted key did not sign it"), "{}", wrong.err);
        assert!(machine.visible("org/signed").is_empty(), "nothing was fetched");
        let run = desk.get(&machine, "key.pub", "--all --json").ends_with(0);
        assert_eq!(standing(&run), "verified", "{curve}");
        assert_eq!(run.json()["reports"][0]["signatures"][0]["files"], 3);
        // A second run uses the record of the first, with the same result.
        let again = desk.get(&machine, "key.pub", "--all --json").ends_with(0);
        assert_eq!(standing(&again), "verified", "{curve}");
        assert_eq!(again.json()["reports"][0]["totals"]["bytes_fetched"], 0);
        desk.get(&machine, "key.pub", "--all --offline").ends_with(0).says("signed by key");
        machine
            .run(["verify", "org/signed", "--offline", "--require-signature", desk.path("key.pub").to_str().unwrap()])
            .ends_with(0)
            .says("signed by key");
        // No byte is hashed twice for a signature.
        let hashed = |more: &[&str]| {
            let words = ["verify", "org/signed", "--offline", "--deep", "--json"];
            let run = machine.run(words.iter().chain(more).copied()).ends_with(0);
            run.json()["reports"][0]["totals"]["bytes_hashed"].as_u64().unwrap()
        };
        let key = desk.path("key.pub");
        assert_eq!(hashed(&["--require-signature", key.to_str().unwrap()]), hashed(&[]), "{curve}");
    }
}

#[test]
fn without_a_key_a_signature_is_a_note_and_never_verified() {
    let Some(desk) = Desk::new() else { return };
    desk.sign("key");
    let machine = desk.machine();
    let run = machine.hfget("org/signed --all").ends_with(0).says("note[signature-unchecked] model.sig");
    assert!(!run.err.contains("signed by"), "{}", run.err);
    let json = machine.hfget("org/signed --all --json").ends_with(0);
    assert_eq!(standing(&json), "unchecked");
    assert_eq!(json.json()["reports"][0]["signatures"][0].get("signer"), None);
    machine.hfget("org/signed --all --deny signature-unchecked").ends_with(1);
}

#[test]
fn a_file_that_differs_from_the_signed_one_is_named_before_its_bytes_move() {
    let Some(desk) = Desk::new() else { return };
    desk.sign("key");
    flip(&desk.model().join("model.safetensors"));
    let machine = desk.machine();
    let run = desk.get(&machine, "key.pub", "").ends_with(1).says("error[signature-invalid] model.safetensors");
    assert!(run.err.contains("NOT VERIFIED"), "{}", run.err);
    let weights = machine.hub.requests().iter().filter(|r| r.path.contains("model.safetensors")).count();
    assert_eq!(weights, 0, "the listing says enough");
    // The bytes match this Hub's own listing, so without a required signature nothing is wrong.
    machine.hfget("org/signed").ends_with(0);
}

#[test]
fn a_small_file_that_differs_from_the_signed_one_is_named() {
    let Some(desk) = Desk::new() else { return };
    desk.sign("key");
    desk.write("config.json", b"{ }");
    let machine = desk.machine();
    desk.get(&machine, "key.pub", "").ends_with(1).says("error[signature-invalid] config.json");
    // The same with the record of an earlier run.
    machine.hfget("org/signed").ends_with(0);
    desk.get(&machine, "key.pub", "").ends_with(1).says("error[signature-invalid] config.json");
    desk.write("config.json", b"{}");
    let machine = desk.machine();
    desk.get(&machine, "key.pub", "").ends_with(0);
    machine.hfget("org/signed").ends_with(0);
    desk.get(&machine, "key.pub", "").ends_with(0);
}

#[test]
fn a_selection_of_a_signed_repo_is_right_and_names_the_left_out_files() {
    let Some(desk) = Desk::new() else { return };
    desk.sign("key");
    let machine = desk.machine();
    let run = desk.get(&machine, "key.pub", "").ends_with(0).says("note[signature-partial] model.sig");
    assert!(run.err.contains("notes/readme.txt") && run.err.contains("1 file"), "{}", run.err);
    let json = desk.get(&machine, "key.pub", "--json").ends_with(0);
    assert_eq!(standing(&json), "partial");
    let signature = &json.json()["reports"][0]["signatures"][0];
    assert_eq!((&signature["files"], &signature["not_selected"]), (&2.into(), &1.into()));
    // With `--all` every signed file is taken.
    desk.get(&machine, "key.pub", "--deny signature-partial").ends_with(1);
    let all = desk.get(&machine, "key.pub", "--all --deny signature-partial --json").ends_with(0);
    assert_eq!(standing(&all), "verified");
}

#[test]
fn a_signed_file_that_the_repo_lacks_is_an_error() {
    let Some(desk) = Desk::new() else { return };
    desk.sign("key");
    std::fs::remove_file(desk.model().join("notes/readme.txt")).unwrap();
    let run = desk.get(&desk.machine(), "key.pub", "").ends_with(1).says("error[signature-invalid] notes/readme.txt");
    assert!(run.err.contains("but it is missing"), "{}", run.err);
}

#[test]
fn an_unsigned_file_is_an_error_unless_it_is_allowed() {
    let Some(desk) = Desk::new() else { return };
    desk.sign("key");
    desk.write("tokenizer.json", b"{}");
    let machine = desk.machine();
    desk.get(&machine, "key.pub", "").ends_with(1).says("error[file-unsigned] tokenizer.json");
    desk.get(&machine, "key.pub", "--allow file-unsigned").ends_with(0).says("warning[file-unsigned] tokenizer.json");
    desk.get(&machine, "key.pub", "--exclude tokenizer.json").ends_with(0);
    // Files that no model signature covers: git's own files at the root, and those that the signer left out.
    std::fs::remove_file(desk.model().join("tokenizer.json")).unwrap();
    desk.write(".gitattributes", b"*.bin filter=lfs\n");
    let run = desk.get(&desk.machine(), "key.pub", "--all --json").ends_with(0);
    assert_eq!(standing(&run), "verified");
}

#[test]
fn a_repo_without_a_signature_fails_if_one_is_required() {
    let Some(desk) = Desk::new() else { return };
    let machine = desk.machine();
    let run = desk.get(&machine, "key.pub", "").ends_with(1).says("error[signature-missing]");
    assert!(run.out.is_empty(), "{}", run.out);
    desk.get(&machine, "key.pub", "--allow signature-missing").ends_with(2).says("cannot be allowed");
    machine.hfget("org/signed").ends_with(0);
}

#[test]
fn a_signature_is_known_by_its_content_and_not_by_its_name() {
    let Some(desk) = Desk::new() else { return };
    desk.sign("key");
    std::fs::rename(desk.model().join("model.sig"), desk.model().join("attestation.json")).unwrap();
    let run = desk.get(&desk.machine(), "key.pub", "--json").ends_with(0);
    assert_eq!(run.json()["reports"][0]["signatures"][0]["path"], "attestation.json");
    // A file that only has the name is not a signature.
    std::fs::remove_file(desk.model().join("attestation.json")).unwrap();
    desk.write("model.sig", b"{\"signed\": true}");
    desk.get(&desk.machine(), "key.pub", "").ends_with(1).says("signature-missing");
}

/// A program may sign other digests than the command `model_signing` does.
#[test]
fn a_signature_over_digests_that_hfget_does_not_compute_does_not_count_and_says_what_to_do() {
    let Some(desk) = Desk::new() else { return };
    for (method, said) in [
        ("use_shard_serialization(shard_size=1000)", "parts of files"),
        ("use_file_serialization(hashing_algorithm='blake3')", "blake3 digests"),
        ("use_file_serialization(hashing_algorithm='blake2')", "blake2b digests"),
        // The twin: what the command signs.
        ("use_file_serialization()", ""),
    ] {
        let _ = std::fs::remove_file(desk.model().join("model.sig"));
        let script = format!(
            "import pathlib; from model_signing import hashing, signing\n\
             signing.Config().use_elliptic_key_signer(private_key=pathlib.Path('key.pem'))\\\n\
             .set_hashing_config(hashing.Config().{method}).sign('model', 'model/model.sig')"
        );
        let made = Command::new(desk.bin.join("python")).args(["-c", &script]).current_dir(desk.dir.path()).output();
        let made = made.unwrap();
        assert!(made.status.success(), "{method}: {}", lossy(&made.stderr));
        let machine = desk.machine();
        if said.is_empty() {
            desk.get(&machine, "key.pub", "--all").ends_with(0).says("result=verified");
            continue;
        }
        let run = desk.get(&machine, "key.pub", "--all").ends_with(1).says("error[signature-missing]").says(said);
        let run = run.says("`model_signing verify`");
        assert!(!run.err.contains("do not use the files"), "{}", run.err);
        assert!(!machine.model("org/signed").join("refs/main").exists());
        // Without the flag it is a note.
        machine.hfget("org/signed --all").ends_with(0).says("signature-unchecked");
    }
}

#[test]
fn a_certificate_counts_while_it_is_valid_and_under_its_authority_only() {
    let Some(desk) = Desk::new() else { return };
    desk.certificate("leaf", -1, 20);
    desk.sign_with_certificate("leaf");
    let machine = desk.machine();
    let run = desk.get(&machine, "ca.crt", "--all --json").ends_with(0);
    assert_eq!(standing(&run), "verified");
    assert_eq!(run.json()["reports"][0]["signatures"][0]["by"], "certificate");
    desk.get(&machine, "ca.crt", "--all").ends_with(0).says("(CN=signer)");
    let signed_by_first = desk.repo();
    // Another authority with the same name.
    desk.certificate("leaf2", -1, 20);
    let machine = Machine::new([signed_by_first]);
    desk.get(&machine, "ca.crt", "").ends_with(1).says("error[signature-invalid] model.sig");
    desk.get(&machine, "key.pub", "").ends_with(1).says("it was made by a certificate, but only a key is trusted");
}

/// The reference implementation sets its clock to the certificate's first day; the specification demands a certificate
/// that is valid now.
#[test]
fn an_expired_certificate_is_refused() {
    let Some(desk) = Desk::new() else { return };
    desk.certificate("leaf", -20, -1);
    desk.sign_with_certificate("leaf");
    desk.get(&desk.machine(), "ca.crt", "").ends_with(1).says("its certificate has expired");
}

/// An accepted signature in a folder is not an extra file.
#[test]
fn a_signature_that_counts_is_no_extra_file_of_the_folder() {
    let Some(desk) = Desk::new() else { return };
    let machine = desk.machine();
    machine.hfget("org/signed --all --local-dir here").ends_with(0);
    let here = machine.home.path().join("here");
    let (folder, key) = (here.display(), desk.path("key.pub"));
    let line = format!(
        "sign key {folder} --private_key key.pem --signature {folder}/model.sig --ignore-paths {folder}/.cache"
    );
    desk.model_signing(&line).ends_with(0);
    let run = machine.hfget(&format!("verify ./here --require-signature {}", key.display())).ends_with(0);
    assert!(run.err.contains("signed by") && !run.err.contains("file-extra"), "{}", run.err);
    machine.hfget("verify ./here").ends_with(0).says("warning[file-extra] model.sig");
}

#[test]
fn a_folder_without_known_digests_is_verified_by_its_signature_alone() {
    let Some(desk) = Desk::new() else { return };
    desk.sign("key");
    let machine = Machine::new([]);
    let (model, key) = (desk.model(), desk.path("key.pub"));
    let verify = |more: &[&str]| {
        let mut line = vec!["verify", model.to_str().unwrap(), "--require-signature", key.to_str().unwrap()];
        line.extend(more);
        machine.run(line)
    };
    verify(&[]).ends_with(0).says("verified against the signature");
    assert_eq!(machine.hub.requests(), []);
    // Without the signature no digests are known.
    machine.run(["verify", model.to_str().unwrap()]).ends_with(1).says("digests-unknown");
    flip(&model.join("model.safetensors"));
    verify(&[]).ends_with(1).says("checksum-mismatch");
    flip(&model.join("model.safetensors"));
    std::fs::remove_file(model.join("notes/readme.txt")).unwrap();
    verify(&[]).ends_with(1).says("error[signature-invalid] notes/readme.txt");
    desk.write("notes/readme.txt", b"not for loaders");
    desk.write("extra.py", b"import os");
    verify(&[]).ends_with(1).says("extra.py");
    std::fs::remove_file(model.join("extra.py")).unwrap();
    verify(&[]).ends_with(0);
}

#[test]
fn an_invalid_signer_is_refused_before_any_request() {
    let machine = Machine::new([]);
    let home = machine.home.path();
    std::fs::write(home.join("private.pem"), "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n")
        .unwrap();
    std::fs::write(home.join("text.pem"), "hello").unwrap();
    for (signer, said) in [
        ("private.pem", "give the public key"),
        ("text.pem", "no PEM block"),
        ("none.pem", "cannot read none.pem"),
        ("@https://accounts.google.com", "IDENTITY@ISSUER"),
    ] {
        machine.hfget(&format!("org/signed --require-signature {signer}")).ends_with(2).says(said);
    }
    assert_eq!(machine.hub.requests(), []);
}

/// The content of a statement, independent of the order of its keys: the files, and the digest of the whole.
fn meaning(statement: &serde_json::Value) -> (Vec<(String, String, String)>, String) {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_else(|| panic!("no text: {statement}")).to_owned();
    let resources = statement["predicate"]["resources"].as_array().unwrap();
    let mut files: Vec<_> =
        resources.iter().map(|one| (text(&one["name"]), text(&one["algorithm"]), text(&one["digest"]))).collect();
    files.sort();
    assert_eq!(statement["predicateType"], "https://model_signing/signature/v1.0");
    assert_eq!(statement["predicate"]["serialization"]["hash_type"], "sha256");
    assert_eq!(statement["predicate"]["serialization"]["method"], "files");
    (files, text(&statement["subject"][0]["digest"]["sha256"]))
}

/// The statement in a bundle.
fn statement_of(bundle: &Path) -> serde_json::Value {
    use base64::Engine as _;
    let bundle: serde_json::Value = serde_json::from_slice(&std::fs::read(bundle).unwrap()).unwrap();
    let payload = bundle["dsseEnvelope"]["payload"].as_str().unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::STANDARD.decode(payload).unwrap()).unwrap()
}

/// A bundle around a statement, as the page "Signatures" makes it with `openssl`.
const SIGN: &str = r#"
sign() { printf 'DSSEv1 28 application/vnd.in-toto+json %s ' "$(wc -c < "$1")"; cat "$1"; }
sign statement.json | openssl dgst -sha256 -sign key.pem -out statement.sig
printf '{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"%s"}},"dsseEnvelope":{"payload":"%s","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"%s"}]}}' \
  "$(sha256sum < key.pub | cut -d' ' -f1)" "$(base64 -w0 statement.json)" "$(base64 -w0 statement.sig)" > ours.sig
"#;

#[test]
fn the_statement_to_sign_is_the_one_that_the_reference_implementation_signs_and_verifies() {
    let Some(desk) = Desk::new() else { return };
    desk.write(".gitattributes", b"*.bin filter=lfs\n");
    let machine = desk.machine();
    // A cache's snapshot consists of links; the statement is about their targets.
    let snapshot = machine.hfget("org/signed --all").ends_with(0).path();
    std::fs::remove_file(snapshot.join(".gitattributes")).unwrap();
    let line = format!("sign key {} --private_key key.pem --signature theirs.sig --allow_symlinks", snapshot.display());
    desk.model_signing(&line).ends_with(0);
    let ours = machine.hfget("lock org/signed --all --format oms").ends_with(0).json();
    assert_eq!(meaning(&ours), meaning(&statement_of(&desk.path("theirs.sig"))));
    assert_eq!(ours["predicate"]["serialization"]["allow_symlinks"], false);
    assert!(!machine.home.path().join("hfget.lock").exists(), "no lockfile is written");
    // A selection has a different statement.
    let selection = machine.hfget("lock org/signed --format oms").ends_with(0).json();
    assert_ne!(meaning(&ours), meaning(&selection));
    // The other way round: the reference implementation verifies hfget's statement, signed with openssl.
    std::fs::write(desk.path("statement.json"), ours.to_string()).unwrap();
    let made = Command::new("sh").args(["-c", SIGN]).current_dir(desk.dir.path()).output().unwrap();
    assert!(made.status.success(), "{}", lossy(&made.stderr));
    let verify = "verify key model --public_key key.pub --signature ours.sig";
    desk.model_signing(verify).ends_with(0);
    desk.write("extra.txt", b"x");
    assert_ne!(desk.model_signing(verify).code, Some(0), "an extra file");
    std::fs::remove_file(desk.model().join("extra.txt")).unwrap();
    flip(&desk.model().join("model.safetensors"));
    assert_ne!(desk.model_signing(verify).code, Some(0), "a flipped bit");
    flip(&desk.model().join("model.safetensors"));
    desk.model_signing(verify).ends_with(0);
    // hfget verifies it too.
    std::fs::copy(desk.path("ours.sig"), desk.model().join("model.sig")).unwrap();
    let run = desk.get(&desk.machine(), "key.pub", "--all --json").ends_with(0);
    assert_eq!(standing(&run), "verified");
}

#[test]
fn a_bill_of_materials_and_provenance_name_every_locked_file() {
    let machine = Machine::new([super::support::one_file(64)]);
    machine.hfget("lock org/one").ends_with(0);
    let statement = machine.hfget("lock --format oms").ends_with(0).json();
    let files = meaning(&statement).0;
    let (names, digests): (Vec<_>, Vec<_>) = files.into_iter().map(|(name, _, digest)| (name, digest)).unzip();
    assert_eq!(names, ["config.json", "model.safetensors"]);
    // `{}` is a git file, so no listing has its SHA-256.
    assert_eq!(digests[0], "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
    let provenance = machine.hfget("lock --format in-toto").ends_with(0).json();
    assert_eq!(provenance["predicateType"], "https://slsa.dev/provenance/v1");
    let subjects = provenance["subject"].as_array().unwrap();
    let of: Vec<&str> = subjects.iter().map(|one| one["digest"]["sha256"].as_str().unwrap()).collect();
    assert_eq!(of, digests);
    let bom = machine.hfget("lock org/one --format cyclonedx").ends_with(0);
    let value = bom.json();
    assert_eq!(value["metadata"]["component"]["type"], "machine-learning-model");
    let hashes: Vec<&str> = value["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["hashes"][0]["content"].as_str().unwrap())
        .collect();
    assert_eq!(hashes, digests);
    assert_eq!(machine.hfget("lock org/one --format cyclonedx").ends_with(0).out, bom.out, "the same every time");
    let Some(bin) = python() else { return };
    let check = "import sys; from cyclonedx.validation.json import JsonStrictValidator as V; \
                 from cyclonedx.schema import SchemaVersion as S; \
                 error = V(S.V1_6).validate_str(sys.stdin.read()); sys.exit(str(error) if error else 0)";
    for (text, fits) in [(bom.out.clone(), true), (bom.out.replace("SHA-256", "SHA256"), false)] {
        let file = machine.home.path().join("bom.json");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(bin.join("python"));
        command.args(["-c", check]).stdin(std::fs::File::open(&file).unwrap());
        let output = command.output().unwrap();
        assert_eq!(output.status.success(), fits, "{}", lossy(&output.stderr));
    }
}

#[test]
fn flags_that_contradict_a_form_are_refused() {
    let machine = Machine::new([super::support::one_file(64)]);
    machine.hfget("lock --format oms").ends_with(2).says("hfget lock REPO");
    machine.hfget("lock org/one org/two --format oms").ends_with(2).says("for one repo");
    machine.hfget("lock --format oms --only gguf").ends_with(2).says("no repo is named");
    machine.hfget("lock --format oms --check").ends_with(2);
    machine.hfget("lock org/none --format oms").ends_with(3);
}

#[test]
fn a_signed_lockfile_is_checked_before_any_request() {
    let Some(desk) = Desk::new() else { return };
    let machine = desk.machine();
    let home = machine.home.path().to_path_buf();
    machine.hfget("lock org/signed").ends_with(0);
    let (lock, signature) = (home.join("hfget.lock"), home.join("hfget.lock.sig"));
    let (key, other) = (desk.path("key.pub").display().to_string(), desk.path("other.pub").display().to_string());
    desk.key("other", "prime256v1");
    machine.hub.forget();
    let locked = |signer: &str| machine.run(["--locked", "--require-signature", signer]);
    let none = locked(&key).ends_with(1).says("hfget.lock.sig");
    assert!(none.err.contains("a signature is required"), "{}", none.err);
    desk.openssl(&format!("dgst -sha256 -sign key.pem -out {} {}", signature.display(), lock.display()));
    locked(&other).ends_with(1).says("the trusted key did not sign these bytes");
    let text = std::fs::read_to_string(&lock).unwrap();
    std::fs::write(&lock, format!("{text}# one comment more\n")).unwrap();
    locked(&key).ends_with(1).says("is not accepted");
    machine.run(["verify", "--lock", "hfget.lock", "--require-signature", &key]).ends_with(1).says("is not accepted");
    assert_eq!(machine.hub.requests(), [], "no request was made");
    std::fs::write(&lock, &text).unwrap();
    locked(&key).ends_with(0).says("hfget.lock is signed by key");
    machine.run(["verify", "--lock", "hfget.lock", "--require-signature", &key]).ends_with(0).says("verified");
    // The same signature in the text form of other tools.
    let plain = base64::engine::general_purpose::STANDARD.encode(std::fs::read(&signature).unwrap());
    std::fs::write(&signature, format!("{plain}\n")).unwrap();
    locked(&key).ends_with(0);
    // A model signature of the one file, with a key and with a certificate.
    let by_key = format!("sign key {} --private_key key.pem --signature {}", lock.display(), signature.display());
    desk.model_signing(&by_key).ends_with(0);
    locked(&key).ends_with(0);
    locked(&other).ends_with(1);
    desk.certificate("leaf", -1, 20);
    let authority = desk.path("ca.crt").display().to_string();
    locked(&authority).ends_with(1).says("but only a certificate authority is trusted");
    desk.model_signing(&format!(
        "sign certificate {} --private_key leaf.pem --signing_certificate leaf.crt --certificate_chain ca.crt --signature {}",
        lock.display(),
        signature.display()
    ))
    .ends_with(0);
    locked(&authority).ends_with(0);
    std::fs::write(&lock, text.replace("model.safetensors", "model2.safetensors")).unwrap();
    locked(&authority).ends_with(1).says("it signs other bytes");
}

#[test]
fn a_signed_repo_is_verified_in_an_object_store_too() {
    let Some(desk) = Desk::new() else { return };
    desk.key("other", "prime256v1");
    desk.sign("key");
    let machine = desk.machine();
    let Some(store) = super::objects::S3::start(&machine) else { return };
    let (key, other) = (desk.path("key.pub").display().to_string(), desk.path("other.pub").display().to_string());
    let put =
        |key: &str| store.hfget(&machine, &format!("org/signed --to s3://fleet/models --require-signature {key}"));
    put(&other).ends_with(1).says("signature-invalid");
    assert!(!store.keys().iter().any(|key| key.ends_with(".safetensors")), "nothing was uploaded");
    put(&key).ends_with(0).says("note[signature-partial]");
    let verify = |key: &str| store.hfget(&machine, &format!("verify s3://fleet/models --require-signature {key}"));
    verify(&key).ends_with(0).says("signed by key");
    verify(&other).ends_with(1).says("signature-invalid");
    store.hfget(&machine, "verify s3://fleet/models").ends_with(0).says("signature-unchecked");
}
