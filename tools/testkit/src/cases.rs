//! The layer cases: archives, and what dockerd, go-archive and containerd did with each.

use std::collections::BTreeMap;
use std::io::Read;

use serde_json::Value;

/// One archive with its recorded outcomes.
#[derive(Debug)]
pub struct Case {
    /// Its number in the index.
    pub number: u64,
    /// What it is about.
    pub title: String,
    /// The layer.
    pub archive: Vec<u8>,
    outcomes: Value,
}

/// What an implementation did.
#[derive(Debug)]
pub enum CaseOutcome {
    /// Nothing was unpacked.
    Refused,
    /// The tree was made.
    Accepted {
        /// Every entry that the recorder saw.
        tree: Vec<TreeEntry>,
        /// The diff id, where the implementation tells it.
        diff_id: Option<String>,
        /// Bytes of all files, where the implementation tells it.
        size: Option<u64>,
    },
}

/// One line of a recorded tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// `f`, `d`, `l`, `c`, `b` or `p`.
    pub kind: char,
    /// Permissions, with the three special bits.
    pub mode: u32,
    /// User and group.
    pub owner: (u32, u32),
    /// Bytes; zero for a directory.
    pub size: u64,
    /// Hard links; zero for a directory.
    pub links: u64,
    /// Seconds and nanoseconds; `None` where the recorder saw the time of unpacking.
    pub mtime: Option<(i64, i64)>,
    /// The path from the root of the tree.
    pub path: Vec<u8>,
    /// What a symlink leads to.
    pub target: Option<Vec<u8>>,
    /// A file's content.
    pub data: Option<Vec<u8>>,
    /// Major and minor number.
    pub device: Option<(u32, u32)>,
    /// Extended attributes.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// All cases of `testdata/layer-cases`.
pub fn load() -> Vec<Case> {
    let dir = super::testdata("layer-cases");
    let packed = std::fs::File::open(dir.join("cases.tar.zst")).unwrap();
    let mut archives = BTreeMap::new();
    for entry in tar::Archive::new(zstd::Decoder::new(packed).unwrap()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        archives.insert(name, bytes);
    }
    let index: Vec<Value> = serde_json::from_slice(&std::fs::read(dir.join("index.json")).unwrap()).unwrap();
    let case = |outcomes: Value| Case {
        number: outcomes["n"].as_u64().unwrap(),
        title: outcomes["title"].as_str().unwrap().to_owned(),
        archive: archives[outcomes["file"].as_str().unwrap()].clone(),
        outcomes,
    };
    index.into_iter().map(case).collect()
}

impl Case {
    /// The recorded outcome of one implementation; `None` where it was not run.
    pub fn outcome(&self, column: &str) -> Option<CaseOutcome> {
        let outcome = self.outcomes.get(column)?;
        if outcome["ok"] != Value::Bool(true) {
            return Some(CaseOutcome::Refused);
        }
        let lines = outcome["tree"].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
        Some(CaseOutcome::Accepted {
            tree: lines.filter(|line| !line.starts_with("walk failed")).map(parse_line).collect(),
            diff_id: outcome["diff_id"].as_str().map(str::to_owned),
            size: outcome["size"].as_u64(),
        })
    }
}

/// `f 0644 0:0 sz=6 nl=1 mt=1700000000.000000000 b'a' data=b'..' x[user.foo]=b'..'`
fn parse_line(line: &str) -> TreeEntry {
    let (head, mut rest) = line.split_at(line.find(" b'").or(line.find(" b\"")).unwrap());
    let fields: Vec<&str> = head.split(' ').collect();
    let pair = |text: &str| {
        let (a, b) = text.split_once(':').unwrap();
        (a.parse().unwrap(), b.parse().unwrap())
    };
    let mtime = fields[5].strip_prefix("mt=").unwrap();
    let mut expected = TreeEntry {
        kind: fields[0].chars().next().unwrap(),
        mode: u32::from_str_radix(fields[1], 8).unwrap(),
        owner: pair(fields[2]),
        size: fields[3].strip_prefix("sz=").unwrap().parse().unwrap(),
        links: fields[4].strip_prefix("nl=").unwrap().parse().unwrap(),
        mtime: mtime.split_once('.').map(|(s, n)| (s.parse().unwrap(), n.parse().unwrap())),
        path: Vec::new(),
        target: None,
        data: None,
        device: None,
        xattrs: BTreeMap::new(),
    };
    expected.path = python_bytes(&mut rest);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(" ->") {
            rest = after;
            expected.target = Some(python_bytes(&mut rest));
        } else if let Some(after) = rest.strip_prefix(" data=") {
            rest = after;
            expected.data = Some(python_bytes(&mut rest));
        } else if let Some(after) = rest.strip_prefix(" dev=") {
            let end = after.find(' ').unwrap_or(after.len());
            expected.device = Some(pair(&after[..end]));
            rest = &after[end..];
        } else {
            let (name, after) = rest.strip_prefix(" x[").unwrap().split_once("]=").unwrap();
            rest = after;
            expected.xattrs.insert(name.to_owned(), python_bytes(&mut rest));
        }
    }
    expected
}

/// Reads `b'..'` from the front of `text`.
fn python_bytes(text: &mut &str) -> Vec<u8> {
    let literal = text.trim_start_matches(' ').strip_prefix('b').unwrap();
    let quote = literal.as_bytes()[0];
    let mut bytes = Vec::new();
    let mut rest = &literal.as_bytes()[1..];
    loop {
        match rest {
            [b'\\', b'x', high, low, tail @ ..] => {
                let digits = [*high, *low];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                rest = tail;
            }
            [b'\\', escaped, tail @ ..] => {
                bytes.push(match escaped {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    other => *other,
                });
                rest = tail;
            }
            [byte, tail @ ..] if *byte == quote => {
                *text = std::str::from_utf8(tail).unwrap();
                return bytes;
            }
            [byte, tail @ ..] => {
                bytes.push(*byte);
                rest = tail;
            }
            [] => panic!("unterminated literal"),
        }
    }
}
