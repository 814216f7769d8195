//! Archives that dockerd saved.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use layerfs::HashingReader;
use serde_json::Value;
use tar::{Archive, EntryType};

use super::dockerd::Dockerd;

/// One member of an archive.
#[derive(Debug, PartialEq)]
struct Member {
    kind: EntryType,
    mode: u32,
    owner: (u64, u64),
    mtime: Option<u64>,
    size: u64,
    target: Option<String>,
    digest: String,
    /// The content of JSON, and of whatever else is small.
    content: Vec<u8>,
}

/// More bytes than any config has.
const SMALL: u64 = 64 << 10;

/// Saves images to `file`.
pub fn save(daemon: &Dockerd, names: &[&str], file: &Path) {
    daemon.ok(&[&["save", "-o", file.to_str().unwrap()], names].concat());
}

/// The names of all content in an archive of Docker 25 or later: they are its digests.
pub fn blobs(file: &Path) -> BTreeSet<String> {
    members(file).into_keys().filter(|name| name.starts_with("blobs/sha256/") && !name.ends_with('/')).collect()
}

fn members(file: &Path) -> BTreeMap<String, Member> {
    let mut archive = Archive::new(BufReader::new(File::open(file).unwrap()));
    let mut members = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let target = entry.link_name().unwrap().map(|target| target.to_str().unwrap().to_owned());
        let header = entry.header();
        let mut member = Member {
            kind: header.entry_type(),
            mode: header.mode().unwrap(),
            owner: (header.uid().unwrap(), header.gid().unwrap()),
            mtime: Some(header.mtime().unwrap()),
            size: header.size().unwrap(),
            target,
            digest: String::new(),
            content: Vec::new(),
        };
        let size = member.size;
        let mut body = HashingReader::new(&mut entry);
        // Documents are called by their digests, too.
        if name.ends_with(".json") || size < SMALL {
            body.read_to_end(&mut member.content).unwrap();
        } else {
            std::io::copy(&mut body, &mut std::io::sink()).unwrap();
        }
        member.digest = body.finish().0.to_string();
        assert!(members.insert(name, member).is_none(), "{} has a member twice", file.display());
    }
    members
}

/// Checks every layer of every image against the diff ids in its config. Returns the number of layers, and what is wrong.
pub fn check_layers(file: &Path) -> (usize, Vec<String>) {
    let members = members(file);
    let json = |name: &str| -> Value { serde_json::from_slice(&members[name].content).unwrap() };
    let mut report = Vec::new();
    let mut checked = 0;
    for item in json("manifest.json").as_array().unwrap() {
        let config = json(item["Config"].as_str().unwrap());
        let (layers, diff_ids) = (item["Layers"].as_array().unwrap(), config["rootfs"]["diff_ids"].as_array().unwrap());
        assert_eq!(layers.len(), diff_ids.len());
        for (layer, diff_id) in layers.iter().zip(diff_ids) {
            let mut name = layer.as_str().unwrap();
            // A layer that comes again is a link: ../<directory>/layer.tar
            if let Some(target) = &members[name].target {
                name = target.strip_prefix("../").unwrap();
            }
            checked += 1;
            if members[name].digest != diff_id.as_str().unwrap() {
                report.push(format!("{layer} of {}: {} and not {diff_id}", item["RepoTags"], members[name].digest));
            }
        }
    }
    (checked, report)
}

/// What differs in two archives of the same images.
pub fn differences(ours: &Path, dockers: &Path) -> Vec<String> {
    if same_bytes(ours, dockers) {
        return Vec::new();
    }
    let (mut have, mut want) = (members(ours), members(dockers));
    let linked = |members: &BTreeMap<String, Member>| -> BTreeSet<String> {
        let links = members.iter().filter(|(_, member)| member.kind == EntryType::Symlink);
        links.map(|(name, _)| name.split('/').next().unwrap().to_owned()).collect()
    };
    let linked = linked(&have).intersection(&linked(&want)).cloned().collect::<BTreeSet<_>>();
    // dockerd gives the directory of a layer that comes again, and all in it, the time of saving.
    for (name, member) in have.iter_mut().chain(&mut want) {
        if linked.contains(name.split('/').next().unwrap()) {
            member.mtime = None;
        }
    }
    let names: BTreeSet<&String> = have.keys().chain(want.keys()).collect();
    let different = names.into_iter().filter(|&name| have.get(name) != want.get(name));
    let mut report: Vec<String> = different
        .map(|name| format!("{name}:\n    ours {:?}\n  docker {:?}", have.get(name), want.get(name)))
        .collect();
    if report.is_empty() && linked.is_empty() {
        report.push("the same members, but other bytes".into());
    }
    report
}

fn same_bytes(a: &Path, b: &Path) -> bool {
    let digest = |file: &Path| {
        let mut reader = HashingReader::new(File::open(file).unwrap());
        std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
        reader.finish()
    };
    digest(a) == digest(b)
}
