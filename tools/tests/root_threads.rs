//! Threads that the system does not give (`pids.max`, `RLIMIT_NPROC`): the work is done with fewer, or an error says so.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::Path;
use std::process::Command;

use testkit::image::DockerArchive;
use testkit::run::{self, Input, Ran};
use testkit::tarfile as tar;

/// Layers that share nothing, and the first of them once more.
fn archive() -> Vec<u8> {
    let layer = |number: usize| {
        let file = |file: usize| tar::file(format!("d{number}/f{file}"), vec![b'x'; 3000 * file]);
        tar::tar(&(0..30).map(file).collect::<Vec<_>>())
    };
    DockerArchive::new("threads:1", &[layer(1), layer(2), layer(3), layer(1)]).build()
}

/// Runs a program to which the kernel gives only the first `threads` threads that it asks for.
fn run(program: &str, arguments: &[&str], input: Input<'_>, threads: usize) -> Ran {
    let mut strace = Command::new("strace");
    let inject = format!("inject=clone,clone3:error=EAGAIN:when={}+", threads + 1);
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=clone,clone3", "-e", &inject, program]).args(arguments);
    run::run(strace, input)
}

#[test]
fn root_programs_work_with_the_threads_they_get() {
    let strace = Command::new("strace").arg("--version").output().is_ok();
    if !testkit::is_root() || !testkit::tier("root", strace, "install strace") {
        return;
    }
    let dir = testkit::scratch();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (file, root) = (path("image.tar"), path("root"));
    let archive = archive();
    std::fs::write(&file, &archive).unwrap();
    let (unpack, du) = (env!("CARGO_BIN_EXE_layer-unpack"), env!("CARGO_BIN_EXE_image-du"));
    let mut report = Vec::new();
    let since = testkit::now();
    let mut trees: Vec<Vec<_>> = vec![Vec::new(), Vec::new()];
    for threads in [9, 2, 1, 0] {
        for (way, trees) in ["--rootfs", "--layers"].into_iter().zip(&mut trees) {
            let to = path(&format!("to{way}{threads}"));
            for (input, name) in [(Input::Nothing, file.as_str()), (Input::Pipe(&archive), "-")] {
                let ran = run(unpack, &[name, way, &to, "--threads", "6"], input, threads);
                if ran.code != Some(0) || ran.stderr.contains("panicked") {
                    report.push(format!("{way} from {name} with {threads} threads: {:?} {}", ran.code, ran.stderr));
                }
                if Path::new(&to).exists() {
                    trees.push(testkit::lasting_walk(Path::new(&to), since));
                    std::fs::remove_dir_all(&to).unwrap();
                }
            }
        }
        let ran = run(
            unpack,
            &[&file, "--layers", &path("bench"), "--bench", "1", "--threads", "4"],
            Input::Nothing,
            threads,
        );
        if ran.code != Some(0) || ran.stderr.contains("panicked") {
            report.push(format!("--bench with {threads} threads: {:?} {}", ran.code, ran.stderr));
        }
        let ran = run(unpack, &[&file, "--root", &format!("{root}{threads}")], Input::Nothing, threads);
        if ran.code != Some(0) {
            report.push(format!("--root with {threads} threads: {:?} {}", ran.code, ran.stderr));
        }
    }
    for trees in &trees {
        assert!(trees.iter().all(|tree| *tree == trees[0]), "the trees differ");
        assert!(trees[0].len() > 90, "{}", trees[0].len());
    }

    // A layer that a pipe brings once and an image needs twice is made again with a thread of its own: here an error will do.
    let ran = run(unpack, &["-", "--root", &path("piped")], Input::Pipe(&archive), 0);
    if ran.stderr.contains("panicked") || !matches!(ran.code, Some(0 | 1)) {
        report.push(format!("--root from a pipe: {:?} {}", ran.code, ran.stderr));
    }

    let (mut reports, root) = (Vec::new(), format!("{root}9"));
    for threads in [9, 1, 0] {
        for arguments in [&["--json", "--threads", "5"][..], &["--json", "--files", "--threads", "5"]] {
            let arguments = [&["--root", root.as_str()][..], arguments].concat();
            let ran = run(du, &arguments, Input::Nothing, threads);
            if ran.code != Some(0) || ran.stderr.contains("panicked") {
                report.push(format!("{arguments:?} with {threads} threads: {:?} {}", ran.code, ran.stderr));
            }
            reports.push(ran.stdout);
        }
    }
    assert!(reports.chunks(2).all(|pair| pair == &reports[..2]), "image-du's answers differ");
    testkit::assert_none("threads", &report);
}
