//! One blob of a repository: asked for from any byte on, and read to its end over as many connections as that takes.

use std::io::{self, Read};
use std::sync::Mutex;

use layerfs::{Digest, HashingReader};
use ureq::BodyReader;
use ureq::http::Method;

use crate::body::Content;
use crate::client::{RegistryClient, drain};
use crate::error::RegistryError;
use crate::header::content_range;
use crate::lock;
use crate::transport::broken;
use crate::wait::{Backoff, pause};

/// Attempts in a row that may bring nothing (dockerd's `max-download-attempts` is 5).
pub(crate) const ATTEMPTS: u32 = 6;

/// A blob, and where it is.
#[derive(Clone, Copy)]
pub(crate) struct Blob<'b> {
    pub(crate) client: &'b RegistryClient,
    /// The repository's path at the registry; `name` is the image's name, for messages.
    pub(crate) repository: &'b str,
    pub(crate) name: &'b str,
    pub(crate) scope: &'b str,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// Bytes of a blob that a registry sends.
pub(crate) struct Coming {
    pub(crate) body: BodyReader<'static>,
    /// How many of them were not asked for and are passed over: without ranges, what is here comes again.
    pub(crate) skip: u64,
    /// Whether the server says that it sends parts of the blob, too.
    pub(crate) ranges: bool,
    /// What was asked for, for messages.
    pub(crate) url: String,
}

impl Blob<'_> {
    /// Makes one request, for the bytes from `from` on, or only for those before `to`. `ranges` becomes false when the server
    /// ignores a range, or answers a request for one wrongly.
    pub(crate) fn ask(&self, from: u64, to: Option<u64>, ranges: &mut bool) -> Result<Coming, RegistryError> {
        let path = format!("/v2/{}/blobs/{}", self.repository, self.digest);
        let ask_range = (from > 0 || to.is_some()) && *ranges;
        let last = to.map_or_else(String::new, |to| (to - 1).to_string());
        let headers: &[_] = if ask_range { &[("range", format!("bytes={from}-{last}"))] } else { &[] };
        let answer = match self.client.once(&Method::GET, &path, self.scope, headers) {
            // There is no such range: the server has another blob, or counts differently.
            Err(RegistryError::Status { status, url, .. }) if status.starts_with("416") => {
                *ranges = false;
                let reason = format!("the server has no bytes from {from} on");
                return Err(RegistryError::Transport { method: "Get", url, reason, transient: true });
            }
            answer => answer?,
        };
        let mut skip = 0;
        if answer.response.status() == 206 {
            let range = answer.header("content-range").and_then(content_range);
            if let Some(whole) = range.and_then(|range| range.whole).filter(|whole| *whole != self.size) {
                return Err(self.wrong_size(whole));
            }
            if !ask_range || range.is_none_or(|range| range.first != from) {
                *ranges = false;
                let reason = format!("asked for the bytes from {from} on, the server sent others");
                return Err(RegistryError::Transport { method: "Get", url: answer.url, reason, transient: true });
            }
        } else {
            let length = answer.header("content-length").and_then(|length| length.trim().parse::<u64>().ok());
            if let Some(length) = length.filter(|length| *length != self.size) {
                drain(answer.response);
                return Err(self.wrong_size(length));
            }
            skip = from;
            *ranges = *ranges && !ask_range;
        }
        let ranges = answer.response.status() == 206 || answer.header("accept-ranges") == Some("bytes");
        Ok(Coming { ranges, skip, url: answer.url, body: answer.response.into_body().into_reader() })
    }

    /// The error for a blob that has `found` bytes or more.
    pub(crate) fn wrong_size(&self, found: u64) -> RegistryError {
        RegistryError::BlobSize {
            host: self.client.host().address().to_owned(),
            name: self.name.to_owned(),
            digest: self.digest,
            expected: self.size,
            found,
        }
    }

    /// The error for a blob of which no more came after the byte `at`.
    pub(crate) fn stuck(&self, at: u64, attempts: u32, source: RegistryError) -> RegistryError {
        if !source.is_transient() {
            return source;
        }
        RegistryError::BlobStuck {
            host: self.client.host().address().to_owned(),
            name: self.name.to_owned(),
            digest: self.digest,
            at,
            size: self.size,
            attempts,
            source: Box::new(source),
        }
    }
}

