//! Checks a store. It returns findings, each with its cause, whom it affects, and what would mend it.
//!
//! [`records`] looks at what a [view](crate::view::View) has read, and at some files that only a check reads. It does
//! not read the content of layers. A consequence is no finding of its own: the cause is the finding, and lists whom it
//! affects. So a layer whose record has lost a file is one finding, whatever stands on that layer.
//!
//! | what | where it is looked at |
//! |---|---|
//! | records of layers, their chains, the driver's directories and links | `layers.rs` |
//! | images, their configs and metadata, names | `images.rs` |
//! | containers, mounts, writable layers, volumes | `containers.rs` |
//! | containerd's store: names, blobs, snapshots | `containerd.rs` |
//! | what keeps them: labels, leases, numbers | `stored.rs` |
//! | devicemapper's pool, compared with the files of its devices | `pool.rs` |
//! | files of layers, compared with journals and diff ids | `contents.rs`, by [`contents()`] |
//! | what nobody needs, what a crash has left, caches | `rest.rs` |
//!
//! Something that is not damage but worth knowing is a [note](Severity::Note): things that only take up room (which
//! [`crate::gc`] removes), and things that dockerd would have written and does not need.

mod containerd;
mod containers;
mod contents;
mod finding;
mod findings;
mod images;
mod layers;
mod mounted_on;
mod pool;
mod repair;
mod rest;
mod standing;
mod stored;

use crate::error::StoreError;
use crate::view::View;

pub(crate) use contents::{Failure, Judged, judge, keeps_owners, read, read_each};
pub use contents::{ReadObserver, ReadSoFar, Reading, contents};
pub use finding::{Affected, BlobUse, Cause, Finding, Place, Severity};
pub use layerfs::verify::{FaultKind, FileFault};
pub use repair::{RecordField, Repair};
pub use stored::StoredCause;
pub(crate) use stored::leases_without_container;

use findings::Findings;
use standing::Standing;

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckReport {
    /// Findings: damage first, then in the order of what they are about.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// The highest severity of all findings; `None` if there are none.
    #[must_use]
    pub fn severity(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).min()
    }

    fn sort(&mut self) {
        self.findings.sort_by(|a, b| (a.severity, &a.place).cmp(&(b.severity, &b.place)));
    }
}

/// Looks at all records of a store. The view must have been read with [`Needs::CHECK`](crate::view::Needs::CHECK) or more.
///
/// # Errors
/// [`StoreError::Io`] where a directory cannot be listed, or where this process has no descriptors or memory left.
pub fn records(view: &View) -> Result<CheckReport, StoreError> {
    let standing = Standing::new(&view.catalog);
    let mut findings = Findings::new(view, &standing);
    match view.catalog.in_containerd() {
        Some(known) => {
            containerd::check(&mut findings, known)?;
            // Where a database is missing, that is the finding.
            if let Some(records) = view.containerd_records.as_ref().filter(|_| known.store.missing.is_empty()) {
                stored::check(&mut findings, known, records)?;
            }
            layers::check_directories(&mut findings);
        }
        None => {
            layers::check(&mut findings)?;
            images::check(&mut findings)?;
        }
    }
    if view.root.is_containerd_only() {
        containerd::check_containers(&mut findings);
    }
    containers::check(&mut findings)?;
    pool::check(&mut findings);
    rest::check(&mut findings)?;
    view.root.dir.check_shortage()?;
    let mut report = CheckReport { findings: findings.all() };
    if view.root.is_containerd_only() {
        // All that is known here of mending is of storage drivers.
        report.findings.iter_mut().for_each(|finding| finding.repair = None);
    }
    report.sort();
    Ok(report)
}
