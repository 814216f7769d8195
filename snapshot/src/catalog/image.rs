//! One image as its config and its metadata describe it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use layerfs::{ChainId, DiffId};

use super::{ImageDamage, budget, with_causes};
use crate::ids::ImageId;
use crate::parallel;
pub use crate::schema::config::History;
use crate::schema::config::{ImageConfig, ImageFields, InvalidConfig, MAX_CONFIG};
use crate::schema::image::ImageStore;

/// What is kept of an image's config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConfigParts {
    /// All that docker shows.
    All,
    /// The commands of the steps that made layers, and the labels.
    Steps,
    /// The same, and command and labels of the step that made the image (`container_config`).
    StepsAndLast,
    /// The labels.
    Labels,
    /// The labels, and command and labels of the step that made the image (`container_config`).
    LastStep,
}

/// An image that dockerd would show.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of its config; in containerd's store, that of the manifest or index.
    pub id: ImageId,
    /// What its config says; which parts of it a view has kept is in its [`Needs`](crate::view::Needs).
    pub config: ImageFields,
    /// Its layers' own contents, base first.
    pub diff_ids: Vec<DiffId>,
    /// Its layers, base first.
    pub chain: Vec<ChainId>,
    /// When it was made; `None` where the config does not say.
    pub created: Option<Timestamp>,
    /// `metadata/parent`, whatever it says.
    pub parent: Option<String>,
    /// `metadata/lastUpdated`, whatever it says.
    pub last_tagged: Option<String>,
    /// Images whose parent it is.
    pub children: Vec<ImageId>,
    layer_steps: LayerSteps,
    /// Empty texts that stand before the first diff id in its config.
    empty_diff_ids: usize,
}

impl Image {
    /// The steps by which it was made, oldest first.
    #[must_use]
    pub fn history(&self) -> &[History] {
        &self.config.history.0
    }

    /// The command that made the layer of this place, 0 for the base, where the history tells: its entries that made layers are
    /// in the layers' order.
    #[must_use]
    pub fn command_of_layer(&self, place: usize) -> Option<&str> {
        match &self.layer_steps {
            LayerSteps::InHistory(places) => Some(&self.history().get(*places.get(place)? as usize)?.created_by),
            LayerSteps::Commands(commands) => commands.get(place).map(|command| &**command),
        }
    }

    /// The diff ids as its config has them: docker shows those, too, that name no layer. They are not kept twice, so
    /// [`RootFs::diff_ids`](crate::schema::config::RootFs) is empty in [`Image::config`].
    pub fn written_diff_ids(&self) -> impl Iterator<Item = String> {
        let empty = std::iter::repeat_n(String::new(), self.empty_diff_ids);
        empty.chain(self.diff_ids.iter().map(ToString::to_string))
    }

    /// Its labels. `None` where it has no `config`, which filters treat apart.
    #[must_use]
    pub fn labels(&self) -> Option<BTreeMap<String, String>> {
        Some(self.config.config.as_ref()?.labels.clone().unwrap_or_default())
    }

    /// How many steps of its history say that they made a layer.
    pub(crate) fn count_layer_steps(&self) -> usize {
        match &self.layer_steps {
            LayerSteps::InHistory(places) => places.len(),
            LayerSteps::Commands(commands) => commands.len(),
        }
    }

    /// The image it was built from, if that is an id at all. dockerd does not trim the file.
    #[must_use]
    pub fn parent_id(&self) -> Option<ImageId> {
        self.parent.as_deref()?.parse().ok().map(ImageId)
    }
}

/// The steps of an image that made layers.
#[derive(Debug, Clone)]
enum LayerSteps {
    /// Their places in the history, which may not have been kept.
    InHistory(Vec<u32>),
    /// Their commands, where nothing else of the history was kept.
    Commands(Vec<Box<str>>),
}

/// Bytes of a config that is read with few system calls; nearly all are shorter. It is less than what each image may take of the
/// [budget].
const SHORT: usize = 16 << 10;

