//! A large blob over several connections, where each of them is slow, and what is said of a pull and a push to programs.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeSet;

use serde_json::Value;
use testkit::fault_registry::{Asked, FaultRegistry, Reply, Served, Then};
use testkit::registry::{Registry, layerfs_anonymous};
use testkit::run::Ran;
use testkit::store::StoreFiles;
use testkit::{Random, tarfile};

const PULL: &str = include_str!("../src/commands/image/pull/events.txt");
const PUSH: &str = include_str!("../src/commands/image/push/events.txt");

/// An image of one large layer, and one of which a registry sends some bytes only.
fn served(bytes: usize) -> Option<Served> {
    if !testkit::tier("root", testkit::is_root(), "run as root") {
        return None;
    }
    let mut random = Random::new(4);
    let content: Vec<u8> = (0..bytes / 8).flat_map(|_| random.below(u64::MAX).to_le_bytes()).collect();
    let layer = tarfile::tar(&[tarfile::file("large", content)]);
    Some(Served::new(&[(layer.clone(), layer)]))
}

/// Bytes in a hundredth of a second: 8 MB/s.
const SLOW: usize = 80_000;

fn pull(registry: &FaultRegistry, root: &std::path::Path, options: &[&str]) -> Ran {
    let name = format!("{}/t/image:1", registry.host);
    layerfs_anonymous(root, &[&["pull", "--no-sync"], options, &[&name]].concat())
}

fn ranges(registry: &FaultRegistry, served: &Served) -> Vec<(usize, Option<usize>)> {
    let asked = registry.asked();
    asked
        .iter()
        .filter(|asked| asked.blob() == Some(&served.layers[0]))
        .map(|asked| asked.range().unwrap_or((0, None)))
        .collect()
}

fn expect_image(root: &std::path::Path) {
    let store = StoreFiles::read(root);
    testkit::assert_none("wrong", &store.wrong);
    testkit::assert_none("not replayable", &store.not_replayable());
    assert_eq!(store.images.len(), 1);
    assert!(!root.join("tmp/layerfs-blobs").exists(), "nothing is left of the transfer");
}

/// Each part is asked for once and goes on where its connection broke.
#[test]
fn root_pull_takes_a_slow_blob_in_parts() {
    let Some(served) = served(48 << 20) else { return };
    let dir = testkit::scratch();
    let registry = {
        let served = served.clone();
        FaultRegistry::start(move |asked: &Asked| {
            let reply = served.answer(asked);
            if asked.blob() != Some(&served.layers[0]) {
                return reply;
            }
            // One of the parts is cut in its middle.
            match asked.range() {
                Some((from, Some(last))) if from < 20 << 20 && last > 20 << 20 => {
                    reply.then(Then::Cut((20 << 20) - from))
                }
                _ => reply.then(Then::Slow(SLOW)),
            }
        })
    };
    let root = dir.path().join("root");
    drop(pull(&registry, &root, &[]).ok());
    expect_image(&root);
    let asked = ranges(&registry, &served);
    assert_eq!(asked[0], (0, None));
    let mut parts: Vec<(usize, usize)> = asked[1..].iter().map(|(first, last)| (*first, last.unwrap() + 1)).collect();
    parts.sort_unstable();
    let size = served.blobs[&served.layers[0]].len();
    assert!(parts.len() > 3, "{asked:?}");
    // The part that was cut appears twice, the second time from the byte at which it was cut.
    let cut = parts.iter().position(|(first, _)| *first == 20 << 20).unwrap();
    assert_eq!(parts[cut - 1].1, parts[cut].1);
    parts[cut - 1].1 = 20 << 20;
    assert!(parts.windows(2).all(|pair| pair[0].1 == pair[1].0), "{parts:?}");
    assert_eq!(parts.last().unwrap().1, size);
}

