//! `docker://REF` in the place of an archive: an image of a registry, unpacked while it arrives.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use images::load::{ImportReport, ImportRequest};
use images::unpack::{UnpackForm, UnpackReport, blobs_dir, unpack_image};
use layerfs::Digest;
use registry::{BlobListener, PullRequest, RegistryClient, RegistryError, Remote};
use snapshot::reference::Reference;

use super::image::pull;
use super::store::Store;
use crate::registries::{SourceFlags, cause, complain_of_retry, in_turn, parse};

/// How an argument begins that names an image of a registry, as other tools for images spell it.
pub(crate) const SCHEME: &str = "docker://";

/// Layers that are fetched at once.
const AT_ONCE: usize = 3;

/// An image of a registry that a command takes instead of an archive.
#[derive(Debug)]
pub(crate) struct RemoteImage<'i> {
    /// The command, for what it says.
    command: &'static str,
    reference: Reference,
    flags: &'i SourceFlags,
    interrupted: &'i Arc<AtomicBool>,
}

impl<'i> RemoteImage<'i> {
    /// The image that `text` names, if it begins with `docker://`.
    pub(crate) fn named(
        command: &'static str,
        text: &Path,
        flags: &'i SourceFlags,
        interrupted: &'i Arc<AtomicBool>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(name) = text.to_str().and_then(|text| text.strip_prefix(SCHEME)) else { return Ok(None) };
        let reference = parse(name)?.with_default_tag();
        Ok(Some(Self::new(command, reference, flags, interrupted)))
    }

    /// The image with a name.
    pub(crate) fn new(
        command: &'static str,
        reference: Reference,
        flags: &'i SourceFlags,
        interrupted: &'i Arc<AtomicBool>,
    ) -> Self {
        Self { command, reference, flags, interrupted }
    }

    /// The image as a source, for this machine's platform. What is fetched of it goes into the directory `blobs`.
    pub(crate) fn source(&self, blobs: &Path) -> anyhow::Result<Remote> {
        self.ask(|client| {
            let resolved = registry::resolve(client, &self.reference, None)?;
            Ok(Remote::new(resolved, std::slice::from_ref(&self.reference), self.pull(client, blobs)))
        })
    }

    /// Unpacks the image into a directory, which is as it was before if that fails.
    pub(crate) fn unpack(
        &self,
        to: &Path,
        form: UnpackForm,
        request: &ImportRequest<'_>,
    ) -> anyhow::Result<UnpackReport> {
        self.ask(|client| {
            let resolved = registry::resolve(client, &self.reference, request.select.platform.as_ref())?;
            let remote =
                Remote::new(resolved, std::slice::from_ref(&self.reference), self.pull(client, &blobs_dir(to)));
            let unpacked = unpack_image(&remote, to, form, request);
            let fault = unpacked.as_ref().err().and_then(|_| remote.fault());
            remote.finish(false);
            unpacked.map_err(|error| cause(error, fault.map(|(fault, _)| fault)))
        })
    }

    /// Imports the image into a store of a data-root, as `image pull` does, and gives it the same names.
    pub(crate) fn import(
        &self,
        root: &Path,
        store: Store,
        request: &ImportRequest<'_>,
    ) -> anyhow::Result<ImportReport> {
        self.ask(|client| {
            let resolved = registry::resolve(client, &self.reference, request.select.platform.as_ref())?;
            pull::twice(|| {
                let pull = self.pull(client, &pull::blobs_dir(root));
                pull::import(resolved.clone(), (root, store), pull, request)
            })
        })
    }

    /// Asks the mirrors and the registry itself in turn.
    fn ask<T>(&self, attempt: impl FnMut(&Arc<RegistryClient>) -> anyhow::Result<T>) -> anyhow::Result<T> {
        in_turn(self.command, self.flags.clients(&self.reference, self.interrupted)?, attempt)
    }

    fn pull(&self, client: &Arc<RegistryClient>, blobs: &Path) -> PullRequest {
        PullRequest {
            client: Arc::clone(client),
            reference: self.reference.clone(),
            dir: blobs.to_owned(),
            most: AT_ONCE,
            listener: Arc::new(Complaints(self.command)),
        }
    }
}

/// Says what goes wrong on the way and is tried again.
struct Complaints(&'static str);

impl BlobListener for Complaints {
    fn retry(&self, blob: Digest, at: u64, _pause: Duration, error: &RegistryError) {
        complain_of_retry(self.0, blob, at, error);
    }
}
