//! What commands that change images have in common: the root is locked, read, and written to in one transaction.

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use images::load::ImportError;
use snapshot::StoreError;
use snapshot::catalog::Catalog;
use snapshot::edit::{ImageRemoval, KeptLayer, RemovalError, RemovedItem, Transaction, WriteOptions};
use snapshot::reference::{Reference, ReferenceError};
use snapshot::root::DataRoot;
use snapshot::schema::buildkit::Snapshots;

use crate::commands::layerfs::NAME;
use crate::deleting::Deleting;
use crate::flags::writable;
use crate::{output, rootless, signals};

/// Locks a root so that nobody else writes to it, reads its images, and changes them as `edit` says.
///
/// Once the change is made, `print` is called with what `edit` returned and with the layers that stay. If `edit` adds no
/// change, nothing is written.
pub(crate) fn change<T>(
    root: &Path,
    driver: Option<&str>,
    edit: impl FnOnce(&Catalog, &Snapshots, &mut Vec<snapshot::edit::Edit>) -> anyhow::Result<T>,
    print: impl FnOnce(T, &[KeptLayer]) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let driver = writable(driver)?;
    rootless::check(root, "")?;
    // Fails if there is no root: this command must not make one.
    DataRoot::find(root, driver)?;
    let interrupted = signals::interrupted()?;
    let mut transaction = Transaction::begin(root, WriteOptions { driver, ..WriteOptions::default() })?;
    let data_root = DataRoot::find(root, driver)?;
    let catalog = Catalog::read(&data_root)?;
    if let Some(reason) = catalog.damaged_references() {
        anyhow::bail!("the names of images cannot be read: {reason}");
    }
    let snapshots = Snapshots::read(data_root.dir())?;
    let mut edits = Vec::new();
    let made = edit(&catalog, &snapshots, &mut edits)?;
    if edits.is_empty() {
        drop(transaction);
        return print(made, &[]);
    }
    if interrupted.load(Ordering::Relaxed) {
        return Err(ImportError::Interrupted.into());
    }
    edits.into_iter().for_each(|edit| transaction.add(edit));
    let deleting = Deleting::watch(transaction.root().deletion());
    let committed = transaction.commit();
    drop(deleting);
    match committed {
        Ok(summary) => {
            for KeptLayer { chain_id, reason } in &summary.kept {
                output::complain(NAME, &format!("layer {chain_id} stays: {reason}"));
            }
            print(made, &summary.kept)
        }
        Err(error @ StoreError::Unfinished { .. }) => {
            print(made, &[])?;
            Err(error.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Removals of images on this catalog.
pub(crate) fn removal<'c>(catalog: &'c Catalog, snapshots: &Snapshots) -> ImageRemoval<'c> {
    ImageRemoval::new(catalog, |chain_id| snapshots.holds_chain(&chain_id))
}

/// Whether this was really removed: the layers in `kept` were to go, and stay.
pub(crate) fn is_gone(removed: &RemovedItem, kept: &[KeptLayer]) -> bool {
    !matches!(removed, RemovedItem::Layer(chain_id) if kept.iter().any(|kept| kept.chain_id == *chain_id))
}

/// dockerd's message about a text that is no reference.
pub(crate) fn reference_error(error: &ReferenceError) -> String {
    match error {
        ReferenceError::Uppercase { .. } => "invalid reference format: repository name must be lowercase".into(),
        ReferenceError::Format { .. } | ReferenceError::Digest { .. } => "invalid reference format".into(),
        other => other.to_string(),
    }
}

/// The name that a new image is to get, as a user gives it. An error is dockerd's message.
pub(crate) fn new_name(text: &str) -> Result<Reference, String> {
    match Reference::parse(text) {
        Ok(name) if name.digest().is_some() => Err("refusing to create a tag with a digest reference".into()),
        Ok(name) => Ok(name.with_default_tag()),
        Err(error) => Err(reference_error(&error)),
    }
}

/// The message of docker's client if an image cannot be removed. If there is no such image, the message has the text that was
/// typed.
pub(super) fn removal_error(text: &str, error: &RemovalError) -> String {
    match error {
        RemovalError::NotFound { .. } => format!("No such image: {text}"),
        RemovalError::Reference(error) => reference_error(error),
        other => other.to_string(),
    }
}
