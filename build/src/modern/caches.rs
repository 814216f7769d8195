//! Directories that outlive builds, for `RUN --mount=type=cache`: each is a volume. `flock(2)` on the volume's directory says who has
//! it, for stages of one build and for builds side by side (moby/buildkit `solver/llbsolver/mounts/mount.go`).

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use layerfs::Digest;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use snapshot::ids::VolumeName;
use snapshot::schema::containerfile::{ServiceMount, VolumeOptions};
use snapshot::schema::volume::{self, Volume};

use super::{Builder, lock};
use crate::BuildError;
use crate::instruction::mount::{Kind, Mount, Sharing};

/// The label of a volume that is a cache of commands: its name in Dockerfiles.
const LABEL: &str = "layerfs.build.cache";
/// How the name of such a volume begins.
const PREFIX: &str = "layerfs-build-cache-";

/// How often it is looked whether a cache is free.
const TICK: Duration = Duration::from_millis(20);

/// Of the name of a volume that is such a cache: the digits by which it is told from others.
#[must_use]
pub fn digits_of_cache(name: &str) -> Option<&str> {
    name.strip_prefix(PREFIX)
}

/// Of a volume that is such a cache: its digits, and the id that Dockerfiles give it.
#[must_use]
pub fn cache_of_volume(volume: &Volume) -> Option<(&str, &str)> {
    let digits = digits_of_cache(&volume.name)?;
    Some((digits, volume.labels.get(LABEL).map(String::as_str).unwrap_or_default()))
}

/// The directory of a volume, whose lock says whether a command has the cache, and whose time when one took it.
fn lock_of(root: &Path, name: &VolumeName) -> PathBuf {
    let content = volume::content_path(root, name);
    content.parent().unwrap_or(&content).to_owned()
}

/// Whether a command of a build has a cache.
#[must_use]
pub fn is_cache_in_use(root: &Path, name: &VolumeName) -> bool {
    let Ok(file) = File::open(lock_of(root, name)) else { return false };
    flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
}

/// When a command of a build last took a cache.
#[must_use]
pub fn cache_last_used(root: &Path, name: &VolumeName) -> Option<SystemTime> {
    std::fs::metadata(lock_of(root, name)).ok()?.modified().ok()
}

impl Builder<'_, '_> {
    /// The volumes of the caches among some mounts, in their order, and the locks by which this command has them.
    pub(super) fn caches(
        &mut self,
        mounts: &[Mount],
        dir: &Path,
    ) -> Result<(Vec<ServiceMount>, Vec<File>), BuildError> {
        let caches: Vec<(usize, &Mount)> =
            mounts.iter().enumerate().filter(|(_, mount)| mount.kind == Kind::Cache).collect();
        // In the order of their names, so that no two commands wait for each other; and each once.
        let mut wanted: BTreeMap<String, (usize, &Mount)> = BTreeMap::new();
        for &(number, mount) in &caches {
            let name = format!("{PREFIX}{}", &Digest::hash(mount.id.as_bytes()).hex()[..32]);
            let known = wanted.entry(name).or_insert((number, mount));
            if mount.sharing == Sharing::Locked {
                *known = (number, mount);
            }
        }
        let (mut names, mut locks) = (BTreeMap::new(), Vec::new());
        for (name, (number, mount)) in wanted {
            let place = dir.join(format!("cache-{number}"));
            let (chosen, lock) = self.take_cache(mount, &name, &place)?;
            names.insert(&mount.id, chosen);
            locks.push(lock);
        }
        let mounts = caches.iter().map(|(_, mount)| ServiceMount {
            kind: "volume".into(),
            source: names[&mount.id].clone(),
            target: mount.target.clone(),
            read_only: !mount.writable,
            volume_options: Some(VolumeOptions { no_copy: true, ..VolumeOptions::default() }),
            ..ServiceMount::default()
        });
        Ok((mounts.collect(), locks))
    }

    /// Takes a cache for a command: its volume, or another one if it is taken and shall not be shared.
    fn take_cache(&mut self, mount: &Mount, name: &str, place: &Path) -> Result<(String, File), BuildError> {
        let operation = match mount.sharing {
            Sharing::Shared => FlockOperation::NonBlockingLockShared,
            Sharing::Private | Sharing::Locked => FlockOperation::NonBlockingLockExclusive,
        };
        let mut number = 0;
        loop {
            let chosen = if number == 0 { name.to_owned() } else { format!("{name}-{number}") };
            let volume = self.cache_volume(mount, &chosen, place)?;
            let file =
                File::open(lock_of(&self.shared.store.root, &volume)).map_err(BuildError::io("opening a cache"))?;
            match flock(&file, operation) {
                Ok(()) => {
                    let told = file.set_modified(SystemTime::now());
                    told.map_err(BuildError::io("noting that a cache is used"))?;
                    return Ok((chosen, file));
                }
                Err(Errno::WOULDBLOCK) if mount.sharing == Sharing::Private => number += 1,
                Err(Errno::WOULDBLOCK) => std::thread::sleep(TICK),
                Err(errno) => return Err(BuildError::io("locking a cache")(errno.into())),
            }
            if self.shared.place.interrupted.load(Ordering::Relaxed) {
                return Err(BuildError::Interrupted);
            }
        }
    }

    /// The volume of a cache; a new one is filled and gets its owner.
    fn cache_volume(&mut self, mount: &Mount, name: &str, place: &Path) -> Result<VolumeName, BuildError> {
        let store = &self.shared.store;
        let id: VolumeName = name.parse().expect("letters, digits and dashes are a name");
        let content = volume::content_path(&store.root, &id);
        if content.exists() {
            // Whoever makes it is done when this lock is free.
            drop(lock(&self.shared.caches));
            return Ok(id);
        }
        if !mount.from.is_empty() {
            // What it is filled from must be there before others have to wait.
            self.with_source(mount, |_, _| Ok(()))?;
        }
        let _caches = lock(&self.shared.caches);
        if content.exists() {
            return Ok(id);
        }
        {
            let _writing = store.writing();
            let labels = BTreeMap::from([(LABEL.to_owned(), mount.id.clone())]);
            store.containers().create_volume(Some(name), labels, BTreeMap::new())?;
        }
        if !mount.from.is_empty() {
            std::fs::create_dir_all(place).map_err(BuildError::io("making a mount"))?;
            self.lay_out(mount, place)?;
            let open = |path: &Path| File::open(path).map_err(BuildError::io("opening a cache"));
            let (from, to) = (open(&place.join("x"))?, open(&content)?);
            let copied = layerfs::copy_tree(&from, &to);
            copied.map_err(|errno| BuildError::io("filling a cache")(errno.into()))?;
        }
        let (uid, gid) = (Some(mount.uid), Some(mount.gid));
        std::os::unix::fs::chown(&content, uid, gid).map_err(BuildError::io("giving a cache its owner"))?;
        let mode = std::fs::Permissions::from_mode(mount.mode.unwrap_or(0o755));
        std::fs::set_permissions(&content, mode).map_err(BuildError::io("giving a cache its permissions"))?;
        Ok(id)
    }
}
