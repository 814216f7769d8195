//! podman reads what `layerfs save` writes and what `layerfs push` pushes, and `layerfs pull` what podman pushes: archives and layouts, however their layers are compressed. Its storage is another one than
//! docker's, and so is its reader. `just podman` runs this: podman is no part of the other tiers.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::Path;
use std::process::{Command, Stdio};

use testkit::TreeState;
use testkit::registry::{Registry, layerfs_anonymous};

const IMAGE: &str = "layerfs-test/layers:1";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// podman with a store of its own, below a directory.
struct Podman<'d>(&'d Path);

impl Podman<'_> {
    /// Runs a command. Returns what it printed.
    fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("podman");
        for (flag, place) in [("--root", "store"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            command.arg(flag).arg(self.0.join(place));
        }
        command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none"]);
        let output = command.args(arguments).current_dir(self.0).stdin(Stdio::null()).output().unwrap();
        testkit::succeeded(&format!("podman {arguments:?}"), output)
    }

    /// The names of an image's files and what kinds they are, as the host sees them where podman has mounted it.
    fn files(&self, image: &str) -> Vec<String> {
        let place = self.run(&["image", "mount", image]);
        let shown = ["-mindepth", "1", "-printf", "%P %y %m %s %l\n"];
        let printed = Command::new("find").arg(place.trim()).args(shown).output().unwrap();
        self.run(&["image", "unmount", image]);
        let mut files: Vec<String> = String::from_utf8_lossy(&printed.stdout)
            .lines()
            // The sizes of directories depend on the file system.
            .map(
                |line| {
                    if line.contains(" d ") { line.split(" d ").next().unwrap().to_owned() } else { line.to_owned() }
                },
            )
            .collect();
        files.sort();
        files
    }
}

#[test]
fn podman_reads_what_was_saved() {
    let installed = Command::new("podman").arg("--version").output().is_ok();
    if !testkit::tier("podman", installed, "install podman") || !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let ours = dir.path().join("ours");
    testkit::import(&testkit::golden("layers-20.10.tar"), &ours);
    let layerfs = |arguments: &[&str]| testkit::layerfs(&[&["--root", text(&ours)], arguments].concat());
    let id = layerfs(&["image", "inspect", "-f", "{{.Id}}", IMAGE]);
    let id = id.trim().trim_start_matches("sha256:");
    let docker = testkit::golden("layers-20.10.tar");
    let podman = Podman(dir.path());
    podman.run(&["load", "-i", text(&docker)]);
    let expected = podman.files(id);
    assert!(expected.len() > 3, "{expected:?}");
    podman.run(&["rmi", "--all", "-f"]);
    for packed in ["none", "gzip", "zstd"] {
        let both = dir.path().join(format!("{packed}.tar"));
        layerfs(&["save", "-q", "-o", text(&both), IMAGE, "--compress", packed]);
        let layout = dir.path().join(format!("{packed}-layout"));
        layerfs(&["save", "-q", "--format", "oci", "--directory", text(&layout), IMAGE, "--compress", packed]);
        let oci = dir.path().join(format!("{packed}-oci.tar"));
        layerfs(&["save", "-q", "--format", "oci", "-o", text(&oci), IMAGE, "--compress", packed]);
        for (source, how) in [
            (text(&both).to_owned(), &["load", "-i"][..]),
            (text(&oci).to_owned(), &["load", "-i"]),
            (format!("docker-archive:{}", text(&both)), &["pull", "-q"]),
            (format!("oci-archive:{}", text(&both)), &["pull", "-q"]),
            // podman names the image after the path, which must be what an image may be called.
            (format!("oci:{packed}-layout"), &["pull", "-q"]),
        ] {
            podman.run(&[how, &[&source]].concat());
            let images = podman.run(&["images", "-q", "--no-trunc"]);
            let found = images.lines().next().unwrap_or_default().trim_start_matches("sha256:").to_owned();
            assert_eq!(images.lines().count(), 1, "{source}: {images}");
            assert_eq!(found, id, "{source}");
            assert!(podman.files(id) == expected, "{source}");
            podman.run(&["rmi", "--all", "-f"]);
        }
    }
}

/// podman pulls what was pushed, however its layers are compressed, and what podman has pushed is pulled: same images, same files.
#[test]
fn podman_pulls_what_was_pushed_and_the_other_way_round() {
    let installed = Command::new("podman").arg("--version").output().is_ok();
    if !testkit::tier("podman", installed, "install podman") || !testkit::is_root() || !Registry::installed("podman") {
        return;
    }
    let dir = testkit::scratch();
    let registry = Registry::start(&dir.path().join("registry"));
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    testkit::import(&testkit::golden("layers-20.10.tar"), &ours);
    let layerfs = |arguments: &[&str]| layerfs_anonymous(&ours, arguments).ok().stdout;
    let id = layerfs(&["image", "inspect", "-f", "{{.Id}}", IMAGE]);
    let id = id.trim().trim_start_matches("sha256:");
    let podman = Podman(dir.path());
    podman.run(&["load", "-i", text(&testkit::golden("layers-20.10.tar"))]);
    let expected = podman.files(id);
    let pushed = format!("{}/by/podman:1", registry.host);
    podman.run(&["push", "-q", "--tls-verify=false", id, &pushed]);
    podman.run(&["rmi", "--all", "-f"]);
    for options in [&[][..], &["--format", "oci"], &["--format", "oci", "--compress", "zstd"]] {
        let name = format!("{}/by/layerfs:{}", registry.host, options.len());
        layerfs(&["tag", IMAGE, &name]);
        layerfs(&[&["push", "-q"], options, &[&name]].concat());
        podman.run(&["pull", "-q", "--tls-verify=false", &name]);
        assert_eq!(podman.run(&["images", "-q", "--no-trunc"]).trim(), format!("sha256:{id}"), "{options:?}");
        assert!(podman.files(id) == expected, "{options:?}");
        podman.run(&["rmi", "--all", "-f"]);
    }
    layerfs_anonymous(&theirs, &["pull", "-q", &pushed]).ok();
    let found = layerfs_anonymous(&theirs, &["image", "inspect", "-f", "{{.Id}}", &pushed]).ok().stdout;
    // Directories that no layer has an entry for have the time of the unpacking.
    let tree = |path: &Path| TreeState::read(path).without_directory_times();
    // podman may write the config of an image of docker's anew, as OCI's.
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    for (root, image, to) in [(&ours, IMAGE, &one), (&theirs, found.trim(), &other)] {
        let archive = dir.path().join("image.tar");
        layerfs_anonymous(root, &["image", "save", "-o", text(&archive), image]).ok();
        let unpacked = Command::new(testkit::program("layer-unpack")).arg(&archive).arg("--rootfs").arg(to).output();
        testkit::succeeded("layer-unpack", unpacked.unwrap());
        std::fs::remove_file(archive).unwrap();
    }
    testkit::assert_none("different", &tree(&one).changes(&tree(&other)));
}
