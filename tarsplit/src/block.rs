//! One 512-byte header block: field ranges, dialect, checksum, octal and base-256 numbers.
//!
//! Follows Go's `archive/tar` (`format.go`, `reader.go: readHeader`, `strconv.go`), because that is what Docker reads
//! layers with: signed checksums, unterminated and space-padded octal, base-256 and star headers are accepted.

use std::ops::Range;

use crate::error::TarErrorKind;

/// Bytes of a tar block.
pub const BLOCK: usize = 512;

/// One block as it stands in the archive.
pub type Block = [u8; BLOCK];

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const LINKNAME: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..263;
const VERSION: Range<usize> = 263..265;
const DEVMAJOR: Range<usize> = 329..337;
const DEVMINOR: Range<usize> = 337..345;
const PREFIX: Range<usize> = 345..500;
const STAR_PREFIX: Range<usize> = 345..476;
const STAR_ATIME: Range<usize> = 476..488;
const STAR_CTIME: Range<usize> = 488..500;
const STAR_TRAILER: Range<usize> = 508..512;
const GNU_ATIME: Range<usize> = 345..357;
const GNU_CTIME: Range<usize> = 357..369;

/// Which family of headers a block belongs to; decides what bytes 257 to 512 mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// No magic that we know: only the first 257 bytes count.
    V7,
    /// POSIX ustar, PAX included.
    Ustar,
    /// Schily's star: a shorter prefix, then atime and ctime.
    Star,
    /// Old GNU: no prefix, sparse map in the block.
    Gnu,
}

/// The fields of one header block, before any extension is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fields {
    /// The dialect its magic names.
    pub(crate) dialect: Dialect,
    /// The type byte, uninterpreted.
    pub(crate) typeflag: u8,
    /// Name, with the ustar or star prefix in front.
    pub(crate) name: Vec<u8>,
    /// Link target.
    pub(crate) linkname: Vec<u8>,
    /// Mode field, all bits.
    pub(crate) mode: i64,
    /// Numeric owner.
    pub(crate) uid: i64,
    /// Numeric group.
    pub(crate) gid: i64,
    /// Size field.
    pub(crate) size: i64,
    /// Seconds since 1970.
    pub(crate) mtime: i64,
    /// Seconds since 1970; `None` where the dialect has no such field.
    pub(crate) atime: Option<i64>,
    /// Device numbers; zero where the dialect has none.
    pub(crate) device: (i64, i64),
}

/// Whether members with this type byte have no body, whatever their size field says (Go's `isHeaderOnlyType`).
pub(crate) fn is_header_only(typeflag: u8) -> bool {
    matches!(typeflag, b'1'..=b'6')
}

/// Whether every byte of `block` is zero.
#[must_use]
pub(crate) fn is_zero(block: &Block) -> bool {
    block.iter().all(|&b| b == 0)
}

/// Whether `bytes` starts with a header block whose checksum holds: the test by which a tar is told from other data.
#[must_use]
pub fn looks_like_header(bytes: &[u8]) -> bool {
    bytes.first_chunk::<BLOCK>().is_some_and(|block| !is_zero(block) && checksum_holds(block))
}

/// Reads a header block.
///
/// # Errors
/// [`TarErrorKind::Checksum`] or [`TarErrorKind::Number`], as Go's `readHeader` returns `ErrHeader`.
pub(crate) fn parse(block: &Block) -> Result<Fields, TarErrorKind> {
    if !checksum_holds(block) {
        return Err(TarErrorKind::Checksum);
    }
    let dialect = dialect(block);
    let number = |range: Range<usize>, field| numeric(&block[range]).ok_or(TarErrorKind::Number { field });
    let mut fields = Fields {
        dialect,
        typeflag: block[TYPE],
        name: until_nul(&block[NAME]).to_vec(),
        linkname: until_nul(&block[LINKNAME]).to_vec(),
        size: number(SIZE, "size")?,
        mode: number(MODE, "mode")?,
        uid: number(UID, "uid")?,
        gid: number(GID, "gid")?,
        mtime: number(MTIME, "mtime")?,
        atime: None,
        device: (0, 0),
    };
    if dialect == Dialect::V7 {
        return Ok(fields);
    }
    fields.device = (number(DEVMAJOR, "devmajor")?, number(DEVMINOR, "devminor")?);
    let prefix = match dialect {
        Dialect::Star => {
            fields.atime = Some(number(STAR_ATIME, "atime")?);
            number(STAR_CTIME, "ctime")?;
            until_nul(&block[STAR_PREFIX])
        }
        Dialect::Gnu => gnu_times_or_prefix(block, &mut fields),
        Dialect::Ustar | Dialect::V7 => until_nul(&block[PREFIX]),
    };
    if !prefix.is_empty() {
        fields.name = [prefix, b"/", &fields.name].concat();
    }
    Ok(fields)
}

