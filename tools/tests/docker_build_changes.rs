//! After a change, our builder and dockerd's take the same steps from the cache, whoever built before.
//!
//! A sample runs always; all of them with `LAYERFS_SWEEP=full`.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod buildsupport;

use std::path::Path;
use std::process::{Command, Output};

use buildsupport::{layerfs, said};
use testkit::dockerd::Dockerd;

/// Something that changes between two builds.
struct Change {
    name: &'static str,
    /// The Dockerfile after `FROM`; of several stages, the first `FROM` is left out as well.
    before: &'static str,
    /// The Dockerfile of the second build, if it is another one.
    after: Option<&'static str>,
    /// Options of both builds.
    options: [&'static [&'static str]; 2],
    /// What a shell does in the context in between.
    script: &'static str,
}

/// A Dockerfile with the steps that most changes are about.
const STEPS: &str = "COPY f /f\nCOPY d /d\nLABEL a=1 b=2\nENV LAST=1\n";

/// The context.
const CONTEXT: &str =
    "umask 022; mkdir -p d/sub; echo f >f; echo x >d/x; echo y >d/sub/y; ln -s x d/link; echo o >other; echo i >ignored
    find . -depth -exec touch -h -d @1600000000 {} +";

/// Those that run always.
const SAMPLE: [&str; 6] = ["mtime", "mode", "label-order", "build-arg", "stage-file-same", "base-built-again"];

const fn script(name: &'static str, script: &'static str) -> Change {
    Change { name, before: STEPS, after: None, options: [&[], &[]], script }
}

const fn edit(name: &'static str, before: &'static str, after: &'static str) -> Change {
    Change { name, before, after: Some(after), options: [&[], &[]], script: "" }
}

const fn options(
    name: &'static str,
    before: &'static str,
    first: &'static [&'static str],
    second: &'static [&'static str],
) -> Change {
    Change { name, before, after: None, options: [first, second], script: "" }
}

const ARG: &str = "ARG A=1\nRUN true\nCOPY f /f\n";
const STAGES: &str =
    "ENV S=1\nCOPY f /f\nCOPY d /d\nFROM layerfs-test/busybox:1\nENV T=1\nCOPY --from=0 /f /g\nENV LAST=1\n";

