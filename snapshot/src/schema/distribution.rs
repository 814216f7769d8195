//! `distribution`: which registry blobs held which layer. It is a cache of dockerd's: nothing breaks if it is lost.
//!
//! ```text
//! distribution/diffid-by-digest/sha256/<blob>      sha256:<diff id>
//! distribution/v2metadata-by-diffid/sha256/<diff id>   [{"Digest":"sha256:…","SourceRepository":"…","HMAC":"…"}]
//! ```

use std::path::{Path, PathBuf};

use layerfs::{DiffId, Digest};
use rustix::fs::FileType;

use super::gojson;
use crate::dir::Dir;
use crate::error::StoreError;
use crate::go_struct;
use crate::parallel;
use crate::schema::paths::DISTRIBUTION;

/// Bytes of the largest file that is read; Docker keeps 50 entries.
const MAX_FILE: usize = 1 << 20;

go_struct! {
    /// An entry of a file below `v2metadata-by-diffid` (`metadata.V2Metadata`).
    struct KnownBlob {
        digest: String = "Digest",
        source_repository: String = "SourceRepository",
        hmac: String = "HMAC",
    }
}

pub(crate) const BLOBS: [&str; 3] = [DISTRIBUTION, "diffid-by-digest", "sha256"];
pub(crate) const SOURCES: [&str; 3] = [DISTRIBUTION, "v2metadata-by-diffid", "sha256"];

/// Opens a directory of the cache. Something else than a directory in the place of the whole cache counts as missing: that dockerd
/// does not start with it is told apart.
fn open_cache(image_root: &Dir, path: &[&str; 3]) -> Result<Option<Dir>, StoreError> {
    let is_there = image_root.kind_behind(Path::new(DISTRIBUTION))? == Some(FileType::Directory);
    if is_there { image_root.descend(path) } else { Ok(None) }
}

/// The layers for which dockerd remembers registries that have them.
///
/// # Errors
/// [`StoreError`]
pub(crate) fn sources(image_root: &Dir) -> Result<Vec<DiffId>, StoreError> {
    let names = open_cache(image_root, &SOURCES)?.map_or(Ok(Vec::new()), |dir| dir.names())?;
    Ok(names.iter().filter_map(|name| Digest::from_hex(name).ok().map(DiffId)).collect())
}

/// The blobs for which dockerd remembers the layer that they held.
///
/// # Errors
/// [`StoreError`]
pub(crate) fn blobs(image_root: &Dir) -> Result<Vec<Digest>, StoreError> {
    let names = open_cache(image_root, &BLOBS)?.map_or(Ok(Vec::new()), |dir| dir.names())?;
    Ok(names.iter().filter_map(|name| Digest::from_hex(name).ok()).collect())
}

/// The diff id that a registry blob unpacked to, as far as dockerd remembers.
///
/// # Errors
/// [`StoreError`]
pub(crate) fn diff_id_of(image_root: &Dir, blob: Digest) -> Result<Option<DiffId>, StoreError> {
    let Some(dir) = open_cache(image_root, &BLOBS)? else { return Ok(None) };
    let text = dir.read(&blob.hex(), MAX_FILE)?.and_then(|bytes| String::from_utf8(bytes).ok());
    Ok(text.and_then(|text| text.trim().parse().ok()))
}

/// A blob that held a layer, as dockerd remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobSource {
    /// The blob.
    pub digest: Digest,
    /// The repository that has it, in full: `docker.io/library/app`.
    pub repository: String,
}

/// The blobs that held a layer, the youngest note last. A list that cannot be decoded holds nothing, as for dockerd.
///
/// # Errors
/// [`StoreError`]
pub(crate) fn sources_of(image_root: &Dir, diff_id: DiffId) -> Result<Vec<BlobSource>, StoreError> {
    let Some(dir) = open_cache(image_root, &SOURCES)? else { return Ok(Vec::new()) };
    let bytes = dir.read(&diff_id.0.hex(), MAX_FILE)?.unwrap_or_default();
    let known: Vec<KnownBlob> = gojson::from_slice(&bytes).unwrap_or_default();
    let of =
        |known: KnownBlob| Some(BlobSource { digest: known.digest.parse().ok()?, repository: known.source_repository });
    Ok(known.into_iter().filter_map(of).collect())
}

