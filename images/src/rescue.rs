//! What can be read of a store, into the store of overlay2 in another data-root.
//!
//! ```text
//! image      its parent, then itself: layers' tars, put together on threads and unpacked while they come -> committed
//! container  what it has written, as a tar -> applied to the writable layer of a new container of the same id -> committed
//! ```
//!
//! Each image and each container is a change of its own, so that one that cannot be read leaves all others whole. A layer that
//! several images have is read once: the next image finds it in the new store.

mod container;
mod source;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use layerfs::UnpackError;
use snapshot::StoreError;
use snapshot::ids::ImageId;
use snapshot::schema::container::ContainerFault;
use snapshot::view::View;

pub use container::rescue_container;
use source::OneImage;

use crate::export::ExportError;
use crate::load::{ImportError, ImportOptions, ImportRequest, Observer, import_images};
use crate::save::{ImageToSave, LostLayer, SaveError, SavePlan, SaveReport, causes, is_of_layer, tar_of};
use crate::source::Select;
use crate::tree::TreeError;

/// The driver of the new store.
const INTO: &str = "overlay2";

/// How to rescue.
#[derive(Clone, Copy)]
pub struct RescueOptions<'o> {
    /// Busy threads.
    pub threads: usize,
    /// Make everything durable before it is committed.
    pub sync: bool,
    /// Becomes true when the user asks to stop.
    pub interrupted: &'o AtomicBool,
    /// Who is told how it goes.
    pub observer: &'o dyn Observer,
}

impl std::fmt::Debug for RescueOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RescueOptions")
            .field("threads", &self.threads)
            .field("sync", &self.sync)
            .finish_non_exhaustive()
    }
}

/// Why an image or a container was not rescued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RescueError {
    /// The old store cannot be read.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// The new store cannot be written.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// One of the two stores cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The files of the container cannot be listed.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The container's records cannot be read.
    #[error(transparent)]
    Container(#[from] ContainerFault),
    /// What the container has written cannot be read.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// What the container has written cannot be written.
    #[error("what it has written")]
    Unpack(#[source] UnpackError),
    /// The container has no writable layer.
    #[error("it has no writable layer")]
    NoLayer,
    /// A volume cannot be copied.
    #[error("copying its volume {name}")]
    Volume {
        /// The volume.
        name: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

/// Rescues the images of `plan`, which was made from what `from` shows, into the data-root at `into`. Images with a layer that
/// cannot be read are left out, and are told in the report.
///
/// # Errors
/// [`RescueError`] for what is wrong with the new store or with this machine. What was rescued before stays.
pub fn rescue_images(
    from: &Arc<View>,
    plan: &SavePlan,
    into: &Path,
    options: &RescueOptions<'_>,
) -> Result<SaveReport, RescueError> {
    let mut report =
        SaveReport { images: Vec::new(), layers: Vec::new(), lost_layers: Vec::new(), lost_images: Vec::new() };
    let mut import = ImportOptions::new(options.interrupted);
    (import.threads, import.sync, import.driver) = (options.threads, options.sync, Some(INTO));
    let path = from.root().dir().path();
    let select = Select::default();
    let request = ImportRequest { archive: path, select: &select, options: &import, observer: options.observer };
    for image in parents_first(plan) {
        if options.interrupted.load(Ordering::Relaxed) {
            return Err(SaveError::Interrupted.into());
        }
        let known = report.lost_layers.iter().any(|lost| image.diff_ids.contains(&lost.diff_id));
        if known {
            report.lost_images.push(image.clone());
            continue;
        }
        // Its parent is in the new store, or was lost.
        let parent = report.images.iter().find(|other| Some(other.id) == image.parent);
        let source = OneImage::new(Arc::clone(from), plan, image, parent)?;
        match import_images(&source, into, &request) {
            Ok(_) => report.images.push(image.clone()),
            Err(error) => {
                report.lost_layers.extend(why_lost(&source, error)?);
                report.lost_images.push(image.clone());
            }
        }
    }
    let saved: BTreeSet<_> = report.images.iter().flat_map(|image| &image.diff_ids).copied().collect();
    for layer in plan.layers.iter().filter(|layer| saved.contains(&layer.diff_id)) {
        report.layers.push(tar_of(from.root(), layer)?);
    }
    Ok(report)
}

/// The layer for which an import has failed; the error itself if it is not about what was read.
fn why_lost(source: &OneImage<'_>, error: ImportError) -> Result<Option<LostLayer>, RescueError> {
    match (source.take_failure(), error) {
        (Some((diff_id, failure)), _) if is_of_layer(&failure) => {
            Ok(Some(LostLayer { diff_id, reason: causes(&failure) }))
        }
        (Some((_, failure)), _) => Err(failure.into()),
        // The journal and the files make a tar, but another one.
        (None, error @ ImportError::DiffId { expected, .. }) => {
            Ok(Some(LostLayer { diff_id: expected, reason: error.to_string() }))
        }
        (None, error) => Err(error.into()),
    }
}

/// The images of a plan in an order in which each comes after the one that it was built from.
fn parents_first(plan: &SavePlan) -> Vec<&ImageToSave> {
    let mut ordered: Vec<&ImageToSave> = Vec::with_capacity(plan.images.len());
    let mut done: BTreeSet<ImageId> = BTreeSet::new();
    let planned: BTreeSet<ImageId> = plan.images.iter().map(|image| image.id).collect();
    // A parent has one step less, so this ends; what a damaged store says in a circle comes last, as it is.
    loop {
        let ready = |image: &&ImageToSave| {
            !done.contains(&image.id)
                && image.parent.is_none_or(|parent| done.contains(&parent) || !planned.contains(&parent))
        };
        let next: Vec<&ImageToSave> = plan.images.iter().filter(ready).collect();
        if next.is_empty() {
            break;
        }
        done.extend(next.iter().map(|image| image.id));
        ordered.extend(next);
    }
    ordered.extend(plan.images.iter().filter(|image| !done.contains(&image.id)));
    ordered
}
