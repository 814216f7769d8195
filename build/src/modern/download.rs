//! `ADD` of addresses: files of web servers (moby/buildkit `frontend/dockerfile/dockerfile2llb/convert.go: dispatchCopy`,
//! `source/http/source.go`).

use std::fs::File;
use std::io::{Read, Seek};

use images::tree::{Body, Layers, Node, NodeKind, Tree, TreeError};
use layerfs::{Digest, HashingReader};
use serde_json::json;
use tarsplit::pax::PaxTime;

use super::Builder;
use super::copy::{Chosen, Order, order_key};
use super::pick::{Pick, pick};
use super::stage::Built;
use crate::BuildError;
use crate::source::SourceTree;
use crate::untar::Part;

/// What a file is called whose address has no name.
const UNNAMED: &str = "__unnamed__";

/// Whether a source of `ADD` is the address of a file.
pub(super) fn is_url(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

/// Whether a source of `ADD` is a git repository (moby/buildkit `util/gitutil/git_ref.go`).
pub(super) fn is_git(source: &str) -> bool {
    if ["git://", "ssh://", "git@", "github.com/"].iter().any(|start| source.starts_with(start)) {
        return true;
    }
    let path = source.split(['#', '?']).next().unwrap_or_default();
    is_url(source) && path.ends_with(".git")
}

/// The last name of an address's path, without its escapes.
fn name_of(url: &str) -> Vec<u8> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once('/').map_or("", |(_, path)| path).trim_end_matches('/');
    let name = unescaped(path.rsplit('/').next().unwrap_or_default());
    // What an escape hides is no directory.
    let name = name.rsplit(|&byte| byte == b'/').next().unwrap_or_default().to_vec();
    if matches!(name.as_slice(), b"" | b"." | b"..") || name.contains(&0) { UNNAMED.into() } else { name }
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match (first, after) {
            (b'%', [high, low, behind @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                out.push((hex(*high).unwrap_or_default() << 4) | hex(*low).unwrap_or_default());
                rest = behind;
            }
            _ => out.push(*first),
        }
    }
    out
}

/// Reads a checksum. Other algorithms than SHA-256 are none here.
fn digest_of(text: &str) -> Result<Digest, BuildError> {
    let reason = match text.split_once(':') {
        None => "invalid checksum digest format",
        Some(("sha256", hex)) if hex.len() != 64 => "invalid checksum digest length",
        Some(("sha256", _)) => match text.parse() {
            Ok(digest) => return Ok(digest),
            Err(_) => "invalid checksum digest format",
        },
        Some(_) => "unsupported digest algorithm",
    };
    Err(BuildError::Invalid(reason.into()))
}

/// A file that was fetched.
struct Fetched {
    name: Vec<u8>,
    body: OneFile,
    modified: i64,
}

/// The body of one file, in a file without a name.
struct OneFile {
    file: File,
    size: u64,
}

impl Layers for OneFile {
    fn len(&self) -> usize {
        1
    }

    fn tree(&self, _layer: usize) -> Result<Tree, TreeError> {
        Ok(Tree::empty())
    }

    fn open(&self, _layer: usize, _path: &[u8], size: u64, _body: &Body) -> Result<Box<dyn Read + '_>, TreeError> {
        Ok(Box::new(Part { file: &self.file, at: 0, left: size }))
    }
}

impl Fetched {
    /// A tree with the file alone.
    fn tree(&self) -> Tree {
        let size = self.body.size;
        let mut tree = Tree::empty();
        let node = Node {
            kind: NodeKind::File { size, body: Body { offset: 0, stored: size, sparse: None } },
            mode: 0o600,
            uid: 0,
            gid: 0,
            mtime: PaxTime::from_seconds(self.modified),
            xattrs: Vec::new(),
            layer: 0,
            parent: Tree::ROOT,
            names: 1,
        };
        tree.insert(Tree::ROOT, &self.name, node);
        tree
    }
}

