//! The commands: one module for each.

mod builder;
mod buildx;
mod container;
mod dump;
mod image;
pub mod image_du;
pub mod image_gc;
mod inspect;
pub mod layer_run;
pub mod layer_unpack;
pub mod layerfs;
mod login;
mod registry;
mod remote_image;
mod search;
mod store;
mod system;
mod volume;

/// The command lines of all programs, as they are defined.
pub(crate) fn programs() -> [clap::Command; 5] {
    [layerfs::command(), layer_unpack::command(), image_du::command(), image_gc::command(), layer_run::command()]
}
