//! `image rm` of a layer that cannot all be deleted: the image is gone at once, what stays is named, and the next command that
//! writes finishes it.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use testkit::image::DockerArchive;
use testkit::mounts::Mounted;
use testkit::tarfile;

fn rm(root: &Path, image: &str) -> Output {
    Command::new(testkit::program("layerfs")).arg("--root").arg(root).args(["image", "rm", image]).output().unwrap()
}

/// Imports an image of one layer, and another one. Returns the directory of the first one's layer.
fn store(dir: &Path) -> (PathBuf, PathBuf) {
    let root = dir.join("root");
    let files = (0..300).map(|number| tarfile::file(format!("d{}/f{number}", number % 30), "content"));
    let first = DockerArchive::new("layerfs-test/first:1", &[tarfile::tar(&files.collect::<Vec<_>>())]);
    let second = DockerArchive::new("layerfs-test/second:1", &[tarfile::tar(&[tarfile::file("f", "")])]);
    for (name, archive) in [("first.tar", first), ("second.tar", second)] {
        std::fs::write(dir.join(name), archive.build()).unwrap();
        testkit::import(&dir.join(name), &root);
    }
    let mut layers = std::fs::read_dir(root.join("overlay2")).unwrap().map(|entry| entry.unwrap().path());
    let layer = layers.find(|layer| layer.join("diff/d7").exists()).unwrap();
    (root, layer)
}

fn chattr(change: &str, path: &Path) {
    assert!(Command::new("chattr").arg(change).arg(path).status().unwrap().success());
}

#[test]
fn root_what_cannot_be_deleted_is_named() {
    if !testkit::tier("root", testkit::is_root(), "run as root") {
        return;
    }
    let disk = Mounted::ext4(128 << 20);
    let (root, layer) = store(disk.path());
    let file = layer.join("diff/d7/f37");
    chattr("+i", &file);
    let output = rm(&root, "layerfs-test/first:1");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let expected =
        format!("removing {}: it is immutable (chattr +i); `chattr -i` takes that attribute away", file.display());
    assert!(stderr.contains(&expected), "{stderr}");
    let made = "the change was made, but cleaning up after it failed; the next command that writes finishes it";
    assert!(stderr.contains(made), "{stderr}");
    // The image is gone, and all of its layer but what stands in the way.
    let names = testkit::layerfs(&["--root", root.to_str().unwrap(), "image", "ls", "--format", "{{.Repository}}"]);
    assert_eq!(names, "layerfs-test/second\n");
    let left = Command::new("find").arg(&layer).args(["-type", "f"]).output().unwrap();
    assert_eq!(String::from_utf8(left.stdout).unwrap().trim_end(), file.to_str().unwrap());
    chattr("-i", &file);
    assert_eq!(rm(&root, "layerfs-test/second:1").status.code(), Some(0));
    let home: Vec<_> = std::fs::read_dir(root.join("overlay2")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(home, [root.join("overlay2/l")]);
    assert_eq!(std::fs::read_dir(root.join("overlay2/l")).unwrap().count(), 0);
}
