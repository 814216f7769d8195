//! The names of causes for programs. They do not change between versions.

use super::{ContainerDamage, Damage, ImageDamage, LayerFault, MountDamage, RecordDamage, UnusableLayer};

impl Damage {
    /// A name of the cause for programs. It does not change between versions.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::References { .. } => "references-invalid",
            Self::NameRecord { .. } => "name-record-invalid",
            Self::Image { cause, .. } => cause.code(),
            Self::Blob { fault, .. } => fault.code(),
            Self::Layer { cause, .. } => cause.code(),
            Self::LayerFault { fault, .. } => fault.code(),
            Self::Container { cause, .. } => cause.code(),
            Self::WritableLayer { cause, .. } => cause.code(),
            Self::Mount { cause, .. } => cause.code(),
            Self::Volume { .. } => "volume-options-invalid",
            Self::BuildCache { .. } => "build-cache-unreadable",
            Self::Database { .. } => "database-invalid",
            Self::Misplaced { .. } => "directory-misplaced",
            Self::DatabaseMissing { .. } => "database-missing",
        }
    }
}

impl ImageDamage {
    /// As [`Damage::code`].
    #[must_use]
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::ConfigMissing => "image-config-missing",
            Self::DigestDiffers => "image-digest-differs",
            Self::ConfigUnreadable { .. } => "image-config-unreadable",
            Self::ConfigNotRead { .. } => "image-config-not-read",
            Self::ConfigInvalid { .. } => "image-config-invalid",
            Self::OtherSystem { .. } => "image-other-system",
            Self::SystemSpelling { .. } => "image-system-spelling",
            Self::TopLayer(UnusableLayer::Missing { .. }) => "image-layer-missing",
            Self::TopLayer(UnusableLayer::Damaged { .. }) => "image-layer-damaged",
            Self::Blob { fault, .. } => fault.code(),
        }
    }
}

impl RecordDamage {
    /// As [`Damage::code`].
    #[must_use]
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Record { .. } => "layer-record-invalid",
            Self::BelowMissing { .. } => "layer-below-missing",
            Self::BelowDamaged { .. } => "layer-below-damaged",
            Self::Circle => "layer-circle",
        }
    }
}

impl LayerFault {
    /// As [`Damage::code`].
    #[must_use]
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::WrongName => "layer-wrong-name",
            Self::JournalMissing => "layer-journal-missing",
            Self::JournalEmpty => "layer-journal-empty",
            Self::CannotMount { cause } => cause.code(),
            Self::MountUnknown { .. } => "layer-mount-unknown",
        }
    }
}

impl ContainerDamage {
    /// As [`Damage::code`].
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::ConfigMissing => "container-config-missing",
            Self::ConfigInvalid { .. } => "container-config-invalid",
            Self::OtherSystem { .. } => "container-other-system",
            Self::Crash { .. } => "container-crashes-dockerd",
            Self::HostConfigInvalid { .. } => "container-hostconfig-invalid",
            Self::OtherId { .. } => "container-other-id",
            Self::OtherDriver { .. } => "container-other-driver",
            Self::MountMissing => "container-mount-missing",
            Self::MountInvalid { .. } => "container-mount-invalid",
            Self::LayerBelow(UnusableLayer::Missing { .. }) => "container-layer-missing",
            Self::LayerBelow(UnusableLayer::Damaged { .. }) => "container-layer-damaged",
        }
    }
}

impl MountDamage {
    /// As [`Damage::code`].
    #[must_use]
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NotADirectory => "mount-not-a-directory",
            Self::Empty => "mount-empty",
            Self::Unreadable { .. } => "mount-unreadable",
            Self::FileMissing { .. } => "mount-file-missing",
            Self::FileUnreadable { .. } => "mount-file-unreadable",
            Self::FileInvalid { .. } => "mount-file-invalid",
        }
    }
}
