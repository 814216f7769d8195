//! An image of two layers with a container and a volume, that shares nothing with others.

use std::fs;
use std::path::{Path, PathBuf};

use layerfs::{ChainId, DiffId, Digest};
use serde_json::{Value, json};

use crate::mutants::documents;

/// Where it is, and the ids of what it has: hexadecimal digits alone, but for the image's.
#[derive(Clone)]
pub(crate) struct Patient {
    pub(crate) root: PathBuf,
    pub(crate) number: usize,
    pub(crate) image: String,
    pub(crate) container: String,
    /// Of the lower and of the upper layer.
    pub(crate) diff: [String; 2],
    pub(crate) chain: [String; 2],
    pub(crate) cache: [String; 2],
    pub(crate) link: [String; 2],
    /// The directory of what the container writes, and its link.
    pub(crate) mount: String,
    pub(crate) mount_link: String,
}

pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn hex(of: &str) -> String {
    Digest::hash(of.as_bytes()).hex()
}

/// A short name as overlay2 gives it to a directory.
fn link_of(id: &str) -> String {
    id.bytes()
        .take(26)
        .map(|byte| char::from(if byte.is_ascii_digit() { byte - b'0' + b'A' } else { byte - b'a' + b'Q' }))
        .collect()
}

impl Patient {
    /// Makes it.
    pub(crate) fn plant(root: &Path, number: usize) -> Self {
        let of = |what: &str| hex(&format!("{what} of {number}"));
        let diff = ["lower", "upper"].map(|which| DiffId(Digest::hash(of(which).as_bytes())));
        let chain = ChainId::chain(&diff);
        let cache = ["cache of lower", "cache of upper"].map(of);
        let link = [0, 1].map(|at| link_of(&cache[at]));
        let config = json!({
            "os": "linux", "architecture": "amd64", "created": "2024-01-02T03:04:05Z", "comment": of("config"),
            "config": {"Cmd": ["sh"]}, "rootfs": {"type": "layers", "diff_ids": diff},
        });
        let config = config.to_string();
        let (container, mount) = (of("container"), of("mount"));
        let patient = Self {
            root: root.to_owned(),
            number,
            image: Digest::hash(config.as_bytes()).to_string(),
            diff: diff.map(|diff| diff.to_string()),
            chain: [0, 1].map(|at| chain[at].0.hex()),
            mount_link: link_of(&mount),
            container,
            cache,
            link,
            mount,
        };
        write(&patient.at("CONFIG"), config);
        (0..2).for_each(|at| patient.plant_layer(at));
        patient.plant_container();
        patient
    }

    fn plant_layer(&self, at: usize) {
        let record = self.root.join("image/overlay2/layerdb/sha256").join(&self.chain[at]);
        write(&record.join("size"), ["1000", "20"][at]);
        write(&record.join("diff"), &self.diff[at]);
        write(&record.join("cache-id"), &self.cache[at]);
        if at == 1 {
            write(&record.join("parent"), format!("sha256:{}", self.chain[0]));
        }
        let lower = (at == 1).then(|| format!("l/{}", self.link[0]));
        self.plant_directory(&self.cache[at], &self.link[at], lower.as_deref());
    }

    fn plant_directory(&self, id: &str, link: &str, lower: Option<&str>) {
        let home = self.root.join("overlay2").join(id);
        write(&home.join("diff/file"), "1234");
        write(&home.join("link"), link);
        if let Some(lower) = lower {
            write(&home.join("lower"), lower);
            fs::create_dir(home.join("work")).unwrap();
        }
        fs::create_dir_all(self.root.join("overlay2/l")).unwrap();
        std::os::unix::fs::symlink(format!("../{id}/diff"), self.root.join("overlay2/l").join(link)).unwrap();
    }

