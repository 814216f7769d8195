//! Carries out the plan: it is made once more while nobody else can write, and done in one transaction.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use images::load::ImportError;
use snapshot::StoreError;
use snapshot::edit::{Edit, KeptLayer, KeptRemains, Summary, Transaction, WriteOptions};
use snapshot::gc::{GcPlan, Policy};
use snapshot::root::DataRoot;
use snapshot::view::{Needs, View};

use super::{Cli, NAME};
use crate::deleting::Deleting;
use crate::flags::writable;
use crate::{output, signals};

/// Removes what the plan says, and sets `plan` to what is gone. Returns whether something could not be removed, and the
/// directory to which everything was moved if it was not deleted.
pub(super) fn apply(
    cli: &Cli,
    before: View,
    policy: &Policy,
    plan: &mut GcPlan,
) -> anyhow::Result<(bool, Option<PathBuf>)> {
    // Close every descriptor of the root: a second opening by this process would be refused its own lock. Of the plan, keep
    // only what the next plan will not find: both together would take twice the memory.
    drop(before);
    let begun = std::mem::take(plan).into_begun();
    let driver = writable(cli.storage_driver.as_deref())?;
    let interrupted = signals::interrupted()?;
    // This finishes, or takes back, a change that was interrupted.
    let mut transaction = Transaction::begin(&cli.root, WriteOptions { driver, sync: !cli.no_sync })?;
    let view = View::read_root(DataRoot::find(&cli.root, cli.storage_driver.as_deref())?, Needs::REMOVAL)?;
    *plan = GcPlan::make(&view, policy)?;
    plan.include_finished(begun);
    let edits = plan.edits();
    if interrupted.load(Ordering::Relaxed) {
        return Err(ImportError::Interrupted.into());
    }
    if edits.is_empty() {
        return Ok((false, None));
    }
    let options = WriteOptions { driver, sync: !cli.no_sync };
    let quarantine = cli.quarantine.as_deref().map(|dir| transaction.keep_in(dir)).transpose()?;
    let summary = match commit(transaction, &edits) {
        // There is no room to write down the change. To remove remains takes up no room and frees some, so remove them first:
        // then there may be room for the rest.
        Err(error) if error.is_no_space() && quarantine.is_none() => {
            let clears: Vec<Edit> = edits.iter().filter(|edit| matches!(edit, Edit::Clear { .. })).cloned().collect();
            commit(Transaction::begin(&cli.root, options)?, &clears).map_err(explained)?;
            commit(Transaction::begin(&cli.root, options)?, &edits)
        }
        committed => committed,
    };
    let summary = summary.map_err(explained)?;
    for KeptLayer { chain_id, reason } in &summary.kept {
        output::complain(NAME, &format!("layer {chain_id} stays: {reason}"));
    }
    let name = view.root().driver_name();
    let kept = plan.leave_out_kept(&summary);
    for KeptRemains { remains, reason } in &kept {
        output::complain(NAME, &format!("{} stays: {reason}", remains.place(name).display()));
    }
    let is_kept = !summary.kept.is_empty() || !kept.is_empty();
    Ok((is_kept, quarantine))
}

fn commit(mut transaction: Transaction, edits: &[Edit]) -> Result<Summary, StoreError> {
    edits.iter().for_each(|edit| transaction.add(edit.clone()));
    let _counted = Deleting::watch(transaction.root().deletion());
    transaction.commit()
}

fn explained(error: StoreError) -> anyhow::Error {
    match error {
        StoreError::Unfinished { source } => {
            anyhow::Error::from(*source).context("something could not be removed; the next run goes on with it")
        }
        error => error.into(),
    }
}
