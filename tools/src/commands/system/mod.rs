//! `layerfs system`: `docker system`, offline, and whose a directory is.

pub(crate) mod df;
pub(crate) mod info;
pub(crate) mod owner;
pub(crate) mod version;
