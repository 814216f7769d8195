//! Where images are copied from and to.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use images::source::Blob as Mapped;
use layerfs::Digest;
use snapshot::reference::Reference;

use super::archive::NewArchive;
use super::document::Descriptor;
use super::layout::{Layout, LayoutSource};
use super::packed::Packed;
use super::referrers;
use super::stored::StoredImage;
use crate::blob::{Blob, Relayed};
use crate::body::Content;
use crate::client::RegistryClient;
use crate::error::RegistryError;
use crate::push::Arrival;
use crate::resolve::{Document, document, scope};
use crate::upload::{Begun, Delivery, Repository, scope_to_push};

/// Where an image is copied from.
#[derive(Debug)]
pub enum Source<'s> {
    /// A repository of a registry.
    Registry(Arc<RegistryClient>, Reference),
    /// An OCI image layout, in a directory or in an archive.
    Layout(LayoutSource),
    /// An archive as `docker save` makes it.
    Packed(Packed),
    /// containerd's store of a data-root.
    Store(StoredImage<'s>),
}

/// Where an image is copied to.
#[derive(Debug)]
pub enum Target {
    /// A repository of a registry.
    Registry(Arc<RegistryClient>, Reference),
    /// An OCI image layout, a directory.
    Layout(Layout),
    /// A new archive.
    Archive(NewArchive),
}

/// What a document is to the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// What the name leads to.
    Top,
    /// What another document names.
    Part,
    /// It says something about another one, as that one's referrer.
    Referrer(Digest),
    /// It says something about another one, by a tag that is made of that one's digest.
    Tag(String),
}

impl Source<'_> {
    /// What it is, for messages.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Registry(_, reference) => reference.familiar(),
            Self::Layout(layout) => layout.shown(),
            Self::Packed(packed) => packed.shown().to_owned(),
            Self::Store(image) => image.name.to_owned(),
        }
    }

    /// The document that the name leads to, or the one of this digest.
    pub(super) fn document(&self, digest: Option<Digest>) -> Result<Document, RegistryError> {
        match self {
            Self::Registry(client, reference) => document(client, reference, digest),
            Self::Layout(layout) => layout.document(digest),
            Self::Packed(packed) => packed.document(digest),
            Self::Store(image) => image.document(digest),
        }
    }

    /// The documents that say of themselves that they are about this one.
    pub(super) fn referrers(&self, subject: Digest) -> Result<Vec<Digest>, RegistryError> {
        match self {
            Self::Registry(client, reference) => referrers::of(client, reference, subject),
            Self::Layout(layout) => layout.referrers(subject),
            Self::Packed(_) | Self::Store(_) => Ok(Vec::new()),
        }
    }

    /// The document that a tag leads to, if there is one.
    pub(super) fn tagged(&self, tag: &str) -> Result<Option<Document>, RegistryError> {
        match self {
            Self::Registry(client, reference) => referrers::tagged(client, reference, tag),
            Self::Layout(layout) => layout.tagged(tag),
            Self::Packed(_) | Self::Store(_) => Ok(None),
        }
    }

    /// Brings a blob to where it is wanted.
    pub(super) fn send(
        &self,
        &Descriptor { digest, size }: &Descriptor,
        to: &Target,
        delivery: &dyn Delivery,
    ) -> Result<(), RegistryError> {
        match self {
            Self::Registry(client, reference) => {
                let (name, scope) = (reference.familiar(), scope(reference));
                let (repository, name, scope) = (reference.path(), name.as_str(), scope.as_str());
                let blob = Blob { client, repository, name, scope, digest, size };
                to.take(digest, (&Relayed::new(blob), size), delivery)
            }
            Self::Layout(layout) => to.take(digest, (&layout.open_blob(digest, size)?, size), delivery),
            Self::Packed(packed) => to.take(digest, (packed.blob(digest), size), delivery),
            Self::Store(image) => to.take(digest, (&image.open_blob(digest, size)?, size), delivery),
        }
    }
}

