//! What is written is read by GNU tar's and Go's rules: by the tar crate, and by our own framer, which the parity tests
//! hold to Go.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use tarsplit::frame::{Frame, Framer};
use tarsplit::pax::PaxTime;
use tarsplit::write::{NewMember, padding};
use tarsplit::{Member, MemberKind};

fn read(bytes: &[u8]) -> Vec<Member> {
    let (mut framer, mut members, mut at) = (Framer::new(), Vec::new(), 0);
    loop {
        let (taken, frame) = framer.next(&bytes[at..]).unwrap();
        at += taken;
        match frame {
            Some(Frame::Member(member)) => members.push(*member),
            None if at == bytes.len() => break,
            _ => {}
        }
    }
    framer.finish().unwrap();
    members
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        name in prop::collection::vec(prop_oneof![9 => b'a'..=b'z', 2 => Just(b'/'), 1 => 1u8..=255], 1..300),
        linkname in prop::collection::vec(1u8..=255, 1..200),
        mode in 0u32..0o10000,
        uid in prop_oneof![0i64..1 << 40, Just(0o7_777_777), Just(0o10_000_000)],
        size in 0u64..2000,
        seconds in prop_oneof![-1i64 << 34..1 << 40, Just(-1), Just(0)],
        nanoseconds in prop_oneof![Just(0u32), 0u32..1_000_000_000],
        value in prop::collection::vec(any::<u8>(), 0..120),
        symlink in any::<bool>(),
    ) {
        let name = tarsplit::names::clean(&name).into_owned();
        prop_assume!(!name.contains(&0) && name != b"." && name != b"/");
        let xattrs = vec![(b"user.x".to_vec(), value)];
        let mtime = PaxTime { seconds, nanoseconds };
        let member = NewMember {
            typeflag: if symlink { b'2' } else { b'0' }, name: &name, linkname: if symlink { &linkname } else { b"" },
            mode, uid, gid: uid / 2, size: if symlink { 0 } else { size }, mtime, device: (0, 0), xattrs: &xattrs,
        };
        let mut bytes = Vec::new();
        member.write(&mut bytes);
        prop_assert_eq!(bytes.len() % 512, 0);
        bytes.extend(vec![b'x'; member.size as usize]);
        bytes.extend(padding(member.size));
        let members = read(&bytes);
        prop_assert_eq!(members.len(), 1);
        let found = &members[0];
        prop_assert_eq!(&found.name, &name);
        prop_assert_eq!(&found.linkname, member.linkname);
        prop_assert_eq!((found.mode, found.uid, found.gid, found.size), (mode, uid, uid / 2, member.size));
        prop_assert_eq!((found.mtime, &found.xattrs), (mtime, &xattrs));
        prop_assert_eq!(found.kind, if symlink { MemberKind::Symlink } else { MemberKind::Regular });
        // The tar crate reads it, too, except that it takes each line for a record, so values with a newline are left
        // out.
        prop_assume!(!name.contains(&b'\n') && !linkname.contains(&b'\n') && !xattrs[0].1.contains(&b'\n'));
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        prop_assert_eq!(entry.path_bytes().into_owned(), name.clone());
        prop_assert_eq!(entry.size(), member.size);
    }
}

/// A path is split for ustar as in Go, and the member that holds the records is named as in Go.
#[test]
fn a_long_name_is_split_or_recorded() {
    let long = [&b"d/"[..], &[b'x'; 120]].concat();
    let member = |name: &'static [u8]| NewMember {
        typeflag: b'0',
        name,
        linkname: b"",
        mode: 0o644,
        uid: 0,
        gid: 0,
        size: 0,
        mtime: PaxTime::default(),
        device: (0, 0),
        xattrs: &[],
    };
    let mut bytes = Vec::new();
    member(Box::leak(long.into_boxed_slice())).write(&mut bytes);
    assert_eq!(bytes.len(), 3 * 512);
    assert!(bytes.starts_with(b"d/PaxHeaders.0/xxx"));
    assert!(bytes[512..].starts_with(b"132 path=d/xxx"));
    let split = [&[b'y'; 90][..], b"/", &[b'z'; 90]].concat();
    let mut bytes = Vec::new();
    member(Box::leak(split.into_boxed_slice())).write(&mut bytes);
    assert_eq!(bytes.len(), 512);
    assert_eq!((&bytes[..90], &bytes[345..435]), (&[b'z'; 90][..], &[b'y'; 90][..]));
}
