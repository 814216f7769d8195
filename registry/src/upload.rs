//! Requests that put blobs and manifests into a repository (distribution-spec 1.1, "Push").

use std::fs::File;

use layerfs::Digest;
use layerfs::compress::SNIFF_LEN;
use ureq::http::Method;

use crate::address::redirected;
use crate::body::Sent;
use crate::client::{Answer, RegistryClient};
use crate::error::RegistryError;
use crate::token::form;

/// How the registry answers when an upload begins.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// The registry has the blob elsewhere, and the repository has it now.
    Mounted,
    /// Its bytes go to this address.
    Session(String),
}

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
        let nothing = Sent::Bytes { media_type: "application/octet-stream", bytes: b"" };
        let answer = self.client.once_with(&Method::POST, &path, self.scope, &[], nothing)?;
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

    /// Sends a whole blob in one request.
    pub(crate) fn send(
        &self,
        session: &str,
        digest: Digest,
        (file, size): (&File, u64),
        advance: &(dyn Fn(u64) -> bool + Sync),
    ) -> Result<(), RegistryError> {
        self.put(session, digest, Sent::File { file, size, advance })
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
        self.client.once_at(&Method::PUT, &url, self.scope, sent).map(drop)
    }

    /// Puts a manifest under a tag or its digest. The registry must agree on its digest.
    pub(crate) fn put_manifest(&self, which: &str, media_type: &str, bytes: &[u8]) -> Result<Digest, RegistryError> {
        let path = format!("/v2/{}/manifests/{which}", self.path);
        let sent = Sent::Bytes { media_type, bytes };
        let answer = self.client.repeat(|| self.client.once_with(&Method::PUT, &path, self.scope, &[], sent))?;
        let expected = Digest::hash(bytes);
        match answer.header("docker-content-digest").and_then(|digest| digest.parse::<Digest>().ok()) {
            Some(found) if found != expected => {
                Err(RegistryError::ManifestDigest { host: self.client.host().address().to_owned(), expected, found })
            }
            _ => Ok(expected),
        }
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
