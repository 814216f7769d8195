//! An image of some size, the same in every run.

use super::Random;
use super::image::DockerArchive;
use super::tar::{self, Member};

/// Its name.
pub(crate) const TAG: &str = "layerfs-test/synthetic:1";

/// Layers of about `bytes` bytes together: three quarters in `files` small files, the rest in a few large ones, and on top
/// of them whiteouts, an opaque directory, replaced files and a hard link.
pub(crate) fn layers(bytes: usize, files: usize) -> Vec<Vec<u8>> {
    let mut random = Random::new(20_260_101);
    let small = bytes * 3 / 4 / files;
    let mut content = |length: usize| -> Vec<u8> {
        // Neither all the same nor incompressible.
        let words: Vec<[u8; 8]> = (0..64).map(|_| random.below(u64::MAX).to_le_bytes()).collect();
        (0..length.div_ceil(8)).flat_map(|_| words[random.below(64) as usize]).take(length).collect()
    };
    let mut base: Vec<Member> = vec![tar::dir("usr/"), tar::dir("usr/share/"), tar::dir("var/").mode(0o1777)];
    let mut second: Vec<Member> = vec![tar::dir("opt/")];
    for number in 0..files {
        let (members, top) = if number % 3 == 0 { (&mut second, "opt") } else { (&mut base, "usr/share") };
        let dir = format!("{top}/package-{}", number / 40);
        if number % 40 < 3 {
            members.push(tar::dir(format!("{dir}/")).owner(7, 8));
        }
        members.push(tar::file(format!("{dir}/file-{number}"), content(small)).mtime(1_600_000_000 + number as u64));
    }
    for number in 0..4 {
        base.push(tar::file(format!("usr/large-{number}"), content(bytes / 16)).mode(0o755));
    }
    base.push(tar::hard_link("usr/large-link", "usr/large-0").mode(0o755));
    base.push(tar::symlink("usr/link", "share/package-0"));
    let third: Vec<Member> = (0..files / 20)
        .map(|number| tar::file(format!("usr/share/package-{number}/.wh.file-{}", number * 40 + 1), ""))
        .chain([tar::dir("opt/package-0/"), tar::file("opt/package-0/.wh..wh..opq", "")])
        .chain([tar::file("opt/package-0/new", "new"), tar::file("usr/.wh.link", "")])
        .collect();
    let top = [tar::dir("usr/"), tar::file("usr/large-1", "replaced"), tar::hard_link("usr/again", "usr/large-1")];
    [base, second, third, top.to_vec()].iter().map(tar::tar).collect()
}

/// The archive of such an image.
pub(crate) fn archive(bytes: usize, files: usize) -> Vec<u8> {
    DockerArchive::new(TAG, &layers(bytes, files)).build()
}
