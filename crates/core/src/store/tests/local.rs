//! Tests of a plain folder, with the metadata that `huggingface_hub` keeps beside it.

use super::*;

#[test]
fn a_plain_folder_has_huggingface_hubs_metadata() {
    let root = TempDir::new().unwrap();
    let store = Arc::new(Store::local_dir(root.path()));
    let entry = entry("sub/model.safetensors");
    fetch(&store, &entry).unwrap();
    assert_eq!(fs::read(root.path().join("sub/model.safetensors")).unwrap(), CONTENT);
    let books = root.path().join(".cache/huggingface");
    let text = fs::read_to_string(books.join("download/sub/model.safetensors.metadata")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], [commit().to_string(), entry.digest().to_string()]);
    assert!(lines[2].parse::<f64>().unwrap() > 1.7e9, "seconds since 1970: {}", lines[2]);
    assert_eq!(fs::read_to_string(books.join(".gitignore")).unwrap(), "*");
    assert_eq!(store.noted_commit(&entry.path), Some(commit()));
}

#[test]
fn nothing_else_is_in_the_folder() {
    let root = TempDir::new().unwrap();
    let store = local(root.path());
    let a = entry("sub/a.txt");
    fetch(&store, &a).unwrap();
    let ours = |path: &String| path.starts_with(".cache/huggingface/hfget/");
    let found: Vec<String> = all_of(root.path()).into_iter().filter(|p| !ours(p)).collect();
    let expected = [
        ".cache/",
        ".cache/huggingface/",
        ".cache/huggingface/.gitignore",
        ".cache/huggingface/CACHEDIR.TAG",
        ".cache/huggingface/download/",
        ".cache/huggingface/download/sub/",
        // `metadata_path.with_suffix(".lock")`: the file's own suffix stays.
        ".cache/huggingface/download/sub/a.txt.lock",
        ".cache/huggingface/download/sub/a.txt.metadata",
        "sub/",
        "sub/a.txt",
    ];
    assert_eq!(found, expected);
    let text = fs::read_to_string(root.path().join(".cache/huggingface/download/sub/a.txt.metadata")).unwrap();
    assert_eq!(text.matches('\n').count(), 3);
    assert!(text.ends_with('\n'));
}

/// Two files with the same content share a partial: the second must wait, or it would write into
/// the first one's final file.
#[test]
fn files_with_the_same_content_take_turns() {
    let root = TempDir::new().unwrap();
    let store = local(root.path());
    let (a, b) = (entry("tokenizer/t.json"), entry("tokenizer_2/t.json"));
    let lock = store.try_lock(&a).unwrap().unwrap();
    assert!(store.try_lock(&b).unwrap().is_none());
    let partial = store.partial(lock, &commit(), &a).unwrap();
    partial.write(0, CONTENT).unwrap();
    partial.commit(a.digest()).unwrap();
    fetch(&store, &b).unwrap();
    for path in [&a.path, &b.path] {
        assert_eq!(fs::read(store.file_path(&commit(), path)).unwrap(), CONTENT);
    }
}

#[test]
fn a_modified_file_is_noticed() {
    let root = TempDir::new().unwrap();
    let store = local(root.path());
    let a = entry("a.bin");
    fetch(&store, &a).unwrap();
    assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Verified);
    assert_eq!(store.noted_digest(&commit(), &a.path), Some(a.digest()));
    let path = root.path().join("a.bin");
    // Same size, in place, and a time that is not now.
    fs::write(&path, CONTENT.to_ascii_uppercase()).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Unverified);
    assert_eq!(local(root.path()).presence(&commit(), &a).unwrap(), Presence::Unverified);
    take_away(&store, &a);
    assert!(!path.exists());
    assert!(!root.path().join(".cache/huggingface/download/a.bin.metadata").exists());
    assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Absent);
    // A longer file, and a file of another commit.
    fetch(&store, &a).unwrap();
    fs::write(&path, [CONTENT, b"!"].concat()).unwrap();
    assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Absent);
    assert_eq!(store.presence(&commit(), &entry_of("a.bin", b"other")).unwrap(), Presence::Absent);
}

/// `huggingface_hub` ignores metadata that are older than their file, so they are written again;
/// right ones are kept.
#[test]
fn metadata_are_kept_fresh() {
    let root = TempDir::new().unwrap();
    let store = local(root.path());
    let a = entry("a.bin");
    fetch(&store, &a).unwrap();
    let metadata = root.path().join(".cache/huggingface/download/a.bin.metadata");
    let before = disk::stamp_of(&metadata).unwrap();
    store.adopt(&commit(), &a, None).unwrap();
    assert_eq!(disk::stamp_of(&metadata).unwrap(), before);
    let digest = a.digest();
    let odd = [
        format!("{}\n{digest}\n1000.0\n", commit()),
        format!("{}\n{digest}\nnan\n", commit()),
        format!("{}\n{}\n9999999999.0\n", commit(), sha256(b"other")),
        format!("{}\n{digest}\n9999999999.0\n", "2".repeat(40)),
        String::new(),
        "x".repeat(100_000),
    ];
    for text in odd {
        fs::write(&metadata, &text).unwrap();
        store.adopt(&commit(), &a, None).unwrap();
        let now = fs::read_to_string(&metadata).unwrap();
        assert!(now.starts_with(&format!("{}\n{digest}\n", commit())) && now != text, "{text:.80}");
    }
}

#[test]
fn a_users_text_in_the_marks_stays() {
    let root = TempDir::new().unwrap();
    let books = root.path().join(".cache/huggingface");
    fs::create_dir_all(&books).unwrap();
    fs::write(books.join(".gitignore"), "mine").unwrap();
    fs::write(books.join("CACHEDIR.TAG"), "mine").unwrap();
    fetch(&local(root.path()), &entry("a.bin")).unwrap();
    assert_eq!(fs::read_to_string(books.join(".gitignore")).unwrap(), "mine");
    assert_eq!(fs::read_to_string(books.join("CACHEDIR.TAG")).unwrap(), "mine");
}
