//! What is compared with what, and what has to come out.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What is given to the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// `image.tar`, an uncompressed `docker save`.
    Image,
    /// `image-oci-gzip.tar`, the same image as an OCI layout with gzip layers.
    ImageGzip,
    /// `layer.tar.gz`, one large layer.
    LayerGzip,
    /// `layer.tar.zst`, the same layer.
    LayerZstd,
    /// `small.tar`, a layer of many small files.
    Small,
}

impl Workload {
    /// All of them, in the order in which they are measured.
    pub const ALL: [Self; 5] = [Self::Image, Self::ImageGzip, Self::LayerGzip, Self::LayerZstd, Self::Small];

    /// Name of the archive in the directory of inputs.
    pub fn archive(self) -> &'static str {
        match self {
            Self::Image => "image.tar",
            Self::ImageGzip => "image-oci-gzip.tar",
            Self::LayerGzip => "layer.tar.gz",
            Self::LayerZstd => "layer.tar.zst",
            Self::Small => "small.tar",
        }
    }

    /// Whether it is a whole image, which goes into a store.
    pub fn is_image(self) -> bool {
        matches!(self, Self::Image | Self::ImageGzip)
    }

    /// What a heading says of it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Image => "An uncompressed image",
            Self::ImageGzip => "The same image with gzip layers",
            Self::LayerGzip => "One large gzip layer",
            Self::LayerZstd => "One large zstd layer",
            Self::Small => "Many small files",
        }
    }
}

/// The programs, each with its way of being called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// `layer-unpack` with two threads.
    LayerUnpack,
    /// `layer-unpack --threads 1`.
    LayerUnpackOneThread,
    /// `layer-unpack` into a root that has the image.
    LayerUnpackWarm,
    /// GNU tar of each layer into a directory of its own; of a compressed layer, with its own decompressor.
    GnuTar,
    /// libarchive's tar, likewise.
    Bsdtar,
    /// `igzip -dc | tar x`.
    IgzipTar,
    /// `pigz -dc | tar x`.
    PigzTar,
    /// `zstd -dc | tar x`.
    ZstdTar,
    /// A private dockerd, `docker load`.
    Dockerd,
    /// A private containerd, `ctr image import`.
    Containerd,
    /// `podman load` into a store of its own.
    Podman,
    /// `umoci unpack`.
    Umoci,
    /// The Rust crate oci-image.
    OciImage,
    /// The Rust crates tar and flate2.
    TarCrate,
    /// The Rust crate astral-tokio-tar.
    TokioTar,
    /// SHA-256 of every layer, with the sha2 crate: no unpacking.
    Sha256,
}

impl Peer {
    /// What tables call it.
    pub fn label(self) -> &'static str {
        match self {
            Self::LayerUnpack => "layer-unpack, 2 threads",
            Self::LayerUnpackOneThread => "layer-unpack, 1 thread",
            Self::LayerUnpackWarm => "layer-unpack, image present",
            Self::GnuTar => "GNU tar",
            Self::Bsdtar => "bsdtar",
            Self::IgzipTar => "igzip | tar",
            Self::PigzTar => "pigz | tar",
            Self::ZstdTar => "zstd | tar",
            Self::Dockerd => "dockerd, docker load",
            Self::Containerd => "containerd, ctr import",
            Self::Podman => "podman load",
            Self::Umoci => "umoci unpack",
            Self::OciImage => "crate oci-image",
            Self::TarCrate => "crates tar, flate2",
            Self::TokioTar => "crate astral-tokio-tar",
            Self::Sha256 => "SHA-256 alone (crate sha2)",
        }
    }

    /// Whether it is `layer-unpack`.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::LayerUnpack | Self::LayerUnpackOneThread | Self::LayerUnpackWarm)
    }

    /// Threads it is told to use, for the bound by stages.
    pub fn threads(self) -> u32 {
        if self == Self::LayerUnpackOneThread { 1 } else { 2 }
    }
}

/// Kinds of file system that are unpacked onto.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum On {
    /// Memory.
    Tmpfs,
    /// ext4 in a loop device whose file is in memory.
    Ext4,
    /// XFS, likewise.
    Xfs,
}

impl On {
    /// Its name for `mkfs` and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tmpfs => "tmpfs",
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// The variants that are measured on it: in memory, there is nothing to wait for.
    pub fn variants(self) -> &'static [Sync] {
        match self {
            Self::Tmpfs => &[Sync::Unsynced],
            Self::Ext4 | Self::Xfs => &[Sync::Unsynced, Sync::Synced],
        }
    }
}

/// Whether the data has to be on the disk when the clock stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sync {
    /// No: `layer-unpack --no-sync`, and peers as they are.
    Unsynced,
    /// Yes: `layer-unpack` as it is, and `sync -f` after each peer, in its time.
    Synced,
}

/// The rows of the table of goals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Row {
    /// An uncompressed image against everybody.
    Image,
    /// An image with gzip layers.
    ImageGzip,
    /// One gzip layer.
    LayerGzip,
    /// One zstd layer.
    LayerZstd,
    /// Many small files.
    Small,
    /// CPU time against unpacking and hashing apart.
    Cpu,
    /// Two threads against one.
    Scaling,
    /// Peak of anonymous memory.
    Memory,
    /// The image is there already.
    Warm,
}

