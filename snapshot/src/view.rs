//! A data-root at one moment: all that a command says is about this moment.
//!
//! Records are read once and in a fixed order, and every later question is answered from them. So two parts of a report
//! never show two different states of a store that changes meanwhile.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use layerfs::ChainId;
use rustix::fs::FileType;

use crate::catalog::{Catalog, ConfigParts, Container, Damage, LayerFault, UseOfDirectory, with_causes};
use crate::containerd::gc::Records;
use crate::dir::Dir;
use crate::driver::{AnyDriver, Driver, HomeEntries, LayerDamage, Stacked};
use crate::edit::without_held;
use crate::error::StoreError;
use crate::ids::{CacheId, ContainerId};
use crate::liveness::removal_plan::Holders;
use crate::liveness::{Doubt, Liveness};
use crate::parallel;
use crate::root::DataRoot;
use crate::root::lock::{self, WriterInfo};
use crate::schema::buildkit::{SNAPSHOTS_DATABASE, Snapshots};
use crate::schema::database;
use crate::schema::layer::JOURNAL;
use crate::schema::paths::{
    CONFIGS, CONTAINERD_DATABASE, DAEMON_DATABASES, DISTRIBUTION, LAYER_RECORDS, METADATA, MORE_DATABASES,
    NEEDED_DIRECTORIES, REMOVING, TEMPORARY, WRITE_SETS, of_driver,
};

/// What a command needs to know. What it does not need is not read.
#[derive(Debug, Clone, Copy)]
pub struct Needs<'t> {
    /// Read only the images that these texts name, with their layers. `None`: read all records.
    images: Option<&'t [String]>,
    /// Find the layers that cannot be used, for which each layer's directory is looked at.
    faults: bool,
    /// Find out who needs which directory of the driver's home.
    liveness: bool,
    /// Read BuildKit's records. They are read for `liveness` in any case.
    build_cache: bool,
    /// What is kept of image configs.
    configs: ConfigParts,
}

impl<'t> Needs<'t> {
    /// All records, and nothing else.
    pub const RECORDS: Self =
        Self { images: None, faults: false, liveness: false, build_cache: false, configs: ConfigParts::All };

    /// All records, and what is wrong with the layers: for a listing. Of image configs it keeps the labels: with thousands of
    /// images, the rest would take most of the memory.
    pub const LISTING: Self = Self { faults: true, configs: ConfigParts::Labels, ..Self::RECORDS };

    /// A listing of layers: of image configs it keeps the commands of their steps as well.
    pub const LAYERS: Self = Self { configs: ConfigParts::Steps, ..Self::LISTING };

    /// A listing with the build cache. Of image configs it keeps the last step as well, which tells images from records of builds.
    pub const DISK_USAGE: Self = Self { build_cache: true, configs: ConfigParts::LastStep, ..Self::LISTING };

    /// All records, and who needs what.
    pub const LIVENESS: Self = Self { liveness: true, build_cache: true, ..Self::RECORDS };

    /// All records, and of image configs the labels and the commands of their steps.
    pub const STEPS: Self = Self { configs: ConfigParts::Steps, ..Self::RECORDS };

    /// Who needs what, and of image configs only the labels, which tell whether an image may go, and the last step, which tells what it
    /// is: for a plan of [`gc`](crate::gc).
    pub const REMOVAL: Self = Self { configs: ConfigParts::LastStep, ..Self::LIVENESS };

    /// Who needs what and what is wrong, and of image configs only the labels: for a [check](crate::check) and a
    /// [repair](crate::repair).
    pub const CHECK: Self = Self { faults: true, configs: ConfigParts::Labels, ..Self::LIVENESS };

    /// Who needs what and what is wrong, and of image configs the labels, the commands of their steps and the last step: to
    /// [count](crate::usage) what a store takes up, or to read all of it.
    pub const ACCOUNT: Self = Self { faults: true, configs: ConfigParts::StepsAndLast, ..Self::LIVENESS };

    /// Everything.
    pub const ALL: Self = Self { faults: true, ..Self::LIVENESS };

