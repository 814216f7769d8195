//! A plan of a repair finds what broken records have lost with at most 2.2 times the work for twice the records.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod linearsupport;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use layerfs::{ChainId, DiffId, Digest};
use linearsupport::{WORK, assert_straight, plan};
use tarsplit::crc64::Crc64;
use tarsplit::journal::{EntryWriter, gzip};

/// Which file the records have lost: of each upper layer, or of each base.
const LOST: [(bool, &str); 4] = [(true, "size"), (true, "parent"), (false, "cache-id"), (true, "cache-id")];

/// Writes a root without images, with `count` stacks of two layers, and takes a file away from the record of one of each two.
fn write(root: &Path, count: usize, (upper, lost): (bool, &str)) {
    fs::create_dir_all(root.join("overlay2/l")).unwrap();
    let images = root.join("image/overlay2");
    fs::create_dir_all(images.join("imagedb/content/sha256")).unwrap();
    fs::write(images.join("repositories.json"), r#"{"Repositories": {}}"#).unwrap();
    for number in 0..count {
        let base = write_layer(root, &format!("base {number}"), None, (!upper).then_some(lost));
        write_layer(root, &format!("upper {number}"), Some(base), upper.then_some(lost));
    }
}

/// Writes a layer with one file, on another layer and its short name. Returns its own.
fn write_layer(root: &Path, what: &str, below: Option<(ChainId, String)>, lost: Option<&str>) -> (ChainId, String) {
    let hex = |text: &str| Digest::hash(text.as_bytes()).hex();
    // What a journal makes is what is hashed; that it is a tar does not matter.
    let (header, body) = (format!("header of {what}"), format!("body of {what}"));
    let diff_id = DiffId(Digest::hash(format!("{header}{body}").as_bytes()));
    let parent = below.as_ref().map(|below| below.0);
    let chain_id = ChainId::next(parent, diff_id);
    let (id, link) = (hex(&format!("directory of {what}")), hex(&format!("link of {what}"))[..26].to_uppercase());
    let record = root.join("image/overlay2/layerdb/sha256").join(chain_id.0.hex());
    fs::create_dir_all(&record).unwrap();
    let mut files = vec![("diff", diff_id.to_string()), ("size", "1000".to_owned()), ("cache-id", id.clone())];
    files.extend(parent.map(|parent| ("parent", parent.to_string())));
    for (name, text) in files.into_iter().filter(|(name, _)| Some(*name) != lost) {
        fs::write(record.join(name), text).unwrap();
    }
    let mut crc = Crc64::default();
    crc.update(body.as_bytes());
    let mut journal = EntryWriter::new(gzip(Vec::new()));
    journal.literal(header.as_bytes()).unwrap();
    journal.file(b"file", body.len() as u64, Some(crc.finish())).unwrap();
    fs::write(record.join("tar-split.json.gz"), journal.finish().unwrap().finish().unwrap()).unwrap();
    let dir = root.join("overlay2").join(&id);
    fs::create_dir_all(dir.join("diff")).unwrap();
    fs::write(dir.join("diff/file"), body).unwrap();
    fs::write(dir.join("link"), &link).unwrap();
    symlink(format!("../{id}/diff"), root.join("overlay2/l").join(&link)).unwrap();
    if let Some((_, link)) = below {
        fs::write(dir.join("lower"), format!("l/{link}")).unwrap();
        fs::create_dir(dir.join("work")).unwrap();
    }
    (chain_id, link)
}

#[test]
fn what_records_have_lost_is_found_without_trying_everything() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let cases = LOST.map(|lost| {
        let prepare = move |many| {
            let root = at.join(format!("{}-{}-{many}", lost.0, lost.1));
            write(&root, many, lost);
            // Where the store is.
            root.display().to_string()
        };
        (format!("{lost:?}"), prepare)
    });
    assert_straight(200, cases);
}

/// This is what the plans do whose costs are counted above.
#[test]
fn what_records_have_lost_is_found() {
    const COUNT: usize = 20;
    for lost in LOST {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), COUNT, lost);
        let plan = plan(dir.path());
        assert!(plan.unmended.is_empty(), "{lost:?}: {:?}", plan.unmended);
        let steps: Vec<String> = plan.steps.iter().map(|step| step.mending.to_string()).collect();
        assert_eq!(steps.len(), COUNT, "{lost:?}: {steps:?}");
        assert!(steps.iter().all(|step| step.contains(lost.1)), "{lost:?}: {steps:?}");
    }
}

/// The work that [`Counter::instructions`] counts.
#[test]
fn work() {
    if let Some(root) = std::env::var(WORK).ok().filter(|root| !root.is_empty()) {
        drop(plan(Path::new(&root)));
    }
}
