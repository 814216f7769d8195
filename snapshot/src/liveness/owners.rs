//! Who needs which layers and directories, for code that deletes. The records are read at the moment of the deletion.

use std::collections::{HashMap, HashSet};
use std::fmt;

use layerfs::ChainId;

use super::claims::Claims;
use super::dead::After;
use super::{Claim, Dead, Doubt, Liveness, StillAlive};
use crate::catalog::with_causes;
use crate::driver::{Driver, HomeLayout};
use crate::error::StoreError;
use crate::ids::{CacheId, ImageId, MountName};
use crate::root::WritableRoot;
use crate::schema::buildkit::Snapshots;
use crate::schema::config::ImageConfig;

/// Who needs a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// An image, at whatever height.
    Image(ImageId),
    /// A container, a build, or whatever asked for the mount.
    Mount(MountName),
    /// BuildKit's cache.
    BuildCache,
}

/// Why a layer must stay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayerStays {
    /// Somebody needs it.
    #[error("{0} needs it")]
    Held(Holder),
    /// A layer that stays stands on it.
    #[error("layer {0} stands on it")]
    Below(ChainId),
    /// Its directory must stay.
    #[error("its directory must stay: {0}")]
    Directory(Claim),
    /// A record that cannot be read may need it.
    #[error("it may be needed: {0}")]
    Unknown(Doubt),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(id) => write!(f, "image {id}"),
            Self::Mount(name) => write!(f, "the container or build {name}"),
            Self::BuildCache => f.write_str("the build cache"),
        }
    }
}

/// Who is about to go, and needs nothing any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Departing {
    pub(crate) images: HashSet<ImageId>,
    /// Entries of `layerdb/mounts`.
    pub(crate) mounts: HashSet<MountName>,
}

/// All owners of a store that is written to, read once. The writer's own lock is no doubt here.
#[derive(Debug)]
pub(crate) struct Owners {
    liveness: Liveness,
    /// Each layer that an image, a mount or BuildKit needs, with one that needs it.
    holders: HashMap<ChainId, Holder>,
    children: HashMap<ChainId, Vec<ChainId>>,
    /// Images that may have any layer. They have no directories but those of layers.
    images: Vec<Doubt>,
    directories: HashMap<ChainId, CacheId>,
}

impl Owners {
    /// Asks all owners but those that are `going`. What cannot be read keeps everything that it might name.
    ///
    /// # Errors
    /// [`StoreError`] if a directory cannot be listed.
    pub(crate) fn read(root: &WritableRoot, going: &Departing) -> Result<Self, StoreError> {
        Self::with_failure(root, going).map(|(owners, _)| owners)
    }