/// Notes that `source` holds the layer `diff_id`, as a pull or a push of dockerd does (moby v20.10.24
/// `distribution/metadata/v2_metadata_service.go`: `Add`): the youngest note last, the same note once, 50 at most. A list that
/// dockerd cannot decode is begun anew, as by dockerd. `hmac` is what [`source_hmac`] makes after a push, and empty after a pull.
///
/// # Errors
/// [`StoreError`]
pub(crate) fn note(
    image_root: &Dir,
    source: &BlobSource,
    diff_id: DiffId,
    hmac: &str,
    sync: bool,
) -> Result<(), StoreError> {
    let open = |[top, kind, algorithm]: [&str; 3]| {
        image_root.sub_or_create(top, 0o700)?.sub_or_create(kind, 0o755)?.sub_or_create(algorithm, 0o755)
    };
    let (sources, blobs) = (open(SOURCES)?, open(BLOBS)?);
    let name = diff_id.0.hex();
    let known = sources.read(&name, MAX_FILE)?.unwrap_or_default();
    let known: Vec<KnownBlob> = gojson::from_slice(&known).unwrap_or_default();
    let BlobSource { digest: blob, repository } = source;
    let new = Written { digest: blob.to_string(), source_repository: repository.clone(), hmac: hmac.to_owned() };
    let old = known.into_iter().map(|known| Written {
        digest: known.digest,
        source_repository: known.source_repository,
        hmac: known.hmac,
    });
    let mut list: Vec<Written> = old.filter(|old| *old != new).collect();
    list.push(new);
    let list = &list[list.len().saturating_sub(MOST)..];
    let text = serde_json::to_vec(list).expect("texts always serialise");
    sources.replace(&name, &text, 0o644, sync)?;
    blobs.replace(&blob.hex(), diff_id.to_string().as_bytes(), 0o644, sync)
}

/// The mark that dockerd gives to a note of a push, so that it knows later with which credentials the blob was reached: of the
/// blob and the repository, with a key made of the credentials as JSON (moby v20.10.24
/// `distribution/metadata/v2_metadata_service.go`: `ComputeV2MetadataHMACKey`, `computeV2MetadataHMAC`).
#[must_use]
pub fn source_hmac(credentials: &str, source: &BlobSource) -> String {
    /// Bytes of a block of SHA-256.
    const BLOCK: usize = 64;
    // RFC 2104: a key that is longer than a block is replaced by its digest, and this one always is.
    let key = Digest::hash(Digest::hash(credentials.as_bytes()).to_string().as_bytes());
    let mut padded = [0; BLOCK];
    padded[..32].copy_from_slice(key.as_bytes());
    let text = [source.digest.to_string().as_bytes(), source.repository.as_bytes()].concat();
    let round = |pad: u8, rest: &[u8]| Digest::hash(&[&padded.map(|byte| byte ^ pad)[..], rest].concat());
    round(0x5c, round(0x36, &text).as_bytes()).hex()
}

/// How many notes are kept of a layer at most (`maxMetadata`).
const MOST: usize = 50;

/// An entry as it is written.
#[derive(PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    digest: String,
    source_repository: String,
    #[serde(rename = "HMAC")]
    hmac: String,
}

/// Files that dockerd passes over since it cannot decode them.
///
/// # Errors
/// [`StoreError::Io`] if a directory cannot be listed.
pub(crate) fn undecodable(image_root: &Dir) -> Result<Vec<PathBuf>, StoreError> {
    let is_diff_id = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok_and(|text| text.trim().parse::<DiffId>().is_ok());
    let is_list = |bytes: &[u8]| gojson::from_slice::<Vec<KnownBlob>>(bytes).is_ok();
    let mut found = undecodable_in(image_root, "diffid-by-digest", is_diff_id)?;
    found.extend(undecodable_in(image_root, "v2metadata-by-diffid", is_list)?);
    Ok(found)
}

fn undecodable_in(
    image_root: &Dir,
    kind: &str,
    decodes: impl Fn(&[u8]) -> bool + Sync,
) -> Result<Vec<PathBuf>, StoreError> {
    let Some(dir) = open_cache(image_root, &[DISTRIBUTION, kind, "sha256"])? else { return Ok(Vec::new()) };
    let mut names = dir.names()?;
    names.retain(|name| Digest::from_hex(name).is_ok());
    names.sort();
    let bad = parallel::map_files(&names, |name| match dir.read(name, MAX_FILE) {
        Ok(Some(bytes)) => !decodes(&bytes),
        Ok(None) => false,
        Err(_) => true,
    });
    Ok(names.iter().zip(bad).filter(|(_, bad)| *bad).map(|(name, _)| dir.join(name)).collect())
}