impl Target {
    /// Whether the document is there, with all that it names.
    pub(super) fn has(&self, document: &Document) -> Result<bool, RegistryError> {
        match self {
            Self::Registry(client, to) => repository(client, to, &scope_to_push(to.path(), &[]))
                .has_manifest(document.digest, &document.media_type),
            // Its blobs may be missing all the same, and to look for them is cheap.
            Self::Layout(_) | Self::Archive(_) => Ok(false),
        }
    }

    /// Finds a blob, or has the registry take it from another of its repositories.
    pub(super) fn find(&self, from: &Source<'_>, blob: &Descriptor) -> Result<Option<Arrival>, RegistryError> {
        let (client, to) = match self {
            Self::Layout(layout) => return Ok(layout.has_blob(blob.digest, blob.size).then_some(Arrival::Existed)),
            Self::Archive(_) => return Ok(None),
            Self::Registry(client, reference) => (client, reference),
        };
        if repository(client, to, &scope_to_push(to.path(), &[])).blob_size(blob.digest)?.is_some() {
            return Ok(Some(Arrival::Existed));
        }
        let Source::Registry(_, from) = from else { return Ok(None) };
        if from.domain() != to.domain() || from.path() == to.path() {
            return Ok(None);
        }
        let scope = scope_to_push(to.path(), &[from.path()]);
        match client.repeat(|| repository(client, to, &scope).begin(Some((blob.digest, from.path())))) {
            Ok(Begun::Mounted) => Ok(Some(Arrival::Mounted { from: from.path().to_owned() })),
            Ok(Begun::Session(_)) => Ok(None),
            // Mounting only saves time: whatever the registry has against it, the bytes can be sent.
            Err(error) if error.is_answer() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes the bytes of a blob.
    fn take(
        &self,
        digest: Digest,
        (content, size): (&dyn Content, u64),
        delivery: &dyn Delivery,
    ) -> Result<(), RegistryError> {
        match self {
            Self::Registry(client, to) => {
                repository(client, to, &scope_to_push(to.path(), &[])).deliver(digest, (content, size), delivery)
            }
            Self::Layout(layout) => layout.write_blob(digest, (content, size), delivery),
            Self::Archive(archive) => archive.write_blob(digest, (content, size), delivery),
        }
    }

    /// Puts a document there, by its role.
    pub(super) fn put(&self, document: &Document, role: &Role) -> Result<(), RegistryError> {
        let (client, to) = match self {
            Self::Layout(layout) => return layout.put(document, role),
            Self::Archive(archive) => return archive.put(document, role),
            Self::Registry(client, reference) => (client, reference),
        };
        let scope = scope_to_push(to.path(), &[]);
        let repository = repository(client, to, &scope);
        let digest = document.digest.to_string();
        let which = match role {
            Role::Top => to.tag().unwrap_or(&digest),
            Role::Tag(tag) => tag,
            Role::Part | Role::Referrer(_) => &digest,
        };
        let is_listed = repository.put_manifest(which, &document.media_type, &document.bytes)?.is_listed;
        match role {
            Role::Referrer(subject) if !is_listed => referrers::list(&repository, (client, to), document, *subject),
            _ => Ok(()),
        }
    }

    /// Ends what is whole only now.
    pub(super) fn finish(&self) -> Result<(), RegistryError> {
        match self {
            Self::Archive(archive) => archive.finish(),
            Self::Registry(..) | Self::Layout(_) => Ok(()),
        }
    }
}

fn repository<'r>(client: &'r RegistryClient, to: &'r Reference, scope: &'r str) -> Repository<'r> {
    Repository { client, path: to.path(), scope }
}

/// A blob of a layout.
#[derive(Debug)]
pub(super) enum Stored {
    File(File),
    Mapped(Mapped),
}

impl Content for Stored {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + '_>> {
        match self {
            Self::File(file) => file.open(from),
            Self::Mapped(blob) => blob.open(from),
        }
    }
}
