//! Images that were built before, here or by dockerd (moby v20.10.24 `image/cache/cache.go`, `compare.go`).

use std::collections::{BTreeMap, HashMap};

use snapshot::catalog::Catalog;
use snapshot::ids::ImageId;
use snapshot::schema::runconfig::RunConfig;
use snapshot::schema::time::Time;

/// An image that may be what a step makes.
#[derive(Debug, Clone)]
struct Candidate {
    id: ImageId,
    made_with: RunConfig,
    created: Time,
}

/// All images by what they were built from; those that were built from nothing are below `None`.
#[derive(Debug, Default)]
pub(crate) struct Cache(HashMap<Option<ImageId>, Vec<Candidate>>);

impl Cache {
    /// The images of a store.
    pub(crate) fn read(catalog: &Catalog) -> Self {
        let mut cache = Self::default();
        for image in catalog.images().values() {
            cache.add(image.parent_id(), image.id, image.config.container_config.clone(), image.config.created);
        }
        cache
    }

    /// One more image.
    pub(crate) fn add(&mut self, parent: Option<ImageId>, id: ImageId, made_with: RunConfig, created: Time) {
        self.0.entry(parent).or_default().push(Candidate { id, made_with, created });
    }

    /// The image that a step with this config makes of `parent`, if there is one; of several, the newest.
    pub(crate) fn find(&self, parent: Option<ImageId>, wanted: &RunConfig) -> Option<ImageId> {
        let fitting = self.0.get(&parent)?.iter().filter(|candidate| is_same(&candidate.made_with, wanted));
        fitting.max_by_key(|candidate| (candidate.created.moment(), std::cmp::Reverse(candidate.id))).map(|one| one.id)
    }
}

/// Whether docker takes two configs for the same step: it looks at these fields only, and at no order of maps.
fn is_same(one: &RunConfig, other: &RunConfig) -> bool {
    // None is the same as an empty one.
    fn list(list: &Option<Vec<String>>) -> &[String] {
        list.as_deref().unwrap_or_default()
    }
    fn map<K: Ord, V: PartialEq>(one: Option<&BTreeMap<K, V>>, other: Option<&BTreeMap<K, V>>) -> bool {
        one.into_iter().flatten().eq(other.into_iter().flatten())
    }
    !one.open_stdin
        && !other.open_stdin
        && one.attach_stdout == other.attach_stdout
        && one.attach_stderr == other.attach_stderr
        && one.user == other.user
        && one.tty == other.tty
        && list(&one.cmd.0) == list(&other.cmd.0)
        && list(&one.entrypoint.0) == list(&other.entrypoint.0)
        && list(&one.env) == list(&other.env)
        && map(one.labels.as_ref(), other.labels.as_ref())
        && map(one.volumes.as_ref(), other.volumes.as_ref())
        && map(one.exposed_ports.as_ref(), other.exposed_ports.as_ref())
}

#[cfg(test)]
mod tests {
    use layerfs::Digest;
    use snapshot::schema::gojson::StrSlice;

    use super::*;

    fn image(number: u8) -> ImageId {
        ImageId(Digest::hash(&[number]))
    }

    fn made(cmd: &str, change: impl FnOnce(&mut RunConfig)) -> RunConfig {
        let mut config = RunConfig { cmd: StrSlice(Some(vec![cmd.into()])), ..RunConfig::default() };
        change(&mut config);
        config
    }

    /// The fields are those that were measured with docker 20.10.24.
    #[test]
    fn the_newest_image_of_the_same_step_is_taken() {
        let time = |text: &str| Time::parse(text).unwrap();
        let mut cache = Cache::default();
        cache.add(None, image(1), made("x", |_| {}), time("2026-01-02T00:00:00Z"));
        cache.add(None, image(2), made("x", |_| {}), time("2026-01-03T00:00:00Z"));
        cache.add(Some(image(1)), image(3), made("y", |_| {}), time("2026-01-04T00:00:00Z"));
        assert_eq!(cache.find(None, &made("x", |_| {})), Some(image(2)));
        assert_eq!(cache.find(Some(image(2)), &made("y", |_| {})), None);
        let parent = Some(image(1));
        let differs = [
            made("z", |_| {}),
            made("y", |config| config.user = "u".into()),
            made("y", |config| config.env = Some(vec!["A=1".into()])),
            made("y", |config| config.labels = Some([("a".into(), "b".into())].into())),
            made("y", |config| config.entrypoint = StrSlice(Some(vec!["e".into()]))),
            made("y", |config| config.open_stdin = true),
        ];
        for config in differs {
            assert_eq!(cache.find(parent, &config), None, "{config:?}");
        }
        let same = [
            made("y", |config| config.hostname = "h".into()),
            made("y", |config| config.working_dir = "/w".into()),
            made("y", |config| config.image = "i".into()),
            made("y", |config| config.stop_signal = "SIGTERM".into()),
            made("y", |config| config.labels = Some(Default::default())),
        ];
        for config in same {
            assert_eq!(cache.find(parent, &config), Some(image(3)), "{config:?}");
        }
    }
}
