//! Who needs what: asked before anything is deleted.
//!
//! The answer is no longer than it has to be: not all that can be said of a directory's owners (that is [`crate::liveness`]), but
//! whether there is one. A record that cannot be read is one more owner of everything that it might name:
//!
//! | cannot be read | keeps |
//! |---|---|
//! | a layer's `cache-id` or `parent` | all layers, all directories |
//! | a mount's `mount-id`, `init-id` or `parent`, also one that is not there | all layers, all directories |
//! | an image's config | all layers |
//! | `buildkit/snapshots.db` | all layers, all directories |
//! | a container's config | all images |

use std::collections::{HashMap, HashSet};

use layerfs::ChainId;

use crate::catalog::with_causes;
use crate::error::StoreError;
use crate::ids::{CacheId, ImageId};
use crate::root::WritableRoot;
use crate::schema::buildkit::Snapshots;
use crate::schema::config::ImageConfig;
use crate::schema::container;
use crate::schema::references::References;

/// Who names a directory of the driver's home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// A registered layer.
    Layer(ChainId),
    /// A layer whose removal was begun, by the name of its record.
    Removing(String),
    /// A container, a build, or another registration: in words.
    Other(String),
}

/// Whether something may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nobody needs it.
    Free,
    /// Somebody does.
    Needed(String),
    /// Somebody may: this could not be read.
    Unknown(String),
}

/// All owners, read once. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Keepers {
    directories: HashMap<CacheId, Vec<Owner>>,
    children: HashMap<ChainId, Vec<ChainId>>,
    /// Layers that images, mounts and BuildKit need, and one of those who do.
    layers: HashMap<ChainId, String>,
    /// Why any layer may be needed.
    unknown_layers: Option<String>,
    /// Why any directory may have another owner.
    unknown_directories: Option<String>,
    /// The first record that could not be read for a reason that may pass: a call failed.
    failed: Option<StoreError>,
}

impl Keepers {
    /// Asks all owners but the images that are `going`.
    pub(super) fn read(root: &WritableRoot, going: &HashSet<ImageId>) -> Result<Self, StoreError> {
        let mut keepers = Self::default();
        keepers.read_layers(root)?;
        keepers.read_mounts(root);
        keepers.read_images(root, going)?;
        match Snapshots::read(root.dir()) {
            Ok(snapshots) => {
                for id in snapshots.driver_ids() {
                    keepers.own(id.clone(), Owner::Other("the build cache".into()));
                }
                for &chain_id in snapshots.chains() {
                    keepers.need(chain_id, || "the build cache".into());
                }
            }
            Err(error) => keepers.unknown(error),
        }
        Ok(keepers)
    }

