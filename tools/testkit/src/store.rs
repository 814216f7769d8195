//! A data-root looked at while nobody uses it: is what it says true, and is there anything that it does not say?
//!
//! Shares no code with what writes it but digests and the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use layerfs::{ChainId, DiffId, Digest};
use rustix::fs::{Mode, OFlags};
use serde_json::Value;
use tarsplit::journal::EntryReader;

/// What is in a data-root.
#[derive(Debug, Default)]
pub struct StoreFiles {
    root: PathBuf,
    /// Whether its layers are copies in directories, and not overlay2's.
    is_vfs: bool,
    /// Image id, and the chain ids of its layers.
    pub images: BTreeMap<String, Vec<String>>,
    /// Chain id, and what its record says.
    pub layers: BTreeMap<String, LayerFiles>,
    /// Name, and image id.
    pub tags: BTreeMap<String, String>,
    /// What is not as it must be for a dockerd.
    pub wrong: Vec<String>,
}

/// What the record of a layer says.
#[derive(Debug)]
pub struct LayerFiles {
    /// The digest of its tar.
    pub diff_id: String,
    /// The name of its directory.
    pub cache_id: String,
    parent: Option<String>,
}

impl StoreFiles {
    /// Reads the data-root at `root`, of overlay2 or of vfs alone; one that does not exist is empty.
    pub fn read(root: &Path) -> Self {
        let mut store = Self { root: root.to_owned(), is_vfs: is_dir(&root.join("image/vfs")), ..Self::default() };
        store.read_layers();
        store.read_images();
        store.read_tags();
        store
    }

    fn image_dir(&self) -> PathBuf {
        self.root.join(if self.is_vfs { "image/vfs" } else { "image/overlay2" })
    }

    /// Where the directories of layers are.
    fn home(&self) -> PathBuf {
        self.root.join(if self.is_vfs { "vfs/dir" } else { "overlay2" })
    }

    fn layer_dir(&self, layer: &LayerFiles) -> PathBuf {
        self.home().join(&layer.cache_id)
    }

    fn content(&self, layer: &LayerFiles) -> PathBuf {
        let dir = self.layer_dir(layer);
        if self.is_vfs { dir } else { dir.join("diff") }
    }

    /// Where the content of each layer is, by chain id.
    pub fn diffs(&self) -> BTreeMap<String, PathBuf> {
        self.layers.iter().map(|(chain, layer)| (chain.clone(), self.content(layer))).collect()
    }

    fn read_layers(&mut self) {
        let records = self.image_dir().join("layerdb/sha256");
        // dockerd passes over layers whose removal was begun, too.
        for chain in names(&records).into_iter().filter(|name| !name.ends_with("-removing")) {
            match read_layer(&records.join(&chain)) {
                Ok(layer) => drop(self.layers.insert(chain, layer)),
                Err(reason) => self.wrong.push(format!("layer {chain}: {reason}")),
            }
        }
        let found: Vec<String> =
            self.layers.iter().filter_map(|(chain, layer)| self.layer_fault(chain, layer)).collect();
        self.wrong.extend(found);
        let cache_ids: BTreeSet<&String> = self.layers.values().map(|layer| &layer.cache_id).collect();
        if cache_ids.len() != self.layers.len() {
            self.wrong.push("two layers have one directory".into());
        }
    }

    fn layer_fault(&self, chain: &str, layer: &LayerFiles) -> Option<String> {
        let fault = |reason: String| Some(format!("layer {chain}: {reason}"));
        let home = self.layer_dir(layer);
        let parent = layer.parent.as_ref().map(|parent| (parent, self.layers.get(parent)));
        let expected = match &parent {
            None => layer.diff_id.trim_start_matches("sha256:").to_owned(),
            Some((parent, _)) => Digest::hash(format!("sha256:{parent} {}", layer.diff_id).as_bytes()).hex(),
        };
        if expected != chain {
            return fault(format!("its chain id is {expected}"));
        }
        if !is_dir(&self.content(layer)) {
            return fault(format!("no {}", self.content(layer).display()));
        }
        if self.is_vfs {
            return match parent {
                Some((parent, None)) => fault(format!("its parent {parent} is missing")),
                _ => None,
            };
        }
        let (own, lower) = (text(&home.join("link")), text(&home.join("lower")).ok());
        let Ok(own) = own else { return fault("no link".into()) };
        let target = std::fs::read_link(self.root.join("overlay2/l").join(&own)).unwrap_or_default();
        if own.len() != 26 || target != Path::new(&format!("../{}/diff", layer.cache_id)) {
            return fault(format!("l/{own} leads to {}", target.display()));
        }
        let expected = match parent {
            None => None,
            Some((parent, None)) => return fault(format!("its parent {parent} is missing")),
            Some((_, Some(parent))) => {
                let below = self.layer_dir(parent);
                let link = text(&below.join("link")).unwrap_or_default();
                let rest = text(&below.join("lower")).map(|lower| format!(":{lower}")).unwrap_or_default();
                Some(format!("l/{link}{rest}"))
            }
        };
        if lower != expected || is_dir(&home.join("work")) != expected.is_some() {
            return fault(format!("lower is {lower:?}, not {expected:?}"));
        }
        None
    }

