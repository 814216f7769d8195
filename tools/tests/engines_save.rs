//! Docker 26.1 and 28.5 load what `layerfs save` writes, however its layers are compressed, and take a delta where they have its base.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::Path;

use testkit::dockerd::Dockerd;
use testkit::engines;

const IMAGE: &str = "layerfs-test/layers:1";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn engines_load_what_was_saved() {
    let Some((all, _turn)) = engines::engines() else { return };
    let dir = testkit::scratch();
    let ours = dir.path().join("ours");
    for golden in ["layers-20.10.tar", "busybox-20.10.tar"] {
        testkit::import(&testkit::golden(golden), &ours);
    }
    let save = |name: &str, how: &[&str]| {
        let file = dir.path().join(name);
        testkit::layerfs(&[&["--root", text(&ours), "save", "-q", "-o", text(&file)], how].concat());
        file
    };
    // What is no more than an OCI layout they do not load into an overlay2 store; the others are both.
    let files =
        ["none", "gzip=1", "gzip=9", "zstd"].map(|packed| (save(packed, &[IMAGE, "--compress", packed]), packed));
    // Both images begin with the same layer or with none; what is left out is what the receiver has.
    testkit::layerfs(&[
        "--root",
        text(&ours),
        "image",
        "flatten",
        IMAGE,
        "-t",
        "flat:1",
        "--from",
        &first_layer(&ours),
    ]);
    let delta = save("delta", &["flat:1", "--have", IMAGE]);
    let id = |image: &str| testkit::layerfs(&["--root", text(&ours), "image", "inspect", "-f", "{{.Id}}", image]);
    let wrong = testkit::two_at_a_time(&all, |engine| {
        let mut wrong = Vec::new();
        let root = dir.path().join(engine.name);
        std::fs::create_dir(&root).unwrap();
        let daemon = Dockerd::start_engine(engine, &root, &["--storage-driver=overlay2"]);
        let refused = daemon.docker(&["load", "-i", text(&delta)]);
        if refused.status.success() || !daemon.images().is_empty() {
            wrong.push(format!("{}: takes a delta without its base", engine.name));
        }
        for (file, how) in &files {
            let loaded = daemon.docker(&["load", "-i", text(file)]);
            let found = daemon.docker(&["image", "inspect", "-f", "{{.Id}}", IMAGE]);
            if !loaded.status.success() || String::from_utf8_lossy(&found.stdout) != id(IMAGE) {
                wrong.push(format!("{}: {how}: {loaded:?}, {found:?}", engine.name));
            }
            daemon.docker(&["rmi", "-f", IMAGE]);
        }
        daemon.load(&files[0].0);
        let loaded = daemon.docker(&["load", "-i", text(&delta)]);
        let found = daemon.docker(&["image", "inspect", "-f", "{{.Id}}", "flat:1"]);
        if !loaded.status.success() || String::from_utf8_lossy(&found.stdout) != id("flat:1") {
            wrong.push(format!("{}: the delta: {loaded:?}, {found:?}", engine.name));
        }
        daemon.remove_everything();
        daemon.stop();
        wrong
    });
    testkit::assert_none("newer engines", &wrong.concat());
}

/// The diff id of the first layer of the image.
fn first_layer(root: &Path) -> String {
    let layers =
        testkit::layerfs(&["--root", text(root), "image", "inspect", "-f", "{{index .RootFS.Layers 0}}", IMAGE]);
    layers.trim().to_owned()
}