/// Reads images as [`read`] does, as far as they fit together.
pub(super) fn read_all(store: &ImageStore, ids: &[ImageId], parts: ConfigParts) -> Vec<Result<Image, ImageDamage>> {
    let short = parallel::map_files(ids, |id| {
        let mut buffer = [0; SHORT];
        let config = store.short_config(*id, &mut buffer)?;
        Some((config.len() as u64, from_config(store, *id, parts, config)))
    });
    let length = |(id, short): (&ImageId, &Option<(u64, _)>)| match short {
        Some((length, _)) => *length,
        None => store.config_length(*id),
    };
    let lengths: Vec<u64> = ids.iter().zip(&short).map(length).collect();
    let admitted = budget::admit(&lengths);
    let left: Vec<(ImageId, u64, bool)> = ids
        .iter()
        .zip(&short)
        .zip(lengths.into_iter().zip(admitted))
        .filter_map(|((id, short), (length, fits))| short.is_none().then_some((*id, length, fits)))
        .collect();
    let mut others = parallel::map_files(&left, |(id, length, fits)| match fits {
        true => read(store, *id, parts),
        false => Err(ImageDamage::ConfigNotRead { cause: store.config_not_read(*id, budget::refusal(*length)) }),
    })
    .into_iter();
    let image =
        |short: Option<(u64, Result<Image, ImageDamage>)>| short.map(|(_, image)| image).or_else(|| others.next());
    short.into_iter().map_while(image).collect()
}

/// Reads an image as far as its own files tell: whether its layers can be loaded is not looked at.
pub(super) fn read(store: &ImageStore, id: ImageId, parts: ConfigParts) -> Result<Image, ImageDamage> {
    let bytes = store.config(id).map_err(|error| match with_causes(&error) {
        cause if store.config_length(id) > MAX_CONFIG as u64 => ImageDamage::ConfigNotRead { cause },
        cause => ImageDamage::ConfigUnreadable { cause },
    })?;
    let bytes = bytes.ok_or(ImageDamage::DigestDiffers)?;
    from_config(store, id, parts, &bytes)
}

/// An image with this config, whose digest is the id.
fn from_config(store: &ImageStore, id: ImageId, parts: ConfigParts, bytes: &[u8]) -> Result<Image, ImageDamage> {
    let invalid = |error: InvalidConfig| ImageDamage::ConfigInvalid { cause: error.to_string() };
    let parsed = ImageConfig::parse(bytes).map_err(invalid)?;
    if parsed.check_os().is_err() {
        let os = parsed.fields.os.clone();
        if !os.eq_ignore_ascii_case("linux") {
            return Err(ImageDamage::OtherSystem { os });
        }
        // dockerd looks up the layer store by the spelling of the operating system, but only for an image with layers.
        if !parsed.diff_ids.is_empty() {
            return Err(ImageDamage::SystemSpelling { os });
        }
    }
    Ok(Image { parent: store.parent(id), last_tagged: store.last_updated(id), ..of_config(id, parsed, parts) })
}

/// What a config says of an image.
pub(super) fn of_config(id: ImageId, mut parsed: ImageConfig, parts: ConfigParts) -> Image {
    let chain: Vec<ChainId> = ChainId::chain(&parsed.diff_ids);
    // A store has thousands of images: their diff ids are kept once, as digests.
    let empty_diff_ids = parsed.empty_diff_ids();
    if let Some(rootfs) = &mut parsed.fields.rootfs {
        rootfs.diff_ids = Vec::new();
    }
    let created = parsed.fields.created.moment();
    parsed.diff_ids.shrink_to_fit();
    let layer_steps = match parts {
        ConfigParts::All | ConfigParts::Labels | ConfigParts::LastStep => {
            let steps = parsed.fields.history.0.iter().zip(0_u32..);
            LayerSteps::InHistory(steps.filter(|(step, _)| !step.empty_layer).map(|(_, at)| at).collect())
        }
        ConfigParts::Steps | ConfigParts::StepsAndLast => {
            let steps = std::mem::take(&mut parsed.fields.history).0.into_iter();
            let commands = steps.filter(|step| !step.empty_layer).map(|step| step.created_by.into_boxed_str());
            LayerSteps::Commands(commands.collect())
        }
    };
    match parts {
        ConfigParts::All => {}
        ConfigParts::LastStep | ConfigParts::StepsAndLast => parsed.fields.keep_labels_and_step(),
        ConfigParts::Steps | ConfigParts::Labels => parsed.fields.keep_labels(),
    }
    Image {
        id,
        layer_steps,
        empty_diff_ids,
        diff_ids: parsed.diff_ids,
        chain,
        created,
        parent: None,
        last_tagged: None,
        children: Vec::new(),
        config: parsed.fields,
    }
}

