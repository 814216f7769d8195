//! Bytes of a tar, and the tar-split journal that rebuilds them. No file system, no Docker layout.
//!
//! A journal (`tar-split.json.gz`, by [vbatts/tar-split]) is a recipe for one tar stream: literal bytes, and references
//! to file bodies that are unpacked on disk. Docker writes one for every layer it unpacks and rebuilds the layer from it
//! on `docker save` and `docker push`; the result must have the layer's diff id.
//!
//! [`frame`] splits a stream losslessly, [`member`] resolves headers and extensions, [`disassemble`] turns a tar into a
//! journal, [`assemble`] turns it back.
//!
//! # Examples
//!
//! A tar into a journal and back, with all bodies in the journal:
//!
//! ```
//! use std::convert::Infallible;
//!
//! use tarsplit::Member;
//! use tarsplit::assemble::{FileGetter, assemble};
//! use tarsplit::disassemble::{Disassembler, Keep, Sink};
//! use tarsplit::journal::{EntryReader, gzip};
//!
//! struct AllInline;
//!
//! impl Sink for AllInline {
//!     type Error = Infallible;
//!
//!     fn member(&mut self, _member: Box<Member>, _first: bool) -> Result<Keep, Infallible> {
//!         Ok(Keep::Inline)
//!     }
//!
//!     fn body(&mut self, _data: &[u8], _at: usize, _last: bool) -> Result<(), Infallible> {
//!         Ok(())
//!     }
//! }
//!
//! impl FileGetter for AllInline {
//!     type File = std::io::Empty;
//!
//!     fn open(&self, _name: &[u8]) -> std::io::Result<Self::File> {
//!         Err(std::io::ErrorKind::NotFound.into())
//!     }
//! }
//!
//! # let mut builder = tar::Builder::new(Vec::new());
//! # let mut header = tar::Header::new_ustar();
//! # header.set_size(5);
//! # builder.append_data(&mut header, "etc/hostname", &b"here\n"[..]).unwrap();
//! # let tar = builder.into_inner().unwrap();
//! let mut disassembler = Disassembler::new(Some(gzip(Vec::new())));
//! disassembler.push(&tar, &mut AllInline).unwrap();
//! let journal = disassembler.finish::<Infallible>().unwrap().unwrap().finish().unwrap();
//!
//! let mut again = Vec::new();
//! assemble(EntryReader::new(journal.as_slice()), &AllInline, &mut again)?;
//! assert_eq!(again, tar);
//! # Ok::<(), tarsplit::JournalError>(())
//! ```
//!
//! # What is accepted
//!
//! Exactly what Go's `archive/tar` accepts, since that is what Docker unpacks with: no end blocks needed, one zero block
//! and the end of the file is an end, the last padding may be cut, PAX over header fields, GNU long names over PAX, a
//! second `x` header replaces the first, `g` headers never apply to other members. [`limits`] lists the bounds.
//!
//! # Where our journals differ from the original's
//!
//! The original journals some tars in a way it cannot replay. We store the bytes that matter inline, which every reader
//! accepts:
//!
//! | input | original | here |
//! |---|---|---|
//! | PAX sparse file | expanded body, holes lost | stored bytes inline |
//! | link, directory or device with a size | size kept, replay opens the path | size zero |
//! | whiteout with content, `..` in a name, empty name | replay opens a file that is not there | inline |
//! | two names for one file, a file replaced later | replay reads the later content | inline |
//! | last padding cut short | dropped | as read |
//! | a name that comes twice | refused | second one without a file entry |
//! | empty last segment (before v0.11.4) | written | not written; read |
//!
//! [vbatts/tar-split]: https://github.com/vbatts/tar-split
#![forbid(unsafe_code)]

pub mod assemble;
pub mod block;
pub mod crc64;
pub mod disassemble;
mod entry;
mod error;
pub mod frame;
pub mod journal;
pub mod limits;
pub mod member;
pub mod names;
pub mod pax;
pub mod plain;
pub mod sparse;
mod values;
pub mod write;

pub use entry::Entry;
pub use error::{JournalError, TarError, TarErrorKind};
pub use member::{Member, MemberKind};
