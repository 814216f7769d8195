//! vfs, Docker's simplest driver: dockerd starts on what we wrote with it, and we read what dockerd wrote with it.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use testkit::cases::{Case, CaseOutcome, TreeEntry};
use testkit::dockerd::Dockerd;
use testkit::{archive, saved, tree};

const VFS: &[&str] = &["--storage-driver=vfs"];

fn load(file: &Path, root: &Path) -> String {
    let (file, root) = (file.to_str().unwrap(), root.to_str().unwrap());
    let flags = ["--root", root, "--storage-driver", "vfs"];
    testkit::layerfs(&[&["image", "load", "-q", "-i", file, "--no-sync"][..], &flags].concat())
}

/// Of each layer of a root, what its record says, and everything that its directory shows.
fn layers(root: &Path) -> BTreeMap<String, (Vec<String>, Vec<TreeEntry>)> {
    let records = root.join("image/vfs/layerdb/sha256");
    let layer = |chain: PathBuf| {
        let text = |name: &str| std::fs::read_to_string(chain.join(name)).unwrap_or_default();
        let tree = tree::walk(&root.join("vfs/dir").join(text("cache-id")));
        let name = chain.file_name().unwrap().to_str().unwrap().to_owned();
        (name, (["diff", "size", "parent"].map(text).to_vec(), tree))
    };
    std::fs::read_dir(records).unwrap().map(|entry| layer(entry.unwrap().path())).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What dockerd 20.10 should have made of a member: it gives directories that no member describes the mode 0600 (0755 since
/// 24.0).
fn as_it_should_be(mut want: TreeEntry) -> TreeEntry {
    if want.kind == 'd' && want.mode == 0o600 {
        want.mode = 0o755;
    }
    want
}

/// Makes equal what may differ: dockerd 20.10 applies a member for the layer's root (not since 24.0), its copies of a layer
/// lose extended attributes and hard links of symlinks, and directories that no member describes have the time of unpacking.
fn allow(want: &TreeEntry, have: &mut TreeEntry) {
    if want.path == b"." {
        (have.mode, have.owner, have.mtime) = (want.mode, want.owner, want.mtime);
    }
    if want.kind == 'd' {
        have.mtime = want.mtime;
    }
    if want.kind == 'l' {
        have.links = want.links;
    }
    have.xattrs.retain(|name, _| want.xattrs.contains_key(name));
}

const GOLDENS: [&str; 2] = ["busybox-20.10.tar", "layers-20.10.tar"];

#[test]
fn dockerd_starts_on_it() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let (ours, dockers) = (testkit::empty_root(&dir, "ours"), testkit::empty_root(&dir, "dockers"));
    let daemon = Dockerd::start_with(&dockers, VFS);
    for golden in GOLDENS {
        let file = testkit::golden(golden);
        assert_eq!(load(&file, &ours), daemon.load(&file), "{golden}");
    }
    daemon.stop();
    let modes = |root: &Path| {
        ["vfs", "vfs/dir", "image/vfs", "image/vfs/layerdb"].map(|name| {
            use std::os::unix::fs::MetadataExt;
            let meta = std::fs::metadata(root.join(name)).unwrap();
            (name, format!("{:o}", meta.mode()), meta.uid(), meta.gid())
        })
    };
    assert_eq!(modes(&ours), modes(&dockers));
    let (found, expected) = (layers(&ours), layers(&dockers));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    assert!(found.len() > 4, "{}", found.len());
    let mut report = Vec::new();
    for (chain, (record, tree)) in &expected {
        let (own_record, own_tree) = &found[chain];
        if record != own_record {
            report.push(format!("{chain}: {own_record:?} instead of {record:?}"));
        }
        let tree: Vec<TreeEntry> = tree.iter().cloned().map(as_it_should_be).collect();
        let mut own_tree = own_tree.clone();
        for (want, have) in tree.iter().zip(&mut own_tree) {
            allow(want, have);
        }
        report.extend(tree::differences(&tree, &own_tree).into_iter().map(|line| format!("{chain}: {line}")));
    }
    testkit::assert_none("what dockerd itself would have made", &report);

    let daemon = Dockerd::start_with(&ours, VFS);
    assert_eq!(daemon.images().len(), GOLDENS.len());
    let said = daemon.ok(&["run", "--rm", "--network", "none", "layerfs-test/busybox:1", "echo", "it runs"]);
    assert_eq!(said, "it runs\n");
    let file = dir.path().join("saved.tar");
    saved::save(&daemon, &["layerfs-test/busybox:1"], &file);
    assert_eq!(saved::check_layers(&file).1, Vec::<String>::new());
    for id in daemon.images() {
        saved::save(&daemon, &[&id], &file);
        let (checked, wrong) = saved::check_layers(&file);
        assert!(checked > 0 && wrong.is_empty(), "{id}: {wrong:?}");
    }
    daemon.remove_everything();
    daemon.stop();
    assert_eq!(names(&ours.join("vfs/dir")), Vec::<String>::new());
    assert_eq!(names(&ours.join("image/vfs/layerdb/sha256")), Vec::<String>::new());
}

#[test]
fn a_pipe_and_a_compressed_file_do_as_well() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let (plain, piped, packed) =
        (testkit::empty_root(&dir, "plain"), testkit::empty_root(&dir, "piped"), testkit::empty_root(&dir, "packed"));
    let file = testkit::golden("layers-20.10.tar");
    load(&file, &plain);
    let mut cat = Command::new("cat").arg(&file).stdout(Stdio::piped()).spawn().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_layer-unpack"));
    command.args(["-", "--no-sync", "--storage-driver", "vfs", "--root"]).arg(&piped);
    testkit::succeeded("a pipe", command.stdin(cat.stdout.take().unwrap()).output().unwrap());
    assert!(cat.wait().unwrap().success());
    let gzip = dir.path().join("archive.tar.gz");
    let status = Command::new("gzip").arg("-c").arg(&file).stdout(File::create(&gzip).unwrap()).status();
    assert!(status.unwrap().success());
    load(&gzip, &packed);
    let expected = layers(&plain);
    for root in [&piped, &packed] {
        let found = layers(root);
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (chain, (record, tree)) in &expected {
            assert_eq!(record, &found[chain].0);
            // Directories that no member describes have the time of unpacking.
            let differs = |a: &TreeEntry, b: &TreeEntry| {
                (&a.path, a.kind, a.mode, &a.data, &a.target) != (&b.path, b.kind, b.mode, &b.data, &b.target)
            };
            let pairs = tree.iter().zip(&found[chain].1);
            assert_eq!(tree.len(), found[chain].1.len());
            assert!(pairs.filter(|(a, b)| differs(a, b)).count() == 0);
        }
        assert_eq!(names(&root.join("vfs")), ["dir"], "nothing else is left");
        assert_eq!(names(&root.join("vfs/dir")).len(), expected.len());
    }
    // What is there already is not unpacked again, and a root that holds vfs is written with it.
    let before = layers(&plain);
    testkit::import(&file, &plain);
    assert!(layers(&plain) == before);
    assert_eq!(names(&plain.join("vfs/dir")).len(), before.len());
    assert_eq!(names(&plain), ["image", "vfs"]);
}

