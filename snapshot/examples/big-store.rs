//! Writes a data-root with many images, for measuring: `big-store DIRECTORY IMAGES [CONTAINERS]`.

#![allow(clippy::print_stderr, reason = "it is a program")]

#[path = "../tests/support/big_store.rs"]
mod big_store;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse().ok());
    let (Some(root), Some(images)) = (arguments.first(), number(1)) else {
        eprintln!("big-store DIRECTORY IMAGES [CONTAINERS]");
        return ExitCode::from(2);
    };
    match big_store::write(Path::new(root), images, number(2).unwrap_or(200)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{root}: {error}");
            ExitCode::FAILURE
        }
    }
}
