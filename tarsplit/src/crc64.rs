//! CRC-64/GO-ISO, the checksum that a journal keeps of each body (Go's `hash/crc64` with the ISO table).

use crc_fast::{CrcAlgorithm, Digest};

/// A running CRC-64 of one body.
#[derive(Debug, Clone)]
pub struct Crc64(Digest);

impl Default for Crc64 {
    fn default() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc64GoIso))
    }
}

impl Crc64 {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum as the journal stores it: eight bytes, big-endian.
    #[must_use]
    pub fn finish(&self) -> [u8; 8] {
        self.0.finalize().to_be_bytes()
    }
}

/// The checksum of `bytes`.
#[must_use]
pub fn checksum(bytes: &[u8]) -> [u8; 8] {
    crc_fast::checksum(CrcAlgorithm::Crc64GoIso, bytes).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of Go's `hash/crc64`, as dockerd 20.10.24 stored them.
    #[test]
    fn equals_go() {
        let mebibyte: Vec<u8> = (0..1 << 20).map(|i| (i % 256) as u8).collect();
        let cases: &[(&[u8], u64)] = &[
            (b"", 0),
            (b"a", 0x3420_0000_0000_0000),
            (b"foo", 0x3c3c_3030_0000_0000),
            (b"hello world\n", 0x44e9_cf3f_572a_d9ac),
            (b"123456789", 0xb909_56c7_75a4_1001),
            (b"\0", 0x6f90_0000_0000_0000),
            (&[0; 8], 0xacff_ffff_ffff_ffff),
            (&mebibyte, 0x35c5_cd6f_c516_7a5c),
        ];
        for &(bytes, expected) in cases {
            assert_eq!(checksum(bytes), expected.to_be_bytes());
            let mut pieces = Crc64::default();
            bytes.chunks(100).for_each(|piece| pieces.update(piece));
            assert_eq!(pieces.finish(), expected.to_be_bytes());
        }
    }
}
