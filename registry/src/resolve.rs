//! From a reference to an image without its layers: manifest or index, the choice of a platform, config.

use std::cell::RefCell;
use std::collections::HashMap;
use std::str::FromStr;

use images::source::{ArchiveError, MAX_JSON, Platform, Select, SourceContents, SourceDocument, contents};
use layerfs::Digest;
use serde::Deserialize;
use snapshot::reference::Reference;
use ureq::http::Method;

use crate::address::path_of;
use crate::client::{Answer, RegistryClient};
use crate::error::{RegistryError, Reported};
use crate::header::next_link;

/// The most of a manifest that is read (distribution `registry/handlers/manifests.go` takes no larger ones).
const MAX_MANIFEST: u64 = 4 << 20;

/// How many indexes may be in each other. dockerd 20.10 takes one, 28.5 follows further ones.
const MAX_DEPTH: usize = 4;

/// The most of a page of tags that is read, and the most pages.
const MAX_TAGS: u64 = 16 << 20;
const MAX_PAGES: usize = 10_000;

pub(crate) const INDEXES: [&str; 2] =
    ["application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.oci.image.index.v1+json"];
pub(crate) const MANIFESTS: [&str; 2] =
    ["application/vnd.docker.distribution.manifest.v2+json", "application/vnd.oci.image.manifest.v1+json"];

/// Types of the manifests that docker made before 1.10, and that no registry takes any more.
const FIRST_SCHEMA: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.docker.distribution.manifest.v1+json",
];

/// An image, described by a registry.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The digest of what the reference names: of the index, if it is one.
    pub digest: Digest,
    /// The digest and the bytes of the image's own manifest.
    pub manifest: (Digest, Vec<u8>),
    /// The indexes that lead to the manifest, the nearest first; the last one has the digest of what the reference names.
    pub indexes: Vec<SourceDocument>,
    /// The type of what the reference names.
    pub media_type: String,
    /// The image. Its tags are for the caller to set.
    pub contents: SourceContents,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    digest: String,
    platform: Option<EntryPlatform>,
}

#[derive(Deserialize)]
struct EntryPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
}

#[derive(Deserialize)]
struct Probe {
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    config: Option<ProbeConfig>,
    manifests: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct ProbeConfig {
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
}

/// A document, with its type and its digest.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
}

impl Document {
    pub(crate) fn is_index(&self) -> bool {
        INDEXES.contains(&self.media_type.as_str())
    }

    /// The same document with its own word for what it is, where it came without one that is known: some registries send
    /// `application/json` or nothing.
    pub(crate) fn typed(mut self, of: &str) -> Result<Self, RegistryError> {
        if !MANIFESTS.iter().chain(&INDEXES).chain(&FIRST_SCHEMA).any(|known| *known == self.media_type) {
            let probe: Probe = parsed(&self, of)?;
            if let Some(media_type) = probe.media_type {
                self.media_type = media_type;
            } else if probe.config.is_some() {
                self.media_type = MANIFESTS[1].to_owned();
            } else if probe.manifests.is_some() && self.media_type.is_empty() {
                self.media_type = INDEXES[1].to_owned();
            }
        }
        Ok(self)
    }
}

/// The scope of a token that lets a repository be read.
pub(crate) fn scope(reference: &Reference) -> String {
    format!("repository:{}:pull", reference.path())
}

/// Names in dockerd's words what a registry reports (moby v20.10.24 `distribution/errors.go`: `TranslatePullError`).
fn translated(error: RegistryError, reference: &Reference) -> RegistryError {
    let name = reference.familiar_name();
    match error {
        RegistryError::Reported { reported, .. } if reported.code == "MANIFEST_UNKNOWN" => {
            RegistryError::ManifestUnknown { reference: reference.familiar(), reported }
        }
        RegistryError::Reported { reported, .. } if reported.code == "NAME_UNKNOWN" => {
            RegistryError::NameUnknown { reference: name, reported }
        }
        RegistryError::Reported { reported, .. } if reported.code == "DENIED" => {
            RegistryError::Denied { name, reported }
        }
        RegistryError::Status { status, .. } if status.starts_with("404") => RegistryError::ManifestUnknown {
            reference: reference.familiar(),
            reported: Reported { code: "MANIFEST_UNKNOWN".into(), message: "manifest unknown".into() },
        },
        error => error,
    }
}

