//! Which blocks of the data belong to one device alone.

use std::collections::{BTreeMap, HashMap};

use crate::ThinPool;
use crate::devices::Devices;
use crate::error::MetadataDamage;

/// The blocks of one device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Share {
    /// Blocks that no other device uses: removing the device frees them.
    pub exclusive: u64,
    /// Blocks that other devices use too.
    pub shared: u64,
    /// Parts of the device's mappings that are lost; the keys are blocks of the device.
    pub lost: Vec<MetadataDamage>,
}

/// The blocks of all devices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sharing {
    /// By the device's number.
    pub by_device: BTreeMap<u64, Share>,
    /// Blocks of the data that at least one device uses.
    pub mapped: u64,
}

/// Who uses a block of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    One(u64),
    Several,
}

pub(crate) fn count(pool: &ThinPool<'_>, devices: &Devices) -> Sharing {
    let mut users: HashMap<u64, User> = HashMap::new();
    let mut sharing = Sharing::default();
    for device in devices.by_id.values() {
        let share = sharing.by_device.entry(device.id).or_default();
        for run in pool.mappings(device) {
            match run {
                Ok(run) => {
                    for block in run.data..run.data + run.length {
                        share.shared += 1;
                        let user = users.entry(block).or_insert(User::One(device.id));
                        if *user != User::One(device.id) {
                            *user = User::Several;
                        }
                    }
                }
                Err(damage) => share.lost.push(damage),
            }
        }
    }
    for user in users.values() {
        if let User::One(device) = user
            && let Some(share) = sharing.by_device.get_mut(device)
        {
            share.exclusive += 1;
        }
    }
    // Until here `shared` was the number of all mapped blocks.
    for share in sharing.by_device.values_mut() {
        share.shared = share.shared.saturating_sub(share.exclusive);
    }
    sharing.mapped = users.len() as u64;
    sharing
}