    fn plant_container(&self) {
        let volume = format!("v-{}", self.number);
        let mut config = documents::container(&self.container);
        config["Name"] = json!(format!("/c-{}", self.number));
        config["Image"] = json!(self.image);
        config["Config"]["Image"] = json!(format!("p-{}:1", self.number));
        config["MountPoints"] = json!({"/m": {
            "Source": "", "Destination": "/m", "RW": true, "Name": volume, "Driver": "local", "Type": "volume", "Spec": {},
        }});
        write(&self.at("CONTAINER/config.v2.json"), config.to_string());
        write(&self.at("CONTAINER/hostconfig.json"), documents::host_config().to_string());
        write(&self.at("MOUNT/mount-id"), &self.mount);
        write(&self.at("MOUNT/init-id"), format!("{}-init", self.mount));
        write(&self.at("MOUNT/parent"), format!("sha256:{}", self.chain[1]));
        let below = format!("l/{}:l/{}", self.link[1], self.link[0]);
        let init_link = link_of(&hex(&self.mount));
        self.plant_directory(&format!("{}-init", self.mount), &init_link, Some(&below));
        self.plant_directory(&self.mount, &self.mount_link, Some(&format!("l/{init_link}:{below}")));
        write(&self.root.join("volumes").join(&volume).join("_data/file"), "123456");
    }

    /// A path: capitals at its beginning stand for a place of this patient's.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let hex = &self.image["sha256:".len()..];
        let place = match first {
            "TOP" => format!("image/overlay2/layerdb/sha256/{}", self.chain[1]),
            "LOW" => format!("image/overlay2/layerdb/sha256/{}", self.chain[0]),
            "TOPDIR" => format!("overlay2/{}", self.cache[1]),
            "LOWDIR" => format!("overlay2/{}", self.cache[0]),
            "WRITABLE" => format!("overlay2/{}", self.mount),
            "INIT" => format!("overlay2/{}-init", self.mount),
            "CONFIG" => format!("image/overlay2/imagedb/content/sha256/{hex}"),
            "META" => format!("image/overlay2/imagedb/metadata/sha256/{hex}"),
            "CONTAINER" => format!("containers/{}", self.container),
            "MOUNT" => format!("image/overlay2/layerdb/mounts/{}", self.container),
            "VOLUME" => format!("volumes/v-{}", self.number),
            other => other.to_owned(),
        };
        let path = self.root.join(place);
        rest.map_or(path.clone(), |rest| path.join(rest))
    }

    /// Whether a line is about it.
    pub(crate) fn is_named_in(&self, line: &str) -> bool {
        let words = |name: &str| line.split(|c: char| !(c.is_alphanumeric() || c == '-')).any(|word| word == name);
        let names = ["c", "p", "v"].map(|kind| format!("{kind}-{}", self.number));
        let ids = [&self.image["sha256:".len()..], &self.container];
        names.iter().any(|name| words(name)) || ids.iter().any(|id| line.contains(&id[..12]))
    }

    pub(crate) fn set(&self, path: &str, content: impl AsRef<[u8]>) {
        fs::write(self.at(path), content).unwrap();
    }

    pub(crate) fn remove(&self, path: &str) {
        let path = self.at(path);
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }

    pub(crate) fn rename(&self, from: &str, to: &Path) {
        fs::rename(self.at(from), to).unwrap();
    }

    pub(crate) fn make(&self, path: &str) {
        fs::create_dir_all(self.at(path)).unwrap();
    }

    /// Changes one value of a JSON document.
    pub(crate) fn edit(&self, path: &str, pointer: &str, value: Value) {
        self.edit_with(path, |document| *document.pointer_mut(pointer).unwrap() = value);
    }

    pub(crate) fn edit_with(&self, path: &str, edit: impl FnOnce(&mut Value)) {
        let path = self.at(path);
        let mut document: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        edit(&mut document);
        fs::write(path, document.to_string()).unwrap();
    }

    /// Adds a name to those of all images.
    pub(crate) fn name(&self, repository: &str, name: &str, id: &str) {
        self.edit_with("image/overlay2/repositories.json", |names| {
            let repositories = names["Repositories"].as_object_mut().unwrap();
            repositories.entry(repository).or_insert_with(|| json!({}))[name] = json!(id);
        });
    }
}

/// Gives each its name.
pub(crate) fn write_names(root: &Path, patients: &[Patient]) {
    let names = patients.iter().map(|patient| {
        let repository = format!("p-{}", patient.number);
        let name = format!("{repository}:1");
        (repository, json!({name: patient.image}))
    });
    let names: serde_json::Map<String, Value> = names.collect();
    write(&root.join("image/overlay2/repositories.json"), json!({"Repositories": names}).to_string());
}
