//! Requests that put blobs and manifests into a repository (distribution-spec 1.1, "Push").

use std::time::Duration;

use layerfs::Digest;
use layerfs::compress::SNIFF_LEN;
use ureq::http::Method;

use crate::address::redirected;
use crate::body::{Content, Sent};
use crate::client::{Answer, RegistryClient};
use crate::error::RegistryError;
use crate::header::content_range;
use crate::token::form;
use crate::wait::{Backoff, pause};

/// How the registry answers when an upload begins.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// The registry has the blob elsewhere, and the repository has it now.
    Mounted,
    /// Its bytes go to this address.
    Session(String),
}

/// A blob of at least this many bytes is sent as docker sends all of them: its bytes by `PATCH`, to be gone on with if the
/// connection breaks, and then its digest by `PUT`. A smaller one takes a single request.
const LARGE: u64 = 4 << 20;

/// After a break, so many bytes are sent at once: some registries keep nothing of a request that they have not answered, so that
/// the next break loses no more than these.
const PIECE: u64 = 16 << 20;

/// A blob on its way.
#[derive(Debug)]
struct Upload {
    /// Where further bytes go.
    url: String,
    /// How many bytes the registry has.
    there: u64,
    /// Whether all goes in a single request.
    whole: bool,
    /// Whether the registry was asked how much it has.
    resumed: bool,
}

/// Somebody who wants a blob to be brought into a repository.
pub(crate) trait Delivery: Sync {
    /// `bytes` of it were sent, counted from its beginning.
    fn advance(&self, bytes: u64);
    /// An attempt has failed; the next one follows after a pause.
    fn retry(&self, pause: Duration, error: &RegistryError);
    /// Whether it is not wanted any more.
    fn is_stopped(&self) -> bool;
}

/// Attempts at a blob (moby v20.10.24 `distribution/xfer/upload.go`: `maxUploadAttempts`).
const ATTEMPTS: u32 = 5;

/// A body without bytes, which is more than none: its length is told.
const NOTHING: Sent<'static> = Sent::Bytes { media_type: "application/octet-stream", bytes: b"" };

/// A repository that is written to.
pub(crate) struct Repository<'r> {
    pub(crate) client: &'r RegistryClient,
    /// Its path at the registry.
    pub(crate) path: &'r str,
    /// What a token must allow.
    pub(crate) scope: &'r str,
}

/// The scope of a token that lets a repository be read and written, and others be read.
pub(crate) fn scope_to_push(path: &str, others: &[&str]) -> String {
    let mut scopes = vec![format!("repository:{path}:pull,push")];
    scopes.extend(others.iter().map(|other| format!("repository:{other}:pull")));
    scopes.join(" ")
}

