//! Which images the arguments of a save mean, and by which names they are saved: as dockerd decides it (moby v20.10.24
//! `image/tarexport/save.go: parseNames`).
//!
//! A name without a tag means all tags of the repository; an id, the beginning of one or a name with a digest means the image
//! without a name. One image that is meant several times is saved once, with all names together.

use std::collections::{BTreeMap, BTreeSet};

use snapshot::catalog::{Catalog, ImageDamage, Resolved};
use snapshot::ids::ImageId;
use snapshot::reference::{Reference, ReferenceError};
use snapshot::schema::references::References;

/// An argument that means no image which can be saved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// It is no name at all.
    #[error("{0}")]
    Reference(ReferenceError),
    /// Nothing has this name or id.
    #[error("No such image: {text}")]
    NoSuchImage {
        /// The argument.
        text: String,
    },
    /// The repository may be known, but not this tag or digest of it.
    #[error("reference does not exist: {text}")]
    NoSuchReference {
        /// The argument.
        text: String,
    },
    /// An image that dockerd would not show.
    #[error("{text}: damaged image {image}: {cause}")]
    Damaged {
        /// The argument.
        text: String,
        /// The image.
        image: ImageId,
        /// What is wrong with it.
        cause: Box<ImageDamage>,
    },
    /// An image without a layer, which dockerd does not save either.
    #[error("image {image} has no layers: empty export - not implemented")]
    Empty {
        /// The image.
        image: ImageId,
    },
}

/// Images, and the names each is saved by.
pub type Selection = BTreeMap<ImageId, BTreeSet<Reference>>;

/// The names and ids to look at when `arguments` are to be resolved: each of them, and all tags of repositories.
#[must_use]
pub fn texts_to_read(arguments: &[String], references: &References) -> Vec<String> {
    let mut texts = arguments.to_vec();
    for argument in arguments {
        texts.extend(tags_of(argument, references).into_iter().map(|(name, _)| name.familiar()));
    }
    texts
}

/// All references of a repository, if the argument is the name of one.
fn tags_of(argument: &str, references: &References) -> Vec<(Reference, ImageId)> {
    match Reference::parse(argument) {
        Ok(repository) if repository.tag().is_none() && repository.digest().is_none() => {
            references.of_repository(&repository).collect()
        }
        _ => Vec::new(),
    }
}

/// Finds the images that `arguments` mean.
///
/// # Errors
/// [`SelectError`] of the first argument that means none.
pub fn select(catalog: &Catalog, arguments: &[String]) -> Result<Selection, SelectError> {
    let mut selection = Selection::new();
    for text in arguments {
        let tags = tags_of(text, catalog.references());
        if !tags.is_empty() {
            for (name, id) in tags {
                add(&mut selection, catalog, text, id, Some(name))?;
            }
            continue;
        }
        match Reference::parse(text) {
            Ok(name) if name.tag().is_some() || name.digest().is_some() => {
                let found = catalog.references().get(&name);
                let id = found.ok_or_else(|| SelectError::NoSuchReference { text: text.clone() })?;
                add(&mut selection, catalog, text, id, Some(name))?;
            }
            Ok(_) => add_by_id(&mut selection, catalog, text)?,
            Err(ReferenceError::LooksLikeAnId { .. } | ReferenceError::NamedLikeAlgorithm { .. }) => {
                add_by_id(&mut selection, catalog, text)?;
            }
            Err(error) => return Err(SelectError::Reference(error)),
        }
    }
    Ok(selection)
}

fn add_by_id(selection: &mut Selection, catalog: &Catalog, text: &str) -> Result<(), SelectError> {
    match catalog.resolve(text) {
        Resolved::Image(id) | Resolved::Damaged(id) => add(selection, catalog, text, id, None),
        Resolved::Nothing => Err(SelectError::NoSuchImage { text: text.to_owned() }),
    }
}

