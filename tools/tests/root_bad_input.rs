//! Archives that nothing can be made of, into a data-root: refused with the file and the reason, and the root is as before.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::Path;

use tempfile::TempDir;
use testkit::bad::{self, Bad};
use testkit::run::{Input, Ran, layer_unpack, layerfs, run};
use testkit::{TreeState, cut, tarfile};

/// A directory with a data-root that holds an image, and place for one that does not exist.
struct Roots {
    dir: TempDir,
}

impl Roots {
    fn new() -> Self {
        let dir = testkit::scratch();
        let busybox = testkit::golden("busybox-20.10.tar");
        import(busybox.to_str().unwrap(), &dir.path().join("used"), Input::Nothing).ok();
        Self { dir }
    }

    /// What is wrong after `attempt` was made with either root. `exact` says that nothing may have been tried out.
    fn after(&self, exact: bool, attempt: impl Fn(&Path) -> Vec<String>) -> Vec<String> {
        let (used, new) = (self.dir.path().join("used"), self.dir.path().join("new"));
        let mut before = TreeState::read(&used);
        let mut report: Vec<String> = [&used, &new].into_iter().flat_map(|root| attempt(root)).collect();
        let mut now = TreeState::read(&used);
        if !exact {
            (before, now) = (before.without_directory_times(), now.without_directory_times());
        }
        report.extend(before.changes(&now).into_iter().map(|change| format!("the root has changed: {change}")));
        if new.exists() {
            report.push("a root was made".into());
            std::fs::remove_dir_all(&new).unwrap();
        }
        report
    }

    /// Gives an archive to each command in each way.
    fn attempt(&self, title: &str, archive: &[u8], exact: bool, words: &[&str], piped: &[&str]) -> Vec<String> {
        let path = self.dir.path().join("bad.tar");
        std::fs::write(&path, archive).unwrap();
        let from_file = |root: &Path| import(path.to_str().unwrap(), root, Input::Nothing).complaints(words);
        let from_stdin = |root: &Path| import("-", root, Input::File(&path)).complaints(words);
        let from_pipe = |root: &Path| load(root, Input::Pipe(archive)).complaints(piped);
        let mut report = titled(title, self.after(exact, from_file));
        report.extend(titled(&format!("{title}, standard input"), self.after(exact, from_stdin)));
        report.extend(titled(&format!("{title}, pipe"), self.after(false, from_pipe)));
        report
    }
}

fn import(archive: &str, root: &Path, input: Input<'_>) -> Ran {
    run(layer_unpack(&[archive.as_ref(), "--no-sync".as_ref(), "--root".as_ref(), root.as_os_str()]), input)
}

fn load(root: &Path, input: Input<'_>) -> Ran {
    run(layerfs(&["image".as_ref(), "load".as_ref(), "--root".as_ref(), root.as_os_str()]), input)
}

fn titled(title: &str, report: Vec<String>) -> Vec<String> {
    report.into_iter().map(|line| format!("{title}: {line}")).collect()
}

#[test]
fn root_is_not_changed_by_a_bad_archive() {
    if !testkit::is_root() {
        return;
    }
    let roots = Roots::new();
    let mut report = Vec::new();
    for Bad { title, archive, words, piped, early } in bad::archives() {
        report.extend(roots.attempt(title, &archive, early, words, piped));
    }
    testkit::assert_none("bad archives", &report);
}

#[test]
fn root_is_not_changed_by_a_cut_archive() {
    if !testkit::is_root() {
        return;
    }
    let roots = Roots::new();
    let mut report = Vec::new();
    for (golden, every) in [("docker-archive-skopeo.tar", 3), ("layers-20.10.tar", 29), ("oci-umoci.tar", 4)] {
        let whole = std::fs::read(testkit::golden(golden)).unwrap();
        for cut::Cut { at, outcome } in cut::cuts(&whole, every) {
            let title = format!("{golden} cut at {at}");
            if outcome == cut::CutOutcome::Whole {
                let root = roots.dir.path().join("whole");
                let path = roots.dir.path().join("cut.tar");
                std::fs::write(&path, &whole[..at]).unwrap();
                for (archive, input) in [(path.to_str().unwrap(), Input::Nothing), ("-", Input::Pipe(&whole[..at]))] {
                    let ran = import(archive, &root, input);
                    if ran.code != Some(0) {
                        report.push(format!("{title}: all of its images are there: {}", ran.stderr));
                    }
                    std::fs::remove_dir_all(&root).unwrap();
                }
                continue;
            }
            report.extend(roots.attempt(&title, &whole[..at], false, cut::WORDS, cut::WORDS));
        }
    }
    testkit::assert_none("cut archives", &report);
}

#[test]
fn root_is_not_changed_by_what_is_no_archive() {
    if !testkit::is_root() {
        return;
    }
    let roots = Roots::new();
    let not_an_image = ["neither manifest.json nor index.json", "not an image archive"];
    let plain = tarfile::tar(&[tarfile::dir("etc/"), tarfile::file("etc/passwd", "root:x:0:0::/:/bin/sh\n")]);
    let mut report = roots.attempt("a root file system", &plain, true, &not_an_image, &not_an_image);
    report.extend(roots.attempt("an empty file", b"", true, &["is empty"], &["is empty"]));
    let not_a_tar = ["bad.tar", "neither a tar archive nor compressed in a known way"];
    for (title, bytes) in [("a short text", &b"hello\n"[..]), ("a long text", &b"hello\n".repeat(1000))] {
        // From standard input the name is `-`.
        report.extend(roots.attempt(title, bytes, true, &not_a_tar[1..], &[]));
    }
    let directory = roots.dir.path().join("directory");
    std::fs::create_dir(&directory).unwrap();
    let paths: [(&str, &[&str]); 4] = [
        (directory.to_str().unwrap(), &["directory: neither manifest.json nor index.json"]),
        ("/dev/null", &["/dev/null: is empty"]),
        ("/no/such/file", &["opening /no/such/file", "No such file or directory"]),
        ("/etc/passwd/x", &["opening /etc/passwd/x", "Not a directory"]),
    ];
    for (path, words) in paths {
        let exact = path != "/dev/null";
        report.extend(titled(path, roots.after(exact, |root| import(path, root, Input::Nothing).complaints(words))));
        let load = |root: &Path| {
            let arguments = ["image", "load", "-i", path, "--root", root.to_str().unwrap()];
            run(layerfs(&arguments), Input::Nothing).complaints(words)
        };
        report.extend(titled(path, roots.after(exact, load)));
    }
    testkit::assert_none("no archives", &report);
}
