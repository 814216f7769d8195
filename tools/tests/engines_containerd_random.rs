//! Stores of containerd's as Docker 28.5 leaves them after anything that its client can ask for: `system check` finds nothing wrong
//! in them, and lists what the client lists.
//!
//! A walk is a row of requests that a seed chooses. A usual run takes one short walk, a sweep many long ones.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use testkit::dockerd::Dockerd;
use testkit::engines::{self, CONTAINERD, Engine};
use testkit::platforms::{self, Part};
use testkit::{Random, layerfs_on};

const BUSYBOX: &str = "layerfs-test/busybox:1";
const NAMES: [&str; 5] = ["one:1", "one:2", "team/two:1", "localhost:5000/three:latest", "layerfs-test/app:1"];
const GOLDENS: [&str; 7] = [
    "busybox-20.10.tar",
    "docker-archive-skopeo.tar",
    "hybrid-26.tar",
    "layers-20.10.tar",
    "oci-skopeo-gzip.tar",
    "oci-skopeo-zstd.tar",
    "shared-20.10.tar",
];

/// How often a finding must be there, a second apart, to count: containerd deletes records first and files a moment later, and a
/// daemon is at work.
const PATIENCE: usize = 5;

/// Archives of images for several platforms, whole and not, with and without attestations.
fn archives(dir: &Path) -> Vec<PathBuf> {
    use Part::{Nothing, Whole, WithoutConfig};
    let made = [
        ("docker.io/library/many:1", &[("amd64", Whole), ("arm64", Whole)][..], true),
        ("docker.io/library/partly:1", &[("amd64", Whole), ("arm64", WithoutConfig), ("s390x", Nothing)], false),
        ("docker.io/library/other:1", &[("arm64", Whole)], true),
        ("docker.io/library/bare:1", &[("amd64", WithoutConfig)], false),
        ("docker.io/library/none:1", &[("amd64", Nothing)], false),
    ];
    let mut all: Vec<PathBuf> = GOLDENS.iter().map(|golden| testkit::golden(golden)).collect();
    for (number, (name, platforms, attested)) in made.into_iter().enumerate() {
        let path = dir.join(format!("{number}.tar"));
        std::fs::write(&path, platforms::archive(name, platforms, attested)).unwrap();
        all.push(path);
    }
    all
}

/// What is found, but for files that no record names any more: those go when containerd next clears up.
fn findings(root: &Path, flags: &[&str]) -> Vec<String> {
    let output = layerfs_on(root, &[&["system", "check", "--json"], flags].concat());
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let found = said["findings"].as_array().unwrap().iter();
    found.filter(|one| one["code"] != "file-unrecorded").map(ToString::to_string).collect()
}

/// What stays wrong.
fn lasting(root: &Path, flags: &[&str]) -> Vec<String> {
    let mut found = findings(root, flags);
    for _ in 1..PATIENCE {
        if found.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_secs(1));
        let again = findings(root, flags);
        found.retain(|one| again.contains(one));
    }
    found
}

struct Walk<'w> {
    daemon: Option<Dockerd>,
    engine: &'w Engine,
    root: PathBuf,
    archives: &'w [PathBuf],
    random: Random,
    made: u64,
}