/// A server that says it sends parts and does not: the blob comes through one connection all the same.
#[test]
fn root_pull_does_without_parts_where_they_are_ignored() {
    let Some(served) = served(40 << 20) else { return };
    let dir = testkit::scratch();
    let registry = {
        let served = served.clone();
        FaultRegistry::start(move |asked: &Asked| match asked.blob() {
            Some(blob) if blob == served.layers[0] => {
                let reply = Reply::new(200, &served.blobs[blob]).with("Accept-Ranges", "bytes");
                if asked.before == 0 { reply.then(Then::Slow(SLOW)) } else { reply }
            }
            _ => served.answer(asked),
        })
    };
    let root = dir.path().join("root");
    drop(pull(&registry, &root, &[]).ok());
    expect_image(&root);
    assert!(ranges(&registry, &served).iter().any(|(_, last)| last.is_some()), "parts were asked for");
}

/// The objects that were printed, of which each key is documented, and the names of their events.
fn events(said: &Ran, text: &str) -> (Vec<Value>, BTreeSet<String>) {
    let objects: Vec<Value> = said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let documented: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    for key in objects.iter().flat_map(|object| object.as_object().unwrap().keys()) {
        assert!(documented.contains(&key.as_str()), "{key} is not documented");
    }
    let names = objects.iter().map(|object| object["event"].as_str().unwrap().to_owned()).collect();
    (objects, names)
}

fn is_documented(text: &str, names: &BTreeSet<String>) -> bool {
    let first = text.lines().next().unwrap();
    names.iter().all(|name| first.split([' ', ',']).any(|word| word == name))
}

#[test]
fn root_pull_and_push_tell_programs_what_happens() {
    let Some(served) = served(2 << 20) else { return };
    let dir = testkit::scratch();
    let registry = {
        let served = served.clone();
        FaultRegistry::start(move |asked: &Asked| match served.answer(asked) {
            reply if asked.blob() == Some(&served.layers[0]) && asked.before == 0 => reply.then(Then::Cut(1 << 20)),
            reply => reply,
        })
    };
    let root = dir.path().join("root");
    let said = pull(&registry, &root, &["--json"]).ok();
    let (objects, names) = events(&said, PULL);
    let expected = ["begin", "downloaded", "end", "planned", "progress", "retry", "unpacked"];
    assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    assert!(is_documented(PULL, &names));
    let of = |event: &str| objects.iter().find(|object| object["event"] == event).unwrap();
    let blob = served.layers[0].as_str();
    assert_eq!(
        (&of("planned")["layers"][0]["blob"], &of("planned")["layers"][0]["present"]),
        (&blob.into(), &false.into())
    );
    assert_eq!((&of("retry")["blob"], &of("retry")["bytes"]), (&blob.into(), &(1 << 20).into()));
    assert_eq!(of("end")["digest"], layerfs::Digest::hash(&served.manifest).to_string());
    assert_eq!(of("end")["changed"], true);
    let (objects, names) = events(&pull(&registry, &root, &["--json"]).ok(), PULL);
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["begin", "end"]);
    assert_eq!(objects[1]["changed"], false);
    if !Registry::installed("root") {
        return;
    }
    let target = Registry::start(&dir.path().join("registry"));
    let push = |repository: &str| {
        let name = format!("{}/{repository}:1", target.host);
        testkit::made_by_layerfs(&root, &["tag", &format!("{}/t/image:1", registry.host), &name]);
        layerfs_anonymous(&root, &["push", "--json", &name]).ok()
    };
    let arrival = |said: &Ran| {
        let (objects, names) = events(said, PUSH);
        assert!(is_documented(PUSH, &names), "{names:?}");
        assert!(["begin", "done", "end", "planned"].iter().all(|name| names.contains(*name)), "{names:?}");
        let done = objects.iter().find(|object| object["event"] == "done").unwrap();
        (done["arrival"].as_str().unwrap().to_owned(), done["from"].as_str().map(str::to_owned))
    };
    assert_eq!(arrival(&push("one")), ("sent".into(), None));
    assert_eq!(arrival(&push("one")), ("existed".into(), None));
    assert_eq!(arrival(&push("two")), ("mounted".into(), Some("one".into())));
}
