//! What containerd's garbage collector keeps, and why: it starts from its roots and follows labels, and reads no JSON.
//!
//! ```text
//! roots     leases that have not expired, with all that they list; names of images; what a container of containerd's own uses;
//!           labels containerd.io/gc.root and, until it has passed, containerd.io/gc.expire
//! edges     image    -> its target
//!           snapshot -> the one below
//!           any      -> by its labels containerd.io/gc.ref.{content, snapshot.<snapshotter>, image}
//!           any      <- by its labels containerd.io/gc.bref.{content, snapshot.<snapshotter>, image}
//! ```
//!
//! All else is deleted: first the records, then files and directories that no namespace records. A label that leads to nothing
//! is no fault. Nothing leads from one namespace into another.
//!
//! Follows containerd v2.1.9 `core/metadata/gc.go`.

mod records;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub(crate) use records::{Labels, NamespaceRecords, Records};

/// Labels that lead to something.
const CONTENT: &str = "containerd.io/gc.ref.content";
const SNAPSHOT: &str = "containerd.io/gc.ref.snapshot.";
const IMAGE: &str = "containerd.io/gc.ref.image";
/// Labels of what lives as long as something else does.
const CONTENT_BACK: &str = "containerd.io/gc.bref.content";
const SNAPSHOT_BACK: &str = "containerd.io/gc.bref.snapshot.";
const IMAGE_BACK: &str = "containerd.io/gc.bref.image";
/// Labels of what is kept for its own sake.
const ROOT: &str = "containerd.io/gc.root";
const EXPIRE: &str = "containerd.io/gc.expire";
/// The label of a lease that keeps only what it lists.
const FLAT: &str = "containerd.io/gc.flat";

/// Something that the collector keeps or deletes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    /// A blob, by its digest.
    Blob(String),
    /// A snapshot, by its snapshotter and its key.
    Snapshot(String, String),
    /// An image, by its name.
    Image(String),
    /// A blob that is being written, by the name that its writer gave it.
    Ingest(String),
}

/// Why something is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeptBy {
    /// It is the name of an image.
    Name,
    /// A lease lists it.
    Lease(String),
    /// A container that containerd runs uses it.
    Container(String),
    /// It has a label that says so.
    Label(String),
    /// It is still being written.
    Unfinished,
    /// Something that is kept leads to it.
    Reference {
        /// What.
        from: Node,
        /// By which label; `None` for the target of a name, and for the snapshot below another.
        label: Option<String>,
    },
}

impl std::fmt::Display for KeptBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name => f.write_str("it is the name of an image"),
            Self::Lease(id) => write!(f, "lease {id} lists it"),
            Self::Container(id) => write!(f, "containerd's container {id} uses it"),
            Self::Label(label) => write!(f, "its label {label} keeps it"),
            Self::Unfinished => f.write_str("it is still being written"),
            Self::Reference { from, label: Some(label) } => write!(f, "{from} leads to it by the label {label}"),
            Self::Reference { from, label: None } => write!(f, "{from} leads to it"),
        }
    }
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Blob(digest) => write!(f, "blob {digest}"),
            Self::Snapshot(_, key) => write!(f, "snapshot {key}"),
            Self::Image(name) => write!(f, "image {name}"),
            Self::Ingest(name) => write!(f, "the unfinished blob {name}"),
        }
    }
}

/// What the collector keeps of one namespace.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept(BTreeMap<Node, KeptBy>);

impl Kept {
    /// Follows everything from the roots as they are at `now`.
    pub(crate) fn of(records: &NamespaceRecords, now: Timestamp) -> Self {
        let mut marking = Marking { records, back: back_references(records), kept: BTreeMap::new(), next: Vec::new() };
        marking.roots(now);
        while let Some(node) = marking.next.pop() {
            marking.follow(&node);
        }
        Self(marking.kept)
    }

    /// Why something is kept; `None` if it is not.
    pub(crate) fn why(&self, node: &Node) -> Option<&KeptBy> {
        self.0.get(node)
    }