impl Walk<'_> {
    fn daemon(&self) -> &Dockerd {
        self.daemon.as_ref().unwrap()
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.random.below(limit as u64)).unwrap()
    }

    fn one_of(&mut self, listing: &[&str]) -> String {
        let listed = String::from_utf8(self.daemon().docker(listing).stdout).unwrap();
        let lines: Vec<&str> = listed.lines().collect();
        if lines.is_empty() { BUSYBOX.to_owned() } else { lines[self.below(lines.len())].to_owned() }
    }

    fn image(&mut self) -> String {
        self.one_of(&["images", "-aq", "--no-trunc"])
    }

    fn container(&mut self) -> String {
        self.one_of(&["ps", "-aq"])
    }

    fn name(&mut self) -> &'static str {
        let at = self.below(NAMES.len());
        NAMES[at]
    }

    /// Asks for something. Docker may refuse it, such as to run an image for another machine.
    fn step(&mut self, dir: &Path) -> String {
        self.made += 1;
        let number = self.made.to_string();
        let mut words: Vec<String> = Vec::new();
        let mut say = |all: &[&str]| words.extend(all.iter().map(|word| (*word).to_owned()));
        match self.below(14) {
            0..=3 => {
                let at = self.below(self.archives.len());
                say(&["load", "-i", self.archives[at].to_str().unwrap()]);
            }
            4 => say(&["tag", &self.image(), self.name()]),
            5 => say(&["rmi", "-f", &self.image()]),
            6 => say(&["rmi", self.name()]),
            7 => say(&["create", "--name", &format!("c{number}"), "--network", "none", &self.image(), "true"]),
            8 => {
                let write = format!("echo {number} >/f{number}; rm -rf /etc/passwd");
                say(&["run", "--network", "none", BUSYBOX, "sh", "-c", &write]);
            }
            9 => say(&["rm", "-f", &self.container()]),
            10 => {
                let container = self.container();
                say(&["commit", "-c", "LABEL a=b", &container]);
                if self.below(2) == 0 {
                    let name = self.name();
                    words.push(name.to_owned());
                }
            }
            11 => {
                let context = dir.join("context");
                std::fs::create_dir_all(&context).unwrap();
                let text = format!("FROM {BUSYBOX}\nCOPY Dockerfile /{number}\nRUN echo {number} >/r\n");
                std::fs::write(context.join("Dockerfile"), text).unwrap();
                let name = self.name();
                say(&["build", "-q", "--network", "none", "-t", name, context.to_str().unwrap()]);
            }
            12 => {
                let prunes = [&["image", "prune", "-f"][..], &["image", "prune", "-af"], &["builder", "prune", "-af"]];
                let at = self.below(prunes.len());
                say(prunes[at]);
            }
            _ => {
                self.daemon.take().unwrap().stop();
                self.daemon = Some(Dockerd::start_engine(self.engine, &self.root, CONTAINERD));
                return "restart".to_owned();
            }
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let said = self.daemon().docker(&words);
        format!("{} ({})", words.join(" "), said.status.code().unwrap_or(-1))
    }

    /// What differs between the listings of docker's client and ours.
    fn differences(&self) -> Vec<String> {
        let listing = ["images", "-a", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}} {{.Size}}"];
        let sorted = |text: Vec<u8>| {
            let mut lines: Vec<String> = String::from_utf8(text).unwrap().lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let theirs = sorted(self.daemon().docker(&listing).stdout);
        let ours = sorted(layerfs_on(&self.root, &listing).stdout);
        let only = |these: &[String], those: &[String], whose: &str| -> Vec<String> {
            these.iter().filter(|line| !those.contains(line)).map(|line| format!("{whose} {line}")).collect()
        };
        [only(&ours, &theirs, "ours"), only(&theirs, &ours, "docker's")].concat()
    }
}

#[test]
fn engines_containerd_sound_stores_have_no_finding() {
    let Some((all, _turn)) = engines::engines() else { return };
    let engine = all.last().unwrap();
    let (walks, steps) = if testkit::full_sweep() { (20, 50) } else { (1, 16) };
    let mut report = Vec::new();
    for seed in 0..walks {
        let dir = testkit::scratch();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let archives = archives(dir.path());
        let daemon = Some(Dockerd::start_engine(engine, &root, CONTAINERD));
        let random = Random::new(2_028 + seed);
        let mut walk = Walk { daemon, engine, root, archives: &archives, random, made: 0 };
        walk.daemon().load(&testkit::golden("busybox-20.10.tar"));
        let mut done = Vec::new();
        for _ in 0..steps {
            done.push(walk.step(dir.path()));
            let found = [lasting(&walk.root, &[]), walk.differences()].concat();
            if !found.is_empty() {
                report.push(format!("walk {seed}, after {done:#?}:"));
                report.extend(found);
                break;
            }
        }
        let refused = done.iter().filter(|step| !step.ends_with("(0)") && *step != "restart").count();
        eprintln!("walk {seed}: {} requests, of which docker refused {refused}", done.len());
        walk.daemon.take().unwrap().stop();
        report.extend(lasting(&walk.root, &["--deep"]).iter().map(|found| format!("walk {seed}, at its end: {found}")));
    }
    testkit::assert_none("sound stores", &report);
}
