//! The build cache of a builder that keeps it as images and volumes of the store, and what each of its steps takes up.

use std::collections::BTreeSet;

use layerfs::ChainId;
use serde::Serialize;

use super::account::{Account, parts_of};
use super::parts::Part;
use super::report::Sizes;
use super::walk::Usage;
use crate::catalog::Image;
use crate::ids::{ImageId, VolumeName};
use crate::liveness::removal_plan::{Certainty, Holders, RemovalRequest};

/// Which images and volumes of a store are such a build cache. Only the builder knows that.
#[derive(Debug, Clone, Default)]
pub struct KeptCache {
    /// Images that are records of steps.
    pub images: BTreeSet<ImageId>,
    /// Volumes that are caches of commands.
    pub volumes: BTreeSet<VolumeName>,
}

/// A step that was built before, without the steps below it.
#[derive(Debug, Clone, Serialize)]
pub struct StepUsage {
    /// The id of its record.
    pub id: ImageId,
    /// The layer that it has made.
    pub layer: Option<ChainId>,
    /// What has made it.
    pub created_by: String,
    /// Record and layer. What images need of that is shared.
    #[serde(flatten)]
    pub sizes: Sizes,
    /// The record alone.
    pub records: u64,
    /// Why dockerd would not remove the record.
    pub kept: Option<String>,
}

/// The steps of a build cache, the largest first.
pub(super) fn steps(account: &Account<'_>, holders: &Holders<'_>, cache: &KeptCache) -> Vec<StepUsage> {
    let catalog = &account.view.catalog;
    let images = cache.images.iter().filter_map(|id| catalog.images.get(id));
    let step = |image: &Image| {
        let layer = image.chain.last().copied();
        let own: Vec<Part> = std::iter::once(Part::Image(image.id)).chain(layer.map(Part::Layer)).collect();
        let (images, containers) = (vec![image.id], Vec::new());
        let removal = holders.if_removed(&RemovalRequest { images, containers, certainty: Certainty::AsDockerd });
        let kept = removal.kept.first().map(|(_, reason)| reason.to_string());
        let going = parts_of(&removal);
        let usage: Usage = own.iter().map(|part| account.usage(part)).sum();
        let unique = account.freed_with(own.iter().filter(|part| going.contains(part)));
        let command = image.chain.len().checked_sub(1).and_then(|last| image.command_of_layer(last));
        StepUsage {
            id: image.id,
            layer,
            created_by: command.unwrap_or_default().to_owned(),
            sizes: Sizes { usage, shared: usage.allocated - unique, unique },
            records: account.usage(&Part::Image(image.id)).allocated,
            kept,
        }
    };
    let mut steps: Vec<StepUsage> = images.map(step).collect();
    steps.sort_by_key(|step| (std::cmp::Reverse(step.sizes.usage.allocated), step.id));
    steps
}
