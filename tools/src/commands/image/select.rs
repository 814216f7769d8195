//! Which images a listing shows, and in which order: as dockerd decides it (moby v20.10.24 `daemon/images/images.go: Images`).

use std::borrow::Cow;
use std::cmp::Reverse;

use jiff::Timestamp;
use snapshot::catalog::{Catalog, Image};
use snapshot::containerd::images::StoredImage;
use snapshot::reference::Reference;

/// Which images a listing takes.
#[derive(Debug, Default)]
pub(super) struct Selection<'a> {
    /// Also the images without a name from which others were built.
    pub(super) all: bool,
    /// Only those without a tag and without children, or only those with a name.
    pub(super) dangling: Option<bool>,
    /// Only those made before all of these times.
    pub(super) before: Vec<Timestamp>,
    /// Only those made after all of these times.
    pub(super) since: Vec<Timestamp>,
    /// Only those made no later than this.
    pub(super) until: Option<Timestamp>,
    /// Labels that they must have: the key, and the value if it matters.
    pub(super) labels: Vec<(&'a str, Option<&'a str>)>,
    /// Patterns of which a name must match one; names that match none are not shown.
    pub(super) references: Vec<&'a str>,
}

/// An image in a listing.
#[derive(Debug)]
pub(super) struct Shown<'c> {
    pub(super) image: &'c Image,
    /// Names without a digest, as the store has them; one that is not written in full is there twice.
    pub(super) names: Vec<&'c str>,
    /// Names with a tag, sorted as docker sorts them.
    pub(super) tags: Vec<&'c str>,
    /// Names with a digest.
    pub(super) digests: Vec<Cow<'c, str>>,
    /// Whether it has names without a tag and without a digest, as only containerd's store can. Docker does not list them.
    pub(super) has_other_names: bool,
}

impl Selection<'_> {
    /// The images, youngest first. `matches` says whether a pattern matches a name.
    pub(super) fn images<'c>(
        &self,
        catalog: &'c Catalog,
        matches: impl Fn(&str, &Reference) -> bool,
    ) -> Vec<Shown<'c>> {
        let mut shown: Vec<Shown<'c>> =
            catalog.images().values().filter_map(|image| self.show(catalog, image, &matches)).collect();
        // Docker's order among images of one second is random; ours is by id.
        shown.sort_by_key(|shown| (Reverse(seconds(shown.image)), shown.image.id));
        shown
    }

    fn show<'c>(
        &self,
        catalog: &'c Catalog,
        image: &'c Image,
        matches: impl Fn(&str, &Reference) -> bool,
    ) -> Option<Shown<'c>> {
        if self.dangling == Some(true) && !image.children.is_empty() {
            return None;
        }
        // What docker reads of containerd's store has no time if its config says none, and `until` asks when it was named (moby
        // v28.5.2 `daemon/containerd/image_list.go: setupFilters`).
        let stored = catalog.stored_image(image.id);
        let made = match stored {
            Some(_) => image.config.created.moment(),
            None => Some(image.created.unwrap_or(Timestamp::MIN)),
        };
        let named = stored.map_or(image.created, |stored| stored.named.moment()).unwrap_or(Timestamp::MIN);
        let in_time = self.before.iter().all(|time| made.is_some_and(|made| made < *time))
            && self.since.iter().all(|time| made.is_some_and(|made| made > *time))
            && self.until.is_none_or(|time| named <= time);
        if !in_time || !self.has_labels(image) {
            return None;
        }
        let names = catalog.names_of(image.id).into_iter().filter(|name| {
            self.references.is_empty()
                || Reference::parse(name)
                    .is_ok_and(|reference| self.references.iter().any(|pattern| matches(pattern, &reference)))
        });
        let names: Vec<&str> = names.collect();
        let digests: Vec<Cow<'c, str>> = match stored.filter(|_| !self.references.is_empty()) {
            Some(stored) => self.digest_of(stored, &matches).map(Cow::Owned).into_iter().collect(),
            None => names.iter().copied().filter(|name| name.contains('@')).map(Cow::Borrowed).collect(),
        };
        let tags: Vec<&str> = names.iter().copied().filter(|name| tag(name).is_some()).collect();
        let names: Vec<&str> = names.into_iter().filter(|name| !name.contains('@')).collect();
        let has_other_names =
            catalog.stored_image(image.id).is_some_and(|stored| stored.written_names().next().is_some());
        let named = has_other_names || !digests.is_empty() || !tags.is_empty();
        let show = match (named, self.dangling) {
            (true, Some(true)) => tags.is_empty() && !has_other_names,
            (true, _) => true,
            (false, Some(false)) => false,
            (false, _) => self.references.is_empty() && (self.all || image.children.is_empty()),
        };
        show.then_some(Shown { image, names, tags, digests, has_other_names })
    }

    /// The digest that docker lists of an image of containerd's store where only some of its names are wanted: in the repository of the
    /// last of those (moby v28.5.2 `daemon/containerd/image_list.go`).
    fn digest_of(&self, stored: &StoredImage, matches: impl Fn(&str, &Reference) -> bool) -> Option<String> {
        let full = |name: &str| Reference::parse(name).ok().filter(|reference| reference.canonical() == name);
        let wanted = |name: &Reference| self.references.iter().any(|pattern| matches(pattern, name));
        let last = stored.written_names().filter_map(full).filter(wanted).last()?;
        Some(format!("{}@{}", last.familiar_name(), stored.target.digest))
    }

    /// An image without a `config` has no labels, and is left out whenever labels are asked for.
    fn has_labels(&self, image: &Image) -> bool {
        if self.labels.is_empty() {
            return true;
        }
        let Some(labels) = image.labels() else { return false };
        self.labels
            .iter()
            .all(|(key, value)| labels.get(*key).is_some_and(|has| value.is_none_or(|value| has == value)))
    }
}

/// The repository and the tag of a name, which may have a digest besides.
pub(crate) fn tag(name: &str) -> Option<(&str, &str)> {
    let named = name.split_once('@').map_or(name, |(named, _)| named);
    named.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'))
}

/// When an image was made, as the API says it.
pub(crate) fn seconds(image: &Image) -> i64 {
    seconds_of(image.created)
}

/// Unix time, and Go's zero time where there is none.
pub(super) fn seconds_of(created: Option<Timestamp>) -> i64 {
    created.map_or(-62_135_596_800, Timestamp::as_second)
}
