//! A bare layer, without an image around it; and a stream that was taken for one and turns out to hold an image archive.

use layerfs::Unpacked;

use super::destination::{DIFF, Destination};
use super::report::UnpackReport;
use super::{Slots, unpack_from};
use crate::load::schedule::{Content, Work, unpack_all};
use crate::load::{ImportError, ImportRequest};
use crate::source::{Archive, ArchiveError, Opened, SourceContents, is_archive_name};

/// The place of the only layer.
const SLOT: usize = 0;

/// Whether a tar that begins with `head` may be an image archive.
pub(super) fn starts_like_an_archive(head: &[u8]) -> bool {
    let name = head.get(..100).unwrap_or(head).split(|&b| b == 0).next().unwrap_or_default();
    is_archive_name(name)
}

/// Unpacks one layer.
pub(super) fn unpack(
    content: Content<'_>,
    destination: &mut Destination,
    request: &ImportRequest<'_>,
) -> Result<UnpackReport, ImportError> {
    let unpacked = fill(content, destination, request)?;
    arrange(&unpacked, destination, request)
}

/// Unpacks a stream that does not begin as archives do, as a layer. If that turns out to hold an image archive, unpacks
/// the image from there.
pub(super) fn unpack_or_open(
    content: Content<'_>,
    destination: &mut Destination,
    request: &ImportRequest<'_>,
) -> Result<UnpackReport, ImportError> {
    let unpacked = fill(content, destination, request)?;
    if let Some(tree) = destination.staging.descend(&["0", DIFF])?
        && (tree.stat("manifest.json")?.is_some() || tree.stat("index.json")?.is_some())
    {
        destination.staging.rename("0", &destination.staging, "archive")?;
        let path = destination.staging.join("archive").join(DIFF);
        let Opened::Archive(archive) = Archive::open(&path)? else {
            return Err(ArchiveError::NotAnImageArchive { path: request.archive.to_path_buf() }.into());
        };
        return unpack_from(&archive, Slots::default(), destination, request);
    }
    arrange(&unpacked, destination, request)
}

/// The layer's name for messages: that of the file it came in.
fn name(request: &ImportRequest<'_>) -> String {
    request.archive.display().to_string()
}

/// Unpacks the layer into its place among what is being unpacked.
fn fill(
    content: Content<'_>,
    destination: &Destination,
    request: &ImportRequest<'_>,
) -> Result<Vec<Unpacked>, ImportError> {
    let work = Work { name: name(request), index: 0, diff_id: None, digest: None, step: None, content };
    unpack_all(vec![work], request, &|_| destination.place(SLOT)).map_err(|error| match error {
        // The message begins with the name of the file, so the layer is not named once more.
        ImportError::Layer { source, .. } => ImportError::BareLayer(source),
        other => other,
    })
}

/// Moves the layer to where it was asked for.
fn arrange(
    unpacked: &[Unpacked],
    destination: &mut Destination,
    request: &ImportRequest<'_>,
) -> Result<UnpackReport, ImportError> {
    destination.arrange(unpacked.iter().map(|layer| (SLOT, layer)))?;
    let layers: Vec<&Unpacked> = unpacked.iter().collect();
    Ok(UnpackReport::new(&name(request), None, &SourceContents::default(), &layers, destination.form))
}
