//! What `layerfs registry` does: registries alone, without a data-root.

pub(crate) mod copy;
