//! Damaged stores: everything is listed as what it is, nothing is silently dropped, nothing panics.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod damagesupport;
mod questions;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use damagesupport::small::{BASE, CHILD, SmallStore};
use damagesupport::table::{SITUATIONS, Situation, WithDockerd};
use questions::{QUESTIONS, differences};
use testkit::{dockerd, layerfs_on};

/// How long dockerd may take, or is given until it must have failed.
const START: Duration = Duration::from_secs(60);

const LAYERFS: &str = env!("CARGO_BIN_EXE_layerfs");
const IMAGE_DU: &str = env!("CARGO_BIN_EXE_image-du");

/// Status and all that a command says, in lower case.
struct Said {
    command: String,
    status: Option<i32>,
    text: String,
}

fn ask(program: &str, root: &Path, arguments: &[&str]) -> Said {
    let output = Command::new(program).arg("--root").arg(root).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let name = Path::new(program).file_name().unwrap().to_str().unwrap();
    Said {
        command: format!("{name} {}", arguments.join(" ")),
        status: output.status.code(),
        text: String::from_utf8_lossy(&text).to_lowercase(),
    }
}

impl Said {
    /// Whether an id is named, in full or by what it begins with, or a word is said.
    fn names(&self, word: &str) -> bool {
        let word = word.to_lowercase();
        let id = word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        self.text.contains(if id { &word[..12] } else { &word })
    }

    /// Whether one line has the image and says that it is damaged.
    fn damaged(&self, tag: &str, id: &str) -> bool {
        self.text.lines().any(|line| line.contains("damaged") && (line.contains(tag) || line.contains(&id[..12])))
    }
}

/// What is wrong with what is said about a situation.
fn findings(situation: &Situation, store: &SmallStore) -> Vec<String> {
    let ls = ask(LAYERFS, &store.root, &["image", "ls", "-a"]);
    let mut report = Vec::new();
    // Findings may show in the status.
    if ls.status != Some(0)
        && !(ls.status == Some(1) && (ls.text.contains("damaged") || situation.dockerd == WithDockerd::Refuses))
    {
        report.push(format!("{} ends with {:?}", ls.command, ls.status));
    }
    let gone = matches!(situation.dockerd, WithDockerd::Refuses | WithDockerd::Untags);
    if !gone && !ls.names(CHILD) && !ls.names(&store.child) {
        report.push(format!("{} drops {CHILD}", ls.command));
    }
    if matches!(situation.dockerd, WithDockerd::Loses | WithDockerd::LosesBoth) && !ls.damaged(CHILD, &store.child) {
        report.push(format!("{} does not call {CHILD} damaged", ls.command));
    }
    if situation.dockerd == WithDockerd::LosesBoth && !ls.damaged(BASE, &store.base) {
        report.push(format!("{} does not call {BASE} damaged", ls.command));
    }
    let mut all = vec![ls];
    all.push(ask(LAYERFS, &store.root, &["container", "ls", "-a"]));
    all.push(ask(IMAGE_DU, &store.root, &[]));
    if let Some((path, word)) = situation.owner {
        let owner = ask(LAYERFS, &store.root, &["system", "owner", store.at(path).to_str().unwrap()]);
        if !owner.names(word) {
            report.push(format!("{} does not say {word:?}:\n{}", owner.command, owner.text));
        }
        all.push(owner);
    }
    for said in &all {
        if said.status.is_none_or(|code| code > 2) || said.text.contains("panicked") || said.text.contains('\u{1b}') {
            report.push(format!("{} ends with {:?}:\n{}", said.command, said.status, said.text));
        }
    }
    for word in situation.says.iter().map(|word| store.named(word)) {
        if !all.iter().any(|said| said.names(&word)) {
            report.push(format!("nobody says {word:?}"));
        }
    }
    report
}

#[test]
fn docker_damaged_is_said() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let template = SmallStore::make(dir.path());
    let mut report = findings_of_none(&template);
    for (number, situation) in SITUATIONS.iter().enumerate() {
        let store = template.copy(&dir.path().join(format!("damaged-{number}")));
        (situation.damage)(&store);
        let findings = findings(situation, &store);
        report.extend(findings.into_iter().map(|line| format!("{}: {line}", situation.name)));
        std::fs::remove_dir_all(&store.root).unwrap();
    }
    testkit::assert_none("damaged", &report);
}

/// Nothing is damaged in the store that is not.
fn findings_of_none(store: &SmallStore) -> Vec<String> {
    let ls = ask(LAYERFS, &store.root, &["image", "ls", "-a"]);
    let sound = ls.status == Some(0) && ls.names(&store.child) && ls.names(&store.base) && !ls.text.contains("damaged");
    if sound { Vec::new() } else { vec![format!("sound: {:?}\n{}", ls.status, ls.text)] }
}

/// Where what a container has written is counted otherwise: SHORTCOMINGS.md says why.
const COUNTED_OTHERWISE: [&str; 2] = ["a file for what a container has written", "init-id missing"];

/// dockerd makes of each situation what the table says, and lists the same images, containers, volumes and rows of `system df`:
/// of every 14th, or of all in a sweep.
#[test]
fn docker_damaged_table_is_right() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let template = SmallStore::make(dir.path());
    let mut report = Vec::new();
    assert!(SITUATIONS.len() >= 65, "{}", SITUATIONS.len());
    for (number, situation) in SITUATIONS.iter().enumerate() {
        if !testkit::full_sweep() && number % 14 != 0 {
            continue;
        }
        let store = template.copy(&dir.path().join(format!("damaged-{number}")));
        (situation.damage)(&store);
        let ours = QUESTIONS.map(|question| layerfs_on(&store.root, question));
        let found = match dockerd::Dockerd::try_start(&store.root, START) {
            Err(_) => "it does not start".to_owned(),
            Ok(daemon) => {
                let questions = QUESTIONS.iter().zip(&ours);
                for (question, ours) in questions.filter(|_| !COUNTED_OTHERWISE.contains(&situation.name)) {
                    let found = differences(question, ours, &daemon.docker(question), |_| String::new());
                    report.extend(found.into_iter().map(|line| format!("{}: {line}", situation.name)));
                }
                let listed = daemon.ok(&["image", "ls", "-a", "--format", "{{.Repository}}:{{.Tag}}"]);
                let has = |tag: &str| listed.lines().any(|line| line == tag);
                match (has(CHILD), has(BASE), has("<none>:<none>")) {
                    (true, true, false) => "all there".to_owned(),
                    (false, true, false) => "lost".to_owned(),
                    (false, false, false) => "nothing there".to_owned(),
                    (false, false, true) => "untagged".to_owned(),
                    other => format!("{other:?}"),
                }
            }
        };
        let expected = match situation.dockerd {
            WithDockerd::Loses => "lost",
            WithDockerd::LosesBoth => "nothing there",
            WithDockerd::Lists | WithDockerd::Copes => "all there",
            WithDockerd::Untags => "untagged",
            WithDockerd::Refuses => "it does not start",
        };
        if found != expected {
            report.push(format!("{}: {found}, not {expected}", situation.name));
        }
        std::fs::remove_dir_all(&store.root).unwrap();
    }
    testkit::assert_none("dockerd", &report);
}
