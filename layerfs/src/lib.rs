//! One layer's content: decode, hash, apply to a directory.
//!
//! # Examples
//!
//! A layer into a directory, and its tar again from what is there:
//!
//! ```
//! use std::io::BufReader;
//! use std::path::Path;
//!
//! use layerfs::apply::{Ownership, Target, WhiteoutMode};
//! use layerfs::{DiffId, Digest, JournalFile, LayerFiles, Source, Unpacking};
//! use rustix::fs::{Mode, OFlags};
//! use tarsplit::assemble::assemble;
//! use tarsplit::journal::EntryReader;
//!
//! # let mut builder = tar::Builder::new(Vec::new());
//! # let mut header = tar::Header::new_ustar();
//! # header.set_size(5);
//! # header.set_mode(0o644);
//! # builder.append_data(&mut header, "etc/hostname", &b"here\n"[..])?;
//! # let tar = builder.into_inner()?;
//! let dir = tempfile::tempdir()?;
//! let diff = dir.path().join("diff");
//! std::fs::create_dir(&diff)?;
//! let open = |path: &Path| rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
//!
//! let target = Target {
//!     root: open(&diff)?,
//!     scratch: open(dir.path())?,
//!     whiteouts: WhiteoutMode::Record,
//!     ownership: Ownership::Caller,
//!     defer_directories: false,
//! };
//! let journal = JournalFile { dir: open(dir.path())?, name: "tar-split.json.gz" };
//! let unpacked = Unpacking::begin(Source::Slice(&tar), target, Some(journal))?.run(2)?;
//! assert_eq!(unpacked.diff_id, DiffId(Digest::hash(&tar)));
//! assert_eq!(std::fs::read(diff.join("etc/hostname"))?, b"here\n");
//!
//! let journal = std::fs::File::open(dir.path().join("tar-split.json.gz"))?;
//! let mut again = Vec::new();
//! assemble(EntryReader::new(BufReader::new(journal)), &LayerFiles::new(open(&diff)?), &mut again)?;
//! assert_eq!(again, tar);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(unsafe_code)]

pub mod apply;
mod bytes;
mod chain;
pub mod compress;
mod copy;
pub mod delete;
mod digest;
mod error;
pub mod flatten;
pub mod mend;
pub mod meter;
pub mod path;
pub mod pool;
mod replay;
mod source;
mod sys;
mod unpack;
mod usage;
pub mod verify;
mod warning;
mod whiteout;
mod xattr;

pub use copy::{copy_tree, link_tree};
pub use digest::{ChainId, DiffId, Digest, Hasher, HashingReader, InvalidDigest};
pub use error::{MemberError, UnpackError, is_no_space};
pub use replay::{LayerFile, LayerFiles, Rebuilding, tar_length};
pub use source::Source;
pub use sys::in_root::open_in_root;
pub use sys::remove::remove_tree;
pub use unpack::{JournalFile, Step, Unpacked, Unpacking};
pub use usage::{changed_size, tree_blocks, tree_size};
pub use warning::{Warning, Warnings};
pub use whiteout::InvalidWhiteout;
