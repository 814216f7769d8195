//! A layer's record with as few system calls as five files take, of which one is not there.

use layerfs::{ChainId, DiffId};

use super::record::{CACHE_ID, DESCRIPTOR, DIFF, LayerRecord, PARENT, SIZE, parse_size};
use crate::dir::Dir;
use crate::dir::quick::{Files, Small};

/// The size of a buffer that holds any of the files as dockerd writes them, and has room left.
const BUFFER: usize = 192;

/// Reads the record of a layer, if the record is as dockerd writes it. `None` for any other, or if there is none.
pub(super) fn record(layers: &Dir, chain_id: ChainId) -> Option<LayerRecord> {
    let mut files = Files::of(layers, &chain_id.0.hex());
    let mut buffer = [0; BUFFER];
    let diff_id = DiffId(files.read(DIFF, &mut buffer).text()?.parse().ok()?);
    let size = parse_size(files.read(SIZE, &mut buffer).text()?)?;
    let cache_id = files.read(CACHE_ID, &mut buffer).text()?.parse().ok()?;
    let parent = match files.read(PARENT, &mut buffer) {
        Small::Text(text) => Some(ChainId(text.parse().ok()?)),
        Small::Missing => None,
        Small::Other => return None,
    };
    if files.read(DESCRIPTOR, &mut buffer) != Small::Missing {
        return None;
    }
    Some(LayerRecord { chain_id, diff_id, parent, cache_id, size })
}
