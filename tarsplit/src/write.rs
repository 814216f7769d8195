//! Headers of new members, as Go's `archive/tar` writes them: ustar where that holds everything, else PAX records before it.
//!
//! Owner and group have numbers and no names, the mode has permissions and no type, as dockerd writes them from version 24 on.

use crate::block::BLOCK;
use crate::pax::PaxTime;

/// Two empty blocks end a tar.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// The largest number of seven octal digits.
const MAX_OWNER: i64 = 0o7_777_777;

/// The largest number of eleven octal digits.
const MAX_NUMBER: i64 = 0o77_777_777_777;

const NAME: usize = 100;
const PREFIX: usize = 155;

/// A member to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMember<'m> {
    /// Its type byte.
    pub typeflag: u8,
    /// Its name; a directory's name ends with a slash.
    pub name: &'m [u8],
    /// Where a link leads.
    pub linkname: &'m [u8],
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: i64,
    /// Group.
    pub gid: i64,
    /// Bytes that follow.
    pub size: u64,
    /// When it was modified.
    pub mtime: PaxTime,
    /// Device numbers.
    pub device: (i64, i64),
    /// Extended attributes.
    pub xattrs: &'m [(Vec<u8>, Vec<u8>)],
}

/// What fills the last block of `size` bytes.
#[must_use]
pub fn padding(size: u64) -> &'static [u8] {
    let used = (size % BLOCK as u64) as usize;
    &END[..(BLOCK - used) % BLOCK]
}

impl NewMember<'_> {
    /// Appends the header, and before it the PAX header with what ustar cannot hold, if there is anything.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let split = split(self.name);
        if split.is_none() {
            records.push((b"path".to_vec(), self.name.to_vec()));
        }
        if self.linkname.len() > NAME || !self.linkname.is_ascii() {
            records.push((b"linkpath".to_vec(), self.linkname.to_vec()));
        }
        let mut number = |key: &str, value: i64, most: i64| {
            if (0..=most).contains(&value) {
                return value.unsigned_abs();
            }
            records.push((key.as_bytes().to_vec(), value.to_string().into_bytes()));
            0
        };
        let uid = number("uid", self.uid, MAX_OWNER);
        let gid = number("gid", self.gid, MAX_OWNER);
        let size = number("size", i64::try_from(self.size).unwrap_or(i64::MAX), MAX_NUMBER);
        let seconds = self.mtime.seconds;
        let mtime = if (0..=MAX_NUMBER).contains(&seconds) { seconds.unsigned_abs() } else { 0 };
        if self.mtime.nanoseconds != 0 || mtime.cast_signed() != seconds {
            records.push((b"mtime".to_vec(), decimal(self.mtime)));
        }
        for (name, value) in self.xattrs {
            records.push(([b"SCHILY.xattr.", name.as_slice()].concat(), value.clone()));
        }
        if !records.is_empty() {
            records.sort();
            let body: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
            let name = pax_name(self.name);
            let mut header = [0; BLOCK];
            put(&mut header, 0, &name[..name.len().min(NAME)]);
            put(&mut header, 100, b"0000000\x000000000\x000000000\0");
            put(&mut header, 124, format!("{:011o}\0", body.len()).as_bytes());
            put(&mut header, 136, b"00000000000\0");
            finish(&mut header, b'x');
            out.extend_from_slice(&header);
            out.extend_from_slice(&body);
            out.extend_from_slice(padding(body.len() as u64));
        }
        let mut header = [0; BLOCK];
        match split {
            Some((prefix, name)) => {
                put(&mut header, 0, name);
                put(&mut header, 345, prefix);
            }
            None => put(&mut header, 0, &ascii(self.name, NAME)),
        }
        put(&mut header, 100, format!("{:07o}\0{uid:07o}\0{gid:07o}\0", self.mode & 0o7777).as_bytes());
        put(&mut header, 124, format!("{size:011o}\0{mtime:011o}\0").as_bytes());
        put(&mut header, 157, &ascii(self.linkname, NAME));
        let device = |number: i64| u64::try_from(number).unwrap_or(0).min(MAX_OWNER.unsigned_abs());
        put(&mut header, 329, format!("{:07o}\0{:07o}\0", device(self.device.0), device(self.device.1)).as_bytes());
        finish(&mut header, self.typeflag);
        out.extend_from_slice(&header);
    }
}

fn put(header: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    header[at..at + bytes.len()].copy_from_slice(bytes);
}

fn finish(header: &mut [u8; BLOCK], typeflag: u8) {
    put(header, 148, b"        ");
    header[156] = typeflag;
    put(header, 257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    put(header, 148, format!("{sum:06o}\0 ").as_bytes());
}

/// Prefix and name of a path that ustar holds, as Go splits it (`archive/tar: splitUSTARPath`).
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if !path.is_ascii() || path.contains(&0) {
        return None;
    }
    if path.len() <= NAME {
        return Some((b"", path));
    }
    let mut length = path.len();
    if length > PREFIX + 1 {
        length = PREFIX + 1;
    } else if path.ends_with(b"/") {
        length -= 1;
    }
    let at = path[..length].iter().rposition(|&byte| byte == b'/')?;
    let (prefix, name) = (&path[..at], &path[at + 1..]);
    (at > 0 && !name.is_empty() && name.len() <= NAME).then_some((prefix, name))
}

/// What a header field holds of `text`: its ASCII bytes without NUL, at most `most` of them. Where this is less than
/// the text, a PAX record has the whole.
fn ascii(text: &[u8], most: usize) -> Vec<u8> {
    text.iter().copied().filter(|byte| byte.is_ascii() && *byte != 0).take(most).collect()
}

/// The name of the member that holds the records (`archive/tar: writePAXHeader`).
fn pax_name(name: &[u8]) -> Vec<u8> {
    let name = name.strip_suffix(b"/").unwrap_or(name);
    let (dir, base) = match name.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&name[..=slash], &name[slash + 1..]),
        None => (&b""[..], name),
    };
    ascii(&[dir, b"PaxHeaders.0/", base].concat(), NAME)
}

fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    // The length counts its own digits, which may give it one digit more.
    if length.to_string().len() != rest.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// A time with its fraction, without zeros at the end.
fn decimal(time: PaxTime) -> Vec<u8> {
    let PaxTime { seconds, nanoseconds } = time;
    let mut text = if seconds < 0 && nanoseconds > 0 {
        // The fraction counts away from zero.
        let (whole, rest) = (-(seconds + 1), 1_000_000_000 - nanoseconds);
        format!("-{whole}.{rest:09}")
    } else {
        format!("{seconds}.{nanoseconds:09}")
    };
    text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    text.into_bytes()
}