    /// Only the images that these texts name.
    #[must_use]
    pub fn only(texts: &'t [String]) -> Self {
        Self { images: Some(texts), faults: false, liveness: false, build_cache: false, configs: ConfigParts::All }
    }
}

/// What containerd's garbage collector looks at. That the database cannot be read the catalog says, which has read it, too.
fn containerd_records(root: &DataRoot) -> Result<Option<Records>, StoreError> {
    match root.containerd_records() {
        Err(StoreError::Database { .. } | StoreError::Invalid { .. }) => Ok(None),
        read => read,
    }
}

/// A data-root at one moment. See the [module](self). Its parts were read together and are only read from then on, since each
/// speaks of the others.
#[derive(Debug)]
pub struct View {
    /// The data-root.
    pub(crate) root: DataRoot,
    /// Images, layers, containers and volumes, as dockerd would see them at its start.
    pub(crate) catalog: Catalog,
    /// Who needs what of the driver's home; empty if [`Needs`] did not ask for it.
    pub(crate) liveness: Liveness,
    /// What containerd's garbage collector looks at, if [`Needs`] asked for who needs what and the images are there.
    pub(crate) containerd_records: Option<Records>,
    snapshots: Result<Snapshots, StoreError>,
    faults: Vec<(ChainId, LayerFault)>,
    unmountable: Vec<(ContainerId, LayerDamage)>,
    writer: Option<WriterInfo>,
}

impl View {
    /// Finds and reads the data-root at `path`. Nothing is written or locked.
    ///
    /// # Errors
    /// Those of [`DataRoot::find`] and [`View::read_root`].
    pub fn read(path: &Path, driver: Option<&str>, needs: Needs<'_>) -> Result<Self, StoreError> {
        Self::read_root(DataRoot::find(path, driver)?, needs)
    }

    /// Reads a data-root.
    ///
    /// # Errors
    /// [`StoreError::Io`] where a directory cannot be listed, or where this process has no descriptors or memory left. Damage of
    /// single files is no error.
    pub fn read_root(root: DataRoot, needs: Needs<'_>) -> Result<Self, StoreError> {
        // Look for a writer before and after reading, to notice one that began or ended meanwhile. Some network file
        // systems have no locks. No process of ours writes there, since it could not take its lock, so an error means
        // that there is no writer.
        let writing = || lock::writer(&root.dir).unwrap_or(None);
        let before = writing();
        if needs.images.is_some() {
            root.expect_images()?;
        }
        let catalog = match needs.images {
            None => Catalog::read_parts(&root, needs.configs)?,
            Some(texts) => Catalog::read_images(&root, texts)?,
        };
        let wanted = needs.build_cache || needs.liveness;
        let snapshots = if wanted { Snapshots::read(&root.dir) } else { Ok(Snapshots::default()) };
        let (home, sound) = look_at_home(&root, &catalog, needs)?;
        let mut liveness = match home {
            Some(home) => Liveness::read(&root, &catalog, snapshots.as_ref(), home)?,
            None => Liveness::default(),
        };
        let containerd_records = if needs.liveness { containerd_records(&root)? } else { None };
        let faults = if needs.faults { faults(&root, &catalog, sound) } else { Vec::new() };
        let unmountable = if needs.faults { unmountable(&root, &catalog, &faults) } else { Vec::new() };
        // A file that could not be opened for want of a descriptor must not be reported as damaged.
        root.dir.check_shortage()?;
        let writer = before.or_else(writing);
        if let Some(writer) = writer {
            liveness.doubt(Doubt::Writer(writer));
        }
        Ok(Self { root, catalog, liveness, containerd_records, snapshots, faults, unmountable, writer })
    }

    /// Finds out who needs which directory of the driver's home, for a caller who could not say before that he needs to know.
    ///
    /// # Errors
    /// Those of [`View::read_root`].
    pub fn add_liveness(&mut self) -> Result<(), StoreError> {
        self.snapshots = Snapshots::read(&self.root.dir);
        self.liveness = Liveness::read(&self.root, &self.catalog, self.snapshots.as_ref(), self.root.entries()?)?;
        self.containerd_records = containerd_records(&self.root)?;
        self.root.dir.check_shortage()?;
        self.writer = self.writer.or_else(|| lock::writer(&self.root.dir).unwrap_or(None));
        if let Some(writer) = self.writer {
            self.liveness.doubt(Doubt::Writer(writer));
        }
        Ok(())
    }

