//! Images whose layers try everything: `image diff` and `image flatten` say and make what the kernel shows of their layers.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::Value;
use testkit::cases::TreeEntry;
use testkit::image::DockerArchive;
use testkit::mounts::Mounted;
use testkit::tarfile::{TarMember, block_device, char_device, dir, fifo, file, hard_link, symlink, tar};
use testkit::{made_by_layerfs, printed_by_layerfs};

/// What all images begin with.
fn base() -> Vec<TarMember> {
    vec![
        dir("d/"),
        file("d/a", "a"),
        file("d/b", "b").record("SCHILY.xattr.user.key", "value"),
        dir("d/sub/"),
        file("d/sub/x", "x"),
        file("f", "f"),
        hard_link("h", "f"),
        symlink("s", "d"),
        symlink("out", "../../../../../etc/passwd"),
        char_device("null", (1, 3)),
        fifo("p"),
    ]
}

/// Names that a terminal or a shell would take for something else.
const NAMES: [&[u8]; 9] =
    [b"new\nline", b"\x1b[31mred", b"\xff\xfe", b"tab\t", b"-rf", b"*", b"back\\slash", b" ", b"\xe2\x80\xaeright"];

/// What an image is called, and its layers above the base.
fn images() -> Vec<(&'static str, Vec<Vec<TarMember>>)> {
    let named = |prefix: &[u8]| NAMES.map(|name| file([b"d/", prefix, name].concat(), ""));
    let step = |number: u32| {
        let (new, old) = (format!("d/n{number}"), format!("d/.wh.n{}", number - 1));
        vec![dir("d/"), file("d/a", format!("{number}")), file(old, ""), file(new, "new")]
    };
    vec![
        ("whiteouts", vec![vec![dir("d/"), file("d/.wh.a", ""), file("d/.wh.nothing", ""), file(".wh.p", "")]]),
        ("gone-and-back", vec![vec![file(".wh.d", "")], vec![dir("d/"), file("d/new", "new")]]),
        (
            "opaque",
            vec![vec![
                dir("d/"),
                file("d/before", ""),
                file("d/.wh..wh..opq", ""),
                file("d/behind", ""),
                dir("d/sub/"),
                file("d/sub/y", "y"),
            ]],
        ),
        (
            "opaque-twice",
            vec![vec![dir("d/"), file("d/.wh..wh..opq", "")], vec![dir("d/"), file("d/.wh..wh..opq", "")]],
        ),
        ("directories-of-others", vec![vec![dir("f/"), file("f/in", "in"), dir("s/"), file("s/in", ""), dir("p/")]]),
        ("others-of-directories", vec![vec![file("d", "a file"), symlink("f", "/etc/passwd"), fifo("null")]]),
        (
            "through-a-file",
            vec![vec![file("d/sub", "a file")], vec![dir("d/"), dir("d/sub/"), file("d/sub/again", "")]],
        ),
        (
            "links",
            vec![
                vec![dir("d/"), file("x", "x"), hard_link("y", "x"), hard_link("d/z", "x"), symlink("l", "nowhere")],
                vec![file("y", "of its own"), file(".wh.l", ""), file("h", "F")],
            ],
        ),
        ("link-to-a-link", vec![vec![symlink("l", "/etc/passwd"), hard_link("ll", "l")], vec![symlink("l", "other")]]),
        (
            "devices",
            vec![vec![
                char_device("null", (1, 5)),
                block_device("block", (7, 0)),
                block_device("d/a", (1, 3)),
                dir("d/"),
            ]],
        ),
        ("a-device-that-hides", vec![vec![char_device("f", (0, 0)), dir("d/"), char_device("d/sub", (0, 0))]]),
        ("names", vec![[&[dir("d/")][..], &named(b"")].concat()]),
        ("names-gone", vec![[&[dir("d/")][..], &named(b"")].concat(), [&[dir("d/")][..], &named(b".wh.")].concat()]),
        (
            "metadata",
            vec![vec![
                dir("d/").mode(0o1777),
                file("d/a", "a").owner(1, 2).mode(0o4755),
                file("d/b", "b").record("SCHILY.xattr.user.key", "other"),
                symlink("s", "d").mtime(5),
                file("f", "F"),
            ]],
        ),
        ("a-long-chain", (1..30).map(step).collect()),
        ("deep", vec![vec![file([&b"d/deep/"[..], &b"d/".repeat(200), b"file"].concat(), "deep")], vec![dir("d/")]]),
    ]
}

