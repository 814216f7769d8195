use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::super::{Context, Way};
use crate::key_volume::key_dir;
use crate::modern::fingerprint;

use super::*;

/// A data-root with a cache of builds, and a context with two files, which have two names and one.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(key_dir(&dir.path().join("root"))).unwrap();
        let context = dir.path().join("context");
        std::fs::create_dir_all(context.join("d")).unwrap();
        for (name, text) in [("Dockerfile", "FROM x\n"), ("d/a", "one"), ("b", "two")] {
            std::fs::write(context.join(name), text).unwrap();
        }
        std::fs::hard_link(context.join("d/a"), context.join("d/z")).unwrap();
        Self(dir)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join("context").join(name)
    }

    /// Builds, `later` seconds after the clock. Returns the digest of the context, and how many files were read for it.
    fn build(&self, later: i64) -> (String, usize) {
        let root = self.0.path().join("root");
        let context = self.at(".");
        let mut context =
            Context::open(context.to_str().unwrap(), None, io::empty(), Way::Modern { root: &root }).unwrap();
        context.known.as_mut().unwrap().begun += later;
        let source = context.source();
        let print = fingerprint(&source, b"", Tree::ROOT, &|_| true).unwrap();
        drop(source);
        context.remember();
        (print, context.known.unwrap().count_read())
    }
}

#[test]
fn files_that_have_not_changed_are_read_once() {
    let place = Place::new();
    let (print, read) = place.build(10);
    assert_eq!(read, 3);
    assert_eq!(place.build(10), (print.clone(), 0));
    // Another file is read, and no other.
    std::fs::write(place.at("c"), "").unwrap();
    let (other, read) = place.build(10);
    assert_eq!((other == print, read), (false, 1));
    std::fs::remove_file(place.at("c")).unwrap();
    assert_eq!(place.build(10), (print, 0));
}

#[test]
fn a_change_shows_though_length_and_time_are_the_same() {
    let place = Place::new();
    let (print, _) = place.build(10);
    let before = std::fs::metadata(place.at("b")).unwrap();
    std::fs::write(place.at("b"), "owt").unwrap();
    let file = std::fs::OpenOptions::new().append(true).open(place.at("b")).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    let after = std::fs::metadata(place.at("b")).unwrap();
    assert_eq!((before.len(), before.modified().unwrap()), (after.len(), after.modified().unwrap()));
    let (changed, read) = place.build(10);
    assert_eq!((changed == print, read), (false, 1));
    // Another file in its place, with the same times of its content.
    std::fs::write(place.at("new"), "two").unwrap();
    std::fs::File::open(place.at("new")).unwrap().set_modified(before.modified().unwrap()).unwrap();
    std::fs::rename(place.at("new"), place.at("b")).unwrap();
    assert_eq!(place.build(10), (print.clone(), 1));
    // The mode is a part of the digest, and is that of now.
    std::fs::set_permissions(place.at("b"), std::fs::Permissions::from_mode(0o700)).unwrap();
    assert_ne!(place.build(10).0, print);
}

#[test]
fn a_file_that_was_just_changed_is_read_again() {
    let place = Place::new();
    let (print, read) = place.build(0);
    assert_eq!(read, 3);
    assert_eq!(place.build(0), (print.clone(), 3));
    // The clock of the build may go wrong, too.
    assert_eq!(place.build(-1000), (print.clone(), 3));
    assert_eq!(place.build(10), (print.clone(), 3));
    assert_eq!(place.build(0), (print, 0));
}

/// Between the reading of the directory and that of the file, the file is changed: what was read is not what `stat` was.
#[test]
fn a_file_that_changes_meanwhile_is_not_remembered() {
    let place = Place::new();
    let root = place.0.path().join("root");
    let mut context =
        Context::open(place.at(".").to_str().unwrap(), None, io::empty(), Way::Modern { root: &root }).unwrap();
    context.known.as_mut().unwrap().begun += 10;
    std::fs::write(place.at("b"), "owt").unwrap();
    let source = context.source();
    fingerprint(&source, b"", Tree::ROOT, &|_| true).unwrap();
    drop(source);
    context.remember();
    let known = file::read(&context.known.as_ref().unwrap().file);
    assert!(known.contains_key(&b"d/a"[..]) && !known.contains_key(&b"b"[..]), "{known:?}");
    assert_eq!(place.build(10).1, 1);
    assert_eq!(place.build(10).1, 0);
}

#[test]
fn what_is_damaged_or_forgotten_is_read_again() {
    let place = Place::new();
    let (print, _) = place.build(10);
    let root = place.0.path().join("root");
    let file = file::path(&root, &place.at(".").canonicalize().unwrap());
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(place.build(10), (print.clone(), 3));
    assert_eq!(place.build(10), (print.clone(), 0));
    let long_ago = SystemTime::now() - Duration::from_secs(1000);
    assert_eq!(forget(&root, Some(long_ago)).unwrap(), 0);
    assert!(forget(&root, None).unwrap() > 0);
    assert_eq!(place.build(10), (print.clone(), 3));
    // A store without a cache gets no file.
    std::fs::remove_dir_all(key_dir(&root)).unwrap();
    assert_eq!(place.build(10), (print, 3));
    assert!(!key_dir(&root).exists());
}
