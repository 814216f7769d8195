//! Comparing a layer's directory with its journal: every layer case is clean as it was unpacked, and whatever is changed
//! afterwards is found by its path.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod support;

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use layerfs::apply::{WhiteoutMode, XattrNamespace};
use layerfs::verify::{Comparison, Shows, Verified, VerifyError, verify};
use support::How;
use testkit::tarfile::{char_device, dir, fifo, file, hard_link, symlink, tar, tar_of_names};

const OVERLAY: How = How { threads: 2, stream: false, whiteouts: WhiteoutMode::Overlay(XattrNamespace::Trusted) };
const DELETE: How = How { threads: 2, stream: false, whiteouts: WhiteoutMode::Delete };

fn compare_showing(dir: &Path, shows: Shows) -> Result<Verified, VerifyError> {
    let tree = support::open_dir(&dir.join("diff"));
    let journal = fs::read(dir.join("tar-split.json.gz")).unwrap();
    let comparison = Comparison { tree: tree.as_fd(), shows, owners: true, most: 100 };
    verify(journal.as_slice(), &comparison, &|_| {}, &AtomicBool::new(false))
}

fn compare(dir: &Path) -> Verified {
    compare_showing(dir, Shows::LayerAlone).unwrap()
}

/// `code path` of each fault.
fn faults(verified: &Verified) -> Vec<String> {
    verified.faults.iter().map(|fault| format!("{} {}", fault.kind.code(), fault.path.escape_ascii())).collect()
}

#[test]
fn root_every_layer_case_is_clean() {
    if !testkit::is_root() {
        return;
    }
    let mut report = String::new();
    for case in testkit::cases::load() {
        for how in [OVERLAY, DELETE] {
            let dir = tempfile::tempdir().unwrap();
            let Ok(unpacked) = support::unpack(&case.archive, dir.path(), how) else { continue };
            let shows = if how.whiteouts == WhiteoutMode::Delete { Shows::Below(None) } else { Shows::LayerAlone };
            let line = match compare_showing(dir.path(), shows) {
                Ok(verified) if verified.faults.is_empty() && verified.diff_id == Some(unpacked.diff_id) => continue,
                Ok(verified) => format!("{:?}, digest {:?}", faults(&verified), verified.diff_id),
                Err(error) => error.to_string(),
            };
            report += &format!("{} {} ({:?}): {line}\n", case.number, case.title, how.whiteouts);
        }
    }
    assert!(report.is_empty(), "{report}");
}

/// A layer with a node of each kind.
fn layer() -> Vec<u8> {
    let bytes = |seed: u8| (0..300_000u32).map(|at| (at as u8).wrapping_mul(seed)).collect::<Vec<u8>>();
    tar(&[
        dir("bin/"),
        file("bin/tool", bytes(7)).mode(0o755).mtime(1_600_000_000),
        hard_link("bin/same", "bin/tool").mode(0o755).mtime(1_600_000_000),
        symlink("bin/link", "tool").mtime(1_600_000_000),
        file("implied/by/this", "small").owner(33, 44),
        file("empty", ""),
        fifo("pipe"),
        char_device("null", (1, 3)).mode(0o644),
        file(".wh.gone", ""),
        file("opaque/.wh..wh..opq", ""),
        dir("opaque/"),
        file("opaque/new", "new"),
    ])
}

