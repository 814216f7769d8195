//! Puts back what `--quarantine` has moved away.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use snapshot::StoreError;
use snapshot::edit::{WriteOptions, restore as put_back};
use snapshot::root::DataRoot;

use super::{Cli, NAME};
use crate::flags::writable;
use crate::{output, rootless};

/// How many things are named; if there are more, they are only counted.
const NAMED: usize = 20;

pub(super) fn restore(cli: &Cli, quarantine: &Path) -> anyhow::Result<ExitCode> {
    rootless::check(&cli.root, "")?;
    let driver = writable(cli.storage_driver.as_deref())?;
    // Fails if there is no root: this command must not make one.
    drop(DataRoot::find(&cli.root, driver)?);
    if !quarantine.is_dir() {
        bail!(
            "{}: there is no such directory; --restore takes one that --apply --quarantine has made and named",
            quarantine.display()
        );
    }
    let restored = put_back(&cli.root, quarantine, WriteOptions { driver, sync: !cli.no_sync });
    let restored = restored.map_err(|error| match error {
        // What is wrong is not in the store, where a repair could help.
        StoreError::Invalid { path, reason } => anyhow!("{}: {reason}", path.display()),
        other => other.into(),
    })?;
    for place in restored.places.iter().take(NAMED) {
        output::say(&place.display().to_string())?;
    }
    if let Some(more) = restored.places.len().checked_sub(NAMED).filter(|more| *more > 0) {
        output::say(&format!("and {}", output::counted(more as u64, "more thing")))?;
    }
    for name in &restored.names {
        output::say(&format!("named: {name}"))?;
    }
    for place in &restored.occupied {
        output::complain(NAME, &format!("{} stays in the quarantine: something else is there now", place.display()));
    }
    for name in &restored.lost_names {
        output::complain(
            NAME,
            &format!("the name {name} is not put back: another image has it, or its own image is not in the store"),
        );
    }
    Ok(ExitCode::from(u8::from(!restored.occupied.is_empty() || !restored.lost_names.is_empty())))
}
