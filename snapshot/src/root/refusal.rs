//! Why a directory is not written to.

use std::fmt;
use std::path::PathBuf;

use super::lock::WriterInfo;

/// Why the guard refuses a directory. [`Display`](fmt::Display) says it to people, after "X is not written to: ".
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Another process of ours is writing to it.
    Busy(WriterInfo),
    /// A daemon runs on it: the daemon has locked this database.
    DaemonRuns {
        /// The database, by its path below the root.
        database: String,
    },
    /// A layer of it is mounted.
    LayerMounted {
        /// The mount point.
        point: PathBuf,
    },
    /// Whether a layer of it is mounted cannot be found out.
    MountsUnknown {
        /// The reason, with its causes.
        reason: String,
    },
    /// It belongs to a daemon that maps users, which keeps everything in a directory for the mapping.
    MapsUsers {
        /// The directory's name.
        directory: String,
    },
    /// It is the directory of a mapping of users.
    IsMapped,
    /// It has state of another storage driver. With this driver's beside it, dockerd would not start.
    OtherDriver {
        /// The other driver.
        driver: String,
        /// The driver that was to be written for.
        own: &'static str,
    },
    /// It has state of another storage driver. dockerd would start with that one and not show what is written.
    DriverComesFirst {
        /// The other driver.
        driver: String,
        /// The driver that was to be written for.
        own: &'static str,
    },
    /// Its storage driver cannot be written.
    UnknownDriver {
        /// The driver.
        driver: String,
    },
    /// Its images belong to a storage driver that dockerd uses only if it is configured to. After the write, dockerd
    /// would no longer use it.
    VfsImages {
        /// That driver.
        driver: &'static str,
    },
    /// Its images are in containerd's store, which dockerd would no longer use.
    ContainerdStore,
    /// A store of containerd was to be made anew in it, or added to, and something is in there that does not go with it.
    ContainerdHolds {
        /// What, in words.
        what: String,
    },
    /// It has the images of a Docker before version 1.10, which no dockerd of today reads.
    BeforeContentAddresses {
        /// A file or directory that only such a Docker has.
        name: String,
    },
    /// It is no directory.
    NotADirectory,
    /// It is a symlink that leads nowhere.
    DanglingLink {
        /// Where it should lead.
        target: PathBuf,
    },
    /// It is a symlink that leads back to itself.
    LoopingLink,
    /// It does not exist, nor does the directory that it would be made in.
    NoParent {
        /// The first missing directory.
        missing: PathBuf,
    },
    /// It is not empty, and what is in it is not a data-root's.
    Foreign(Foreign),
    /// It is new or empty and lies in a data-root, where dockerd does not expect it.
    InsideDataRoot {
        /// That data-root.
        outer: PathBuf,
    },
    /// A directory that would be written to is not writable.
    NotWritable {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
}

/// What a directory that is no data-root holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// What it is; `None` if that cannot be recognised.
    pub kind: Option<&'static str>,
    /// Some names of what is in it, sorted.
    pub names: Vec<String>,
    /// How many names are left out.
    pub more: usize,
    /// A data-root that it holds or lies in, which may have been meant.
    pub meant: Option<PathBuf>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy(writer) => write!(f, "{writer} is writing to it; wait for it to end"),
            Self::DaemonRuns { database } => {
                write!(f, "a running dockerd uses it ({database} is locked); stop the daemon first")
            }
            Self::LayerMounted { point } => {
                write!(f, "a layer of it is mounted at {}; stop its containers and the daemon first", point.display())
            }
            Self::MountsUnknown { reason } => {
                write!(f, "whether its layers are mounted, as those of running containers are, is unknown: {reason}")
            }
            Self::MapsUsers { directory } => write!(
                f,
                "its daemon maps users ({directory}/ holds its images), so it would not see what is written here"
            ),
            Self::IsMapped => f.write_str("it belongs to a daemon that maps users; ids are not mapped on import"),
            Self::OtherDriver { driver, own } => {
                write!(f, "it belongs to the storage driver {driver}; with {own} beside it dockerd would not start")
            }
            Self::DriverComesFirst { driver, own } => {
                write!(f, "it belongs to the storage driver {driver}; dockerd would not show images of {own} there")
            }
            Self::UnknownDriver { driver } => write!(f, "its storage driver {driver} cannot be written"),
            Self::VfsImages { driver } => {
                write!(f, "its images belong to the storage driver {driver}; dockerd would no longer show them")
            }
            Self::ContainerdStore => f.write_str(
                "its images are in containerd's store; a storage driver's directory would change what dockerd starts with",
            ),
            Self::ContainerdHolds { what } => {
                write!(f, "containerd's store in it holds {what}, beside which nothing is written here")
            }
            Self::BeforeContentAddresses { name } => {
                write!(f, "its images are of a Docker before version 1.10 ({name}), which no dockerd of today can read")
            }
            Self::NotADirectory => f.write_str("it is not a directory"),
            Self::DanglingLink { target } => {
                write!(f, "it is a symlink to {}, which does not exist", target.display())
            }
            Self::LoopingLink => f.write_str("it is a symlink that leads back to itself"),
            Self::NoParent { missing } => {
                write!(f, "{} does not exist (mkdir -p makes it)", missing.display())
            }
            Self::Foreign(foreign) => write!(f, "{foreign}"),
            Self::InsideDataRoot { outer } => {
                write!(f, "it lies in {}, which is a data-root itself", outer.display())
            }
            Self::NotWritable { path, reason } => write!(f, "{}: {reason}", path.display()),
        }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Some(kind) => write!(f, "it is {kind}, and no data-root of Docker")?,
            None => f.write_str("it is neither empty nor a data-root of Docker")?,
        }
        write!(f, "; it holds {}", self.names.join(", "))?;
        match self.more {
            0 => {}
            more => write!(f, " and {more} more")?,
        }
        match &self.meant {
            Some(meant) => write!(f, " ({} is a data-root)", meant.display()),
            None => Ok(()),
        }
    }
}
