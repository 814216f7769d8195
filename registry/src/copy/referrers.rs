//! Documents about other documents: signatures, attestations, lists of materials (distribution-spec 1.1, "Listing Referrers").
//!
//! ```text
//! GET /v2/NAME/referrers/DIGEST      -> an index of those whose `subject` it is
//! 404                                -> the tag ALGORITHM-HEX leads to such an index, kept by whoever pushes
//! tags sha256-HEX.sig, .att, .sbom   -> as cosign has kept them since before there were referrers
//! ```

use layerfs::Digest;
use serde_json::Value;
use snapshot::reference::Reference;
use ureq::http::Method;

use super::layout::{entry, index as empty_index};
use crate::address::path_of;
use crate::client::RegistryClient;
use crate::error::RegistryError;
use crate::header::next_link;
use crate::resolve::{Document, INDEXES, document, scope};
use crate::upload::Repository;

/// The most of a page of referrers that is read, and the most pages.
const MAX_PAGE: u64 = 4 << 20;
const MAX_PAGES: usize = 1_000;

/// What cosign puts at the end of its tags.
const ENDS: [&str; 3] = ["sig", "att", "sbom"];

/// The tag that leads to the index of a document's referrers where the registry keeps none.
pub(super) fn fallback(subject: Digest) -> String {
    format!("sha256-{}", subject.hex())
}

/// The tags under which something may be said of a document.
pub(super) fn tags(subject: Digest) -> impl Iterator<Item = String> {
    ENDS.into_iter().map(move |end| format!("{}.{end}", fallback(subject)))
}

/// The documents that a registry says are about this one.
pub(super) fn of(
    client: &RegistryClient,
    reference: &Reference,
    subject: Digest,
) -> Result<Vec<Digest>, RegistryError> {
    let mut path = format!("/v2/{}/referrers/{subject}", reference.path());
    let accept = [("accept", INDEXES[1].to_owned())];
    let mut found = Vec::new();
    for page in 0..MAX_PAGES {
        let listed = client.ask(&Method::GET, &path, &scope(reference), &accept, |answer| {
            let (next, url) = (answer.header("link").and_then(next_link), answer.url.clone());
            Ok((digests(&answer.bytes("a list of referrers", MAX_PAGE)?, &url)?, next))
        });
        let next = match listed {
            Ok((digests, next)) => {
                found.extend(digests);
                next
            }
            // It keeps no such lists, or does not understand what is meant.
            Err(error) if page == 0 && error.is_answer() && !matches!(error, RegistryError::TooManyRequests { .. }) => {
                let index = tagged(client, reference, &fallback(subject))?;
                return index.map_or(Ok(Vec::new()), |index| digests(&index.bytes, &reference.familiar()));
            }
            Err(error) => return Err(error),
        };
        // A link is followed only at this registry.
        match next.as_deref().and_then(path_of) {
            Some(next) if next != path => path = next,
            _ => break,
        }
    }
    Ok(found)
}

/// The document that a tag of the repository leads to, if there is one.
pub(super) fn tagged(
    client: &RegistryClient,
    reference: &Reference,
    tag: &str,
) -> Result<Option<Document>, RegistryError> {
    let name = format!("{}:{tag}", reference.name());
    let Ok(reference) = Reference::parse(&name) else { return Ok(None) };
    match document(client, &reference, None) {
        Ok(document) => Ok(Some(document)),
        Err(RegistryError::ManifestUnknown { .. } | RegistryError::NameUnknown { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The digests in an index.
pub(super) fn digests(index: &[u8], of: &str) -> Result<Vec<Digest>, RegistryError> {
    let wrong = |reason: String| RegistryError::Document { url: of.to_owned(), reason };
    let index: Value = serde_json::from_slice(index).map_err(|error| wrong(format!("no index: {error}")))?;
    let entries = index.get("manifests").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let digest = |entry: &Value| {
        let text = entry.get("digest").and_then(Value::as_str).unwrap_or_default();
        text.parse().map_err(|_| wrong(format!("{text:?} is no SHA-256 digest")))
    };
    entries.iter().map(digest).collect()
}

/// Which document one is about.
pub(super) fn subject_of(bytes: &[u8]) -> Option<Digest> {
    let manifest: Value = serde_json::from_slice(bytes).ok()?;
    manifest.get("subject")?.get("digest")?.as_str()?.parse().ok()
}

/// What an index says of a document about another one.
pub(super) fn describe(document: &Document) -> Value {
    let manifest: Value = serde_json::from_slice(&document.bytes).unwrap_or_default();
    let mut entry = entry(document, None);
    let config = || manifest.get("config").and_then(|config| config.get("mediaType"));
    if let Some(kind) = manifest.get("artifactType").filter(|kind| *kind != "").or_else(config) {
        entry["artifactType"] = kind.clone();
    }
    if let Some(annotations) = manifest.get("annotations") {
        entry["annotations"] = annotations.clone();
    }
    entry
}

/// Adds a document to the list of those about `subject`, where the registry keeps none itself.
pub(super) fn list(
    repository: &Repository<'_>,
    (client, to): (&RegistryClient, &Reference),
    document: &Document,
    subject: Digest,
) -> Result<(), RegistryError> {
    let tag = fallback(subject);
    let before = tagged(client, to, &tag)?;
    let mut index: Value = match &before {
        Some(index) => serde_json::from_slice(&index.bytes).map_err(|error| RegistryError::Document {
            url: format!("{}:{tag}", to.familiar_name()),
            reason: error.to_string(),
        })?,
        None => empty_index(Vec::new()),
    };
    let digest = document.digest.to_string();
    let entries = index.get_mut("manifests").and_then(Value::as_array_mut).ok_or_else(|| RegistryError::Document {
        url: format!("{}:{tag}", to.familiar_name()),
        reason: "it is no index of referrers".into(),
    })?;
    if entries.iter().any(|entry| entry["digest"] == *digest) {
        return Ok(());
    }
    entries.push(describe(document));
    let media_type = before.map_or_else(|| INDEXES[1].to_owned(), |index| index.media_type);
    repository.put_manifest(&tag, &media_type, index.to_string().as_bytes()).map(drop)
}