/// Cases that dockerd 20.10 imports and we refuse, as moby HEAD does.
const REFUSED: &[u64] = &[87, 88, 89, 91, 105, 142];

/// On top of a layer that has something to lose.
fn image(case: &Case) -> archive::ArchiveImage {
    let mut tar = Vec::new();
    let decoded = layerfs::compress::Decompressor::new(case.archive.as_slice())
        .and_then(|mut decoder| std::io::Read::read_to_end(&mut decoder, &mut tar));
    let diff_id = layerfs::Digest::hash(if decoded.is_ok() { &tar } else { &case.archive });
    let (base, base_id) = archive::layer("base", "of all");
    archive::ArchiveImage {
        tag: format!("case/{:03}:1", case.number),
        layers: vec![base, case.archive.clone()],
        diff_ids: vec![base_id, diff_id],
        comment: case.title.clone(),
    }
}

/// dockerd replays our journals from merged trees: what a later layer replaced is not asked for.
#[test]
fn dockerd_saves_the_layer_cases() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let file = dir.path().join("case.tar");
    let (mut report, mut imported) = (Vec::new(), Vec::new());
    for case in testkit::cases::load() {
        archive::write(&file, &[image(&case)]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_layer-unpack"));
        command.arg(&file).args(["--no-sync", "--storage-driver", "vfs", "--root"]).arg(&root);
        let output = command.output().unwrap();
        let dockers = matches!(case.outcome("docker_20_10_24_import"), Some(CaseOutcome::Accepted { .. }));
        let expected = dockers && !REFUSED.contains(&case.number);
        match output.status.code() {
            Some(0) => imported.push(case),
            Some(1) if !expected => {}
            _ => report.push(format!("{} {}: {}", case.number, case.title, output.stderr.escape_ascii())),
        }
    }
    assert!(imported.len() > 150, "{}", imported.len());
    let daemon = Dockerd::start_with(&root, VFS);
    assert_eq!(daemon.images().len(), imported.len());
    for case in &imported {
        let output = daemon.docker(&["save", "-o", file.to_str().unwrap(), &image(case).tag]);
        let failed = || (2, vec![String::from_utf8_lossy(&output.stderr).into_owned()]);
        let found = if output.status.success() { saved::check_layers(&file) } else { failed() };
        if found != (2, Vec::new()) {
            report.push(format!("{} {}: {found:?}", case.number, case.title));
        }
    }
    testkit::assert_none("layer cases", &report);
    daemon.remove_everything();
    daemon.stop();
    assert_eq!(names(&root.join("vfs/dir")), Vec::<String>::new());
}

