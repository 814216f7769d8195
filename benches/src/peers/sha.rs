//! SHA-256 alone, as a peer: what hashing every layer costs whoever does nothing else.

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Bytes that are read at a time: fits the second-level cache.
const PIECE: usize = 256 << 10;

/// Prints the SHA-256 of each file. The sha2 crate uses the processor's SHA instructions where there are some.
///
/// # Errors
///
/// If a file cannot be read.
pub fn sums(files: &[PathBuf]) -> Result<()> {
    let mut piece = vec![0; PIECE];
    for path in files {
        let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let mut hasher = Sha256::new();
        loop {
            let length = file.read(&mut piece).with_context(|| format!("reading {}", path.display()))?;
            if length == 0 {
                break;
            }
            hasher.update(&piece[..length]);
        }
        let sum: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(std::io::stdout(), "{sum}  {}", path.display())?;
    }
    Ok(())
}
