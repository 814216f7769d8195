//! One member of an archive: header block and extensions resolved as Go's `Reader.Next` resolves them.

use std::collections::BTreeMap;

use crate::block::{self, Fields};
use crate::error::TarErrorKind;
use crate::pax::{self, PaxTime};
use crate::sparse::{self, PaxSparse, SparseMap, Spread};

const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// What a member is, by its type byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKind {
    /// `0`, or NUL without a trailing slash in the name.
    Regular,
    /// `1`
    HardLink,
    /// `2`
    Symlink,
    /// `3`
    CharDevice,
    /// `4`
    BlockDevice,
    /// `5`, or NUL with a trailing slash in the name.
    Directory,
    /// `6`
    Fifo,
    /// `g`: records that Docker never applies to anything.
    GlobalHeader,
    /// `S`
    GnuSparse,
    /// Any other type byte; Docker refuses such a layer.
    Other(u8),
}

impl MemberKind {
    fn from_typeflag(typeflag: u8, name: &[u8]) -> Self {
        match typeflag {
            0 if name.ends_with(b"/") => Self::Directory,
            0 | b'0' => Self::Regular,
            b'1' => Self::HardLink,
            b'2' => Self::Symlink,
            b'3' => Self::CharDevice,
            b'4' => Self::BlockDevice,
            b'5' => Self::Directory,
            b'6' => Self::Fifo,
            b'g' => Self::GlobalHeader,
            b'S' => Self::GnuSparse,
            other => Self::Other(other),
        }
    }

    /// The type byte, as Go's error messages print it.
    #[must_use]
    pub fn typeflag(self) -> u8 {
        match self {
            Self::Regular => b'0',
            Self::HardLink => b'1',
            Self::Symlink => b'2',
            Self::CharDevice => b'3',
            Self::BlockDevice => b'4',
            Self::Directory => b'5',
            Self::Fifo => b'6',
            Self::GlobalHeader => b'g',
            Self::GnuSparse => b'S',
            Self::Other(byte) => byte,
        }
    }

    /// Types that never have a body, whatever their size field says (Go's `isHeaderOnlyType`).
    #[must_use]
    pub fn is_header_only(self) -> bool {
        !matches!(self, Self::Regular | Self::GnuSparse | Self::Other(_))
    }
}

/// A member with its effective metadata. Names and values are the archive's bytes, uncleaned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What it is.
    pub kind: MemberKind,
    /// Its name, as the parser reports it: not cleaned, trailing slash kept.
    pub name: Vec<u8>,
    /// Link target.
    pub linkname: Vec<u8>,
    /// Permission bits of the mode field, with setuid, setgid and sticky.
    pub mode: u32,
    /// Numeric owner; may be out of the range of any system.
    pub uid: i64,
    /// Numeric group.
    pub gid: i64,
    /// Size of the file it unpacks to: expanded, for a sparse one. Zero for types without a body.
    pub size: u64,
    /// Body bytes that follow in the archive; `size` unless the file is sparse.
    pub stored: u64,
    /// Modification time.
    pub mtime: PaxTime,
    /// Access time, where the archive has one.
    pub atime: Option<PaxTime>,
    /// Device major and minor number, unchecked.
    pub device: (i64, i64),
    /// Extended attributes: name without the `SCHILY.xattr.` prefix, and value.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the body goes, if the file is sparse.
    pub sparse: Option<SparseMap>,
    /// Offset in the stream of the member's own header block.
    pub position: u64,
}

impl Member {
    /// Where the bytes of its body go in the file that it unpacks to.
    #[must_use]
    pub fn spread(&self) -> Spread {
        Spread::new(self.sparse.as_ref(), self.stored)
    }
}

/// Extension headers seen since the last member.
#[derive(Debug, Default)]
pub(crate) struct Extensions {
    pax: BTreeMap<Vec<u8>, Vec<u8>>,
    long_name: Vec<u8>,
    long_link: Vec<u8>,
    pub(crate) count: u32,
}

/// A member, and whether its sparse map still has to be read from the start of its body.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) member: Member,
    pub(crate) map_in_body: bool,
}

impl Extensions {
    /// Takes the data of an `x` header: it replaces an earlier one completely.
    pub(crate) fn set_pax(&mut self, data: &[u8]) -> Result<(), TarErrorKind> {
        self.pax = parse_pax(data)?;
        Ok(())
    }

    /// Takes the data of an `L` header; cut at the first NUL.
    pub(crate) fn set_long_name(&mut self, data: &[u8]) {
        self.long_name = block::until_nul(data).to_vec();
    }

    /// Takes the data of a `K` header.
    pub(crate) fn set_long_link(&mut self, data: &[u8]) {
        self.long_link = block::until_nul(data).to_vec();
    }

    fn record(&self, key: &str) -> Option<&[u8]> {
        self.pax.get(key.as_bytes()).map(Vec::as_slice).filter(|value| !value.is_empty())
    }

