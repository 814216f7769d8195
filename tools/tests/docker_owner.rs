//! `layerfs system owner` against what dockerd itself says of each directory of its store.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use testkit::zoo::{self, Zoo};

/// What dockerd says of one directory.
#[derive(Debug, Default)]
struct Truth {
    /// The diff id of the layer, and the images that have it.
    diff_id: Option<String>,
    images: BTreeSet<String>,
    /// The container whose writable layer, or init layer, it is.
    container: Option<(String, &'static str)>,
}

fn inspect(zoo: &Zoo, arguments: &[&str]) -> Vec<Value> {
    serde_json::from_str(&zoo.daemon.ok(arguments)).unwrap()
}

/// The directory whose `diff` a path is.
fn directory(path: &str) -> String {
    Path::new(path).parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned()
}

/// Topmost first.
fn directories(data: &Value) -> Vec<String> {
    let lower = data["LowerDir"].as_str().unwrap_or_default();
    let paths =
        [data["UpperDir"].as_str().unwrap()].into_iter().chain(lower.split(':').filter(|path| !path.is_empty()));
    paths.map(directory).collect()
}

/// What `docker inspect` says of images and containers, turned round.
fn truth(zoo: &Zoo) -> BTreeMap<String, Truth> {
    let mut truth: BTreeMap<String, Truth> = BTreeMap::new();
    for id in &zoo.ids {
        let image = &inspect(zoo, &["image", "inspect", id])[0];
        let layers: Vec<&str> =
            image["RootFS"]["Layers"].as_array().into_iter().flatten().map(|id| id.as_str().unwrap()).collect();
        if layers.is_empty() {
            continue;
        }
        let stack = directories(&image["GraphDriver"]["Data"]);
        assert_eq!(stack.len(), layers.len(), "{id}");
        for (name, diff_id) in stack.into_iter().zip(layers.into_iter().rev()) {
            let of = truth.entry(name).or_default();
            assert!(of.diff_id.as_deref().is_none_or(|known| known == diff_id));
            of.diff_id = Some(diff_id.to_owned());
            of.images.insert(id.clone());
        }
    }
    for id in zoo.daemon.ok(&["container", "ls", "-aq", "--no-trunc"]).lines() {
        let stack = directories(&inspect(zoo, &["container", "inspect", id])[0]["GraphDriver"]["Data"]);
        for (name, role) in stack.into_iter().zip(["its writable layer", "its init layer"]) {
            truth.entry(name).or_default().container = Some((id.to_owned(), role));
        }
    }
    truth
}

fn ask(root: &Path, subjects: &[String]) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_layerfs"));
    let output =
        command.arg("--root").arg(root).args(["system", "owner", "--json", "--"]).args(subjects).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn texts<'v>(list: &'v Value, key: &str) -> BTreeSet<&'v str> {
    list.as_array().into_iter().flatten().map(|one| one[key].as_str().unwrap()).collect()
}

/// The steps of each image, by its id.
type Histories = BTreeMap<String, Vec<String>>;

fn histories(zoo: &Zoo) -> Histories {
    let history = |id: &String| {
        let history = zoo.daemon.ok(&["history", "--no-trunc", "--format", "{{json .}}", id]);
        let rows = history.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.map(|row| row["CreatedBy"].as_str().unwrap().to_owned()).collect()
    };
    zoo.ids.iter().map(|id| (id.clone(), history(id))).collect()
}

