//! Twice the layers are at most 2.2 times the work, also where layers lie deep and none of them is sound.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use layerfs::{ChainId, DiffId, Digest};
use snapshot::catalog::Damage;
use snapshot::view::{Needs, View};
use testkit::cachegrind::{has_valgrind, instructions};

/// Says to [`work`] what to read: how the chain is damaged, a colon and the directory of its root.
const WORK: &str = "LAYERFS_WORK";

/// How much more work twice the layers may be.
const MOST: f64 = 2.2;

/// What is wrong with a chain.
const DAMAGE: [&str; 3] = ["base", "all", "names"];

/// Writes a root with one chain of `depth` layers, of which none can be mounted: the directory of the base is missing,
/// or the directories of all layers are, or all layers are there under wrong chain ids.
fn write_chain(root: &Path, depth: usize, damage: &str) {
    let records = root.join("image/overlay2/layerdb/sha256");
    fs::create_dir_all(&records).unwrap();
    fs::create_dir_all(root.join("overlay2/l")).unwrap();
    let mut parent = None;
    for number in 0..depth {
        let diff_id = DiffId(Digest::hash(format!("layer {number}").as_bytes()));
        let chain_id = if damage == "names" { ChainId(diff_id.0) } else { ChainId::next(parent, diff_id) };
        let id = Digest::hash(format!("directory {number}").as_bytes()).hex();
        let record = records.join(chain_id.0.hex());
        fs::create_dir(&record).unwrap();
        fs::write(record.join("diff"), diff_id.to_string()).unwrap();
        fs::write(record.join("size"), "1000").unwrap();
        fs::write(record.join("cache-id"), &id).unwrap();
        fs::write(record.join("tar-split.json.gz"), "not read").unwrap();
        if let Some(parent) = parent {
            fs::write(record.join("parent"), ChainId::to_string(&parent)).unwrap();
        }
        parent = Some(chain_id);
        if damage == "all" || (damage == "base" && number == 0) {
            continue;
        }
        let (dir, link) = (root.join("overlay2").join(&id), id[..26].to_uppercase());
        fs::create_dir_all(dir.join("diff")).unwrap();
        fs::write(dir.join("link"), &link).unwrap();
        symlink(format!("../{id}/diff"), root.join("overlay2/l").join(link)).unwrap();
    }
}

#[test]
fn deep_damage_costs_what_its_layers_cost() {
    const DEPTH: usize = 300;
    if !has_valgrind() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let nothing = instructions("work", WORK, "");
    let mut report = Vec::new();
    for damage in DAMAGE {
        let count = |depth: usize| {
            let root = dir.path().join(format!("{damage}-{depth}"));
            write_chain(&root, depth, damage);
            instructions("work", WORK, &format!("{damage}:{}", root.display())).saturating_sub(nothing) as f64
        };
        let (once, twice) = (count(DEPTH), count(2 * DEPTH));
        eprintln!(
            "{damage}: {once} instructions for {DEPTH} layers, {:.2} times as many for twice as many",
            twice / once
        );
        if twice > once * MOST {
            report.push(format!("{damage}: {once} instructions for {DEPTH} layers, {twice} for twice as many"));
        }
    }
    assert!(report.is_empty(), "{}", report.join("\n"));
}

/// The work that [`instructions`] counts. If the variable is not set, reads small samples.
#[test]
fn work() {
    let read = |root: &Path| {
        let view = View::read(root, None, Needs::ALL).unwrap();
        let codes: Vec<_> = view.damage().iter().map(Damage::code).collect();
        (codes, snapshot::check::records(&view).unwrap().findings.len())
    };
    let Ok(asked) = std::env::var(WORK) else {
        let dir = tempfile::tempdir().unwrap();
        for damage in DAMAGE {
            let root = dir.path().join(damage);
            write_chain(&root, 200, damage);
            let (codes, findings) = read(&root);
            assert!(codes.len() >= 200 && findings > 0, "{damage}: {codes:?}, {findings} findings");
            // overlay2 stacks a layer on 128 others.
            let deep = codes.iter().filter(|code| **code == "layer-too-deep").count();
            assert_eq!(deep, 200 - 129, "{damage}");
        }
        return;
    };
    if let Some((_, root)) = asked.split_once(':') {
        drop(read(Path::new(root)));
    }
}