    /// As [`Owners::read`], for a caller that can still stop: here a failed system call is an error, since it may succeed the
    /// next time.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) fn read_all(root: &WritableRoot, going: &Departing) -> Result<Self, StoreError> {
        let (owners, failed) = Self::with_failure(root, going)?;
        failed.map_or(Ok(owners), Err)
    }

    fn with_failure(root: &WritableRoot, going: &Departing) -> Result<(Self, Option<StoreError>), StoreError> {
        let mut claims = Claims::default();
        let mut owners = Self {
            liveness: Liveness::default(),
            holders: HashMap::new(),
            children: HashMap::new(),
            images: Vec::new(),
            directories: HashMap::new(),
        };
        for chain_id in root.layers.list()? {
            if let Some(parent) = claims.registered(&root.layers, chain_id) {
                owners.children.entry(parent).or_default().push(chain_id);
            }
        }
        for (name, of) in &claims.by_name {
            let layers =
                of.iter().filter_map(|claim| if let Claim::Layer(chain) = claim { Some(*chain) } else { None });
            let id: Option<CacheId> = name.parse().ok();
            owners.directories.extend(layers.filter_map(|chain| Some((chain, id.clone()?))));
        }
        claims.removing(&root.layers, root.layers.removing()?);
        let mounts = crate::schema::mount::list(root.layers.mounts())?;
        claims.find_lost(root.dir(), root.driver.name(), &mounts)?;
        for mount in mounts.iter().filter(|mount| !going.mounts.contains(&mount.name)) {
            claims.mount(mount);
            mount.parent.into_iter().for_each(|parent| owners.hold(parent, || Holder::Mount(mount.name.clone())));
        }
        owners.read_images(root, going, &mut claims)?;
        let snapshots = Snapshots::read(root.dir());
        claims.build_cache(snapshots.as_ref());
        match snapshots {
            Ok(snapshots) => snapshots.chains().iter().for_each(|chain| owners.hold(*chain, || Holder::BuildCache)),
            Err(error) => claims.note_failure(error),
        }
        let (home, layout) = (root.driver.home(), HomeLayout::of_driver(root.driver.name()));
        owners.liveness = Liveness::build(Some(home), layout, root.driver.entries()?, &mut claims);
        Ok((owners, claims.failed))
    }

    fn hold(&mut self, chain_id: ChainId, holder: impl FnOnce() -> Holder) {
        self.holders.entry(chain_id).or_insert_with(holder);
    }

    fn read_images(&mut self, root: &WritableRoot, going: &Departing, claims: &mut Claims) -> Result<(), StoreError> {
        for image in root.images.list()?.into_iter().filter(|id| !going.images.contains(id)) {
            let config = match root.images.config(image) {
                Ok(None) => Err("its content does not have the digest it is named after".to_owned()),
                Ok(Some(bytes)) => ImageConfig::parse(&bytes).map_err(|error| error.to_string()),
                Err(error) => {
                    let cause = with_causes(&error);
                    claims.note_failure(error);
                    Err(cause)
                }
            };
            match config {
                Ok(config) => {
                    let layers = ChainId::chain(&config.diff_ids).into_iter();
                    layers.for_each(|layer| self.hold(layer, || Holder::Image(image)));
                }
                Err(cause) => self.images.push(Doubt::Image { image, cause }),
            }
        }
        Ok(())
    }

    /// Tells which of `layers` may go, and why each of the others stays. `layers` has children before parents.
    pub(crate) fn removable(&self, layers: &[ChainId]) -> (Vec<ChainId>, Vec<(ChainId, LayerStays)>) {
        let asked: HashSet<ChainId> = layers.iter().copied().collect();
        // A layer that is being removed does not need the layers below it either.
        let stays = |claim: &Claim| match claim {
            Claim::Layer(chain) => !asked.contains(chain),
            Claim::Removing(_) => false,
            _ => true,
        };
        let after = self.liveness.after(stays);
        let (mut gone, mut going, mut kept) = (HashSet::new(), Vec::new(), Vec::new());
        for &chain_id in layers {
            match self.stays(chain_id, &gone, &after) {
                None => {
                    gone.insert(chain_id);
                    going.push(chain_id);
                }
                Some(reason) => kept.push((chain_id, reason)),
            }
        }
        (going, kept)
    }

    fn stays(&self, chain_id: ChainId, gone: &HashSet<ChainId>, after: &After<'_>) -> Option<LayerStays> {
        if let Some(holder) = self.holders.get(&chain_id) {
            return Some(LayerStays::Held(holder.clone()));
        }
        let mut children = self.children.get(&chain_id).into_iter().flatten();
        if let Some(child) = children.find(|child| !gone.contains(child)) {
            return Some(LayerStays::Below(*child));
        }
        // A directory that has another owner stays when the record goes. So of the claims on the directory itself, only a
        // mount by the kernel keeps the layer.
        let in_use = |claim: &Claim| matches!(claim, Claim::Mounted(_));
        let claims = self.directories.get(&chain_id).map(|id| after.claims(id, in_use)).unwrap_or_default();
        if let Some(claim) = claims.into_iter().next() {
            return Some(LayerStays::Directory(claim));
        }
        let doubts = after.doubts().iter().copied();
        doubts.chain(&self.images).next().map(|doubt| LayerStays::Unknown(doubt.clone()))
    }

    /// Answers which directories may go once the removals that were begun are done.
    pub(crate) fn directories(&self) -> Directories<'_> {
        Directories(self.liveness.after(|claim| !matches!(claim, Claim::Removing(_))))
    }
}

/// Which directories may go.
#[derive(Debug)]
pub(crate) struct Directories<'o>(After<'o>);

impl Directories<'_> {
    /// Whether a directory may be deleted together with `removing`, the record of a removal that names it. Any other such record
    /// still claims the directory.
    pub(crate) fn dead(&self, id: &CacheId, removing: Option<&str>) -> Result<Dead<CacheId>, StillAlive> {
        self.0.dead(id, |claim| !matches!((claim, removing), (Claim::Removing(name), Some(own)) if name == own))
    }
}
