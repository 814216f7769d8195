//! Image configs that are changed in one place: taken, refused and shown as dockerd does.

#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod mutants;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use layerfs::Digest;
use serde_json::{Value, json};
use testkit::dockerd::Dockerd;
use testkit::image::DockerArchive;
use testkit::tarfile::{file, tar};
use testkit::{assert_none, docker, empty_root, layer_unpack, program, scratch};

use mutants::{Mutant, documents, mutants as all_mutants, sample};

/// Configs of one run that is no sweep, and such that are loaded one by one.
const LISTED: usize = 1200;
const LOADED: usize = 40;

/// `layerfs ARGUMENTS`: what it prints, and what it complains of.
fn ask(root: &Path, arguments: &[&str]) -> (String, String) {
    let output = Command::new(program("layerfs")).arg("--root").arg(root).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

#[test]
fn listed_and_shown_as_dockerd_does() {
    let Some(_turn) = docker() else { return };
    let dir = scratch();
    let root = empty_root(&dir, "root");
    let content = root.join("image/overlay2/imagedb/content/sha256");
    fs::create_dir_all(&content).unwrap();
    let mut planted: BTreeMap<String, Mutant> = BTreeMap::new();
    for mutant in sample(all_mutants(&documents::image()), LISTED, 20) {
        let digest = Digest::hash(mutant.text.as_bytes());
        fs::write(content.join(digest.hex()), &mutant.text).unwrap();
        planted.insert(digest.to_string(), mutant);
    }
    let (listed, complaints) = ask(&root, &["image", "ls", "-a", "-q", "--no-trunc"]);
    let ours: BTreeSet<String> = listed.lines().map(str::to_owned).collect();

    let daemon = Dockerd::start(&root);
    let theirs: BTreeSet<String> = daemon.images().into_iter().collect();
    let mut findings = Vec::new();
    for (id, Mutant { what, text }) in &planted {
        match (theirs.contains(id), ours.contains(id)) {
            (true, false) => {
                let line = complaints.lines().find(|line| line.contains(id)).unwrap_or_default();
                findings.push(format!("docker lists it, we do not: {what}: {line}"));
            }
            (false, true) => findings.push(format!("docker drops it, we do not: {what}")),
            (false, false) if !complaints.contains(id) => {
                findings.push(format!("dropped without a word: {what}: {text}"));
            }
            _ => {}
        }
    }
    assert_none("lists", &findings);
    let refused = planted.len() - theirs.len();
    assert!(theirs.len() > 200 && refused > 500, "{} listed, {refused} refused", theirs.len());

    let ids: Vec<&str> = theirs.iter().map(String::as_str).collect();
    let mut findings = Vec::new();
    for ids in ids.chunks(200) {
        let arguments: Vec<&str> = ["image", "inspect"].into_iter().chain(ids.iter().copied()).collect();
        let docker: Vec<Value> = serde_json::from_str(&daemon.ok(&arguments)).unwrap();
        let ours: Vec<Value> = serde_json::from_str(&ask(&root, &arguments).0).unwrap();
        for (docker, ours) in docker.into_iter().zip(ours) {
            if docker != ours {
                let what = &planted[docker["Id"].as_str().unwrap()].what;
                findings.push(format!("{what}:\n  docker {docker}\n  ours   {ours}"));
            }
        }
    }
    daemon.stop();
    assert_none("inspect", &findings);
}

#[test]
fn loaded_or_refused_as_dockerd_does() {
    let Some(_turn) = docker() else { return };
    let manifest = json!([{"Config": "config.json", "RepoTags": ["mutant:1"], "Layers": []}]).to_string();
    let mutants = sample(all_mutants(&documents::image()), LOADED, 21);
    let (taken, refused) = load(&mutants, |mutant| {
        DockerArchive::new("mutant:1", &[]).build_with(mutant.text.as_bytes(), manifest.as_bytes())
    });
    assert!(taken > 5 && refused > 10, "{taken} taken, {refused} refused");
}

/// `manifest.json` of an archive, which dockerd decodes into types, too, of which it uses less than half.
#[test]
fn manifests_are_taken_and_refused_as_dockerd_does() {
    let Some(_turn) = docker() else { return };
    let layer = tar(&[file("f", "x")]);
    let mut archive = DockerArchive::new("mutant:1", &[layer]);
    let diff_id = archive.config["rootfs"]["diff_ids"][0].clone();
    archive.manifest[0]["Parent"] = diff_id.clone();
    archive.manifest[0]["LayerSources"] = json!({diff_id.as_str().unwrap(): {
        "mediaType": "m", "size": 1, "digest": diff_id, "urls": ["u"], "annotations": {"a": "b"},
        "platform": {"architecture": "a", "os": "o", "os.version": "1", "os.features": ["f"], "variant": "v"},
    }});
    let config = serde_json::to_vec(&archive.config).unwrap();
    let mutants = sample(all_mutants(&archive.manifest), LOADED, 22);
    let (taken, refused) = load(&mutants, |mutant| archive.build_with(&config, mutant.text.as_bytes()));
    assert!(taken > 5 && refused > 10, "{taken} taken, {refused} refused");
}

/// Has archives loaded by dockerd and here. Returns how many both take and refuse; there must be none that only one takes.
fn load(mutants: &[Mutant], archive: impl Fn(&Mutant) -> Vec<u8>) -> (usize, usize) {
    let dir = scratch();
    let daemon = Dockerd::start(&empty_root(&dir, "docker"));
    let (mut findings, mut taken) = (Vec::new(), 0);
    for mutant in mutants {
        let path = dir.path().join("image.tar");
        fs::write(&path, archive(mutant)).unwrap();
        let docker = daemon.docker(&["load", "-q", "-i", path.to_str().unwrap()]);
        let ours = layer_unpack(&path, &dir.path().join("ours"));
        if docker.status.success() != ours.status.success() {
            let said = String::from_utf8_lossy(&ours.stderr).into_owned();
            findings.push(format!("{}: docker {}, ours {said}", mutant.what, String::from_utf8_lossy(&docker.stderr)));
        }
        taken += usize::from(docker.status.success());
    }
    daemon.stop();
    assert_none("loads", &findings);
    (taken, mutants.len() - taken)
}
