//! What is not as it should be in a Dockerfile is told as BuildKit of docker 28.5 tells it: `testdata/dockerfiles/checks.txt`.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod buildsupport;

use std::fs;
use std::process::{Command, Output, Stdio};

use buildsupport::both::Both;
use buildsupport::{DockerfileCase, cases_of, write_dockerfile};
use regex::Regex;
use testkit::engines::Engine;

/// The base image of some cases.
const TRIGGERS: &str = "FROM layerfs-test/busybox:1
ONBUILD CMD echo
ONBUILD ENV a b
ONBUILD WORKDIR rel
ONBUILD ENV X=$UNK
";

struct Checked {
    both: Both,
    engine: Engine,
}

impl Checked {
    fn start() -> Option<Self> {
        let (both, engine) = Both::with_buildx()?;
        for (name, text) in [
            ("kept", "kept"),
            ("ignored", "ignored"),
            ("sub/x.log", "log"),
            ("reign/a", "a"),
            (".dockerignore", "ignored\n**/*.log\nreign\n!reign/b\n"),
        ] {
            let file = both.context.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let checked = Self { both, engine };
        write_dockerfile(&checked.both.context, TRIGGERS);
        for output in checked.run(&["-t", "layerfs-test/onbuild:1"]) {
            testkit::succeeded("the base image", output);
        }
        Some(checked)
    }

    /// What both say, ours first.
    fn run(&self, options: &[&str]) -> [Output; 2] {
        let mut ours = Command::new(testkit::program("layerfs"));
        ours.arg("--root").arg(self.both.root("ours")).args(["build", "--no-sync"]).env_remove("DOCKER_BUILDKIT");
        let mut theirs = Command::new(&self.engine.buildx);
        theirs.arg("build").env("DOCKER_HOST", format!("unix://{}", self.both.daemon.socket().display()));
        theirs.env("HOME", self.both.dir.path()).env("DOCKER_CONFIG", self.both.dir.path());
        [ours, theirs].map(|mut command| {
            command.args(["--network", "none"]).args(options).arg(".");
            command.current_dir(&self.both.context).stdin(Stdio::null()).output().unwrap()
        })
    }

    fn check(&self, case: &DockerfileCase) -> [(Option<i32>, Vec<String>, String); 2] {
        let text = match case.name.as_str() {
            "crlf-and-bom" => format!("\u{feff}{}", case.text.replace('\n', "\r\n")),
            _ => case.text.clone(),
        };
        write_dockerfile(&self.both.context, &text);
        let options: Vec<&str> = case.options.iter().map(String::as_str).collect();
        let outputs = self.run(&[&["--call", "check"], &options[..]].concat());
        outputs.map(|output| (output.status.code(), findings(&output), reason(&output)))
    }
}

/// The first line and each warning; BuildKit does not always have those of one line in the same order.
fn findings(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout).trim().replace("\nWARNING: ", "\u{0}WARNING: ");
    let mut findings: Vec<String> = text.split('\u{0}').map(|finding| finding.trim_end().to_owned()).collect();
    findings.sort();
    findings
}

/// Why there is nothing to build; where that is and in which part of the work it was found is told in other words.
fn reason(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|line| line.starts_with("layerfs: ") || line.starts_with("ERROR: "));
    let place = "^(layerfs|ERROR): (failed to build: failed to solve: )?(dockerfile parse error (on )?line \\d+: |failed to parse Dockerfile: )?";
    Regex::new(place).unwrap().replace(line.unwrap_or_default(), "").into_owned()
}

#[test]
fn dockerfiles_are_found_wrong_where_buildkit_finds_them_wrong() {
    let Some(checked) = Checked::start() else { return };
    let cases = cases_of("dockerfiles/checks.txt");
    assert!(cases.len() > 80, "{}", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let [ours, theirs] = checked.check(case);
        if ours != theirs {
            wrong.push(format!("{}:\n{ours:#?}\n{theirs:#?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    drop(checked.both.end(&[]));
}

#[test]
fn a_build_ends_with_a_list_of_warnings() {
    let Some(checked) = Checked::start() else { return };
    let list = |output: &Output| {
        let text = String::from_utf8_lossy(&output.stderr).replace(" (use docker --debug to expand)", "");
        let colour = Regex::new("\u{1b}\\[[0-9;]*m").unwrap();
        let text = colour.replace_all(&text, "");
        let mut lines: Vec<String> = text
            .lines()
            .filter(|line| line.starts_with(" - ") || line.contains("found:") || line.starts_with("[WARNING]"))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    // Of the first stage, which is not built, only what it is called is looked at; that a command fails changes nothing.
    let stages = "FROM layerfs-test/busybox:1 AS A\nCMD echo\nFROM layerfs-test/busybox:1\nENV a b\nWORKDIR rel\n";
    for (name, text, options, status, count) in [
        ("stages", stages.to_owned(), &[][..], 0, 4),
        ("clean", "FROM layerfs-test/busybox:1\nENV a=b\n".into(), &[], 0, 0),
        ("one", "FROM layerfs-test/busybox:1\nRUN echo \\\n\n  x\n".into(), &[], 0, 2),
        ("failed", format!("{stages}CMD x\nRUN exit 3\n"), &[], 1, 5),
        ("wrong", "FROM layerfs-test/busybox:1 AS A\nENV a b\nFOO\n".into(), &[], 1, 2),
        ("strict", format!("# check=error=true\n{stages}RUN echo ran\n"), &[], 1, 4),
        ("strict-clean", "# check=error=true\nFROM layerfs-test/busybox:1\nRUN echo ran\n".into(), &[], 0, 0),
        ("skipped", stages.to_owned(), &["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all"], 0, 0),
        ("quiet", stages.to_owned(), &["-q"], 0, 0),
    ] {
        write_dockerfile(&checked.both.context, &text);
        let outputs = checked.run(options);
        let [ours, theirs] = [&outputs[0], &outputs[1]].map(list);
        assert_eq!(ours, theirs, "{name}");
        assert_eq!(ours.len(), count, "{name}: {ours:?}");
        for output in &outputs {
            assert_eq!(output.status.code(), Some(status), "{name}: {}", String::from_utf8_lossy(&output.stderr));
            let ran = String::from_utf8_lossy(&output.stderr).contains(" RUN echo ran");
            assert_eq!(ran, name == "strict-clean", "{name}");
        }
        let unused = String::from_utf8_lossy(&outputs[0].stderr).contains("not consumed");
        assert!(!unused, "{name}");
    }
    drop(checked.both.end(&[]));
}
