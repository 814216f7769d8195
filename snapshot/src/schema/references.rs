//! `repositories.json`: names of images.
//!
//! ```text
//! {"Repositories":{"app":{"app:1":"sha256:<image id>","app@sha256:<manifest>":"sha256:<image id>"}}}
//! ```
//!
//! Compact, sorted, no newline, mode 0600. dockerd reads only the first JSON value of the file and does not start if it
//! cannot decode that, or if it is `null` (moby v20.10.24 `reference/store.go: reload`). Names that are not references
//! and values that are not digests are kept as they are, as dockerd keeps them. Other keys beside `Repositories` are
//! lost when the file is written, as they are with dockerd.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::gojson::{self, Decode, DecodeError, Expected, JsonDecoder};
use crate::dir::Dir;
use crate::error::StoreError;
use crate::go_struct;
use crate::ids::ImageId;
use crate::reference::{Reference, ReferenceError};

/// The file's name.
pub const FILE: &str = "repositories.json";

/// Bytes of the largest file that is read: more than 100,000 names. Docker has no limit of its own.
pub(crate) const MAX_FILE: usize = 16 << 20;

/// The value of a reference: an image, or any other text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    Image(ImageId),
    Other(Box<str>),
}

impl Named {
    fn image(&self) -> Option<ImageId> {
        match self {
            Self::Image(id) => Some(*id),
            Self::Other(_) => None,
        }
    }
}

impl Default for Named {
    fn default() -> Self {
        Self::Other("".into())
    }
}

impl Decode for Named {
    fn expected() -> Expected {
        Expected::Text
    }

    fn string(&mut self, raw: &[u8], decoder: &mut JsonDecoder<'_>) {
        let mut text = String::new();
        text.string(raw, decoder);
        *self = text.parse().map_or_else(|_| Self::Other(text.into()), |digest| Self::Image(ImageId(digest)));
    }
}

impl Serialize for Named {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Image(id) => id.serialize(serializer),
            Self::Other(text) => text.serialize(serializer),
        }
    }
}

/// The names of one repository, sorted. Nearly all repositories have one or two, and a map takes up a node of eleven for
/// each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Names(Vec<(Box<str>, Named)>);

impl Names {
    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(name))
    }

    fn get(&self, name: &str) -> Option<&Named> {
        self.find(name).ok().and_then(|at| self.0.get(at)).map(|(_, target)| target)
    }

    fn insert(&mut self, name: &str, target: Named) {
        match self.find(name) {
            Ok(at) => self.0[at].1 = target,
            Err(at) => self.0.insert(at, (name.into(), target)),
        }
    }

    fn remove(&mut self, name: &str) {
        if let Ok(at) = self.find(name) {
            self.0.remove(at);
        }
    }
}

impl Decode for Names {
    fn expected() -> Expected {
        Expected::Object
    }

    fn null(&mut self) {
        self.0.clear();
    }

    fn object(&mut self, decoder: &mut JsonDecoder<'_>) -> Result<(), DecodeError> {
        decoder.members(|decoder, key| {
            let mut target = Named::default();
            target.value(decoder)?;
            self.0.push((gojson::text(key.into()).into(), target));
            Ok(())
        })?;
        // Of a name that is there more than once the last counts, as in a map of Go.
        self.0.reverse();
        self.0.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.0.dedup_by(|(later, _), (kept, _)| later == kept);
        self.0.shrink_to_fit();
        Ok(())
    }
}

impl Serialize for Names {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, target)| (name, target)))
    }
}

type Repositories = BTreeMap<String, Option<Names>>;

go_struct! {
    /// The file (`reference.store`).
    #[derive(Eq, serde::Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct File { repositories: Repositories = "Repositories" }
}

/// The whole document: dockerd decodes it into a pointer, which `null` sets to nil.
type Document = Option<File>;

/// All names of one driver's images.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct References {
    file: File,
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

/// The bytes of the file; `None` if it is missing. A symlink in its place that leads to nothing counts as missing: dockerd opens
/// what it leads to, and puts a file in its place when it stores a name.
pub(crate) fn read(image_root: &Dir) -> Result<Option<Vec<u8>>, StoreError> {
    match image_root.read(FILE, MAX_FILE) {
        Err(_) if image_root.leads_nowhere(FILE) => Ok(None),
        read => read,
    }
}

