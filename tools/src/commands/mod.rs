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

use clap::CommandFactory as _;

/// The command lines of all programs, as they are defined.
pub(crate) fn programs() -> [clap::Command; 5] {
    [
        layerfs::Cli::command(),
        layer_unpack::Cli::command(),
        image_du::Cli::command(),
        image_gc::Cli::command(),
        layer_run::Cli::command(),
    ]
}
