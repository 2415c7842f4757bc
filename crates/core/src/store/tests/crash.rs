//! A crash at any moment costs bytes at most: a file in place has the listed content.

use std::os::unix::fs::FileExt as _;

use super::*;

#[test]
fn wrong_bytes_never_get_the_name() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let entry = entry("model.safetensors");
    for (bytes, actual) in [(CONTENT, Digest::Sha256(sha256(b"x"))), (&b"short"[..], entry.digest())] {
        let mut partial = store.partial(store.try_lock(&entry).unwrap().unwrap(), &commit(), &entry).unwrap();
        partial.reset().unwrap();
        partial.write(0, bytes).unwrap();
        partial.record(0..bytes.len() as u64).unwrap();
        assert!(matches!(partial.commit(actual), Err(StoreError::WrongContent { .. })));
        assert!(!store.file_path(&commit(), &entry.path).exists());
        assert!(!store.content_path(&commit(), &entry).exists());
    }
}

/// Whatever part of the partial and the journal is lost or damaged, the claimed ranges are within the file.
#[test]
fn a_crash_at_any_moment_costs_bytes_and_nothing_else() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let entry = entry("model.safetensors");
    let open = || store.partial(store.try_lock(&entry).unwrap().unwrap(), &commit(), &entry).unwrap();
    let (part, journal);
    {
        let mut partial = open();
        partial.write(0, &CONTENT[..10]).unwrap();
        partial.record(0..5).unwrap();
        partial.record(5..10).unwrap();
        let dir = root.path().join("models--org--name/.hfget/partial");
        part = dir.join(format!("{}.part", entry.digest()));
        journal = dir.join(format!("{}.journal", entry.digest()));
    }
    let (bytes, lines) = (fs::read(&part).unwrap(), fs::read(&journal).unwrap());
    assert_eq!(open().ranges().total(), 10);
    for cut in 0..=lines.len() {
        for length in [0, 3, 10] {
            fs::write(&part, &bytes[..length]).unwrap();
            fs::write(&journal, &lines[..cut]).unwrap();
            let partial = open();
            assert!(partial.ranges().total() <= length as u64, "journal of {cut} bytes, file of {length}");
            let mut found = vec![0; usize::try_from(partial.ranges().frontier()).unwrap()];
            partial.file().read_exact_at(&mut found, 0).unwrap();
            assert_eq!(found, &CONTENT[..found.len()]);
        }
    }
    for at in 0..lines.len() {
        let mut damaged = lines.clone();
        damaged[at] = b'9';
        fs::write(&part, &bytes).unwrap();
        fs::write(&journal, damaged).unwrap();
        assert!(open().ranges().as_slice().iter().all(|r| r.end <= 10));
    }
    // Another commit with the same content continues with the same bytes.
    fs::write(&part, &bytes).unwrap();
    fs::write(&journal, &lines).unwrap();
    let later: CommitId = "2222222222222222222222222222222222222222".parse().unwrap();
    assert_eq!(store.presence(&later, &entry).unwrap(), Presence::Partial(10));
    assert_eq!(store.leftovers().len(), 1);
    open().abandon().unwrap();
    assert_eq!(store.leftovers().len(), 0);
}

/// Starts where the journal says, fetches the missing bytes, and gives the name if the digest
/// matches, as the transfer does, with one restart.
fn resume(store: &Arc<Store>, entry: &Entry, content: &[u8]) -> PathBuf {
    let mut partial = store.partial(store.try_lock(entry).unwrap().unwrap(), &commit(), entry).unwrap();
    for _ in 0..2 {
        for gap in partial.ranges().gaps(0..entry.size) {
            let range = usize::try_from(gap.start).unwrap()..usize::try_from(gap.end).unwrap();
            partial.write(gap.start, &content[range]).unwrap();
            partial.record(gap).unwrap();
        }
        let mut bytes = vec![0; content.len()];
        partial.file().read_exact_at(&mut bytes, 0).unwrap();
        let actual = Digest::Sha256(sha256(&bytes));
        if actual == entry.digest() {
            return partial.commit(actual).unwrap();
        }
        partial.reset().unwrap();
        assert_eq!(partial.ranges().total(), 0);
    }
    panic!("two attempts are enough");
}

