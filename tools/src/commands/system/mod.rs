//! `layerfs system`: `docker system`, offline; whose a directory is, and mending a store.

pub(crate) mod check;
pub(crate) mod df;
pub(crate) mod info;
pub(crate) mod owner;
pub(crate) mod repair;
pub(crate) mod version;
