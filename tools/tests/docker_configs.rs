//! Image configs that are changed in one place: taken, refused and shown as dockerd does.

#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod mutants;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::dockerd::Dockerd;
use testkit::image::DockerArchive;
use testkit::tarfile::{TarMember, file, tar};
use testkit::{assert_none, docker, empty_root, layer_unpack, program, scratch};

use mutants::{Mutant, documents, mutants as all_mutants, sample};

/// Configs of one run that is no sweep, and such that are loaded.
const LISTED: usize = 1200;
const LOADED: usize = 60;
/// Images of one archive.
const IN_ONE: usize = 100;

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
        fs::write(content.join(mutant.id().trim_start_matches("sha256:")), &mutant.text).unwrap();
        planted.insert(mutant.id(), mutant);
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

/// Each load costs dockerd a process that unpacks the archive. So all that we take goes into archives of many images, which dockerd
/// takes whole or to the first image that it refuses; only what we refuse is an archive of its own.
#[test]
fn loaded_or_refused_as_dockerd_does() {
    let Some(_turn) = docker() else { return };
    let dir = scratch();
    let mutants = sample(all_mutants(&documents::image()), LOADED, 21);
    let single = |mutant: &Mutant| archive_of(&[mutant]);
    let ours = testkit::two_at_a_time(&mutants, |mutant| {
        let own = tempfile::tempdir_in(&dir).unwrap();
        refusal(&own, &own.path().join("root"), mutant, &single(mutant))
    });
    let (refused, taken): (Vec<_>, Vec<_>) = mutants.iter().zip(ours).partition(|(_, ours)| ours.is_some());
    let mut taken: Vec<&Mutant> = taken.into_iter().map(|(mutant, _)| mutant).collect();
    eprintln!("{} taken, {} refused", taken.len(), refused.len());
    assert!(taken.len() > 5 && refused.len() > 10);

    let daemon = Dockerd::start(&empty_root(&dir, "docker"));
    let mut findings = Vec::new();
    while !taken.is_empty() {
        let some = &taken[..taken.len().min(IN_ONE)];
        let loaded = daemon.load_bytes(&archive_of(some));
        let there: BTreeSet<String> = daemon.images().into_iter().collect();
        let arrived = some.iter().take_while(|mutant| there.contains(&mutant.id())).count();
        if let Some(mutant) = some.get(arrived) {
            findings.push(format!("docker refuses it, we do not: {}: {loaded:?}", mutant.what));
        }
        taken.drain(..some.len().min(arrived + 1));
    }
    findings.extend(
        testkit::two_at_a_time(&refused, |(mutant, said)| {
            let loaded = daemon.load_bytes(&single(mutant)).is_ok();
            loaded.then(|| format!("docker takes it, we do not: {}: {said:?}", mutant.what))
        })
        .into_iter()
        .flatten(),
    );
    daemon.stop();
    assert_none("loads", &findings);
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
    let dir = scratch();
    let daemon = Dockerd::start(&empty_root(&dir, "docker"));
    // The layer is there from now on, in both stores.
    daemon.load_bytes(&archive.build()).unwrap();
    let ours = dir.path().join("ours");
    let path = dir.path().join("image.tar");
    fs::write(&path, archive.build()).unwrap();
    testkit::import(&path, &ours);
    // Only one at a time may write to a store.
    let ours = Mutex::new(ours);
    let mutants = sample(all_mutants(&archive.manifest), LOADED, 22);
    let compared = testkit::two_at_a_time(&mutants, |mutant| {
        let archive = archive.build_with(&config, mutant.text.as_bytes());
        let docker = daemon.load_bytes(&archive);
        let ours = refusal(&dir, &ours.lock().unwrap(), mutant, &archive);
        let differs = docker.is_ok() != ours.is_none();
        (docker.is_ok(), differs.then(|| format!("{}: docker {docker:?}, ours {ours:?}", mutant.what)))
    });
    daemon.stop();
    let taken = compared.iter().filter(|(taken, _)| *taken).count();
    assert_none("loads", &compared.into_iter().filter_map(|(_, finding)| finding).collect::<Vec<_>>());
    let refused = mutants.len() - taken;
    eprintln!("{taken} taken, {refused} refused");
    assert!(taken > 5 && refused > 10);
}

/// An archive of images without layers whose configs these are.
fn archive_of(configs: &[&Mutant]) -> Vec<u8> {
    let name = |at: usize| format!("{at}.json");
    let items: Vec<Value> =
        (0..configs.len()).map(|at| json!({"Config": name(at), "RepoTags": [], "Layers": []})).collect();
    let manifest = file("manifest.json", Value::from(items).to_string());
    let configs: Vec<TarMember> =
        configs.iter().enumerate().map(|(at, config)| file(name(at), config.text.as_bytes())).collect();
    tar(configs.iter().chain([&manifest]))
}

/// What layer-unpack says of an archive that it refuses to import into `root`.
fn refusal(dir: &TempDir, root: &Path, mutant: &Mutant, archive: &[u8]) -> Option<String> {
    let path = dir.path().join("image.tar");
    fs::write(&path, archive).unwrap();
    let output = layer_unpack(&path, root);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}: {:?}: {said}", mutant.what, output.status);
    (!output.status.success()).then_some(said)
}
