//! Which images a policy removes, and when each was used last: stored, tagged, or had something made on top of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::item::{Reason, StayCause};
use super::policy::Policy;
use crate::catalog::Image;
use crate::driver::Driver;
use crate::error::StoreError;
use crate::ids::ImageId;
use crate::parallel;
use crate::reference::Reference;
use crate::view::View;

/// The images of a view, and which of them may be removed.
#[derive(Debug)]
pub(super) struct Images<'v> {
    view: &'v View,
    policy: &'v Policy,
    /// Images that containers use, each with the name or id of the first container.
    users: HashMap<ImageId, String>,
    /// A container that may use any image, because it is not known which one it uses.
    unknown_user: Option<String>,
    /// The newest images of each repository, each with that repository.
    last: HashMap<ImageId, String>,
    last_used: HashMap<ImageId, i64>,
    going: HashSet<ImageId>,
}

/// An image that may be removed, if all images that were built from it are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) id: ImageId,
    pub(super) reason: Reason,
}

impl<'v> Images<'v> {
    pub(super) fn new(view: &'v View, policy: &'v Policy) -> Result<Self, StoreError> {
        let catalog = &view.catalog;
        let (mut users, mut unknown_user) = (HashMap::new(), None);
        for container in &catalog.containers {
            let known = if container.name.is_empty() { container.id.as_str() } else { container.name.as_str() };
            match container.image {
                Some(image) => drop(users.entry(image).or_insert_with(|| known.to_owned())),
                // dockerd would not show this container, and it does not tell its image.
                None => drop(unknown_user.get_or_insert_with(|| known.to_owned())),
            }
        }
        let last = policy.keep_last.map(|count| newest(view, count)).unwrap_or_default();
        let mut images =
            Self { view, policy, users, unknown_user, last, last_used: HashMap::new(), going: HashSet::new() };
        images.read_last_used()?;
        Ok(images)
    }

    /// Finds out when each image was used last: when it was stored or tagged, or when a container or layer was made on
    /// top of it.
    fn read_last_used(&mut self) -> Result<(), StoreError> {
        let Some(store) = self.view.root.images()? else { return Ok(()) };
        let view = self.view;
        let unused = view.catalog.images.values().filter(|image| !self.users.contains_key(&image.id));
        let unused: Vec<&Image> = unused.collect();
        let used = parallel::map(&unused, |image| -> Result<Option<i64>, StoreError> {
            let stored = store.written(image.id)?.map(|(seconds, _)| seconds);
            let tagged = image.last_tagged.as_deref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
            let top = image.chain.last().and_then(|top| view.catalog.layer(*top));
            let stood_on = match (&view.root.driver, top) {
                (Some(driver), Some(top)) => driver.last_stood_on(&top.cache_id)?,
                _ => None,
            };
            let times = stored.into_iter().chain(tagged.map(jiff::Timestamp::as_second)).chain(stood_on);
            Ok(times.max())
        });
        for (image, used) in unused.into_iter().zip(used) {
            self.last_used.extend(used?.map(|time| (image.id, time)));
        }
        Ok(())
    }

    /// When an image was used last, in seconds since 1970; `None` if that is not known, or if a container uses the
    /// image.
    pub(super) fn last_used(&self, id: ImageId) -> Option<i64> {
        self.last_used.get(&id).copied()
    }

    /// Notes that an image is removed.
    pub(super) fn remove(&mut self, id: ImageId) {
        self.going.insert(id);
    }

    /// The images that are removed.
    pub(super) fn going(&self) -> &HashSet<ImageId> {
        &self.going
    }

    /// First the images that the policy removes, the least recently used first; then those that it keeps, with the
    /// cause.
    pub(super) fn candidates(&self) -> (Vec<Candidate>, Vec<(ImageId, StayCause)>) {
        let (mut candidates, mut spared) = (Vec::new(), Vec::new());
        for image in self.view.catalog.images.values() {
            match self.stays(image) {
                Some(cause) => spared.push((image.id, cause)),
                None => {
                    let reason = match () {
                        () if self.is_named(image.id) => Reason::Unused,
                        () if image.children.is_empty() => Reason::Dangling,
                        () => Reason::Parent,
                    };
                    candidates.push(Candidate { id: image.id, reason });
                }
            }
        }
        candidates.sort_by_key(|candidate| (self.last_used(candidate.id), candidate.id));
        (candidates, spared)
    }

    /// Whether all images that were built from it are removed.
    pub(super) fn is_childless(&self, id: ImageId) -> bool {
        let children = self.view.catalog.images.get(&id).map(|image| image.children.as_slice()).unwrap_or_default();
        children.iter().all(|child| self.going.contains(child))
    }

    fn is_named(&self, id: ImageId) -> bool {
        !self.view.catalog.names_of(id).is_empty()
    }

    /// Why the policy, or a container, keeps an image; `None` if neither does.
    fn stays(&self, image: &Image) -> Option<StayCause> {
        let (policy, names) = (self.policy, self.view.catalog.names_of(image.id));
        if let Some(container) = self.users.get(&image.id) {
            return Some(StayCause::UsedBy(container.clone()));
        }
        if let Some(container) = &self.unknown_user {
            return Some(StayCause::MayBeUsedBy(container.clone()));
        }
        if let Some(pattern) = policy.keep.iter().find(|pattern| pattern.matches(image.id, &names)) {
            return Some(StayCause::Kept(pattern.as_str().to_owned()));
        }
        let labels = image.labels().unwrap_or_default();
        if let Some(label) = policy.keep_labels.iter().find(|label| label.matches(&labels)) {
            return Some(StayCause::Label(label.to_string()));
        }
        if policy.excludes.matches(image.id, &names) {
            return Some(StayCause::Excluded);
        }
        if !names.is_empty() && !policy.named {
            return Some(StayCause::Named);
        }
        if let Some(repository) = self.last.get(&image.id) {
            return Some(StayCause::AmongLast(repository.clone()));
        }
        // An image that does not say when it was made counts as older than any time, as it does for `docker image
        // prune`.
        if policy.created_before.is_some_and(|before| image.created.is_some_and(|created| created > before)) {
            return Some(StayCause::TooNew);
        }
        let last_used = self.last_used(image.id);
        if policy.unused_since.is_some_and(|since| last_used.is_none_or(|used| used > since.as_second())) {
            return Some(StayCause::UsedRecently);
        }
        let odd = names.iter().find(|name| Reference::parse(name).is_err());
        odd.map(|name| StayCause::OddName((*name).to_owned()))
    }
}

/// The newest images of each repository, each with one repository in which it is among the newest.
fn newest(view: &View, count: usize) -> HashMap<ImageId, String> {
    let mut repositories: BTreeMap<String, BTreeSet<ImageId>> = BTreeMap::new();
    for (name, id) in view.catalog.references.iter() {
        if let Ok(name) = Reference::parse(name) {
            repositories.entry(name.familiar_name()).or_default().insert(id);
        }
    }
    let mut newest = HashMap::new();
    for (repository, ids) in repositories {
        let mut images: Vec<&Image> = ids.iter().filter_map(|id| view.catalog.images.get(id)).collect();
        images.sort_by_key(|image| (std::cmp::Reverse(image.created), image.id));
        for image in images.into_iter().take(count) {
            newest.entry(image.id).or_insert_with(|| repository.clone());
        }
    }
    newest
}