/// A name, what is done to the layer's directory, and the faults that must be found.
type Harm = (&'static str, fn(&Path), &'static [&'static str]);

const HARMS: &[Harm] = &[
    (
        "one bit, with the time as it was",
        |diff| {
            let path = diff.join("bin/tool");
            let time = fs::metadata(&path).unwrap().modified().unwrap();
            let mut bytes = fs::read(&path).unwrap();
            bytes[271_828] ^= 1;
            fs::write(&path, bytes).unwrap();
            fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        },
        &["content bin/tool"],
    ),
    ("another content", |diff| fs::write(diff.join("implied/by/this"), "SMALL").unwrap(), &["content implied/by/this"]),
    ("truncated", |diff| cut(&diff.join("bin/tool"), 1000), &["size bin/tool"]),
    ("no length", |diff| cut(&diff.join("bin/tool"), 0), &["size bin/tool"]),
    ("longer", |diff| cut(&diff.join("bin/tool"), 300_001), &["size bin/tool"]),
    ("no longer empty", |diff| fs::write(diff.join("empty"), "x").unwrap(), &["size empty"]),
    ("removed", |diff| fs::remove_file(diff.join("implied/by/this")).unwrap(), &["missing implied/by/this"]),
    ("a directory removed", |diff| fs::remove_dir_all(diff.join("implied")).unwrap(), &["missing implied/by/this"]),
    ("an empty file removed", |diff| fs::remove_file(diff.join("empty")).unwrap(), &["missing empty"]),
    ("a file more", |diff| fs::write(diff.join("implied/by/evil"), "x").unwrap(), &["extra implied/by/evil"]),
    ("a tree more", |diff| fs::create_dir_all(diff.join("evil/deep/er")).unwrap(), &["extra evil"]),
    ("a whiteout more", |diff| whiteout(&diff.join("bin/hidden")), &["extra bin/hidden"]),
    ("a whiteout removed", |diff| fs::remove_file(diff.join("gone")).unwrap(), &["missing gone"]),
    (
        "a file for a whiteout",
        |diff| {
            fs::remove_file(diff.join("gone")).unwrap();
            fs::write(diff.join("gone"), "back").unwrap();
        },
        &["type gone"],
    ),
    (
        "an attribute removed",
        |diff| {
            rustix::fs::removexattr(diff.join("opaque"), "trusted.overlay.opaque").unwrap();
        },
        &["not-opaque opaque"],
    ),
    ("set-user-id", |diff| chmod(&diff.join("bin/tool"), 0o4755), &["mode bin/same"]),
    ("a directory for all", |diff| chmod(&diff.join("bin"), 0o777), &["mode bin"]),
    (
        "another owner",
        |diff| chown(diff.join("implied/by/this"), Some(0), Some(44)).unwrap(),
        &["owner implied/by/this"],
    ),
    (
        "another time",
        |diff| {
            let file = fs::File::options().write(true).open(diff.join("implied/by/this")).unwrap();
            file.set_modified(std::time::SystemTime::now()).unwrap();
        },
        &["time implied/by/this"],
    ),
    (
        "a link that leads elsewhere",
        |diff| {
            fs::remove_file(diff.join("bin/link")).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", diff.join("bin/link")).unwrap();
        },
        &["target bin/link", "time bin/link"],
    ),
    (
        "a hard link that is a copy",
        |diff| {
            fs::copy(diff.join("bin/tool"), diff.join("bin/copy")).unwrap();
            fs::rename(diff.join("bin/copy"), diff.join("bin/same")).unwrap();
        },
        &["target bin/same", "time bin/same"],
    ),
    (
        "another device",
        |diff| {
            fs::remove_file(diff.join("null")).unwrap();
            device(&diff.join("null"), 5);
            let now = fs::metadata(diff.join("empty")).unwrap().modified().unwrap();
            set_time(&diff.join("null"), now);
        },
        &["target null"],
    ),
    (
        "a directory for a file",
        |diff| {
            fs::remove_file(diff.join("implied/by/this")).unwrap();
            fs::create_dir(diff.join("implied/by/this")).unwrap();
        },
        &["type implied/by/this"],
    ),
];

fn cut(path: &Path, length: u64) {
    fs::File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn device(path: &Path, minor: u32) {
    let device = if minor == 0 { 0 } else { rustix::fs::makedev(1, minor) };
    let (kind, mode) = (rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::from_raw_mode(0o644));
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, device).unwrap();
    chmod(path, 0o644);
}

fn whiteout(path: &Path) {
    device(path, 0);
}

fn set_time(path: &Path, time: std::time::SystemTime) {
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap();
    let spec = rustix::fs::Timespec { tv_sec: since.as_secs() as i64, tv_nsec: since.subsec_nanos().into() };
    let times = rustix::fs::Timestamps { last_access: spec, last_modification: spec };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::empty()).unwrap();
}

#[test]
fn root_whatever_is_changed_is_found_by_its_path() {
    if !testkit::is_root() {
        return;
    }
    let layer = layer();
    let mut report = String::new();
    for (name, harm, expected) in HARMS {
        let dir = tempfile::tempdir().unwrap();
        let unpacked = support::unpack(&layer, dir.path(), OVERLAY).unwrap();
        assert_eq!(compare(dir.path()).diff_id, Some(unpacked.diff_id));
        harm(&dir.path().join("diff"));
        let verified = compare(dir.path());
        if faults(&verified) != *expected {
            report += &format!("{name}: {:?}\n", faults(&verified));
        }
        // There is a digest only if all bytes are as they were.
        let of_bytes = expected.iter().all(|line| {
            !["content", "size bin", "missing implied", "type implied"].iter().any(|begin| line.starts_with(begin))
        });
        if verified.diff_id != of_bytes.then_some(unpacked.diff_id) {
            report += &format!("{name}: digest {:?}\n", verified.diff_id);
        }
    }
    assert!(report.is_empty(), "{report}");
}

#[test]
fn root_what_changes_in_normal_life_is_no_fault() {
    if !testkit::is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    support::unpack(&layer(), dir.path(), OVERLAY).unwrap();
    let diff = dir.path().join("diff");
    fs::File::open(diff.join("bin")).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    chmod(&diff, 0o755);
    let _socket = std::os::unix::net::UnixListener::bind(diff.join("bin/socket")).unwrap();
    let attribute = |path: &str, name: &str| {
        rustix::fs::setxattr(diff.join(path), name, b"y", rustix::fs::XattrFlags::empty()).unwrap();
    };
    attribute("", "trusted.overlay.uuid");
    attribute("bin", "trusted.overlay.impure");
    assert_eq!(faults(&compare(dir.path())), [""; 0]);
}

/// A body may stand in the journal because another member replaced its file.
#[test]
fn root_a_body_in_the_journal_is_compared_with_its_file() {
    if !testkit::is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let layer = tar(&[file("a", "first"), file("a", "other"), file("b", "kept!")]);
    support::unpack(&layer, dir.path(), OVERLAY).unwrap();
    assert_eq!(faults(&compare(dir.path())), [""; 0]);
    fs::write(dir.path().join("diff/a"), "THIRD").unwrap();
    assert_eq!(faults(&compare(dir.path())), ["content a"]);
}

/// The target of a hard link may be replaced afterwards: then the link is to the file that was there before.
#[test]
fn root_a_hard_link_outlives_its_target() {
    if !testkit::is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let layer = tar(&[file("a", "first"), hard_link("b", "a"), file("a", "other")]);
    support::unpack(&layer, dir.path(), OVERLAY).unwrap();
    assert_eq!(faults(&compare(dir.path())), [""; 0]);
}

/// What is done to a layer that is a whole tree.
const BELOW: &[Harm] = &[
    ("content d/kept", |diff| fs::write(diff.join("d/kept"), "KEPT").unwrap(), &["content d/kept"]),
    ("missing d/kept", |diff| fs::remove_file(diff.join("d/kept")).unwrap(), &["missing d/kept"]),
    ("extra d/gone", |diff| fs::write(diff.join("d/gone"), "back").unwrap(), &["extra d/gone"]),
    ("extra hidden/old", |diff| fs::write(diff.join("hidden/old"), "back").unwrap(), &["extra hidden/old"]),
    ("content own/file", |diff| fs::write(diff.join("own/file"), "OWN").unwrap(), &["content own/file"]),
    ("missing link", |diff| fs::remove_file(diff.join("link")).unwrap(), &["missing link"]),
    ("mode d", |diff| chmod(&diff.join("d"), 0o700), &["mode d"]),
    ("extra strange", |diff| fs::write(diff.join("strange"), "x").unwrap(), &["extra strange"]),
];

/// Layers that are whole trees: what is below shows, and must be as it is below.
#[test]
fn root_a_copy_of_the_layer_below_is_compared_with_it() {
    if !testkit::is_root() {
        return;
    }
    let base = tar(&[
        dir("d/"),
        file("d/kept", "kept").mtime(1_600_000_000),
        file("d/gone", "gone"),
        dir("hidden/"),
        file("hidden/old", "old"),
        symlink("link", "d/kept"),
        file("replaced", "before"),
    ]);
    let top = tar(&[
        file("d/.wh.gone", ""),
        file("hidden/.wh..wh..opq", ""),
        file("hidden/new", "new"),
        file("replaced", "after"),
        file("own/file", "own"),
    ]);
    let make = || {
        let dir = tempfile::tempdir().unwrap();
        let (below, above) = (dir.path().join("below"), dir.path().join("above"));
        fs::create_dir(&above).unwrap();
        support::unpack(&base, &below, DELETE).unwrap();
        fs::create_dir(above.join("diff")).unwrap();
        layerfs::copy_tree(support::open_dir(&below.join("diff")), support::open_dir(&above.join("diff"))).unwrap();
        support::unpack(&top, &above, DELETE).unwrap();
        dir
    };
    let found = |dir: &Path| {
        let below = Shows::Below(Some(support::open_dir(&dir.join("below/diff"))));
        faults(&compare_showing(&dir.join("above"), below).unwrap())
    };
    assert_eq!(found(make().path()), [""; 0]);
    for (_, harm, expected) in BELOW {
        let dir = make();
        harm(&dir.path().join("above/diff"));
        assert_eq!(found(dir.path()), *expected);
    }
}

#[test]
fn root_a_journal_that_is_damaged_is_an_error() {
    if !testkit::is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tar-split.json.gz");
    support::unpack(&layer(), dir.path(), OVERLAY).unwrap();
    let good = fs::read(&path).unwrap();
    for bad in [&b"no gzip"[..], b"", &good[..good.len() / 2], &good[..good.len() - 4]] {
        fs::write(&path, bad).unwrap();
        let error = compare_showing(dir.path(), Shows::LayerAlone).unwrap_err();
        assert!(matches!(error, VerifyError::Journal { .. }), "{error}");
    }
}

/// Only the first faults are listed, and all are counted.
#[test]
fn root_faults_beyond_a_number_are_counted() {
    if !testkit::is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..250).map(|number| format!("f{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    support::unpack(&tar_of_names(&names), dir.path(), OVERLAY).unwrap();
    for name in &names {
        fs::remove_file(dir.path().join("diff").join(name)).unwrap();
    }
    let verified = compare(dir.path());
    assert_eq!((verified.faults.len(), verified.more), (100, 150));
}