impl Builder<'_, '_> {
    /// Fetches a file, and compares it with its checksum if there is one.
    fn download(&self, url: &str, checksum: Option<Digest>) -> Result<Fetched, BuildError> {
        let failed = BuildError::io;
        let mut file = tempfile::tempfile().map_err(failed("making a temporary file"))?;
        let modified = (self.shared.place.download)(url, &mut file).map_err(|error| match error {
            BuildError::Invalid(reason) => BuildError::Invalid(format!("failed to load cache key: {reason}")),
            error => error,
        })?;
        let mut body = OneFile { file, size: 0 };
        body.file.rewind().map_err(failed("reading a file that was fetched"))?;
        let mut reader = HashingReader::new(&body.file);
        std::io::copy(&mut reader, &mut std::io::sink()).map_err(failed("reading a file that was fetched"))?;
        let (found, size) = reader.finish();
        body.size = size;
        if let Some(expected) = checksum.filter(|expected| *expected != found) {
            return Err(BuildError::Invalid(format!("digest mismatch {found}: {expected}")));
        }
        // A file of which the server does not say when it was changed is as old as can be.
        Ok(Fetched { name: name_of(url), body, modified: modified.unwrap_or_default() })
    }

    /// `ADD` with addresses among its sources.
    pub(super) fn add_urls(&mut self, built: &mut Built, order: &Order, checksum: &str) -> Result<(), BuildError> {
        let checksum = if checksum.is_empty() { None } else { Some(digest_of(checksum)?) };
        let stage = checksum.map(|checksum| json!(["url", checksum.to_string(), order.unpack_urls]));
        if let Some(stage) = &stage {
            // What is known by its checksum need not be fetched.
            let key = order_key(built, order, stage, self.latest());
            if self.take_cached(built, &key, &order.text) {
                let number = self.begin(&order.line)?;
                return self.cached(number);
            }
        }
        let number = self.begin(&order.line)?;
        let mut files = Vec::new();
        for source in order.sources.iter().filter(|source| is_url(source)) {
            files.push(self.download(source, checksum)?);
        }
        let trees: Vec<SourceTree<'_>> = files.iter().map(|file| SourceTree::image(file.tree(), &file.body)).collect();
        let mut fetched = files.iter().zip(&trees);
        let mut all = Vec::new();
        for source in &order.sources {
            if !is_url(source) {
                let context = &self.shared.context;
                let picks = pick(std::slice::from_ref(source), context, false)?;
                all.push(Chosen { picks, from: context, unpack: order.unpack, also: None });
                continue;
            }
            let (file, from) = fetched.next().expect("each address was fetched");
            let id = from.tree.at(&file.name).expect("the tree has the file");
            let name = file.name.clone();
            let pick = Pick { path: name.clone(), id, name, included: None };
            all.push(Chosen {
                picks: vec![pick],
                from,
                unpack: order.unpack_urls,
                also: Some(json!([file.modified, order.unpack_urls])),
            });
        }
        self.copy_picks(built, order, &all, stage, Some(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_the_last_names_of_their_addresses() {
        for (url, name) in [
            ("http://h/a/b.txt", "b.txt"),
            ("http://h:80/a/b.txt?x=/y#z", "b.txt"),
            ("https://h/a%20b", "a b"),
            ("https://h/a/", "a"),
            ("https://h/", UNNAMED),
            ("https://h", UNNAMED),
            ("https://h/..", UNNAMED),
            ("https://h/%2e%2e", UNNAMED),
            ("https://h/x%2f..", UNNAMED),
            ("https://h/a%2", "a%2"),
        ] {
            assert_eq!(name_of(url), name.as_bytes(), "{url}");
        }
        for git in ["git@h:x/y.git", "https://github.com/x/y.git#main:dir", "git://h/x", "github.com/x/y"] {
            assert!(is_git(git), "{git}");
        }
        assert!(!is_git("https://h/x.git.txt") && !is_git("x.git"));
    }
}
