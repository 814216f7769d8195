//! Asks docker and another program the same, and compares.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use super::ages::is_between;
use super::canonical::{Random, Tags, canonical};
use testkit::quiet::Stamps;
use testkit::zoo::Zoo;

/// Only rows whose command line contains the text in this variable.
const ONLY: &str = "LAYERFS_READ_ONLY_TABLE";

/// How often docker may give two answers to one question, because an age has changed in between.
const TICKS: usize = 8;

/// How a program must fail where docker does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Failure {
    /// With the same status, output and message, apart from who says it.
    Same,
    /// With another message: docker's is about its own usage, or of how client and daemon talk.
    Any,
}

/// A command line and how its answers compare.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// As docker takes them.
    pub(crate) arguments: Vec<String>,
    pub(crate) random: Random,
    pub(crate) failure: Failure,
    /// The answer depends on what is running now, or on times of change, which a copy of a store cannot have.
    pub(crate) live: bool,
}

/// Which program answers beside docker.
pub(crate) enum Subject {
    Layerfs,
    /// Docker itself, which shows what the comparison is worth; what it says is changed by this.
    Docker(fn(String) -> String),
}

/// Everything that is needed to ask.
pub(crate) struct Examiner<'a> {
    pub(crate) zoo: &'a Zoo,
    pub(crate) tags: Tags,
    pub(crate) subject: Subject,
}

/// Output, errors and status as they compare.
#[derive(PartialEq)]
struct Answer {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl<'a> Examiner<'a> {
    pub(crate) fn new(zoo: &'a Zoo, subject: Subject) -> Self {
        let mut tags = Tags::new();
        for id in &zoo.ids {
            let names = zoo.daemon.ok(&["image", "inspect", "--format", "{{join .RepoTags \"\\n\"}}", id]);
            let names = names.lines().filter(|name| !name.is_empty()).map(str::to_owned).collect();
            tags.insert(id.trim_start_matches("sha256:")[..12].to_owned(), names);
        }
        Self { zoo, tags, subject }
    }

    /// What is wrong with the answers to all the rows.
    pub(crate) fn findings(&self, rows: &[Row]) -> Vec<String> {
        self.chosen(rows)
            .iter()
            .flat_map(|row| self.row(row).into_iter().map(|line| format!("{}\n{line}", shown(row))))
            .collect()
    }

    /// The rows that are asked for.
    pub(crate) fn chosen(&self, rows: &[Row]) -> Vec<Row> {
        let only = std::env::var(ONLY).unwrap_or_default();
        rows.iter().filter(|row| row.arguments.join(" ").contains(&only)).cloned().collect()
    }

    fn row(&self, row: &Row) -> Vec<String> {
        let arguments: Vec<&str> = row.arguments.iter().map(String::as_str).collect();
        for tick in 1.. {
            let before = self.answer(row, &self.zoo.daemon.docker(&arguments));
            let (answers, traces) = self.ask(row, &arguments);
            if answers.iter().all(|(_, answer)| like(row, answer, &before)) {
                return traces;
            }
            let after = self.answer(row, &self.zoo.daemon.docker(&arguments));
            let wrong = |answer: &&(&str, Answer)| !like(row, &answer.1, &before) && !like(row, &answer.1, &after);
            let mut wrong: Vec<_> = answers.iter().filter(wrong).collect();
            if tick == TICKS {
                // With several ages in seconds, one of them changes in each try.
                wrong.retain(|(_, answer)| !answer.is_between(&before, &after));
            }
            if wrong.is_empty() || before == after || tick == TICKS {
                // Mostly the answer is wrong in the same way everywhere.
                let mut different: BTreeMap<String, Vec<&str>> = BTreeMap::new();
                for (place, answer) in wrong {
                    different.entry(answer.difference(&after)).or_default().push(place);
                }
                let different = different.iter().map(|(how, places)| format!("  {}:{how}", places.join(", ")));
                return different.chain(traces).collect();
            }
        }
        unreachable!("the last tick returns")
    }

