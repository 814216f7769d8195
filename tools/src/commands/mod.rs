//! One module a command.

mod dump;
mod image_load;
pub mod layer_unpack;
pub mod layerfs;
