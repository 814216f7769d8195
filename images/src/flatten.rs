//! One layer instead of several: what the topmost layers of an image change, all together.
//!
//! The image shows the same files as before, by whatever driver. Differences that docker's comparison does not see (a
//! file of the same size and time with other bytes, attributes other than capabilities, fractions of a second in times)
//! are in the new layer as well.

use std::io::Write;
use std::sync::atomic::AtomicBool;

use crate::export::{ExportError, ExportForm, Exporter};
use crate::tree::{Layers, NodeId, NodeKind, TreeError, docker_changes, read_trees, same_bytes};

/// Writes, as the tar of one layer, what the layers from number `first` on change in the layers below. Returns the
/// number of its members.
///
/// # Errors
/// [`ExportError`]
pub fn write_layer(
    layers: &dyn Layers,
    first: usize,
    out: impl Write,
    interrupted: &AtomicBool,
) -> Result<u64, ExportError> {
    let before = read_trees(layers, 0..first, None)?;
    let mut after = before.clone();
    after.stack_layers(layers, first..layers.len(), None)?;
    let mut differs = |path: &[u8], old: NodeId, new: NodeId| -> Result<bool, TreeError> {
        let (one, other) = (before.node(old), after.node(new));
        let sorted = |xattrs: &[(Vec<u8>, Vec<u8>)]| {
            let mut xattrs = xattrs.to_vec();
            xattrs.sort();
            xattrs
        };
        if one.mtime != other.mtime || sorted(&one.xattrs) != sorted(&other.xattrs) {
            return Ok(true);
        }
        match (&one.kind, &other.kind) {
            (NodeKind::File { .. }, NodeKind::File { .. }) => {
                let (one, other) = (before.open(layers, path, old)?, after.open(layers, path, new)?);
                same_bytes(one, other)
                    .map(|same| !same)
                    .map_err(|source| TreeError::File { path: path.to_vec(), source })
            }
            (NodeKind::Symlink { target: one }, NodeKind::Symlink { target: other }) => Ok(one != other),
            _ => Ok(false),
        }
    };
    let changes = docker_changes(&before, &after, first, &mut differs)?;
    drop(before);
    let mut exporter = Exporter::new(out, ExportForm::Exact, interrupted);
    exporter.changes(&after, layers, &changes)?;
    exporter.finish().map(|(members, _)| members)
}