/// A blob that is sent elsewhere while it arrives.
pub(crate) struct Relayed<'b> {
    blob: Blob<'b>,
    /// Why it cannot be read.
    fault: Mutex<Option<RegistryError>>,
}

impl<'b> Relayed<'b> {
    pub(crate) fn new(blob: Blob<'b>) -> Self {
        Self { blob, fault: Mutex::default() }
    }

    fn failed(&self, error: RegistryError) -> io::Error {
        let text = error.to_string();
        *lock(&self.fault) = Some(error);
        io::Error::other(text)
    }
}

impl Content for Relayed<'_> {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + '_>> {
        let arriving = Arriving { relayed: self, at: from, coming: None, ranges: true, brought: 0 };
        // What begins in the middle was proven before, or is proven by who receives it.
        if from > 0 {
            return Ok(Box::new(arriving));
        }
        Ok(Box::new(Proven { relayed: self, inner: Some(HashingReader::new(arriving)), left: self.blob.size }))
    }

    fn fault(&self) -> Option<RegistryError> {
        lock(&self.fault).take()
    }
}

/// Reads a blob from a byte on, and asks for the rest of it if the connection breaks.
struct Arriving<'r> {
    relayed: &'r Relayed<'r>,
    at: u64,
    coming: Option<Coming>,
    ranges: bool,
    /// Bytes that have come over this connection.
    brought: u64,
}

impl Arriving<'_> {
    /// Reads some bytes, over a new connection if there is none, and with the last ones the end of what is sent: what sends more than
    /// the blob is an error, however the bytes fall into reads.
    fn attempt(&mut self, output: &mut [u8]) -> Result<usize, RegistryError> {
        let blob = &self.relayed.blob;
        let mut coming = match self.coming.take() {
            Some(coming) => coming,
            None => blob.ask(self.at, None, &mut self.ranges)?,
        };
        let left = blob.size - self.at;
        let space = output.len();
        let most = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX).min(space);
        let (left, mut read) = (most(left), 0);
        while read == 0 {
            let wanted = if coming.skip > 0 { most(coming.skip) } else { left };
            read = coming.body.read(&mut output[..wanted]).map_err(|error| broken("Get", &coming.url, &error))?;
            if read == 0 {
                let reason = "unexpected EOF".to_owned();
                return Err(RegistryError::Transport { method: "Get", url: coming.url, reason, transient: true });
            }
            if coming.skip > 0 {
                coming.skip -= read as u64;
                read = 0;
            }
        }
        if self.at + (read as u64) < blob.size {
            self.coming = Some(coming);
        } else if matches!(coming.body.read(&mut [0]), Ok(1..)) {
            // A connection that breaks here has brought all there is.
            return Err(blob.wrong_size(blob.size + 1));
        }
        Ok(read)
    }
}

impl Read for Arriving<'_> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let Blob { client, size, .. } = self.relayed.blob;
        if self.at == size || output.is_empty() {
            return Ok(0);
        }
        let mut backoff = Backoff::new(client.options().first_pause, ATTEMPTS);
        loop {
            let error = match self.attempt(output) {
                Ok(read) => {
                    self.at += read as u64;
                    self.brought += read as u64;
                    return Ok(read);
                }
                Err(error) => error,
            };
            backoff.has_brought(std::mem::take(&mut self.brought));
            let Some(time) = backoff.next(&error) else {
                return Err(self.relayed.failed(self.relayed.blob.stuck(self.at, backoff.attempts, error)));
            };
            pause(time, || client.is_interrupted()).map_err(|error| self.relayed.failed(error))?;
        }
    }
}

/// Reads all of a blob, and does not give its last bytes away before its digest is proven.
struct Proven<'r> {
    relayed: &'r Relayed<'r>,
    inner: Option<HashingReader<Arriving<'r>>>,
    left: u64,
}

impl Read for Proven<'_> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let Some(inner) = &mut self.inner else { return Ok(0) };
        let read = inner.read(output)?;
        self.left -= read as u64;
        if self.left == 0
            && let Some(inner) = self.inner.take()
        {
            let Blob { client, name, digest: expected, .. } = self.relayed.blob;
            let found = inner.finish().0;
            if found != expected {
                let (host, name) = (client.host().address().to_owned(), name.to_owned());
                return Err(self.relayed.failed(RegistryError::BlobDigest { host, name, expected, found }));
            }
        }
        Ok(read)
    }
}
