//! `layerfs container`: `docker container`, offline.

pub(crate) mod list;
pub(crate) mod row;
