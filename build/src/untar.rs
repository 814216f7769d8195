//! A tar unpacked into a tree, as docker unpacks one into a directory that counts as the root (moby v20.10.24
//! `pkg/archive/archive.go: Unpack, createTarFile`). Bodies go into a file without a name.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use images::tree::{Body, Layers, Node, NodeId, NodeKind, Tree, TreeError};
use layerfs::compress::{Compression, Decompressor};
use layerfs::path::{join, split};
use tarsplit::frame::{Frame, Framer};
use tarsplit::member::{Member, MemberKind};

use crate::parser::Dialect;
use crate::upper::{Upper, directory};

/// A tar that cannot be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UntarError {
    /// It cannot be read.
    #[error("reading it: {0}")]
    Read(io::Error),
    /// It is damaged.
    #[error(transparent)]
    Tar(#[from] tarsplit::TarError),
    /// A member leads out of the directory, or has a type that docker refuses.
    #[error("{}: {reason}", .name.escape_ascii())]
    Member {
        /// Its name.
        name: Vec<u8>,
        /// What is wrong.
        reason: &'static str,
    },
}

/// The bodies of a tar's members.
#[derive(Debug)]
pub(crate) struct Bodies {
    file: File,
    end: AtomicU64,
}

impl Bodies {
    /// Makes room for bodies in a file of the system's temporary directory.
    ///
    /// # Errors
    /// [`io::Error`]
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile()?, end: AtomicU64::new(0) })
    }
}

impl Layers for Bodies {
    fn len(&self) -> usize {
        1
    }

    fn tree(&self, _layer: usize) -> Result<Tree, TreeError> {
        Ok(Tree::empty())
    }

    fn open(&self, _layer: usize, _path: &[u8], size: u64, body: &Body) -> Result<Box<dyn Read + '_>, TreeError> {
        Ok(Box::new(Part { file: &self.file, at: body.offset, left: size }))
    }
}

/// A part of a file, read at its place.
pub(crate) struct Part<'f> {
    pub(crate) file: &'f File,
    pub(crate) at: u64,
    pub(crate) left: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

/// A compressed stream, decompressed as docker does it: by its first bytes. The classic builder, of docker 20.10, does not know
/// zstd: `None` then. BuildKit does (moby v28.5 `vendor/github.com/moby/go-archive/compression`).
pub(crate) fn decompressed<R: BufRead>(mut reader: R, dialect: Dialect) -> io::Result<Option<impl Read>> {
    if dialect == Dialect::Classic && Compression::sniff(reader.fill_buf()?) == Compression::Zstd {
        return Ok(None);
    }
    Decompressor::new(reader).map(Some)
}

/// Whether a stream, perhaps compressed, begins with a member of a tar (moby v20.10.24 `builder/dockerfile/copy.go:
/// isArchivePath`).
pub(crate) fn is_tar(reader: impl BufRead, dialect: Dialect) -> bool {
    let Ok(Some(mut reader)) = decompressed(reader, dialect) else { return false };
    let mut framer = Framer::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        let read = match reader.read(&mut piece) {
            Ok(0) | Err(_) => return false,
            Ok(read) => read,
        };
        let mut at = 0;
        while let Ok((taken, frame)) = framer.next(&piece[at..read]) {
            at += taken;
            match frame {
                Some(Frame::Member(_)) => return true,
                Some(Frame::End) => return false,
                None => break,
                Some(_) => {}
            }
        }
        if at < read {
            return false;
        }
    }
}

