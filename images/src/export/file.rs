//! A tree as a tar in a file of its own, by several threads.
//!
//! ```text
//! walk -> parts of the tar, each with its place (one thread at a time) -> bodies are read and written at their places (all threads)
//! ```
//!
//! A tree tells how long each member is, and so where each part of the tar begins, before any file is read. A thread
//! that has nothing to do makes the next part: its headers, and which bodies come between them. It then reads these
//! bodies into a buffer behind the headers and writes the buffer, so that all bytes stay in one processor's cache.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use layerfs::pool::spawn_helpers;
use tarsplit::write::padding;

use super::{ExportError, ExportForm, Exporter, read_announced};
use crate::load::Observer;
use crate::tree::{Layers, NodeId, Tree, TreeError, Walk};

/// Bytes of a part, unless a single file is longer: enough for one write to be worth its call, and few enough for a cache.
const PART: u64 = 256 << 10;

/// Like [`export`](super::export), but into a file that has nothing in it, with several threads. Returns the number of
/// members.
///
/// # Errors
/// [`ExportError`]; what is in the file then is of no use.
pub fn export_to_file(
    layers: &dyn Layers,
    file: &File,
    interrupted: &AtomicBool,
    observer: &dyn Observer,
) -> Result<u64, ExportError> {
    let tree = read_announced(layers, observer)?;
    let plan = Mutex::new(Plan::new(&tree, interrupted));
    let failed = Mutex::new(None);
    let stop = AtomicBool::new(false);
    let work = || {
        let mut writing = Writing { file, position: 0, buffer: vec![0; 256 << 10], filled: 0, observer };
        while !stop.load(Ordering::Relaxed) {
            let part = plan.lock().unwrap_or_else(PoisonError::into_inner).next();
            let begin = part.as_ref().map_or(u64::MAX, |part| part.begin);
            match part.and_then(|part| writing.part(&part, &tree, layers, interrupted).map(|()| part.is_last)) {
                Ok(false) => {}
                Ok(true) => return,
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    // Of several errors, the one that is first in the tar is reported, whichever thread was first.
                    if failed.as_ref().is_none_or(|&(other, _)| begin < other) {
                        *failed = Some((begin, error));
                    }
                    return;
                }
            }
        }
    };
    let threads = layerfs::pool::processors().get();
    thread::scope(|scope| {
        spawn_helpers(scope, threads.saturating_sub(1), work);
        work();
    });
    if let Some((_, error)) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    observer.end(0);
    Ok(plan.into_inner().unwrap_or_else(PoisonError::into_inner).exporter.members)
}

/// What is still to be written.
struct Plan<'t> {
    tree: &'t Tree,
    walk: Walk<'t>,
    exporter: Exporter<'t, Vec<u8>>,
    /// Where the next part begins.
    position: u64,
    ended: bool,
}

/// Some members, one after the other.
struct Part {
    begin: u64,
    /// Everything but the bodies.
    bytes: Vec<u8>,
    bodies: Vec<Body>,
    /// Whether the tar ends with this part.
    is_last: bool,
}

/// A body among the bytes of a part.
struct Body {
    /// The index in the part's `bytes` before which the body comes.
    at: usize,
    path: Vec<u8>,
    id: NodeId,
    size: u64,
}

impl<'t> Plan<'t> {
    fn new(tree: &'t Tree, interrupted: &'t AtomicBool) -> Self {
        let exporter = Exporter::new(Vec::new(), ExportForm::Seen, interrupted);
        Self { tree, walk: tree.walk_below(Tree::ROOT, b""), exporter, position: 0, ended: false }
    }

    /// The next part. It is empty if there are no more.
    fn next(&mut self) -> Result<Part, ExportError> {
        let mut part = Part { begin: self.position, bytes: Vec::new(), bodies: Vec::new(), is_last: self.ended };
        let mut length = 0;
        while !part.is_last && length + (self.exporter.out.len() as u64) < PART {
            let Some((path, id)) = self.walk.next() else {
                self.exporter.end()?;
                part.is_last = true;
                break;
            };
            if let Some(size) = self.exporter.head(self.tree, id, path)? {
                if size > 0 {
                    part.bodies.push(Body { at: self.exporter.out.len(), path: path.to_vec(), id, size });
                }
                self.exporter.write(padding(size))?;
                length += size;
            }
        }
        part.bytes = std::mem::take(&mut self.exporter.out);
        let bodies: u64 = part.bodies.iter().map(|body| body.size).sum();
        self.position += part.bytes.len() as u64 + bodies;
        self.ended = part.is_last;
        Ok(part)
    }
}

/// What one thread writes.
struct Writing<'w> {
    file: &'w File,
    /// Where in the file the buffer goes.
    position: u64,
    buffer: Vec<u8>,
    filled: usize,
    observer: &'w dyn Observer,
}