/// The files of a transfer that was killed after some bytes.
pub fn killed(store: &Arc<Store>, entry: &Entry) -> (PathBuf, PathBuf) {
    let mut partial = store.partial(store.try_lock(entry).unwrap().unwrap(), &commit(), entry).unwrap();
    partial.write(0, &CONTENT[..6]).unwrap();
    partial.record(0..6).unwrap();
    partial.write(9, &CONTENT[9..14]).unwrap();
    partial.record(9..14).unwrap();
    let dir = store.layout.partial_dir();
    (dir.join(format!("{}.part", entry.digest())), dir.join(format!("{}.journal", entry.digest())))
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 64, ..Default::default() })]
    /// Cuts the partial and the journal anywhere, and flips bytes in both: the resulting file is
    /// right, and until then there is none.
    #[test]
    fn no_damage_leads_to_wrong_bytes_in_place(
        in_cache: bool,
        part_cut in 0usize..=40, journal_cut in 0usize..=140,
        part_flip in proptest::option::of(0usize..14), journal_flip in proptest::option::of((0usize..120, 0u8..=255)),
        journal_tail in "([0-9]{1,2} [0-9]{1,2}\\n){0,3}[0-9 ]{0,3}",
    ) {
        let root = TempDir::new().unwrap();
        let store = if in_cache { cache(root.path(), true) } else { local(root.path()) };
        let a = entry("a.bin");
        let (part, journal) = killed(&store, &a);
        let mut bytes = fs::read(&part).unwrap();
        if let Some(at) = part_flip { bytes[at] ^= 1; }
        bytes.resize(part_cut, b'?');
        fs::write(&part, bytes).unwrap();
        let mut lines = fs::read(&journal).unwrap();
        if let Some((at, byte)) = journal_flip && at < lines.len() { lines[at] = byte; }
        lines.truncate(journal_cut);
        lines.extend(journal_tail.as_bytes());
        fs::write(&journal, lines).unwrap();
        // A new process.
        let store = if in_cache { cache(root.path(), true) } else { local(root.path()) };
        let presence = store.presence(&commit(), &a).unwrap();
        proptest::prop_assert!(matches!(presence, Presence::Absent | Presence::Partial(1..=21)), "{:?}", presence);
        proptest::prop_assert!(!store.file_path(&commit(), &a.path).exists());
        resume(&store, &a, CONTENT);
        proptest::prop_assert_eq!(fs::read(store.file_path(&commit(), &a.path)).unwrap(), CONTENT);
        proptest::prop_assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Verified);
        proptest::prop_assert!(store.leftovers().is_empty() && !journal.exists());
    }
}

/// The journal says that all bytes are here, but the disk lost them (a power cut): the digest shows it.
#[test]
fn a_lying_journal_is_caught() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let a = entry("a.bin");
    let (part, journal) = killed(&store, &a);
    fs::write(&part, [0; 21]).unwrap();
    let mut lines = fs::read(&journal).unwrap();
    lines.extend(b"0 21\n");
    fs::write(&journal, lines).unwrap();
    assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Partial(21));
    resume(&store, &a, CONTENT);
    assert_eq!(fs::read(store.file_path(&commit(), &a.path)).unwrap(), CONTENT);
}

