//! Numbers and times as Go writes them.

use crate::schema::time::Time;

/// As Go's `binary.PutUvarint`: seven bits a byte, the lowest first.
pub(super) fn unsigned(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
    bytes
}

/// As Go's `binary.PutVarint` writes a number that is not negative: the lowest bit is the sign. No file has more bytes than
/// fit.
pub(super) fn signed(number: u64) -> Vec<u8> {
    unsigned(number << 1)
}

/// The key of `parents` that says that a snapshot stands on another one.
pub(super) fn link(parent: u64, child: u64) -> Vec<u8> {
    [unsigned(parent), vec![0], unsigned(child)].concat()
}

/// As Go's `time.Time.MarshalBinary`.
pub(super) fn time(time: Time) -> Vec<u8> {
    time.to_go_binary().to_vec()
}

#[cfg(test)]
mod tests {
    use super::super::super::metadata::{number, unsigned as read_unsigned};
    use super::*;

    /// Measured: containerd 2.1.9 wrote these.
    #[test]
    fn numbers_are_gos() {
        assert_eq!(signed(1_994_752), [0x80, 0xc0, 0xf3, 0x01]);
        assert_eq!((signed(703), signed(230), signed(0)), (vec![0xfe, 0x0a], vec![0xcc, 0x03], vec![0]));
        assert_eq!((unsigned(22), unsigned(300)), (vec![0x16], vec![0xac, 0x02]));
        for size in [0, 1, 63, 64, 127, 128, 1 << 40, u64::MAX >> 1] {
            assert_eq!((number(&signed(size)), read_unsigned(&unsigned(size))), (size, size));
        }
    }

    /// Measured: containerd 2.1.9 wrote this for the time beside it.
    #[test]
    fn times_are_gos() {
        let moment = Time::parse("2026-11-28T20:41:10.484959040Z").unwrap();
        let hex: String = time(moment).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "010000000ee29d33661ce7e340ffff");
    }
}
