//! A made-up overlay2 store with litter of every kind in it, and the word of its maker on what somebody needs.
//!
//! Nothing of it comes from the code that is tested: paths and contents are spelled here, after what a dockerd 20.10
//! writes. It is made in two steps, with time between them: what is made in the second is young.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use layerfs::{ChainId, DiffId, Digest};

use super::Random;
use super::bolt;

/// A layer of the store.
#[derive(Debug, Clone)]
struct LitteredLayer {
    chain: String,
    diff_id: DiffId,
    cache_id: String,
    link: String,
    parent: Option<usize>,
}

/// An image of the store.
#[derive(Debug, Clone)]
struct LitteredImage {
    id: String,
    top: usize,
    is_named: bool,
    parent: Option<usize>,
    used: bool,
}

/// The store while it is made, and afterwards what is known of it.
#[derive(Debug)]
pub struct Littered {
    /// Where it is.
    pub root: PathBuf,
    random: Random,
    layers: Vec<LitteredLayer>,
    images: Vec<LitteredImage>,
    /// Layers on which something stands that is not an image: mounts, build cache, young directories.
    held: BTreeSet<usize>,
    /// Paths below the root that must go.
    pub litter: BTreeSet<PathBuf>,
    /// Paths that must stay.
    pub needed: BTreeSet<PathBuf>,
}

fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

