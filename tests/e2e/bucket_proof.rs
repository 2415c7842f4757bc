//! Object stores: what proves an object, and what does not. Anybody with write access to the bucket can write every
//! object in it, but no object makes wrong bytes "verified". `objects` tests the rest of `--to`.

use std::process::Stdio;

use hfget_loopback_hub::{Hub, Options, Repo};

use super::objects::S3;
use super::support::{Machine, Run, codes, one_file, safetensors, tree};

const SIZE: usize = 20 << 20;
const MODEL: &str = "model.safetensors";

fn repo() -> Repo {
    one_file(SIZE)
}

fn folder(repo: &Repo) -> String {
    format!("models--org--one/snapshots/{}", repo.commit())
}

/// Another machine of the same user: its own home, and the same Hub's repos.
fn another(repo: Repo) -> Machine {
    Machine::new([repo])
}

/// Replaces the model by another one of the same size and shape, and returns its tag.
fn exchange(s3: &S3, repo: &Repo) -> String {
    let key = format!("{}/{MODEL}", folder(repo));
    let text = format!(
        "b = bytearray(s3.get_object(Bucket='fleet', Key='{key}')['Body'].read())
b[-1] ^= 1
print(s3.put_object(Bucket='fleet', Key='{key}', Body=bytes(b))['ETag'].strip('\"'))"
    );
    s3.script(&text).trim().to_owned()
}

/// The SHA-256 of an object, by the store.
fn sha256(s3: &S3, key: &str) -> String {
    let text = format!(
        "import hashlib\nprint(hashlib.sha256(s3.get_object(Bucket='fleet', Key='{key}')['Body'].read()).hexdigest())"
    );
    s3.script(&text).trim().to_owned()
}

fn size(repo: &Repo) -> usize {
    repo.content(MODEL).unwrap().len()
}

/// Notes in the bucket do not prove an object there, neither on the machine that uploaded it nor on another.
#[test]
fn notes_in_the_bucket_prove_nothing() {
    let machine = Machine::new([repo()]);
    let Some(s3) = S3::start(&machine) else { return };
    s3.hfget(&machine, "org/one --to s3://fleet").ends_with(0);
    let key = format!("{}/{MODEL}", folder(&repo()));
    let right = sha256(&s3, &key);
    let (commit, bytes) = (repo().commit(), size(&repo()));
    let config = s3.script(&format!(
        "print(s3.head_object(Bucket='fleet', Key='{}/config.json')['ETag'].strip('\"'))",
        folder(&repo())
    ));
    for (at, what) in [(&machine, "here"), (&another(repo()), "on another machine")] {
        for note in ["record", "journal"] {
            let tag = exchange(&s3, &repo());
            assert_ne!(sha256(&s3, &key), right, "the attack does nothing");
            let (name, text) = match note {
                "record" => (
                    format!("models--org--one/manifests/{commit}.json"),
                    format!(
                        r#"{{"version":1,"checks":{{}},"files":{{"config.json":{{"size":2,"etag":"{}"}},"{MODEL}":{{"size":{bytes},"etag":"{tag}"}}}}}}"#,
                        config.trim()
                    ),
                ),
                _ => (
                    format!("models--org--one/.hfget/{commit}/{MODEL}.json"),
                    format!(
                        r#"{{"version":1,"digest":"sha256:{right}","size":{bytes},"state":{{"done":{{"size":{bytes},"etag":"{tag}"}}}}}}"#
                    ),
                ),
            };
            s3.script(&format!("s3.put_object(Bucket='fleet', Key='{name}', Body=b'{text}')"));
            s3.hfget(at, "verify s3://fleet").ends_with(1).says("checksum-mismatch");
            s3.hfget(at, "org/one --to s3://fleet").ends_with(0);
            assert_eq!(sha256(&s3, &key), right, "{note} {what}: other bytes were verified");
            s3.hfget(at, "verify s3://fleet").ends_with(0);
        }
    }
}

/// The honest twin: an unchanged object is read once on each machine, and never fetched again.
#[test]
fn an_unchanged_object_is_read_back_once_on_each_machine() {
    let machine = Machine::new([repo()]);
    let Some(s3) = S3::start(&machine) else { return };
    s3.hfget(&machine, "org/one --to s3://fleet").ends_with(0);
    let hashed = |run: &Run| run.json()["reports"][0]["totals"]["bytes_hashed"].as_u64().unwrap();
    let run = s3.hfget(&machine, "org/one --to s3://fleet --json").ends_with(0);
    assert_eq!(hashed(&run), 0, "the machine that uploaded it knows it");
    let other = another(repo());
    let run = s3.hfget(&other, "org/one --to s3://fleet --json").ends_with(0);
    assert_eq!(hashed(&run), size(&repo()) as u64 + 2);
    let run = s3.hfget(&other, "org/one --to s3://fleet --json").ends_with(0);
    assert_eq!(hashed(&run), 0, "it was read back before");
    s3.hfget(&other, "org/one --to s3://fleet").ends_with(0).says("already verified");
    assert_eq!(other.byte_requests(), 0);
}