impl Writing<'_> {
    fn part(
        &mut self,
        part: &Part,
        tree: &Tree,
        layers: &dyn Layers,
        interrupted: &AtomicBool,
    ) -> Result<(), ExportError> {
        (self.position, self.filled) = (part.begin, 0);
        let mut from = 0;
        for body in &part.bodies {
            if interrupted.load(Ordering::Relaxed) {
                return Err(ExportError::Interrupted);
            }
            self.bytes(&part.bytes[from..body.at])?;
            from = body.at;
            self.body(&mut *tree.open(layers, &body.path, body.id)?, body, interrupted)?;
        }
        self.bytes(&part.bytes[from..])?;
        self.flush()
    }

    fn bytes(&mut self, mut bytes: &[u8]) -> Result<(), ExportError> {
        while !bytes.is_empty() {
            let now = bytes.len().min(self.buffer.len() - self.filled);
            self.buffer[self.filled..][..now].copy_from_slice(&bytes[..now]);
            bytes = &bytes[now..];
            self.added(now)?;
        }
        Ok(())
    }

    /// Reads a body straight into the buffer.
    fn body(&mut self, reader: &mut dyn Read, body: &Body, interrupted: &AtomicBool) -> Result<(), ExportError> {
        let Body { path, size: expected, .. } = body;
        let mut found = 0;
        loop {
            let read = match reader.read(&mut self.buffer[self.filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(|source| TreeError::File { path: path.clone(), source })?,
            };
            found += read as u64;
            if read == 0 || found > *expected {
                break;
            }
            self.observer.advance(0, read as u64);
            self.added(read)?;
            if interrupted.load(Ordering::Relaxed) {
                return Err(ExportError::Interrupted);
            }
        }
        let right = found == *expected;
        right.then_some(()).ok_or_else(|| ExportError::Size { path: path.clone(), expected: *expected, found })
    }

    /// Counts bytes that were put into the buffer, and writes a full buffer, so that there is always room for more.
    fn added(&mut self, bytes: usize) -> Result<(), ExportError> {
        self.filled += bytes;
        if self.filled == self.buffer.len() { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ExportError> {
        let bytes = &self.buffer[..self.filled];
        self.file.write_all_at(bytes, self.position).map_err(|source| ExportError::Write { source })?;
        self.position += bytes.len() as u64;
        self.filled = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::export;
    use crate::load::Silent;
    use crate::source::{Archive, ImageSource, Opened, Select};
    use crate::tree::{Body, LayersOfArchive};
    use testkit::tarfile::{self, TarMember};

    /// Opens the archive of an image whose only layer has these members.
    fn archive(dir: &tempfile::TempDir, members: &[TarMember]) -> Archive {
        let path = dir.path().join("archive.tar");
        std::fs::write(&path, testkit::image::DockerArchive::new("image:1", &[tarfile::tar(members)]).build()).unwrap();
        let Opened::Archive(archive) = Archive::open(&path).unwrap() else { panic!("an image archive") };
        archive
    }

    fn layers(archive: &Archive) -> LayersOfArchive<'_> {
        let contents = archive.images(&Select::default()).unwrap();
        LayersOfArchive::new(archive, contents.images[0].layers.clone())
    }

    /// Files of which some are longer than a part, and some than a buffer.
    fn members() -> Vec<TarMember> {
        let mut members = vec![tarfile::dir("dir/"), tarfile::symlink("dir/link", "1"), tarfile::fifo("pipe")];
        for (number, size) in [0, 1, 511, 512, 513, 70_000, 262_144, 262_145, 1_000_000, 3].into_iter().enumerate() {
            for copy in 0..40 {
                let size = if copy % 10 == 0 { size } else { size % 1000 };
                let name = format!("dir/{number}-{copy}{}", "-long".repeat(copy));
                members.push(tarfile::file(name, vec![copy as u8; size]));
            }
        }
        members.push(tarfile::hard_link("again", "dir/5-0"));
        members
    }

    #[test]
    fn a_file_has_the_bytes_of_a_stream() {
        let dir = testkit::scratch();
        let archive = archive(&dir, &members());
        let layers = layers(&archive);
        let running = AtomicBool::new(false);
        let mut stream = Vec::new();
        let streamed = export(&layers, &mut stream, &running, &Silent).unwrap();
        assert!(stream.len() as u64 > 8 * PART);
        for _ in 0..5 {
            let path = dir.path().join("out.tar");
            let count = export_to_file(&layers, &File::create(&path).unwrap(), &running, &Silent).unwrap();
            assert_eq!(count, streamed);
            assert!(std::fs::read(&path).unwrap() == stream);
        }
    }

    /// Files of a layer that have become longer or shorter.
    struct Changed<'a>(LayersOfArchive<'a>, i64);

    impl Layers for Changed<'_> {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn tree(&self, layer: usize) -> Result<Tree, TreeError> {
            self.0.tree(layer)
        }

        fn open(&self, _: usize, path: &[u8], size: u64, _: &Body) -> Result<Box<dyn Read + '_>, TreeError> {
            let by = if path.starts_with(b"dir/8") { self.1 } else { 0 };
            Ok(Box::new(io::repeat(7).take(size.checked_add_signed(by).unwrap())))
        }
    }

    #[test]
    fn the_first_file_that_has_changed_is_named() {
        let dir = testkit::scratch();
        let archive = archive(&dir, &members());
        let running = AtomicBool::new(false);
        for by in [1, 1_000_000, -1] {
            let changed = Changed(layers(&archive), by);
            let out = File::create(dir.path().join("out.tar")).unwrap();
            let error = export_to_file(&changed, &out, &running, &Silent).unwrap_err();
            let ExportError::Size { path, expected: 1_000_000, found } = error else { panic!("{by}: {error}") };
            assert_eq!(path, b"dir/8-0", "{by}");
            assert!(if by < 0 { found == 999_999 } else { found > 1_000_000 }, "{by}: {found}");
        }
    }

    #[test]
    fn what_cannot_be_written_and_who_says_stop_end_it() {
        let dir = testkit::scratch();
        let archive = archive(&dir, &members());
        let layers = layers(&archive);
        let path = dir.path().join("out.tar");
        let out = File::create(&path).unwrap();
        let read_only = File::open(&path).unwrap();
        let failed = export_to_file(&layers, &read_only, &AtomicBool::new(false), &Silent);
        assert!(matches!(failed, Err(ExportError::Write { .. })), "{failed:?}");
        let stopped = export_to_file(&layers, &out, &AtomicBool::new(true), &Silent);
        assert!(matches!(stopped, Err(ExportError::Interrupted)), "{stopped:?}");
    }
}