    fn integer(&self, key: &str, header: i64) -> Result<i64, TarErrorKind> {
        self.parsed(key, pax::integer).map(|value| value.unwrap_or(header))
    }

    fn parsed<T>(&self, key: &str, parse: impl Fn(&[u8]) -> Option<T>) -> Result<Option<T>, TarErrorKind> {
        let parsed = self.record(key).map(|value| parse(value).ok_or(TarErrorKind::PaxValue { key: key.to_owned() }));
        parsed.transpose()
    }

    /// Resolves a header block with everything collected: PAX over the header, GNU long names over PAX.
    pub(crate) fn resolve(self, fields: Fields, position: u64) -> Result<Resolved, TarErrorKind> {
        let mtime = self.parsed("mtime", pax::time)?.unwrap_or(PaxTime::from_seconds(fields.mtime));
        let atime = self.parsed("atime", pax::time)?.or(fields.atime.map(PaxTime::from_seconds));
        self.parsed("ctime", pax::time)?;
        let (uid, gid) = (self.integer("uid", fields.uid)?, self.integer("gid", fields.gid)?);
        let mut size = self.integer("size", fields.size)?;
        let name = [self.long_name.as_slice(), self.record("path").unwrap_or_default(), &fields.name];
        let link = [self.long_link.as_slice(), self.record("linkpath").unwrap_or_default(), &fields.linkname];
        let mut name = first_non_empty(name);
        let kind = MemberKind::from_typeflag(fields.typeflag, &name);
        let stored = if kind.is_header_only() { 0 } else { size };
        let stored = u64::try_from(stored).map_err(|_| TarErrorKind::NegativeSize { found: stored })?;

        let mut sparse = None;
        let mut map_in_body = false;
        // An old GNU map makes PAX records of another map meaningless: Go does not look at them.
        let format = if kind == MemberKind::GnuSparse { None } else { sparse::from_pax(|key| self.record(key))? };
        if let Some(format) = format {
            if kind.is_header_only() {
                return Err(TarErrorKind::SparseMap);
            }
            if let Some(real) = self.record("GNU.sparse.name") {
                name = real.to_vec();
            }
            let real = self.record("GNU.sparse.size").or(self.record("GNU.sparse.realsize"));
            if let Some(real) = real {
                size = pax::integer(real).ok_or(TarErrorKind::SparseMap)?;
            }
            match format {
                PaxSparse::InBody => map_in_body = true,
                PaxSparse::InRecords(numbers) => sparse = Some(SparseMap::new(&numbers, size)?),
            }
        }
        let size = if kind.is_header_only() { 0 } else { size };
        let xattr =
            |(key, value): (&Vec<u8>, &Vec<u8>)| Some((key.strip_prefix(XATTR_PREFIX)?.to_vec(), value.clone()));
        let member = Member {
            kind,
            name,
            linkname: first_non_empty(link),
            mode: u32::try_from(fields.mode & 0o7777).unwrap_or_default(),
            uid,
            gid,
            size: u64::try_from(size).map_err(|_| TarErrorKind::SparseMap)?,
            stored,
            mtime,
            atime,
            device: fields.device,
            xattrs: self.pax.iter().filter_map(xattr).collect(),
            sparse,
            position,
        };
        Ok(Resolved { member, map_in_body })
    }
}

/// A `g` header as Go reports it: a member of its own that carries nothing but a name.
pub(crate) fn global_header(fields: Fields, data: &[u8], position: u64) -> Result<Member, TarErrorKind> {
    let path = parse_pax(data)?.remove(&b"path"[..]).unwrap_or_default();
    Ok(Member {
        kind: MemberKind::GlobalHeader,
        name: first_non_empty([path.as_slice(), &fields.name]),
        linkname: Vec::new(),
        mode: 0,
        uid: 0,
        gid: 0,
        size: 0,
        stored: 0,
        mtime: PaxTime::default(),
        atime: None,
        device: (0, 0),
        xattrs: Vec::new(),
        sparse: None,
        position,
    })
}

fn first_non_empty<const N: usize>(choices: [&[u8]; N]) -> Vec<u8> {
    choices.into_iter().find(|choice| !choice.is_empty()).unwrap_or_default().to_vec()
}

/// Go's `parsePAX`: later keys win, and the repeated records of sparse format 0.0 become one map.
fn parse_pax(data: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, TarErrorKind> {
    let mut map: Vec<&[u8]> = Vec::new();
    let mut all = BTreeMap::new();
    for record in pax::records(data) {
        let pax::Record { key, value } = record?;
        let expected: &[u8] = if map.len().is_multiple_of(2) { b"GNU.sparse.offset" } else { b"GNU.sparse.numbytes" };
        match key {
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                if key != expected || value.contains(&b',') {
                    return Err(TarErrorKind::SparseMap);
                }
                map.push(value);
            }
            _ => {
                all.insert(key.to_vec(), value.to_vec());
            }
        }
    }
    if !map.is_empty() {
        all.insert(b"GNU.sparse.map".to_vec(), map.join(&b','));
    }
    Ok(all)
}