/// An image that an argument means, and the name it is saved by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectedImage {
    /// The image.
    pub id: ImageId,
    /// Its name; `None` if it was meant by its id or digest.
    pub name: Option<Reference>,
}

/// Finds the images of containerd's store that `arguments` mean, in their order, and each as often as it is meant (moby v28.5.2
/// `daemon/containerd/image_exporter.go: ExportImage`).
///
/// # Errors
/// [`SelectError`] of the first argument that means none.
pub fn select_stored(catalog: &Catalog, arguments: &[String]) -> Result<Vec<SelectedImage>, SelectError> {
    let mut selection = Vec::new();
    for text in arguments {
        let tags = tags_of(text, catalog.references()).into_iter().filter(|(name, _)| is_tag(name));
        let tags: Vec<SelectedImage> = tags.map(|(name, id)| SelectedImage { id, name: Some(name) }).collect();
        if !tags.is_empty() {
            selection.extend(tags);
            continue;
        }
        let name = Reference::parse(text);
        match (catalog.resolve(text), name) {
            (Resolved::Image(id) | Resolved::Damaged(id), name) => {
                selection.push(SelectedImage { id, name: name.ok().filter(is_tag) });
            }
            (Resolved::Nothing, Ok(name)) => {
                // docker names the tag that it has looked for.
                let tag = if name.tag().is_none() && name.digest().is_none() { ":latest" } else { "" };
                return Err(SelectError::NoSuchImage { text: format!("{text}{tag}") });
            }
            (
                Resolved::Nothing,
                Err(ReferenceError::LooksLikeAnId { .. } | ReferenceError::NamedLikeAlgorithm { .. }),
            ) => {
                return Err(SelectError::NoSuchImage { text: text.to_owned() });
            }
            (Resolved::Nothing, Err(error)) => return Err(SelectError::Reference(error)),
        }
    }
    Ok(selection)
}

/// All images of containerd's store, by all their names.
#[must_use]
pub fn select_all_stored(catalog: &Catalog) -> Vec<SelectedImage> {
    let mut selection = Vec::new();
    for &id in catalog.images().keys() {
        let names = catalog.names_of(id).into_iter().filter_map(|name| Reference::parse(name).ok()).filter(is_tag);
        // A name that is not written in full may look like that of another image.
        let names: BTreeSet<Reference> = names.filter(|name| catalog.references().get(name) == Some(id)).collect();
        if names.is_empty() {
            selection.push(SelectedImage { id, name: None });
        }
        selection.extend(names.into_iter().map(|name| SelectedImage { id, name: Some(name) }));
    }
    selection
}

/// All images of a store that dockerd would show, with all their names. Images without a layer are left out, because no
/// archive can hold them.
#[must_use]
pub fn select_all(catalog: &Catalog) -> Selection {
    let shown = catalog.images().values().filter(|image| !image.chain.is_empty());
    let names = |id| catalog.names_of(id).into_iter().filter_map(|name| Reference::parse(name).ok()).filter(is_tag);
    shown.map(|image| (image.id, names(image.id).collect())).collect()
}

/// Whether a name is a tag. An archive cannot give an image a name with a digest.
fn is_tag(name: &Reference) -> bool {
    name.tag().is_some() && name.digest().is_none()
}

fn add(
    selection: &mut Selection,
    catalog: &Catalog,
    text: &str,
    id: ImageId,
    name: Option<Reference>,
) -> Result<(), SelectError> {
    let Some(image) = catalog.images().get(&id) else {
        let cause = catalog.damaged_images().get(&id).cloned().unwrap_or(ImageDamage::ConfigMissing);
        return Err(SelectError::Damaged { text: text.to_owned(), image: id, cause: Box::new(cause) });
    };
    if image.chain.is_empty() {
        return Err(SelectError::Empty { image: id });
    }
    selection.entry(id).or_default().extend(name.filter(is_tag));
    Ok(())
}
