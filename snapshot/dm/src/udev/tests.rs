//! Real semaphores, and Perl in the place of udev's rules: it does what `dmsetup udevcomplete` does, with numbers of its own.

use std::fs;
use std::process::{Command, Output};

use super::*;

const LONG: Duration = Duration::from_secs(600);

/// A root in which udev seems to be at work, with the device mapper's rules.
fn root_with_udev() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in
        [(RUNNING, ""), ("lib/udev/rules.d/95-dm-notify.rules", "RUN+=\"/sbin/dmsetup udevcomplete\"")]
    {
        fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
        fs::write(root.path().join(path), content).unwrap();
    }
    root
}

fn perl(script: &str, key: u32) -> Output {
    Command::new("perl").args(["-e", script, &key.to_string()]).output().unwrap()
}

/// The value of a semaphore, `GETVAL` being 12; `None` if there is none.
fn value(key: u32) -> Option<u32> {
    let output = perl("my $id = semget($ARGV[0], 1, 0) // exit 1; print semctl($id, 0, 12, 0) + 0", key);
    String::from_utf8(output.stdout).unwrap().parse().ok()
}

/// Takes one from it, with `IPC_NOWAIT`.
fn complete(key: u32) {
    let output = perl("my $id = semget($ARGV[0], 1, 0) // die; semop($id, pack('s!3', 0, -1, 04000)) or die", key);
    assert!(output.status.success(), "{output:?}");
}

fn name() -> DeviceName {
    "docker-thin".parse().unwrap()
}

#[test]
fn a_cookie_is_a_semaphore_that_udev_completes() {
    let root = root_with_udev();
    let udev = Udev::new(root.path(), LONG);
    let cookie = udev.expect().unwrap();
    let key = cookie.key;
    assert_eq!((key >> 16, key & 0xffff), (0x0d4d, cookie.number()));
    assert!(cookie.number() > 0);
    assert_eq!(value(key), Some(2));
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| udev.wait(cookie, true, &name()));
        // Who waits has given its own away.
        while value(key) != Some(1) {
            assert!(!waits.is_finished(), "it did not wait");
        }
        complete(key);
    });
    assert_eq!(value(key), None);
    assert!(!udev.is_silent.load(Ordering::Relaxed));
    // What makes no event is not waited for, and leaves nothing.
    let cookie = udev.expect().unwrap();
    let key = cookie.key;
    udev.wait(cookie, false, &name());
    assert_eq!(value(key), None);
}

#[test]
fn a_udev_that_ends_or_does_nothing_is_not_waited_for_again() {
    for (patience, ends) in [(LONG, true), (Duration::ZERO, false)] {
        let root = root_with_udev();
        let udev = Udev::new(root.path(), patience);
        let cookie = udev.expect().unwrap();
        let key = cookie.key;
        std::thread::scope(|scope| {
            scope.spawn(|| udev.wait(cookie, true, &name()));
            if ends {
                fs::remove_file(root.path().join(RUNNING)).unwrap();
            }
        });
        assert_eq!(value(key), None);
        assert!(udev.expect().is_none());
    }
}

#[test]
fn nobody_is_waited_for_without_udev_and_its_rules() {
    let root = root_with_udev();
    let expects = || Udev::new(root.path(), LONG).expect().is_some();
    assert!(expects());
    // Rules in a directory that comes before mask others.
    fs::create_dir_all(root.path().join("etc/udev/rules.d")).unwrap();
    let mask = root.path().join("etc").join(NOTIFY);
    std::os::unix::fs::symlink("/dev/null", &mask).unwrap();
    assert!(!expects());
    fs::remove_file(mask).unwrap();
    assert!(expects());
    fs::remove_file(root.path().join("lib").join(NOTIFY)).unwrap();
    assert!(!expects());
}

#[test]
fn a_semaphore_that_somebody_removes_is_complete() {
    let root = root_with_udev();
    let udev = Udev::new(root.path(), LONG);
    let cookie = udev.expect().unwrap();
    let removed = perl("my $id = semget($ARGV[0], 1, 0) // die; semctl($id, 0, 0, 0) or die", cookie.key);
    assert!(removed.status.success(), "{removed:?}");
    udev.wait(cookie, true, &name());
    assert!(udev.expect().is_some());
}

#[test]
fn who_is_told_hears_the_cookie_and_the_device() {
    let silent = SilentUdev { cookie: 0x0d4d_12ab, name: name(), why: "does not answer" };
    let words = silent.to_string();
    assert!(words.contains("0xd4d12ab") && words.contains("docker-thin"), "{words}");
    let end = "dmsetup udevcookies`): udev is not waited for any more, and /dev/mapper may not be up to date";
    assert!(words.ends_with(end), "{words}");
}