fn accept() -> Vec<(&'static str, String)> {
    let types = MANIFESTS.iter().chain(&INDEXES);
    types.map(|media_type| ("accept", (*media_type).to_owned())).collect()
}

/// The digest that the registry says a reference has, without fetching the manifest; `None` if it does not say.
///
/// # Errors
/// [`RegistryError`]
pub fn head(client: &RegistryClient, reference: &Reference) -> Result<Option<Digest>, RegistryError> {
    if client.has_resolvers() { named(client, reference).map(Some) } else { head_at(client, reference) }
}

fn head_at(client: &RegistryClient, reference: &Reference) -> Result<Option<Digest>, RegistryError> {
    let path = manifest_path(reference, None);
    let digest = |answer: Answer| Ok(answer.header("docker-content-digest").and_then(|digest| digest.parse().ok()));
    // The answer to HEAD has no body that tells what is wrong: the request that follows will.
    match client.ask(&Method::HEAD, &path, &scope(reference), &accept(), digest) {
        Err(RegistryError::Status { .. } | RegistryError::Unauthorized { .. }) => Ok(None),
        other => other,
    }
}

/// The digest of what a reference names, from those who are believed.
fn named(client: &RegistryClient, reference: &Reference) -> Result<Digest, RegistryError> {
    client.resolving(|resolver| match head_at(resolver, reference)? {
        Some(digest) => Ok(digest),
        None => document(resolver, reference, None).map(|document| document.digest),
    })
}

fn manifest_path(reference: &Reference, digest: Option<Digest>) -> String {
    let which = match (digest.or(reference.digest()), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or("latest").to_owned(),
    };
    format!("/v2/{}/manifests/{which}", reference.path())
}

/// The document that the reference names, or the one of this digest in the same repository.
pub(crate) fn document(
    client: &RegistryClient,
    reference: &Reference,
    digest: Option<Digest>,
) -> Result<Document, RegistryError> {
    let digest = match digest.or(reference.digest()) {
        None if client.has_resolvers() => Some(named(client, reference)?),
        digest => digest,
    };
    let path = manifest_path(reference, digest);
    let host = client.host().address().to_owned();
    let read = |answer: Answer| {
        let said: Option<Digest> = answer.header("docker-content-digest").and_then(|digest| digest.parse().ok());
        let media_type = answer.header("content-type").unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        let bytes = answer.bytes("a manifest", MAX_MANIFEST)?;
        let found = Digest::hash(&bytes);
        if let Some(expected) = digest.or(reference.digest()).or(said).filter(|expected| *expected != found) {
            return Err(RegistryError::ManifestDigest { host: host.clone(), expected, found });
        }
        Ok(Document { media_type, digest: found, bytes })
    };
    let document = client
        .ask(&Method::GET, &path, &scope(reference), &accept(), read)
        .map_err(|error| translated(error, reference))?;
    document.typed(&reference.familiar_name())
}

/// What is in a document; `of` is the repository that it is from.
fn parsed<'d, T: Deserialize<'d>>(document: &'d Document, of: &str) -> Result<T, RegistryError> {
    serde_json::from_slice(&document.bytes).map_err(|error| RegistryError::Document {
        url: format!("{of}@{}", document.digest),
        reason: format!("no manifest: {error}"),
    })
}

