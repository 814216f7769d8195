//! Regular files, created in the archive's order, or together with their body.
//!
//! Creating a file costs more than all else about a small one, and one thread that does it for a whole layer holds up the
//! others. But the order matters only where members meet at one place, and that shows: a name comes for the second time,
//! is spelt in another way than usual, leads through a symlink, is whited out, or is that of a directory which had to be
//! made for an earlier member. A file of which none of this holds is created by whoever writes its body, in a directory
//! that is open already. Members that may meet such a file (the same name again, hard links, whiteouts) wait for all that
//! are under way. After the first path with an unusual spelling or a symlink in it, the rest of the layer goes strictly
//! in order.

use std::fs::File;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tarsplit::Member;
use tarsplit::disassemble::Keep;
use tarsplit::sparse::{Run, SparseMap};

use super::Applier;
use super::error::ApplyError;
use super::fill::{OpenFile, Wanted};
use super::metadata::Metadata;
use super::target::WhiteoutMode;
use super::tree::Parent;
use crate::bytes::Bytes;
use crate::error::MemberError;
use crate::pool::Pool;

/// The longest path that dockerd can open on replay: it puts the data-root in front and has `PATH_MAX` for both.
const MAX_REPLAYED_PATH: usize = 3072;

/// The file whose body is being received.
pub(super) struct Current {
    file: Receiving,
    /// Where the stored bytes go.
    runs: Runs,
    run: usize,
    /// Bytes of the run already received.
    done: u64,
}

/// Where the stored bytes of a file go.
enum Runs {
    /// To the beginning of the file, all of them.
    Whole(Run),
    /// Where the map says.
    Sparse(SparseMap),
}

impl Runs {
    fn get(&self, at: usize) -> Option<&Run> {
        match self {
            Self::Whole(run) => (at == 0).then_some(run),
            Self::Sparse(map) => map.runs().get(at),
        }
    }
}

enum Receiving {
    Open(Arc<OpenFile>),
    /// Not created yet.
    Planned(Planned),
}

/// A file that is created when its body is there.
#[derive(Debug)]
pub(crate) struct Planned {
    parent: Arc<Parent>,
    base: Vec<u8>,
    pub(crate) wanted: Wanted,
}

impl Planned {
    pub(crate) fn create(&self) -> Result<File, Errno> {
        create(&self.parent, &self.base, &self.wanted.metadata)
    }
}

fn create(parent: &Parent, base: &[u8], metadata: &Metadata) -> Result<File, Errno> {
    let permissions = Mode::from_raw_mode(metadata.mode.as_raw_mode() & 0o777);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(&parent.fd, base, flags, permissions).map(File::from)
}

/// The name of a file, and what is known about it.
pub(super) struct Named<'n> {
    /// Its path with no symlink in it.
    pub(super) real: &'n [u8],
    /// Whether `real` is the member's own cleaned name, so that opening this name finds the file.
    pub(super) plain: bool,
    /// Whether the cleaned name comes for the first time.
    pub(super) first: bool,
    /// Whether no member whose work is still going on can be at the same path.
    pub(super) alone: bool,
}

impl<'a> Applier<'a> {
    /// Begins the regular file `base` in `parent`.
    pub(super) fn start_file(
        &mut self,
        parent: &Arc<Parent>,
        base: &[u8],
        named: &Named<'_>,
        mut member: Box<Member>,
        pool: &Pool<'a>,
    ) -> Result<Keep, ApplyError> {
        let Named { real, plain, first, alone } = *named;
        let metadata = Metadata::from_member(&mut member, self.target.ownership)?;
        let (stored, sparse) = (member.stored, member.sparse.take());
        let wanted = Wanted {
            set_owner: self.must_set_owner(parent, &metadata),
            set_mode: self.must_set_mode(parent, &metadata),
            set_len: (stored != member.size).then_some(member.size),
            metadata,
            name: std::mem::take(&mut member.name),
            position: member.position,
        };
        self.size += member.size;
        // `orderly` is asked again, because the parent may just have turned out to be behind a symlink.
        let later = alone
            && self.orderly
            && sparse.is_none()
            && self.target.whiteouts != WhiteoutMode::Delete
            && !self.whiteouts.contains(real);
        let file = if later {
            self.planned.insert(real);
            Receiving::Planned(Planned { parent: Arc::clone(parent), base: base.to_vec(), wanted })
        } else {
            let fd =
                self.replacing(parent, base, real, "creating the file", || create(parent, base, &wanted.metadata))?;
            Receiving::Open(Arc::new(OpenFile::new(fd, wanted)))
        };
        if stored == 0 {
            match file {
                Receiving::Open(file) => self.filler.end(file),
                Receiving::Planned(planned) => self.filler.add_whole(planned, Bytes::Borrowed(&[]), pool),
            }
            return Ok(Keep::Inline);
        }
        let on_disk = self.journalled
            && plain
            && first
            && sparse.is_none()
            && real.len() <= MAX_REPLAYED_PATH
            && !self.is_aufs_metadata(real)
            && self.on_disk.insert(real);
        let whole = Runs::Whole(Run { offset: 0, length: stored });
        let runs = sparse.map_or(whole, Runs::Sparse);
        self.current = Some(Current { file, runs, run: 0, done: 0 });
        Ok(if on_disk { Keep::OnDisk } else { Keep::Inline })
    }

    /// Takes the next bytes of the current file: `data` is at `at` in `piece`, and `last` says that the file ends there.
    pub(super) fn receive(
        &mut self,
        piece: &Bytes<'a>,
        (data, at, last): (&[u8], usize, bool),
        pool: &Pool<'a>,
    ) -> Result<(), MemberError> {
        let Some(mut current) = self.current.take() else { return Ok(()) };
        let file = match current.file {
            Receiving::Open(file) => file,
            Receiving::Planned(planned) if last && current.done == 0 => {
                self.filler.add_whole(planned, piece.slice(at..at + data.len()), pool);
                return Ok(());
            }
            // More is to come: a file of several parts is created before any of them is handed out.
            Receiving::Planned(planned) => {
                let created = planned.create().map_err(ApplyError::system("creating the file"));
                match created {
                    Ok(file) => Arc::new(OpenFile::new(file, planned.wanted)),
                    Err(source) => return Err(planned.wanted.failed(source)),
                }
            }
        };
        let mut taken = 0;
        while taken < data.len() {
            let Some(run) = current.runs.get(current.run) else { break };
            let left = run.length - current.done;
            let take = usize::try_from(left).map_or(data.len() - taken, |left| left.min(data.len() - taken));
            if take > 0 {
                let part = piece.slice(at + taken..at + taken + take);
                self.filler.add(&file, run.offset + current.done, part, pool);
            }
            taken += take;
            current.done += take as u64;
            if current.done == run.length {
                current.run += 1;
                current.done = 0;
            }
        }
        if last {
            self.filler.end(file);
        } else {
            current.file = Receiving::Open(file);
            self.current = Some(current);
        }
        Ok(())
    }
}
