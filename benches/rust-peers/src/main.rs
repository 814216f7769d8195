//! `rust-peers CRATE LAYER DIR`: unpacks one layer into an existing directory, with a crate from elsewhere.
//!
//! Each crate is told to restore what `layer-unpack` restores, as far as it can: owners, modes, times, attributes.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Bytes that are read at a time.
const BUFFER: usize = 256 << 10;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, layer, directory] = arguments.as_slice() else { bail!("usage: rust-peers CRATE LAYER DIR") };
    let (layer, directory) = (Path::new(layer), Path::new(directory));
    match name.as_str() {
        "oci-image" => oci_image(layer, directory),
        "tar" => tar(layer, directory),
        "astral-tokio-tar" => astral_tokio_tar(layer, directory),
        _ => bail!("{name} is none of oci-image, tar, astral-tokio-tar"),
    }
}

/// Whiteouts in overlay form; all processors, for gzip as well where the stream allows it.
fn oci_image(layer: &Path, directory: &Path) -> Result<()> {
    let layout = oci_image::Layout::Overlay(oci_image::OverlayXattr::Trusted);
    let options = oci_image::UnpackOptions { layout, ..Default::default() };
    oci_image::apply_layer_file(layer, directory, &options)?;
    Ok(())
}

/// Whiteouts stay files; one thread.
fn tar(layer: &Path, directory: &Path) -> Result<()> {
    let file = File::open(layer).with_context(|| layer.display().to_string())?;
    let reader = BufReader::with_capacity(BUFFER, file);
    let content: Box<dyn Read> = match layer.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Some("zst") => Box::new(zstd::Decoder::with_buffer(reader)?),
        _ => Box::new(reader),
    };
    let mut archive = ::tar::Archive::new(content);
    archive.set_unpack_xattrs(true);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    archive.unpack(directory)?;
    Ok(())
}

/// Whiteouts stay files; plain layers only: it decompresses nothing. It does not restore owners, which saves it a call
/// for each file.
fn astral_tokio_tar(layer: &Path, directory: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let reader = tokio::io::BufReader::with_capacity(BUFFER, tokio::fs::File::open(layer).await?);
        let mut archive =
            tokio_tar::ArchiveBuilder::new(reader).set_preserve_permissions(true).set_unpack_xattrs(true).build();
        archive.unpack(directory).await?;
        Ok(())
    })
}
