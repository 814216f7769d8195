//! Images on their way into a store, out of it, and beside it.
//!
//! In: [`source`] says which images an archive, a layout or a pipe has and where the bytes of a layer come from; [`load`]
//! imports them into a data-root; [`make`] writes the configs of images that are made here (import of a tar, commit of a
//! container), [`flatten`] makes one layer of several, and [`pipe`] lets a layer be unpacked while it is still being written.
//!
//! Out: [`save`] writes images of a store into an archive that every tool reads; [`export`] writes one tree of files as
//! a tar, and [`copy`] puts single files and directories onto the host; [`output`] is how the first two write a file
//! that nobody sees before it is whole.
//!
//! Without a store, or beside it: [`unpack`] puts one image into plain directories; [`tree`] reads what is in an image
//! without unpacking it; [`measure`] says what the layers of an archive hold; [`mend`] opens the sources from which a damaged
//! store is repaired.
//!
//! # Examples
//!
//! What is in an archive. [`load::import`] has an example of how it gets into a data-root.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use images::source::{Archive, ImageSource as _, Opened, Select};
//!
//! let Opened::Archive(archive) = Archive::open(Path::new("app.tar"))? else { return Ok(()) };
//! for image in archive.images(&Select::default())?.images {
//!     println!("{} layers", image.layers.len());
//! }
//! # Ok::<(), images::source::ArchiveError>(())
//! ```

mod blocks;
pub mod copy;
pub mod export;
pub mod flatten;
mod in_containerd;
pub mod load;
pub mod make;
pub mod measure;
pub mod mend;
pub mod migrate;
pub mod output;
pub mod pipe;
pub mod rescue;
pub mod save;
pub mod source;
pub mod tree;
pub mod unpack;
pub mod written;
