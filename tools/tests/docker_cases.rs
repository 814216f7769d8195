//! dockerd replays our journals of all layer cases: odd headers, names and orders, every kind of entry.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::io::Read;

use layerfs::Digest;
use testkit::archive::{self, ArchiveImage};
use testkit::cases::{Case, CaseOutcome};
use testkit::dockerd::Dockerd;
use testkit::saved;

/// Cases that dockerd 20.10 imports and we refuse, as moby HEAD does.
const REFUSED: &[(u64, &str)] = &[
    (87, "`../`"),
    (88, "`../`"),
    (89, "`../`"),
    (91, "`../`"),
    (105, "a hard link target with `../`"),
    (142, "a device number beyond 32 bits"),
];

/// The case as the only layer of an image.
fn image(case: &Case) -> ArchiveImage {
    let mut tar = Vec::new();
    let decoded =
        layerfs::compress::Decompressor::new(case.archive.as_slice()).and_then(|mut it| it.read_to_end(&mut tar));
    // Where it cannot be decoded, no id is right.
    let diff_id = decoded.map_or(Digest::hash(&case.archive), |_| Digest::hash(&tar));
    ArchiveImage {
        tag: format!("case/{:03}:1", case.number),
        layers: vec![case.archive.clone()],
        diff_ids: vec![diff_id],
        comment: case.title.clone(),
    }
}

#[test]
fn docker_saves_layer_cases() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let file = dir.path().join("case.tar");
    let mut report = Vec::new();
    let mut imported = Vec::new();
    for case in testkit::cases::load() {
        let image = image(&case);
        archive::write(&file, &[image]);
        let output = testkit::layer_unpack(&file, &root);
        let dockers = matches!(case.outcome("docker_20_10_24_import"), Some(CaseOutcome::Accepted { .. }));
        let expected = dockers && !REFUSED.iter().any(|(number, _)| *number == case.number);
        match output.status.code() {
            Some(0) => imported.push(case),
            Some(1) if !expected => {}
            _ => report.push(format!("{} {}: {}", case.number, case.title, output.stderr.escape_ascii())),
        }
    }
    let daemon = Dockerd::start(&root);
    assert_eq!(daemon.images().len(), imported.len());
    for case in &imported {
        let tag = image(case).tag;
        let output = daemon.docker(&["save", "-o", file.to_str().unwrap(), &tag]);
        let failed = || (1, vec![String::from_utf8_lossy(&output.stderr).into_owned()]);
        let found = if output.status.success() { saved::check_layers(&file) } else { failed() };
        if found != (1, Vec::new()) {
            report.push(format!("{} {}: {found:?}", case.number, case.title));
        }
    }
    testkit::assert_none("layer cases", &report);

    // The same again in one archive: nothing is missing, so that nothing is added.
    let before = testkit::listing(&root);
    archive::write(&file, &imported.iter().map(image).collect::<Vec<_>>());
    assert_eq!(daemon.load(&file).lines().count(), imported.len());
    testkit::assert_none("loaded again", &testkit::changes(&before, &testkit::listing(&root)));
    daemon.stop();
    assert_eq!(testkit::import(&file, &root).lines().count(), imported.len());
    testkit::assert_none("imported again", &testkit::changes(&before, &testkit::listing(&root)));
}
