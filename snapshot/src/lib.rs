//! Docker's data-root, read and written without a daemon.
//!
//! | module | what it answers |
//! |---|---|
//! | [`root`] | whether this directory may be read or written, and who else uses it |
//! | [`schema`] | how each file on disk is spelled and decoded |
//! | [`driver`] | where a layer's content is stored, and how a layer is mounted |
//! | [`catalog`] | what images, layers, containers and volumes there are, as dockerd sees them, and what is damaged |
//! | [`liveness`] | who needs which directory, and what can be deleted if something is removed |
//! | [`view`] | all of the above, read once, at one moment: begin here to read a store |
//! | [`check`] | what is wrong, whom it affects, and what would mend it |
//! | [`edit`] | transactions, which make all of their changes or none: begin here to write to a store |
//! | [`gc`] | what garbage collection may remove, and why: a plan |
//! | [`repair`] | what can be mended of a damaged store, and how |
//! | [`usage`] | how many bytes each part takes up |
//! | [`containerd`] | what images containerd's image store has, by its records and blobs |
//!
//! [`mod@reference`], [`platform`] and [`ids`] hold the types of names; a name is checked when it is read.
//!
//! # Examples
//!
//! This lists the images of a data-root and gives one of them another name. A reader needs no permission; a
//! [`Transaction`](edit::Transaction) begins by asking the guard of [`root`], which refuses while a daemon runs.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use snapshot::edit::{Edit, Transaction, WriteOptions};
//! use snapshot::view::{Needs, View};
//!
//! let root = Path::new("/var/lib/docker");
//! let view = View::read(root, None, Needs::LISTING)?;
//! let catalog = view.catalog();
//! for image in catalog.images().values() {
//!     println!("{} {} bytes {:?}", image.id, catalog.image_size(image), catalog.names_of(image.id));
//! }
//!
//! if let Some(image) = catalog.images().values().next() {
//!     let mut transaction = Transaction::begin(root, WriteOptions { driver: None, sync: true })?;
//!     transaction.add(Edit::SetTag { reference: "example:1".parse()?, image: image.id });
//!     transaction.commit()?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/` has whole programs: `images`, `owner`, `plan` and `check`.

pub mod catalog;
pub mod check;
pub mod containerd;
pub mod dir;
pub mod driver;
pub mod edit;
mod error;
pub mod gc;
pub mod ids;
pub mod liveness;
pub mod parallel;
#[doc(hidden)]
pub mod parsers;
pub mod platform;
pub mod reference;
pub mod repair;
pub mod root;
pub mod schema;
pub mod usage;
pub mod view;

pub use error::StoreError;
