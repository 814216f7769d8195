//! Which layers are certainly sound, found with a few calls each and in time that does not depend on how deep they lie.
//!
//! A `lower` names all layers below, so comparing each of them with what the records say costs as many steps as all
//! stacks have layers together. But the `lower` of a layer must be the short name of its parent followed by the
//! parent's own `lower`: if the parent is sound, comparing these two parts is enough. Whole texts are compared by a
//! hash with a random key, so that memory does not grow with the depth either.

use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType};

use super::{Home, layout};
use crate::dir::Dir;
use crate::dir::quick::{self, Small};
use crate::driver::Stacked;
use crate::ids::{CacheId, LinkId};
use crate::parallel;

/// Longer files are left to [`super::chain::damage`]: the `lower` of a layer on 128 others has less.
const LONGEST: usize = 4096;

/// What the files of one layer say.
struct Said {
    /// Its short name, which leads to it.
    link: LinkId,
    /// The hash of its `lower`; `None` for a base layer.
    lower: Option<u64>,
    /// The first layer in its `lower`, and the hash of the rest, which a layer on a base layer does not have.
    parent: Option<(LinkId, Option<u64>)>,
}

/// Whether each layer can certainly be mounted on the layers below it. `false` says nothing.
pub(super) fn certainly(home: &Home, layers: &[Stacked<'_>]) -> Vec<bool> {
    let Some(links) = &home.links else { return vec![false; layers.len()] };
    let keys = RandomState::new();
    let said = parallel::map(layers, |layer| said(home, links, layer.id, &keys));
    let fits = |at: usize| match (&said[at], layers[at].parent) {
        (Some(own), None) => own.lower.is_none(),
        (Some(own), Some(below)) => match (&own.parent, said.get(below)) {
            (Some((link, rest)), Some(Some(below))) => *link == below.link && *rest == below.lower,
            _ => false,
        },
        (None, _) => false,
    };
    let parents: Vec<Option<usize>> = layers.iter().map(|layer| layer.parent).collect();
    super::super::stacked::down_to_the_base(&parents, fits)
}

/// What the files of a layer say; `None` if anything is other than dockerd leaves it.
fn said(home: &Home, links: &Dir, id: &CacheId, keys: &RandomState) -> Option<Said> {
    let layer = quick::reach(&home.dir, id.as_str()).filter(has_content)?;
    let mut buffer = [0; LONGEST];
    let link = own_link(&layer, &mut buffer)?;
    let target = rustix::fs::readlinkat(links, link.as_str(), Vec::with_capacity(128)).ok()?;
    if !layout::leads_to(Path::new(OsStr::from_bytes(target.to_bytes())), id.as_str()) {
        return None;
    }
    let lower = match quick::read(&layer, layout::LOWER, &mut buffer) {
        Small::Text(lower) => lower,
        Small::Missing => return Some(Said { link, lower: None, parent: None }),
        Small::Other => return None,
    };
    let (first, rest) = lower.split_once(':').map_or((lower, None), |(first, rest)| (first, Some(rest)));
    let parent = first.strip_prefix(layout::LINKS)?.strip_prefix('/')?.parse().ok()?;
    let hash = |text: &str| keys.hash_one(text);
    Some(Said { link, lower: Some(hash(lower)), parent: Some((parent, rest.map(hash))) })
}

/// Whether a layer's content is there.
pub(super) fn has_content(layer: &OwnedFd) -> bool {
    let content = rustix::fs::statat(layer, layout::DIFF, AtFlags::SYMLINK_NOFOLLOW);
    content.is_ok_and(|content| FileType::from_raw_mode(content.st_mode) == FileType::Directory)
}

/// A layer's short name by its own file.
pub(super) fn own_link(layer: &OwnedFd, buffer: &mut [u8]) -> Option<LinkId> {
    quick::read(layer, layout::LINK, buffer).text()?.parse().ok()
}
