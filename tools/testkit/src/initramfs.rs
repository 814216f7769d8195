//! The files of a virtual machine, in the form that the kernel unpacks at its start: a `cpio` archive of the kind "newc".
//!
//! `Documentation/driver-api/early-userspace/buffer-format.rst` of the kernel describes the form.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An archive that is being written.
#[derive(Debug)]
pub(crate) struct Initramfs {
    to: BufWriter<File>,
    members: u32,
    /// What is in it, by the path in the machine.
    names: BTreeSet<PathBuf>,
}

impl Initramfs {
    /// Begins an archive in a new file.
    pub(crate) fn create(path: &Path) -> Self {
        Self { to: BufWriter::new(File::create_new(path).unwrap()), members: 0, names: BTreeSet::new() }
    }

    /// Adds a directory and those above it.
    pub(crate) fn directory(&mut self, path: &Path) {
        if path == Path::new("/") || !self.names.insert(path.to_owned()) {
            return;
        }
        self.directory(path.parent().unwrap());
        self.header(path, 0o040_755, 0);
    }

    /// Adds a file with this content.
    pub(crate) fn file(&mut self, path: &Path, mode: u32, content: &[u8]) {
        if !self.names.insert(path.to_owned()) {
            return;
        }
        self.directory(path.parent().unwrap());
        self.header(path, 0o100_000 | mode, content.len());
        self.to.write_all(content).unwrap();
        self.pad(content.len());
    }

    /// Adds a file of this machine.
    pub(crate) fn copy(&mut self, from: &Path, path: &Path) {
        let content = std::fs::read(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        let mode = std::fs::metadata(from).unwrap().permissions().mode() & 0o777;
        self.file(path, mode, &content);
    }

    /// Adds a program of this machine, with the libraries that it is linked to.
    pub(crate) fn program(&mut self, from: &Path, path: &Path) {
        self.program_with(from, path, Path::new("/"), "lib");
    }

    /// Adds a program that was unpacked below `unpacked`, as are those of its libraries that are in the directory `libraries` there.
    pub(crate) fn program_with(&mut self, from: &Path, path: &Path, unpacked: &Path, libraries: &str) {
        self.copy(from, path);
        let more = unpacked.join(libraries);
        let output = Command::new("/usr/bin/ldd").arg(from).env("LD_LIBRARY_PATH", &more).output().unwrap();
        // ldd fails for a program without libraries.
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            if let Some(library) = line.split_whitespace().map(Path::new).find(|word| word.is_absolute()) {
                let to =
                    library.strip_prefix(unpacked).map_or(library.to_owned(), |inside| Path::new("/").join(inside));
                self.copy(library, &to);
            }
        }
    }

    /// Adds a program that was built here, without its debug information, which is most of it and which the machine would only
    /// unpack into its memory.
    pub(crate) fn own_program(&mut self, from: &Path, path: &Path) {
        let stripped = tempfile::NamedTempFile::new().unwrap();
        let output =
            Command::new("strip").arg("--strip-debug").arg("-o").arg(stripped.path()).arg(from).output().unwrap();
        assert!(output.status.success(), "strip: {}", String::from_utf8_lossy(&output.stderr));
        std::fs::set_permissions(stripped.path(), PermissionsExt::from_mode(0o755)).unwrap();
        self.program(stripped.path(), path);
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) {
        self.header(Path::new("/TRAILER!!!"), 0, 0);
        self.to.flush().unwrap();
    }

    fn header(&mut self, path: &Path, mode: u32, size: usize) {
        let name = path.strip_prefix("/").unwrap().to_str().unwrap();
        self.members += 1;
        let (inode, length) = (self.members, name.len() + 1);
        let links = if mode & 0o170_000 == 0o040_000 { 2 } else { 1 };
        // inode, mode, uid, gid, links, mtime, size, device (two numbers), device it is (two), length of the name, checksum
        let fields =
            [inode, mode, 0, 0, links, 0, u32::try_from(size).unwrap(), 0, 0, 0, 0, u32::try_from(length).unwrap(), 0];
        self.to.write_all(b"070701").unwrap();
        fields.iter().for_each(|field| write!(self.to, "{field:08x}").unwrap());
        self.to.write_all(name.as_bytes()).unwrap();
        self.to.write_all(&[0]).unwrap();
        self.pad(110 + length);
    }

    /// Each header and each content ends at a multiple of four bytes.
    fn pad(&mut self, length: usize) {
        self.to.write_all(&[0; 3][..length.next_multiple_of(4) - length]).unwrap();
    }
}
