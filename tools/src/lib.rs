//! The command line of the libraries: parses arguments, calls the libraries, prints, and exits.
#![forbid(unsafe_code)]

mod arguments;
mod blob_bars;
mod columns;
pub mod commands;
mod damage;
mod deleting;
mod exit;
mod flags;
mod generate;
mod hints;
#[doc(hidden)]
pub mod html;
mod input;
mod manual;
mod output;
mod own_cache;
mod progress;
mod pruning;
mod registries;
mod rootless;
mod signals;
mod steps;
mod storage_options;
mod unsupported;

pub use exit::run;
