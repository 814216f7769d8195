//! Headers of a tar that depend on nothing but names, lengths and modes: no time, no owner.

/// Bytes of a block.
pub(super) const BLOCK: usize = 512;

/// Two empty blocks end a tar.
pub(super) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// The first length that eleven octal digits do not hold.
const LARGE: u64 = 1 << 33;

/// The header of a regular file (POSIX.1-1988 `ustar`), as `docker save` writes it but for the time.
///
/// A length of 8 GiB and more is written as a number of base 256 (GNU): all readers know it, and the header keeps its length.
pub(super) fn header(name: &str, size: u64) -> [u8; BLOCK] {
    header_with(name, size, 0o644)
}

/// The header of a regular file with this mode.
pub(super) fn header_with(name: &str, size: u64, mode: u32) -> [u8; BLOCK] {
    typed_header(name, size, mode, b'0')
}

/// The member for a directory, whose name ends with a slash.
pub(super) fn directory(name: &str) -> [u8; BLOCK] {
    typed_header(name, 0, 0o755, b'5')
}

fn typed_header(name: &str, size: u64, mode: u32, kind: u8) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    debug_assert!(name.len() <= 100, "digests and fixed names fit");
    put(0, name.as_bytes());
    put(100, format!("{mode:07o}\x000000000\x000000000\0").as_bytes());
    if size < LARGE {
        put(124, format!("{size:011o}\0").as_bytes());
    } else {
        put(124, &[0x80, 0, 0, 0]);
        put(128, &size.to_be_bytes());
    }
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    put(329, b"0000000\x000000000\0");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// The zeros that fill the last block of a body of `size` bytes.
pub(super) fn padding(size: u64) -> &'static [u8] {
    let used = (size % BLOCK as u64) as usize;
    &END[..(BLOCK - used) % BLOCK]
}

/// A whole member.
pub(super) fn member(name: &str, bytes: &[u8]) -> Vec<u8> {
    let size = bytes.len() as u64;
    [&header(name, size), bytes, padding(size)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reader is that of the tar crate.
    #[test]
    fn headers_are_read_by_others() {
        for size in [0, 1, 511, 512, LARGE - 1, LARGE, LARGE * 1000 + 7] {
            let header = header("blobs/sha256/0123", size);
            let mut archive = tar::Archive::new(header.as_slice());
            let entry = archive.entries().unwrap().next().unwrap().unwrap();
            assert_eq!((entry.header().entry_size().unwrap(), entry.header().mtime().unwrap()), (size, 0));
            assert_eq!(entry.header().mode().unwrap(), 0o644);
            assert_eq!(entry.path().unwrap().to_str(), Some("blobs/sha256/0123"));
            assert_eq!((size + padding(size).len() as u64) % 512, 0);
        }
    }
}