const CHANGES: &[Change] = &[
    script("nothing", ""),
    script("mtime", "touch f d/x d"),
    script("mode", "chmod 600 d/x"),
    script("mode-of-file", "chmod 755 f"),
    script("mode-of-directory", "chmod 700 d"),
    script("setuid", "chmod 4644 f"),
    script("owner", "chown 5:6 f d/x"),
    script("content", "echo F >f"),
    script("content-deep", "echo Y >d/sub/y"),
    script("size", "echo more >>d/x"),
    script("renamed", "mv d/x d/z"),
    script("replaced-by-the-same", "cp -p d/x new; mv new d/x"),
    script("other-file", "echo new >new; rm other"),
    script("new-file", "echo new >d/new"),
    script("new-empty-file", ": >d/new"),
    script("new-directory", "mkdir d/new"),
    script("removed", "rm d/sub/y"),
    script("new-link", "ln -s y d/sub/link"),
    script("link-elsewhere", "rm d/link; ln -s sub d/link"),
    script("hard-link", "ln d/x d/hard"),
    script("file-becomes-link", "mv f real; ln -s real f"),
    script("fifo", "mkfifo d/fifo"),
    script("ignored", "echo d/sub >.dockerignore"),
    script("ignored-other", "echo other >.dockerignore"),
    script("ignored-and-back", "printf 'd\\n!d/x\\n' >.dockerignore"),
    script("ignored-source", "echo f >.dockerignore"),
    edit("whole-context", "COPY . /all\nENV A=1\n", "COPY . /all\nENV A=2\n"),
    Change {
        script: "echo i2 >ignored",
        ..edit("whole-context-other", "COPY . /all\nENV A=1\n", "COPY . /all\nENV A=1\n")
    },
    edit("label-order", STEPS, "COPY f /f\nCOPY d /d\nLABEL b=2 a=1\nENV LAST=1\n"),
    edit("label-split", STEPS, "COPY f /f\nCOPY d /d\nLABEL a=1\nLABEL b=2\nENV LAST=1\n"),
    edit("label-value", STEPS, "COPY f /f\nCOPY d /d\nLABEL a=1 b=3\nENV LAST=1\n"),
    edit("comment", STEPS, "# new\nCOPY f /f\n\nCOPY d /d\n# new\nLABEL a=1 b=2\nENV LAST=1\n"),
    edit("blanks", STEPS, "COPY  f   /f\n  COPY d /d\nLABEL   a=1   b=2\nENV LAST=1\n"),
    edit("lower-case", STEPS, "copy f /f\ncopy d /d\nlabel a=1 b=2\nenv LAST=1\n"),
    edit("quotes", STEPS, "COPY [\"f\", \"/f\"]\nCOPY d /d\nLABEL \"a\"=1 b='2'\nENV LAST \"1\"\n"),
    edit("inserted", STEPS, "COPY f /f\nENV NEW=1\nCOPY d /d\nLABEL a=1 b=2\nENV LAST=1\n"),
    edit("left-out", STEPS, "COPY f /f\nLABEL a=1 b=2\nENV LAST=1\n"),
    edit("swapped", STEPS, "COPY d /d\nCOPY f /f\nLABEL a=1 b=2\nENV LAST=1\n"),
    edit("shorter", STEPS, "COPY f /f\nCOPY d /d\n"),
    edit("add", STEPS, "ADD f /f\nCOPY d /d\nLABEL a=1 b=2\nENV LAST=1\n"),
    edit("destination", STEPS, "COPY f /f\nCOPY d /d/\nLABEL a=1 b=2\nENV LAST=1\n"),
    edit("chown", STEPS, "COPY f /f\nCOPY --chown=0:0 d /d\nLABEL a=1 b=2\nENV LAST=1\n"),
    edit("glob", STEPS, "COPY [f] /f\nCOPY d* /d\nLABEL a=1 b=2\nENV LAST=1\n"),
    edit("workdir", "WORKDIR /a\nCOPY f f\nRUN true\n", "WORKDIR /b\nCOPY f f\nRUN true\n"),
    edit("user", "USER a\nCOPY f /f\n", "USER b\nCOPY f /f\n"),
    edit("env", "ENV A=1 B=2\nCOPY f /f\n", "ENV B=2 A=1\nCOPY f /f\n"),
    edit("env-in-text", "ENV A=f\nCOPY $A /f\n", "ENV A=f\nCOPY ${A} /f\n"),
    edit("expose-order", "EXPOSE 80 443\nENV A=1\n", "EXPOSE 443 80\nENV A=1\n"),
    edit("volume-order", "VOLUME /a /b\nENV A=1\n", "VOLUME /b /a\nENV A=1\n"),
    edit("health", "HEALTHCHECK --retries=1 CMD x\nENV A=1\n", "HEALTHCHECK --retries=2 CMD x\nENV A=1\n"),
    edit("stop-signal", "STOPSIGNAL 9\nENV A=1\n", "STOPSIGNAL KILL\nENV A=1\n"),
    edit("maintainer", "MAINTAINER a\nENV A=1\n", "MAINTAINER b\nENV A=1\n"),
    edit("shell", "SHELL [\"/bin/sh\", \"-c\"]\nRUN true\n", "SHELL [\"/bin/sh\", \"-ec\"]\nRUN true\n"),
    edit("run", "RUN true\nRUN echo >/x\nENV A=1\n", "RUN true\nRUN echo  >/x\nENV A=1\n"),
    edit("run-form", "RUN true\nENV A=1\n", "RUN [\"/bin/sh\", \"-c\", \"true\"]\nENV A=1\n"),
    edit("cmd", "CMD a\nENV A=1\n", "CMD [\"/bin/sh\", \"-c\", \"a\"]\nENV A=1\n"),
    edit("arg-default", ARG, "ARG A=2\nRUN true\nCOPY f /f\n"),
    edit("arg-new", ARG, "ARG A=1\nARG B\nRUN true\nCOPY f /f\n"),
    edit("arg-later", ARG, "RUN true\nARG A=1\nCOPY f /f\n"),
    options("build-arg", ARG, &["--build-arg", "A=1"], &["--build-arg", "A=2"]),
    options("build-arg-default", ARG, &[], &["--build-arg", "A=1"]),
    options("build-arg-unused", ARG, &[], &["--build-arg", "B=1"]),
    options("build-arg-without-run", "ARG A=1\nCOPY f /f\nENV B=1\n", &[], &["--build-arg", "A=2"]),
    options("build-arg-proxy", ARG, &[], &["--build-arg", "http_proxy=p"]),
    options("build-arg-proxy-value", ARG, &["--build-arg", "http_proxy=p"], &["--build-arg", "http_proxy=q"]),
    options("label-option", STEPS, &["--label", "z=1"], &["--label", "z=2", "--label", "y=1"]),
    options("no-cache", STEPS, &[], &["--no-cache"]),
    options("not-kept", STEPS, &["--rm=false"], &["--rm=true"]),
    edit(
        "stage-env",
        STAGES,
        "ENV S=2\nCOPY f /f\nCOPY d /d\nFROM layerfs-test/busybox:1\nENV T=1\nCOPY --from=0 /f /g\nENV LAST=1\n",
    ),
    Change { script: "echo X >d/x", ..edit("stage-file-same", STAGES, STAGES) },
    Change { script: "echo F >f", ..edit("stage-file", STAGES, STAGES) },
    Change { script: "touch f", ..edit("stage-file-mtime", STAGES, STAGES) },
    edit("base-built-again", STEPS, STEPS),
    edit("base-other", STEPS, STEPS),
    edit("base-named-again", STEPS, STEPS),
];

