//! `corpus KIND OUT`: makes an image archive for benchmarks.
#![forbid(unsafe_code)]
// Talk goes to standard error; there is no data.
#![allow(clippy::print_stderr)]

use std::path::PathBuf;

use benches::corpus::{self, CorpusCompression, CorpusFormat, CorpusKind, CorpusOptions};
use clap::Parser;

/// Makes an image archive for benchmarks: the same bytes from the same arguments, always.
#[derive(Parser)]
#[command(name = "corpus")]
struct Arguments {
    /// What to make
    kind: CorpusKind,
    /// Where to write it
    out: PathBuf,
    /// Times as many files and bytes
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    scale: f64,
    /// Another seed makes another corpus with the same figures
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// What is around the layers
    #[arg(long, value_enum, default_value_t)]
    format: CorpusFormat,
    /// How layers are compressed
    #[arg(long, value_enum, default_value_t)]
    compress: CorpusCompression,
}

fn main() -> anyhow::Result<()> {
    let Arguments { kind, out, scale, seed, format, compress } = Arguments::parse();
    let options = CorpusOptions { kind, scale, seed, format, compression: compress };
    let (mut layers, mut files, mut tar_bytes, mut bytes) = (0, 0, 0, 0);
    corpus::make(&options, &out, &mut |number, layer| {
        eprintln!("layer {}: {} files, {} bytes, {} stored", number + 1, layer.files, layer.tar_bytes, layer.bytes);
        layers += 1;
        files += layer.files;
        tar_bytes += layer.tar_bytes;
        bytes += layer.bytes;
    })?;
    eprintln!("{}: {layers} layers, {files} files, {tar_bytes} bytes, {bytes} stored", out.display());
    Ok(())
}