    /// The same, for whoever can still stop: a call that failed is an error, since it may succeed the next time.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(super) fn read_all(root: &WritableRoot, going: &HashSet<ImageId>) -> Result<Self, StoreError> {
        let mut keepers = Self::read(root, going)?;
        keepers.failed.take().map_or(Ok(keepers), Err)
    }

    fn own(&mut self, id: CacheId, owner: Owner) {
        self.directories.entry(id).or_default().push(owner);
    }

    fn need(&mut self, chain_id: ChainId, who: impl FnOnce() -> String) {
        self.layers.entry(chain_id).or_insert_with(who);
    }

    fn unknown(&mut self, error: StoreError) {
        let reason = with_causes(&error);
        self.unknown_layers.get_or_insert_with(|| reason.clone());
        self.unknown_directories.get_or_insert(reason);
        self.note_failure(error);
    }

    fn note_failure(&mut self, error: StoreError) {
        if matches!(error, StoreError::Io { .. }) {
            self.failed.get_or_insert(error);
        }
    }

    fn read_layers(&mut self, root: &WritableRoot) -> Result<(), StoreError> {
        for chain_id in root.layers.list()? {
            match root.layers.names_in(chain_id) {
                Ok((Some(id), parent)) => {
                    self.own(id, Owner::Layer(chain_id));
                    if let Some(parent) = parent {
                        self.children.entry(parent).or_default().push(chain_id);
                    }
                }
                Ok((None, _)) => {
                    self.unknown(StoreError::DamagedLayer { chain_id, reason: "its cache-id is missing".into() });
                }
                Err(error) => self.unknown(error),
            }
        }
        for name in root.layers.removing()? {
            match root.layers.removing_cache_id(&name) {
                Ok(Some(id)) => self.own(id, Owner::Removing(name)),
                // Its directory went before its record.
                Ok(None) => {}
                Err(error) => self.unknown(error),
            }
        }
        Ok(())
    }

    fn read_mounts(&mut self, root: &WritableRoot) {
        let mounts = match crate::schema::mount::list(root.layers.mounts()) {
            Ok(mounts) => mounts,
            Err(error) => return self.unknown(error),
        };
        for mount in mounts {
            let who = format!("the container or build {}", mount.name);
            match mount.mount_id {
                Some(id) => {
                    // Where the record of the init layer was lost, it is still this mount's.
                    let init = mount.init_id.or_else(|| format!("{id}-init").parse().ok());
                    self.own(id, Owner::Other(who.clone()));
                    init.into_iter().for_each(|init| self.own(init, Owner::Other(who.clone())));
                }
                None => self.unknown(unreadable_mount(root, &mount.name, "mount-id")),
            }
            match mount.parent {
                Some(parent) => self.need(parent, || who),
                None => self.unknown(unreadable_mount(root, &mount.name, "parent")),
            }
        }
    }

    fn read_images(&mut self, root: &WritableRoot, going: &HashSet<ImageId>) -> Result<(), StoreError> {
        for id in root.images.list()?.into_iter().filter(|id| !going.contains(id)) {
            let config = match root.images.config(id) {
                Ok(None) => Err("its content does not have the digest it is named after".to_owned()),
                Ok(Some(bytes)) => ImageConfig::parse(&bytes).map_err(|error| error.to_string()),
                Err(error) => {
                    let reason = with_causes(&error);
                    self.note_failure(error);
                    Err(reason)
                }
            };
            match config {
                Ok(config) => {
                    for chain_id in ChainId::chain(&config.diff_ids) {
                        self.need(chain_id, || format!("image {id}"));
                    }
                }
                Err(reason) => drop(self.unknown_layers.get_or_insert(format!("image {id}: {reason}"))),
            }
        }
        Ok(())
    }

    /// Whether a layer may go when those in `gone` have.
    pub(super) fn layer(&self, chain_id: ChainId, gone: &HashSet<ChainId>) -> Verdict {
        if let Some(who) = self.layers.get(&chain_id) {
            return Verdict::Needed(format!("{who} needs it"));
        }
        let children = self.children.get(&chain_id).into_iter().flatten();
        if let Some(child) = children.into_iter().find(|child| !gone.contains(child)) {
            return Verdict::Needed(format!("layer {child} stands on it"));
        }
        self.unknown_layers.clone().map_or(Verdict::Free, Verdict::Unknown)
    }

    /// Whether a directory may go with `own`, the record that names it.
    pub(super) fn directory(&self, id: &CacheId, own: Option<&Owner>) -> Verdict {
        let others = self.directories.get(id).into_iter().flatten();
        match others.into_iter().find(|owner| Some(*owner) != own) {
            Some(Owner::Layer(chain_id)) => Verdict::Needed(format!("it is the content of layer {chain_id}")),
            Some(Owner::Removing(name)) => Verdict::Needed(format!("{name} names it")),
            Some(Owner::Other(who)) => Verdict::Needed(format!("{who} needs it")),
            None => self.unknown_directories.clone().map_or(Verdict::Free, Verdict::Unknown),
        }
    }
}

fn unreadable_mount(root: &WritableRoot, name: &str, file: &str) -> StoreError {
    let path = root.layers.mounts().map(|mounts| mounts.join(name).join(file)).unwrap_or_default();
    StoreError::Invalid { path, reason: "missing or invalid".into() }
}

/// Those of `images` that a name, a container or another image than those of `images` needs.
pub(super) fn needed_images(root: &WritableRoot, images: &[ImageId]) -> Result<HashSet<ImageId>, StoreError> {
    let asked: HashSet<ImageId> = images.iter().copied().collect();
    let mut needed: HashSet<ImageId> =
        References::load(&root.images_dir)?.iter().map(|(_, id)| id).filter(|id| asked.contains(id)).collect();
    for id in root.images.list()?.into_iter().filter(|id| !asked.contains(id)) {
        let parent = root.images.metadata(id, "parent")?;
        needed.extend(parent.and_then(|text| text.parse().ok()).map(ImageId).filter(|id| asked.contains(id)));
    }
    let Some(containers) = container::open(root.dir())? else { return Ok(needed) };
    for name in containers.names()? {
        // What is no directory is no container.
        let Ok(Some(dir)) = containers.sub(&name) else { continue };
        match container::read(&dir, &name).ok().and_then(|container| container.image) {
            Some(id) if asked.contains(&id) => drop(needed.insert(id)),
            Some(_) => {}
            // It may use any of them.
            None => return Ok(asked),
        }
    }
    Ok(needed)
}