impl Littered {
    /// Makes everything but what is young.
    pub fn new(root: &Path, seed: u64) -> Self {
        let mut store = Self {
            root: root.to_owned(),
            random: Random::new(seed),
            layers: Vec::new(),
            images: Vec::new(),
            held: BTreeSet::new(),
            litter: BTreeSet::new(),
            needed: BTreeSet::new(),
        };
        for dir in ["overlay2/l", "image/overlay2/layerdb/tmp", "image/overlay2/layerdb/mounts", "containers"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        for dir in ["layerdb/sha256", "imagedb/content/sha256", "imagedb/metadata/sha256"] {
            fs::create_dir_all(root.join("image/overlay2").join(dir)).unwrap();
        }
        for _ in 0..store.random.below(12) + 2 {
            store.add_layer();
        }
        for _ in 0..store.random.below(6) {
            store.add_image();
        }
        store.write_names();
        for _ in 0..store.random.below(3) {
            store.add_container();
        }
        store.add_build_cache();
        store.add_litter();
        store.add_hard_links();
        store
    }

    fn hex(&mut self, digits: usize) -> String {
        (0..digits).map(|_| char::from_digit(u32::try_from(self.random.below(16)).unwrap(), 16).unwrap()).collect()
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    fn any(&mut self, count: usize) -> Option<usize> {
        (count > 0).then(|| usize::try_from(self.random.below(count as u64)).unwrap())
    }

    fn image_dir(&self) -> PathBuf {
        self.root.join("image/overlay2")
    }

    fn chain_of(&self, top: usize) -> Vec<usize> {
        std::iter::successors(Some(top), |at| self.layers[*at].parent).collect()
    }

    /// A directory as the driver makes it, on a layer or on nothing. Returns its short name.
    fn directory(&mut self, id: &str, on: Option<usize>, below: &[String]) -> String {
        let home = self.root.join("overlay2").join(id);
        let link: String = (0..26).map(|_| char::from(b'A' + u8::try_from(self.random.below(26)).unwrap())).collect();
        fs::create_dir_all(home.join("diff/dir")).unwrap();
        for file in 0..self.random.below(4) {
            let bytes = vec![7; usize::try_from(self.random.below(20_000)).unwrap()];
            write(&home.join("diff/dir").join(format!("file-{file}")), bytes);
        }
        write(&home.join("link"), &link);
        std::os::unix::fs::symlink(format!("../{id}/diff"), self.root.join("overlay2/l").join(&link)).unwrap();
        let mut lower: Vec<String> = below.to_vec();
        if let Some(on) = on {
            lower.extend(self.chain_of(on).into_iter().map(|at| self.layers[at].link.clone()));
            write(&self.root.join("overlay2").join(&self.layers[on].cache_id).join("committed"), "");
        }
        if !lower.is_empty() {
            let lower: Vec<String> = lower.iter().map(|link| format!("l/{link}")).collect();
            write(&home.join("lower"), lower.join(":"));
            fs::create_dir(home.join("work")).unwrap();
        }
        link
    }

    fn add_layer(&mut self) {
        let parent = if self.chance(75) { self.any(self.layers.len()) } else { None };
        let (cache_id, content) = (self.hex(64), self.hex(64));
        let diff_id = DiffId(Digest::hash(content.as_bytes()));
        let diff_ids: Vec<DiffId> = {
            let below = parent.map(|parent| self.chain_of(parent)).unwrap_or_default();
            below.into_iter().rev().map(|at| self.layers[at].diff_id).chain([diff_id]).collect()
        };
        let chain = ChainId::chain(&diff_ids).last().unwrap().0.hex();
        let link = self.directory(&cache_id, parent, &[]);
        let record = self.image_dir().join("layerdb/sha256").join(&chain);
        write(&record.join("cache-id"), &cache_id);
        write(&record.join("diff"), diff_id.to_string());
        write(&record.join("size"), "1");
        write(&record.join("tar-split.json.gz"), "not looked at");
        if let Some(parent) = parent {
            write(&record.join("parent"), format!("sha256:{}", self.layers[parent].chain));
        }
        self.layers.push(LitteredLayer { chain, diff_id, cache_id, link, parent });
    }

    fn add_image(&mut self) {
        let Some(top) = self.any(self.layers.len()) else { return };
        let diff_ids: Vec<String> =
            self.chain_of(top).into_iter().rev().map(|at| self.layers[at].diff_id.to_string()).collect();
        let made = self.hex(8);
        let config = serde_json::json!({"architecture": "amd64", "os": "linux", "config": {"Labels": {"made": made}},
            "created": "2020-01-01T00:00:00Z", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let config = config.to_string();
        let id = Digest::hash(config.as_bytes()).hex();
        write(&self.image_dir().join("imagedb/content/sha256").join(&id), config);
        let metadata = self.image_dir().join("imagedb/metadata/sha256").join(&id);
        let parent = if self.chance(40) { self.any(self.images.len()) } else { None };
        if let Some(parent) = parent {
            write(&metadata.join("parent"), format!("sha256:{}", self.images[parent].id));
        } else if self.chance(50) {
            write(&metadata.join("lastUpdated"), "2020-02-01T00:00:00Z");
        }
        let is_named = self.chance(50);
        self.images.push(LitteredImage { id, top, is_named, parent, used: false });
    }

    fn write_names(&self) {
        let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (number, image) in self.images.iter().enumerate().filter(|(_, image)| image.is_named) {
            let tags = repositories.entry(format!("app{}", number % 2)).or_default();
            tags.insert(format!("app{}:{number}", number % 2), format!("sha256:{}", image.id));
        }
        let names = serde_json::json!({"Repositories": repositories});
        let file = self.image_dir().join("repositories.json");
        write(&file, names.to_string());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// A writable layer with its init layer, as a container has it. Returns its paths.
    fn mount(&mut self, name: &str, top: usize) -> Vec<PathBuf> {
        let id = self.hex(64);
        let init = format!("{id}-init");
        let link = self.directory(&init, Some(top), &[]);
        let chain = self.layers[top].chain.clone();
        let mut below = vec![link];
        below.extend(self.chain_of(top).into_iter().map(|at| self.layers[at].link.clone()));
        self.directory(&id, None, &below);
        let record = self.image_dir().join("layerdb/mounts").join(name);
        write(&record.join("mount-id"), &id);
        write(&record.join("init-id"), &init);
        write(&record.join("parent"), format!("sha256:{chain}"));
        vec![
            format!("overlay2/{id}").into(),
            format!("overlay2/{init}").into(),
            format!("image/overlay2/layerdb/mounts/{name}").into(),
        ]
    }

    fn add_container(&mut self) {
        let Some(image) = self.any(self.images.len()) else { return };
        let (name, top) = (self.hex(64), self.images[image].top);
        let config = serde_json::json!({"ID": name, "Name": "/c", "Driver": "overlay2", "OS": "linux", "Config": {}, "State": {},
            "StreamConfig": {}, "Image": format!("sha256:{}", self.images[image].id)});
        write(&self.root.join("containers").join(&name).join("config.v2.json"), config.to_string());
        let paths = self.mount(&name, top);
        self.needed.extend(paths);
        self.needed.insert(format!("containers/{name}").into());
        self.images[image].used = true;
        self.held.insert(top);
    }

    /// BuildKit's snapshots: directories of its own, and layers that it holds.
    fn add_build_cache(&mut self) {
        let mut buckets = Vec::new();
        for _ in 0..self.random.below(4) {
            let (id, other) = (self.hex(25), self.hex(25));
            let on = if self.chance(70) { self.any(self.layers.len()) } else { None };
            self.directory(&id, on, &[]);
            self.needed.insert(format!("overlay2/{id}").into());
            // Committed under another name, which never had a directory.
            buckets.push((id.clone(), vec![("iscommitted", String::new())]));
            let mut values = vec![("committed", id), ("size", "1".to_owned())];
            if let Some(on) = on {
                let chain = format!("sha256:{}", self.layers[on].chain);
                if self.chance(50) {
                    values.push(("chainid", chain));
                } else {
                    values.push(("parent", chain));
                }
                self.held.insert(on);
            }
            buckets.push((other, values));
        }
        write(&self.root.join("buildkit/snapshots.db"), bolt::database(&buckets));
    }

    /// Something of each kind that nobody needs.
    fn add_litter(&mut self) {
        for _ in 0..self.random.below(4) {
            let id = self.hex(64);
            let on = if self.chance(60) { self.any(self.layers.len()) } else { None };
            let link = self.directory(&id, on, &[]);
            self.litter.insert(format!("overlay2/{id}").into());
            self.litter.insert(format!("overlay2/l/{link}").into());
            match self.random.below(4) {
                0 => {
                    // A second name.
                    let second = format!("SECOND{}", &link[6..]);
                    std::os::unix::fs::symlink(format!("../{id}/diff"), self.root.join("overlay2/l").join(&second))
                        .unwrap();
                    self.litter.insert(format!("overlay2/l/{second}").into());
                }
                1 => fs::remove_file(self.root.join("overlay2").join(&id).join("link")).unwrap(),
                2 => self.begin_removal(&id),
                _ => self.begin_registration(&id),
            }
        }
        for _ in 0..self.random.below(3) {
            let link: String = format!("STALE{}", self.hex(21).to_uppercase());
            std::os::unix::fs::symlink(format!("../{}/diff", self.hex(64)), self.root.join("overlay2/l").join(&link))
                .unwrap();
            self.litter.insert(format!("overlay2/l/{link}").into());
        }
        if self.chance(40) && !self.layers.is_empty() {
            let (name, top) = (self.hex(64), self.any(self.layers.len()).unwrap());
            let paths = self.mount(&name, top);
            self.litter.extend(paths);
        }
        if self.chance(50) {
            let id = self.hex(64);
            write(&self.image_dir().join("imagedb/metadata/sha256").join(&id).join("parent"), "sha256:x");
            self.litter.insert(format!("image/overlay2/imagedb/metadata/sha256/{id}").into());
        }
        if self.chance(50) {
            self.begin_registration("");
        }
        if self.chance(50) {
            write(&self.image_dir().join(".tmp-repositories.json123456"), "{}");
            self.litter.insert("image/overlay2/.tmp-repositories.json123456".into());
        }
        self.add_distribution();
    }

    fn begin_removal(&mut self, id: &str) {
        let name = format!("{}-{}-removing", self.hex(64), self.hex(64));
        write(&self.image_dir().join("layerdb/sha256").join(&name).join("cache-id"), id);
        self.litter.insert(format!("image/overlay2/layerdb/sha256/{name}").into());
    }

    fn begin_registration(&mut self, id: &str) {
        let name = format!("write-set-{}", self.random.below(1_000_000_000));
        let record = self.image_dir().join("layerdb/tmp").join(&name);
        fs::create_dir_all(&record).unwrap();
        if !id.is_empty() {
            write(&record.join("cache-id"), id);
        }
        self.litter.insert(format!("image/overlay2/layerdb/tmp/{name}").into());
    }

    /// What is remembered of registries, of layers that are there and of others.
    fn add_distribution(&mut self) {
        let there: Vec<DiffId> = self.layers.iter().take(2).map(|layer| layer.diff_id).collect();
        let gone = DiffId(Digest::hash(self.hex(64).as_bytes()));
        for id in there.into_iter().chain([gone]) {
            let blob = Digest::hash(format!("blob of {id}").as_bytes()).hex();
            let places = [
                format!("image/overlay2/distribution/diffid-by-digest/sha256/{blob}"),
                format!("image/overlay2/distribution/v2metadata-by-diffid/sha256/{}", id.0.hex()),
            ];
            write(&self.root.join(&places[0]), id.to_string());
            write(&self.root.join(&places[1]), "[]");
            if id == gone {
                self.litter.extend(places.into_iter().map(PathBuf::from));
            }
        }
    }

    /// Files that several directories have: of what goes, of what stays, and of both.
    fn add_hard_links(&mut self) {
        let dirs: Vec<PathBuf> = fs::read_dir(self.root.join("overlay2"))
            .unwrap()
            .map(|entry| entry.unwrap().path().join("diff"))
            .filter(|diff| diff.is_dir())
            .collect();
        for number in 0..self.random.below(6) {
            let (from, to) = (self.any(dirs.len()).unwrap(), self.any(dirs.len()).unwrap());
            let file = dirs[from].join(format!("linked-{number}"));
            write(&file, vec![3; 9000]);
            fs::hard_link(&file, dirs[to].join(format!("link-{number}"))).unwrap();
        }
    }

    /// Adds what is young: directories on a layer or on nothing, a registration, a mount.
    pub fn add_young(&mut self) {
        for _ in 0..self.random.below(3) {
            let id = self.hex(64);
            let on = if self.chance(60) { self.any(self.layers.len()) } else { None };
            self.directory(&id, on, &[]);
            self.held.extend(on);
            self.needed.insert(format!("overlay2/{id}").into());
        }
        if self.chance(30) {
            let name = format!("write-set-{}", 2_000_000_000 + self.random.below(1000));
            fs::create_dir(self.image_dir().join("layerdb/tmp").join(&name)).unwrap();
            self.needed.insert(format!("image/overlay2/layerdb/tmp/{name}").into());
        }
        if self.chance(20) && !self.layers.is_empty() {
            let (name, top) = (self.hex(64), self.any(self.layers.len()).unwrap());
            let paths = self.mount(&name, top);
            self.needed.extend(paths);
            self.held.insert(top);
        }
    }

    /// To be called once all is there: decides which images and layers go. With `named`, images that have a name go,
    /// too.
    pub fn settle(&mut self, named: bool) {
        let mut going: BTreeSet<usize> = BTreeSet::new();
        loop {
            let goes = |at: &usize| {
                let image = &self.images[*at];
                let children = (0..self.images.len()).filter(|child| self.images[*child].parent == Some(*at));
                !image.used && (named || !image.is_named) && children.into_iter().all(|child| going.contains(&child))
            };
            let more: Vec<usize> = (0..self.images.len()).filter(|at| !going.contains(at)).filter(goes).collect();
            if more.is_empty() {
                break;
            }
            going.extend(more);
        }
        let staying = (0..self.images.len()).filter(|at| !going.contains(at));
        let tops = staying.map(|at| self.images[at].top).chain(self.held.iter().copied());
        let live: BTreeSet<usize> = tops.flat_map(|top| self.chain_of(top)).collect();
        for (at, layer) in self.layers.iter().enumerate() {
            let paths = [
                format!("overlay2/{}", layer.cache_id),
                format!("overlay2/l/{}", layer.link),
                format!("image/overlay2/layerdb/sha256/{}", layer.chain),
            ];
            let paths = paths.into_iter().map(PathBuf::from);
            if live.contains(&at) { self.needed.extend(paths) } else { self.litter.extend(paths) }
        }
        let diff_ids: BTreeSet<DiffId> = live.iter().map(|at| self.layers[*at].diff_id).collect();
        for layer in self.layers.iter().take(2) {
            let blob = Digest::hash(format!("blob of {}", layer.diff_id).as_bytes()).hex();
            let paths = [
                format!("image/overlay2/distribution/diffid-by-digest/sha256/{blob}"),
                format!("image/overlay2/distribution/v2metadata-by-diffid/sha256/{}", layer.diff_id.0.hex()),
            ];
            let paths = paths.into_iter().map(PathBuf::from);
            if diff_ids.contains(&layer.diff_id) { self.needed.extend(paths) } else { self.litter.extend(paths) }
        }
        for (at, image) in self.images.iter().enumerate() {
            let config: PathBuf = format!("image/overlay2/imagedb/content/sha256/{}", image.id).into();
            if going.contains(&at) {
                self.litter.insert(config)
            } else {
                self.needed.insert(config)
            };
        }
    }

    /// What must be there and is not, and what must not be there and is.
    pub fn wrong(&self) -> Vec<String> {
        let is_there = |path: &&PathBuf| self.root.join(path).symlink_metadata().is_ok();
        let missing = self.needed.iter().filter(|path| !is_there(path)).map(|path| format!("gone: {}", path.display()));
        let left = self.litter.iter().filter(is_there).map(|path| format!("left: {}", path.display()));
        missing.chain(left).collect()
    }
}
