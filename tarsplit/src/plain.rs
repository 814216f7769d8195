//! Headers without extensions, read in place, for a search through many members.
//!
//! The [framer](crate::frame) makes a [`Member`](crate::Member) of each header, with all that extensions say. A caller
//! that looks for one name among a hundred thousand passes over the other members with a [`PlainHeader`]: nothing is
//! copied, and only the name and the fields that lead to the next header are read.

use crate::block::{self, BLOCK, Block};
use crate::frame::Framer;

/// The header of a member without extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainHeader<'b> {
    /// The part of the path before `name`, without the slash between them; empty if `name` is the whole path.
    pub prefix: &'b [u8],
    /// The path, or the part of it that follows `prefix`.
    pub name: &'b [u8],
    /// The target of a link.
    pub linkname: &'b [u8],
    /// The type byte.
    pub typeflag: u8,
    /// Bytes of the body.
    body: u64,
}

impl<'b> PlainHeader<'b> {
    /// Reads the header of a file, link, node or directory of ustar, PAX or GNU that needs no other block to be
    /// understood. `None` means that the framer has to read it.
    #[must_use]
    pub fn read(block: &'b Block) -> Option<Self> {
        let (typeflag, name, prefix) = block::plain_fields(block)?;
        let body = match typeflag {
            b'1'..=b'6' => 0,
            // Old tars mark a directory by the slash alone.
            b'0' | 0 if name.last() != Some(&b'/') => u64::try_from(block::plain_size(block)?).ok()?,
            _ => return None,
        };
        Some(Self { prefix, name, linkname: block::plain_linkname(block), typeflag, body })
    }
}

impl Framer {
    /// Goes on to the next header, past what is left of the current member's body. Returns whether the next block may
    /// be read as a plain header: it starts a member, or is the first zero block of the end. If not, the framer has to
    /// go on by [`Self::next`], as it has between a member's extensions and its header.
    pub fn skip_to_header(&mut self) -> bool {
        if self.owes_a_frame() {
            return false;
        }
        self.skip_body();
        self.is_before_header()
    }

    /// Passes over a member, header and body. Call this only after [`Self::skip_to_header`] has returned true, with the
    /// header that stands there.
    pub fn pass(&mut self, header: &PlainHeader<'_>) {
        let padding = header.body.wrapping_neg() % BLOCK as u64;
        self.advance_by((BLOCK as u64).saturating_add(header.body).saturating_add(padding));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Frame;

    /// Names and places of bodies, by the framer alone, and with every plain header passed over.
    fn both(tar: &[u8]) -> [Vec<(Vec<u8>, u64)>; 2] {
        let walk = |plain: bool| {
            let (mut framer, mut found) = (Framer::new(), Vec::new());
            loop {
                let is_header = framer.skip_to_header();
                let at = usize::try_from(framer.position()).unwrap();
                let rest = tar.get(at..).unwrap_or_default();
                let header = rest.first_chunk().filter(|_| plain && is_header).and_then(PlainHeader::read);
                if let Some(header) = header {
                    let slash: &[u8] = if header.prefix.is_empty() { b"" } else { b"/" };
                    found.push(([header.prefix, slash, header.name].concat(), at as u64 + BLOCK as u64));
                    framer.pass(&header);
                    continue;
                }
                match framer.next(rest).unwrap() {
                    (_, Some(Frame::Member(member))) => found.push((member.name.clone(), framer.position())),
                    (_, Some(Frame::End) | None) => return found,
                    _ => {}
                }
            }
        };
        [walk(false), walk(true)]
    }

    #[test]
    fn plain_headers_lead_where_the_framer_goes() {
        let mut builder = tar::Builder::new(Vec::new());
        let long = format!("{}/file", "directory/".repeat(15));
        for (number, name) in ["a", "b/c", &long, &"long".repeat(40), "z"].into_iter().enumerate() {
            let mut header = tar::Header::new_gnu();
            header.set_size(number as u64 * 511);
            builder.append_data(&mut header, name, &vec![7; number * 511][..]).unwrap();
            let mut header = tar::Header::new_ustar();
            header.set_size(0);
            header.set_entry_type(tar::EntryType::Symlink);
            builder.append_link(&mut header, format!("{number}"), "b/c").unwrap();
        }
        let mut header = tar::Header::new_ustar();
        header.set_size(3);
        builder.append_pax_extensions([("path", &b"from an extension"[..])]).unwrap();
        builder.append_data(&mut header, "hidden", &b"abc"[..]).unwrap();
        let [framer, plain] = both(&builder.into_inner().unwrap());
        assert_eq!(framer.len(), 11);
        assert_eq!(framer, plain);
    }

    #[test]
    fn what_needs_the_framer_is_left_to_it() {
        let header = |change: &dyn Fn(&mut tar::Header)| {
            let mut header = tar::Header::new_gnu();
            header.set_path("name").unwrap();
            header.set_size(5);
            change(&mut header);
            header.set_cksum();
            *header.as_bytes()
        };
        assert!(PlainHeader::read(&header(&|_| {})).is_some());
        for kind in [b'x', b'g', b'L', b'K', b'S', b'7', b'V'] {
            let block = header(&|header| header.set_entry_type(tar::EntryType::new(kind)));
            assert_eq!(PlainHeader::read(&block), None, "{}", kind.escape_ascii());
        }
        // A directory by its slash, times under the GNU magic, no magic, a size below zero, a wrong sum.
        assert_eq!(PlainHeader::read(&header(&|header| header.as_mut_bytes()[4] = b'/')), None);
        assert_eq!(PlainHeader::read(&header(&|header| header.as_mut_bytes()[345] = b'1')), None);
        assert_eq!(PlainHeader::read(&header(&|header| header.as_mut_bytes()[257] = b'U')), None);
        assert_eq!(PlainHeader::read(&header(&|header| header.as_mut_bytes()[124..136].fill(0xff))), None);
        let mut wrong = header(&|_| {});
        wrong[0] ^= 1;
        assert_eq!(PlainHeader::read(&wrong), None);
        assert_eq!(PlainHeader::read(&[0; BLOCK]), None);
    }
}