/// Unpacks a tar below the directory `dest` of a tree, and its bodies into `bodies`; with `picked`, the files are
/// picked from there for a layer. Returns the paths of members with the names they had.
///
/// # Errors
/// [`UntarError`]
pub(crate) fn untar<'s>(
    mut reader: impl Read,
    dest: &[u8],
    upper: &mut Upper<'s>,
    bodies: &Bodies,
    picked: Option<&'s Bodies>,
) -> Result<HashMap<Vec<u8>, Vec<u8>>, UntarError> {
    let mut framer = Framer::new();
    let mut piece = vec![0; 128 << 10];
    let mut names = HashMap::new();
    // Where the body of the current member goes, from its place in the file of all bodies.
    let mut body = None;
    let mut dirs: Vec<(Vec<u8>, tarsplit::pax::PaxTime)> = Vec::new();
    loop {
        let read = reader.read(&mut piece).map_err(UntarError::Read)?;
        if read == 0 {
            framer.finish()?;
            break;
        }
        let mut at = 0;
        loop {
            let (taken, frame) = framer.next(&piece[at..read])?;
            at += taken;
            match frame {
                None => break,
                Some(Frame::Member(member)) => {
                    let offset = bodies.end.load(Ordering::Relaxed);
                    body = Some((offset, member.spread()));
                    let end = offset.checked_add(member.size).ok_or_else(|| UntarError::Member {
                        name: member.name.clone(),
                        reason: "is longer than any file can be",
                    })?;
                    bodies.end.store(end, Ordering::Relaxed);
                    if let Some(path) = place(&member, dest, upper, offset, picked)? {
                        if member.kind == MemberKind::Directory {
                            dirs.push((path.clone(), member.mtime));
                        }
                        names.insert(path, member.name.clone());
                    }
                }
                Some(Frame::Body(mut bytes)) => {
                    let Some((start, spread)) = &mut body else { continue };
                    while let Some((to, part)) = spread.next(&mut bytes) {
                        bodies.file.write_all_at(part, *start + to).map_err(UntarError::Read)?;
                    }
                }
                Some(_) => {}
            }
        }
    }
    bodies.file.set_len(bodies.end.load(Ordering::Relaxed)).map_err(UntarError::Read)?;
    for (path, time) in dirs {
        if upper.is_directory(&path) {
            upper.directory_mut(&path).mtime = time;
        }
    }
    Ok(names)
}

/// Puts a member where it belongs; `None` if it is left out.
fn place<'s>(
    member: &Member,
    dest: &[u8],
    upper: &mut Upper<'s>,
    offset: u64,
    picked: Option<&'s Bodies>,
) -> Result<Option<Vec<u8>>, UntarError> {
    let wrong = |reason| UntarError::Member { name: member.name.clone(), reason };
    if member.kind == MemberKind::GlobalHeader {
        return Ok(None);
    }
    let name = tarsplit::names::clean(&member.name);
    let name = name.strip_prefix(b"/").unwrap_or(&name);
    if name == b".." || name.starts_with(b"../") {
        return Err(wrong("is outside of the directory"));
    }
    if matches!(name, b"" | b".") {
        return Ok(None);
    }
    let (parent, last) = split(name);
    let parent = upper.follow(dest, parent).map_err(|_| wrong("its directory cannot be reached"))?;
    upper.make_all(&parent, (0, 0)).map_err(|_| wrong("something that is no directory is in its way"))?;
    let path = join(&parent, last);
    let is_dir = member.kind == MemberKind::Directory;
    let kind = match member.kind {
        MemberKind::Directory => directory(),
        MemberKind::Regular | MemberKind::GnuSparse => {
            let body = Body { offset, stored: member.size, sparse: None };
            let kind = NodeKind::File { size: member.size, body };
            match picked {
                Some(bodies) => upper.picked.pick(bodies, 0, &path, &kind),
                None => kind,
            }
        }
        MemberKind::Symlink => {
            // An absolute one counts from where it stands, as in docker's check.
            let target = [split(name).0, &member.linkname].join(&b'/');
            let target = &target[target.iter().position(|&byte| byte != b'/').unwrap_or(target.len())..];
            if tarsplit::names::clean(target).split(|&byte| byte == b'/').next() == Some(b"..") {
                return Err(wrong("is a symlink that leads out of the directory"));
            }
            NodeKind::Symlink { target: member.linkname.clone() }
        }
        MemberKind::HardLink => {
            let id = target(member, dest, upper).ok_or_else(|| wrong("is a link to nothing in the directory"))?;
            upper.link(&path, id);
            return Ok(Some(path));
        }
        MemberKind::CharDevice => NodeKind::CharDevice(member.device.0, member.device.1),
        MemberKind::BlockDevice => NodeKind::BlockDevice(member.device.0, member.device.1),
        MemberKind::Fifo => NodeKind::Fifo,
        MemberKind::GlobalHeader | MemberKind::Other(_) => return Err(wrong("has a type that docker does not unpack")),
    };
    let node = Node {
        kind,
        mode: member.mode,
        uid: member.uid,
        gid: member.gid,
        mtime: member.mtime,
        xattrs: member.xattrs.clone(),
        layer: 0,
        parent: 0,
        names: 1,
    };
    if is_dir && upper.is_directory(&path) {
        let old = upper.directory_mut(&path);
        (old.mode, old.uid, old.gid, old.xattrs) = (node.mode, node.uid, node.gid, node.xattrs);
    } else {
        upper.put(&path, node);
    }
    Ok(Some(path))
}

