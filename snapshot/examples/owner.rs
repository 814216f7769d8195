//! Says whose a directory below a data-root is, and whether anything needs it.
//!
//! ```sh
//! cargo run -p snapshot --example owner /var/lib/docker /var/lib/docker/overlay2/0123...
//! ```
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::error::Error;
use std::path::Path;

use snapshot::liveness::EntryVerdict;
use snapshot::liveness::lookup::{StoreItem, find_item};
use snapshot::view::{Needs, View};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(root), Some(asked)) = (arguments.next(), arguments.next()) else {
        return Err("usage: owner DATA_ROOT PATH_OR_ID".into());
    };
    let view = View::read(Path::new(&root), None, Needs::LIVENESS)?;
    let Some(target) = find_item(view.root(), view.catalog(), view.liveness(), &asked)? else {
        return Err(format!("{asked} is nothing of this data-root").into());
    };
    println!("{target:?}");
    if let StoreItem::Entry { name, .. } = &target {
        match view.liveness().verdict(name) {
            None => println!("the driver's home has no such entry"),
            Some(EntryVerdict::Live(claims)) => claims.iter().for_each(|claim| println!("needed: {claim:?}")),
            Some(EntryVerdict::Service) => println!("the driver's own"),
            Some(EntryVerdict::Orphan) => println!("nobody needs it"),
            Some(EntryVerdict::Unknown(doubts)) => {
                doubts.iter().for_each(|doubt| println!("perhaps needed: {doubt:?}"));
            }
        }
    }
    Ok(())
}
