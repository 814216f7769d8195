//! A corpus anyone can make: image archives for benchmarks, of any size, the same bytes from the same seed.
//!
//! Real images cannot be passed on, change with every release of their packages, and come in one size. These follow one:
//! the sizes of files, the directories, names, links, owners and modes, how the content repeats itself.
//!
//! # What they follow
//!
//! Measured on Debian bookworm's packages, the image of `testdata/make-big-image.sh`: seven layers, 1.48 GB, 75,328 members.
//! The tables are in `measured.rs` and `models.rs`; beside them, what [`CorpusKind::Typical`] with seed 1 has of it:
//!
//! | | real | generated |
//! |---|---:|---:|
//! | files, symlinks, directories | 63,231, 5,746, 6,219 | 63,067, 5,746, 6,289 |
//! | empty files | 10.6 % | 10.6 % |
//! | median size; files of half a MiB and more | 1.7 KiB; 0.4 % | 1.7 KiB; 0.4 % |
//! | bytes in files of half a MiB and more | 61 % | 59 % |
//! | entries of a directory: median, 90 %, 99 %, most | 3, 18, 142, 6,447 | 4, 21, 147, 2,757 |
//! | components of a path: most have; 90 %; most | 6; 8; 15 | 5; 9; 14 |
//! | length of a path: median, 90 %, 99 % | 49, 71, 84 | 44, 72, 92 |
//! | `gzip -6`: all | 0.271 | 0.272 |
//! | ... by layer: base, toolchain, languages, documents, libraries | 0.401 0.235 0.210 0.277 0.321 | 0.404 0.248 0.213 0.271 0.314 |
//! | `zstd -3`: all | 0.256 | 0.267 |
//! | ... by layer | 0.334 0.224 0.202 0.277 0.298 | 0.396 0.232 0.196 0.284 0.318 |
//! | decoded by `igzip`, by `gzip`, on one core | 990, 217 MB/s | 870, 199 MB/s |
//!
//! By content, of the bytes: 34 % text, whose half is source code (deflated to 0.15 and 0.21), 24 % fonts, catalogues and
//! other data (0.32; tables of collation 0.26), 40 % programs and libraries (0.32 to 0.39), 1 % compressed already.
//!
//! More than was found there: hard links (one in four hundred files), `security.capability`, long and non-ASCII names, a few
//! fifos. Every image has some of what an unpacker must know, and too little of it to be slowed down.
//! The gzip of [`CorpusCompression::Gzip`] is zlib-rs's, which compresses a little less than `gzip -6`.
//!
//! # How they are made
//!
//! `kinds` plans layers, `tree` walks directories that do not exist, `changes` finds victims in the layers below by walking
//! these again, `content` writes what is in files. Nothing is held but the directories above the current file and a
//! few MB of content, so that memory does not grow with the corpus.
//!
//! Invariant: nothing depends on a clock, the environment, the order of a hash table, a fraction other than the scale, or
//! what was made before.

pub use error::Error;
pub use layer::Written;

mod archive;
mod changes;
mod compress;
mod content;
mod entry;
mod error;
mod extremes;
mod formats;
mod kinds;
mod layer;
mod measured;
mod member;
mod models;
mod names;
mod random;
mod sizes;
mod tree;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use kinds::Image;

/// What the corpus is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CorpusKind {
    /// 200,000 files below 8 KiB in one layer
    ManySmall,
    /// Two files of 1 GB in one layer
    FewLarge,
    /// A Debian image: 1.5 GB, 63,000 files, 7 layers
    Typical,
    /// Paths of up to 960 directories, directories of 50,000 entries
    DeepAndWide,
    /// 100 layers of 5 to 15 MB
    HundredLayers,
    /// One layer of 1.1 GB, its files as in `typical`
    OneLarge,
}

/// What is around the layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum CorpusFormat {
    /// An archive as `docker save` of 20.10 writes it
    #[default]
    Docker,
    /// An OCI image layout in a tar
    Oci,
    /// The layer alone, for kinds that have one
    Layer,
}

/// How layers are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum CorpusCompression {
    /// Not at all
    #[default]
    None,
    /// One gzip member, level 6
    Gzip,
    /// One zstd frame, level 3, with a checksum
    Zstd,
    /// What `pigz -6` makes of it
    Pigz,
    /// A gzip member for each MiB, as writers of seekable layers make them
    Members,
}

/// What to make.
#[derive(Debug, Clone, Copy)]
pub struct CorpusOptions {
    /// Which corpus.
    pub kind: CorpusKind,
    /// Times as many files and bytes.
    pub scale: f64,
    /// Another seed is another corpus with the same figures.
    pub seed: u64,
    /// What is around the layers.
    pub format: CorpusFormat,
    /// How layers are compressed.
    pub compression: CorpusCompression,
}

impl fmt::Display for CorpusKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.to_possible_value();
        f.write_str(name.as_ref().map_or("", clap::builder::PossibleValue::get_name))
    }
}

/// Makes a corpus at `out`, and tells `report` of each layer when it is written, with its number.
///
/// The file appears when it is whole: until then it is beside, with `.part` at the end of its name.
///
/// # Errors
/// [`Error`]
pub fn make(options: &CorpusOptions, out: &Path, report: &mut dyn FnMut(usize, &Written)) -> Result<(), Error> {
    if !(0.000_1..=1_000.0).contains(&options.scale) {
        return Err(Error::Scale { scale: options.scale });
    }
    let image = Image::new(options.kind, options.scale, options.seed);
    let mut part = out.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let failed = |source| Error::Write { path: part.clone(), source };
    let file = File::create(&part).map_err(failed)?;
    let made = match options.format {
        CorpusFormat::Docker => formats::docker(&image, options, file, report),
        CorpusFormat::Oci => formats::oci(&image, options, file, report),
        CorpusFormat::Layer => formats::bare(&image, options, file, report),
    };
    let made =
        made.and_then(|()| std::fs::rename(&part, out).map_err(|source| Error::Write { path: out.to_owned(), source }));
    if made.is_err() {
        // Best effort: the first failure is the one to tell of.
        let _ = std::fs::remove_file(&part);
    }
    made
}