impl References {
    /// Reads the file; a missing one is empty.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] where dockerd would not start.
    pub fn load(image_root: &Dir) -> Result<Self, StoreError> {
        let Some(bytes) = read(image_root)? else { return Ok(Self::default()) };
        let invalid =
            |error: DecodeError| StoreError::Invalid { path: image_root.join(FILE), reason: error.to_string() };
        let null = DecodeError {
            field: String::new(),
            item: None,
            expected: Expected::Object,
            found: "null".into(),
            offset: 4,
        };
        let document: Document = gojson::first_value(&bytes).map_err(invalid)?;
        Ok(Self { file: document.ok_or_else(|| invalid(null))? })
    }

    /// Whether the file says `null` for its map: dockerd starts with that, and crashes when it adds a name. `bytes` is the
    /// content that these names were read from.
    pub(crate) fn has_no_map(&self, bytes: &[u8]) -> bool {
        let is_null =
            |(key, value): (&String, &serde_json::Value)| key.eq_ignore_ascii_case("Repositories") && value.is_null();
        let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<serde_json::Map<_, _>>();
        self.file.repositories.is_empty()
            && values.next().is_some_and(|map| map.is_ok_and(|map| map.iter().any(is_null)))
    }

    /// The file's content.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.file).expect("maps of strings always serialise")
    }

    /// The image that a reference names; if it has both a tag and a digest, the digest counts.
    #[must_use]
    pub fn get(&self, reference: &Reference) -> Option<ImageId> {
        let reference = reference.clone().stored();
        self.file.repositories.get(&reference.familiar_name())?.as_ref()?.get(&reference.familiar())?.image()
    }

    /// Gives a name to an image; with a tag and a digest the tag is dropped, as docker drops it.
    pub fn tag(&mut self, reference: &Reference, id: ImageId) -> Tagged {
        let before = self.get(reference);
        let reference = reference.clone().stored();
        let repository = self.file.repositories.entry(reference.familiar_name()).or_default();
        repository.get_or_insert_default().insert(&reference.familiar(), Named::Image(id));
        match before {
            None => Tagged::New,
            Some(from) if from == id => Tagged::Unchanged,
            Some(from) => Tagged::Moved { from },
        }
    }

    /// Takes a name away, and with its last name the repository. Returns the image that had the name.
    pub(crate) fn untag(&mut self, reference: &Reference) -> Option<ImageId> {
        let before = self.get(reference)?;
        let name = reference.familiar_name();
        let repository = self.file.repositories.get_mut(&name)?.as_mut()?;
        repository.remove(&reference.familiar());
        if repository.0.is_empty() {
            self.file.repositories.remove(&name);
        }
        Some(before)
    }

    /// The names of a repository and the images they name, sorted by their keys.
    pub fn of_repository(&self, repository: &Reference) -> impl Iterator<Item = (Reference, ImageId)> {
        let name = repository.name();
        self.iter()
            .filter_map(|(key, id)| Some((Reference::parse(key).ok()?, id)))
            .filter(move |(reference, _)| reference.name() == name)
    }

    /// All keys and the images they name, sorted; some may be no references. `shown` says what dockerd makes of one.
    pub fn iter(&self) -> impl Iterator<Item = (&str, ImageId)> {
        let entries = self.file.repositories.values().flatten().flat_map(|names| &names.0);
        entries.filter_map(|(name, target)| Some((&**name, target.image()?)))
    }
}

