//! `layerfs container`: `docker container`, offline.

pub(crate) mod commit;
mod content;
pub(crate) mod cp;
pub(crate) mod diff;
pub(crate) mod document;
pub(crate) mod export;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod row;
