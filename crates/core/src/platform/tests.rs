//! What every system must do for the rooms above. The tests are the same for all of them.

use std::fs;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use tempfile::TempDir;

use super::*;

fn place() -> (TempDir, Dir) {
    let place = tempfile::tempdir().unwrap();
    let dir = Dir::open_root(place.path()).unwrap();
    (place, dir)
}

fn refusal<T>(done: std::io::Result<T>) -> Why {
    why(&done.map(drop).expect_err("it is refused"))
}

#[test]
fn the_reason_of_a_refusal_is_known() {
    let (place, dir) = place();
    let (file, folder) = (Path::new("file"), Path::new("folder"));
    dir.make(folder).unwrap();
    dir.open("file", Access::ReadWrite, Create::New).unwrap();
    fs::write(place.path().join("folder/inner"), "").unwrap();
    assert_eq!(refusal(Dir::open_root(&place.path().join("gone"))), Why::Missing);
    assert_eq!(refusal(dir.enter(Path::new("gone"))), Why::Missing);
    assert_eq!(refusal(dir.enter(file)), Why::NotFolder);
    assert_eq!(refusal(dir.make(folder)), Why::Exists);
    assert_eq!(refusal(dir.look_at(Path::new("gone"))), Why::Missing);
    assert_eq!(refusal(dir.open("gone", Access::Read, Create::Never)), Why::Missing);
    assert_eq!(refusal(dir.open("file", Access::ReadWrite, Create::New)), Why::Exists);
    assert_eq!(refusal(dir.open("folder", Access::ReadWrite, Create::IfMissing)), Why::IsFolder);
    assert_eq!(refusal(dir.remove(Path::new("gone"))), Why::Missing);
    assert_eq!(refusal(dir.remove(folder)), Why::IsFolder);
    assert_eq!(refusal(dir.remove_folder(folder)), Why::NotEmpty);
    assert_eq!(refusal(dir.rename("gone", &dir, "other")), Why::Missing);
    assert_eq!(refusal(dir.rename("file", &dir, "folder")), Why::IsFolder);
    assert!(place.path().join("file").is_file() && place.path().join("folder/inner").is_file());
}

#[test]
fn entries_of_a_folder_are_listed_moved_and_removed_by_name() {
    let (place, dir) = place();
    dir.make(Path::new("folder")).unwrap();
    dir.open("file", Access::ReadWrite, Create::New).unwrap().write_all(b"12345").unwrap();
    let mut names: Vec<_> = dir.names().unwrap().map(Result::unwrap).collect();
    names.sort();
    assert_eq!(names, ["file", "folder"]);
    assert_eq!(dir.look_at(Path::new("folder")).unwrap().kind, FileKind::Folder);
    let stat = dir.look_at(Path::new("file")).unwrap();
    assert_eq!((stat.kind, stat.size, stat.links), (FileKind::File, 5, 1));
    dir.rename("file", &dir.enter(Path::new("folder")).unwrap(), "moved").unwrap();
    assert_eq!(fs::read(place.path().join("folder/moved")).unwrap(), b"12345");
    assert_eq!(look_through(&place.path().join("folder/moved")).unwrap().identity, stat.identity);
    fs::write(place.path().join("other"), "other").unwrap();
    dir.rename("other", &dir.enter(Path::new("folder")).unwrap(), "moved").unwrap();
    assert_eq!(fs::read(place.path().join("folder/moved")).unwrap(), b"other", "a move replaces");
    dir.enter(Path::new("folder")).unwrap().remove(Path::new("moved")).unwrap();
    dir.remove_folder(Path::new("folder")).unwrap();
    assert_eq!(dir.names().unwrap().count(), 0);
}

/// Another folder takes the place of one that was entered: nothing is written to it.
#[test]
fn a_step_is_made_in_the_folder_that_was_entered() {
    let (place, dir) = place();
    dir.make(Path::new("folder")).unwrap();
    let entered = dir.enter(Path::new("folder")).unwrap();
    // Some systems refuse this as long as the folder is open.
    let replaced = fs::rename(place.path().join("folder"), place.path().join("away")).is_ok();
    if replaced {
        fs::create_dir(place.path().join("folder")).unwrap();
    }
    entered.open("file", Access::ReadWrite, Create::New).unwrap();
    entered.make(Path::new("inner")).unwrap();
    let home = place.path().join(if replaced { "away" } else { "folder" });
    assert!(home.join("file").is_file() && home.join("inner").is_dir());
    assert_eq!(fs::read_dir(place.path().join("folder")).unwrap().count(), if replaced { 0 } else { 2 });
}

