//! What a member says about owner, mode, times and attributes, brought into the system's terms.

use rustix::fs::{Gid, Mode, Timestamps, Uid};
use rustix::io::Errno;
use tarsplit::Member;
use tarsplit::pax::PaxTime;

use super::error::ApplyError;
use super::target::Ownership;
use crate::sys::node::timestamps;

/// The last second that Go's nanosecond clock can say: 2262-04-11T23:47:16Z.
const LAST_SECOND: i64 = 9_223_372_036;

/// Metadata of one node, in the order it is set: owner, attributes, mode, times.
#[derive(Debug, Clone)]
pub(crate) struct Metadata {
    /// `None` leaves them: -1 and 4294967295 mean that to `chown(2)`, and so they do to Docker.
    pub(crate) uid: Option<Uid>,
    pub(crate) gid: Option<Gid>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) mode: Mode,
    pub(crate) times: Timestamps,
}

impl Metadata {
    pub(crate) fn from_member(member: &mut Member, ownership: Ownership) -> Result<Self, ApplyError> {
        let id = |field, found: i64| match found {
            -1 | 0xffff_ffff => Ok(None),
            _ => u32::try_from(found).map(Some).map_err(|_| ApplyError::Owner { field, found }),
        };
        let (mut uid, mut gid) = (id("uid", member.uid)?.map(Uid::from_raw), id("gid", member.gid)?.map(Gid::from_raw));
        let mut mode = member.mode & 0o7777;
        if ownership == Ownership::Caller {
            (uid, gid) = (None, None);
            mode &= !0o6000;
        }
        let modification = member.mtime;
        let access = member.atime.map_or(modification, |atime| atime.max(modification));
        Ok(Self {
            uid,
            gid,
            xattrs: std::mem::take(&mut member.xattrs),
            mode: Mode::from_raw_mode(mode),
            times: timestamps(bounded(access), bounded(modification)),
        })
    }

    /// What a failed `chown` means: the system says `EINVAL` of an id that is not mapped in this user namespace.
    pub(crate) fn chown_failed(&self) -> impl Fn(Errno) -> ApplyError {
        let (uid, gid) = (self.uid.map_or(u32::MAX, Uid::as_raw), self.gid.map_or(u32::MAX, Gid::as_raw));
        move |errno| match errno {
            Errno::INVAL => ApplyError::OwnerNotMapped { uid, gid },
            errno => ApplyError::System { call: "chown", errno },
        }
    }

    /// Whether `mode` has set-id or sticky bits, which creating a node does not set.
    pub(crate) fn has_special_bits(&self) -> bool {
        self.mode.as_raw_mode() & 0o7000 != 0
    }
}

/// Times before 1970 or beyond Go's clock become 1970 (moby `boundPaxTime`).
pub(crate) fn bounded(time: PaxTime) -> (i64, u32) {
    let beyond = time.seconds > LAST_SECOND || (time.seconds == LAST_SECOND && time.nanoseconds > 854_775_807);
    if time.seconds < 0 || beyond { (0, 0) } else { (time.seconds, time.nanoseconds) }
}
