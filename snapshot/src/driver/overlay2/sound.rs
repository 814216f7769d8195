//! Which layers are certainly sound, found with a few calls each and in time that does not depend on how deep they lie.
//!
//! A `lower` names all layers below, so comparing each of them with what the records say costs as many steps as all
//! stacks have layers together. But the `lower` of a layer must be the short name of its parent followed by the parent's own
//! `lower`: if the parent is sound, comparing these two parts is enough. Whole texts are compared by a hash with a random
//! key, so that memory does not grow with the depth either.

use std::hash::{BuildHasher, RandomState};
use std::io::Read;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::{Home, layout};
use crate::dir::Dir;
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
    super::super::stacked::down_to_the_base(layers, fits)
}

/// What the files of a layer say; `None` if anything is other than dockerd leaves it.
fn said(home: &Home, links: &Dir, id: &CacheId, keys: &RandomState) -> Option<Said> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let layer = rustix::fs::openat(&home.dir, id.as_str(), flags, Mode::empty()).ok()?;
    let content = rustix::fs::statat(&layer, layout::DIFF, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    if FileType::from_raw_mode(content.st_mode) != FileType::Directory {
        return None;
    }
    let mut buffer = [0; LONGEST];
    let link: LinkId = text(&layer, layout::LINK, &mut buffer)??.parse().ok()?;
    let target = rustix::fs::readlinkat(links, link.as_str(), Vec::with_capacity(128)).ok()?;
    let leads = target.to_bytes().strip_prefix(b"../").and_then(|rest| rest.strip_prefix(id.as_str().as_bytes()));
    if leads.and_then(|rest| rest.strip_prefix(b"/")) != Some(layout::DIFF.as_bytes()) {
        return None;
    }
    let Some(lower) = text(&layer, layout::LOWER, &mut buffer)? else {
        return Some(Said { link, lower: None, parent: None });
    };
    let (first, rest) = lower.split_once(':').map_or((lower, None), |(first, rest)| (first, Some(rest)));
    let parent = first.strip_prefix(layout::LINKS)?.strip_prefix('/')?.parse().ok()?;
    let hash = |text: &str| keys.hash_one(text);
    Some(Said { link, lower: Some(hash(lower)), parent: Some((parent, rest.map(hash))) })
}

/// The content of a small regular file. The outer `None` means that the file is something else, the inner that it does not
/// exist.
fn text<'b>(layer: &rustix::fd::OwnedFd, name: &str, buffer: &'b mut [u8; LONGEST]) -> Option<Option<&'b str>> {
    let mut file = match crate::dir::open_small(layer, name) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT) => return Some(None),
        Err(_) => return None,
    };
    let length = file.read(buffer).ok()?;
    // What fills the buffer may be longer; an empty file may be no regular one.
    let text = buffer.get(..length).filter(|text| !text.is_empty() && text.len() < LONGEST)?;
    std::str::from_utf8(text).ok().map(Some)
}
