//! A data-root on disk, read without any code of the project but the journal's, and compared with another one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufReader, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use layerfs::Digest;
use rustix::fs::{Mode, OFlags};
use tarsplit::Entry;
use tarsplit::journal::EntryReader;

use super::cases::TreeEntry;
use super::tree;

const JOURNAL: &str = "tar-split.json.gz";

/// Empty directories that dockerd makes when it starts, not for what it loads.
const MADE_AT_START: &[&str] = &["<root>/image/overlay2/distribution"];

/// A layer as its record in `layerdb` names it.
#[derive(Debug)]
pub struct LayerContents {
    /// The digest of its tar.
    pub diff_id: String,
    /// The name of its directory.
    pub cache_id: String,
    record: PathBuf,
    home: PathBuf,
}

/// A data-root with its layers by the hex digits of their chain ids.
#[derive(Debug)]
pub struct RootContents {
    path: PathBuf,
    /// The layers by their chain ids.
    pub layers: BTreeMap<String, LayerContents>,
    /// Names that are drawn at random, and the lasting ones they stand for.
    names: HashMap<String, String>,
}

impl RootContents {
    /// Reads the records of the layers in `path`.
    pub fn read(path: &Path) -> Self {
        let records = path.join("image/overlay2/layerdb/sha256");
        let (mut layers, mut names) = (BTreeMap::new(), HashMap::new());
        for entry in std::fs::read_dir(&records).unwrap() {
            let chain = entry.unwrap().file_name().into_string().unwrap();
            let record = records.join(&chain);
            let cache_id = std::fs::read_to_string(record.join("cache-id")).unwrap();
            let home = path.join("overlay2").join(&cache_id);
            let link = std::fs::read_to_string(home.join("link")).unwrap_or_default();
            names.insert(cache_id.clone(), format!("<cache of {chain}>"));
            names.insert(link, format!("<link of {chain}>"));
            let diff_id = std::fs::read_to_string(record.join("diff")).unwrap();
            layers.insert(chain, LayerContents { diff_id, cache_id, record, home });
        }
        assert_eq!(names.len(), 2 * layers.len(), "cache ids and links are unique");
        Self { path: path.to_owned(), layers, names }
    }

    /// `text` with lasting names in place of random ones, and with `<root>` in place of the root's path.
    pub fn lasting(&self, text: &str) -> String {
        let text = text.replace(self.path.to_str().unwrap(), "<root>");
        let word = |c: char| c.is_ascii_alphanumeric();
        let mut lasting = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (found, after) = rest.split_at(rest.find(|c| !word(c)).unwrap_or(rest.len()));
            lasting.push_str(self.names.get(found).map_or(found, String::as_str));
            let (between, after) = after.split_at(after.find(word).unwrap_or(after.len()));
            lasting.push_str(between);
            rest = after;
        }
        lasting
    }

    /// Everything in `image/` and `overlay2/` but the contents of the layers and the journals.
    fn outline(&self) -> BTreeMap<String, Node> {
        let mut found = BTreeMap::new();
        let mut left = vec![self.path.join("image"), self.path.join("overlay2")];
        let contents: BTreeSet<PathBuf> = self.layers.values().map(|layer| layer.home.join("diff")).collect();
        while let Some(path) = left.pop() {
            let node = Node::read(&path, |text| self.lasting(text));
            if node.kind == "directory" && !contents.contains(&path) {
                left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            found.insert(self.lasting(path.to_str().unwrap()), node);
        }
        found
    }
}

/// A file of Docker's own.
#[derive(Debug, PartialEq)]
struct Node {
    kind: &'static str,
    mode: u32,
    owner: (u32, u32),
    content: Option<String>,
}

impl Node {
    fn read(path: &Path, lasting: impl Fn(&str) -> String) -> Self {
        let meta = std::fs::symlink_metadata(path).unwrap();
        let kind = meta.file_type();
        let (kind, content) = match kind {
            _ if kind.is_dir() => ("directory", None),
            _ if kind.is_file() && path.ends_with(JOURNAL) => ("journal", None),
            // Escaped, because nothing in it needs to be UTF-8.
            _ if kind.is_file() => ("file", Some(std::fs::read(path).unwrap().escape_ascii().to_string())),
            _ if kind.is_symlink() => ("symlink", Some(std::fs::read_link(path).unwrap().to_str().unwrap().to_owned())),
            _ if kind.is_block_device() => ("block device", None),
            _ => ("something else", None),
        };
        let content = content.map(|content| lasting(&content));
        Self { kind, mode: meta.mode() & 0o7777, owner: (meta.uid(), meta.gid()), content }
    }
}

impl LayerContents {
    /// The journal's entries.
    fn journal(&self) -> Vec<Entry> {
        let file = std::fs::File::open(self.record.join(JOURNAL)).unwrap();
        EntryReader::new(BufReader::new(file)).map(Result::unwrap).collect()
    }

