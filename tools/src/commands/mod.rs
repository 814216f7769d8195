//! One module a command.

mod dump;
mod image;
pub mod image_du;
mod image_load;
pub mod layer_unpack;
pub mod layerfs;
mod system_owner;