/// After some bytes the journal says that they are on the disk, and that part of it counts after
/// another boot of the machine.
#[test]
fn flushed_bytes_survive_a_crash_of_the_machine() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let large = Entry { size: 1 << 30, ..entry("a.bin") };
    let (mib, journal) = (1 << 20, store.layout.partial_dir().join(format!("{}.journal", large.digest())));
    {
        let mut partial = store.partial(store.try_lock(&large).unwrap().unwrap(), &commit(), &large).unwrap();
        partial.file().set_len(1 << 30).unwrap();
        partial.record(0..200 * mib).unwrap();
        assert!(partial.flush_due().is_none());
        partial.record(300 * mib..400 * mib).unwrap();
        let flush = partial.flush_due().expect("time to flush");
        // Noted during the flush, so the flush does not cover it.
        partial.record(500 * mib..510 * mib).unwrap();
        flush.run().unwrap();
        partial.flushed(&flush, flush.run()).unwrap();
        assert!(partial.flush_due().is_none());
    }
    assert_eq!(store.presence(&commit(), &large).unwrap(), Presence::Partial(310 * mib));
    let text = fs::read_to_string(&journal).unwrap();
    assert!(text.contains("synced 2\n"), "{text}");
    fs::write(&journal, text.replace(super::super::journal::boot(), "another-boot")).unwrap();
    for _ in 0..2 {
        assert_eq!(store.presence(&commit(), &large).unwrap(), Presence::Partial(300 * mib));
        // Opening writes the journal again, as one of this boot.
        drop(store.partial(store.try_lock(&large).unwrap().unwrap(), &commit(), &large).unwrap());
        let text = fs::read_to_string(&journal).unwrap();
        fs::write(&journal, text.replace(super::super::journal::boot(), "a-third-boot")).unwrap();
    }
}

/// At the end the user waits for the last flush, so little is left for it. A small file is flushed once.
#[test]
fn little_is_left_for_the_last_flush() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let mib = 1 << 20;
    let unflushed = |size: u64| {
        let entry = Entry { size, ..entry("a.bin") };
        let mut partial = store.partial(store.try_lock(&entry).unwrap().unwrap(), &commit(), &entry).unwrap();
        partial.file().set_len(size).unwrap();
        let (mut flushes, mut since) = (0, 0);
        for at in (0..size).step_by(mib) {
            partial.record(at..(at + mib as u64).min(size)).unwrap();
            since += 1;
            if let Some(flush) = partial.flush_due() {
                partial.flushed(&flush, flush.run()).unwrap();
                (flushes, since) = (flushes + 1, 0);
            }
        }
        partial.reset().unwrap();
        (flushes, since)
    };
    assert_eq!(unflushed(1024 << 20), (7, 16), "at 256, 512, 768, 896, 960, 992 and 1,008 MiB");
    assert_eq!(unflushed(60 << 20), (0, 60));
}

#[test]
fn a_flush_of_a_file_that_was_started_again_has_no_effect() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let large = Entry { size: 1 << 30, ..entry("a.bin") };
    let mut partial = store.partial(store.try_lock(&large).unwrap().unwrap(), &commit(), &large).unwrap();
    partial.record(0..300 << 20).unwrap();
    let flush = partial.flush_due().expect("time to flush");
    partial.reset().unwrap();
    flush.run().unwrap();
    partial.flushed(&flush, flush.run()).unwrap();
    let journal = store.layout.partial_dir().join(format!("{}.journal", large.digest()));
    assert!(!fs::read_to_string(journal).unwrap().contains("synced"));
}

#[test]
fn a_partial_that_cannot_be_ours_is_discarded() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let a = entry("a.bin");
    let (part, journal) = killed(&store, &a);
    let good = fs::read(&journal).unwrap();
    let garbage: [(&[u8], &[u8]); 5] = [
        // Longer than the final file, whatever the journal says.
        (&[b'x'; 22], &good),
        (CONTENT, b"hfget-journal 2 whatever\n0 21\n"),
        (CONTENT, b""),
        (CONTENT, b"\xff\xfe\n0 21\n"),
        (CONTENT, b"0 21\n"),
    ];
    for (bytes, lines) in garbage {
        fs::write(&part, bytes).unwrap();
        fs::write(&journal, lines).unwrap();
        assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Absent);
        let partial = store.partial(store.try_lock(&a).unwrap().unwrap(), &commit(), &a).unwrap();
        assert_eq!(partial.ranges().total(), 0);
        assert_eq!(partial.file().metadata().unwrap().len(), 0, "no byte of it is left");
    }
    // No journal at all, or a journal without its partial.
    fs::write(&part, CONTENT).unwrap();
    fs::remove_file(&journal).unwrap();
    assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Absent);
    fs::remove_file(&part).unwrap();
    fs::write(&journal, good).unwrap();
    assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Absent);
    resume(&store, &a, CONTENT);
}

