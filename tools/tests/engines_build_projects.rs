//! Projects of kinds that people have, built here and by BuildKit of docker 28.5 and 20.10: the same configs, histories and files.
//!
//! The monorepo has 2,000 files, and 50,000 with `LAYERFS_SWEEP=full`. Then there are also projects for a system with apt, pip and
//! cargo, made of this machine's, which takes some GB.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod buildsupport;

use std::path::Path;
use std::process::Command;

use buildsupport::DockerfileCase;
use buildsupport::both::{Both, Made};
use testkit::Turn;
use testkit::engines::Engine;

/// Runs a script of the test data in a directory.
fn run(script: &str, arguments: &[&str], dir: &Path) {
    let script = testkit::testdata(&format!("dockerfiles/{script}"));
    let output = Command::new("sh").arg(script).args(arguments).current_dir(dir).output().unwrap();
    testkit::succeeded("the script", output);
}

/// Gives both the image layerfs-test/NAME:1 of the tar NAME.tar.
fn give_base(both: &Both, name: &str) {
    let (tar, archive) = (both.root(&format!("{name}.tar")), both.root(&format!("{name}-image.tar")));
    let [tar, archive] = [&tar, &archive].map(|path| path.to_str().unwrap());
    let image = format!("layerfs-test/{name}:1");
    testkit::made_by_layerfs(&both.root("ours"), &["image", "import", tar, &image]);
    testkit::made_by_layerfs(&both.root("ours"), &["image", "save", "-o", archive, &image]);
    both.daemon.load(Path::new(archive));
    for file in [tar, archive] {
        std::fs::remove_file(file).unwrap();
    }
}

/// Builds all projects that the frontend of an engine can read.
fn build_all(engine: &Engine, turn: Turn, can_read: impl Fn(&DockerfileCase) -> bool) {
    let mut both = Both::start(engine, turn);
    let dir = both.dir.path().to_owned();
    let projects = dir.join("projects");
    std::fs::create_dir(&projects).unwrap();
    run("projects.sh", &[if testkit::full_sweep() { "50000" } else { "2000" }], &projects);
    run("tools.sh", &["tools.tar"], &dir);
    give_base(&both, "tools");
    let mut cases = buildsupport::cases_of("dockerfiles/projects.txt");
    if testkit::full_sweep() {
        run("systems.sh", &["system.tar", projects.to_str().unwrap()], &dir);
        give_base(&both, "system");
        cases.extend(buildsupport::cases_of("dockerfiles/systems.txt"));
    }
    let mut made: Vec<Made> = Vec::new();
    for case in cases.iter().filter(|case| can_read(case)) {
        both.context = projects.join(&case.name);
        let said = |(ours, theirs)| panic!("{}:\n{ours}\n{theirs}", case.name);
        let one = both.build(case).unwrap_or_else(said);
        // Nothing has changed, so nothing is done again, and the image is the same.
        assert_eq!(both.build_ours(case), one.our_id, "{}", case.name);
        made.push(one);
    }
    assert!(made.len() >= 9, "{}", made.len());
    drop(both.end(&made));
}

#[test]
fn projects_become_what_buildkit_of_docker_28_makes_of_them() {
    let Some((engines, turn)) = testkit::engines::engines() else { return };
    build_all(testkit::engines::docker_28(&engines), turn, |_| true);
}

#[test]
fn projects_become_what_buildkit_of_docker_20_makes_of_them() {
    let Some(turn) = testkit::docker() else { return };
    // Its frontend has no texts within a Dockerfile.
    build_all(&Engine::system(), turn, |case| !case.text.contains("<<"));
}