impl Row {
    /// What is unpacked for it; nothing for memory, which has runs of its own over all inputs.
    pub fn workload(self) -> Option<Workload> {
        Some(match self {
            Self::Image | Self::Cpu | Self::Scaling | Self::Warm => Workload::Image,
            Self::ImageGzip => Workload::ImageGzip,
            Self::LayerGzip => Workload::LayerGzip,
            Self::LayerZstd => Workload::LayerZstd,
            Self::Small => Workload::Small,
            Self::Memory => return None,
        })
    }

    /// Who is measured for it.
    pub fn peers(self) -> &'static [Peer] {
        use Peer::{
            Bsdtar, Containerd, Dockerd, GnuTar, IgzipTar, LayerUnpack, LayerUnpackOneThread, LayerUnpackWarm,
            OciImage, PigzTar, Podman, Sha256, TarCrate, TokioTar, Umoci, ZstdTar,
        };
        match self {
            Self::Image => &[
                LayerUnpack,
                GnuTar,
                LayerUnpackOneThread,
                Dockerd,
                Bsdtar,
                Containerd,
                Podman,
                OciImage,
                TarCrate,
                TokioTar,
            ],
            Self::ImageGzip => &[LayerUnpack, Umoci, Containerd],
            Self::LayerGzip => &[LayerUnpack, IgzipTar, GnuTar, PigzTar, Bsdtar, OciImage, TarCrate],
            Self::LayerZstd => &[LayerUnpack, ZstdTar, Bsdtar, OciImage, TarCrate],
            Self::Small => &[LayerUnpack, GnuTar, Bsdtar, OciImage, TarCrate, TokioTar],
            Self::Cpu => &[LayerUnpack, GnuTar, Sha256],
            Self::Scaling => &[LayerUnpack, LayerUnpackOneThread],
            Self::Warm => &[LayerUnpackWarm],
            Self::Memory => &[],
        }
    }
}

/// How a goal is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoalForm {
    /// Their time divided by ours: at least so much.
    TimesAsFast,
    /// Our time divided by theirs: at most so much.
    ShareOfTime,
    /// Our CPU time divided by the sum of theirs: at most so much.
    ShareOfCpu,
    /// Our time in seconds: at most so much.
    Seconds,
}

/// One line of the table of goals.
#[derive(Debug, Clone, Copy)]
pub struct SpeedGoal {
    /// The row it belongs to.
    pub row: Row,
    /// Whose figures are judged.
    pub ours: Peer,
    /// Against whom; the sum, where there are several.
    pub against: &'static [Peer],
    /// How it is said.
    pub form: GoalForm,
    /// What must be reached.
    pub must: f64,
    /// What the hardware is thought to allow.
    pub bound: &'static str,
}

/// The goals, but for memory: [`MEMORY_MUST`].
pub const GOALS: &[SpeedGoal] = &[
    goal(Row::Image, Peer::LayerUnpack, &[Peer::Dockerd], GoalForm::TimesAsFast, 13.0, "15 to 16"),
    goal(Row::Image, Peer::LayerUnpack, &[Peer::GnuTar], GoalForm::ShareOfTime, 0.68, "0.58"),
    goal(Row::Image, Peer::LayerUnpackOneThread, &[Peer::GnuTar], GoalForm::ShareOfTime, 1.3, "1.1"),
    goal(Row::ImageGzip, Peer::LayerUnpack, &[Peer::Umoci], GoalForm::TimesAsFast, 9.0, "10"),
    goal(Row::ImageGzip, Peer::LayerUnpack, &[Peer::Containerd], GoalForm::TimesAsFast, 8.0, "9"),
    goal(Row::LayerGzip, Peer::LayerUnpack, &[Peer::IgzipTar], GoalForm::ShareOfTime, 0.62, "0.50"),
    goal(Row::LayerZstd, Peer::LayerUnpack, &[Peer::ZstdTar], GoalForm::ShareOfTime, 0.70, "0.60"),
    goal(Row::Small, Peer::LayerUnpack, &[Peer::GnuTar], GoalForm::ShareOfTime, 0.60, "0.48"),
    goal(Row::Cpu, Peer::LayerUnpack, &[Peer::GnuTar, Peer::Sha256], GoalForm::ShareOfCpu, 0.92, "0.80"),
    goal(Row::Scaling, Peer::LayerUnpack, &[Peer::LayerUnpackOneThread], GoalForm::TimesAsFast, 1.75, "2.0"),
    goal(Row::Warm, Peer::LayerUnpackWarm, &[], GoalForm::Seconds, 0.030, ""),
];

/// Anonymous memory that no input may exceed, in bytes.
pub const MEMORY_MUST: u64 = 128_000_000;

const fn goal(
    row: Row,
    ours: Peer,
    against: &'static [Peer],
    form: GoalForm,
    must: f64,
    bound: &'static str,
) -> SpeedGoal {
    SpeedGoal { row, ours, against, form, must, bound }
}

/// The peers that a choice of rows needs for one workload, each once, in the order of the rows.
pub fn contenders(rows: &[Row], workload: Workload) -> Vec<Peer> {
    let mut all = Vec::new();
    for row in rows.iter().filter(|row| row.workload() == Some(workload)) {
        all.extend(row.peers().iter().filter(|peer| !all.contains(*peer)).copied().collect::<Vec<_>>());
    }
    all
}