    /// The digest of the tar that the journal and the files on disk give.
    pub fn replay(&self) -> Result<String, tarsplit::JournalError> {
        struct Hashing(layerfs::Hasher);
        impl Write for Hashing {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.update(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let diff = rustix::fs::open(self.home.join("diff"), flags, Mode::empty()).unwrap();
        let journal = std::fs::File::open(self.record.join(JOURNAL)).unwrap();
        let mut tar = Hashing(layerfs::Hasher::default());
        let entries = EntryReader::new(BufReader::new(journal));
        tarsplit::assemble::assemble(entries, &layerfs::LayerFiles::new(diff), &mut tar)?;
        Ok(tar.0.finish().to_string())
    }
}

/// What is different in the root that we wrote and in the one that dockerd wrote, both later than `since`.
pub fn differences(ours: &RootContents, dockers: &RootContents, since: i64) -> Vec<String> {
    let (have, want) = (ours.outline(), dockers.outline());
    let mut report = Vec::new();
    for path in have.keys().chain(want.keys()).collect::<BTreeSet<_>>() {
        let at_start = MADE_AT_START.contains(&path.as_str()) && !have.contains_key(path);
        if have.get(path) != want.get(path) && !at_start {
            report.push(format!("{path}:\n    ours {:?}\n  docker {:?}", have.get(path), want.get(path)));
        }
    }
    for (chain, ours) in &ours.layers {
        if ours.cache_id.len() != 64 || !ours.cache_id.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
            report.push(format!("{chain}: cache id {:?}", ours.cache_id));
        }
        let Some(dockers) = dockers.layers.get(chain) else { continue };
        let found = layer_differences(ours, dockers, since);
        report.extend(found.into_iter().map(|line| format!("{chain}: {line}")));
    }
    report
}

fn layer_differences(ours: &LayerContents, dockers: &LayerContents, since: i64) -> Vec<String> {
    let journal = dockers.journal();
    let (have, want) = (tree::walk(&ours.home.join("diff")), tree::walk(&dockers.home.join("diff")));
    let mut report = tree_differences(&have, &want, &recorded(&journal), since);
    for (who, layer) in [("our", ours), ("docker's", dockers)] {
        match layer.replay() {
            Ok(digest) if digest == layer.diff_id => {}
            other => report.push(format!("{who} journal replays to {other:?} and not to {}", layer.diff_id)),
        }
    }
    if gathered(ours.journal()) != gathered(journal) {
        report.push("the journals differ".into());
    }
    report
}

/// A journal with adjacent segments as one: dockerd splits a tar's end by what it reads at a time, and version 20.10 adds
/// an empty segment.
fn gathered(journal: Vec<Entry>) -> Vec<Entry> {
    let mut gathered = Vec::new();
    for entry in journal {
        match (gathered.last_mut(), entry) {
            (Some(Entry::Segment(bytes)), Entry::Segment(more)) => bytes.extend(more),
            (_, Entry::Segment(bytes)) if bytes.is_empty() => {}
            (_, entry) => gathered.push(entry),
        }
    }
    gathered
}

/// Cleaned names of a layer's members, for which the archive says the time; whiteouts set none.
fn recorded(journal: &[Entry]) -> BTreeSet<Vec<u8>> {
    let name = |entry: &Entry| match entry {
        Entry::File { name, .. } => Some(tarsplit::names::clean(name).into_owned()),
        _ => None,
    };
    let whiteout = |name: &Vec<u8>| name.rsplit(|&c| c == b'/').next().is_some_and(|base| base.starts_with(b".wh."));
    journal.iter().filter_map(name).filter(|name| !whiteout(name)).collect()
}

fn tree_differences(have: &[TreeEntry], want: &[TreeEntry], recorded: &BTreeSet<Vec<u8>>, since: i64) -> Vec<String> {
    let by_path = |tree: &[TreeEntry]| tree.iter().map(|entry| (entry.path.clone(), entry.clone())).collect();
    let (have, want): (BTreeMap<_, _>, BTreeMap<_, TreeEntry>) = (by_path(have), by_path(want));
    let mut report = Vec::new();
    for path in have.keys().chain(want.keys()).collect::<BTreeSet<_>>() {
        let name = path.escape_ascii();
        let (Some(have), Some(want)) = (have.get(path), want.get(path)) else {
            report.push(format!("{name}: only {}", if have.contains_key(path) { "ours" } else { "docker's" }));
            continue;
        };
        let (mut have, mut want) = (have.clone(), want.clone());
        // The archive sets no time for the root. Any other entry without a time of its own was made on the way to
        // another one.
        if path == b"." || !recorded.contains(path) {
            let (ours, dockers) = (have.mtime.take(), want.mtime.take());
            if ours.min(dockers).is_none_or(|(seconds, _)| seconds < since) {
                report.push(format!("{name}: made now, but the time is {ours:?}, docker's {dockers:?}"));
            }
            if entry_of_its_own(&want) {
                report.push(format!("{name}: neither a directory nor a whiteout, and in no archive"));
            }
        }
        if have != want {
            report.push(format!("{name}:\n    ours {}\n  docker {}", describe(&have), describe(&want)));
        }
    }
    report
}

/// Whether dockerd makes this only for an entry of the archive.
fn entry_of_its_own(entry: &TreeEntry) -> bool {
    entry.kind != 'd' && entry.device != Some((0, 0))
}

fn describe(entry: &TreeEntry) -> String {
    let mut short = entry.clone();
    short.data = entry.data.as_ref().map(|data| Digest::hash(data).short().into_bytes());
    format!("{short:?}")
}
