//! Plans the repair of images: damaged configs that a source has, layers without a record, parents that do not exist.

use std::collections::{BTreeMap, BTreeSet};

use layerfs::{ChainId, DiffId};

use super::RepairPlanner;
use crate::catalog::{ImageDamage, Subject, with_causes};
use crate::ids::ImageId;
use crate::repair::error::RepairError;
use crate::repair::mending::{Advice, Mending};
use crate::schema::config::ImageConfig;

impl RepairPlanner<'_> {
    /// Reads what the configs of images prove about layers. For a damaged config, that of a source is read.
    pub(super) fn read_configs(&mut self) -> Result<(), RepairError> {
        let mut unread = BTreeMap::new();
        for image in self.images.list()? {
            match self.images.config(image) {
                Ok(Some(config)) => self.learn(image, &config),
                Ok(None) => {}
                Err(error) => drop(unread.insert(image, error)),
            }
        }
        for image in self.damaged_configs() {
            if let Some(config) = self.donors.config(image) {
                self.learn(image, &config);
            }
        }
        // A config that cannot be read may be the one that says what a layer is.
        let unread = unread.iter().filter(|(image, _)| !self.chains.contains_key(image)).map(|(_, error)| error);
        self.unread = unread.filter(|error| error.leaves_open()).map(|error| with_causes(error)).next();
        Ok(())
    }

    fn learn(&mut self, image: ImageId, config: &[u8]) {
        let Ok(config) = ImageConfig::parse(config) else { return };
        let chain = ChainId::chain(&config.diff_ids);
        let mut parent = None;
        for (layer, diff_id) in chain.iter().zip(&config.diff_ids) {
            self.proven.insert(*layer, (*diff_id, parent));
            parent = Some(*layer);
        }
        self.chains.insert(image, chain);
    }

    /// Images whose config is missing or has changed.
    fn damaged_configs(&self) -> Vec<ImageId> {
        let lost = |damage: &ImageDamage| {
            matches!(
                damage,
                ImageDamage::ConfigMissing | ImageDamage::DigestDiffers | ImageDamage::ConfigUnreadable { .. }
            )
        };
        let damaged = self.view.catalog.damaged_images.iter();
        damaged.filter(|(_, damage)| lost(damage)).map(|(image, _)| *image).collect()
    }

    /// Plans to store damaged configs again that a source has.
    pub(super) fn plan_configs(&mut self) {
        let lost: BTreeSet<ImageId> = self.damaged_configs().into_iter().collect();
        let damaged: Vec<(ImageId, ImageDamage)> =
            self.view.catalog.damaged_images.iter().map(|(image, damage)| (*image, damage.clone())).collect();
        for (image, damage) in damaged {
            if !self.is_chosen_image(image) {
                continue;
            }
            let subject = Subject::Image(image);
            match damage {
                _ if lost.contains(&image) && self.chains.contains_key(&image) => {
                    self.step(subject, damage.to_string(), Mending::RestoreConfig { image });
                }
                _ if lost.contains(&image) => self.cannot(subject, damage.to_string(), Advice::NameSource),
                // A config that is too long to be read would be as long if it were brought back.
                ImageDamage::TopLayer(_) | ImageDamage::ConfigNotRead { .. } => {}
                _ => self.cannot(subject, damage.to_string(), Advice::RemoveImage),
            }
        }
    }

    /// Plans to add the layers that images need and that have no record, or will have none.
    pub(super) fn plan_missing_layers(&mut self) {
        let chains: Vec<(ImageId, Vec<ChainId>)> = self
            .chains
            .iter()
            .filter(|(image, _)| self.is_chosen_image(**image))
            .map(|(id, chain)| (*id, chain.clone()))
            .collect();
        for (image, chain) in chains {
            for layer in chain {
                if self.records.contains_key(&layer) || self.added.contains(&layer) {
                    continue;
                }
                let (diff_id, parent) = self.proven[&layer];
                if self.may_be_added(layer, diff_id) {
                    self.added.insert(layer);
                    let cause = self.broken.get(&layer).cloned().unwrap_or_else(|| "it has no record".into());
                    self.step(Subject::Layer(layer), cause, Mending::AddLayer { layer, diff_id, parent });
                    continue;
                }
                let why = self.broken.get(&layer).map_or("it has no record", String::as_str);
                let stays = self.broken.contains_key(&layer) && !self.is_dropped(layer);
                let state = if stays { "cannot be used" } else { "is lost" };
                let reason = format!("its layer {layer} {state}: {why}");
                self.cannot(Subject::Image(image), reason, Advice::NameSource);
                break;
            }
        }
    }

    fn may_be_added(&self, layer: ChainId, diff_id: DiffId) -> bool {
        self.donors.has_layer(diff_id) && (!self.broken.contains_key(&layer) || self.is_dropped(layer))
    }

    fn is_dropped(&self, layer: ChainId) -> bool {
        self.about.dropped.contains(&layer)
    }

    /// Plans to forget parents of images that are no ids, or whose image does not exist: dockerd cannot remove such an
    /// image without an error.
    pub(super) fn plan_image_parents(&mut self) {
        let images: Vec<ImageId> = self.chains.keys().copied().filter(|image| self.is_chosen_image(*image)).collect();
        for image in images {
            let Some(text) = self.images.parent(image) else { continue };
            let there = text.parse().is_ok_and(|parent| {
                let parent = ImageId(parent);
                self.view.catalog.damaged_images.contains_key(&parent) || self.chains.contains_key(&parent)
            });
            if !there {
                let cause = format!("metadata/parent names no image: {:?}", text.chars().take(100).collect::<String>());
                self.step(Subject::Image(image), cause, Mending::ForgetImageParent { image });
            }
        }
    }
}
