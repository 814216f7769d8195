//! Why a container cannot be mounted, in the words of the listings: the kernel's own are "invalid argument" or that
//! some file is missing.

use std::path::Path;

use snapshot::catalog::{Container, Damage};
use snapshot::ids::ContainerId;
use snapshot::view::{Needs, View};

use crate::ContainerError;

/// The error to report for a container that did not start: the damage of its layers if there is any, else `error`.
pub(crate) fn explained(root: &Path, driver: Option<&str>, id: &ContainerId, error: ContainerError) -> ContainerError {
    // If the store cannot be read either, it explains nothing.
    let Ok(view) = View::read(root, driver, Needs::LISTING) else { return error };
    match cause(&view, id) {
        Some(cause) => ContainerError::Invalid(format!("container {id} is damaged: it cannot be mounted: {cause}")),
        None => error,
    }
}

fn cause(view: &View, id: &ContainerId) -> Option<String> {
    let container: &Container = view.catalog().live_containers().find(|container| container.id == *id)?;
    let top = container.mount.as_ref().and_then(|mount| mount.parent);
    let below: Vec<_> = top.into_iter().flat_map(|top| view.catalog().chain(top)).map(|layer| layer.chain_id).collect();
    view.damage().into_iter().find_map(|damage| match damage {
        Damage::WritableLayer { container, cause } if container == *id => Some(cause.to_string()),
        Damage::LayerFault { layer, fault: snapshot::catalog::LayerFault::CannotMount { cause } }
            if below.contains(&layer) =>
        {
            Some(format!("layer {layer}: {cause}"))
        }
        _ => None,
    })
}
