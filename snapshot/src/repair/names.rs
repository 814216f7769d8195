//! Finds the names of images again if `repositories.json` is broken or missing.

use std::collections::BTreeMap;

use super::mending::NameSource;
use crate::catalog::Catalog;
use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::ImageId;
use crate::reference::Reference;
use crate::schema::references::{self, FILE, MAX_FILE, References};

/// The prefixes of temporary files with which dockerd, or we, were about to replace `repositories.json`.
const TEMPORARY: [&str; 2] = [".tmp-repositories.json", ".tmp-layerfs-repositories.json"];

/// All names that were found, each with its source. If several sources have a name, the first in the order of
/// [`NameSource`] counts.
#[derive(Debug, Default)]
pub(super) struct NamesFound(BTreeMap<Reference, (ImageId, NameSource)>);

impl NamesFound {
    fn add(&mut self, name: Reference, image: ImageId, source: NameSource) {
        let known = self.0.entry(name.stored()).or_insert((image, source));
        if source < known.1 {
            *known = (image, source);
        }
    }

    /// Adds the names in a damaged file: every name that is there completely, with its image.
    pub(super) fn salvage(&mut self, bytes: &[u8], source: NameSource) {
        let text = String::from_utf8_lossy(bytes);
        let parts: Vec<&str> = text.split('"').collect();
        // The last part is not closed by a quote, or is outside of quotes.
        for [name, between, image] in parts[..parts.len() - 1].windows(3).filter_map(|three| three.first_chunk()) {
            let (Ok(reference), true, Ok(id)) = (Reference::parse(name), between.trim() == ":", image.parse()) else {
                continue;
            };
            if reference.familiar() == *name && (reference.tag().is_some() || reference.digest().is_some()) {
                self.add(reference, ImageId(id), source);
            }
        }
    }

    /// Adds the names in temporary files that were about to replace `repositories.json`, if a file is complete.
    pub(super) fn add_temporary_files(&mut self, images_dir: &Dir) -> Result<(), StoreError> {
        for file in images_dir.names()? {
            if TEMPORARY.iter().any(|beginning| file.starts_with(beginning))
                && let Ok(Some(bytes)) = images_dir.read(&file, MAX_FILE)
                && serde_json::from_slice::<serde_json::Value>(&bytes).is_ok()
            {
                self.salvage(&bytes, NameSource::TemporaryFile);
            }
        }
        Ok(())
    }

    /// Adds the names under which users made containers from images.
    pub(super) fn add_containers(&mut self, catalog: &Catalog, is_stored: impl Fn(ImageId) -> bool) {
        for container in &catalog.containers {
            let Some(image) = container.image.filter(|image| is_stored(*image)) else { continue };
            let typed = container.image_name.as_str();
            let is_id = typed.starts_with("sha256:") || image.0.hex().starts_with(typed);
            if let (false, Ok(name)) = (is_id, Reference::parse(typed)) {
                self.add(name.with_default_tag(), image, NameSource::Container);
            }
        }
    }

    /// Adds the names that sources have for images of this store.
    pub(super) fn add_donors(
        &mut self,
        names: impl Iterator<Item = (Reference, ImageId)>,
        is_stored: impl Fn(ImageId) -> bool,
    ) {
        for (name, image) in names.filter(|(_, image)| is_stored(*image)) {
            self.add(name, image, NameSource::Donor);
        }
    }

    /// All names, sorted.
    pub(super) fn into_list(self) -> Vec<(Reference, ImageId, NameSource)> {
        self.0.into_iter().map(|(name, (image, source))| (name, image, source)).collect()
    }
}

/// The state of `repositories.json`, as dockerd sees it.
pub(super) enum NamesFile {
    /// dockerd can read it.
    Good,
    /// dockerd does not start with it, or crashes when it gives a name to an image.
    Broken {
        /// The file's content; `None` if it cannot be read.
        bytes: Option<Vec<u8>>,
        cause: String,
    },
    /// The file does not exist.
    Missing,
}