/// What a hard link means.
fn target(member: &Member, dest: &[u8], upper: &mut Upper<'_>) -> Option<NodeId> {
    let name = tarsplit::names::clean(&member.linkname);
    let name = name.strip_prefix(b"/").unwrap_or(&name);
    if name == b".." || name.starts_with(b"../") {
        return None;
    }
    let (dir, last) = split(name);
    let dir = upper.follow(dest, dir).ok()?;
    upper.in_layer(&join(&dir, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tarsplit::pax::PaxTime;
    use tarsplit::write::{END, NewMember};

    fn tar(members: &[(u8, &str, &str)]) -> Vec<u8> {
        let mut tar = Vec::new();
        for (typeflag, name, link) in members {
            let member = NewMember {
                typeflag: *typeflag,
                name: name.as_bytes(),
                linkname: link.as_bytes(),
                mode: 0o644,
                uid: 0,
                gid: 0,
                size: 0,
                mtime: PaxTime::default(),
                device: (0, 0),
                xattrs: &[],
            };
            member.write(&mut tar);
        }
        tar.extend_from_slice(&END);
        tar
    }

    fn unpacked(members: &[(u8, &str, &str)]) -> Result<Vec<String>, String> {
        let mut upper = Upper::new(Tree::empty(), 0);
        let bodies = Bodies::new().unwrap();
        let done = untar(tar(members).as_slice(), b"dest", &mut upper, &bodies, None);
        done.map_err(|error| error.to_string())?;
        let mut walk = upper.layer.walk_below(Tree::ROOT, b"");
        let mut names = Vec::new();
        while let Some((path, _)) = walk.next() {
            names.push(String::from_utf8_lossy(path).into_owned());
        }
        Ok(names)
    }

    #[test]
    fn nothing_is_unpacked_outside() {
        for members in [
            &[(b'0', "../x", "")][..],
            &[(b'0', "a/../../x", "")],
            &[(b'2', "a", "../../x")],
            &[(b'2', "a", "/../x")],
            &[(b'1', "a", "../x")],
            &[(b'1', "a", "nothing")],
        ] {
            assert!(unpacked(members).is_err(), "{members:?}");
        }
        // An absolute link leads from the directory.
        let names =
            unpacked(&[(b'5', "real/", ""), (b'2', "link", "/real"), (b'0', "link/x", ""), (b'0', ".wh.y", "")]);
        assert_eq!(names.unwrap(), ["dest", "dest/.wh.y", "dest/link", "dest/real", "dest/real/x"]);
    }

    #[test]
    fn links_and_replacements() {
        let names =
            unpacked(&[(b'0', "a", ""), (b'1', "b", "a"), (b'5', "a/", ""), (b'0', "a/x", ""), (b'6', "b", "")]);
        assert_eq!(names.unwrap(), ["dest", "dest/a", "dest/a/x", "dest/b"]);
    }

    #[test]
    fn zstd_is_known_to_buildkit_alone() {
        let plain = tar(&[(b'0', "a", "")]);
        let packed = |bytes: &[u8]| layerfs::compress::encode::Encoding::Zstd(3).block(bytes).unwrap();
        for dialect in [Dialect::Classic, Dialect::Modern] {
            let modern = dialect == Dialect::Modern;
            assert!(is_tar(plain.as_slice(), dialect), "{dialect:?}");
            assert_eq!(is_tar(packed(&plain).as_slice(), dialect), modern, "{dialect:?}");
            assert_eq!(decompressed(packed(&plain).as_slice(), dialect).unwrap().is_some(), modern, "{dialect:?}");
            // What is no tar inside, or ends early, is none.
            let cut = packed(&plain);
            for other in [packed(b"text"), packed(b""), cut[..8].to_vec(), b"text".to_vec(), Vec::new()] {
                assert!(!is_tar(other.as_slice(), dialect), "{dialect:?} {other:?}");
            }
        }
        let mut all = Vec::new();
        decompressed(packed(&plain).as_slice(), Dialect::Modern).unwrap().unwrap().read_to_end(&mut all).unwrap();
        assert_eq!(all, plain);
    }
}
