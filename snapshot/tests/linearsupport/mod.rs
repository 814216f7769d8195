//! Work that grows with what it is about and not with its square, and the plans of repairs that are counted so.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use snapshot::check::{ReadObserver, Reading};
use snapshot::repair::{Donors, RepairPlan, Scope};
use snapshot::schema::layer::LayerRecord;
use snapshot::view::{Needs, View};
use testkit::cachegrind::Counter;

/// Says to the test `work` of a program what to do.
pub(crate) const WORK: &str = "LAYERFS_WORK";

/// How much more work twice as much may be.
const MOST: f64 = 2.2;

/// Fails if twice as much of something is more than [`MOST`] times the work. A case has a name and prepares so much of it; it returns
/// what [`WORK`] is for that.
pub(crate) fn assert_straight<P: Fn(usize) -> String + Sync>(
    count: usize,
    cases: impl IntoIterator<Item = (String, P)>,
) {
    let Some(counter) = Counter::new() else { return };
    let nothing = counter.instructions("work", WORK, "");
    let mut report = Vec::new();
    for (name, prepare) in cases {
        let counts = testkit::two_at_a_time(&[count, 2 * count], |many| {
            counter.instructions("work", WORK, &prepare(*many)).saturating_sub(nothing) as f64
        });
        let (once, twice) = (counts[0], counts[1]);
        eprintln!("{name}: {once} instructions for {count}, {:.2} times as many for twice as many", twice / once);
        if twice > once * MOST {
            report.push(format!("{name}: {once} instructions for {count}, {twice} for twice as many"));
        }
    }
    assert!(report.is_empty(), "{}", report.join("\n"));
}

struct Silent;

impl ReadObserver for Silent {
    fn begin(&self, _: &LayerRecord) {}
    fn advance(&self, _: &LayerRecord, _: u64) {}
    fn end(&self, _: &LayerRecord) {}
}

/// A plan of a repair of all that a look at the records finds.
pub(crate) fn plan(root: &Path) -> RepairPlan {
    let view = View::read(root, None, Needs::CHECK).unwrap();
    let interrupted = AtomicBool::new(false);
    let reading = Reading { threads: NonZeroUsize::MIN, observer: &Silent, interrupted: &interrupted };
    RepairPlan::make(&view, &Donors::default(), Scope { images: &[], deep: false, reading }).unwrap()
}