    /// Why something is kept, and why that is which leads to it, up to a root. Nothing for what is not kept.
    pub(crate) fn path(&self, node: &Node) -> Vec<&KeptBy> {
        let mut path = Vec::new();
        let mut next = self.why(node);
        // Each thing was kept before what it leads to, so this ends.
        while let Some(why) = next {
            path.push(why);
            next = match why {
                KeptBy::Reference { from, .. } => self.why(from),
                _ => None,
            };
        }
        path
    }

    /// All that is kept.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.0.keys()
    }

    /// Whether something is kept.
    pub(crate) fn has(&self, node: &Node) -> bool {
        self.0.contains_key(node)
    }
}

/// Whether a lease or an image has expired at `now`. A time that cannot be read counts as none.
pub(crate) fn has_expired(labels: &Labels, now: Timestamp) -> bool {
    expiry(labels).is_some_and(|expiry| now > expiry)
}

fn expiry(labels: &Labels) -> Option<Timestamp> {
    crate::schema::time::Time::parse(labels.get(EXPIRE)?).ok()?.moment()
}

struct Marking<'r> {
    records: &'r NamespaceRecords,
    /// What lives as long as a node does.
    back: BTreeMap<Node, Vec<(Node, String)>>,
    kept: BTreeMap<Node, KeptBy>,
    next: Vec<Node>,
}

impl Marking<'_> {
    fn keep(&mut self, node: Node, why: KeptBy) {
        if let std::collections::btree_map::Entry::Vacant(entry) = self.kept.entry(node) {
            self.next.push(entry.key().clone());
            entry.insert(why);
        }
    }

    fn roots(&mut self, now: Timestamp) {
        let records = self.records;
        for (name, image) in &records.images {
            if !has_expired(&image.labels, now) {
                self.keep(Node::Image(name.clone()), KeptBy::Name);
            }
        }
        for (id, container) in &records.containers {
            let why = || KeptBy::Container(id.clone());
            if let Some((snapshotter, key)) = &container.snapshot {
                self.keep(Node::Snapshot(snapshotter.clone(), key.clone()), why());
            }
            for (_, node) in references(&container.labels) {
                self.keep(node, why());
            }
        }
        for (id, labels) in &records.sandboxes {
            for (_, node) in references(labels) {
                self.keep(node, KeptBy::Container(id.clone()));
            }
        }
        for (digest, labels) in &records.blobs {
            self.by_label(Node::Blob(digest.clone()), labels, now);
        }
        for ((snapshotter, key), snapshot) in &records.snapshots {
            self.by_label(Node::Snapshot(snapshotter.clone(), key.clone()), &snapshot.labels, now);
        }
        for (name, ingest) in &records.ingests {
            if ingest.expires.is_none_or(|expiry| expiry > now) {
                self.keep(Node::Ingest(name.clone()), KeptBy::Unfinished);
            }
        }
        // What a lease keeps without what it leads to comes last, so that it hides no other way.
        let alive = || records.leases.iter().filter(|(_, lease)| !has_expired(&lease.labels, now));
        for (id, lease) in alive().filter(|(_, lease)| !lease.labels.contains_key(FLAT)) {
            for node in &lease.lists {
                self.keep(node.clone(), KeptBy::Lease(id.clone()));
            }
        }
        while let Some(node) = self.next.pop() {
            self.follow(&node);
        }
        for (id, lease) in alive().filter(|(_, lease)| lease.labels.contains_key(FLAT)) {
            for node in &lease.lists {
                self.kept.entry(node.clone()).or_insert_with(|| KeptBy::Lease(id.clone()));
                self.below(node);
            }
        }
        self.next.clear();
    }

    fn by_label(&mut self, node: Node, labels: &Labels, now: Timestamp) {
        if labels.contains_key(ROOT) {
            self.keep(node, KeptBy::Label(ROOT.to_owned()));
        } else if expiry(labels).is_some_and(|expiry| expiry >= now) {
            self.keep(node, KeptBy::Label(EXPIRE.to_owned()));
        }
    }

    /// Keeps the snapshots below one, and nothing else that they lead to.
    fn below(&mut self, node: &Node) {
        let Node::Snapshot(snapshotter, key) = node else { return };
        let mut above = key;
        let parent = |key: &String| self.records.snapshots.get(&(snapshotter.clone(), key.clone()))?.parent.as_ref();
        while let Some(below) = parent(above) {
            let node = Node::Snapshot(snapshotter.clone(), below.clone());
            if self.kept.contains_key(&node) {
                break;
            }
            let from = Node::Snapshot(snapshotter.clone(), above.clone());
            self.kept.insert(node, KeptBy::Reference { from, label: None });
            above = below;
        }
    }

    fn follow(&mut self, node: &Node) {
        let records = self.records;
        let from = node.clone();
        let mut leads = |to: Node, label: Option<&str>| {
            let why = KeptBy::Reference { from: from.clone(), label: label.map(str::to_owned) };
            self.keep(to, why);
        };
        let labels = match node {
            Node::Image(name) => records.images.get(name).map(|image| {
                image.target.iter().for_each(|target| leads(Node::Blob(target.clone()), None));
                &image.labels
            }),
            Node::Blob(digest) => records.blobs.get(digest),
            Node::Snapshot(snapshotter, key) => {
                records.snapshots.get(&(snapshotter.clone(), key.clone())).map(|snapshot| {
                    let below = snapshot.parent.iter();
                    below.for_each(|parent| leads(Node::Snapshot(snapshotter.clone(), parent.clone()), None));
                    &snapshot.labels
                })
            }
            Node::Ingest(name) => {
                let expected = records.ingests.get(name).and_then(|ingest| ingest.expected.clone());
                expected.into_iter().for_each(|digest| leads(Node::Blob(digest), None));
                None
            }
        };
        for (label, to) in labels.into_iter().flat_map(references) {
            leads(to, Some(label));
        }
        let from = node.clone();
        for (to, label) in self.back.get(node).cloned().unwrap_or_default() {
            self.keep(to, KeptBy::Reference { from: from.clone(), label: Some(label) });
        }
    }
}