    /// The subject's answers, by where it was asked, and the traces that it left.
    fn ask(&self, row: &Row, arguments: &[&str]) -> (Vec<(&'static str, Answer)>, Vec<String>) {
        if let Subject::Docker(change) = self.subject {
            let mut answer = self.answer(row, &self.zoo.daemon.docker(arguments));
            answer.stdout = change(answer.stdout);
            return (vec![("docker again", answer)], Vec::new());
        }
        let (zoo, program) = (self.zoo, Path::new(env!("CARGO_BIN_EXE_layerfs")));
        let rest = |mut command: Command| command.arg("--root").arg(&zoo.root).args(arguments).output().unwrap();
        let (live, mut traces) = watched(&zoo.root, || rest(Command::new(program)));
        let mut answers = vec![("while dockerd runs", self.answer(row, &live))];
        if !row.live {
            let (stopped, more) = watched(&zoo.stopped, || rest(zoo.on_stopped(program, "rw")));
            traces.extend(more);
            answers.push(("after dockerd has stopped", self.answer(row, &stopped)));
            let read_only = rest(zoo.on_stopped(program, "ro"));
            answers.push(("on a read-only mount", self.answer(row, &read_only)));
        }
        (answers, traces)
    }

    fn answer(&self, row: &Row, output: &Output) -> Answer {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let stdout = canonical(row.random, &testkit::dockerd::narrow(&text(&output.stdout)), &self.tags);
        Answer { status: output.status.code(), stdout, stderr: said_by_nobody(&text(&output.stderr)) }
    }
}

/// Runs it and says what it leaves behind; twice, because a daemon at work may have left the first traces.
pub(crate) fn watched<T>(root: &Path, run: impl Fn() -> T) -> (T, Vec<String>) {
    let once = || {
        let before = Stamps::take(root);
        let output = run();
        (output, before.changes(&Stamps::take(root)))
    };
    let (output, traces) = once();
    if traces.is_empty() {
        return (output, traces);
    }
    let (output, traces) = once();
    (output, traces.into_iter().take(10).map(|line| format!("  {line}")).collect())
}

fn like(row: &Row, answer: &Answer, docker: &Answer) -> bool {
    // Its client's own flags, and what Go says of a template.
    let of_its_own = docker.status.is_some_and(|code| code > 1) || docker.stderr.contains("template parsing error");
    if row.failure == Failure::Same && !of_its_own {
        return answer == docker;
    }
    let failed = |answer: &Answer| answer.status.is_some_and(|code| code != 0 && code != 101);
    failed(answer) && failed(docker) && answer.stdout.trim() == docker.stdout.trim() && !answer.stderr.is_empty()
}

/// A message without the name of who says it: docker's client, its daemon, or us.
fn said_by_nobody(message: &str) -> String {
    let prefixes = ["Error response from daemon: ", "Error: ", "layerfs: ", "error: "];
    let plain =
        |line: &str| prefixes.iter().fold(line.to_owned(), |line, prefix| line.trim_start_matches(prefix).into());
    message.lines().map(plain).collect::<Vec<String>>().join("\n")
}

impl Answer {
    /// Whether the two answers of docker differ only in what is printed, and this one may be from between them.
    fn is_between(&self, before: &Self, after: &Self) -> bool {
        let rest = |answer: &Self| (answer.status, answer.stderr.clone());
        rest(self) == rest(before)
            && rest(self) == rest(after)
            && is_between(&before.stdout, &self.stdout, &after.stdout)
    }

    /// The first lines that are not the same.
    fn difference(&self, docker: &Self) -> String {
        let mut report = String::new();
        if self.status != docker.status {
            report.push_str(&format!("\n    status {:?}, docker's {:?}", self.status, docker.status));
        }
        for (name, ours, dockers) in [("", &self.stdout, &docker.stdout), ("stderr ", &self.stderr, &docker.stderr)] {
            let (ours, dockers): (Vec<&str>, Vec<&str>) = (ours.split('\n').collect(), dockers.split('\n').collect());
            let lines = (0..ours.len().max(dockers.len())).map(|line| (line, ours.get(line), dockers.get(line)));
            for (line, ours, dockers) in lines.filter(|(_, ours, dockers)| ours != dockers).take(3) {
                report.push_str(&format!("\n    {name}line {}\n      ours {ours:?}\n    docker {dockers:?}", line + 1));
            }
        }
        report
    }
}

fn shown(row: &Row) -> String {
    let quoted = |word: &String| if word.contains([' ', '{', '"']) { format!("'{word}'") } else { word.clone() };
    format!("layerfs {}", row.arguments.iter().map(quoted).collect::<Vec<_>>().join(" "))
}