/// Reads the file and judges it as dockerd would.
pub(super) fn look(images_dir: &Dir) -> Result<NamesFile, StoreError> {
    let bytes = match references::read(images_dir) {
        Ok(None) => return Ok(NamesFile::Missing),
        Ok(Some(bytes)) => bytes,
        Err(StoreError::Invalid { reason, .. }) => return Ok(NamesFile::Broken { bytes: None, cause: reason }),
        Err(error) => return Err(error),
    };
    match References::load(images_dir) {
        Ok(references) if references.has_no_map(&bytes) => {
            let cause = "its Repositories are null: dockerd crashes when it gives a name".into();
            Ok(NamesFile::Broken { bytes: Some(bytes), cause })
        }
        Ok(_) => Ok(NamesFile::Good),
        Err(StoreError::Invalid { reason, .. }) => Ok(NamesFile::Broken { bytes: Some(bytes), cause: reason }),
        Err(error) => Err(error),
    }
}

/// Writes the file anew. The old one is kept beside it, under a name that follows from its content, so that doing this
/// twice keeps only one copy.
pub(super) fn rewrite(
    images_dir: &Dir,
    names: &[(Reference, ImageId, NameSource)],
    sync: bool,
) -> Result<(), StoreError> {
    if let Some(old) = references::read(images_dir)?
        && !old.is_empty()
    {
        images_dir.replace(&kept_name(&old), &old, 0o600, sync)?;
    }
    let mut references = References::default();
    for (name, image, _) in names {
        references.tag(name, *image);
    }
    images_dir.replace(FILE, &references.to_bytes(), 0o600, sync)
}

/// The name of the copy of a broken file.
fn kept_name(bytes: &[u8]) -> String {
    format!("{FILE}.broken-{}", layerfs::Digest::hash(bytes).short())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
    const B: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn found(bytes: &str) -> Vec<(String, String)> {
        let mut names = NamesFound::default();
        names.salvage(bytes.as_bytes(), NameSource::File);
        let list = names.into_list().into_iter();
        let mut found: Vec<_> = list.map(|(name, image, _)| (name.familiar(), image.to_string())).collect();
        found.sort();
        found
    }

    #[test]
    fn whole_entries_of_a_broken_file_are_found() {
        let file = format!(r#"{{"Repositories":{{"app":{{"app:1":"{A}","app@{B}":"{A}"}},"b/c":{{"b/c:2":"{B}"}}}}}}"#);
        let all = [("app:1", A), (&format!("app@{B}"), A), ("b/c:2", B)].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(found(&file), all);
        // Wherever the file was cut, all names that are complete before the cut are found, and nothing else.
        for length in 0..file.len() {
            let found = found(&file[..length]);
            assert!(all.starts_with(&found) || found.iter().all(|one| all.contains(one)), "{found:?}");
            let whole =
                |name: &str, id: &str| file.find(&format!(r#""{name}":"{id}""#)).unwrap() + name.len() + id.len() + 5;
            let expected = all.iter().filter(|(name, id)| whole(name, id) <= length).count();
            assert_eq!(found.len(), expected, "{}", &file[..length]);
        }
        assert!(found("").is_empty() && found("no").is_empty() && found(r#"{"a":7,"x":"y"}"#).is_empty());
        assert!(found(&format!(r#"{{"a":"{A}"}}"#)).is_empty(), "a name without a tag");
    }

    #[test]
    fn what_the_file_says_counts_first() {
        let mut names = NamesFound::default();
        let name = Reference::parse("app:1").unwrap();
        let (a, b) = (ImageId(A.parse().unwrap()), ImageId(B.parse().unwrap()));
        names.add_donors([(name.clone(), b)].into_iter(), |_| true);
        names.salvage(format!(r#"{{"app:1":"{A}"}}"#).as_bytes(), NameSource::File);
        assert_eq!(names.into_list(), [(name, a, NameSource::File)]);
    }

    #[test]
    fn the_broken_file_is_kept_once() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        std::fs::write(temp.path().join(FILE), "no").unwrap();
        rewrite(&dir, &[], false).unwrap();
        assert_eq!(std::fs::read(temp.path().join(FILE)).unwrap(), br#"{"Repositories":{}}"#);
        assert_eq!(std::fs::read(temp.path().join(kept_name(b"no"))).unwrap(), b"no");
        std::fs::write(temp.path().join(FILE), "no").unwrap();
        rewrite(&dir, &[], false).unwrap();
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 2);
    }
}
