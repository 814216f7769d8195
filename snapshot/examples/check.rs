//! Checks a data-root and prints what is wrong, and what a repair without any source would do.
//!
//! `cargo run -p snapshot --example check -- /var/lib/docker`

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use snapshot::check::{ReadObserver, Reading, Repair, contents, records};
use snapshot::repair::{Donors, RepairPlan, Scope};
use snapshot::schema::layer::LayerRecord;
use snapshot::view::{Needs, View};

struct Silent;

impl ReadObserver for Silent {
    fn begin(&self, _: &LayerRecord) {}
    fn advance(&self, _: &LayerRecord, _: u64) {}
    fn end(&self, _: &LayerRecord) {}
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = std::env::args_os().nth(1).ok_or("usage: check ROOT")?;
    let view = View::read(Path::new(&root), None, Needs::ALL)?;
    let interrupted = AtomicBool::new(false);
    let reading = Reading { threads: NonZeroUsize::MIN, observer: &Silent, interrupted: &interrupted };

    let mut report = records(&view)?;
    contents(&view, &mut report, None, &reading)?;
    for finding in &report.findings {
        let (kind, name) = finding.place.kind_and_name();
        println!("{} {kind} {}: {}", finding.code(), name.unwrap_or_default(), finding.cause);
        println!("    images {:?}, repair {:?}", finding.affected.images, finding.repair.as_ref().map(Repair::code));
    }

    let plan = RepairPlan::make(&view, &Donors::default(), Scope { images: &[], deep: true, reading })?;
    for step in &plan.steps {
        println!("would {}, because {}", step.mending, step.cause);
    }
    for left in &plan.unmended {
        println!("left: {} ({})", left.reason, left.advice.code());
    }
    Ok(())
}
