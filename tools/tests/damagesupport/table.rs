//! The situations of a damaged store: what is done to it, what dockerd makes of it, and what must be said about it.

use std::fs;
use std::path::Path;

use super::small::SmallStore;

/// What dockerd makes of the image that is damaged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum WithDockerd {
    /// It does not list it any more.
    Loses,
    /// It loses the base as well.
    LosesBoth,
    /// It lists it; something that is done with it later fails.
    Lists,
    /// It lists it and all goes well: there need not be a word on it.
    Copes,
    /// It lists it without its tag.
    Untags,
    /// It does not start.
    Refuses,
}

/// A situation. Paths and words may have placeholders, see [`SmallStore::named`].
pub(crate) struct Situation {
    pub(crate) name: &'static str,
    pub(crate) damage: fn(&SmallStore),
    pub(crate) dockerd: WithDockerd,
    /// Each of them, or the twelve digits that it begins with, must be in what is said.
    pub(crate) says: &'static [&'static str],
    /// A path to ask for its owner, and words in the answer.
    pub(crate) owner: Option<(&'static str, &'static str)>,
}

const fn situation(
    name: &'static str,
    damage: fn(&SmallStore),
    dockerd: WithDockerd,
    says: &'static [&'static str],
    owner: Option<(&'static str, &'static str)>,
) -> Situation {
    Situation { name, damage, dockerd, says, owner }
}

use WithDockerd::{Copes, Lists, Loses, LosesBoth, Refuses, Untags};

