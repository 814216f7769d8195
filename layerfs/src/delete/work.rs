//! The threads, the directories that wait for them, and what is done with one directory.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, RawDir, SeekFrom};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::error::{DeleteError, obstacle};
use super::names::Names;
use crate::path::join;
use crate::pool::spawn_helpers;
use crate::sys::remove::{EntryFate, enter, insist, remove_with};

/// The most directories that are open at the same time. Images are less than twenty deep.
const MOST_OPEN: u64 = 256;

/// [`MOST_OPEN`], or a quarter of the descriptors that the process may have open, if that is less.
fn most_open() -> usize {
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(MOST_OPEN.min(allowed / 4)).unwrap_or(usize::MAX)
}

/// While waiting names take up more bytes than this, a directory is not read on before its subdirectories that were read are
/// deleted.
const MOST_NAMES: usize = 8 << 20;

/// If this many directories wait, threads are worth starting.
const WORTH_THREADS: usize = 8;

/// How often a directory is read again if it is not empty although everything in it was deleted: another process may be
/// writing to it, and a file system may pass over entries while others are deleted.
const MOST_READINGS: usize = 8;

/// The buffer for reading a directory.
type Buffer = [MaybeUninit<u8>; 32 << 10];

/// An open directory that is being deleted.
#[derive(Debug)]
struct Node {
    fd: OwnedFd,
    name: Vec<u8>,
    /// `None` for the top of the tree.
    parent: Option<Arc<Self>>,
    /// Its subdirectories that are not deleted yet.
    left: AtomicUsize,
    /// Whether there may be more entries to read.
    unread: AtomicBool,
    /// How often it was read from its beginning.
    readings: AtomicUsize,
    /// Whether something in it could not be deleted, so that it stays as well.
    stays: AtomicBool,
}

/// Subdirectories that wait to be deleted.
#[derive(Debug)]
struct Batch {
    parent: Arc<Node>,
    names: Names,
}

#[derive(Debug, Default)]
struct Queue {
    /// The last batch is taken first, so that directories are finished, and closed, before others are opened.
    batches: Vec<Batch>,
    waiting: usize,
    done: bool,
}

#[derive(Debug)]
struct Shared<'a> {
    /// The directory that holds the tree.
    top: OwnedFd,
    queue: Mutex<Queue>,
    changed: Condvar,
    open: AtomicUsize,
    most_open: usize,
    /// Bytes of waiting names.
    names: AtomicUsize,
    deleted: &'a AtomicU64,
    error: Mutex<Option<DeleteError>>,
}