    /// The data-root.
    #[must_use]
    pub fn root(&self) -> &DataRoot {
        &self.root
    }

    /// Images, layers, containers and volumes, as dockerd would see them at its start.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Who needs what of the driver's home; empty if [`Needs`] did not ask for it.
    #[must_use]
    pub fn liveness(&self) -> &Liveness {
        &self.liveness
    }

    /// BuildKit's records.
    ///
    /// # Errors
    /// The error why they cannot be read.
    pub(crate) fn snapshots(&self) -> Result<&Snapshots, &StoreError> {
        self.snapshots.as_ref()
    }

    /// The other layerfs process that was writing to the root while it was read.
    #[must_use]
    pub fn writer(&self) -> Option<WriterInfo> {
        self.writer
    }

    /// Which images, containers and build-cache records hold which layers.
    #[must_use]
    pub fn holders(&self) -> Holders<'_> {
        Holders::new(&self.catalog, self.snapshots())
    }

    /// Whether BuildKit holds a layer, or may.
    pub(crate) fn held_by_build_cache(&self, chain: ChainId) -> bool {
        self.snapshots().map_or(true, |snapshots| snapshots.holds_chain(&chain))
    }

    /// Everything that is wrong, as far as [`Needs`] asked to look for it.
    #[must_use]
    pub fn damage(&self) -> Vec<Damage> {
        let mut damage = self.catalog.damage();
        let faults = self.faults.iter();
        damage.extend(faults.map(|(layer, fault)| Damage::LayerFault { layer: *layer, fault: fault.clone() }));
        let containers = self.unmountable.iter().cloned();
        damage.extend(containers.map(|(container, cause)| Damage::WritableLayer { container, cause }));
        damage.extend(self.snapshots.as_ref().err().map(|error| Damage::BuildCache { cause: with_causes(error) }));
        damage.extend(self.damaged_databases());
        damage.extend(self.misplaced_directories());
        damage
    }

    /// Directories of the daemon's in whose place something else is. One that leads to a directory is fine.
    pub(crate) fn misplaced_directories(&self) -> Vec<Damage> {
        let root = &self.root.dir;
        let of_images = |name: &str| of_driver(&self.root.driver_name, &[name]).join("/");
        let needed = NEEDED_DIRECTORIES.map(str::to_owned).into_iter().chain([of_images(DISTRIBUTION)]);
        let needed = needed.map(|directory| (directory, UseOfDirectory::Start));
        let all = needed.chain([(of_images(&WRITE_SETS.join("/")), UseOfDirectory::StoreLayers)]);
        let is_misplaced = |path: &str| {
            // What cannot be looked at says nothing about dockerd.
            let kind = root.kind_behind(Path::new(path)).ok().flatten();
            kind != Some(FileType::Directory) && root.is_there(Path::new(path))
        };
        let misplaced = all.filter(|(directory, _)| is_misplaced(directory));
        misplaced.map(|(directory, use_of)| Damage::Misplaced { directory, use_of }).collect()
    }

    /// The databases that the daemon could not open. BuildKit's database of snapshots is not among them if it was asked for:
    /// [`damage`](Self::damage) reports it as damage of the build cache.
    pub(crate) fn damaged_databases(&self) -> Vec<Damage> {
        let asked = |path: &[&str]| self.snapshots.is_err() && path.last() == Some(&SNAPSHOTS_DATABASE);
        let faults = DAEMON_DATABASES.iter().chain(&MORE_DATABASES).filter(|path| !asked(path)).filter_map(|path| {
            let cause = with_causes(&database::fault(&self.root.dir, path)?);
            Some(Damage::Database { database: path.join("/"), cause })
        });
        // Where the images are in containerd's store, its database is read as theirs.
        let of_containerd = database::fault(&self.root.dir, &CONTAINERD_DATABASE);
        let of_containerd = of_containerd.filter(|_| self.catalog.damaged_references().is_none()).map(|fault| {
            let cause = format!("{}; the containerd that dockerd starts needs it", with_causes(&fault));
            Damage::Database { database: CONTAINERD_DATABASE.join("/"), cause }
        });
        faults.chain(of_containerd).collect()
    }

    /// What is wrong with layers that dockerd would load, if [`Needs`] asked to look for it.
    #[must_use]
    pub(crate) fn faults(&self) -> &[(ChainId, LayerFault)] {
        &self.faults
    }

    /// What a crash has left among the records, or what the [writer](View::writer) has not finished yet. Directories
    /// left in the driver's home are found by [`Liveness`].
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn leftovers(&self) -> Result<Vec<Leftover>, StoreError> {
        const PLACES: [(&[&str], &str, LeftoverKind); 5] = [
            (&WRITE_SETS, "", LeftoverKind::Registration),
            (&LAYER_RECORDS, REMOVING, LeftoverKind::Removal),
            (&[], TEMPORARY, LeftoverKind::TemporaryFile),
            (&CONFIGS, TEMPORARY, LeftoverKind::TemporaryFile),
            (&METADATA, TEMPORARY, LeftoverKind::TemporaryFile),
        ];
        let Some(images) = &self.root.images_dir else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for (place, mark, kind) in PLACES {
            let Some(dir) = images.descend_unless_file(place)? else { continue };
            let mut names = dir.names()?;
            names.retain(|name| name.starts_with(mark) || name.ends_with(mark));
            if kind == LeftoverKind::Registration {
                names = without_held(&dir, names)?;
            }
            names.sort();
            found.extend(names.into_iter().map(|name| Leftover { path: dir.join(&name), kind }));
        }
        Ok(found)
    }
}

