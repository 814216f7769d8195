//! A small store that dockerd has left, to be copied and damaged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use testkit::archive::{self, ArchiveImage};
use testkit::dockerd::Dockerd;
use testkit::{root::RootContents, succeeded};

/// An image, one upon it, and a container of that.
pub(crate) const BASE: &str = "layerfs-test/busybox:1";
pub(crate) const CHILD: &str = "damage/child:1";

/// A root and the names of what is in it: all ids as hex digits alone.
#[derive(Clone)]
pub(crate) struct SmallStore {
    pub(crate) root: PathBuf,
    pub(crate) base: String,
    pub(crate) child: String,
    /// The layer that [`CHILD`] adds, and the lowest one of all.
    pub(crate) top: LayerNames,
    pub(crate) lowest: LayerNames,
    pub(crate) container: String,
    /// The directory of what the container writes.
    pub(crate) mount: String,
}

/// A layer's names.
#[derive(Clone)]
pub(crate) struct LayerNames {
    pub(crate) chain: String,
    pub(crate) cache: String,
    pub(crate) link: String,
}

impl SmallStore {
    /// Makes it in `dir`.
    pub(crate) fn make(dir: &Path) -> Self {
        let root = dir.join("template");
        fs::create_dir(&root).unwrap();
        let golden = testkit::golden("busybox-20.10.tar");
        let daemon = Dockerd::start(&root);
        daemon.load(&golden);
        let mut layers = archive::layers(&golden);
        layers.push(archive::layer("child", "child\n"));
        let (layers, diff_ids) = layers.into_iter().unzip();
        let image = ArchiveImage { tag: CHILD.into(), layers, diff_ids, comment: "child".into() };
        archive::write(&dir.join("child.tar"), &[image]);
        daemon.load(&dir.join("child.tar"));
        let container = daemon.ok(&["create", "--network", "none", "--name", "kept", CHILD, "sh"]).trim().to_owned();
        let id = |image: &str| daemon.ok(&["inspect", "--format", "{{slice .Id 7}}", image]).trim().to_owned();
        let (base, child) = (id(BASE), id(CHILD));
        let diff_ids: Value =
            serde_json::from_str(&daemon.ok(&["inspect", "-f", "{{json .RootFS.Layers}}", CHILD])).unwrap();
        daemon.stop();
        let read = RootContents::read(&root);
        let layer = |diff_id: &Value| {
            let (chain, layer) =
                read.layers.iter().find(|(_, layer)| layer.diff_id == diff_id.as_str().unwrap()).unwrap();
            let link = fs::read_to_string(root.join("overlay2").join(&layer.cache_id).join("link")).unwrap();
            LayerNames { chain: chain.clone(), cache: layer.cache_id.clone(), link }
        };
        let (lowest, top) = (layer(&diff_ids[0]), layer(&diff_ids[3]));
        let mount = root.join("image/overlay2/layerdb/mounts").join(&container).join("mount-id");
        let mount = fs::read_to_string(mount).unwrap();
        Self { root, base, child, top, lowest, container, mount }
    }

    /// A copy to damage.
    pub(crate) fn copy(&self, to: &Path) -> Self {
        succeeded("cp", Command::new("cp").arg("-a").args([&self.root, to]).output().unwrap());
        Self { root: to.to_owned(), ..self.clone() }
    }

    /// A path below the root, with names for the placeholders of the table.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(self.named(path))
    }

    /// `TOP`, `LOWEST` and so on stand for the ids in paths and messages.
    pub(crate) fn named(&self, text: &str) -> String {
        let names = [
            ("LAYERDB", "image/overlay2/layerdb/sha256"),
            ("MOUNTS", "image/overlay2/layerdb/mounts"),
            ("IMAGES", "image/overlay2/imagedb/content/sha256"),
            ("TOP-CACHE", &self.top.cache),
            ("TOP-LINK", &self.top.link),
            ("TOP", &self.top.chain),
            ("LOWEST-CACHE", &self.lowest.cache),
            ("LOWEST-LINK", &self.lowest.link),
            ("LOWEST", &self.lowest.chain),
            ("CHILD", &self.child),
            ("BASE", &self.base),
            ("CONTAINER", &self.container),
            ("MOUNT", &self.mount),
        ];
        names.iter().fold(text.to_owned(), |text, (name, id)| text.replace(name, id))
    }
}
