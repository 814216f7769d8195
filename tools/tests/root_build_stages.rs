//! Builds whose stages run side by side: they do, one that fails ends the others, and the image is the same as of stages one by one.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

fn place(dir: &TempDir, name: &str) -> (PathBuf, PathBuf) {
    let (root, context) = (testkit::empty_root(dir, name), dir.path().join("context"));
    testkit::import(&testkit::golden("busybox-20.10.tar"), &root);
    std::fs::create_dir_all(&context).unwrap();
    std::fs::write(context.join("one"), "one").unwrap();
    (root, context)
}

fn build(root: &Path, context: &Path, dockerfile: &str, options: &[&str]) -> Output {
    std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    let mut command = Command::new(testkit::program("layerfs"));
    command.arg("--root").arg(root).args(["build", "--no-sync"]).args(options).arg(context);
    command.env_remove("DOCKER_BUILDKIT").env_remove("SOURCE_DATE_EPOCH").stdin(Stdio::null());
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn assert_whole(root: &Path) {
    testkit::succeeded("layerfs system check", testkit::layerfs_on(root, &["system", "check", "--deep"]));
    assert_eq!(testkit::made_by_layerfs(root, &["container", "ls", "-aq"]), "");
    let mounts = std::fs::read_dir(root.join("image/overlay2/layerdb/mounts")).map_or(0, Iterator::count);
    assert_eq!(mounts, 0, "layers of commands are left");
}

/// A command that says it is there, and waits for another one: ten minutes at most.
fn meets(own: &str, other: &str, then: &str) -> String {
    format!(
        "touch /m/{own}; n=0; until test -e /m/{other}; do n=$((n+1)); test $n -lt 600 || exit 9; sleep 1; done; {then}"
    )
}

const MEET: &str = "--mount=type=cache,id=meet,target=/m";

#[test]
fn stages_that_need_nothing_of_each_other_run_at_once() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir, "root");
    // Neither ends before the other has begun. Each has the private cache for itself.
    let private = "--mount=type=cache,id=p,sharing=private,target=/p";
    let dockerfile = format!(
        "FROM layerfs-test/busybox:1 AS a\nRUN {MEET} {private} mkdir /p/x && {}\n\
         FROM layerfs-test/busybox:1 AS b\nRUN {MEET} {private} mkdir /p/x && {}\n\
         FROM scratch\nCOPY --from=a /a /a\nCOPY --from=b /b /b\n",
        meets("a", "b", "touch /a"),
        meets("b", "a", "touch /b"),
    );
    let output = build(&root, &context, &dockerfile, &[]);
    assert!(output.status.success(), "{}", said(&output));
    // Each line belongs to the step that was named last.
    let mut current = "";
    let text = said(&output);
    for line in text.lines().filter(|line| line.starts_with('#')) {
        let (number, rest) = line.split_once(' ').unwrap();
        if number != current {
            assert!(
                rest.starts_with('[') || rest == "exporting to image",
                "{line} comes without the name of its step\n{text}"
            );
            current = number;
        }
    }
    assert_whole(&root);
}

#[test]
fn a_stage_that_fails_ends_the_others() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir, "root");
    let dockerfile = format!(
        "FROM layerfs-test/busybox:1 AS a\nRUN {MEET} {}\n\
         FROM layerfs-test/busybox:1 AS b\nRUN {MEET} touch /m/b; while true; do sleep 1; done\n\
         FROM a AS c\nRUN touch /never\n\
         FROM scratch\nCOPY --from=b / /b\nCOPY --from=c / /c\n",
        meets("a", "b", "exit 7"),
    );
    let output = build(&root, &context, &dockerfile, &["-t", "never:1"]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.lines().any(|line| line.ends_with(" CANCELED")), "{text}");
    let last = text.lines().last().unwrap();
    assert!(last.contains("did not complete successfully: exit code: 7"), "{text}");
    assert!(!text.contains("touch /never"), "{text}");
    assert_eq!(testkit::made_by_layerfs(&root, &["image", "ls", "-q", "never"]), "");
    assert_whole(&root);
}

#[test]
fn a_cache_that_is_locked_is_had_by_one_command_at_a_time() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir, "root");
    // Two locked caches in both orders: whoever took them as they come could wait for the other for ever.
    let (one, two) =
        ("--mount=type=cache,id=1,sharing=locked,target=/1", "--mount=type=cache,id=2,sharing=locked,target=/2");
    let stage = |name: &str, caches: &str| {
        format!(
            "FROM layerfs-test/busybox:1 AS {name}\nRUN {caches} mkdir /1/x /2/x && sleep 1 && rmdir /1/x /2/x && touch /{name}\n"
        )
    };
    let dockerfile = format!(
        "{}{}{}FROM scratch\nCOPY --from=a /a /a\nCOPY --from=b /b /b\nCOPY --from=c /c /c\n",
        stage("a", &format!("{one} {two}")),
        stage("b", &format!("{two} {one}")),
        stage("c", &format!("{one} {two}")),
    );
    let output = build(&root, &context, &dockerfile, &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert_whole(&root);
}

#[test]
fn the_image_is_that_of_stages_one_by_one() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (together, context) = place(&dir, "together");
    let (single, _) = place(&dir, "single");
    let dockerfile = "FROM layerfs-test/busybox:1 AS base\nENV A=1\nRUN echo base >/base\n\
                      FROM base AS left\nCOPY one /left\nRUN echo $A >>/left\n\
                      FROM base AS right\nWORKDIR /right\nRUN --mount=from=base,target=/from cat /from/base >file\n\
                      FROM left\nCOPY --from=right /right /right\nCOPY --from=left /left /again\nLABEL x=y\n";
    let id = |root: &Path, target: &[&str]| {
        let id = dir.path().join("id");
        let options = [&["--reproducible", "--iidfile", id.to_str().unwrap()][..], target].concat();
        let output = build(root, &context, dockerfile, &options);
        assert!(output.status.success(), "{}", said(&output));
        std::fs::read_to_string(&id).unwrap()
    };
    // One stage after the other: each finds those before it in the cache.
    for target in ["base", "left", "right"] {
        id(&single, &["--target", target]);
    }
    let expected = id(&single, &[]);
    for _ in 0..3 {
        assert_eq!(id(&together, &["--no-cache"]), expected);
    }
    assert_whole(&together);
}

#[test]
fn a_step_that_two_stages_have_is_done_once() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir, "root");
    let same = "FROM layerfs-test/busybox:1\nWORKDIR /w\nRUN sleep 0.5; cat /proc/sys/kernel/random/uuid >/id\n";
    let stages = ["a", "b", "c"].map(|name| same.replacen(":1\n", &format!(":1 AS {name}\n"), 1)).concat();
    let copies = ["a", "b", "c"].map(|name| format!("COPY --from={name} /id /{name}\n")).concat();
    let dockerfile = format!("{stages}FROM scratch\n{copies}");
    let built = |out: &str| {
        let out = dir.path().join(out);
        let dest = format!("type=local,dest={}", out.display());
        testkit::succeeded("layerfs build", build(&root, &context, &dockerfile, &["-o", &dest]));
        ["a", "b", "c"].map(|name| std::fs::read_to_string(out.join(name)).unwrap())
    };
    let [a, b, c] = built("first");
    assert!(a == b && a == c && !a.is_empty(), "{a}{b}{c}");
    assert_eq!(built("again"), [a, b, c]);
}