/// Something that a crash has left behind. dockerd never removes it, or only when it stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: LeftoverKind,
}

/// What a crash has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftoverKind {
    /// A layer that was being registered.
    Registration,
    /// A layer that was being removed.
    Removal,
    /// A file that was being replaced.
    TemporaryFile,
}

impl std::fmt::Display for LeftoverKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Registration => "an unfinished registration",
            Self::Removal => "an unfinished removal",
            Self::TemporaryFile => "a temporary file",
        })
    }
}

/// Looks at each layer that dockerd would load: at its chain id, at its journal, and at whether the driver could mount
/// it. dockerd checks none of this when it starts. No content is read. `sound` says which of them need no closer look.
fn faults(root: &DataRoot, catalog: &Catalog, sound: Vec<bool>) -> Vec<(ChainId, LayerFault)> {
    let records = root.images_dir.as_ref().and_then(|dir| dir.descend(&LAYER_RECORDS).ok().flatten());
    let layers = catalog.layers_as_listed();
    let looked_at: Vec<_> = layers.iter().zip(sound).collect();
    let found = parallel::map(&looked_at, |((_, layer), sound)| {
        let mut found = Vec::new();
        if ChainId::next(layer.parent, layer.diff_id) != layer.chain_id {
            found.push(LayerFault::WrongName);
        }
        found.extend(records.as_ref().and_then(|records| journal_fault(records, layer.chain_id)));
        let Some(driver) = root.driver.as_ref().filter(|_| !sound) else { return found };
        // A chain that is too deep is not gone through for each of its layers.
        if let Some(most) = driver.most_parents().filter(|most| catalog.graph().depth(layer.chain_id) > most + 1) {
            found.push(LayerFault::CannotMount { cause: LayerDamage::TooDeep { most } });
            return found;
        }
        match driver.damage(&layer.cache_id, &parents_for(driver, catalog, layer.parent)) {
            Ok(Some(cause)) => found.push(LayerFault::CannotMount { cause }),
            Err(error) => found.push(LayerFault::MountUnknown { cause: with_causes(&error) }),
            Ok(None) => {}
        }
        found
    });
    let of_each = layers.iter().zip(found);
    let each = of_each.flat_map(|((_, layer), found)| found.into_iter().map(|fault| (layer.chain_id, fault)));
    let mut faults: Vec<(ChainId, LayerFault)> = each.collect();
    faults.sort_by_key(|(layer, _)| *layer);
    faults
}

