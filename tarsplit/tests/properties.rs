//! Whatever the archive and however it is cut: nothing is lost, and the cuts do not matter.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;

use proptest::prelude::*;
use tarsplit::assemble::{FileGetter, assemble};
use tarsplit::disassemble::{Disassembler, Keep, Sink};
use tarsplit::frame::{Frame, Framer};
use tarsplit::journal::{EntryReader, gzip};
use tarsplit::{Member, MemberKind};

/// Keeps bodies that it says are on disk.
#[derive(Default)]
struct Keeper {
    files: HashMap<Vec<u8>, Vec<u8>>,
    current: Option<(Vec<u8>, bool)>,
    inline_every: usize,
    members: usize,
}

impl Sink for Keeper {
    type Error = std::convert::Infallible;

    fn member(&mut self, member: Box<Member>, first: bool) -> Result<Keep, Self::Error> {
        self.members += 1;
        let keep = first && !self.members.is_multiple_of(self.inline_every);
        self.current = Some((member.name, keep));
        Ok(if keep { Keep::OnDisk } else { Keep::Inline })
    }

    fn body(&mut self, data: &[u8], _at: usize, _last: bool) -> Result<(), Self::Error> {
        if let Some((name, true)) = &self.current {
            self.files.entry(name.clone()).or_default().extend_from_slice(data);
        }
        Ok(())
    }
}

impl FileGetter for Keeper {
    type File = std::io::Cursor<Vec<u8>>;

    fn open(&self, name: &[u8]) -> std::io::Result<Self::File> {
        self.files.get(name).cloned().map(std::io::Cursor::new).ok_or(std::io::ErrorKind::NotFound.into())
    }
}

/// Names as they come, weighted towards what breaks parsers.
fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,8}", "([a-z]{1,30}/){1,12}[a-z]{1,40}", "\\PC{1,20}", "[a-z]{101,300}", Just("./a".into())]
        .prop_filter("tar's builder refuses these", |name| {
            !name.contains('\0') && !name.starts_with('/') && !name.contains("..")
        })
}

/// One member with its extension headers, without end blocks; `None` if the builder does not take the name.
fn member(name: &str, body: &[u8], kind: u8, xattr: Option<&str>) -> Option<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    if let Some(value) = xattr {
        let records = [("SCHILY.xattr.user.x", value.as_bytes()), ("mtime", b"1.5")];
        builder.append_pax_extensions(records).ok()?;
    }
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    let (entry_type, size) = match kind {
        0 => (tar::EntryType::Directory, 0),
        1 => (tar::EntryType::Symlink, 0),
        _ => (tar::EntryType::Regular, body.len()),
    };
    header.set_entry_type(entry_type);
    header.set_size(size as u64);
    match kind {
        1 => builder.append_link(&mut header, name, "target").ok()?,
        _ => builder.append_data(&mut header, name, &body[..size]).ok()?,
    }
    let mut tar = builder.into_inner().ok()?;
    tar.truncate(tar.len() - 1024);
    Some(tar)
}

fn archive() -> impl Strategy<Value = Vec<u8>> {
    let parts = (name(), proptest::collection::vec(any::<u8>(), 0..2000), 0..4u8, proptest::option::of("[a-z]{1,5}"));
    (proptest::collection::vec(parts, 0..12), 0..3000usize).prop_map(|(members, tail)| {
        let member = |(name, body, kind, xattr): &(String, Vec<u8>, u8, Option<String>)| {
            member(name, body, *kind, xattr.as_deref())
        };
        let mut tar: Vec<u8> = members.iter().filter_map(member).flatten().collect();
        tar.extend([0; 1024]);
        tar.extend(std::iter::repeat_n(b'j', tail));
        tar
    })
}

fn replay(tar: &[u8], cut: usize, inline_every: usize) -> Vec<u8> {
    let mut disassembler = Disassembler::new(Some(gzip(Vec::new())));
    let mut keeper = Keeper { inline_every, ..Keeper::default() };
    for piece in tar.chunks(cut) {
        disassembler.push(piece, &mut keeper).unwrap();
    }
    let journal = disassembler.finish::<std::convert::Infallible>().unwrap().unwrap().finish().unwrap();
    let mut out = Vec::new();
    assemble(EntryReader::new(journal.as_slice()), &keeper, &mut out).unwrap();
    out
}

proptest! {
    #[test]
    fn replay_is_the_input(tar in archive(), cut in 1..3000usize, inline_every in 1..5usize) {
        prop_assert!(replay(&tar, cut, inline_every) == tar);
    }

    #[test]
    fn members_are_what_the_tar_crate_reads(tar in archive(), cut in 1..3000usize) {
        let mut framer = Framer::new();
        let (mut at, mut ours) = (0, Vec::new());
        while let (taken, Some(frame)) = framer.next(&tar[at..]).unwrap() {
            at += taken;
            if let Frame::Member(member) = frame {
                ours.push((member.name, member.stored, member.kind == MemberKind::Symlink));
            }
        }
        let mut framer = Framer::new();
        let (mut at, mut without_bodies) = (0, Vec::new());
        loop {
            let end = tar.len().min(at + cut);
            match framer.next(&tar[at.min(end)..end]).unwrap() {
                (0, None) if at >= tar.len() => break,
                (taken, Some(Frame::Member(member))) => {
                    at += taken + usize::try_from(framer.skip_body()).unwrap();
                    without_bodies.push((member.name, member.stored, member.kind == MemberKind::Symlink));
                }
                (_, Some(Frame::Body(_))) => panic!("a body that was passed over"),
                (taken, _) => at += taken,
            }
            prop_assert_eq!(framer.position(), at as u64);
        }
        prop_assert_eq!(&without_bodies, &ours);
        let mut theirs = Vec::new();
        for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
            let entry = entry.unwrap();
            theirs.push((entry.path_bytes().into_owned(), entry.size(), entry.header().entry_type().is_symlink()));
        }
        prop_assert_eq!(ours, theirs);
    }

    /// No input makes the framer panic, or take more than it was given.
    #[test]
    fn noise_is_refused_or_passed_on(mut noise in proptest::collection::vec(any::<u8>(), 0..4000), fix in any::<bool>()) {
        if fix && noise.len() >= 512 {
            noise[148..156].fill(b' ');
            let sum: u32 = noise[..512].iter().map(|&byte| u32::from(byte)).sum();
            noise[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        let mut framer = Framer::new();
        let mut at = 0;
        while let Ok((taken, Some(_))) = framer.next(&noise[at..]) {
            at += taken;
        }
        prop_assert!(at <= noise.len());
    }
}
