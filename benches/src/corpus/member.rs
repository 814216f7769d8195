//! Members of a tar as Go writes them, or GNU tar: what a header cannot hold goes into PAX records or into members of GNU's.

use std::io::{self, Write};

use tar::{EntryType, Header};

use super::entry::{Entry, EntryKind};

/// Whose tar it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Go's `archive/tar`, as dockerd before 23 uses it: bits of the file type in the mode, PAX records where needed.
    Go,
    /// GNU tar's own format, as in a base image that `docker import` got.
    Gnu,
}

const BLOCK: usize = 512;
/// More than this does not fit eleven octal digits.
const LARGEST_OCTAL: u64 = 0o77_777_777_777;
/// `cap_net_bind_service` as the kernel stores it: revision 2, one permitted bit, effective.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Writes the header of an entry, and what has to stand before it.
pub(super) fn write(out: &mut dyn Write, style: Style, entry: &Entry<'_>) -> io::Result<()> {
    let (kind, size, link, type_bits) = match &entry.kind {
        EntryKind::Directory => (EntryType::Directory, 0, "", 0o040_000),
        EntryKind::File { size, .. } => (EntryType::Regular, *size, "", 0o100_000),
        EntryKind::Symlink { target } => (EntryType::Symlink, 0, target.as_str(), 0o120_000),
        EntryKind::Hardlink { target } => (EntryType::Link, 0, target.as_str(), 0o100_000),
        EntryKind::Fifo => (EntryType::Fifo, 0, "", 0o010_000),
    };
    let mut path = entry.path.to_owned();
    if kind == EntryType::Directory {
        path.push('/');
    }
    let mut header = new_header(style, size);
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(entry.mode | if style == Style::Go { type_bits } else { 0 });
    header.set_uid(entry.uid);
    header.set_gid(entry.gid);
    header.set_mtime(entry.mtime);
    let owner = if style == Style::Go && entry.uid == 0 { "root" } else { "" };
    let names = header.set_username(owner).and_then(|()| header.set_groupname(owner));
    names.map_err(io::Error::other)?;

    let mut records = Vec::new();
    // PAX says what its bytes mean, a header does not: Go puts only ASCII there.
    let plain = |text: &str| style == Style::Gnu || text.is_ascii();
    if !(put_name(&mut header, &path) && plain(&path)) {
        match style {
            Style::Go => record(&mut records, "path", path.as_bytes()),
            Style::Gnu => gnu_long(out, b'L', &path)?,
        }
    }
    if !(put(&mut header.as_old_mut().linkname, link) && plain(link)) {
        match style {
            Style::Go => record(&mut records, "linkpath", link.as_bytes()),
            Style::Gnu => gnu_long(out, b'K', link)?,
        }
    }
    if entry.capable && style == Style::Go {
        record(&mut records, "SCHILY.xattr.security.capability", &CAPABILITY);
    }
    if !records.is_empty() {
        pax(out, &path, &records)?;
    }
    header.set_cksum();
    out.write_all(header.as_bytes())
}

/// The end of a member of `size` bytes: zeroes up to a whole block.
pub(super) fn pad(out: &mut dyn Write, size: u64) -> io::Result<()> {
    let over = (size % BLOCK as u64) as usize;
    out.write_all(&[0; BLOCK][..(BLOCK - over) % BLOCK])
}

/// The end of an archive.
pub(super) fn finish(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

fn new_header(style: Style, size: u64) -> Header {
    // Only GNU's numbers go beyond octal.
    if style == Style::Gnu || size > LARGEST_OCTAL { Header::new_gnu() } else { Header::new_ustar() }
}

/// Puts a path into the name, or split at a slash into the prefix too. False if it does not fit: then the name is cut.
fn put_name(header: &mut Header, path: &str) -> bool {
    if put(&mut header.as_old_mut().name, path) {
        return true;
    }
    let Some(ustar) = header.as_ustar_mut() else { return false };
    // As Go: the last slash, but one at the end, that leaves a prefix which fits.
    let within = path.trim_end_matches('/').len().min(ustar.prefix.len() + 1);
    let Some(slash) = path.as_bytes()[..within].iter().rposition(|&byte| byte == b'/') else { return false };
    let (prefix, name) = (&path[..slash], &path[slash + 1..]);
    if name.len() > ustar.name.len() {
        return false;
    }
    put(&mut ustar.prefix, prefix) && put(&mut ustar.name, name)
}

/// Puts text into a field, cut to fit; says whether all of it is there.
fn put(field: &mut [u8], text: &str) -> bool {
    let length = text.len().min(field.len());
    field.fill(0);
    field[..length].copy_from_slice(&text.as_bytes()[..length]);
    length == text.len()
}

/// One PAX record: its own length, a space, `key=value`, a line feed.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// The member that holds the PAX records of the one after it.
fn pax(out: &mut dyn Write, path: &str, records: &[u8]) -> io::Result<()> {
    let (above, base) = path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path));
    let name: String = format!("{above}/PaxHeaders.0/{base}").chars().filter(char::is_ascii).take(100).collect();
    let mut header = Header::new_ustar();
    put(&mut header.as_old_mut().name, name.trim_start_matches('/'));
    extension(out, header, EntryType::XHeader, records)
}

/// A member of GNU's that holds a path too long for the header after it.
fn gnu_long(out: &mut dyn Write, kind: u8, path: &str) -> io::Result<()> {
    let mut header = Header::new_gnu();
    put(&mut header.as_old_mut().name, "././@LongLink");
    extension(out, header, EntryType::new(kind), &[path.as_bytes(), b"\0"].concat())
}

fn extension(out: &mut dyn Write, mut header: Header, kind: EntryType, content: &[u8]) -> io::Result<()> {
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    out.write_all(header.as_bytes())?;
    out.write_all(content)?;
    pad(out, content.len() as u64)
}
