//! Which blobs held a layer, as the store remembers: where a push looks for it first.

use std::collections::HashSet;

use layerfs::Digest;
use snapshot::reference::Reference;
use snapshot::schema::distribution::BlobSource;

/// The blobs that are known to have held a layer, the most promising first, each once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// In the repository itself.
    pub(super) here: Vec<Digest>,
    /// In other repositories of the same registry, with their paths: those with the longest beginning in common first.
    pub(super) mountable: Vec<(Digest, String)>,
    /// Anywhere else: the same bytes may have been copied.
    pub(super) elsewhere: Vec<Digest>,
}

impl Known {
    pub(super) fn of(sources: Vec<BlobSource>, repository: &Reference) -> Self {
        let mut known = Self::default();
        // The youngest source is the last one of the list.
        for BlobSource { digest, repository: name } in sources.into_iter().rev() {
            let other = Reference::parse(&name).ok();
            let same_host = other.as_ref().filter(|other| other.domain() == repository.domain());
            match same_host {
                Some(other) if other.path() == repository.path() => known.here.push(digest),
                Some(other) => known.mountable.push((digest, other.path().to_owned())),
                None => known.elsewhere.push(digest),
            }
        }
        let common = |path: &str| path.split('/').zip(repository.path().split('/')).take_while(|(a, b)| a == b).count();
        known.mountable.sort_by_key(|(_, path)| std::cmp::Reverse(common(path)));
        let mut seen: HashSet<Digest> = HashSet::new();
        known.here.retain(|digest| seen.insert(*digest));
        // A blob that is not here any more may still be mounted, but each repository is asked for it only once.
        let mut pairs = HashSet::new();
        known.mountable.retain(|pair| pairs.insert(pair.clone()));
        known.elsewhere.retain(|digest| seen.insert(*digest));
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_promising_blobs_come_first() {
        let digest = |text: &str| Digest::hash(text.as_bytes());
        let source = |blob: &str, repository: &str| BlobSource { digest: digest(blob), repository: repository.into() };
        let repository = Reference::parse("a.test/team/app:1").unwrap();
        let sources = vec![
            source("old", "a.test/team/app"),
            source("far", "a.test/other"),
            source("hub", "docker.io/library/x"),
            source("near", "a.test/team/base"),
            source("hub", "docker.io/library/y"),
            source("new", "a.test/team/app"),
            source("bad", "no: name"),
        ];
        let known = Known::of(sources, &repository);
        let expected = Known {
            here: vec![digest("new"), digest("old")],
            mountable: vec![(digest("near"), "team/base".into()), (digest("far"), "other".into())],
            elsewhere: vec![digest("bad"), digest("hub")],
        };
        assert_eq!(known, expected);
    }
}