impl Repository<'_> {
    /// The length of a blob; `None` if the repository does not have it.
    pub(crate) fn blob_size(&self, digest: Digest) -> Result<Option<u64>, RegistryError> {
        let path = format!("/v2/{}/blobs/{digest}", self.path);
        let length = |answer: Answer| Ok(answer.header("content-length").and_then(|length| length.trim().parse().ok()));
        match self.client.ask(&Method::HEAD, &path, self.scope, &[], length) {
            // The answer to HEAD has no body: a repository that does not exist yet looks like one without the blob.
            Err(RegistryError::Status { status, .. }) if status.starts_with("404") => Ok(None),
            answer => answer,
        }
    }

    /// The first bytes of a blob, by which its compression is known; fewer if it is shorter.
    pub(crate) fn first_bytes(&self, digest: Digest) -> Result<Vec<u8>, RegistryError> {
        use std::io::Read;
        const FIRST: u64 = SNIFF_LEN as u64;
        let path = format!("/v2/{}/blobs/{digest}", self.path);
        let range = ("range", format!("bytes=0-{}", FIRST - 1));
        self.client.ask(&Method::GET, &path, self.scope, &[range], |answer| {
            let Answer { response, url } = answer;
            let mut first = Vec::new();
            let read = response.into_body().into_reader().take(FIRST).read_to_end(&mut first);
            read.map_err(|error| crate::transport::broken("Get", &url, &error))?;
            Ok(first)
        })
    }

    /// Begins an upload; with `mount`, asks first whether the blob can be had from another repository of the registry.
    pub(crate) fn begin(&self, mount: Option<(Digest, &str)>) -> Result<Begun, RegistryError> {
        let mut path = format!("/v2/{}/blobs/uploads/", self.path);
        if let Some((digest, from)) = mount {
            path = format!("{path}?{}", form(&[("from", from), ("mount", &digest.to_string())]));
        }
        let answer = self.client.once_with(&Method::POST, &path, self.scope, &[], NOTHING)?;
        if mount.is_some() && answer.response.status() == 201 {
            return Ok(Begun::Mounted);
        }
        let target = answer.header("location").and_then(|target| redirected(&answer.url, target));
        let missing = || RegistryError::Document {
            url: answer.url.clone(),
            reason: "the registry does not say where the bytes go (no Location)".into(),
        };
        target.map(Begun::Session).ok_or_else(missing)
    }

    /// Brings a blob into the repository, in several attempts if need be.
    pub(crate) fn deliver(
        &self,
        digest: Digest,
        (content, size): (&dyn Content, u64),
        delivery: &dyn Delivery,
    ) -> Result<(), RegistryError> {
        let advance = |bytes| {
            delivery.advance(bytes);
            !delivery.is_stopped()
        };
        let mut backoff = Backoff::new(self.client.options().first_pause, ATTEMPTS);
        let mut upload = None;
        loop {
            let before = upload.as_ref().map_or(0, |upload: &Upload| upload.there);
            let begun = self.go_on(&mut upload, size);
            let sent = begun.and_then(|()| match &mut upload {
                Some(upload) => self.send(upload, digest, (content, size), &advance),
                None => Ok(()),
            });
            let error = match sent {
                Ok(()) => return Ok(()),
                Err(_) if delivery.is_stopped() => return Err(RegistryError::Interrupted),
                Err(error) => error,
            };
            if let Some(fault) = content.fault() {
                return Err(fault);
            }
            backoff.has_brought(upload.as_ref().map_or(0, |upload| upload.there.saturating_sub(before)));
            let Some(time) = backoff.next(&error) else { return Err(error) };
            delivery.retry(time, &error);
            pause(time, || delivery.is_stopped())?;
            // Perhaps only the answer was lost, and the blob is there.
            if self.blob_size(digest)? == Some(size) {
                return Ok(());
            }
        }
    }

    /// Begins to send a blob, or finds out how much of it the registry has after the connection broke. An upload that the
    /// registry does not know any more, or cannot go on with, begins anew. So it is with docker-registry 2.8 after a request that
    /// broke: it keeps the bytes that came of it, and then refuses the upload, since they are more than its own signed note of
    /// the last answer (`_state`) says, which no request can renew. `None` is left if the blob is there already.
    fn go_on(&self, upload: &mut Option<Upload>, size: u64) -> Result<(), RegistryError> {
        if let Some(begun) = upload.as_mut().filter(|begun| !begun.whole) {
            match self.client.once_at(&Method::GET, &begun.url, self.scope, &[], Sent::Nothing) {
                Ok(answer) => {
                    begun.there = taken(&answer).filter(|there| *there <= size).unwrap_or(0);
                    begun.url = next_address(&answer, &begun.url);
                    begun.resumed = true;
                    return Ok(());
                }
                Err(error) if error.is_answer() => {}
                Err(error) => return Err(error),
            }
        }
        let whole = upload.as_ref().map_or(size < LARGE, |begun| begun.whole);
        *upload = match self.begin(None)? {
            Begun::Mounted => None,
            Begun::Session(url) => Some(Upload { url, there: 0, whole, resumed: false }),
        };
        Ok(())
    }

    /// Sends what the registry does not have of a blob, and then its digest.
    fn send(
        &self,
        upload: &mut Upload,
        digest: Digest,
        (content, size): (&dyn Content, u64),
        advance: &(dyn Fn(u64) -> bool + Sync),
    ) -> Result<(), RegistryError> {
        if upload.whole {
            return self.put(&upload.url, digest, Sent::Part { content, from: 0, to: size, advance });
        }
        while upload.there < size {
            let from = upload.there;
            let to = if upload.resumed { size.min(from + PIECE) } else { size };
            // docker sends all bytes at once, without a range.
            let headers: &[_] =
                if to - from == size { &[] } else { &[("content-range", format!("{from}-{}", to - 1))] };
            let sent = Sent::Part { content, from, to, advance };
            let answer = match self.client.once_at(&Method::PATCH, &upload.url, self.scope, headers, sent) {
                Err(error) if from == 0 && is_unsupported(&error) => {
                    upload.whole = true;
                    return self.put(&upload.url, digest, Sent::Part { content, from: 0, to: size, advance });
                }
                answer => answer?,
            };
            let there = taken(&answer).unwrap_or(to);
            if there <= from || there > to {
                let reason = format!("the registry has {there} bytes after it was sent those from {from} to {to}");
                return Err(RegistryError::Document { url: answer.url, reason });
            }
            upload.url = next_address(&answer, &upload.url);
            upload.there = there;
        }
        match self.put(&upload.url, digest, NOTHING) {
            // What it has put together is not the blob. All at once may go better.
            Err(error) if upload.resumed && error.is_answer() => {
                upload.whole = true;
                let reason = format!("the blob does not come of its parts: {error}");
                Err(RegistryError::Transport { method: "Put", url: upload.url.clone(), reason, transient: true })
            }
            put => put,
        }
    }

    /// Sends a small blob, unless it is there.
    pub(crate) fn send_bytes(&self, digest: Digest, bytes: &[u8]) -> Result<(), RegistryError> {
        if self.blob_size(digest)?.is_some() {
            return Ok(());
        }
        self.client.repeat(|| match self.begin(None)? {
            Begun::Mounted => Ok(()),
            Begun::Session(session) => {
                self.put(&session, digest, Sent::Bytes { media_type: "application/octet-stream", bytes })
            }
        })
    }

    fn put(&self, session: &str, digest: Digest, sent: Sent<'_>) -> Result<(), RegistryError> {
        let mark = if session.contains('?') { '&' } else { '?' };
        let url = format!("{session}{mark}{}", form(&[("digest", &digest.to_string())]));
        self.client.once_at(&Method::PUT, &url, self.scope, &[], sent).map(drop)
    }

    /// Whether the repository has a manifest, with all that it names.
    pub(crate) fn has_manifest(&self, digest: Digest, media_type: &str) -> Result<bool, RegistryError> {
        let path = format!("/v2/{}/manifests/{digest}", self.path);
        match self.client.ask(&Method::HEAD, &path, self.scope, &[("accept", media_type.to_owned())], |_| Ok(true)) {
            Err(RegistryError::Status { .. }) => Ok(false),
            answer => answer,
        }
    }

    /// Puts a manifest under a tag or its digest. The registry must agree on its digest.
    pub(crate) fn put_manifest(&self, which: &str, media_type: &str, bytes: &[u8]) -> Result<Put, RegistryError> {
        let path = format!("/v2/{}/manifests/{which}", self.path);
        let sent = Sent::Bytes { media_type, bytes };
        let answer = self.client.repeat(|| self.client.once_with(&Method::PUT, &path, self.scope, &[], sent))?;
        let expected = Digest::hash(bytes);
        match answer.header("docker-content-digest").and_then(|digest| digest.parse::<Digest>().ok()) {
            Some(found) if found != expected => {
                Err(RegistryError::ManifestDigest { host: self.client.host().address().to_owned(), expected, found })
            }
            _ => Ok(Put { digest: expected, is_listed: answer.header("oci-subject").is_some() }),
        }
    }
}

