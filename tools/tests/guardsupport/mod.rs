//! For tests of the guard: directories made from names, and what an import and its dry run make of them.

use std::ffi::OsStr;
use std::path::Path;

use testkit::run::{Input, Ran, layer_unpack, run};
use testkit::{TreeState, golden};

pub(crate) const ARCHIVE: &str = "busybox-20.10.tar";

/// Makes files and directories: a name with `/` at its end is a directory, `a -> b` a symlink, all others are files.
pub(crate) fn plant(at: &Path, names: &[&str]) {
    for name in names {
        if let Some((link, target)) = name.split_once(" -> ") {
            let link = at.join(link);
            std::fs::create_dir_all(link.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(target, link).unwrap();
        } else if name.ends_with('/') {
            std::fs::create_dir_all(at.join(name)).unwrap();
        } else {
            let file = at.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, name).unwrap();
        }
    }
}

/// What both a dry run and an import make of a root, each on a copy of nothing: the root itself is not changed by either.
pub(crate) fn attempt(root: &OsStr, options: &[&str], dry: bool) -> Ran {
    let archive = golden(ARCHIVE);
    let mut arguments = vec![archive.as_os_str(), OsStr::new("--no-sync"), OsStr::new("--root"), root];
    arguments.extend(options.iter().map(OsStr::new));
    if dry {
        arguments.push(OsStr::new("--dry-run"));
    }
    run(layer_unpack(&arguments), Input::Nothing)
}

/// What is wrong if a root should have been refused with this word, by both, in the same words, and left as it is.
pub(crate) fn refused(title: &str, watched: &Path, root: &OsStr, word: &str) -> Vec<String> {
    refused_with(&[], title, watched, root, word)
}

/// The same, with these options.
pub(crate) fn refused_with(options: &[&str], title: &str, watched: &Path, root: &OsStr, word: &str) -> Vec<String> {
    let before = TreeState::read(watched);
    let (dry, real) = (attempt(root, options, true), attempt(root, options, false));
    let mut report = real.complaints(&["is not written to", word]);
    if (dry.code, &dry.stderr) != (real.code, &real.stderr) {
        report.push(format!("a dry run says something else: {:?} {}", dry.code, dry.stderr));
    }
    report.extend(before.changes(&TreeState::read(watched)));
    report.into_iter().map(|line| format!("{title}: {line}")).collect()
}

/// What is wrong if a root should be taken, which is said to be new or is not.
pub(crate) fn taken(title: &str, root: &OsStr, options: &[&str], new: bool) -> Vec<String> {
    let mut report = Vec::new();
    for dry in [true, false] {
        let ran = attempt(root, options, dry);
        if ran.code != Some(0) || ran.stderr.contains("new data-root") != new {
            report.push(format!("{title}, dry run {dry}: {:?} {}", ran.code, ran.stderr));
        }
    }
    if !Path::new(root).join("image/overlay2/repositories.json").exists() {
        report.push(format!("{title}: no image was stored"));
    }
    report
}

pub(crate) const DATA_ROOT: [&str; 4] =
    ["image/overlay2/layerdb/sha256/", "image/overlay2/imagedb/content/sha256/", "overlay2/l/", "volumes/metadata.db"];
