use super::records::{ContainerRecord, IngestRecord, LeaseRecord, NameRecord, SnapshotNode};
use super::*;

fn labels(of: &[(&str, &str)]) -> Labels {
    of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn blob(digest: &str) -> Node {
    Node::Blob(digest.to_owned())
}

fn snapshot(key: &str) -> Node {
    Node::Snapshot("overlayfs".into(), key.to_owned())
}

/// Each thing that the collector keeps or deletes, with the rule by which it does. The rules are those of containerd's `gc.go`;
/// that dockerd's containerd does so is asked in the test of the planted damages.
#[test]
fn roots_and_labels_decide_what_is_kept() {
    let mut records = NamespaceRecords::default();
    let mut add_blob = |digest: &str, of: &[(&str, &str)]| drop(records.blobs.insert(digest.into(), labels(of)));
    add_blob(
        "index",
        &[("containerd.io/gc.ref.content.m.0", "manifest"), ("containerd.io/gc.ref.content.m.1", "absent")],
    );
    add_blob(
        "manifest",
        &[("containerd.io/gc.ref.content.config", "config"), ("containerd.io/gc.ref.content/l", "layer")],
    );
    add_blob("config", &[("containerd.io/gc.ref.snapshot.overlayfs", "top")]);
    add_blob("layer", &[]);
    add_blob("unlabelled", &[("containerd.io/gc.ref.contents", "layer"), ("other", "layer")]);
    add_blob("root", &[(ROOT, "")]);
    add_blob("soon", &[(EXPIRE, "2030-01-01T00:00:00Z")]);
    add_blob("past", &[(EXPIRE, "2020-01-01T00:00:00Z")]);
    add_blob("leased", &[("containerd.io/gc.ref.content.0", "by-leased")]);
    add_blob("by-leased", &[]);
    add_blob("flat", &[("containerd.io/gc.ref.content.0", "by-flat")]);
    add_blob("by-flat", &[]);
    add_blob("of-expired-lease", &[]);
    add_blob("of-expired-image", &[]);
    add_blob("expected", &[]);
    add_blob("expected-late", &[]);
    add_blob("signature", &[("containerd.io/gc.bref.content.x", "manifest")]);
    let mut add_snapshot = |key: &str, parent: Option<&str>, of: &[(&str, &str)]| {
        let node = SnapshotNode { labels: labels(of), parent: parent.map(Into::into), ..SnapshotNode::default() };
        records.snapshots.insert(("overlayfs".into(), key.into()), node);
    };
    add_snapshot("top", Some("base"), &[("containerd.io/gc.ref.content.s", "by-snapshot")]);
    add_snapshot("base", None, &[]);
    add_snapshot("nobody's", Some("base"), &[]);
    add_snapshot("of-container", None, &[]);
    add_snapshot("flat-top", Some("flat-base"), &[("containerd.io/gc.ref.content.s", "by-flat")]);
    add_snapshot("flat-base", None, &[]);
    records.blobs.insert("by-snapshot".into(), Labels::new());
    let mut name = |name: &str, target: &str, of: &[(&str, &str)]| {
        records.images.insert(name.into(), NameRecord { labels: labels(of), target: Some(target.into()) });
    };
    name("docker.io/library/a:1", "index", &[]);
    name("expired", "of-expired-image", &[(EXPIRE, "2020-01-01T00:00:00Z")]);
    let mut lease = |id: &str, lists: Vec<Node>, of: &[(&str, &str)]| {
        records.leases.insert(id.into(), LeaseRecord { labels: labels(of), lists });
    };
    lease("l", vec![blob("leased")], &[(EXPIRE, "no time")]);
    lease("f", vec![blob("flat"), snapshot("flat-top")], &[(FLAT, "")]);
    lease("x", vec![blob("of-expired-lease")], &[(EXPIRE, "2020-01-01T00:00:00+00:00")]);
    let used = Some(("overlayfs".into(), "of-container".into()));
    records.containers.insert("c".into(), ContainerRecord { snapshot: used, ..ContainerRecord::default() });
    let ingest = |expires: &str, expected: &str| IngestRecord {
        expires: Some(expires.parse().unwrap()),
        expected: Some(expected.into()),
        written_as: None,
    };
    records.ingests.insert("now".into(), ingest("2030-01-01T00:00:00Z", "expected"));
    records.ingests.insert("late".into(), ingest("2020-01-01T00:00:00Z", "expected-late"));

    let kept = Kept::of(&records, "2026-11-30T00:00:00Z".parse().unwrap());
    let gone: Vec<String> = unkept(&records, &kept).iter().map(ToString::to_string).collect();
    let expected = [
        "blob by-flat",
        "blob expected-late",
        "blob of-expired-image",
        "blob of-expired-lease",
        "blob past",
        "blob unlabelled",
        "snapshot nobody's",
    ];
    assert_eq!(gone, expected);
    let why = |node: &Node| kept.why(node).map(ToString::to_string).unwrap_or_default();
    assert_eq!(why(&blob("index")), "image docker.io/library/a:1 leads to it");
    assert_eq!(why(&blob("config")), "blob manifest leads to it by the label containerd.io/gc.ref.content.config");
    assert_eq!(why(&snapshot("top")), "blob config leads to it by the label containerd.io/gc.ref.snapshot.overlayfs");
    assert_eq!(why(&snapshot("base")), "snapshot top leads to it");
    assert_eq!(why(&snapshot("of-container")), "containerd's container c uses it");
    assert_eq!(why(&blob("leased")), "lease l lists it");
    assert_eq!(why(&blob("signature")), "blob manifest leads to it by the label containerd.io/gc.bref.content.x");
}

/// Snapshots that stand on each other in a circle come to an end.
#[test]
fn circles_end() {
    let mut records = NamespaceRecords::default();
    for (key, parent) in [("a", "b"), ("b", "a")] {
        let node = SnapshotNode { parent: Some(parent.into()), ..SnapshotNode::default() };
        records.snapshots.insert(("overlayfs".into(), key.into()), node);
        records.blobs.insert(key.into(), labels(&[(CONTENT, parent)]));
    }
    for (id, flat) in [("flat", true), ("deep", false)] {
        let labels = if flat { labels(&[(FLAT, "")]) } else { Labels::new() };
        records.leases.insert(id.into(), LeaseRecord { labels, lists: vec![snapshot("a"), blob("a")] });
        let kept = Kept::of(&records, Timestamp::UNIX_EPOCH);
        assert!(kept.has(&snapshot("b")), "{id}");
    }
}
