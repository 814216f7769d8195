//! `repositories.json`: names of images.
//!
//! ```text
//! {"Repositories":{"app":{"app:1":"sha256:<image id>","app@sha256:<manifest>":"sha256:<image id>"}}}
//! ```
//!
//! Compact, sorted, no newline, mode 0600. dockerd does not start with a file it cannot parse, and reads only the first
//! JSON value of it (moby v20.10.24 `reference/store.go`). Entries that we do not understand survive.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::ImageId;
use crate::reference::Reference;

/// The file's name.
pub const FILE: &str = "repositories.json";

/// Bytes of the largest file that is read.
const MAX_FILE: usize = 64 << 20;

type Repositories = BTreeMap<String, BTreeMap<String, Value>>;

/// All names of one driver's images.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct References {
    repositories: Repositories,
    /// Keys beside `Repositories`.
    rest: BTreeMap<String, Value>,
}

/// What setting a tag did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tagged {
    /// The tag is new.
    New,
    /// The tag was there already.
    Unchanged,
    /// The tag belonged to another image.
    Moved {
        /// That image.
        from: ImageId,
    },
}

impl References {
    /// Reads the file; a missing one is empty.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] where dockerd would not start.
    pub fn load(image_root: &Dir) -> Result<Self, StoreError> {
        let Some(bytes) = image_root.read(FILE, MAX_FILE)? else { return Ok(Self::default()) };
        let invalid = |reason: String| StoreError::Invalid { path: image_root.join(FILE), reason };
        let first = serde_json::Deserializer::from_slice(&bytes).into_iter::<BTreeMap<String, Value>>().next();
        let mut rest = first.ok_or_else(|| invalid("empty".into()))?.map_err(|error| invalid(error.to_string()))?;
        let key = rest.keys().rev().find(|key| key.eq_ignore_ascii_case("Repositories")).cloned();
        let repositories = match key.and_then(|key| rest.remove(&key)) {
            None | Some(Value::Null) => Repositories::new(),
            Some(value) => serde_json::from_value(value).map_err(|error| invalid(error.to_string()))?,
        };
        Ok(Self { repositories, rest })
    }

    /// The file's content.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut all = self.rest.clone();
        let repositories = serde_json::to_value(&self.repositories).expect("strings and JSON values always serialise");
        all.insert("Repositories".into(), repositories);
        serde_json::to_vec(&all).expect("strings and JSON values always serialise")
    }

    /// The image that a reference names.
    #[must_use]
    pub fn get(&self, reference: &Reference) -> Option<ImageId> {
        let id = self.repositories.get(&reference.familiar_name())?.get(&reference.familiar())?;
        Some(ImageId(id.as_str()?.parse().ok()?))
    }

    /// Gives a tag to an image.
    pub fn tag(&mut self, reference: &Reference, id: ImageId) -> Tagged {
        let before = self.get(reference);
        let repository = self.repositories.entry(reference.familiar_name()).or_default();
        repository.insert(reference.familiar(), Value::String(id.to_string()));
        match before {
            None => Tagged::New,
            Some(from) if from == id => Tagged::Unchanged,
            Some(from) => Tagged::Moved { from },
        }
    }

    /// All references and the images they name, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, ImageId)> {
        let entries = self.repositories.values().flatten();
        entries.filter_map(|(name, id)| Some((name.as_str(), ImageId(id.as_str()?.parse().ok()?))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
    const B: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn load(text: &str) -> Result<References, StoreError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), text).unwrap();
        References::load(&Dir::open(dir.path()).unwrap())
    }

    #[test]
    fn writes_what_dockerd_writes() {
        assert_eq!(References::default().to_bytes(), br#"{"Repositories":{}}"#);
        let mut references = References::default();
        let id = ImageId(A.parse().unwrap());
        assert_eq!(references.tag(&Reference::parse("docker.io/library/app:1").unwrap(), id), Tagged::New);
        let expected = format!(r#"{{"Repositories":{{"app":{{"app:1":"{A}"}}}}}}"#);
        assert_eq!(references.to_bytes(), expected.as_bytes());
        let other = ImageId(B.parse().unwrap());
        assert_eq!(references.tag(&Reference::parse("app:1").unwrap(), other), Tagged::Moved { from: id });
        assert_eq!(references.tag(&Reference::parse("app:1").unwrap(), other), Tagged::Unchanged);
    }

    #[test]
    fn what_is_not_understood_survives() {
        let text =
            format!(r#"{{"Repositories":{{"docker.io/library/nf":{{"nf:1":"{A}","odd":7}}}},"Extra":[1]}} junk"#);
        let mut references = load(&text).unwrap();
        references.tag(&Reference::parse("b:2").unwrap(), ImageId(B.parse().unwrap()));
        let written = String::from_utf8(references.to_bytes()).unwrap();
        for kept in [r#""odd":7"#, r#""Extra":[1]"#, "docker.io/library/nf", r#""b:2""#] {
            assert!(written.contains(kept), "{written}");
        }
    }

    #[test]
    fn a_file_that_stops_dockerd_is_refused() {
        for bad in ["", "{", "nonsense", r#"{"Repositories":[]}"#] {
            assert!(matches!(load(bad), Err(StoreError::Invalid { .. })), "{bad:?}");
        }
        assert!(load("{}").is_ok() && load(r#"{"Repositories":null}"#).is_ok());
    }
}
