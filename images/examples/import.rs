//! Imports an image archive into a data-root, and tells how it goes. The daemon of that root must be stopped.
//!
//! ```sh
//! cargo run -p images --example import app.tar ./docker-root
//! ```
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use images::load::{Announced, ImportOptions, ImportRequest, Observer, import};
use images::source::{Archive, Select};

/// Is told how it goes, by several threads at once.
#[derive(Default)]
struct Progress {
    bytes: AtomicU64,
}

impl Observer for Progress {
    fn begin(&self, layer: usize, announced: &Announced<'_>) {
        let Announced { name, total, .. } = announced;
        println!("layer {layer} begins: {name}, {} bytes", total.map_or("?".into(), |total| total.to_string()));
    }

    fn advance(&self, _layer: usize, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn end(&self, layer: usize) {
        println!("layer {layer} is unpacked; {} bytes in all so far", self.bytes.load(Ordering::Relaxed));
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(archive), Some(root)) = (arguments.next(), arguments.next()) else {
        return Err("usage: import ARCHIVE DATA_ROOT".into());
    };
    let archive = Path::new(&archive);
    // A program that wants to stop sets this; everything is then taken back.
    let interrupted = AtomicBool::new(false);
    let (options, select, progress) = (ImportOptions::new(&interrupted), Select::default(), Progress::default());
    let request = ImportRequest { archive, select: &select, options: &options, observer: &progress };
    let report = import(Archive::open(archive)?, Path::new(&root), &request)?;
    for image in &report.images {
        println!("{} is stored", image.id);
    }
    Ok(())
}
