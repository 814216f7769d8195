//! A layer from its plan to its bytes.

use std::io::{self, Write};

use layerfs::{Digest, Hasher};

use super::compress::Encoder;
use super::content::Content;
use super::entry::EntryKind;
use super::kinds::Image;
use super::member;
use super::{CorpusCompression, Error};

/// A layer that was written.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    /// SHA-256 of the tar.
    pub diff_id: Digest,
    /// Length of the tar.
    pub tar_bytes: u64,
    /// SHA-256 of the tar as it is stored.
    pub digest: Digest,
    /// Length of the tar as it is stored.
    pub bytes: u64,
    /// Members of the tar.
    pub members: u64,
    /// Files among them, whiteouts included.
    pub files: u64,
}

/// Writes layer `number` of an image to `out`, and returns that with what it is.
pub(super) fn write<W: Write + Send + 'static>(
    image: &Image,
    number: usize,
    compression: CorpusCompression,
    out: W,
) -> Result<(W, Written), Error> {
    let layer = &image.layers[number];
    let stored = Measured::new(out, compression != CorpusCompression::None);
    let mut tar = Measured::new(Encoder::new(compression, stored)?, true);
    let mut content = Content::new(layer.seed);
    let (mut members, mut files) = (0, 0);
    image.walk(number, &mut |entry| {
        members += 1;
        member::write(&mut tar, layer.style, entry)?;
        if let EntryKind::File { size, class } = entry.kind {
            files += 1;
            content.write(class, size, &mut tar)?;
            member::pad(&mut tar, size)?;
        }
        Ok(())
    })?;
    member::finish(&mut tar)?;
    let (encoder, diff_id, tar_bytes) = tar.finish();
    let (out, digest, bytes) = encoder.finish()?.finish();
    let digest = if compression == CorpusCompression::None { diff_id } else { digest };
    Ok((out, Written { diff_id, tar_bytes, digest, bytes, members, files }))
}

/// Counts and hashes what goes through.
struct Measured<W> {
    out: W,
    /// `None` where the hash is known from elsewhere.
    hasher: Option<Hasher>,
    length: u64,
}

impl<W: Write> Measured<W> {
    fn new(out: W, hashed: bool) -> Self {
        Self { out, hasher: hashed.then(Hasher::default), length: 0 }
    }

    fn finish(self) -> (W, Digest, u64) {
        (self.out, self.hasher.unwrap_or_default().finish(), self.length)
    }
}

impl<W: Write> Write for Measured<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes[..written]);
        }
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