type Seen = BTreeMap<Vec<u8>, TreeEntry>;

/// What the kernel shows of an image's layers.
fn seen(root: &Path, image: &str, since: i64) -> Seen {
    let format = "{{.GraphDriver.Data.UpperDir}}:{{.GraphDriver.Data.LowerDir}}";
    let paths = printed_by_layerfs(root, &["image", "inspect", "-f", format, image]);
    let paths = String::from_utf8(paths).unwrap();
    let paths = paths.trim().split(':').filter(|path| path.starts_with('/'));
    // Short ones: all of them have to fit into a page.
    let short = testkit::scratch();
    let link = |(number, path): (usize, &str)| -> PathBuf {
        let link = short.path().join(number.to_string());
        std::os::unix::fs::symlink(path, &link).unwrap();
        link
    };
    let mounted = Mounted::overlay(&paths.enumerate().map(link).collect::<Vec<_>>());
    let mut names: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let inode = |path: &[u8]| {
        let meta = std::fs::symlink_metadata(mounted.path().join(OsStr::from_bytes(path))).unwrap();
        (meta.dev(), meta.ino())
    };
    let mut tree = testkit::lasting_walk(mounted.path(), since);
    tree.retain(|entry| entry.path != b".");
    tree.iter().for_each(|entry| *names.entry(inode(&entry.path)).or_default() += 1);
    // The names that can be seen: those that a layer above hides count for the file system.
    tree.iter_mut().filter(|entry| entry.kind != 'd').for_each(|entry| entry.links = names[&inode(&entry.path)]);
    tree.into_iter().map(|entry| (entry.path.clone(), entry)).collect()
}

/// The differences of two trees: what happened to a name, and in what it differs.
fn expected(before: &Seen, after: &Seen) -> BTreeSet<(Vec<u8>, String)> {
    let paths: BTreeSet<&Vec<u8>> = before.keys().chain(after.keys()).collect();
    let line = |path: &Vec<u8>| {
        let said = match (before.get(path), after.get(path)) {
            (None, _) => "added".to_owned(),
            (Some(_), None) => {
                // What is in a directory that is gone is not listed.
                let parent = path.iter().rposition(|&byte| byte == b'/').map(|end| &path[..end]);
                let listed = parent.is_none_or(|parent| after.get(parent).is_some_and(|parent| parent.kind == 'd'));
                return listed.then(|| (path.clone(), "deleted".to_owned()));
            }
            (Some(one), Some(other)) => {
                let what = if one.kind == other.kind {
                    vec![
                        ("content", one.data != other.data),
                        ("size", one.kind == 'f' && one.size != other.size),
                        ("target", one.target != other.target),
                        ("device", one.device != other.device),
                    ]
                } else {
                    vec![("type", true)]
                };
                let rest = [
                    ("mode", one.mode != other.mode),
                    ("owner", one.owner != other.owner),
                    ("mtime", one.mtime != other.mtime),
                    ("xattrs", one.xattrs != other.xattrs),
                ];
                let what: Vec<&str> =
                    what.into_iter().chain(rest).filter(|(_, differs)| *differs).map(|(what, _)| what).collect();
                (!what.is_empty()).then(|| format!("changed {}", what.join(",")))?
            }
        };
        Some((path.clone(), said))
    };
    paths.into_iter().filter_map(line).collect()
}

