//! Layers that try to reach what is beside them. The names are those of the table of known attacks (see the reference on
//! threats): an archive is refused or stays inside, and a directory beside it never changes.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use testkit::image::DockerArchive;
use testkit::run::{Input, layer_unpack, run};
use testkit::store::StoreFiles;
use testkit::tarfile::{TarMember, char_device, dir, fifo, file, hard_link, symlink};
use testkit::{TreeState, tarfile};

/// What is to become of a layer.
enum TreeEntry {
    /// The message has this word.
    Refused(&'static str),
    /// It is unpacked, and this holds of its tree, or something is said. The flag says that whiteouts are applied.
    Inside(fn(&Path, &str, bool) -> Result<(), String>),
    /// Either will do.
    Either,
}

use TreeEntry::{Either, Inside, Refused};

/// A place with things that must stay as they are.
struct Place {
    dir: TempDir,
    victim: String,
}

impl Place {
    fn new() -> Self {
        let dir = testkit::scratch();
        let victim = dir.path().join("victim");
        for sub in ["victim/b", "out-evil"] {
            std::fs::create_dir_all(dir.path().join(sub)).unwrap();
        }
        for name in ["victim/f", "victim/b/g", "out-evil/f"] {
            let path = dir.path().join(name);
            std::fs::write(&path, "untouched").unwrap();
            std::os::unix::fs::chown(&path, Some(1234), Some(5678)).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
            rustix::fs::setxattr(&path, "user.v", b"1", rustix::fs::XattrFlags::empty()).unwrap();
            let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_234_567_890);
            std::fs::File::options().append(true).open(&path).unwrap().set_modified(old).unwrap();
        }
        let victim = victim.to_str().unwrap().to_owned();
        Self { dir, victim }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn states(&self) -> [TreeState; 2] {
        ["victim", "out-evil"].map(|name| TreeState::read(&self.at(name)))
    }

