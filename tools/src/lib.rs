//! The command line over `images` and `snapshot`: parse arguments, call, print, exit.
#![forbid(unsafe_code)]

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
mod progress;
mod rootless;
mod signals;
mod steps;

pub use exit::run;
