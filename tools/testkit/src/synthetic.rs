//! An image of some size, the same in every run.

use super::Random;
use super::image::DockerArchive;
use super::tarfile::{self, TarMember};

/// The image's name.
pub const TAG: &str = "layerfs-test/synthetic:1";

/// Layers of about `bytes` bytes together: three quarters in `files` small files, the rest in a few large ones, and on top
/// of them whiteouts, an opaque directory, replaced files and a hard link.
pub fn layers(bytes: usize, files: usize) -> Vec<Vec<u8>> {
    let mut random = Random::new(20_260_101);
    let small = bytes * 3 / 4 / files;
    let mut content = |length: usize| -> Vec<u8> {
        // Neither all the same nor incompressible.
        let words: Vec<[u8; 8]> = (0..64).map(|_| random.below(u64::MAX).to_le_bytes()).collect();
        (0..length.div_ceil(8)).flat_map(|_| words[random.below(64) as usize]).take(length).collect()
    };
    let mut base: Vec<TarMember> =
        vec![tarfile::dir("usr/"), tarfile::dir("usr/share/"), tarfile::dir("var/").mode(0o1777)];
    let mut second: Vec<TarMember> = vec![tarfile::dir("opt/")];
    for number in 0..files {
        let (members, top) = if number % 3 == 0 { (&mut second, "opt") } else { (&mut base, "usr/share") };
        let dir = format!("{top}/package-{}", number / 40);
        if number % 40 < 3 {
            members.push(tarfile::dir(format!("{dir}/")).owner(7, 8));
        }
        members
            .push(tarfile::file(format!("{dir}/file-{number}"), content(small)).mtime(1_600_000_000 + number as u64));
    }
    for number in 0..4 {
        base.push(tarfile::file(format!("usr/large-{number}"), content(bytes / 16)).mode(0o755));
    }
    base.push(tarfile::hard_link("usr/large-link", "usr/large-0").mode(0o755));
    base.push(tarfile::symlink("usr/link", "share/package-0"));
    let third: Vec<TarMember> = (0..files / 20)
        .map(|number| tarfile::file(format!("usr/share/package-{number}/.wh.file-{}", number * 40 + 1), ""))
        .chain([tarfile::dir("opt/package-0/"), tarfile::file("opt/package-0/.wh..wh..opq", "")])
        .chain([tarfile::file("opt/package-0/new", "new"), tarfile::file("usr/.wh.link", "")])
        .collect();
    let top = [
        tarfile::dir("usr/"),
        tarfile::file("usr/large-1", "replaced"),
        tarfile::hard_link("usr/again", "usr/large-1"),
    ];
    [base, second, third, top.to_vec()].iter().map(tarfile::tar).collect()
}

/// The archive of such an image.
pub fn archive(bytes: usize, files: usize) -> Vec<u8> {
    DockerArchive::new(TAG, &layers(bytes, files)).build()
}