/// The layer `top` and those below it, the nearest first; only some of them if there are too many for the driver.
pub(crate) fn parents_for(driver: &AnyDriver, catalog: &Catalog, top: Option<ChainId>) -> Vec<CacheId> {
    let chain = top.into_iter().flat_map(|top| catalog.chain(top));
    chain.take(driver.most_parents().map_or(usize::MAX, |most| most + 1)).map(|layer| layer.cache_id.clone()).collect()
}

/// Looks at the driver's home as far as it is needed: what it holds, and which of the layers that dockerd would load the driver can
/// certainly mount, so that they need no closer look.
fn look_at_home(
    root: &DataRoot,
    catalog: &Catalog,
    needs: Needs<'_>,
) -> Result<(Option<HomeEntries>, Vec<bool>), StoreError> {
    if !needs.liveness && !needs.faults {
        return Ok((None, Vec::new()));
    }
    let layers = if needs.faults { stacked(catalog) } else { Vec::new() };
    let look = || match (needs.liveness, &root.driver) {
        (true, _) if needs.faults => root.entries_and_sound(&layers).map(|(home, sound)| (Some(home), sound)),
        (true, _) => Ok((Some(root.entries()?), Vec::new())),
        (false, Some(driver)) => Ok((None, driver.certainly_sound(&layers))),
        (false, None) => Ok((None, vec![false; layers.len()])),
    };
    // All who ask for one of these need the graph later, and it is the work of one thread.
    parallel::beside(|| catalog.graph(), look).1
}

/// The layers that dockerd would load, as they are [listed](Catalog::layers_as_listed), each with the place of the one below.
fn stacked(catalog: &Catalog) -> Vec<Stacked<'_>> {
    let layers = catalog.layers_as_listed();
    let below = catalog.numbers_below();
    let mut positions = vec![None; below.len()];
    for (at, (number, _)) in layers.iter().enumerate() {
        positions[*number as usize] = Some(at);
    }
    let position = |number: u32| positions[below[number as usize]? as usize];
    layers.iter().map(|(number, layer)| Stacked { id: &layer.cache_id, parent: position(*number) }).collect()
}

/// Containers that dockerd shows but cannot mount, each with what is wrong in its own two layers. Damage of the layers
/// below is reported for the image.
fn unmountable(
    root: &DataRoot,
    catalog: &Catalog,
    faults: &[(ChainId, LayerFault)],
) -> Vec<(ContainerId, LayerDamage)> {
    let Some(driver) = &root.driver else { return Vec::new() };
    let cannot = |fault: &LayerFault| matches!(fault, LayerFault::CannotMount { .. });
    let faulty: HashSet<ChainId> = faults.iter().filter(|(_, fault)| cannot(fault)).map(|(chain, _)| *chain).collect();
    let on_faulty = catalog.graph().standing_on(&faulty);
    let containers: Vec<&Container> = catalog.live_containers().collect();
    let found = parallel::map(&containers, |container| {
        let mount = container.mount.as_ref()?;
        if mount.parent.and_then(|top| catalog.graph().number(top)).is_some_and(|number| on_faulty[number as usize]) {
            return None;
        }
        let below = parents_for(driver, catalog, mount.parent);
        let init = mount.init_id.as_ref();
        let of_init = init.and_then(|init| driver.damage(init, &below).ok().flatten());
        let under: Vec<CacheId> = init.into_iter().chain(&below).cloned().collect();
        // Without its `parent` a record does not tell what is below.
        let of_own = || driver.writable_damage(mount.mount_id.as_ref()?, &under).ok().flatten();
        let damage = if mount.parent.is_some() { of_init.or_else(of_own) } else { None };
        damage.map(|damage| (container.id.clone(), damage))
    });
    found.into_iter().flatten().collect()
}

fn journal_fault(records: &Dir, chain: ChainId) -> Option<LayerFault> {
    // The record was read before, so its directory is no symlink, and this path stays inside the store.
    match records.stat(&format!("{}/{JOURNAL}", chain.0.hex())).ok()? {
        None => Some(LayerFault::JournalMissing),
        Some(stat) if stat.st_size == 0 => Some(LayerFault::JournalEmpty),
        Some(_) => None,
    }
}
