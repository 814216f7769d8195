//! What to unpack, and into what: once, or as often as a benchmark needs it.

use std::path::Path;

use images::load::{ImportOptions, ImportReport, ImportRequest, Observer, import, import_into_containerd};
use images::source::{Format, Select};
use images::unpack::{UnpackForm, UnpackReport};

use crate::commands::remote_image::RemoteImage;
use crate::commands::store::Store;
use crate::input;

/// What to make of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// Images in a data-root.
    Root,
    /// Images in containerd's store of a data-root.
    Containerd,
    /// A directory for each layer.
    Layers,
    /// One tree.
    Rootfs,
}

impl Target {
    /// The option that asks for this target, without its dashes.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Root | Self::Containerd => "root",
            Self::Layers => "layers",
            Self::Rootfs => "rootfs",
        }
    }
}

/// What to unpack, without the place to unpack to and the options.
#[derive(Debug)]
pub(super) struct Job<'j> {
    pub(super) archive: &'j Path,
    /// The image of a registry that `archive` names, if it does.
    pub(super) remote: Option<&'j RemoteImage<'j>>,
    pub(super) target: Target,
    pub(super) select: &'j Select,
}

/// What was unpacked.
#[derive(Debug)]
pub(super) enum Done {
    /// Into a data-root.
    Import(ImportReport),
    /// Into directories.
    Directories(UnpackReport),
}

impl Job<'_> {
    /// Opens the archive and unpacks it to `to`.
    pub(super) fn unpack(
        &self,
        to: &Path,
        options: &ImportOptions<'_>,
        observer: &dyn Observer,
    ) -> anyhow::Result<Done> {
        let request = ImportRequest { archive: input::called(self.archive), select: self.select, options, observer };
        let form = match self.target {
            Target::Root | Target::Containerd => None,
            Target::Layers => Some(UnpackForm::Layers),
            Target::Rootfs => Some(UnpackForm::Rootfs),
        };
        if let Some(remote) = self.remote {
            return match form {
                None if self.target == Target::Containerd => {
                    remote.import(to, Store::Containerd, &request).map(Done::Import)
                }
                None => remote.import(to, Store::Overlay2, &request).map(Done::Import),
                Some(form) => remote.unpack(to, form, &request).map(Done::Directories),
            };
        }
        let opened = input::open(self.archive)?;
        let named = input::with_name(self.archive);
        if self.target == Target::Containerd {
            return import_into_containerd(opened, to, &request).map(Done::Import).map_err(named);
        }
        let Some(form) = form else { return import(opened, to, &request).map(Done::Import).map_err(named) };
        images::unpack::unpack(opened, to, form, &request).map(Done::Directories).map_err(named)
    }
}

impl Done {
    /// How the archive describes its images; absent for a bare layer.
    pub(super) fn format(&self) -> Option<Format> {
        match self {
            Self::Import(report) => report.format,
            Self::Directories(report) => report.format,
        }
    }

    /// Bytes and members of each layer's tar that was unpacked.
    pub(super) fn layers(&self) -> Vec<(u64, u64)> {
        match self {
            Self::Import(report) => report.unpacked.iter().map(|layer| (layer.tar_bytes, layer.members)).collect(),
            Self::Directories(report) => report.layers.iter().map(|layer| (layer.tar_bytes, layer.members)).collect(),
        }
    }
}