    fn read_images(&mut self) {
        let content = self.image_dir().join("imagedb/content/sha256");
        for id in names(&content).into_iter().filter(|name| !name.starts_with('.')) {
            match self.read_image(&content.join(&id), &id) {
                Ok(chains) => drop(self.images.insert(id, chains)),
                Err(reason) => self.wrong.push(format!("image {id}: {reason}")),
            }
        }
    }

    fn read_image(&self, path: &Path, id: &str) -> Result<Vec<String>, String> {
        let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
        let found = Digest::hash(&bytes).hex();
        if found != id {
            return Err(format!("its digest is {found}"));
        }
        let config: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        let diff_ids = config["rootfs"]["diff_ids"].as_array().cloned().unwrap_or_default();
        let diff_ids: Vec<DiffId> = diff_ids.iter().map(|id| id.as_str().unwrap().parse().unwrap()).collect();
        let chains: Vec<String> = ChainId::chain(&diff_ids).iter().map(|chain| chain.0.hex()).collect();
        match chains.iter().find(|chain| !self.layers.contains_key(*chain)) {
            None => Ok(chains),
            Some(missing) => Err(format!("its layer {missing} is missing")),
        }
    }

    fn read_tags(&mut self) {
        let file = self.image_dir().join("repositories.json");
        let bytes = match std::fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => return self.wrong.push(format!("{}: {error}", file.display())),
        };
        let Ok(value) = serde_json::from_slice::<Value>(&bytes) else {
            return self.wrong.push(format!("{}: {:?}", file.display(), String::from_utf8_lossy(&bytes)));
        };
        for (name, tags) in value["Repositories"].as_object().unwrap() {
            for (tag, id) in tags.as_object().unwrap() {
                let id = id.as_str().unwrap().trim_start_matches("sha256:");
                if !self.images.contains_key(id) || !tag.starts_with(name) {
                    self.wrong.push(format!("{tag} of {name} names the image {id}, which is not there"));
                }
                self.tags.insert(tag.clone(), id.to_owned());
            }
        }
    }

    /// Layers whose journal and files do not give their tar again.
    pub fn not_replayable(&self) -> Vec<String> {
        let replay = |(chain, layer): (&String, &LayerFiles)| match self.replay(chain, layer) {
            Ok(digest) if digest == layer.diff_id => None,
            other => Some(format!("layer {chain} replays to {other:?} and not to {}", layer.diff_id)),
        };
        self.layers.iter().filter_map(replay).collect()
    }

    fn replay(&self, chain: &str, layer: &LayerFiles) -> Result<String, String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let diff = rustix::fs::open(self.content(layer), flags, Mode::empty()).unwrap();
        let mut tar = Hashing(layerfs::Hasher::default());
        let files = layerfs::LayerFiles::new(diff);
        let journal = self.journal(chain).map_err(|error| error.to_string())?;
        tarsplit::assemble::assemble(journal, &files, &mut tar).map_err(|error| format!("{error:?}"))?;
        Ok(tar.0.finish().to_string())
    }

    /// The journal of a layer.
    pub fn journal(&self, chain: &str) -> std::io::Result<EntryReader<std::io::BufReader<std::fs::File>>> {
        let path = self.image_dir().join("layerdb/sha256").join(chain).join("tar-split.json.gz");
        Ok(EntryReader::new(std::io::BufReader::new(std::fs::File::open(path)?)))
    }

    /// The directories of each container, by its id.
    fn containers(&self) -> BTreeMap<String, Vec<String>> {
        let records = self.image_dir().join("layerdb/mounts");
        let dirs = |id: &String| {
            let files = ["mount-id", "init-id"].map(|file| text(&records.join(id).join(file)).ok());
            files.into_iter().flatten().collect()
        };
        names(&records).into_iter().map(|id| (id.clone(), dirs(&id))).collect()
    }

    /// Type, mode and owner of everything but the contents of layers, with lasting names for random ones.
    pub fn outline(&self) -> Vec<String> {
        let mut lasting = BTreeMap::new();
        for (chain, layer) in &self.layers {
            lasting.insert(layer.cache_id.clone(), format!("<cache of {chain}>"));
            lasting.insert(text(&self.layer_dir(layer).join("link")).unwrap(), format!("<link of {chain}>"));
        }
        let (mut lines, mut left) = (Vec::new(), vec![(self.root.clone(), String::new())]);
        while let Some((path, name)) = left.pop() {
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let (mode, owner) = (meta.mode(), (meta.uid(), meta.gid()));
            lines.push(format!("{name} {mode:o} {owner:?}"));
            if meta.is_dir() && !name.ends_with("/diff") {
                let name_of = |child: &String| lasting.get(child).unwrap_or(child).clone();
                left.extend(names(&path).iter().map(|child| (path.join(child), format!("{name}/{}", name_of(child)))));
            }
        }
        lines.sort();
        lines
    }

    /// What is in the data-root and belongs to no image.
    pub fn unreferenced(&self) -> Vec<String> {
        let (home, image) = (self.home(), self.image_dir());
        let used: BTreeSet<&String> = self.images.values().flatten().collect();
        let layers = self.layers.keys().filter(|chain| !used.contains(chain));
        let mut found: Vec<String> = layers.map(|chain| format!("layer {chain} is no image's")).collect();
        let cache_ids: BTreeSet<&str> = self.layers.values().map(|layer| layer.cache_id.as_str()).collect();
        let containers = self.containers();
        let mounts: BTreeSet<&str> = containers.values().flatten().map(String::as_str).collect();
        let known = |name: &String| name == "l" || cache_ids.contains(name.as_str()) || mounts.contains(name.as_str());
        found.extend(
            names(&home).into_iter().filter(|name| !known(name)).map(|name| format!("{}", home.join(name).display())),
        );
        let links = names(&home.join("l"));
        if !self.is_vfs && links.len() != self.layers.len() + mounts.len() {
            found.push(format!("{} links, {} layers, {} mounts", links.len(), self.layers.len(), mounts.len()));
        }
        found.extend(mounts.iter().filter(|name| !is_dir(&home.join(name))).map(|name| format!("no directory {name}")));
        let records: BTreeSet<String> = containers.into_keys().collect();
        let own: BTreeSet<String> = names(&self.root.join("containers")).into_iter().collect();
        found.extend(records.symmetric_difference(&own).map(|id| format!("container {id} is there by half")));
        let dead = links.iter().filter(|link| !is_dir(&home.join("l").join(link)));
        found.extend(dead.map(|link| format!("overlay2/l/{link} leads nowhere")));
        found.extend(names(&image.join("layerdb/tmp")).into_iter().map(|name| format!("layerdb/tmp/{name}")));
        let removing = names(&image.join("layerdb/sha256")).into_iter().filter(|name| name.ends_with("-removing"));
        found.extend(removing.map(|name| format!("layerdb/sha256/{name}")));
        let metadata = names(&image.join("imagedb/metadata/sha256")).into_iter();
        found.extend(metadata.filter(|id| !self.images.contains_key(id)).map(|id| format!("metadata of {id}")));
        let mut left = vec![image];
        while let Some(dir) = left.pop() {
            for path in names(&dir).into_iter().map(|name| dir.join(name)) {
                if path.file_name().unwrap().to_string_lossy().starts_with('.') {
                    found.push(path.display().to_string());
                } else if is_dir(&path) {
                    left.push(path);
                }
            }
        }
        found
    }

    /// The directories and the records of an image's layers.
    pub fn paths_of(&self, image: &str) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        for chain in &self.images[image] {
            paths.push(self.image_dir().join("layerdb/sha256").join(chain));
            paths.push(self.layer_dir(&self.layers[chain]));
        }
        paths
    }
}

struct Hashing(layerfs::Hasher);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn read_layer(record: &Path) -> Result<LayerFiles, String> {
    let read = |name: &str| text(&record.join(name)).map_err(|error| format!("{name}: {error}"));
    let (diff_id, size, cache_id) = (read("diff")?, read("size")?, read("cache-id")?);
    if diff_id.parse::<Digest>().is_err() || size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("diff is {diff_id:?}, size is {size:?}"));
    }
    if cache_id.len() != 64 {
        return Err(format!("cache-id is {cache_id:?}"));
    }
    let parent = match text(&record.join("parent")) {
        Ok(parent) => Some(parent.strip_prefix("sha256:").ok_or("parent is no digest")?.to_owned()),
        Err(_) => None,
    };
    Ok(LayerFiles { diff_id, cache_id, parent })
}

fn text(path: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(path)
}

fn is_dir(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_dir())
}

/// The names in a directory, sorted; none if there is no such directory.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
