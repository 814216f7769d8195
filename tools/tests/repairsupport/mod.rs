//! Shared by the tests of repairs: what is asked and said, and what a store holds.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use testkit::cases::TreeEntry;
use testkit::run::{Input, layer_unpack, run};
use testkit::store::StoreFiles;
use testkit::tree;

/// What a repair said.
pub(crate) struct Said {
    pub(crate) status: Option<i32>,
    pub(crate) report: Value,
    pub(crate) stderr: String,
}

/// Everything of a store but for the times of what is not a layer's content.
pub(crate) fn outline(root: &Path) -> Vec<TreeEntry> {
    let mut found = tree::walk(root);
    let parts = [&b"image"[..], b"overlay2", b"vfs", b"containers"];
    // What a repair keeps of a broken file.
    found.retain(|entry| !entry.path.windows(8).any(|part| part == b".broken-"));
    found.retain(|entry| parts.iter().any(|part| entry.path.starts_with(part)));
    for entry in &mut found {
        let overlay = entry.path.starts_with(b"overlay2/") && entry.path.windows(6).any(|part| part == b"/diff/");
        let content = overlay || entry.path.starts_with(b"vfs/dir/");
        // A whiteout has the time at which it was made.
        if !content || matches!(entry.kind, 'd' | 'c') {
            entry.mtime = None;
        }
    }
    found
}

pub(crate) fn command(root: &Path, sources: &[PathBuf], flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_layerfs"));
    command.arg("--root").arg(root).args(["system", "repair", "--json"]).args(flags);
    command.args(sources.iter().flat_map(|source| [OsString::from("--from"), source.into()]));
    command
}

/// Runs it to its end.
pub(crate) fn repair(root: &Path, sources: &[PathBuf], flags: &[&str]) -> Said {
    let output = command(root, sources, flags).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    Said { status: output.status.code(), report, stderr }
}

impl Said {
    pub(crate) fn count(&self, what: &str) -> usize {
        self.report[what].as_array().map_or(0, Vec::len)
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.status == Some(0) && self.count("steps") == 0 && self.count("unmended") == 0
    }
}

/// What `system check --deep` still calls damaged.
pub(crate) fn damage(root: &Path) -> Vec<String> {
    let mut check = Command::new(env!("CARGO_BIN_EXE_layerfs"));
    check.arg("--root").arg(root).args(["system", "check", "--deep", "--quiet", "--json"]);
    let output = check.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let findings = report["findings"].as_array().unwrap();
    let damage = findings.iter().filter(|finding| finding["severity"] != "note");
    damage.map(|finding| format!("system check finds {finding}")).collect()
}

impl Said {
    /// The stable names of what was done, or would be.
    pub(crate) fn repairs(&self) -> Vec<&str> {
        self.report["steps"].as_array().unwrap().iter().map(|step| step["repair"].as_str().unwrap()).collect()
    }
}

/// What is wrong with how `image-gc` collects what a check names, and what a check still finds.
pub(crate) fn collect(root: &Path) -> Vec<String> {
    let mut gc = Command::new(testkit::program("image-gc"));
    let collected = gc.arg("--root").arg(root).args(["--apply", "--min-age", "0s"]).output().unwrap();
    let mut report = Vec::new();
    if collected.status.code() != Some(0) {
        report.push(format!("image-gc: {}", String::from_utf8_lossy(&collected.stderr)));
    }
    let mut check = Command::new(testkit::program("layerfs"));
    let checked =
        check.arg("--root").arg(root).args(["system", "check", "--deep", "--quiet", "--json"]).output().unwrap();
    let found: Value = serde_json::from_slice(&checked.stdout).unwrap();
    report.extend(found["findings"].as_array().unwrap().iter().map(|finding| format!("still found: {finding}")));
    report
}

pub(crate) fn import(archive: &Path, root: &Path, flags: &[&str]) {
    let mut import = layer_unpack(&[archive.as_os_str(), "--root".as_ref(), root.as_os_str()]);
    import.args(flags);
    run(import, Input::Nothing).ok();
}

/// Without what differs although it says the same: compressed journals.
pub(crate) fn lasting(root: &Path) -> Vec<TreeEntry> {
    let mut found = outline(root);
    // As long as the names that they stand for.
    let mut drawn = Vec::new();
    for (chain, layer) in &StoreFiles::read(root).layers {
        let hex = chain.trim_start_matches("sha256:");
        drawn.push((layer.cache_id.clone(), hex.to_owned()));
        let link = fs::read_to_string(root.join("overlay2").join(&layer.cache_id).join("link"));
        drawn.extend(link.map(|link| (link, hex[..26].to_owned())));
    }
    found.retain(|entry| !entry.path.ends_with(b"tar-split.json.gz"));
    // Of an image whose parent was forgotten.
    found.retain(|entry| !entry.path.starts_with(b"image/overlay2/imagedb/metadata/sha256/"));
    found.iter_mut().for_each(|entry| by_chain(entry, &drawn));
    found
}

/// Names a layer's directory and link by its chain, as a repair that could not read a file may have replaced the whole layer.
fn by_chain(entry: &mut TreeEntry, drawn: &[(String, String)]) {
    let rename = |bytes: &mut Vec<u8>| {
        if let Ok(mut text) = String::from_utf8(bytes.clone()) {
            drawn.iter().for_each(|(name, lasting)| text = text.replace(name, lasting));
            *bytes = text.into_bytes();
        }
    };
    rename(&mut entry.path);
    entry.target.iter_mut().for_each(rename);
    if [&b"/cache-id"[..], b"/link", b"/lower"].iter().any(|end| entry.path.ends_with(end)) {
        entry.data.iter_mut().for_each(rename);
    }
}

pub(crate) fn archive() -> PathBuf {
    testkit::golden("busybox-20.10.tar")
}

pub(crate) fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}
