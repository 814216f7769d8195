//! Bounds on what a stream may make us hold in memory, each naming the attack it stops.

/// Bytes of one `x`, `g`, `L` or `K` header: Go's `maxSpecialFileSize` (CVE-2022-2879, unbounded PAX headers).
pub const MAX_EXTENSION: u64 = 1 << 20;

/// Extension headers before one member. Go has no bound: an endless run of them never yields a member.
pub const MAX_EXTENSIONS_PER_MEMBER: u32 = 4096;

/// Entries of a sparse map (CVE-2025-58183, CVE-2026-32288: unbounded maps).
pub const MAX_SPARSE_ENTRIES: usize = 1 << 20;

/// Bytes of a PAX 1.0 sparse map, which stands in the body (CVE-2025-58183).
pub const MAX_SPARSE_MAP: usize = 1 << 20;

/// Literal bytes in one journal entry we write (CVE-2017-14992: the whole tail in one entry).
pub const MAX_SEGMENT: usize = 1 << 20;

/// Bytes of one journal entry we read: a segment of 1 MiB is 1.4 MiB of base64, older writers went higher.
pub const MAX_JOURNAL_ENTRY: usize = 64 << 20;
