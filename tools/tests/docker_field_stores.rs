//! Stores that are damaged in one place each: dockerd and we list the same images, containers and volumes, and the same rows of
//! `system df`.
//!
//! Damage to an image or a container concerns nobody else, so that one daemon judges many such patients in one store. Damage to
//! what all share has a store of its own.

#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod fieldsupport;
mod mutants;
mod questions;

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use fieldsupport::alone::ALONE;
use fieldsupport::damage::{DAMAGE, Damage, LOSING};
use fieldsupport::patient::{Patient, write_names};
use fieldsupport::places::PLACES;
use fieldsupport::siblings::SIBLINGS;
use mutants::sample;
use questions::{QUESTIONS, differences, text};
use testkit::dockerd::Dockerd;
use testkit::layerfs_on;

/// Stores of their own in one run that is no sweep.
const STORES: usize = 4;

/// Whether a difference is meant.
type IsMeant = fn(&str) -> bool;

/// Where the lists differ on purpose, and which difference is meant. SHORTCOMINGS.md says why.
const MEANT: [(&str, IsMeant); 10] = [
    // A dockerd that starts calls it dead, and tries no more to remove it.
    ("a container being removed", |line| line.contains(" removing ") || line.contains(" dead ")),
    // A dockerd that starts removes it.
    ("a container that goes when it stops", |line| line.contains("\"df\"") || line.contains("c-0 ")),
    // docker lists none of the three.
    ("an image's name that is no reference", |line| {
        line.contains("we only") || line.contains("invalid reference format: repository name must be lowercase")
    }),
    // What a container has written counts where it is in its place.
    ("link in l a directory", is_written_size),
    ("writable a symlink", is_written_size),
    ("writable diff a symlink", is_written_size),
    ("writable diff a file", is_written_size),
    ("a container on the init layer", is_written_size),
    ("a container on a layer", is_written_size),
    ("volume data a file", |line| line.contains("only: Local Volumes ")),
];

/// Whether a line is about what containers have written: their row, or one of them with its size.
fn is_written_size(line: &str) -> bool {
    line.contains("only: Containers ") || (line.contains("\"container\", \"ls\"") && line.contains("B (virtual"))
}

/// Symlinks that dockerd follows and we do not: each command says so and ends. SHORTCOMINGS.md names them.
const NOT_FOLLOWED: [&str; 9] = [
    "image/overlay2 a symlink",
    "layerdb a symlink",
    "layerdb/sha256 a symlink",
    "layerdb/mounts a symlink",
    "imagedb a symlink",
    "imagedb/content a symlink",
    "imagedb/content/sha256 a symlink",
    "repositories.json a symlink",
    "links a symlink",
];

fn is_meant(damage: &Damage, difference: &str) -> bool {
    if NOT_FOLLOWED.contains(&damage.name) {
        return difference.starts_with("dockerd starts; we: ") && difference.contains("it is a symlink")
            || difference.contains(": docker only: ");
    }
    MEANT.iter().any(|(name, meant)| *name == damage.name && meant(difference))
}

/// A daemon on this store, or why there is none. That containerd took too long to come up says nothing of the store.
fn verdict(root: &Path) -> Result<Dockerd, String> {
    let slow = |log: &String| log.contains("timeout waiting for containerd to start");
    let mut started = Dockerd::try_start(root, Duration::from_secs(60));
    for _ in 0..3 {
        if !started.as_ref().is_err_and(slow) {
            break;
        }
        started = Dockerd::try_start(root, Duration::from_secs(60));
    }
    started
}