pub(crate) const SITUATIONS: &[Situation] = &[
    situation("size missing", |s| remove(s, "LAYERDB/TOP/size"), Loses, &["size"], None),
    situation("size empty", |s| write(s, "LAYERDB/TOP/size", ""), Loses, &["size"], None),
    situation("size with a newline", |s| write(s, "LAYERDB/TOP/size", "6\n"), Loses, &["size"], None),
    situation("size no number", |s| write(s, "LAYERDB/TOP/size", "\u{1b}[31mx"), Loses, &["size"], None),
    situation("diff missing", |s| remove(s, "LAYERDB/TOP/diff"), Loses, &["diff"], None),
    situation("diff empty", |s| write(s, "LAYERDB/TOP/diff", ""), Loses, &["diff"], None),
    situation("diff no digest", |s| write(s, "LAYERDB/TOP/diff", "md5:0"), Loses, &["diff"], None),
    situation("cache-id missing", |s| remove(s, "LAYERDB/TOP/cache-id"), Loses, &["cache-id"], None),
    situation("cache-id empty", |s| write(s, "LAYERDB/TOP/cache-id", ""), Loses, &["cache-id"], None),
    situation("parent empty", |s| write(s, "LAYERDB/TOP/parent", ""), Loses, &["parent"], None),
    situation("diff cut short", |s| cut(s, "LAYERDB/TOP/diff"), Loses, &["diff"], None),
    situation("parent cut short", |s| cut(s, "LAYERDB/TOP/parent"), Loses, &["parent"], None),
    situation(
        "parents in a circle",
        |s| write(s, "LAYERDB/LOWEST/parent", &format!("sha256:{}", s.top.chain)),
        Refuses,
        &["circle"],
        None,
    ),
    situation(
        "directory of a container",
        |s| write(s, "LAYERDB/TOP/cache-id", &s.mount),
        Lists,
        &["TOP"],
        Some(("overlay2/MOUNT", "container")),
    ),
    situation("parent missing", |s| remove(s, "LAYERDB/TOP/parent"), Lists, &["parent"], None),
    situation("lowest size missing", |s| remove(s, "LAYERDB/LOWEST/size"), LosesBoth, &["size"], None),
    situation("lowest record missing", |s| remove_all(s, "LAYERDB/LOWEST"), LosesBoth, &["LOWEST"], None),
    situation(
        "record of no content",
        |s| {
            remove_all(s, "LAYERDB/TOP");
            make(s, "LAYERDB/TOP");
        },
        Loses,
        &["TOP"],
        None,
    ),
    situation("journal missing", |s| remove(s, "LAYERDB/TOP/tar-split.json.gz"), Lists, &["tar-split"], None),
    situation("journal empty", |s| write(s, "LAYERDB/TOP/tar-split.json.gz", ""), Lists, &["tar-split"], None),
    situation("journal no gzip", |s| write(s, "LAYERDB/TOP/tar-split.json.gz", "no"), Copes, &[], None),
    situation(
        "record under a wrong name",
        |s| rename(s, "LAYERDB/TOP", &format!("LAYERDB/{}", "a".repeat(64))),
        Loses,
        &["TOP"],
        None,
    ),
    situation("layer directory missing", |s| remove_all(s, "overlay2/TOP-CACHE"), Lists, &["TOP-CACHE"], None),
    situation("link in l/ missing", |s| remove(s, "overlay2/l/LOWEST-LINK"), Lists, &["LOWEST-LINK"], None),
    situation("link empty", |s| write(s, "overlay2/TOP-CACHE/link", ""), Lists, &["link"], None),
    situation("lower empty", |s| write(s, "overlay2/TOP-CACHE/lower", ""), Lists, &["lower"], None),
    situation("work missing", |s| remove_all(s, "overlay2/TOP-CACHE/work"), Copes, &[], None),
    situation("committed missing", |s| remove(s, "overlay2/LOWEST-CACHE/committed"), Copes, &[], None),
    situation("config of another hash", |s| write(s, "IMAGES/CHILD", "{}"), Loses, &["CHILD"], None),
    situation("config empty", |s| write(s, "IMAGES/CHILD", ""), Loses, &["CHILD"], None),
    situation("config missing", |s| remove(s, "IMAGES/CHILD"), Loses, &["damage/child:1"], None),
    situation(
        "names empty",
        |s| write(s, "image/overlay2/repositories.json", ""),
        Refuses,
        &["repositories.json"],
        None,
    ),
    situation(
        "names truncated",
        |s| write(s, "image/overlay2/repositories.json", "{\"Repositories\":{\"a"),
        Refuses,
        &["repositories.json"],
        None,
    ),
    situation(
        "names garbage",
        |s| write(s, "image/overlay2/repositories.json", "no"),
        Refuses,
        &["repositories.json"],
        None,
    ),
    situation("names missing", |s| remove(s, "image/overlay2/repositories.json"), Untags, &["CHILD"], None),
    situation("parent image unknown", |s| parent_image(s, &format!("sha256:{}", "b".repeat(64))), Copes, &[], None),
    situation("parent image garbled", |s| parent_image(s, "no"), Copes, &[], None),
    situation(
        "mount without container",
        |s| remove_all(s, "containers/CONTAINER"),
        Copes,
        &["MOUNT"],
        Some(("overlay2/MOUNT", "container")),
    ),
    situation("empty mount without container", |s| make(s, &format!("MOUNTS/{}", "c".repeat(64))), Copes, &[], None),
    situation(
        "container of an empty mount",
        |s| {
            for file in ["mount-id", "init-id", "parent"] {
                remove(s, &format!("MOUNTS/CONTAINER/{file}"));
            }
        },
        Copes,
        &["CONTAINER"],
        Some(("overlay2/MOUNT", "container")),
    ),
    situation("container without mount", |s| remove_all(s, "MOUNTS/CONTAINER"), Copes, &["CONTAINER"], None),
    situation("container of no driver's", |s| write(s, "MOUNTS/CONTAINER/mount-id", ""), Copes, &["CONTAINER"], None),
    situation("init-id missing", |s| remove(s, "MOUNTS/CONTAINER/init-id"), Copes, &[], None),
    situation("mount's parent missing", |s| remove(s, "MOUNTS/CONTAINER/parent"), Copes, &[], None),
    situation("container's directory missing", |s| remove_all(s, "overlay2/MOUNT"), Copes, &["CONTAINER"], None),
    situation(
        "container's config empty",
        |s| write(s, "containers/CONTAINER/config.v2.json", ""),
        Copes,
        &["CONTAINER"],
        None,
    ),
    situation(
        "directory of nobody",
        |s| make(s, "overlay2/0123456789012345678901234567890123456789012345678901234567890123/diff"),
        Copes,
        &["0123456789012345678901234567890123456789012345678901234567890123"],
        Some(("overlay2/0123456789012345678901234567890123456789012345678901234567890123", "orphan")),
    ),
    situation("write-set left", |s| make(s, "image/overlay2/layerdb/tmp/write-set-1"), Copes, &["write-set-1"], None),
    situation("removal not finished", |s| make(s, "LAYERDB/TOP-1234-removing"), Copes, &["-removing"], None),
    situation(
        "layers without image",
        |s| {
            remove(s, "IMAGES/CHILD");
            remove_all(s, "containers/CONTAINER");
            remove_all(s, "MOUNTS/CONTAINER");
            write(s, "image/overlay2/repositories.json", "{\"Repositories\":{}}");
        },
        Untags,
        &["TOP-CACHE"],
        Some(("overlay2/TOP-CACHE", "no image")),
    ),
    situation(
        "stale link",
        |s| std::os::unix::fs::symlink("../gone/diff", s.at("overlay2/l/STALESTALESTALESTALESTALES")).unwrap(),
        Copes,
        &["STALESTALESTALESTALESTALES"],
        Some(("overlay2/l/STALESTALESTALESTALESTALES", "orphan")),
    ),
    situation("temporary file", |s| write(s, "image/overlay2/.tmp-repositories.json1", "x"), Copes, &[".tmp-"], None),
    situation(
        "a file for what a container has written",
        |s| file_for(s, "overlay2/MOUNT/diff"),
        Lists,
        &["a file where a directory belongs"],
        None,
    ),
    situation(
        "a file for a layer's directory",
        |s| file_for(s, "overlay2/TOP-CACHE"),
        Lists,
        &["a file where a directory belongs"],
        Some(("overlay2/TOP-CACHE", "layer")),
    ),
    situation(
        "a file for a layer's content",
        |s| file_for(s, "overlay2/TOP-CACHE/diff"),
        Lists,
        &["a file where a directory belongs"],
        None,
    ),
    situation("a directory for link", |s| directory_for(s, "overlay2/TOP-CACHE/link"), Lists, &["link"], None),
    situation("a directory for lower", |s| directory_for(s, "overlay2/TOP-CACHE/lower"), Lists, &["lower"], None),
    situation("a file for work", |s| file_for(s, "overlay2/TOP-CACHE/work"), Copes, &[], None),
    situation("a directory for size", |s| directory_for(s, "LAYERDB/TOP/size"), Loses, &["size"], None),
    situation("lower cut short", |s| cut(s, "overlay2/TOP-CACHE/lower"), Lists, &["lower"], None),
    situation("time of a tag garbled", |s| metadata(s, "lastUpdated", "no"), Copes, &[], None),
    situation(
        "container's host config empty",
        |s| write(s, "containers/CONTAINER/hostconfig.json", ""),
        Copes,
        &["CONTAINER"],
        None,
    ),
    situation(
        "container's directory under another name",
        |s| rename(s, "containers/CONTAINER", &format!("containers/{}", "e".repeat(64))),
        Copes,
        &["CONTAINER"],
        None,
    ),
    situation("mount's parent garbled", |s| write(s, "MOUNTS/CONTAINER/parent", "no"), Copes, &["CONTAINER"], None),
    situation("init layer missing", |s| remove_all(s, "overlay2/MOUNT-init"), Copes, &["CONTAINER"], None),
    situation("container's link missing", |s| remove(s, "overlay2/MOUNT/link"), Copes, &["CONTAINER"], None),
    situation(
        "a volume's options garbled",
        |s| {
            make(s, "volumes/kept/_data");
            write(s, "volumes/kept/opts.json", "{");
        },
        Refuses,
        &["opts.json"],
        None,
    ),
];