/// The run was killed between the blob's name and the snapshot's pointer: the next run only links.
#[test]
fn a_blob_without_its_pointer_is_taken_up() {
    let root = TempDir::new().unwrap();
    let a = entry("a.bin");
    fetch(&cache(root.path(), true), &a).unwrap();
    let store = cache(root.path(), true);
    fs::remove_file(store.file_path(&commit(), &a.path)).unwrap();
    fs::remove_file(root.path().join("models--org--name/.hfget/verified.jsonl")).unwrap();
    assert_eq!(store.presence(&commit(), &a).unwrap(), Presence::Unverified);
    store.adopt(&commit(), &a, None).unwrap();
    assert_eq!(fs::read(store.file_path(&commit(), &a.path)).unwrap(), CONTENT);
}

/// Without locks, two processes may have the same partial. Starting again must not empty the file
/// that the other process has just named, nor let the other process name the new file.
#[test]
fn starting_again_never_touches_what_is_visible() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let a = entry("a.bin");
    let open = || {
        let process = cache(root.path(), true);
        Partial::open(Arc::clone(&process), process.try_lock(&a).unwrap().unwrap(), commit(), &a).unwrap()
    };
    // Opening drops the lock's exclusion here, so both get a partial.
    let unlocked = |partial: Partial| {
        fs::remove_dir_all(root.path().join(".locks")).unwrap();
        partial
    };
    let (first, mut second) = (unlocked(open()), unlocked(open()));
    first.write(0, CONTENT).unwrap();
    // `second` opened before `first` had written, so it began a new file.
    second.write(0, CONTENT).unwrap();
    let name = second.commit(a.digest()).unwrap();
    assert_eq!(first.commit(a.digest()).unwrap(), name, "the race is lost, and the file is there");
    assert_eq!(fs::read(&name).unwrap(), CONTENT);
    second = unlocked(open());
    second.write(0, CONTENT).unwrap();
    second.record(0..21).unwrap();
    let mut third = unlocked(open());
    assert_eq!(third.ranges().total(), 21, "the same file, by its journal");
    second.commit(a.digest()).unwrap();
    third.reset().unwrap();
    third.write(0, b"other").unwrap();
    assert_eq!(fs::read(&name).unwrap(), CONTENT);
    // Nor does one process name the file that another has started again.
    take_away(&store, &a);
    let whole = third;
    whole.write(0, CONTENT).unwrap();
    let mut begun = unlocked(open());
    begun.reset().unwrap();
    begun.write(0, &CONTENT.to_ascii_uppercase()).unwrap();
    assert_eq!(whole.commit(a.digest()).unwrap(), name, "its own bytes get the name");
    assert_eq!(fs::read(&name).unwrap(), CONTENT);
    assert_eq!(fs::read(&name).unwrap(), CONTENT);
    let left: Vec<_> = fs::read_dir(root.path().join("models--org--name/.hfget/partial")).unwrap().flatten().collect();
    assert!(left.iter().all(|file| !file.file_name().to_string_lossy().starts_with("tmp-")), "{left:?}");
}

/// A file of terabytes has a line for each MiB of each connection: the journal merges them into few lines.
#[test]
fn a_journal_of_many_lines_is_merged_into_few_and_loses_nothing() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let a = entry_of("a.bin", &vec![7; 100_000]);
    let open = || store.partial(store.try_lock(&a).unwrap().unwrap(), &commit(), &a).unwrap();
    let mut partial = open();
    partial.write(0, &vec![7; 90_000]).unwrap();
    for at in 0..30_000 {
        partial.record(at..at + 1).unwrap();
        if at % 30 == 0 {
            partial.record(at + 40_000..at + 40_001).unwrap();
        }
    }
    drop(partial);
    let journal = root.path().join(format!("models--org--name/.hfget/partial/{}.journal", a.digest()));
    let lines = fs::read_to_string(journal).unwrap().lines().count();
    assert!(lines < 25_000, "{lines}");
    assert_eq!(open().ranges().total(), 31_000);
}

