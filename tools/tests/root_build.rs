//! Builds that are killed, and builds at the same time: the store is whole, and the next build goes on with what is there.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

const DOCKERFILE: &str = "FROM layerfs-test/busybox:1
ENV A=1
COPY files /one/
WORKDIR /two
COPY files /three/
LABEL a=b
COPY files/1 /four
CMD [\"x\"]
";

/// The steps of the Dockerfile.
const STEPS: usize = 8;

/// A context, and a root with the base image.
fn place(dir: &TempDir) -> (PathBuf, PathBuf) {
    let (root, context) = (testkit::empty_root(dir, "root"), dir.path().join("context"));
    testkit::import(&testkit::golden("busybox-20.10.tar"), &root);
    std::fs::create_dir_all(context.join("files")).unwrap();
    for number in 0..50 {
        std::fs::write(context.join("files").join(number.to_string()), vec![b'x'; 10_000]).unwrap();
    }
    std::fs::write(context.join("Dockerfile"), DOCKERFILE).unwrap();
    (root, context)
}

fn start(root: &Path, context: &Path, options: &[&str]) -> Child {
    let mut command = Command::new(testkit::program("layerfs"));
    command.arg("--root").arg(root).arg("build").args(options).arg(context);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Builds to the end, and returns the lines.
fn finish(build: Child) -> String {
    testkit::succeeded("layerfs build", build.wait_with_output().unwrap())
}

fn assert_whole(root: &Path) {
    testkit::succeeded("layerfs system check", testkit::layerfs_on(root, &["system", "check", "--deep"]));
    assert_eq!(testkit::made_by_layerfs(root, &["container", "ls", "-aq"]), "");
}

#[test]
fn a_build_that_is_killed_goes_on_from_the_cache() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    for step in 2..=STEPS {
        let mut build = start(&root, &context, &[]);
        let mut lines = BufReader::new(build.stdout.take().unwrap()).lines();
        let begins = format!("Step {step}/{STEPS} ");
        assert!(lines.any(|line| line.unwrap().starts_with(&begins)), "step {step}");
        build.kill().unwrap();
        build.wait().unwrap();
        // All steps before this one were stored, `FROM` aside.
        let said = finish(start(&root, &context, &["-t", "built:1"]));
        let found = said.matches(" ---> Using cache").count();
        assert!(found >= step - 2, "killed at step {step}: {found} steps found\n{said}");
        assert_whole(&root);
        // The next one begins anew.
        testkit::made_by_layerfs(&root, &["image", "rm", "built:1"]);
    }
}

#[test]
fn builds_at_the_same_time_wait_for_each_other() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    let builds = [["-t", "one:1"], ["-t", "two:1"], ["-t", "three:1"]].map(|options| start(&root, &context, &options));
    for build in builds {
        let said = finish(build);
        assert!(said.contains("Successfully tagged"), "{said}");
    }
    assert_whole(&root);
    let names = testkit::made_by_layerfs(&root, &["images", "--format", "{{.Repository}}"]);
    assert_eq!(names.lines().filter(|name| ["one", "two", "three"].contains(name)).count(), 3, "{names}");
}

/// What a build must not do: nothing of the host gets into an image, whatever links a context has.
#[test]
fn nothing_outside_of_the_context_is_copied() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    let outside = dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "secret").unwrap();
    for (name, target) in
        [("absolute", outside.clone()), ("relative", PathBuf::from("../outside")), ("dots", "..".into())]
    {
        std::os::unix::fs::symlink(target, context.join(name)).unwrap();
    }
    for source in
        ["absolute/secret", "relative/secret", "dots/outside/secret", "../outside/secret", "/../outside/secret"]
    {
        std::fs::write(context.join("Dockerfile"), format!("FROM scratch\nCOPY {source} /x\n")).unwrap();
        let output = start(&root, &context, &[]).wait_with_output().unwrap();
        let says = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{source}: {says}");
        assert!(says.contains("COPY failed: "), "{source}: {says}");
    }
    assert_whole(&root);
}

/// Builds with standard output into a file that may grow by no more than `most` bytes.
fn build_into_small_file(root: &Path, context: &Path, options: &[&str], most: usize) -> std::process::Output {
    const LIMIT: usize = 64 << 20;
    let file = context.with_extension("out");
    std::fs::write(&file, "").unwrap();
    let out = std::fs::File::options().append(true).open(&file).unwrap();
    out.set_len((LIMIT - most) as u64).unwrap();
    let mut command = Command::new("sh");
    // In blocks of 512 bytes.
    command.args(["-c", &format!("ulimit -f {}; exec \"$@\"", LIMIT / 512), "sh"]).arg(testkit::program("layerfs"));
    command.arg("--root").arg(root).args(["build", "--no-cache"]).args(options).arg(context);
    command.stdin(Stdio::null()).stdout(out).stderr(Stdio::piped()).output().unwrap()
}

/// What a build says up to a line.
fn said_before(root: &Path, context: &Path, options: &[&str], line: &str) -> usize {
    let options = [&["--no-cache"], options].concat();
    let output = start(root, context, &options).wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    said.find(line).unwrap_or_else(|| panic!("no {line:?} in {said}{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn an_image_gets_all_its_names_at_once() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    let names = ["-t", "one:1", "-t", "two:1"];
    let most = said_before(&root, &context, &names, "Successfully tagged");
    testkit::made_by_layerfs(&root, &["image", "rm", "one:1", "two:1"]);
    let output = build_into_small_file(&root, &context, &names, most);
    let says = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), says.contains("writing the output")), (Some(1), true), "{says}");
    let found = testkit::made_by_layerfs(&root, &["images", "--format", "{{.Repository}}"]);
    assert_eq!(found.lines().filter(|name| ["one", "two"].contains(name)).count(), 2, "{found}");
}

#[test]
fn a_command_that_fails_is_why_a_build_fails_whatever_becomes_of_its_container() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    std::fs::write(context.join("Dockerfile"), "FROM layerfs-test/busybox:1\nRUN exit 7\n").unwrap();
    let options = ["--force-rm", "--runtime", "builtin"];
    let most = said_before(&root, &context, &options, "Removing intermediate container");
    let output = build_into_small_file(&root, &context, &options, most);
    let says = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{says}");
    assert!(says.contains("returned a non-zero code: 7"), "{says}");
    assert_whole(&root);
}
