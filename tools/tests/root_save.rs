//! Saving: the same bytes from every root, no partial file whatever happens, and no layer that is not what it was.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use testkit::mounts::Mounted;
use testkit::root::{self, RootContents};
use testkit::run::{self, Input, layerfs};
use testkit::{Random, synthetic};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A root with an image of some size.
struct Workshop {
    dir: TempDir,
    root: PathBuf,
}

const ARCHIVE: &str = "out/saved.tar";
const DIRECTORY: &str = "out/saved";

impl Workshop {
    fn new(bytes: usize) -> Self {
        let dir = testkit::scratch();
        let archive = dir.path().join("archive.tar");
        std::fs::write(&archive, synthetic::archive(bytes, 300)).unwrap();
        let root = dir.path().join("root");
        testkit::import(&archive, &root);
        std::fs::create_dir(dir.path().join("out")).unwrap();
        Self { dir, root }
    }

    fn save(&self, arguments: &[&str]) -> Command {
        layerfs(&[&["--root", text(&self.root), "save", "-q", synthetic::TAG], arguments].concat())
    }

    /// Into a file, or into a directory.
    fn save_to(&self, base: &Path, form: &str) -> Command {
        match form {
            DIRECTORY => self.save(&["--directory", text(&base.join(form))]),
            _ => self.save(&[
                "-o",
                text(&base.join(form)),
                "--compress",
                if form == ARCHIVE { "none" } else { "gzip=1" },
            ]),
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join("out")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

#[test]
fn saved_and_imported_it_is_the_same() {
    if !testkit::is_root() {
        return;
    }
    let since = testkit::now();
    let workshop = Workshop::new(5 << 20);
    let path = |name: &str| workshop.dir.path().join(name);
    for golden in testkit::GOLDENS {
        testkit::import(&testkit::golden(golden), &workshop.root);
    }
    let all = |root: &Path, more: &[&str]| {
        let ran = layerfs(&[&["--root", text(root), "save", "-q", "--all"], more].concat()).output().unwrap();
        assert!(ran.status.success(), "{more:?}: {}", String::from_utf8_lossy(&ran.stderr));
        ran.stdout
    };
    let bytes = all(&workshop.root, &[]);
    for (number, how) in
        [&["--compress", "none"][..], &["--compress", "gzip"], &["--compress", "zstd=1"]].iter().enumerate()
    {
        // A pipe, a file and a directory hold the same, made by one thread or by several.
        let (file, directory, root) =
            (path(&format!("{number}.tar")), path(&format!("{number}.d")), path(&format!("{number}.root")));
        all(&workshop.root, &[how, &["-o", text(&file), "--threads", "3"][..]].concat());
        let piped = all(&workshop.root, &[how, &["--threads", "1"][..]].concat());
        assert!(std::fs::read(&file).unwrap() == piped, "{how:?}: a pipe gets other bytes than a file");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        all(&workshop.root, &[how, &["--directory", text(&directory)][..]].concat());
        let unpacked = path(&format!("{number}.unpacked"));
        std::fs::create_dir(&unpacked).unwrap();
        let untarred = Command::new("tar").args(["-C", text(&unpacked), "-xf", text(&file)]).status().unwrap();
        assert!(untarred.success());
        let compared = Command::new("diff").args(["-r", text(&unpacked), text(&directory)]).output().unwrap();
        assert!(compared.status.success(), "{how:?}: {}", String::from_utf8_lossy(&compared.stdout));
        testkit::import(if number == 1 { &directory } else { &file }, &root);
        assert!(all(&root, &[]) == bytes, "{how:?}: saved again, other bytes");
        testkit::assert_none(
            "trees",
            &root::differences(&RootContents::read(&root), &RootContents::read(&workshop.root), since),
        );
    }
}

/// The gzip stream of a layer, read by gzip itself.
#[test]
fn others_decompress_layers() {
    if !testkit::is_root() {
        return;
    }
    let workshop = Workshop::new(5 << 20);
    for (codec, program) in [("gzip=9", "gzip"), ("zstd", "zstd")] {
        let directory = workshop.dir.path().join(codec);
        run::run(workshop.save(&["--compress", codec, "--directory", text(&directory)]), Input::Nothing).ok();
        let manifest: serde_json::Value =
            serde_json::from_slice(&std::fs::read(directory.join("manifest.json")).unwrap()).unwrap();
        let config = std::fs::read(directory.join(manifest[0]["Config"].as_str().unwrap())).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        let layers = manifest[0]["Layers"].as_array().unwrap();
        assert_eq!(layers.len(), 4);
        for (layer, diff_id) in layers.iter().zip(config["rootfs"]["diff_ids"].as_array().unwrap()) {
            let file = std::fs::File::open(directory.join(layer.as_str().unwrap())).unwrap();
            let plain = Command::new(program).arg("-dc").stdin(file).output().unwrap();
            assert!(plain.status.success(), "{}", String::from_utf8_lossy(&plain.stderr));
            assert_eq!(&layerfs_digest(&plain.stdout), diff_id.as_str().unwrap());
        }
    }
}

fn layerfs_digest(bytes: &[u8]) -> String {
    ::layerfs::Digest::hash(bytes).to_string()
}

/// Every way to change a layer's files or its journal is found, named, and leaves nothing.
#[test]
fn a_layer_that_differs_is_not_saved() {
    if !testkit::is_root() {
        return;
    }
    let workshop = Workshop::new(1 << 20);
    let layers = RootContents::read(&workshop.root).layers;
    let home = |file: &str| {
        let homes = layers.values().map(|layer| workshop.root.join("overlay2").join(&layer.cache_id).join("diff"));
        homes.map(|home| home.join(file)).find(|path| path.exists()).unwrap()
    };
    let before = std::fs::read(home("usr/large-0")).unwrap();
    let outside = workshop.dir.path().join("outside");
    std::fs::write(&outside, &before).unwrap();
    let file = home("usr/large-0");
    let changes: [(&str, &dyn Fn(), &str); 5] = [
        (
            "a byte",
            &|| {
                std::fs::write(&file, {
                    let mut other = before.clone();
                    other[7] ^= 1;
                    other
                })
                .unwrap();
            },
            "usr/large-0",
        ),
        (
            "the length",
            &|| OpenOptions::new().append(true).open(&file).unwrap().write_all(b"x").unwrap(),
            "usr/large-0",
        ),
        ("gone", &|| std::fs::remove_file(&file).unwrap(), "usr/large-0"),
        // Even one that leads to the very content.
        (
            "a symlink out",
            &|| {
                std::fs::remove_file(&file).unwrap();
                std::os::unix::fs::symlink(&outside, &file).unwrap();
            },
            "usr/large-0",
        ),
        (
            "a pipe",
            &|| {
                std::fs::remove_file(&file).unwrap();
                rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
            },
            "usr/large-0",
        ),
    ];
    let mut report = Vec::new();
    for (title, change, named) in changes {
        change();
        for form in [ARCHIVE, DIRECTORY, "out/saved.tar.gz"] {
            let ran = run::run(workshop.save_to(workshop.dir.path(), form), Input::Nothing);
            let mut found = ran.complaints(&[named, "layer sha256:"]);
            found.extend(workshop.names());
            report.extend(found.into_iter().map(|line| format!("{title}, {form}: {line}")));
        }
        let _ = std::fs::remove_file(&file);
        std::fs::write(&file, &before).unwrap();
    }
    // The journal says something else than what was hashed once: a name in a header.
    let chain = layers.iter().find(|(_, layer)| file.to_str().unwrap().contains(&layer.cache_id)).unwrap().0;
    let journal = workshop.root.join("image/overlay2/layerdb/sha256").join(chain).join("tar-split.json.gz");
    let mut plain = Vec::new();
    let packed = Command::new("gzip").arg("-dc").stdin(std::fs::File::open(&journal).unwrap()).output().unwrap();
    plain.extend(packed.stdout);
    let at = plain.windows(9).position(|window| window == b"\"payload\"").unwrap() + 40;
    plain[at] = if plain[at] == b'A' { b'B' } else { b'A' };
    let mut gzip =
        Command::new("gzip").stdin(Stdio::piped()).stdout(std::fs::File::create(&journal).unwrap()).spawn().unwrap();
    gzip.stdin.take().unwrap().write_all(&plain).unwrap();
    assert!(gzip.wait().unwrap().success());
    report.extend(
        run::run(workshop.save_to(workshop.dir.path(), ARCHIVE), Input::Nothing).complaints(&["layer sha256:"]),
    );
    std::fs::remove_file(&journal).unwrap();
    let ran = run::run(workshop.save_to(workshop.dir.path(), ARCHIVE), Input::Nothing);
    report.extend(ran.complaints(&["tar-split.json.gz"]));
    report.extend(workshop.names());
    testkit::assert_none("changed layers", &report);
}

/// A kill leaves no file, and of a directory only one with a name of ours; an interrupt leaves nothing.
#[test]
fn nothing_is_left_when_it_ends_early() {
    if !testkit::is_root() {
        return;
    }
    let workshop = Workshop::new(24 << 20);
    let mut random = Random::new(14);
    let mut report = Vec::new();
    let (tries, mut early) = (if testkit::full_sweep() { 200 } else { 8 }, 0);
    for form in [ARCHIVE, "out/saved.tar.gz", DIRECTORY] {
        let time = run::run(workshop.save_to(workshop.dir.path(), form), Input::Nothing).ok().time;
        let out = workshop.dir.path().join("out");
        let old = workshop.dir.path().join(form);
        let whole = if form == DIRECTORY { Vec::new() } else { std::fs::read(&old).unwrap() };
        std::fs::remove_dir_all(&out).unwrap();
        std::fs::create_dir(&out).unwrap();
        for number in 0..tries {
            // What has the name before stays as it is.
            if form != DIRECTORY {
                std::fs::write(&old, "old").unwrap();
            }
            let (signal, code) = if number % 2 == 0 { (Signal::KILL, None) } else { (Signal::TERM, Some(130)) };
            let started = Instant::now();
            let child = run::start(workshop.save_to(workshop.dir.path(), form), Input::Nothing);
            std::thread::sleep(time.mul_f64(random.below(90) as f64 / 100.0).max(Duration::from_millis(20)));
            kill_process(Pid::from_child(&child), signal).unwrap();
            let ran = run::finish(child, started);
            if ran.code == Some(0) {
                let _ = std::fs::remove_dir_all(workshop.dir.path().join(DIRECTORY));
                continue;
            }
            early += 1;
            // On a busy machine it may not have listened yet.
            if ran.code != code && ran.code.is_some() {
                report.push(format!("{form}: {ran:?}"));
            }
            // It may have been killed when all was done, and before it could say so: then the new file is whole.
            let is_sound = |found: Vec<u8>| found == b"old" || found == whole;
            if form != DIRECTORY && !is_sound(std::fs::read(&old).unwrap()) {
                report.push(format!("{form}: neither the old file nor the whole new one"));
            }
            let left: BTreeSet<String> = workshop.names().into_iter().collect();
            let expected = |name: &String| {
                form != DIRECTORY && form.ends_with(name.as_str())
                    || form == DIRECTORY && signal == Signal::KILL && name.starts_with(".saved.layerfs-")
            };
            for name in left.iter().filter(|name| !expected(name)) {
                report.push(format!("{form}: {name} is left by {signal:?}"));
            }
            for name in left.iter().filter(|name| name.starts_with('.')) {
                std::fs::remove_dir_all(out.join(name)).unwrap();
            }
        }
        std::fs::remove_dir_all(&out).unwrap();
        std::fs::create_dir(&out).unwrap();
    }
    assert!(early > tries, "only {early} saves were ended early");
    testkit::assert_none("ended early", &report);
}

#[test]
fn nothing_is_left_on_a_full_disk() {
    if !testkit::is_root() {
        return;
    }
    let workshop = Workshop::new(4 << 20);
    let mut report = Vec::new();
    for form in [ARCHIVE, "out/saved.tar.gz", DIRECTORY] {
        let measured = Mounted::tmpfs("size=64m");
        std::fs::create_dir(measured.path().join("out")).unwrap();
        let free = measured.free().0;
        run::run(workshop.save_to(measured.path(), form), Input::Nothing).ok();
        let need = free - measured.free().0;
        let step = if testkit::full_sweep() { 2 } else { 11 };
        for part in (1..100).step_by(step) {
            let mounted = Mounted::tmpfs(&format!("size={}", (need * part / 100).next_multiple_of(4096)));
            std::fs::create_dir(mounted.path().join("out")).unwrap();
            let free = mounted.free();
            let ran = run::run(workshop.save_to(mounted.path(), form), Input::Nothing);
            let mut found = ran.complaints(&["No space left on device"]);
            found
                .extend(std::fs::read_dir(mounted.path().join("out")).unwrap().map(|left| format!("{left:?} is left")));
            if mounted.free() != free {
                found.push(format!("{:?} are free, before it were {free:?}", mounted.free()));
            }
            report.extend(found.into_iter().map(|line| format!("{form}, {part} %: {line}")));
        }
    }
    testkit::assert_none("full disk", &report);
}

#[test]
fn save_says_what_is_wrong() {
    if !testkit::is_root() {
        return;
    }
    let workshop = Workshop::new(1 << 20);
    let full = workshop.save(&[]).stdout(OpenOptions::new().write(true).open("/dev/full").unwrap()).output().unwrap();
    assert_eq!(full.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&full.stderr).contains("standard output: No space left"), "{full:?}");
    let both = run::run(workshop.save(&["--json"]), Input::Nothing);
    assert_eq!(both.code, Some(2), "{}", both.stderr);
    let none = run::run(layerfs(&["--root", text(&workshop.root), "save"]), Input::Nothing);
    assert_eq!(none.code, Some(2), "{}", none.stderr);
    for bad in ["xz", "gzip=0", "zstd=40"] {
        let ran = run::run(workshop.save(&["--compress", bad]), Input::Nothing);
        let words = "is not none, gzip, gzip=1 to gzip=9, zstd, zstd=1 to zstd=19, or zstd=-1 to zstd=-50";
        assert!(ran.code == Some(2) && ran.stderr.contains(words), "{bad}: {}", ran.stderr);
    }
    let taken = workshop.dir.path().join("out");
    std::fs::write(taken.join("file"), "").unwrap();
    let report = run::run(workshop.save(&["--directory", text(&taken)]), Input::Nothing).complaints(&["is not empty"]);
    testkit::assert_none("a directory that holds something", &report);
    // A terminal gets no archive.
    if testkit::tier("root", Path::new("/usr/bin/script").exists(), "install bsdutils") {
        let line =
            format!("{} --root {} save {}", text(&testkit::program("layerfs")), text(&workshop.root), synthetic::TAG);
        let output = Command::new("script").args(["-qec", &line, "/dev/null"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let words = "cowardly refusing to save to a terminal. Use the -o flag or redirect";
        assert!(output.status.code() == Some(1) && said.contains(words), "{said}");
    }
    // The report says what was written.
    let file = workshop.dir.path().join("reported.tar");
    let ran = run::run(workshop.save(&["--json", "-o", text(&file)]), Input::Nothing).ok();
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["layers"].as_array().unwrap().len(), 4);
    let mut archive = std::fs::File::open(&file).unwrap();
    let mut name = [0; 77];
    archive.rewind().unwrap();
    archive.read_exact(&mut name).unwrap();
    let digest = report["layers"][0]["digest"].as_str().unwrap().trim_start_matches("sha256:");
    assert_eq!(String::from_utf8_lossy(&name), format!("blobs/sha256/{digest}"));
}