/// A file of terabytes in a million pieces: notes beyond 16 MiB of text count too.
#[test]
fn a_journal_beyond_16_mib_is_known_to_its_last_line() {
    const PIECES: u64 = 700_000;
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let mut a = entry_of("a.bin", b"x");
    a.size = PIECES << 21;
    let open = || store.partial(store.try_lock(&a).unwrap().unwrap(), &commit(), &a).unwrap();
    drop(open());
    let path = root.path().join(format!("models--org--name/.hfget/partial/{}", a.digest()));
    let mut all = RangeSet::default();
    for piece in 0..PIECES {
        all.insert(piece << 21..(piece << 21) + (1 << 20));
    }
    let (text, _) = journal::text_of(&a, journal::boot(), &all, &all);
    assert!(text.len() > 16 << 20, "{}", text.len());
    fs::write(path.with_extension("journal"), text).unwrap();
    fs::File::options().write(true).open(path.with_extension("part")).unwrap().set_len(a.size).unwrap();
    assert_eq!(open().ranges().total(), PIECES << 20);
}

/// Flushed ranges stay flushed when the journal is written again.
#[test]
fn a_journal_that_is_written_again_still_names_the_flushed_ranges() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let a = entry_of("a.bin", &vec![7; 600 << 10]);
    let path = root.path().join(format!("models--org--name/.hfget/partial/{}.journal", a.digest()));
    let mut durable = RangeSet::default();
    durable.insert(0..100);
    let mut all = durable.clone();
    all.insert(50..300);
    all.insert(400..500);
    drop(store.partial(store.try_lock(&a).unwrap().unwrap(), &commit(), &a).unwrap());
    let (text, lines) = journal::text_of(&a, journal::boot(), &durable, &all);
    assert_eq!(lines, 3);
    fs::write(&path, &text).unwrap();
    let read = |boot| journal::parse(&text, &a, 600 << 10, boot).unwrap();
    assert_eq!(read(journal::boot()).ranges, all);
    assert_eq!(read("another boot").ranges, durable);
}

#[test]
fn empty_files_are_files() {
    let root = TempDir::new().unwrap();
    for store in [cache(root.path(), true), local(&root.path().join("dir"))] {
        let empty = entry_of("__init__.py", b"");
        fetch_bytes(&store, &empty, b"").unwrap();
        assert_eq!(store.presence(&commit(), &empty).unwrap(), Presence::Verified);
        assert_eq!(fs::read(store.file_path(&commit(), &empty.path)).unwrap(), b"");
    }
}

/// An old temporary file that a crash has left is removed; no other file is.
#[test]
fn old_temporary_files_are_swept() {
    let root = TempDir::new().unwrap();
    let store = cache(root.path(), true);
    let (part, _) = killed(&store, &entry("a.bin"));
    let dir = part.parent().unwrap();
    for (name, days) in [("tmp-0000000000000000", 2), ("tmp-0000000000000001", 0), ("other", 2)] {
        let file = fs::File::create(dir.join(name)).unwrap();
        file.set_modified(SystemTime::now() - std::time::Duration::from_secs(days * 86_400)).unwrap();
    }
    fs::File::options().write(true).open(&part).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    drop(cache(root.path(), true).try_lock(&entry("b.bin")).unwrap());
    let left = all_of(dir);
    assert!(!left.contains(&"tmp-0000000000000000".to_owned()), "{left:?}");
    assert!(left.contains(&"tmp-0000000000000001".to_owned()) && left.contains(&"other".to_owned()));
    assert!(part.exists());
}