/// An image of containerd's store without a config that this machine could use.
pub(super) fn without_config(id: ImageId) -> Image {
    Image {
        id,
        layer_steps: LayerSteps::InHistory(Vec::new()),
        empty_diff_ids: 0,
        diff_ids: Vec::new(),
        chain: Vec::new(),
        created: None,
        parent: None,
        last_tagged: None,
        children: Vec::new(),
        config: ImageFields::default(),
    }
}

#[cfg(test)]
mod tests {
    use layerfs::Digest;

    use super::*;
    use crate::dir::{CreatedDirectories, Dir};
    use crate::schema::paths::{CONFIGS, METADATA};

    /// A config of this length.
    fn config(length: usize) -> Vec<u8> {
        let text = |label: &str| {
            let labels = format!(r#""config":{{"Labels":{{"a":"{label}"}}}}"#);
            format!(r#"{{"os":"linux","rootfs":{{"type":"layers","diff_ids":[]}},{labels}}}"#)
        };
        text(&"x".repeat(length - text("").len())).into_bytes()
    }

    #[test]
    fn images_read_together_are_what_each_is_alone() {
        let temp = tempfile::tempdir().unwrap();
        let mut created = CreatedDirectories::default();
        let store = ImageStore::create(&Dir::open(temp.path()).unwrap(), &mut created).unwrap();
        created.keep();
        let at = |place: [&str; 3], name: &str| temp.path().join(place.join("/")).join(name);
        let lengths = [200, 511, 512, SHORT - 1, SHORT, SHORT + 1, 3 * SHORT];
        let sound: Vec<ImageId> = lengths.iter().map(|length| store.put(&config(*length), false).unwrap()).collect();
        let other = |text: &[u8]| store.put(text, false).unwrap();
        let mut ids = sound.clone();
        ids.extend([&b"{"[..], b"", b"\xff", br#"{"os":"linux"}"#, br#"{"os":"windows","rootfs":{}}"#].map(other));
        let named = |byte: u8| ImageId(Digest::hash(&[byte]));
        std::fs::write(at(CONFIGS, &named(1).0.hex()), config(300)).unwrap();
        std::fs::create_dir(at(CONFIGS, &named(2).0.hex())).unwrap();
        std::os::unix::fs::symlink(sound[0].0.hex(), at(CONFIGS, &named(3).0.hex())).unwrap();
        std::fs::File::create(at(CONFIGS, &named(4).0.hex())).unwrap().set_len(1 << 40).unwrap();
        ids.extend([1, 2, 3, 4, 5].map(named));
        store.set_parent(sound[0], sound[1], false).unwrap();
        store.set_last_updated(sound[0], "2026-01-02T03:04:05Z", false).unwrap();
        store.set_last_updated(sound[1], &"9".repeat(1000), false).unwrap();
        store.set_last_updated(sound[2], "", false).unwrap();
        std::fs::create_dir(at(METADATA, &sound[3].0.hex())).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", at(METADATA, &(sound[3].0.hex() + "/parent"))).unwrap();
        ids.sort();

        let together = read_all(&store, &ids, ConfigParts::All);
        assert_eq!(together.len(), ids.len());
        for (id, image) in ids.iter().zip(together) {
            let alone = match store.config_length(*id) {
                length if length > 1 << 30 => {
                    let cause = store.config_not_read(*id, budget::refusal(length));
                    Err(ImageDamage::ConfigNotRead { cause })
                }
                _ => read(&store, *id, ConfigParts::All),
            };
            assert_eq!(format!("{image:?}"), format!("{alone:?}"), "{id}");
            assert_eq!(image.is_ok(), sound.contains(id), "{image:?}");
        }
        let first = read_all(&store, &sound[..4], ConfigParts::All);
        let said = first.iter().map(|image| image.as_ref().unwrap().last_tagged.as_deref().map(str::len));
        assert_eq!(said.collect::<Vec<_>>(), [Some(20), Some(1000), None, None]);
        let parents: Vec<_> = first.iter().map(|image| image.as_ref().unwrap().parent_id()).collect();
        assert_eq!(parents, [Some(sound[1]), None, None, None]);
    }
}