/// What labels lead to.
fn references(labels: &Labels) -> impl Iterator<Item = (&str, Node)> {
    labels
        .iter()
        .filter_map(|(label, value)| Some((label.as_str(), target_of(label, value, [CONTENT, SNAPSHOT, IMAGE])?)))
}

fn target_of(label: &str, value: &str, [content, snapshot, image]: [&str; 3]) -> Option<Node> {
    // What follows only tells several labels of one kind apart.
    let is = |kind: &str| label.strip_prefix(kind).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '/']));
    if is(content) {
        return Some(Node::Blob(value.to_owned()));
    }
    if is(image) {
        return Some(Node::Image(value.to_owned()));
    }
    let snapshotter = label.strip_prefix(snapshot)?.split('/').next()?;
    Some(Node::Snapshot(snapshotter.to_owned(), value.to_owned()))
}

/// By what they live as long as, things with their labels.
fn back_references(records: &NamespaceRecords) -> BTreeMap<Node, Vec<(Node, String)>> {
    let mut back: BTreeMap<Node, Vec<(Node, String)>> = BTreeMap::new();
    let mut add = |node: Node, labels: &Labels| {
        for (label, value) in labels {
            if let Some(with) = target_of(label, value, [CONTENT_BACK, SNAPSHOT_BACK, IMAGE_BACK]) {
                back.entry(with).or_default().push((node.clone(), label.clone()));
            }
        }
    };
    records.images.iter().for_each(|(name, image)| add(Node::Image(name.clone()), &image.labels));
    records.blobs.iter().for_each(|(digest, labels)| add(Node::Blob(digest.clone()), labels));
    let snapshots = records.snapshots.iter();
    snapshots.for_each(|((snapshotter, key), one)| add(Node::Snapshot(snapshotter.clone(), key.clone()), &one.labels));
    back
}

/// What of a namespace the collector deletes.
#[cfg(test)]
pub(crate) fn unkept(records: &NamespaceRecords, kept: &Kept) -> std::collections::BTreeSet<Node> {
    let blobs = records.blobs.keys().map(|digest| Node::Blob(digest.clone()));
    let snapshots = records.snapshots.keys().map(|(snapshotter, key)| Node::Snapshot(snapshotter.clone(), key.clone()));
    blobs.chain(snapshots).filter(|node| !kept.has(node)).collect()
}

#[cfg(test)]
mod tests;
