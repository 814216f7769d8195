//! Lists the images of a data-root with their names and sizes; nothing is written, a daemon may be running.
//!
//! ```sh
//! cargo run -p snapshot --example images /var/lib/docker
//! ```
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::path::Path;

use snapshot::StoreError;
use snapshot::catalog::Catalog;
use snapshot::root::DataRoot;

fn main() -> Result<(), StoreError> {
    let path = std::env::args_os().nth(1).unwrap_or_else(|| "/var/lib/docker".into());
    // No driver is named: the one that the root holds.
    let root = DataRoot::find(Path::new(&path), None)?;
    let catalog = Catalog::read(&root)?;
    for image in catalog.images().values() {
        let names = catalog.names_of(image.id).join(", ");
        println!("{}  {:>12} bytes  {names}", image.id, catalog.image_size(image));
    }
    for (id, damage) in catalog.damaged_images() {
        println!("{id}  damaged: {damage}");
    }
    Ok(())
}