#[test]
fn what_dockerd_wrote_is_read() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let daemon = Dockerd::start_with(&root, VFS);
    for golden in GOLDENS {
        daemon.load(&testkit::golden(golden));
    }
    daemon.ok(&["tag", "layerfs-test/busybox:1", "again:2"]);
    let script = "echo written > /w; rm /bin/wget; mkdir /d; seq 1 5000 > /d/numbers";
    daemon.ok(&["run", "--name", "ended", "--network", "none", "again:2", "sh", "-c", script]);
    let ours = |arguments: &[&str]| {
        let root = ["--root", root.to_str().unwrap()];
        testkit::layerfs(&[&root[..], arguments].concat())
    };
    let sorted = |text: String| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let listing = ["image", "ls", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}} {{.Size}}"];
    assert_eq!(sorted(ours(&listing)), sorted(daemon.ok(&listing)));
    let containers = ["--format", "{{.ID}} {{.Image}} {{.Names}} {{.Size}}", "-a", "-s"];
    assert_eq!(
        ours(&[&["container", "ls"], &containers[..]].concat()),
        daemon.ok(&[&["ps"], &containers[..]].concat())
    );
    let inspect = ["image", "inspect", "again:2", "--format", "{{json .GraphDriver}}"];
    assert_eq!(ours(&inspect), daemon.ok(&inspect));
    let df = ["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}"];
    assert_eq!(ours(&df), daemon.ok(&df));
    let container = daemon.ok(&["ps", "-aq", "--no-trunc"]);
    daemon.stop();

    // Each directory has an owner, and all of it adds up.
    let mount = std::fs::read_to_string(root.join("image/vfs/layerdb/mounts").join(container.trim()).join("mount-id"));
    let mount = mount.unwrap();
    for entry in names(&root.join("vfs/dir")) {
        let path = root.join("vfs/dir").join(&entry);
        let told: Value = serde_json::from_str(&ours(&["system", "owner", "--json", path.to_str().unwrap()])).unwrap();
        let text = told.to_string();
        assert!(text.contains("live"), "{entry}: {text}");
        if entry.starts_with(&mount) {
            assert!(text.contains("ended"), "{entry}: {text}");
        }
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_image-du"));
    let output = command.arg("--root").arg(&root).arg("--json").output().unwrap();
    let du: Value = serde_json::from_str(&testkit::succeeded("image-du", output)).unwrap();
    let output = Command::new("du").args(["-x", "-s", "-B1"]).arg(&root).output().unwrap();
    let expected: u64 = testkit::succeeded("du", output).split('\t').next().unwrap().parse().unwrap();
    assert_eq!((du["total_allocated"].as_u64(), du["unaccounted"].as_u64()), (Some(expected), Some(0)));
}
