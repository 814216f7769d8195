//! One module a command.

mod dump;
mod image;
pub mod layer_unpack;
pub mod layerfs;
mod system_owner;