#[cfg(unix)]
#[test]
fn links_are_seen_and_not_followed() {
    let (place, dir) = place();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "outside").unwrap();
    dir.link(outside.path(), "folder").unwrap();
    dir.link(&outside.path().join("file"), "file").unwrap();
    assert!(matches!(refusal(dir.enter(Path::new("folder"))), Why::Link | Why::NotFolder));
    assert_eq!(refusal(dir.open("file", Access::Append, Create::IfMissing)), Why::Link);
    assert_eq!(dir.look_at(Path::new("folder")).unwrap().kind, FileKind::Link);
    assert_eq!(look_at(&place.path().join("file")).unwrap().kind, FileKind::Link);
    assert_eq!(look_through(&place.path().join("file")).unwrap().kind, FileKind::File);
    dir.remove(Path::new("folder")).unwrap();
    dir.remove(Path::new("file")).unwrap();
    assert_eq!(fs::read(outside.path().join("file")).unwrap(), b"outside");
}

#[test]
fn a_file_has_one_identity_by_every_name_and_another_file_has_another() {
    let (place, dir) = place();
    let file = dir.open("one", Access::ReadWrite, Create::New).unwrap();
    dir.open("two", Access::ReadWrite, Create::New).unwrap();
    let told = look_at_file(&file).unwrap();
    let at = |name: &str| dir.look_at(Path::new(name)).unwrap();
    assert_eq!(told.identity, at("one").identity);
    assert_ne!(told.identity, at("two").identity);
    fs::hard_link(place.path().join("one"), place.path().join("three")).unwrap();
    assert_eq!((at("three").identity, at("three").links), (told.identity, 2));
}

#[test]
fn a_change_of_the_content_changes_the_facts_about_a_file() {
    let (place, dir) = place();
    let path = place.path().join("file");
    fs::write(&path, "aaaa").unwrap();
    let first = look_through(&path).unwrap();
    let told = |stat: &Stat| (stat.size, stat.modified, stat.changed, stat.identity);
    assert_eq!(told(&first), told(&dir.look_at(Path::new("file")).unwrap()), "and nothing else changes them");
    std::thread::sleep(Duration::from_millis(30));
    fs::write(&path, "bbbb").unwrap();
    assert_ne!(told(&first), told(&look_through(&path).unwrap()));
}

#[test]
fn lines_of_two_writers_do_not_mix_and_a_journal_starts_again_at_its_beginning() {
    let (place, dir) = place();
    let open = || dir.open("record", Access::Append, Create::IfMissing).unwrap();
    let (mut one, mut two) = (open(), open());
    one.write_all(b"1\n").unwrap();
    two.write_all(b"2\n").unwrap();
    one.write_all(b"3\n").unwrap();
    assert_eq!(fs::read(place.path().join("record")).unwrap(), b"1\n2\n3\n");
    let mut journal = dir.open("record", Access::Journal, Create::IfMissing).unwrap();
    journal.write_all(b"4\n").unwrap();
    assert_eq!(fs::read(place.path().join("record")).unwrap(), b"1\n2\n3\n4\n");
    journal.set_len(0).unwrap();
    journal.rewind().unwrap();
    journal.write_all(b"5\n").unwrap();
    assert_eq!(fs::read(place.path().join("record")).unwrap(), b"5\n");
}

#[test]
fn bytes_are_read_and_written_at_any_place() {
    let (place, dir) = place();
    let file = dir.open("file", Access::ReadWrite, Create::New).unwrap();
    write_all_at(&file, b"world", 6).unwrap();
    write_all_at(&file, b"hello ", 0).unwrap();
    let mut bytes = [0; 5];
    read_exact_at(&file, &mut bytes, 6).unwrap();
    assert_eq!(&bytes, b"world");
    assert!(read_exact_at(&file, &mut bytes, 7).is_err(), "there are only four bytes");
    let mut whole = String::new();
    open_to_read(&place.path().join("file")).unwrap().read_to_string(&mut whole).unwrap();
    assert_eq!(whole, "hello world");
    drop(file);
    flush(&place.path().join("file")).unwrap();
    dir.open("file", Access::Flush, Create::Never).unwrap().sync_data().unwrap();
    dir.sync().unwrap();
}

#[test]
fn a_lock_is_refused_to_a_second_opener_of_the_file() {
    let (_place, dir) = place();
    let lock = dir.open("x.lock", Access::ReadWrite, Create::New).unwrap();
    let_others_lock(&lock);
    lock.try_lock().unwrap();
    let second = dir.open("x.lock", Access::Read, Create::Never).unwrap();
    assert!(matches!(second.try_lock(), Err(fs::TryLockError::WouldBlock)));
    drop(lock);
    second.try_lock().unwrap();
}

#[test]
fn the_disk_has_space() {
    let (place, _dir) = place();
    assert!(free_space(place.path()).is_some_and(|free| free > 0));
}

#[cfg(windows)]
#[test]
fn names_with_a_special_meaning_reach_no_file() {
    let (place, dir) = place();
    for name in ["..", "NUL", "file:stream", "a\\b", "a/b", "a."] {
        assert!(dir.open(name, Access::ReadWrite, Create::New).is_err(), "{name}");
        assert!(dir.make(Path::new(name)).is_err(), "{name}");
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}