/// What `--platform` means, with what it leaves out: `arm64` is linux/arm64, `linux` is linux on this machine's processor.
///
/// # Errors
/// Those of [`Platform::from_str`].
pub fn platform_of(text: &str) -> Result<Platform, images::source::InvalidPlatform> {
    if text.contains('/') {
        return text.parse();
    }
    match text {
        "linux" | "windows" | "freebsd" | "darwin" => {
            Platform::from_str(&format!("{text}/{}", Platform::host().architecture))
        }
        "amd64" | "arm64" | "arm" | "386" | "x86_64" | "aarch64" | "ppc64le" | "s390x" | "riscv64" | "armhf"
        | "armel" | "i386" | "mips64le" | "loong64" => Platform::from_str(&format!("linux/{text}")),
        other => other.parse(),
    }
}

/// The manifest of an index that dockerd 20.10 takes: the first whose platform is exactly the wanted one; for an arm variant
/// that is not there, the first for arm at all (containerd `platforms`, moby `distribution/pull_v2_unix.go`).
pub(crate) fn choose(index: &Document, of: &str, wanted: &Platform) -> Result<Digest, RegistryError> {
    let index: Index = parsed(index, of)?;
    let mut found = Vec::new();
    let known = |entry: &&Entry| MANIFESTS.iter().chain(&INDEXES).any(|known| *known == entry.media_type);
    for entry in index.manifests.iter().filter(known) {
        let Some(platform) = &entry.platform else { continue };
        let mut text = format!("{}/{}", platform.os, platform.architecture);
        if !platform.variant.is_empty() {
            text = format!("{text}/{}", platform.variant);
        }
        if let Ok(platform) = text.parse::<Platform>()
            && platform.os != "unknown"
        {
            found.push((platform, &entry.digest));
        }
    }
    let arm = |platform: &Platform| {
        (&platform.os, &platform.architecture) == (&wanted.os, &wanted.architecture) && wanted.architecture == "arm"
    };
    let chosen = found.iter().find(|(platform, _)| platform == wanted);
    let chosen = chosen.or_else(|| found.iter().find(|(platform, _)| arm(platform)));
    let Some((_, digest)) = chosen else {
        let found = found.iter().map(|(platform, _)| platform.to_string()).collect();
        return Err(RegistryError::NoPlatform { platform: wanted.to_string(), found });
    };
    digest
        .parse()
        .map_err(|_| RegistryError::Document { url: of.to_owned(), reason: format!("{digest:?} is no SHA-256 digest") })
}

/// Asks the registry for an image: its manifest and its config.
///
/// # Errors
/// [`RegistryError`]
pub fn resolve(
    client: &RegistryClient,
    reference: &Reference,
    platform: Option<&Platform>,
) -> Result<Resolved, RegistryError> {
    let top = document(client, reference, None)?;
    let (digest, media_type) = (top.digest, top.media_type.clone());
    let (mut manifest, mut indexes) = (top, Vec::new());
    for _ in 0..MAX_DEPTH {
        if !manifest.is_index() {
            break;
        }
        let host = Platform::host();
        let chosen = choose(&manifest, &reference.familiar_name(), platform.unwrap_or(&host))?;
        indexes.insert(0, as_source(&manifest, &reference.familiar_name())?);
        manifest = document(client, reference, Some(chosen))?;
    }
    if !MANIFESTS.contains(&manifest.media_type.as_str()) {
        return Err(RegistryError::MediaType { media_type: manifest.media_type });
    }
    let probe: Probe = parsed(&manifest, &reference.familiar_name())?;
    let contents = image(client, reference, &manifest).map_err(|error| match (error, probe.config) {
        // The archive's words about its index make no sense here.
        (RegistryError::Image(ArchiveError::NoImage { .. }), Some(ProbeConfig { media_type: Some(media_type) })) => {
            RegistryError::MediaType { media_type }
        }
        (error, _) => error,
    })?;
    Ok(Resolved { digest, manifest: (manifest.digest, manifest.bytes), indexes, media_type, contents })
}

/// An index with what it names, for a store that keeps it.
fn as_source(document: &Document, of: &str) -> Result<SourceDocument, RegistryError> {
    let index: Index = parsed(document, of)?;
    let named = index.manifests.into_iter().filter_map(|entry| Some((entry.media_type, entry.digest.parse().ok()?)));
    Ok(SourceDocument { bytes: document.bytes.as_slice().into(), children: named.collect() })
}