/// The type, the name and the prefix of a header whose checksum holds and whose dialect leaves no doubt about them.
pub(crate) fn plain_fields(block: &Block) -> Option<(u8, &[u8], &[u8])> {
    let prefix = match dialect(block) {
        Dialect::Ustar => until_nul(&block[PREFIX]),
        Dialect::Gnu if block[GNU_ATIME.start] == 0 && block[GNU_CTIME.start] == 0 => b"",
        _ => return None,
    };
    checksum_holds(block).then(|| (block[TYPE], until_nul(&block[NAME]), prefix))
}

/// The size field.
pub(crate) fn plain_size(block: &Block) -> Option<i64> {
    numeric(&block[SIZE])
}

/// The link's target.
pub(crate) fn plain_linkname(block: &Block) -> &[u8] {
    until_nul(&block[LINKNAME])
}

/// Go before 1.8 wrote a ustar prefix under the GNU magic. As Go's reader does, this reads the bytes as a prefix where
/// they are not valid times.
fn gnu_times_or_prefix<'b>(block: &'b Block, fields: &mut Fields) -> &'b [u8] {
    let time = |range: Range<usize>| (block[range.start] != 0).then(|| numeric(&block[range]));
    match (time(GNU_ATIME), time(GNU_CTIME)) {
        (Some(None), _) | (_, Some(None)) => {
            let prefix = until_nul(&block[PREFIX]);
            if prefix.is_ascii() { prefix } else { b"" }
        }
        (atime, _) => {
            fields.atime = atime.flatten();
            b""
        }
    }
}

fn dialect(block: &Block) -> Dialect {
    match (&block[MAGIC], &block[VERSION], &block[STAR_TRAILER]) {
        (b"ustar\0", _, b"tar\0") => Dialect::Star,
        (b"ustar\0", _, _) => Dialect::Ustar,
        (b"ustar ", b" \0", _) => Dialect::Gnu,
        _ => Dialect::V7,
    }
}

/// Whether the stored checksum is the sum of the block's bytes, with the checksum field counted as spaces. A sum of
/// signed bytes is accepted too, because Sun's tar wrote those.
fn checksum_holds(block: &Block) -> bool {
    let Some(stored) = octal(&block[CHECKSUM]) else { return false };
    // Summed over the whole block in one loop, which the compiler turns into vector instructions.
    let spaces = 8 * i64::from(b' ');
    let all: u32 = block.iter().map(|&b| u32::from(b)).sum();
    let field: u32 = block[CHECKSUM].iter().map(|&b| u32::from(b)).sum();
    let unsigned = i64::from(all - field) + spaces;
    if stored == unsigned {
        return true;
    }
    let signed = |bytes: &[u8]| i64::from(bytes.iter().map(|&b| i32::from(b.cast_signed())).sum::<i32>());
    stored == signed(block) - signed(&block[CHECKSUM]) + spaces
}

/// The bytes before the first NUL.
pub(crate) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&b| b == 0).next().unwrap_or(bytes)
}

/// A number in base 256 (first bit set) or octal. `None` where Go says invalid header.
pub(crate) fn numeric(field: &[u8]) -> Option<i64> {
    let &first = field.first()?;
    if first & 0x80 == 0 {
        return octal(field);
    }
    let invert = if first & 0x40 != 0 { 0xff } else { 0 };
    let mut value = 0u64;
    for (at, &byte) in field.iter().enumerate() {
        let byte = (byte ^ invert) & if at == 0 { 0x7f } else { 0xff };
        if value >> 56 != 0 {
            return None;
        }
        value = value << 8 | u64::from(byte);
    }
    let value = i64::try_from(value).ok()?;
    Some(if invert == 0 { value } else { !value })
}

/// Octal digits after trimming spaces and NULs, up to the first NUL; an empty field is zero.
fn octal(field: &[u8]) -> Option<i64> {
    let padding = |b: &u8| *b == b' ' || *b == 0;
    let Some(start) = field.iter().position(|b| !padding(b)) else { return Some(0) };
    let end = field.iter().rposition(|b| !padding(b))? + 1;
    until_nul(&field[start..end]).iter().try_fold(0i64, |value, &digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

/// The old GNU sparse map in a header block (`S`): entries of 24 bytes, whether an extension block follows, and the
/// size of the expanded file (`None` if that field is not a number).
pub(crate) fn gnu_sparse_fields(block: &Block) -> (&[u8], bool, Option<i64>) {
    (&block[386..482], block[482] != 0, numeric(&block[483..495]))
}

/// The sparse map in an extension block: entries of 24 bytes, and whether another extension block follows.
pub(crate) fn gnu_sparse_extension(block: &Block) -> (&[u8], bool) {
    (&block[..504], block[504] != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_go_reads_them() {
        let cases: &[(&[u8], Option<i64>)] = &[
            (b"0000644\0", Some(0o644)),
            (b"  644 \0\0", Some(0o644)),
            (b"00000644", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"0000899\0", None),
            (b"+000644\0", None),
            (b"12\x0034\0\0\0", Some(0o12)),
            (b"\x80\0\0\0\0\0\0\x03", Some(3)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", Some(i64::MIN)),
        ];
        for (field, expected) in cases {
            assert_eq!(numeric(field), *expected, "{}", field.escape_ascii());
        }
    }
}