/// What `image diff` says.
fn said(root: &Path, before: &str, after: &str) -> BTreeSet<(Vec<u8>, String)> {
    let text = String::from_utf8(printed_by_layerfs(root, &["image", "diff", "--json", before, after])).unwrap();
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let path = match line["path_base64"].as_str() {
            Some(bytes) => base64::engine::general_purpose::STANDARD.decode(bytes).unwrap(),
            None => line["path"].as_str().unwrap().as_bytes()[1..].to_vec(),
        };
        let what: Vec<&str> = line["what"].as_array().unwrap().iter().map(|what| what.as_str().unwrap()).collect();
        let kind = line["kind"].as_str().unwrap();
        (path, if what.is_empty() { kind.to_owned() } else { format!("{kind} {}", what.join(",")) })
    };
    text.lines().map(line).collect()
}

fn compare(title: &str, expected: &BTreeSet<(Vec<u8>, String)>, said: &BTreeSet<(Vec<u8>, String)>) -> Vec<String> {
    let line = |way: &str, (path, what): &(Vec<u8>, String)| format!("{title}: {way}: {} {what}", path.escape_ascii());
    let missing = expected.difference(said).map(|one| line("not said", one));
    missing.chain(said.difference(expected).map(|one| line("said", one))).collect()
}

#[test]
fn root_diff_and_flatten_are_what_the_kernel_shows() {
    if !testkit::is_root() {
        return;
    }
    let since = testkit::now();
    let dir = testkit::scratch();
    let (root, archive) = (dir.path().join("root"), dir.path().join("archive.tar"));
    let bottom = tar(&base());
    let import = |name: &str, layers: &[Vec<u8>]| {
        std::fs::write(&archive, DockerArchive::new(name, layers).build()).unwrap();
        testkit::import(&archive, &root);
    };
    import("base:1", std::slice::from_ref(&bottom));
    let base = seen(&root, "base:1", since);
    let mut report = Vec::new();
    for (title, above) in images() {
        let image = format!("{title}:1");
        let layers: Vec<Vec<u8>> = [bottom.clone()].into_iter().chain(above.iter().map(tar)).collect();
        import(&image, &layers);
        let shown = seen(&root, &image, since);
        report.extend(compare(title, &expected(&base, &shown), &said(&root, "base:1", &image)));
        report.extend(compare(&format!("{title}, back"), &expected(&shown, &base), &said(&root, &image, "base:1")));
        for (to, from) in [("whole:1", &[][..]), ("upper:1", &["--from", "base:1"])] {
            made_by_layerfs(&root, &[&["image", "flatten", &image, "-t", to], from].concat());
            let mut flat = seen(&root, to, since);
            // Directories that no layer has an entry for have no time.
            for (path, entry) in &mut flat {
                entry.mtime = entry.mtime.filter(|_| shown.get(path).is_none_or(|entry| entry.mtime.is_some()));
            }
            let [want, have] = [&shown, &flat].map(|tree| tree.values().cloned().collect::<Vec<_>>());
            let changes = testkit::tree_changes(&want, &have);
            report.extend(changes.into_iter().map(|line| format!("{title}, flattened to {to}: {line}")));
            report.extend(compare(&format!("{title}, {to}"), &BTreeSet::new(), &said(&root, &image, to)));
        }
        // A terminal gets nothing but text.
        for how in [&[][..], &["--stat"]].into_iter().filter(|_| title.starts_with("names")) {
            let text = printed_by_layerfs(&root, &[&["image", "diff", "base:1", &image], how].concat());
            let text = String::from_utf8(text).unwrap();
            if text.chars().any(|char| char != '\n' && (char.is_control() || char == '\u{202e}')) {
                report.push(format!("{title}: {how:?} prints {text:?}"));
            }
        }
    }
    testkit::assert_none("layers", &report);
}
