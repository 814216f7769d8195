//! Remains: what is left in a store of things that are gone. Each can be removed on its own, and nothing stands on it.

use std::path::PathBuf;

use layerfs::{DiffId, Digest};
use serde::{Deserialize, Serialize};

use crate::driver::HomeLayout;
use crate::ids::{CacheId, ImageId, MountName};
use crate::schema::distribution::{BLOBS, SOURCES};
use crate::schema::layer::WRITE_SET;
use crate::schema::paths;
// The prefix of temporary files: dockerd ignores such files and never removes them.
pub(crate) use crate::schema::paths::TEMPORARY;

/// Something that is left of a thing that is gone. Just before it is removed, we check that this is still so. It is no
/// error if it does not exist any more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remains {
    /// An entry of `layerdb/mounts` without a container, with its directories in the driver's home.
    Mount(MountName),
    /// A layer whose removal was begun: its record in `layerdb/sha256`, with its directory.
    Removal(String),
    /// A layer whose registration was not finished: its write-set in `layerdb/tmp`, with its directory.
    Registration(String),
    /// A directory of the driver's home that nobody claims.
    Directory(CacheId),
    /// A short name that leads to no layer.
    Link(String),
    /// The metadata of an image that is gone.
    Metadata(ImageId),
    /// The file that says which registries had a layer that is gone.
    Sources(DiffId),
    /// The file that says that a registry's blob held a layer which is gone.
    Blob(Digest),
    /// A file that was being replaced.
    Temporary {
        /// Where it is.
        place: TemporaryPlace,
        /// Its name.
        name: String,
    },
}

/// The directories in which files are replaced through temporary files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TemporaryPlace {
    /// `image/<driver>`
    Names,
    /// `imagedb/content/sha256`
    Configs,
}

impl TemporaryPlace {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::Names, Self::Configs];

    /// Its path below `image/<driver>`.
    #[must_use]
    pub(crate) fn path(self) -> &'static [&'static str] {
        match self {
            Self::Names => &[],
            Self::Configs => &paths::CONFIGS,
        }
    }
}

impl Remains {
    /// Whether its name is one that such a thing can have. Names come from records of intent too, and somebody else may
    /// have written such a file.
    pub(super) fn is_valid(&self) -> bool {
        let plain = |name: &str| !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']);
        match self {
            Self::Removal(name) => plain(name) && name.ends_with(paths::REMOVING),
            Self::Registration(name) => plain(name) && name.starts_with(WRITE_SET),
            Self::Link(name) => plain(name),
            Self::Temporary { name, .. } => plain(name) && name.starts_with(TEMPORARY),
            Self::Mount(_) | Self::Directory(_) | Self::Metadata(_) | Self::Sources(_) | Self::Blob(_) => true,
        }
    }

    /// Where it is below the data-root of a storage driver.
    #[must_use]
    pub fn place(&self, driver: &str) -> PathBuf {
        let home = || -> PathBuf { HomeLayout::home_path(driver).into_iter().collect() };
        let image = |below: &[&str]| -> PathBuf { paths::of_driver(driver, below).into_iter().collect() };
        let named = |below: &[&str], name: &str| image(below).join(name);
        match self {
            Self::Mount(name) => named(&paths::MOUNTS, name),
            Self::Removal(name) => named(&paths::LAYER_RECORDS, name),
            Self::Registration(name) => named(&paths::WRITE_SETS, name),
            Self::Directory(id) => home().join(id.as_str()),
            Self::Link(name) => {
                let links = HomeLayout::of_driver(driver).and_then(|layout| layout.links).unwrap_or_default();
                home().join(links).join(name)
            }
            Self::Metadata(id) => named(&paths::METADATA, &id.0.hex()),
            Self::Sources(id) => named(&SOURCES, &id.0.hex()),
            Self::Blob(digest) => named(&BLOBS, &digest.hex()),
            Self::Temporary { place, name } => image(place.path()).join(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        for (remains, valid) in [
            (Remains::Removal("x-removing".into()), true),
            (Remains::Removal("x".into()), false),
            (Remains::Removal("../x-removing".into()), false),
            (Remains::Registration("write-set-1".into()), true),
            (Remains::Registration("layerfs-intent-1".into()), false),
            (Remains::Link("..".into()), false),
            (Remains::Temporary { place: TemporaryPlace::Names, name: "repositories.json".into() }, false),
        ] {
            assert_eq!(remains.is_valid(), valid, "{remains:?}");
        }
        for text in [r#"{"directory":"../x"}"#, r#"{"mount":"../x"}"#, r#"{"mount":"/x"}"#, r#"{"mount":""}"#] {
            assert!(serde_json::from_str::<Remains>(text).is_err(), "{text}");
        }
        let own = Remains::Directory("abc".parse().unwrap());
        assert_eq!(serde_json::from_str::<Remains>(&serde_json::to_string(&own).unwrap()).unwrap(), own);
    }

    #[test]
    fn places_are_the_drivers_own() {
        let link = Remains::Link("AB".into());
        assert_eq!(link.place("overlay2"), PathBuf::from("overlay2/l/AB"));
        let directory = Remains::Directory("abc".parse().unwrap());
        assert_eq!(directory.place("vfs"), PathBuf::from("vfs/dir/abc"));
    }
}
