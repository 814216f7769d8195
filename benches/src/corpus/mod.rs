//! A corpus anyone can make: image archives for benchmarks, of any size, the same bytes from the same seed.
pub use content::Class;
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
pub enum Kind {
    /// 200,000 files below 8 KiB in one layer
    ManySmall,
    /// Two files of 1 GB in one layer
    FewLarge,
    /// A Debian image: 1.5 GB, 63,000 files, 7 layers
    Typical,
    /// Paths of up to 1000 directories, directories of 50,000 entries
    DeepAndWide,
    /// 100 layers of 5 to 15 MB
    HundredLayers,
    /// One layer of 1.1 GB, its files as in `typical`
    OneLarge,
}

/// What is around the layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
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
pub enum Compression {
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
pub struct Options {
    /// Which corpus.
    pub kind: Kind,
    /// Times as many files and bytes.
    pub scale: f64,
    /// Another seed is another corpus with the same figures.
    pub seed: u64,
    /// What is around the layers.
    pub format: Format,
    /// How layers are compressed.
    pub compression: Compression,
}

impl fmt::Display for Kind {
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
pub fn make(options: &Options, out: &Path, report: &mut dyn FnMut(usize, &Written)) -> Result<(), Error> {
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
        Format::Docker => formats::docker(&image, options, file, report),
        Format::Oci => formats::oci(&image, options, file, report),
        Format::Layer => formats::bare(&image, options, file, report),
    };
    let made =
        made.and_then(|()| std::fs::rename(&part, out).map_err(|source| Error::Write { path: out.to_owned(), source }));
    if made.is_err() {
        // Best effort: the first failure is the one to tell of.
        let _ = std::fs::remove_file(&part);
    }
    made
}