/// A manifest that a repository has taken.
pub(crate) struct Put {
    pub(crate) digest: Digest,
    /// Whether the registry lists it as a referrer of its subject.
    pub(crate) is_listed: bool,
}

/// How many bytes the registry says it has of an upload (distribution-spec 1.1: `Range: 0-LAST`, and `0-0` also for none).
fn taken(answer: &Answer) -> Option<u64> {
    let range = content_range(answer.header("range")?).filter(|range| range.first == 0)?;
    Some(if range.last == 0 { 0 } else { range.last + 1 })
}

/// Where further bytes go.
fn next_address(answer: &Answer, before: &str) -> String {
    answer.header("location").and_then(|target| redirected(&answer.url, target)).unwrap_or_else(|| before.to_owned())
}

/// Whether a registry knows no `PATCH`.
fn is_unsupported(error: &RegistryError) -> bool {
    match error {
        RegistryError::Status { status, .. } => status.starts_with("405") || status.starts_with("501"),
        RegistryError::Reported { reported, .. } => reported.code == "UNSUPPORTED",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_allows_what_a_push_needs() {
        assert_eq!(scope_to_push("a/b", &[]), "repository:a/b:pull,push");
        assert_eq!(scope_to_push("a", &["b"]), "repository:a:pull,push repository:b:pull");
    }
}
