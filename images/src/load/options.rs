//! What the user may choose, and who hears how it goes.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use layerfs::DiffId;
use layerfs::meter::Meter;

use super::plan::PlannedLayer;
use crate::source::Select;
use snapshot::edit::WriteOptions;
use snapshot::reference::Reference;

/// How to unpack and store. The defaults are what most users want.
#[derive(Debug, Clone)]
pub struct ImportOptions<'o> {
    /// Busy threads, decoding and hashing included.
    pub threads: usize,
    /// Make everything durable before it is registered. Without this, a power cut soon after the import may leave layers that
    /// are registered although their files are empty.
    pub sync: bool,
    /// Before the first byte is written, refuse an import that is known to need more room than there is.
    pub preflight: bool,
    /// Move tags that belong to other images.
    pub retag: bool,
    /// One more tag, for the only image of the archive.
    pub tag: Option<Reference>,
    /// The storage driver to write for, if the user named one of [`snapshot::driver::WRITABLE`]; else the driver that
    /// the root has. A root that may belong to containerd's store is written to only if the user named a driver.
    pub driver: Option<&'static str>,
    /// How long to wait for another process of this program that writes to the root.
    pub patience: Duration,
    /// Becomes true when the user asks to stop.
    pub interrupted: &'o AtomicBool,
    /// Counts what the stages cost, for benchmarks.
    pub meter: Option<&'o Meter>,
}

impl<'o> ImportOptions<'o> {
    /// The defaults: all threads, durable, checked.
    #[must_use]
    pub fn new(interrupted: &'o AtomicBool) -> Self {
        let threads = layerfs::pool::processors().get();
        Self {
            threads,
            sync: true,
            preflight: true,
            retag: true,
            tag: None,
            driver: None,
            patience: Duration::ZERO,
            interrupted,
            meter: None,
        }
    }

    /// How the store is written to.
    pub(super) fn write(&self) -> WriteOptions {
        WriteOptions { driver: self.driver, sync: self.sync }
    }
}

/// What an [`Observer`] is told of a layer when its unpacking begins.
#[derive(Debug, Clone, Copy)]
pub struct Announced<'a> {
    /// The name of its file in the archive.
    pub name: &'a str,
    /// The diff id that its tar must have; unknown for a layer that comes before its manifest.
    pub diff_id: Option<DiffId>,
    /// The build step that made it, as the image's history tells it.
    pub step: Option<&'a str>,
    /// The length of its file in bytes; unknown for one that comes through a pipe.
    pub total: Option<u64>,
}

/// Something that is told how unpacking goes; calls come from any thread. Layers are numbered from zero in each round
/// of unpacking; a round through a pipe has one layer at a time.
pub trait Observer: Sync {
    /// There is no data-root at `root` yet: one is made now, or would be.
    fn new_root(&self, _root: &Path) {}

    /// Another process of this program writes to the root, and is waited for.
    fn waiting(&self, _root: &Path) {}

    /// An image that the store does not have is to be made of these layers, base first. What is not present is unpacked
    /// next, unless another image has the same layer.
    fn planned(&self, _layers: &[PlannedLayer]) {}

    /// The unpacking of a layer begins.
    fn begin(&self, _layer: usize, _announced: &Announced<'_>) {}

    /// `bytes` more bytes of the layer's file were read; for a layer that comes through a pipe, `bytes` more bytes of its
    /// tar.
    fn advance(&self, _layer: usize, _bytes: u64) {}

    /// A layer is unpacked.
    fn end(&self, _layer: usize) {}

    /// Something was left out of a layer.
    fn warn(&self, _layer: &str, _member: &[u8], _warning: &layerfs::Warning) {}
}

/// What the user asked for, besides the archive's content and the place where it goes.
#[derive(Clone, Copy)]
pub struct ImportRequest<'r> {
    /// The archive's name, for messages.
    pub archive: &'r Path,
    /// Which images of the archive to take.
    pub select: &'r Select,
    /// How to unpack and store them.
    pub options: &'r ImportOptions<'r>,
    /// Who is told how it goes.
    pub observer: &'r dyn Observer,
}

impl std::fmt::Debug for ImportRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImportRequest")
            .field("archive", &self.archive)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl ImportRequest<'_> {
    /// Whether the user asked to stop.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.options.interrupted.load(Ordering::Relaxed)
    }
}

/// An observer that does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}
