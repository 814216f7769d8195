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

use super::super::stacked::down_to_the_base;
use super::{Home, layout};
use crate::dir::Dir;
use crate::dir::quick::{Files, Small};
use crate::driver::Stacked;
use crate::ids::{CacheId, LinkId};
use crate::parallel;

/// Longer files are left to [`super::chain::damage`]: the `lower` of a layer on 128 others has less.
const LONGEST: usize = 4096;

/// What the files of one layer say. `L` is what the reader takes a short name for: the name itself, or where it leads.
pub(super) struct Said<L> {
    /// Its short name; `None` if nobody asked, if the layer's content is missing, or if the name does not lead to it.
    pub(super) link: Option<L>,
    /// The hash of its `lower`; `None` for a base layer.
    pub(super) lower: Option<u64>,
    /// The layer that its `lower` names first, and the hash of the rest, which a layer on a base layer does not have.
    pub(super) first: Option<(L, Option<u64>)>,
}

/// Reads the files of the layer `id`: its `lower`, and if `closely`, also what it says of itself. `read_link` tells what a short name
/// stands for, and `leads_here` whether that is the layer. `None` if its `lower` is other than dockerd leaves it.
pub(super) fn said<L>(
    home: &Dir,
    id: &str,
    keys: &RandomState,
    closely: bool,
    read_link: impl Fn(&str) -> Option<L>,
    leads_here: impl FnOnce(&L) -> bool,
) -> Option<Said<L>> {
    let mut files = Files::of(home, id);
    let mut buffer = [0; LONGEST];
    let link = if closely {
        let link = files.read(layout::LINK, &mut buffer).text().and_then(&read_link).filter(leads_here);
        link.filter(|_| files.has_directory(layout::DIFF))
    } else {
        None
    };
    let lower = match files.read(layout::LOWER, &mut buffer) {
        Small::Text(lower) => lower,
        Small::Missing => return Some(Said { link, lower: None, first: None }),
        Small::Other => return None,
    };
    let (first, rest) = lower.split_once(':').map_or((lower, None), |(first, rest)| (first, Some(rest)));
    let first = read_link(layout::link_name(first)?)?;
    let hash = |text: &str| keys.hash_one(text);
    Some(Said { link, lower: Some(hash(lower)), first: Some((first, rest.map(hash))) })
}

/// Whether each layer can certainly be mounted on the layers below it: what the directories say is what the records say, down to the
/// base. `false` says nothing. `said` returns what the layer at a position says.
pub(super) fn by_what_is_said<'s, L: PartialEq + 's>(
    layers: &[Stacked<'_>],
    said: impl Fn(usize) -> Option<&'s Said<L>>,
) -> Vec<bool> {
    let fits = |at: usize| {
        let Some(own) = said(at).filter(|own| own.link.is_some()) else { return false };
        match (layers[at].parent, &own.first) {
            (None, None) => true,
            (Some(below), Some((first, rest))) => {
                said(below).is_some_and(|below| below.link.as_ref() == Some(first) && below.lower == *rest)
            }
            _ => false,
        }
    };
    let parents: Vec<Option<usize>> = layers.iter().map(|layer| layer.parent).collect();
    down_to_the_base(&parents, fits)
}

/// Whether each layer can certainly be mounted on the layers below it. `false` says nothing.
pub(super) fn certainly(home: &Home, layers: &[Stacked<'_>]) -> Vec<bool> {
    let Some(links) = &home.links else { return vec![false; layers.len()] };
    let keys = RandomState::new();
    let each = parallel::map_files(layers, |Stacked { id, .. }| {
        said(&home.dir, id.as_str(), &keys, true, |link| link.parse().ok(), |link| leads_to(links, link, id))
    });
    by_what_is_said(layers, |at| each.get(at)?.as_ref())
}

/// Whether a short name leads to the content of this layer.
fn leads_to(links: &Dir, link: &LinkId, id: &CacheId) -> bool {
    let target = rustix::fs::readlinkat(links, link.as_str(), Vec::with_capacity(128));
    target.is_ok_and(|target| layout::leads_to(Path::new(OsStr::from_bytes(target.to_bytes())), id.as_str()))
}