/// A manifest that was edited together with its object is corrected from the Hub, also for files that this run
/// does not select.
#[test]
fn a_manifest_that_was_edited_with_its_object_is_corrected() {
    let repo = repo().file("README.md", "read me");
    let machine = Machine::new([repo.clone()]);
    let Some(s3) = S3::start(&machine) else { return };
    s3.hfget(&machine, "org/one --all --to s3://fleet").ends_with(0);
    let manifest = format!("models--org--one/manifests/{}.lock", repo.commit());
    s3.script(&format!(
        "import hashlib
git = lambda b: hashlib.sha1(b'blob %d\\0' % len(b) + b).hexdigest()
text = s3.get_object(Bucket='fleet', Key='{manifest}')['Body'].read().decode()
assert git(b'read me') in text
text = text.replace(git(b'read me'), git(b'read m3'))
s3.put_object(Bucket='fleet', Key='{manifest}', Body=text.encode())
s3.put_object(Bucket='fleet', Key='{}/README.md', Body=b'read m3')",
        folder(&repo)
    ));
    s3.hfget(&machine, "org/one --to s3://fleet").ends_with(0);
    s3.hfget(&machine, "verify s3://fleet").ends_with(1).says("checksum-mismatch").says("README.md");
    s3.hfget(&machine, "org/one --all --to s3://fleet").ends_with(0);
    s3.hfget(&machine, "verify s3://fleet").ends_with(0);
}

/// A part of an upload that was replaced while no run worked on it is found when the upload continues.
#[test]
fn a_resumed_upload_is_read_back() {
    const LARGE: usize = 64 << 20;
    let options = Options { rate: Some(3 << 20), ..Options::default() };
    let machine = Machine::on(Hub::with(options, [one_file(LARGE)]));
    let Some(s3) = S3::start(&machine) else { return };
    let mut child = s3.command(&machine, "org/one --to s3://fleet").stderr(Stdio::null()).spawn().unwrap();
    let wait = "import json, time
def journal():
    for o in s3.list_objects_v2(Bucket='fleet').get('Contents', []):
        if '/.hfget/' in o['Key']:
            return o['Key'], json.loads(s3.get_object(Bucket='fleet', Key=o['Key'])['Body'].read())
    return None, {}
while len(journal()[1].get('parts', [])) < 4:
    time.sleep(0.01)";
    // The script kills it: on a busy machine the upload would end before this process could.
    s3.script(&format!("{wait}\nimport os\nos.kill({}, 9)", child.id()));
    child.wait().unwrap();
    let key = format!("{}/{MODEL}", folder(&one_file(LARGE)));
    s3.script(&format!(
        "{wait}
key, p = journal()
tag = s3.upload_part(Bucket='fleet', Key='{key}', UploadId=p['upload'], PartNumber=2, Body=b'x' * (8 << 20))['ETag']
p['parts'][1] = tag
s3.put_object(Bucket='fleet', Key=key, Body=json.dumps(p).encode())"
    ));
    let second = another(one_file(LARGE));
    s3.hfget(&second, "org/one --to s3://fleet").ends_with(0).says("its checksum is wrong");
    s3.hfget(&second, "verify s3://fleet").ends_with(0);
    assert!(!s3.keys().iter().any(|key| key.contains(".hfget")), "{:?}", s3.keys());
}

