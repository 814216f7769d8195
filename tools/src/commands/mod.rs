//! One module a command.

mod dump;
pub mod image_du;
mod image_load;
pub mod layer_unpack;
pub mod layerfs;
