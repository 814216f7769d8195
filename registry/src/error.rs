//! Why a registry did not give what was asked for, in dockerd's words where those are clear.

use std::path::PathBuf;
use std::time::Duration;

use images::output::OutputError;
use images::save::SaveError;
use images::source::{ArchiveError, SelectionError};
use layerfs::Digest;
use snapshot::StoreError;

/// One of the errors that a registry reports in the body of an answer (distribution-spec, "Error Codes").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// Its code, such as `MANIFEST_UNKNOWN`.
    pub code: String,
    /// What the registry says.
    pub message: String,
}

impl std::fmt::Display for Reported {
    /// The code in words, then the message, as dockerd prints them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = self.code.to_lowercase().replace('_', " ");
        match self.message.as_str() {
            "" => f.write_str(&words),
            message => write!(f, "{words}: {message}"),
        }
    }
}

/// Why a registry did not give what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// No answer came: the host is not known, refuses, is silent, or speaks something else.
    #[error("{method} \"{url}\": {reason}")]
    Transport {
        /// As Go writes methods: `Get`.
        method: &'static str,
        /// What was asked for.
        url: String,
        /// In the words of Go's `net` package where it has some.
        reason: String,
        /// Whether the same request may go better later.
        transient: bool,
    },
    /// Whoever answers cannot be trusted as this host is asked: its certificate is not accepted here, or it speaks plain HTTP.
    #[error("{method} \"{url}\": {reason}")]
    Untrusted {
        /// As Go writes methods.
        method: &'static str,
        /// What was asked for.
        url: String,
        /// In the words of Go's `crypto/x509` and `net/http`.
        reason: String,
        /// Whether it speaks plain HTTP.
        is_plain: bool,
    },
    /// The registry has no such manifest.
    #[error("manifest for {reference} not found: {reported}")]
    ManifestUnknown {
        /// The image, as docker shows it.
        reference: String,
        /// What the registry says.
        reported: Reported,
    },
    /// The registry has no such repository.
    #[error("repository {reference} not found: {reported}")]
    NameUnknown {
        /// The image, as docker shows it.
        reference: String,
        /// What the registry says.
        reported: Reported,
    },
    /// These credentials, or none, do not open the repository.
    #[error("pull access denied for {name}, repository does not exist or may require a login: {reported}")]
    Denied {
        /// The repository, as docker shows it.
        name: String,
        /// What the registry says.
        reported: Reported,
    },
    /// The credentials are wrong, or there are none.
    #[error("{method} \"{url}\": unauthorized: {reason}")]
    Unauthorized {
        /// As Go writes methods.
        method: &'static str,
        /// What was asked for.
        url: String,
        /// What the registry or its token server says.
        reason: String,
    },
    /// The registry, or its token server, is busy or has had too many requests, and may ask for a pause.
    #[error("toomanyrequests: {message}{}", after(*.retry_after))]
    TooManyRequests {
        /// What the registry says.
        message: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// Any other error that the registry reports.
    #[error("{method} \"{url}\": {reported}")]
    Reported {
        /// As Go writes methods.
        method: &'static str,
        /// What was asked for.
        url: String,
        /// What the registry says.
        reported: Reported,
    },
    /// A status without an error that can be read.
    #[error("{method} \"{url}\": received unexpected HTTP status: {status}")]
    Status {
        /// As Go writes methods.
        method: &'static str,
        /// What was asked for.
        url: String,
        /// The number, with its meaning.
        status: String,
        /// Whether the same request may go better later.
        transient: bool,
    },
    /// A redirect that is not followed.
    #[error("{method} \"{url}\": redirect to {target:?}: {reason}")]
    Redirect {
        /// As Go writes methods.
        method: &'static str,
        /// What was asked for.
        url: String,
        /// Where it leads.
        target: String,
        /// Why not.
        reason: &'static str,
    },
    /// More bytes than such a document may have.
    #[error("\"{url}\": {what} of more than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// What it is.
        what: &'static str,
        /// The most that is read.
        limit: u64,
    },
    /// A document that cannot be understood.
    #[error("\"{url}\": {reason}")]
    Document {
        /// What was asked for.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// A manifest that is not the one that was asked for.
    #[error("manifest verification failed for digest {expected}: {host} sent one with the digest {found}")]
    ManifestDigest {
        /// Who sent it.
        host: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// A config that is not the one that the manifest names.
    #[error("image config verification failed for digest {expected}: {host} sent one with the digest {found}")]
    ConfigDigest {
        /// Who sent it.
        host: String,
        /// What the manifest names.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// A layer that is not the one that the manifest names.
    #[error(
        "filesystem layer verification failed for digest {expected}: {host} sent one with the digest {found} ({name})"
    )]
    BlobDigest {
        /// Who sent it.
        host: String,
        /// The image, as docker shows it.
        name: String,
        /// What the manifest names.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// A blob that is longer or shorter than the manifest says.
    #[error("blob {digest} of {name}: {host} sends {found} bytes, the manifest says {expected}")]
    BlobSize {
        /// Who sent it.
        host: String,
        /// The image, as docker shows it.
        name: String,
        /// The blob.
        digest: Digest,
        /// What the manifest says.
        expected: u64,
        /// What the server says or sends.
        found: u64,
    },
    /// A blob of which no more came, however often it was asked for.
    #[error("blob {digest} of {name}: {host} gave no more after byte {at} of {size} in {attempts} attempts")]
    BlobStuck {
        /// Who was asked.
        host: String,
        /// The image, as docker shows it.
        name: String,
        /// The blob.
        digest: Digest,
        /// How much of it is here.
        at: u64,
        /// How much there is.
        size: u64,
        /// Attempts since the last byte came.
        attempts: u32,
        /// What the last attempt met.
        #[source]
        source: Box<Self>,
    },
    /// The index has no image for the platform.
    #[error("no matching manifest for {platform} in the manifest list entries{}", list(.found))]
    NoPlatform {
        /// What was asked for.
        platform: String,
        /// What there is.
        found: Vec<String>,
    },
    /// What the reference names is no image, or one of a kind that nobody makes any more.
    #[error("unsupported media type {media_type}")]
    MediaType {
        /// Its type.
        media_type: String,
    },
    /// The manifest does not describe an image that can be stored.
    #[error(transparent)]
    Image(#[from] ArchiveError),
    /// An archive does not have exactly the image that is wanted.
    #[error("{of}")]
    NotOne {
        /// The archive.
        of: String,
        /// Which images it has.
        #[source]
        source: SelectionError,
    },
    /// An archive that can only be read from its front.
    #[error("{}: the archive is compressed", .path.display())]
    Compressed {
        /// The archive.
        path: PathBuf,
    },
    /// An archive cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A file of this machine cannot be read or written.
    #[error("{}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file with credentials or certificates that cannot be understood.
    #[error("{}: {reason}", .path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A credential helper failed.
    #[error("error storing credentials - err: {reason}, out: `{output}`")]
    Helper {
        /// What became of it.
        reason: String,
        /// What it said.
        output: String,
    },
    /// The registry does not take this user name and password.
    #[error("login attempt to {url} failed with status: 401 Unauthorized")]
    LoginRefused {
        /// What was asked for.
        url: String,
    },
    /// A layer of the store cannot be put together.
    #[error(transparent)]
    Layer(#[from] SaveError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A web server does not give a file.
    #[error("invalid response status {status}")]
    WebStatus {
        /// The number of the status.
        status: u16,
    },
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

fn after(wait: Option<Duration>) -> String {
    wait.map_or_else(String::new, |wait| format!(" (the registry asks to wait {} s)", wait.as_secs()))
}

fn list(found: &[String]) -> String {
    if found.is_empty() { String::new() } else { format!(", which are for {}", found.join(", ")) }
}

impl RegistryError {
    /// Whether the file system is full, or a quota on it is used up.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::File { source, .. } if layerfs::is_no_space(source.kind()))
    }

    /// Whether a server has answered, and this is its answer.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(
            self,
            Self::Unauthorized { .. }
                | Self::TooManyRequests { .. }
                | Self::Reported { .. }
                | Self::Status { .. }
                | Self::Document { .. }
                | Self::Redirect { .. }
        )
    }

    /// Whether the same request may go better a little later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport { transient, .. } | Self::Status { transient, .. } => *transient,
            Self::TooManyRequests { .. } => true,
            _ => false,
        }
    }
}
