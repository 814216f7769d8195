//! What a data-root holds, one file per on-disk schema: reading and writing side by side.
//!
//! ```text
//! image/overlay2/               0700
//!   repositories.json           0600   references
//!   imagedb/                    0700
//!     content/sha256/<image>    0600   image
//!     metadata/sha256/<image>/  0700   image
//!   layerdb/                    0700
//!     sha256/<chain>/           0755/0700   layer
//!     tmp/write-set-*/          0755/0700   layer
//!     mounts/<container>/       0755   mount
//!   distribution/               0700   distribution
//! buildkit/                     0711   buildkit
//! containers/<container>/       0710   container
//! devicemapper/metadata/*       0600   devicemapper
//! volumes/<name>/               0701   volume
//! ```

pub mod buildkit;
pub mod config;
pub mod container;
pub mod containerfile;
pub(crate) mod database;
pub mod devicemapper;
pub mod distribution;
pub mod documents;
pub mod gojson;
pub mod image;
pub mod layer;
pub(crate) mod mount;
pub(crate) mod paths;
pub mod references;
pub mod runconfig;
pub mod time;
pub mod volume;