    /// Unpacks layers in one way. Returns what is wrong.
    fn attempt(&self, layers: &[Vec<u8>], way: &str, piped: bool, threads: &str, expected: &TreeEntry) -> Vec<String> {
        let (archive, out) = (self.at("archive.tar"), self.at("out"));
        let bytes = match layers {
            [layer] if way != "--root" => layer.clone(),
            layers => DockerArchive::new("layerfs-test/escape:1", layers).build(),
        };
        std::fs::write(&archive, &bytes).unwrap();
        let before = self.states();
        let (name, input) =
            if piped { ("-", Input::Pipe(&bytes)) } else { (archive.to_str().unwrap(), Input::Nothing) };
        let ran = run(layer_unpack(&[name, way, out.to_str().unwrap(), "--no-sync", "--threads", threads]), input);
        let mut report: Vec<String> =
            before.iter().zip(&self.states()).flat_map(|(before, now)| before.changes(now)).collect();
        report.iter_mut().for_each(|line| line.insert_str(0, "escaped: "));
        if bytes.windows(9).any(|part| part == b".overlay.")
            && !ran.stderr.contains("left out: it would steer overlayfs")
        {
            report.push(format!("nothing is said of the attribute: {}", ran.stderr));
        }
        match (ran.code, expected) {
            (Some(0), Refused(_)) => report.push("was unpacked".into()),
            (Some(0), Inside(check)) => {
                let trees = trees(&out, way);
                if let Some(error) = trees.iter().find_map(|tree| check(tree, &self.victim, way == "--rootfs").err()) {
                    report.push(format!("{error}: {}", ran.stderr));
                }
            }
            (Some(0), Either) => {}
            (_, Refused(word)) => report.extend(ran.complaints(&[word])),
            (_, Either) => report.extend(ran.complaints::<&str>(&[])),
            (_, Inside(_)) => report.push(format!("was refused: {}", ran.stderr)),
        }
        let left = ["out", "archive.tar", "victim", "out-evil"];
        report.extend(testkit::store::names(self.dir.path()).into_iter().filter(|name| !left.contains(&&**name)));
        if ran.code != Some(0) && out.exists() {
            report.push("the directory is left".into());
        }
        let _ = std::fs::remove_dir_all(&out);
        report
    }
}

/// The topmost layer, or the tree.
fn trees(out: &Path, way: &str) -> Vec<PathBuf> {
    match way {
        "--rootfs" => vec![out.to_owned()],
        "--root" => {
            let store = StoreFiles::read(out);
            store.images.values().filter_map(|chains| store.diffs().remove(chains.last()?)).collect()
        }
        _ => {
            let mut names = testkit::store::names(out);
            names.retain(|name| name != "layers.json");
            vec![out.join(names.last().unwrap()).join("diff")]
        }
    }
}

fn is(condition: bool, what: &str) -> Result<(), String> {
    if condition { Ok(()) } else { Err(format!("not so: {what}")) }
}

fn reads(path: &Path, content: &str) -> Result<(), String> {
    is(std::fs::read_to_string(path).is_ok_and(|found| found == content), &format!("{} is {content}", path.display()))
}

fn is_link(path: &Path) -> bool {
    path.is_symlink()
}

/// Where the victim would be if the layer were the host.
fn inside(tree: &Path, victim: &str) -> PathBuf {
    tree.join(victim.trim_start_matches('/'))
}

fn same_file(one: &Path, two: &Path) -> bool {
    let inode = |path: &Path| std::fs::symlink_metadata(path).map(|meta| meta.ino()).ok();
    inode(one).is_some() && inode(one) == inode(two)
}

/// Whether some attribute that overlayfs would act on is set anywhere but for opaque directories of ours.
fn steers(tree: &Path) -> bool {
    let overlay = |name: &String| name.contains(".overlay.") && name != "trusted.overlay.opaque";
    testkit::tree::walk(tree).iter().any(|entry| entry.xattrs.keys().any(overlay))
}

type Case = (&'static str, Vec<TarMember>, TreeEntry);

fn names(v: &str) -> Vec<Case> {
    let out = "leads out of the layer";
    vec![
        ("E01", vec![file("../../victim/f", "evil")], Refused(out)),
        ("E01 through a directory", vec![file("a/../../victim/f", "evil")], Refused(out)),
        ("E01 inside", vec![file("a/../b", "ok")], Inside(|tree, _, _| reads(&tree.join("b"), "ok"))),
        (
            "E01 absolute",
            vec![file(format!("{v}/f"), "ok")],
            Inside(|tree, v, _| reads(&inside(tree, v).join("f"), "ok")),
        ),
        ("E11", vec![file("../out-evil/f", "evil")], Refused(out)),
        ("E11 through a link", vec![symlink("x", "../out-evil"), file("x/f", "evil")], Refused("leaves the layer")),
        ("E16 ./", vec![dir("./").mode(0o700)], Inside(|tree, _, _| is(tree.is_dir(), "a directory"))),
        ("E16 /", vec![dir("/").mode(0o700)], Inside(|tree, _, _| is(tree.is_dir(), "a directory"))),
        ("E16 ..", vec![dir("..").mode(0o777)], Refused(out)),
        ("E16 a file", vec![file(".", "evil")], Either),
        ("E16 a link", vec![symlink(".", v), file("f", "evil")], Either),
        ("E16 a device", vec![char_device(".", (0, 0))], Either),
        ("E16 no name", vec![file("", "evil"), symlink("", v)], Either),
    ]
}

fn links(v: &str) -> Vec<Case> {
    let f = format!("{v}/f");
    vec![
        (
            "E02",
            vec![symlink("x", v), file("x/f", "ok")],
            Inside(|tree, v, _| {
                is(is_link(&tree.join("x")), "a link")?;
                reads(&inside(tree, v).join("f"), "ok")
            }),
        ),
        (
            "E02 a directory",
            vec![symlink("x", v), dir("x/b/").mode(0o777)],
            Inside(|tree, v, _| is(inside(tree, v).join("b").is_dir(), "a directory")),
        ),
        ("E03", vec![symlink("x", "../victim"), file("x/f", "evil")], Refused("leaves the layer")),
        (
            "E03 a chain",
            vec![symlink("a", ".."), symlink("b", "a/../victim"), file("b/f", "evil")],
            Refused("leaves the layer"),
        ),
        ("E03 deep", vec![symlink("d/x", "../../victim"), file("d/x/f", "evil")], Refused("leaves the layer")),
        ("E04", vec![hard_link("x", "../victim/f"), file("x", "evil")], Refused("invalid hardlink target")),
        ("E04 absolute", vec![hard_link("x", &f), file("x", "evil")], Refused("No such file")),
        ("E04 through a link", vec![symlink("s", "../victim"), hard_link("x", "s/f")], Refused("leaves the layer")),
        ("E04 through an absolute link", vec![symlink("s", v), hard_link("x", "s/f")], Refused("No such file")),
        (
            "E05",
            vec![file("etc/a", "ok"), hard_link("etc/b", "/etc/a")],
            Inside(|tree, _, _| is(same_file(&tree.join("etc/a"), &tree.join("etc/b")), "one file")),
        ),
        (
            "E05 through a link",
            vec![file("etc/a", "ok"), symlink("abs", "/etc"), hard_link("b", "abs/a")],
            Inside(|tree, _, _| is(same_file(&tree.join("etc/a"), &tree.join("b")), "one file")),
        ),
        (
            "E06",
            vec![symlink("s", &f), hard_link("h", "s").mode(0o4777)],
            Inside(|tree, _, _| {
                is(is_link(&tree.join("h")) && same_file(&tree.join("s"), &tree.join("h")), "one link")
            }),
        ),
        (
            "E07",
            vec![symlink("foo", v), dir("foo/.").mode(0o777)],
            Inside(|tree, _, _| is(!is_link(&tree.join("foo")) && tree.join("foo").is_dir(), "a directory")),
        ),
        (
            "E07 without a dot",
            vec![symlink("foo", v), dir("foo").mode(0o777)],
            Inside(|tree, _, _| is(!is_link(&tree.join("foo")) && tree.join("foo").is_dir(), "a directory")),
        ),
        (
            "E08",
            vec![file("a", "ok"), hard_link("b", "a"), file("b", "new")],
            Inside(|tree, _, _| {
                reads(&tree.join("a"), "ok")?;
                reads(&tree.join("b"), "new")
            }),
        ),
        (
            "E09",
            vec![dir("a/").mode(0o700), dir("a/b/").mode(0o711), file("a/f", "x"), file("a/b/g", "y"), symlink("a", v)],
            Inside(|tree, _, _| is(is_link(&tree.join("a")), "a link")),
        ),
        (
            "E09 below",
            vec![dir("d/"), dir("d/b/").mode(0o700), file("d/b/g", "x"), symlink("d/b", format!("{v}/b"))],
            Inside(|tree, _, _| is(is_link(&tree.join("d/b")), "a link")),
        ),
        (
            "E17",
            vec![symlink("x", &f).record("SCHILY.xattr.user.a", "1")],
            Inside(|tree, _, _| is(is_link(&tree.join("x")), "a link")),
        ),
        ("a loop", vec![symlink("a", "b"), symlink("b", "a"), file("a/x", "")], Refused("Too many levels")),
        (
            "/proc",
            vec![symlink("x", "/proc/self/cwd"), file("x/victim/f", "evil")],
            Inside(|tree, _, _| reads(&tree.join("proc/self/cwd/victim/f"), "evil")),
        ),
    ]
}

fn markers(v: &str) -> Vec<Case> {
    let overlay = |name: &str, value: &str| {
        vec![
            dir("d/").record(format!("SCHILY.xattr.{name}"), value),
            file("d/f", "x").record(format!("SCHILY.xattr.{name}"), value),
        ]
    };
    let refused = || Refused("invalid whiteout");
    let drops = || Inside(|tree, _, _| is(!steers(tree), "no attribute that steers overlayfs"));
    vec![
        ("W01 .wh..", vec![file(".wh..", "")], refused()),
        ("W01 .wh...", vec![file(".wh...", "")], refused()),
        ("W01 a/.wh..", vec![dir("a/"), file("a/.wh..", "")], refused()),
        ("W01 a/.wh...", vec![dir("a/"), file("a/.wh...", "")], refused()),
        ("W01 .wh.", vec![file(".wh.", "")], refused()),
        ("W01 .wh./x", vec![file(".wh./x", "")], Either),
        ("W01 .wh.../x", vec![file(".wh.../victim/f", "")], Either),
        ("W02", vec![symlink("d", v), file("d/.wh.f", "")], Either),
        ("W02 relative", vec![symlink("d", "../victim"), file("d/.wh.f", "")], Refused("leaves the layer")),
        ("W02 opaque", vec![symlink("d", v), file("d/.wh..wh..opq", "")], Either),
        ("W02 of a link", vec![symlink("d", v), file(".wh.d", "")], Either),
        (
            "W04",
            vec![dir("etc/"), char_device("etc/passwd", (0, 0))],
            Inside(|tree, _, applied| {
                is(tree.join("etc/passwd").symlink_metadata().is_err() == applied, "a whiteout, or nothing")
            }),
        ),
        (
            "W05",
            vec![file("a/f", "ok"), file("a/.wh..wh..opq", "")],
            Inside(|tree, _, _| reads(&tree.join("a/f"), "ok")),
        ),
        (
            "W07",
            vec![dir(".wh.x/"), symlink(".wh.y", v), symlink("d/.wh.z", v)],
            Inside(|tree, _, _| {
                let is_marker = |path: &[u8]| path.windows(4).any(|part| part == b".wh.");
                let fault = |entry: &testkit::cases::TreeEntry| entry.kind == 'l' || is_marker(&entry.path);
                is(!testkit::tree::walk(tree).iter().any(fault), "no link and no marker")
            }),
        ),
        (
            "W07 a hard link",
            vec![file("a", "ok"), hard_link(".wh.x", "a")],
            Inside(|tree, _, _| is(!same_file(&tree.join("a"), &tree.join("x")), "no link")),
        ),
        ("M01 redirect", overlay("trusted.overlay.redirect", "/../../other"), drops()),
        (
            "M01 opaque",
            overlay("trusted.overlay.opaque", "y"),
            Inside(|tree, _, _| {
                let opaque = |entry: &testkit::cases::TreeEntry| entry.xattrs.contains_key("trusted.overlay.opaque");
                is(!testkit::tree::walk(tree).iter().any(opaque), "no opaque directory")
            }),
        ),
        ("M01 metacopy", overlay("trusted.overlay.metacopy", ""), drops()),
        ("M01 of users", overlay("user.overlay.redirect", "/../../other"), drops()),
        (
            "M09",
            vec![fifo("etc/passwd"), symlink("etc/group", "/dev/zero")],
            Inside(|tree, _, _| is(is_link(&tree.join("etc/group")), "a link")),
        ),
    ]
}

#[test]
fn root_layers_stay_inside() {
    if !testkit::is_root() {
        return;
    }
    let place = Place::new();
    let mut report = Vec::new();
    let v = &place.victim;
    for (title, members, expected) in [names(v), links(v), markers(v)].into_iter().flatten() {
        let layer = tarfile::tar(&members);
        for way in ["--layers", "--rootfs", "--root"] {
            for (piped, threads) in [(false, "1"), (false, "4"), (true, "4")] {
                let found = place.attempt(std::slice::from_ref(&layer), way, piped, threads, &expected);
                report.extend(found.into_iter().map(|line| format!("{title}, {way}, pipe {piped}: {line}")));
            }
        }
    }
    testkit::assert_none("layers", &report);
}

#[test]
fn root_layers_do_not_help_each_other() {
    if !testkit::is_root() {
        return;
    }
    let place = Place::new();
    let v = &place.victim;
    let f = format!("{v}/f");
    let stacks: [(&str, Vec<Vec<TarMember>>); 6] = [
        ("E10", vec![vec![symlink("x", v)], vec![file("x/f", "new")]]),
        ("E10 relative", vec![vec![symlink("x", "../victim")], vec![file("x/f", "new")]]),
        ("E10 in the other order", vec![vec![file("x/f", "new")], vec![symlink("x", v)]]),
        ("E10 a whiteout", vec![vec![symlink("x", v)], vec![file("x/.wh.f", ""), file("x/.wh..wh..opq", "")]]),
        ("E10 metadata", vec![vec![symlink("x", v)], vec![dir("x/").mode(0o777), dir("x/b/").mode(0o777)]]),
        ("E10 a file", vec![vec![symlink("f", &f)], vec![file("f", "new").mode(0o4777)]]),
    ];
    let mut report = Vec::new();
    for (title, stack) in stacks {
        let layers: Vec<Vec<u8>> = stack.iter().map(|members| tarfile::tar(members.as_slice())).collect();
        for way in ["--layers", "--rootfs", "--root"] {
            for (piped, threads) in [(false, "1"), (false, "4"), (true, "4")] {
                let expected = Inside(|tree, _, _| is(tree.is_dir(), "a directory"));
                let found = place.attempt(&layers, way, piped, threads, &expected);
                report.extend(found.into_iter().map(|line| format!("{title}, {way}, pipe {piped}: {line}")));
            }
        }
    }
    testkit::assert_none("two layers", &report);
}

#[test]
fn root_threads_do_not_help_each_other() {
    if !testkit::is_root() {
        return;
    }
    let place = Place::new();
    // E13: a directory, a file in it that takes a while to write, a link in its place, a file through that.
    let large = vec![b'x'; 1 << 20];
    let turns = if testkit::full_sweep() { 2000 } else { 100 };
    let one = [dir("x/"), file("x/f", large), symlink("x", &place.victim), file("x/g", "through the link")];
    let layer = tarfile::tar(std::iter::repeat_n(&one, turns).flatten());
    let mut report = Vec::new();
    for way in ["--layers", "--rootfs"] {
        for threads in ["1", "8"] {
            let expected = Inside(|tree, v, _| {
                is(is_link(&tree.join("x")), "a link")?;
                is(!inside(tree, v).join("f").exists(), "nothing but what came through the link")?;
                reads(&inside(tree, v).join("g"), "through the link")
            });
            report.extend(place.attempt(std::slice::from_ref(&layer), way, false, threads, &expected));
        }
    }
    testkit::assert_none("E13", &report);
}
