//! Plans what may go from a data-root, and prints it with the reasons. Nothing is written.
//!
//! ```sh
//! cargo run -p snapshot --example plan /var/lib/docker
//! ```
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::error::Error;
use std::path::Path;

use jiff::Timestamp;
use snapshot::gc::{GcPlan, Pattern, Policy};
use snapshot::view::{Needs, View};

fn main() -> Result<(), Box<dyn Error>> {
    let root = std::env::args().nth(1).ok_or("usage: plan DATA_ROOT")?;
    let view = View::read(Path::new(&root), None, Needs::LIVENESS)?;
    // Images that no container uses, whether they have a name or not, but for those of one registry.
    let policy =
        Policy { named: true, keep: vec![Pattern::new("registry.example/*")], ..Policy::new(Timestamp::now()) };
    let plan = GcPlan::make(&view, &policy)?;
    for item in plan.items() {
        println!("{} goes, {} bytes, {}: {:?}", item.thing.code(), item.bytes, item.reason, item.paths);
    }
    for spared in plan.spared() {
        println!("{} stays, {}", spared.thing.code(), spared.cause);
    }
    for doubt in plan.doubts() {
        println!("nothing goes: {doubt}");
    }
    // To carry it out, these edits are added to an `edit::Transaction` on the same root, which asks again who needs what.
    println!("{} bytes in {} edits", plan.bytes(), plan.edits().len());
    Ok(())
}