/// The Dockerfile of the base, where a change is about the base.
fn base(change: &Change, second: bool) -> Option<(&'static str, &'static [&'static str])> {
    match (change.name, second) {
        ("base-built-again", true) => Some(("FROM layerfs-test/busybox:1\nLABEL base=1\n", &["--no-cache"])),
        ("base-other", true) => Some(("FROM layerfs-test/busybox:1\nLABEL base=2\n", &[])),
        ("base-built-again" | "base-other" | "base-named-again", _) => {
            Some(("FROM layerfs-test/busybox:1\nLABEL base=1\n", &[]))
        }
        _ => None,
    }
}

/// One of the two builds of a change, with what it says. `build` is a builder.
fn build(change: &Change, contexts: &Path, second: bool, build: &dyn Fn(&[&str]) -> Output) -> String {
    let context = contexts.join(change.name);
    let tag = format!("cases/{}:1", change.name);
    let mut from = "layerfs-test/busybox:1";
    if let Some((text, options)) = base(change, second) {
        from = &tag;
        buildsupport::write_dockerfile(&context, text);
        let arguments = [options, &["-q", "-t", &tag, context.to_str().unwrap()]].concat();
        testkit::succeeded(change.name, build(&arguments));
    }
    let steps = change.after.filter(|_| second).unwrap_or(change.before);
    // The first step keeps the changes apart from each other.
    buildsupport::write_dockerfile(&context, &format!("FROM {from}\nENV CASE={}\n{steps}", change.name));
    let arguments = [change.options[usize::from(second)], &[context.to_str().unwrap()]].concat();
    said(&build(&arguments))
}

fn shell(context: &Path, script: &str) {
    let output = Command::new("sh").args(["-euc", script]).current_dir(context).output().unwrap();
    testkit::succeeded(script, output);
}

#[test]
fn the_same_steps_are_in_the_cache_after_a_change() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let full = testkit::full_sweep();
    let changes: Vec<&Change> = CHANGES.iter().filter(|change| full || SAMPLE.contains(&change.name)).collect();
    assert!(changes.len() >= SAMPLE.len(), "{}", changes.len());
    let contexts = dir.path().join("contexts");
    for change in &changes {
        let context = contexts.join(change.name);
        std::fs::create_dir_all(&context).unwrap();
        shell(&context, CONTEXT);
    }
    // Of each root there are two, so that each builder goes on with both.
    let [theirs, ours] = ["theirs", "ours"].map(|name| testkit::empty_root(&dir, name));
    let archive = testkit::golden("busybox-20.10.tar");
    testkit::import(&archive, &ours);
    let daemon = Dockerd::start(&theirs);
    daemon.load(&archive);
    let docker =
        |daemon: &Dockerd, arguments: &[&str]| daemon.docker(&[&["build", "--network", "none"], arguments].concat());
    for change in &changes {
        let docker = build(change, &contexts, false, &|arguments| docker(&daemon, arguments));
        let layerfs = build(change, &contexts, false, &|arguments| layerfs(&ours, arguments));
        assert_eq!(layerfs, docker, "{}, before it", change.name);
    }
    daemon.stop();
    let copied = |root: &Path| {
        let copy = root.with_extension("copy");
        let output = Command::new("cp").arg("-a").args([root, &copy]).output().unwrap();
        testkit::succeeded("cp -a", output);
        copy
    };
    let (theirs_copy, ours_copy) = (copied(&theirs), copied(&ours));
    for change in &changes {
        shell(&contexts.join(change.name), change.script);
    }
    let with_docker = |root: &Path| {
        let daemon = Dockerd::start(root);
        let said = |change: &&Change| build(change, &contexts, true, &|arguments| docker(&daemon, arguments));
        let said: Vec<String> = changes.iter().map(said).collect();
        daemon.stop();
        said
    };
    let with_layerfs = |root: &Path| -> Vec<String> {
        changes.iter().map(|change| build(change, &contexts, true, &|arguments| layerfs(root, arguments))).collect()
    };
    let expected = with_docker(&theirs);
    let mut report = Vec::new();
    for (who, found) in [
        ("layerfs on dockerd's root", with_layerfs(&theirs_copy)),
        ("layerfs on its own root", with_layerfs(&ours)),
        ("dockerd on the root of layerfs", with_docker(&ours_copy)),
    ] {
        for ((change, expected), found) in changes.iter().zip(&expected).zip(&found) {
            if found != expected {
                report.push(format!("{}, {who}:\n{found}\nexpected:\n{expected}", change.name));
            }
        }
    }
    testkit::assert_none("changes", &report);
    let hits = expected.iter().map(|said| said.matches("Using cache").count()).sum::<usize>();
    assert!(hits > changes.len(), "{hits} steps were in the cache");
}
