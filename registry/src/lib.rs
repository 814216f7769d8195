//! Images from registries and to them: the OCI distribution specification 1.1, as docker uses it.
//!
//! ```text
//! RegistryClient      one host: its addresses, certificates, credentials, tokens; requests with redirects and repeats
//! resolve     a reference -> manifest (of one platform) -> config: an image without its layers
//! Downloads   blobs, several at once, each into a file named by its digest, resumed from what is there
//! Remote      all that as an images::source::ImageSource: whoever unpacks reads a blob while it arrives
//! Push        images of a store: what the registry has is found, the rest is packed and sent
//! copy        images from one registry, layout or archive to another, as they are
//! ```
//!
//! Blocking, with a thread for each transfer. oci-client was looked at: it makes an anonymous request of one whose token was
//! refused, has no time limits or repeats of its own, and brings an asynchronous runtime.
//!
//! Invariant: credentials go to the registry's own host and to the token server that it names, never along a redirect to
//! another host, and never over plain HTTP to a host that is not on this machine, unless the user said so.
//!
//! Invariant: nothing that a server sends is read without a bound.

mod address;
mod answer;
mod blob;
mod body;
mod client;
mod copy;
mod credentials;
mod download;
mod error;
pub mod header;
mod host;
mod hosts_file;
mod interrupt;
mod manifest;
#[doc(hidden)]
pub mod parsers;
mod push;
mod remote;
mod resolve;
mod search;
mod tls;
mod token;
mod transport;
mod upload;
mod wait;
mod web;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use client::{ClientOptions, RegistryClient};
pub use copy::{
    ArchiveName, Copied, CopyListener, CopyOptions, Layout, LayoutSource, NewArchive, Packed, Source, StoredImage,
    Target, copy,
};
pub use credentials::{CredentialStore, Credentials, Saved, host_of};
pub use download::BlobListener;
pub use error::{RegistryError, Reported};
pub use host::{InsecureRegistries, RegistryHost};
pub use hosts_file::{ServingHost, serving_hosts};
pub use manifest::ManifestForm;
pub use push::{Arrival, Push, PushListener, PushOptions, PushedImage, PushedLayer};
pub use remote::{PullRequest, Remote};
pub use resolve::{Resolved, head, platform_of, resolve, tags};
pub use search::{SearchResult, search_address, search_host};
pub use web::{WebFile, fetch_file};

/// Locks a mutex. A thread that died while it held it has left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