/// Answers of both on a store of these patients.
fn judge(damages: &[Damage], questions: &[&[&str]]) -> Vec<String> {
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let patients: Vec<Patient> = (0..damages.len()).map(|number| Patient::plant(&root, number)).collect();
    write_names(&root, &patients);
    for (patient, damage) in patients.iter().zip(damages) {
        (damage.inflict)(patient);
    }
    let ours: Vec<Output> = questions.iter().map(|question| layerfs_on(&root, question)).collect();
    let daemon = Dockerd::start(&root);
    let name = |line: &str| {
        let about = patients.iter().zip(damages).filter(|(patient, _)| patient.is_named_in(line));
        about.map(|(_, damage)| format!(" [{}]", damage.name)).collect()
    };
    let mut report = Vec::new();
    for (question, ours) in questions.iter().zip(&ours) {
        report.extend(differences(question, ours, &daemon.docker(question), name));
    }
    daemon.stop();
    // Whatever docker drops is named.
    let listed = [&ours[1], &ours[3]].map(|output| text(&output.stdout)).concat();
    let said = [&ours[1], &ours[3]].map(|output| text(&output.stderr)).concat();
    for (patient, damage) in patients.iter().zip(damages) {
        let names = [(&patient.image, "image"), (&patient.container, "container")];
        for (id, kind) in names.into_iter().filter(|(id, _)| !listed.contains(id.as_str())) {
            if !patient.is_named_in(&said) {
                report.push(format!("{}: its {kind} {id} is dropped without a word", damage.name));
            }
        }
    }
    report
}

#[test]
fn docker_damaged_patients_are_listed_alike() {
    let Some(_turn) = testkit::docker() else { return };
    testkit::assert_none("patients", &judge(DAMAGE, &QUESTIONS));
}

/// Odd things in the place of directories and links, odd owners and modes, foreign files, and what older versions have left.
#[test]
fn docker_odd_patients_are_listed_alike() {
    let Some(_turn) = testkit::docker() else { return };
    testkit::assert_none("odd patients", &judge(SIBLINGS, &QUESTIONS));
}

/// Layers that have lost their parent: what is below them goes as soon as dockerd has looked at it.
#[test]
fn docker_patients_without_parents_are_counted_alike() {
    let Some(_turn) = testkit::docker() else { return };
    testkit::assert_none("patients without parents", &judge(LOSING, &QUESTIONS[..4]));
}

#[test]
fn docker_damage_to_what_all_share() {
    let Some(_turn) = testkit::docker() else { return };
    testkit::assert_none("what all share", &judge_stores(sample(ALONE.iter().collect(), STORES, 31)));
}

/// The places of everything else in a root, and how the store's own are reached.
#[test]
fn docker_odd_places() {
    let Some(_turn) = testkit::docker() else { return };
    testkit::assert_none("odd places", &judge_stores(sample(PLACES.iter().collect(), STORES, 32)));
}

/// What differs in what both make of stores, of which each has one of these damages.
fn judge_stores(damages: Vec<&Damage>) -> Vec<String> {
    let mut report = Vec::new();
    for damage in damages {
        let dir = testkit::scratch();
        let root = testkit::empty_root(&dir, "root");
        let patients: Vec<Patient> = (0..3).map(|number| Patient::plant(&root, number)).collect();
        write_names(&root, &patients);
        (damage.inflict)(&patients[0]);
        let ours: Vec<Output> = QUESTIONS.iter().map(|question| layerfs_on(&root, question)).collect();
        // What dockerd cannot read at all we cannot read either.
        let refuses = ours.iter().any(|output| {
            let said = text(&output.stderr);
            let fails = !output.status.success() && output.stdout.is_empty();
            let told = ["dockerd would not start", "dockerd crashes at its start", "dockerd does not start"];
            fails || told.iter().any(|words| said.contains(words))
        });
        let mut found = Vec::new();
        match verdict(&root) {
            Err(log) if !refuses => {
                let last: Vec<&str> = log.lines().rev().take(3).collect();
                found.push(format!("dockerd does not start: {last:?}; we: {}", text(&ours[0].stderr)));
            }
            Err(_) => {}
            Ok(daemon) => {
                if refuses {
                    found.push(format!("dockerd starts; we: {}", text(&ours[0].stderr)));
                }
                for (question, ours) in QUESTIONS.iter().zip(&ours) {
                    found.extend(differences(question, ours, &daemon.docker(question), |_| String::new()));
                }
                daemon.stop();
            }
        }
        let found = found.into_iter().filter(|line| !is_meant(damage, line));
        report.extend(found.map(|line| format!("{}: {line}", damage.name)));
    }
    report
}