/// What is wrong with the answer about one directory.
fn complaints(histories: &Histories, name: &str, truth: Option<&Truth>, answer: &Value) -> Vec<String> {
    let mut report = Vec::new();
    let mut expect = |what: &str, ours: String, theirs: String| {
        if ours != theirs {
            report.push(format!("{name}: {what} is {ours}, docker says {theirs}"));
        }
    };
    if name == "l" || name == "backingFsBlockDev" {
        expect("verdict", answer["verdict"].to_string(), "\"service\"".into());
        return report;
    }
    expect("verdict", answer["verdict"].to_string(), "\"live\"".into());
    let Some(truth) = truth else {
        // In no image and no container: BuildKit's, or a layer that the build cache has; those have ids of 25 characters.
        let cached = name.len() == 25 && answer["why"].to_string().contains("BuildKit has it in its cache");
        let kept = answer["why"].to_string().contains("no image has it") && answer["layer"].is_object();
        expect("owner", (cached || kept).to_string(), "true".into());
        return report;
    };
    let diff_id = answer["layer"]["diff_id"].as_str().map(str::to_owned);
    expect("diff id", format!("{diff_id:?}"), format!("{:?}", truth.diff_id));
    if truth.diff_id.is_some() {
        let ours: BTreeSet<&str> = texts(&answer["images"], "id");
        expect("images", format!("{ours:?}"), format!("{:?}", truth.images));
        for image in answer["images"].as_array().unwrap() {
            let Some(step) = image["created_by"].as_str() else { continue };
            let id = image["id"].as_str().unwrap();
            expect(
                "a step of the history",
                histories[id].contains(&step.replace('\t', " ")).to_string(),
                "true".into(),
            );
        }
    }
    if let Some((container, role)) = &truth.container {
        let holds = |one: &Value| one["id"] == container.as_str() && one["role"] == *role;
        let found = answer["containers"].as_array().into_iter().flatten().any(holds);
        expect("the container", found.to_string(), "true".into());
    }
    report
}

#[test]
fn docker_owner_of_every_directory() {
    let Some((zoo, _turn)) = zoo::zoo() else { return };
    let (truth, histories) = (truth(zoo), histories(zoo));
    let home = zoo.root.join("overlay2");
    let names: Vec<String> =
        std::fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.len() > 50 && truth.keys().all(|name| names.contains(name)));
    let mut report = Vec::new();
    // By path, by name, by a path in it, and by the link to it.
    let path = |name: &String| home.join(name).to_str().unwrap().to_owned();
    let layers: Vec<&String> = names.iter().filter(|name| home.join(name).join("diff").exists()).collect();
    let inside = |name: &&String| home.join(name).join("diff/some/file").to_str().unwrap().to_owned();
    let link = |name: &&String| {
        let link = std::fs::read_to_string(home.join(name).join("link")).unwrap();
        home.join("l").join(link).to_str().unwrap().to_owned()
    };
    let ways: [(Vec<&String>, Vec<String>); 4] = [
        (names.iter().collect(), names.iter().map(path).collect()),
        (layers.clone(), layers.iter().map(|name| (*name).clone()).collect()),
        (layers.clone(), layers.iter().map(inside).collect()),
        (layers.clone(), layers.iter().map(link).collect()),
    ];
    for (of, subjects) in ways {
        let answers = ask(&zoo.root, &subjects);
        assert_eq!(answers.len(), of.len());
        for ((name, subject), answer) in of.iter().zip(&subjects).zip(&answers) {
            let found = complaints(&histories, name, truth.get(*name), answer);
            report.extend(found.into_iter().map(|line| format!("{subject}: {line}")));
        }
    }
    testkit::assert_none("owners", &report);
}

/// Images, builds with BuildKit and without, containers in every state, volumes: nothing is wrong with any of it, whether the
/// daemon runs or has stopped.
#[test]
fn docker_check_of_a_healthy_store_is_clean() {
    let Some((zoo, _turn)) = zoo::zoo() else { return };
    for root in [&zoo.root, &zoo.stopped] {
        for mode in ["--quick", "--deep"] {
            let mut check = Command::new(testkit::program("layerfs"));
            let output = check.arg("--root").arg(root).args(["system", "check", mode]).output().unwrap();
            let said = zoo::said(&output);
            assert!(said.contains("no damage: ") && output.status.code() == Some(0), "{mode}: {said}");
            assert!(output.stderr.is_empty(), "{said}");
        }
    }
}