/// The image of a manifest, read by the rules for OCI layouts: the manifest is the only one of a layout's index, and blobs
/// are fetched when they are asked for. Documents that could be read as either kind are refused there.
fn image(client: &RegistryClient, reference: &Reference, manifest: &Document) -> Result<SourceContents, RegistryError> {
    let descriptor = serde_json::json!({
        "mediaType": manifest.media_type, "digest": manifest.digest.to_string(), "size": manifest.bytes.len(),
    });
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [descriptor]}).to_string();
    let failed: RefCell<Option<RegistryError>> = RefCell::new(None);
    let mut fetched: HashMap<String, Vec<u8>> = HashMap::new();
    let mut read = |file: &str| match file {
        "manifest.json" => Ok(None),
        "index.json" => Ok(Some(index.clone().into_bytes())),
        "oci-layout" => Ok(Some(br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())),
        blob => {
            let digest = blob.rsplit('/').next().and_then(|hex| Digest::from_hex(hex).ok());
            let Some(digest) = digest else { return Ok(None) };
            if digest == manifest.digest {
                return Ok(Some(manifest.bytes.clone()));
            }
            if let Some(bytes) = fetched.get(blob) {
                return Ok(Some(bytes.clone()));
            }
            match config(client, reference, digest) {
                Ok(bytes) => Ok(Some(fetched.entry(blob.to_owned()).or_insert(bytes).clone())),
                Err(error) => {
                    *failed.borrow_mut() = Some(error);
                    Ok(None)
                }
            }
        }
    };
    let contents = contents(&Select::default(), &mut read);
    if let Some(error) = failed.into_inner() {
        return Err(error);
    }
    Ok(contents?.expect("there is an index"))
}

fn config(client: &RegistryClient, reference: &Reference, digest: Digest) -> Result<Vec<u8>, RegistryError> {
    let path = format!("/v2/{}/blobs/{digest}", reference.path());
    let bytes =
        client.ask(&Method::GET, &path, &scope(reference), &[], |answer| answer.bytes("an image config", MAX_JSON));
    let bytes = bytes.map_err(|error| translated(error, reference))?;
    let found = Digest::hash(&bytes);
    if found != digest {
        let host = client.host().address().to_owned();
        return Err(RegistryError::ConfigDigest { host, expected: digest, found });
    }
    Ok(bytes)
}

#[derive(Deserialize)]
struct Page {
    tags: Option<Vec<String>>,
}

/// All tags of a repository, in the registry's order.
///
/// # Errors
/// [`RegistryError`]
pub fn tags(client: &RegistryClient, reference: &Reference) -> Result<Vec<String>, RegistryError> {
    client.resolving(|client| tags_at(client, reference))
}

fn tags_at(client: &RegistryClient, reference: &Reference) -> Result<Vec<String>, RegistryError> {
    let mut path = format!("/v2/{}/tags/list", reference.path());
    let (mut tags, mut seen) = (Vec::new(), 0);
    loop {
        let (page, next) = client
            .ask(&Method::GET, &path, &scope(reference), &[], |answer| {
                let next = answer.header("link").and_then(next_link);
                let url = answer.url.clone();
                let bytes = answer.bytes("a list of tags", MAX_TAGS)?;
                let page: Page = serde_json::from_slice(&bytes)
                    .map_err(|error| RegistryError::Document { url, reason: error.to_string() })?;
                Ok((page, next))
            })
            .map_err(|error| translated(error, reference))?;
        tags.extend(page.tags.unwrap_or_default());
        seen += 1;
        // A link may be relative to the page. It is followed only at this registry.
        match next.and_then(|link| {
            if link.starts_with('?') {
                Some(format!("/v2/{}/tags/list{link}", reference.path()))
            } else {
                path_of(&link)
            }
        }) {
            Some(next) if next != path && seen < MAX_PAGES => path = next,
            _ => return Ok(tags),
        }
    }
}
