//! The names that an archive gives to its images, and those that cannot be used.

use serde::Serialize;
use snapshot::reference::{Reference, ReferenceError};

use super::distinct::Distinct;

/// What an archive calls an image.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub(super) tags: Distinct<Reference>,
    pub(super) unusable: Distinct<UnusableName>,
}

/// A name that an archive gives to an image and that the image cannot have.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, thiserror::Error)]
#[error("{place}: {what} {name:?}")]
pub struct UnusableName {
    /// Where it stands: `manifest.json: item 0`, `index.json`.
    pub place: String,
    /// What is wrong there: `invalid tag`, `invalid image name`.
    pub what: &'static str,
    /// The text.
    pub name: String,
    /// Why it cannot be used.
    #[source]
    pub problem: NameProblem,
}

/// Why a name cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum NameProblem {
    /// It is no reference.
    #[error(transparent)]
    Invalid(#[from] ReferenceError),
    /// It is a reference without a tag.
    #[error("it has no tag")]
    NoTag,
    /// It has a digest: dockerd loads such an image without the name.
    #[error("it has a digest, and a tag with a digest cannot be given to an image")]
    TagWithDigest,
    /// It would read as a digest: dockerd loads such an image without the name.
    #[error("it would be read as a digest")]
    LikeADigest,
    /// It is a tag only, of a repository that is not named.
    #[error("it is only a tag, of no repository")]
    OnlyATag,
}

impl Serialize for NameProblem {
    /// Writes the problem as its message.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl UnusableName {
    /// Whether dockerd, too, loads the image and leaves out this name. Any other unusable name is an error for dockerd.
    #[must_use]
    pub(crate) fn is_left_out_by_docker(&self) -> bool {
        match self.problem {
            NameProblem::Invalid(_) | NameProblem::NoTag => false,
            NameProblem::TagWithDigest | NameProblem::LikeADigest | NameProblem::OnlyATag => true,
        }
    }
}

impl Names {
    /// Takes an entry of `RepoTags` as dockerd does (moby v20.10.24 `image/tarexport/load.go`): it must be a reference
    /// with a tag. A name that also has a digest, or would read as one, is announced by dockerd as loaded and not
    /// stored.
    pub(super) fn add_repo_tag(&mut self, place: &str, text: &str) {
        let problem = match parse(text) {
            Ok(reference) if reference.tag().is_none() => NameProblem::NoTag,
            Ok(reference) if reference.digest().is_some() => NameProblem::TagWithDigest,
            Ok(reference) => return self.add(reference),
            Err(ReferenceError::NamedLikeAlgorithm { .. }) if text.contains(':') => NameProblem::LikeADigest,
            Err(ReferenceError::Digest { .. }) if is_tag_with_long_digest(text) => NameProblem::TagWithDigest,
            Err(invalid) => invalid.into(),
        };
        self.unusable.push(UnusableName {
            place: place.to_owned(),
            what: "invalid tag",
            name: text.to_owned(),
            problem,
        });
    }

    /// Takes an annotation that holds references, one or several with commas between them, as BuildKit writes it.
    ///
    /// A reference with a digest is stored by its digest, as a pull by digest does.
    pub(super) fn add_references(&mut self, place: &str, list: &str) {
        for text in split(list) {
            match parse(text) {
                Ok(reference) => self.add(reference.stored().with_default_tag()),
                Err(error) => self.cannot_use(place, text, error.into()),
            }
        }
    }

    /// Takes the image-spec's annotation: references, as skopeo and BuildKit write them, or just a tag, which names nothing.
    pub(super) fn add_ref_name(&mut self, place: &str, list: &str) {
        for text in split(list) {
            match parse(text) {
                Ok(reference) if text.contains(['/', ':', '@']) => self.add(reference.stored().with_default_tag()),
                Err(error) if text.contains(['/', ':', '@']) => self.cannot_use(place, text, error.into()),
                _ => self.cannot_use(place, text, NameProblem::OnlyATag),
            }
        }
    }

    fn cannot_use(&mut self, place: &str, text: &str, problem: NameProblem) {
        let (place, name) = (place.to_owned(), text.to_owned());
        self.unusable.push(UnusableName { place, what: "invalid image name", name, problem });
    }

    fn add(&mut self, reference: Reference) {
        self.tags.push(reference);
    }

    /// Adds the names that another descriptor gives to the same image.
    pub(super) fn merge(&mut self, other: Self) {
        other.tags.into_vec().into_iter().for_each(|reference| self.add(reference));
        other.unusable.into_vec().into_iter().for_each(|name| self.unusable.push(name));
    }
}

/// The longest name, domain included, that dockerd 20.10 takes; newer ones leave out the domain when they count.
const MAX_NAME: usize = 255;

/// Reads a reference; its name must be one that every dockerd takes, because it goes into the store.
fn parse(text: &str) -> Result<Reference, ReferenceError> {
    let reference = Reference::parse(text)?;
    let length = reference.name().len();
    if length > MAX_NAME { Err(ReferenceError::TooLong { length }) } else { Ok(reference) }
}

fn split(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|text| !text.is_empty())
}

/// Whether it is a reference with a tag and a digest, whose algorithm dockerd knows and this program does not.
fn is_tag_with_long_digest(text: &str) -> bool {
    let Some((tagged, digest)) = text.split_once('@') else { return false };
    let hex = match digest.split_once(':') {
        Some(("sha384", hex)) if hex.len() == 96 => hex,
        Some(("sha512", hex)) if hex.len() == 128 => hex,
        _ => return false,
    };
    let lower_hex = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    lower_hex && Reference::parse(tagged).is_ok_and(|reference| reference.tag().is_some())
}
