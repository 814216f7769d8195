//! `layerfs system`: `docker system`, offline; and commands that docker does not have: who owns a directory, checking a
//! store, mending it.

pub(crate) mod check;
pub(crate) mod df;
pub(crate) mod info;
pub(crate) mod migrate;
pub(crate) mod owner;
pub(crate) mod pool;
pub(crate) mod repair;
pub(crate) mod rescue;
pub(crate) mod trim;
pub(crate) mod version;
mod watch;
