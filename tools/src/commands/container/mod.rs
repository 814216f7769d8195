//! `layerfs container`: `docker container`, offline.

pub(crate) mod document;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod row;