/// How dockerd shows an image's name that is stored as `key`; `None` if `key` is no reference, so that dockerd ignores it.
#[must_use]
pub(crate) fn shown(key: &str) -> Option<String> {
    match Reference::parse(key) {
        Ok(reference) => Some(reference.familiar()),
        // These two kinds of names are read as dockerd reads them, but no image gets such a name here.
        Err(ReferenceError::NamedLikeAlgorithm { .. }) => Some(key.to_owned()),
        Err(ReferenceError::Digest { .. }) => key.split_once('@').and_then(|(named, digest)| {
            let (algorithm, hex) = digest.split_once(':')?;
            let length = [("sha384", 96), ("sha512", 128)].iter().find(|(name, _)| *name == algorithm)?.1;
            let is_digest = hex.len() == length && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            let named = Reference::parse(named).ok().filter(|_| is_digest)?;
            Some(format!("{}@{digest}", named.familiar()))
        }),
        Err(_) => None,
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
    fn a_symlink_that_leads_to_nothing_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join(FILE);
        std::os::unix::fs::symlink("gone", &place).unwrap();
        let here = Dir::open(dir.path()).unwrap();
        assert_eq!(References::load(&here).unwrap().to_bytes(), References::default().to_bytes());
        // A symlink that leads to something, or to itself, is an error.
        for target in [FILE, "/dev/null"] {
            std::fs::remove_file(&place).unwrap();
            std::os::unix::fs::symlink(target, &place).unwrap();
            assert!(References::load(&here).is_err(), "{target}");
        }
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
    fn a_name_with_tag_and_digest_is_stored_by_its_digest() {
        let (mut references, id) = (References::default(), ImageId(A.parse().unwrap()));
        let both = Reference::parse(&format!("app:1@{B}")).unwrap();
        assert_eq!(references.tag(&both, id), Tagged::New);
        assert_eq!(references.iter().collect::<Vec<_>>(), [(format!("app@{B}").as_str(), id)]);
        assert_eq!(references.get(&both), Some(id));
        assert_eq!(references.get(&Reference::parse(&format!("app:2@{B}")).unwrap()), Some(id));
        assert_eq!(references.get(&Reference::parse("app:1").unwrap()), None);
    }

    #[test]
    fn what_is_not_understood_survives() {
        let text = format!(
            r#"{{"Repositories":{{"docker.io/library/nf":{{"nf:1":"{A}","odd":"7"}},"x":null}},"Extra":[1]}} junk"#
        );
        let mut references = load(&text).unwrap();
        references.tag(&Reference::parse("b:2").unwrap(), ImageId(B.parse().unwrap()));
        let written = String::from_utf8(references.to_bytes()).unwrap();
        for kept in [r#""odd":"7""#, r#""x":null"#, "docker.io/library/nf", r#""b:2""#] {
            assert!(written.contains(kept), "{written}");
        }
    }

    #[test]
    fn keys_are_shown_as_dockerd_shows_them() {
        let long = "a".repeat(128);
        let (digest, other) = (format!("x@{A}"), format!("x@sha512:{long}"));
        for same in ["app:1", "ghcr.io/a/b:1", "app", "sha256:1", &digest, &other] {
            assert_eq!(shown(same).as_deref(), Some(same));
        }
        assert_eq!(shown("docker.io/library/app:1").as_deref(), Some("app:1"));
        for none in ["", "A B:1", "x:", "x@sha256:aa", "<none>:<none>", "ZZ:1", &format!("x:{long}1")] {
            assert_eq!(shown(none), None, "{none}");
        }
    }

    #[test]
    fn a_file_that_stops_dockerd_is_refused() {
        for bad in
            ["", " ", "{", "nonsense", "null", "[]", r#"{"Repositories":[]}"#, r#"{"Repositories":{"a":{"a:1":7}}}"#]
        {
            assert!(matches!(load(bad), Err(StoreError::Invalid { .. })), "{bad:?}");
        }
        let said = load(r#"{"Repositories":{"a":{"a:1":7}}}"#).unwrap_err().to_string();
        assert!(said.ends_with("Repositories must be a string, not a number (byte 29)"), "{said}");
        let twice = load(&format!(r#"{{"Repositories":{{"a":{{"a:2":"{A}","a:1":"x","a:2":"{B}"}}}}}}"#)).unwrap();
        assert_eq!(twice.iter().collect::<Vec<_>>(), [("a:2", ImageId(B.parse().unwrap()))]);
        let fine = [
            "{}",
            r#"{"Repositories":null}"#,
            r#"{"Repositories":{"x":null}}"#,
            r#"{"repositories":{"a":{"a:1":null}}} ]"#,
        ];
        for text in fine {
            assert!(load(text).is_ok(), "{text}");
        }
    }
}