fn remove(store: &SmallStore, path: &str) {
    fs::remove_file(store.at(path)).unwrap();
}

fn remove_all(store: &SmallStore, path: &str) {
    fs::remove_dir_all(store.at(path)).unwrap();
}

/// A file in the place of a directory.
fn file_for(store: &SmallStore, path: &str) {
    remove_all(store, path);
    write(store, path, "");
}

/// An empty directory in the place of a file.
fn directory_for(store: &SmallStore, path: &str) {
    remove(store, path);
    make(store, path);
}

fn rename(store: &SmallStore, from: &str, to: &str) {
    fs::rename(store.at(from), store.at(to)).unwrap();
}

fn make(store: &SmallStore, path: &str) {
    fs::create_dir_all(store.at(path)).unwrap();
}

fn write(store: &SmallStore, path: &str, content: &str) {
    let path = store.at(path);
    let parent: &Path = path.parent().unwrap();
    assert!(parent.is_dir(), "{}", parent.display());
    fs::write(path, content).unwrap();
}

fn cut(store: &SmallStore, path: &str) {
    let whole = fs::read_to_string(store.at(path)).unwrap();
    write(store, path, &whole[..whole.len() - 7]);
}

fn parent_image(store: &SmallStore, id: &str) {
    metadata(store, "parent", id);
}

/// What is kept of the image besides its config.
fn metadata(store: &SmallStore, name: &str, text: &str) {
    let dir = store.at("image/overlay2/imagedb/metadata/sha256/CHILD");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(name), text).unwrap();
}
