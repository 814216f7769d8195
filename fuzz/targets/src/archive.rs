//! The documents of an image archive.

use images::source::{ArchiveError, MAX_JSON, Select, contents};
use layerfs::Digest;

const CONFIG: &[u8] = br#"{"os":"linux","architecture":"amd64","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#;

/// `manifest.json`, in an archive where every other name is that of a config.
pub fn manifest(bytes: &[u8]) {
    read(&mut |file| match file {
        "manifest.json" => Some(bytes.to_vec()),
        "index.json" => None,
        _ => Some(CONFIG.to_vec()),
    });
}

/// `index.json` and the blobs it leads to, with NUL between them. `@1` to `@9` stand for the hex digest of the first to
/// ninth blob, in the documents before it, so that changed blobs still have the right digest.
pub fn index(bytes: &[u8]) {
    let mut blobs: Vec<(String, Vec<u8>)> = Vec::new();
    let parts: Vec<&[u8]> = bytes.split(|&byte| byte == 0).take(10).collect();
    for (number, part) in parts.iter().enumerate().rev() {
        let mut blob = Vec::new();
        let mut rest = *part;
        while let Some(at) = rest.iter().position(|&byte| byte == b'@') {
            blob.extend_from_slice(&rest[..at]);
            let digit = rest.get(at + 1).and_then(|&digit| char::from(digit).to_digit(10));
            // `blobs` begins with the last one.
            let wanted = digit.and_then(|digit| parts.len().checked_sub(digit as usize + 1));
            match wanted.and_then(|wanted| blobs.get(wanted)) {
                Some((hex, _)) => blob.extend_from_slice(hex.as_bytes()),
                None => blob.extend_from_slice(&rest[at..rest.len().min(at + 2)]),
            }
            rest = rest.get(at + 2..).unwrap_or_default();
        }
        blob.extend_from_slice(rest);
        blobs.push((if number == 0 { String::new() } else { Digest::hash(&blob).hex() }, blob));
    }
    let index = blobs.pop().map(|(_, index)| index);
    read(&mut |file| match file {
        "manifest.json" => None,
        "index.json" => index.clone(),
        _ => {
            let hex = file.strip_prefix("blobs/sha256/")?;
            blobs.iter().find(|(found, _)| found == hex).map(|(_, blob)| blob.clone())
        }
    });
}

fn read(files: &mut dyn FnMut(&str) -> Option<Vec<u8>>) {
    let mut file = |name: &str| {
        let bytes = files(name);
        assert!(bytes.as_ref().is_none_or(|bytes| bytes.len() as u64 <= MAX_JSON));
        Ok::<_, ArchiveError>(bytes)
    };
    let Ok(Some(found)) = contents(&Select::default(), &mut file) else { return };
    for image in found.images {
        assert_eq!(Digest::hash(&image.config), image.id);
        // What is accepted is no directory's and no other archive's file; whether it exists is asked later.
        assert!(image.tags.iter().all(|tag| tag.tag().is_some() || tag.digest().is_some()), "{:?}", image.tags);
    }
}