/// A run does not verify objects that other programs change or remove meanwhile; the next run corrects them.
#[test]
fn an_object_that_changes_before_the_end_of_a_run_is_noticed() {
    let repo = repo().file("notes.txt", "some notes");
    let options = Options { rate: Some(8 << 20), ..Options::default() };
    let machine = Machine::on(Hub::with(options, [repo.clone()]));
    let Some(s3) = S3::start(&machine) else { return };
    for (n, deed, code, found) in [
        (0, "s3.put_object(Bucket='fleet', Key=key, Body=b'other note')", 1, vec!["checksum-mismatch"]),
        (1, "s3.delete_object(Bucket='fleet', Key=key)", 1, vec!["file-missing"]),
        // The honest twin: the same bytes again.
        (2, "s3.put_object(Bucket='fleet', Key=key, Body=b'some notes')", 0, vec![]),
    ] {
        let line = format!("org/one --all --to s3://fleet/{n} --json");
        let child = s3.command(&machine, &line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        s3.script(&format!(
            "import time
key = '{n}/{}/notes.txt'
while not s3.list_objects_v2(Bucket='fleet', Prefix=key).get('Contents', []):
    time.sleep(0.01)
{deed}",
            folder(&repo)
        ));
        let run: Run = child.wait_with_output().unwrap().into();
        let run = run.ends_with(code);
        assert_eq!(codes(&run.json()["reports"][0]), found);
        s3.hfget(&machine, &format!("org/one --all --to s3://fleet/{n}")).ends_with(0);
        s3.hfget(&machine, &format!("verify s3://fleet/{n}")).ends_with(0);
    }
}

/// Two runs of one commit at once: the manifest names the files of both. The same is true in a store without
/// conditional writes.
#[test]
fn two_selections_at_once_are_both_in_the_manifest() {
    let repo = repo().file("README.md", "read me");
    let options = Options { rate: Some(8 << 20), ..Options::default() };
    let machine = Machine::on(Hub::with(options, [repo.clone()]));
    let Some(s3) = S3::start(&machine) else { return };
    for conditions in ["etag", "disabled"] {
        let command = |selection: &str| {
            let mut command = s3.command(&machine, &format!("org/one --all {selection} --to s3://fleet/{conditions}"));
            command.env("AWS_CONDITIONAL_PUT", conditions).stdout(Stdio::null()).stderr(Stdio::piped());
            command
        };
        let child = command("--exclude *.md").spawn().unwrap();
        // The first run has looked at the store, and is uploading the model.
        s3.script(&format!(
            "import time
while not any('/.hfget/' in o['Key'] for o in s3.list_objects_v2(Bucket='fleet', Prefix='{conditions}/').get('Contents', [])):
    time.sleep(0.01)"
        ));
        let second: Run = command("--exclude *.safetensors").output().unwrap().into();
        second.ends_with(0);
        let first: Run = child.wait_with_output().unwrap().into();
        first.ends_with(0);
        s3.hfget(&machine, &format!("verify s3://fleet/{conditions}")).ends_with(0).says("3 of 3 digests right");
    }
}

/// Objects without a manifest prove nothing, whatever their names are.
#[test]
fn objects_without_a_manifest_are_nothing_to_verify() {
    let machine = Machine::new([repo()]);
    let Some(s3) = S3::start(&machine) else { return };
    s3.hfget(&machine, "org/one --to s3://fleet").ends_with(0);
    s3.script(&format!("s3.delete_object(Bucket='fleet', Key='models--org--one/manifests/{}.lock')", repo().commit()));
    s3.hfget(&machine, "verify s3://fleet").ends_with(3);
    // The honest twin: a run from the Hub reads the objects and writes the manifest again.
    s3.hfget(&machine, "org/one --to s3://fleet").ends_with(0);
    s3.hfget(&machine, "verify s3://fleet").ends_with(0);
}

/// Joiners are part of a name: an object is put, known, verified and read back under exactly this name.
#[test]
fn names_with_joiners_survive_the_way_there_and_back() {
    let names = ["می\u{200c}خواهم.txt", "क्\u{200d}ष/a.json"];
    let mut repo = Repo::new("org/one").file("config.json", "{}").lfs(MODEL, safetensors("w", 1000));
    for name in names {
        repo = repo.file(name, "{}");
    }
    let machine = Machine::new([repo.clone()]);
    let Some(s3) = S3::start(&machine) else { return };
    s3.hfget(&machine, "org/one --all --to s3://fleet/a").ends_with(0);
    let keys = s3.keys();
    for name in names {
        assert!(keys.iter().any(|key| key.ends_with(&format!("/{name}"))), "{name:?} in {keys:?}");
    }
    s3.hfget(&machine, "org/one --all --to s3://fleet/a").ends_with(0).says("already verified");
    s3.hfget(&machine, "verify s3://fleet/a").ends_with(0).says("4 of 4 digests right");
    let path = s3.hfget(&machine, "org/one --all --endpoint s3://fleet/a --local-dir back").ends_with(0).path();
    let mut back = tree(&path);
    back.retain(|name, _| !name.starts_with(".cache"));
    assert_eq!(back.len(), 4);
    assert!(back.iter().all(|(name, content)| Some(&content[..]) == repo.content(name)));
}