/// Deletes `name` in `top` with everything below it.
pub(super) fn delete(top: OwnedFd, name: &[u8], threads: usize, deleted: &AtomicU64) -> Result<(), DeleteError> {
    let shared = Shared {
        top,
        queue: Mutex::default(),
        changed: Condvar::new(),
        open: AtomicUsize::new(0),
        most_open: most_open(),
        names: AtomicUsize::new(0),
        deleted,
        error: Mutex::default(),
    };
    let mut buffer = Box::new([MaybeUninit::uninit(); 32 << 10]);
    if let Some(node) = shared.open(None, name) {
        shared.empty(node, &mut buffer);
        if threads == 1 || shared.work_until(&mut buffer, |queue| queue.waiting >= WORTH_THREADS) {
            shared.work_until(&mut buffer, |_| false);
        } else {
            std::thread::scope(|scope| {
                spawn_helpers(scope, threads - 1, || {
                    shared.work_until(&mut Box::new([MaybeUninit::uninit(); 32 << 10]), |_| false);
                });
                shared.work_until(&mut buffer, |_| false);
            });
        }
    }
    shared.error.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

impl Shared<'_> {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes directories until none is left, or until `enough`. Returns whether none is left.
    fn work_until(&self, buffer: &mut Buffer, enough: impl Fn(&Queue) -> bool) -> bool {
        let _panic = EndOnPanic(self);
        loop {
            let mut queue = self.queue();
            let (parent, name) = loop {
                if queue.done || enough(&queue) {
                    return queue.done;
                }
                if let Some(batch) = queue.batches.last_mut() {
                    let (parent, name) = (Arc::clone(&batch.parent), batch.names.pop());
                    if batch.names.len() == 0 {
                        queue.batches.pop();
                    }
                    if let Some(name) = name {
                        queue.waiting -= 1;
                        break (parent, name);
                    }
                    continue;
                }
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            };
            drop(queue);
            self.names.fetch_sub(name.len() + 1, Ordering::Relaxed);
            match self.open(Some(&parent), &name) {
                Some(node) => {
                    // The node holds a reference of its own to its parent, and this one would keep the parent open.
                    drop(parent);
                    self.empty(node, buffer);
                }
                None => self.child_is_done(parent, buffer),
            }
        }
    }

    /// Opens a directory to be emptied. `None` if there is nothing to empty: it is gone, cannot be opened and stays, was a
    /// file, or was deleted by this call.
    fn open(&self, parent: Option<&Arc<Node>>, name: &[u8]) -> Option<Arc<Node>> {
        let dir = parent.map_or(&self.top, |parent| &parent.fd);
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.most_open {
            self.open.fetch_sub(1, Ordering::Relaxed);
            self.delete_alone(parent, name);
            return None;
        }
        let opened = insist(dir, || enter(dir, name));
        match opened {
            Ok(fd) => {
                return Some(Arc::new(Node {
                    fd,
                    name: name.to_vec(),
                    parent: parent.cloned(),
                    left: AtomicUsize::new(0),
                    unread: AtomicBool::new(true),
                    readings: AtomicUsize::new(1),
                    stays: AtomicBool::new(false),
                }));
            }
            Err(Errno::NOENT) => {}
            // What is to be deleted was a file from the beginning, or became one meanwhile.
            Err(Errno::NOTDIR | Errno::LOOP) => match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
                Ok(()) => self.count(1),
                Err(Errno::NOENT) => {}
                Err(errno) => self.fail(parent, name, errno),
            },
            Err(errno) => self.fail(parent, name, errno),
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
        None
    }

    /// Deletes a directory with everything below it without holding more than a few descriptors.
    fn delete_alone(&self, parent: Option<&Arc<Node>>, name: &[u8]) {
        let mut deleted = 0;
        let removed = remove_with(parent.map_or(&self.top, |parent| &parent.fd), name, b"", |_, _, _| {
            deleted += 1;
            Ok(EntryFate::Remove)
        });
        self.count(deleted);
        if let Err(errno) = removed {
            self.fail(parent, name, errno);
        }
    }

    /// Deletes what is in a directory, then the directory, then each directory above in which that was the last entry. Ends
    /// early where subdirectories have to be deleted first.
    fn empty(&self, mut node: Arc<Node>, buffer: &mut Buffer) {
        loop {
            if node.unread.swap(false, Ordering::Relaxed) {
                if self.read(&node, buffer) {
                    return;
                }
                continue;
            }
            if self.remove_directory(&node) {
                continue;
            }
            self.open.fetch_sub(1, Ordering::Relaxed);
            let Some(parent) = node.parent.clone() else {
                self.queue().done = true;
                self.changed.notify_all();
                return;
            };
            // This closes the directory that was deleted.
            node = parent;
            // The thread that goes on with the parent must see what other threads noted in it.
            if node.left.fetch_sub(1, Ordering::AcqRel) != 1 {
                return;
            }
        }
    }

    fn child_is_done(&self, parent: Arc<Node>, buffer: &mut Buffer) {
        if parent.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.empty(parent, buffer);
        }
    }

    /// Deletes the files of a directory and hands out its subdirectories. Returns whether it handed out any.
    fn read(&self, node: &Arc<Node>, buffer: &mut Buffer) -> bool {
        let (mut names, mut deleted) = (Names::default(), 0);
        let mut entries = RawDir::new(&node.fd, buffer);
        loop {
            // Stop only where the buffer is empty: the entries that are still in it would be lost.
            if entries.is_buffer_empty()
                && names.len() > 0
                && self.names.load(Ordering::Relaxed) + names.size() > MOST_NAMES
            {
                node.unread.store(true, Ordering::Relaxed);
                break;
            }
            let entry = match entries.next() {
                None => break,
                Some(Ok(entry)) => entry,
                Some(Err(errno)) => {
                    self.fail(node.parent.as_ref(), &node.name, errno);
                    node.stays.store(true, Ordering::Relaxed);
                    break;
                }
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if entry.file_type() == FileType::Directory {
                names.push(name.to_bytes());
                continue;
            }
            match insist(&node.fd, || rustix::fs::unlinkat(&node.fd, name, AtFlags::empty())) {
                Ok(()) => deleted += 1,
                Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => names.push(name.to_bytes()),
                Err(errno) => self.fail(Some(node), name.to_bytes(), errno),
            }
        }
        self.count(deleted);
        let count = names.len();
        if count == 0 {
            return false;
        }
        self.names.fetch_add(names.size(), Ordering::Relaxed);
        node.left.store(count, Ordering::Release);
        let mut queue = self.queue();
        queue.waiting += count;
        queue.batches.push(Batch { parent: Arc::clone(node), names });
        drop(queue);
        if count > 1 {
            self.changed.notify_all();
        }
        true
    }

    /// Deletes an empty directory. Returns whether it has to be read again.
    fn remove_directory(&self, node: &Node) -> bool {
        let parent = node.parent.as_ref();
        if node.stays.load(Ordering::Relaxed) {
            if let Some(parent) = parent {
                parent.stays.store(true, Ordering::Relaxed);
            }
            return false;
        }
        let dir = parent.map_or(&self.top, |parent| &parent.fd);
        let remove = || rustix::fs::unlinkat(dir, node.name.as_slice(), AtFlags::REMOVEDIR);
        // The permissions of the directory that holds the tree must not be changed.
        let removed = if parent.is_none() { remove() } else { insist(dir, remove) };
        match removed {
            Ok(()) => self.count(1),
            Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST)
                if node.readings.fetch_add(1, Ordering::Relaxed) < MOST_READINGS
                    && rustix::fs::seek(&node.fd, SeekFrom::Start(0)).is_ok() =>
            {
                node.unread.store(true, Ordering::Relaxed);
                return true;
            }
            Err(errno) => self.fail(parent, &node.name, errno),
        }
        false
    }

    fn count(&self, deleted: u64) {
        self.deleted.fetch_add(deleted, Ordering::Relaxed);
    }

    /// Notes that `name` in `dir` cannot be deleted, so that `dir` stays as well.
    fn fail(&self, dir: Option<&Arc<Node>>, name: &[u8], errno: Errno) {
        if let Some(dir) = dir {
            dir.stays.store(true, Ordering::Relaxed);
        }
        let mut error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = error.as_mut() {
            first.others += 1;
            return;
        }
        let obstacle = obstacle(dir.map_or(&self.top, |dir| &dir.fd), name, errno);
        let mut path = match obstacle {
            Some((_, true)) => Vec::new(),
            _ => name.to_vec(),
        };
        let mut above = dir;
        while let Some(node) = above {
            path = if path.is_empty() { node.name.clone() } else { join(&node.name, &path) };
            above = node.parent.as_ref();
        }
        *error = Some(DeleteError { path, errno, obstacle: obstacle.map(|(obstacle, _)| obstacle), others: 0 });
    }
}

/// Ends the other threads if one panics: they would wait for it for ever.
struct EndOnPanic<'s, 'a>(&'s Shared<'a>);

impl Drop for EndOnPanic<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.queue().done = true;
            self.0.changed.notify_all();
        }
    }
}
