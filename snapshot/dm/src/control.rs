//! The kernel's device mapper: devices are made, changed and removed by ioctls on `/dev/mapper/control`.
//!
//! Devices are asked for by their names in the kernel, and opened as `/dev/dm-<minor>`, which devtmpfs makes at once and
//! names by the number alone. Nothing below `/dev/mapper` but `control` is looked at: without udev nobody removes what
//! is stale there, and another device may have the number by now. So neither udev nor libdevmapper is needed. Where
//! udev runs, it makes the links below `/dev/mapper`, for which a command [waits](crate::udev), and is told to leave the
//! devices alone otherwise: no `blkid` holds one open that is to be removed.

#![allow(
    unsafe_code,
    reason = "the ioctls of the device mapper, which no crate at hand wraps; one function makes them all"
)]

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use rustix::io::Errno;

use crate::mapper::{Info, Mapper, MapperError, Problem, Removal};
use crate::names::{DeviceName, DeviceNumber};
use crate::target::Table;
use crate::udev::{Cookie, Udev};

const CONTROL: &str = "/dev/mapper/control";

/// The version of the interface that is asked for: every kernel with an interface 4.x takes it (`linux/dm-ioctl.h`).
const VERSION: [u32; 3] = [4, 0, 0];

/// `DM_IOCTL`, the type of these ioctls.
const TYPE: u32 = 0xfd;

/// The commands in use, by their numbers.
#[derive(Debug, Clone, Copy)]
enum Command {
    Create = 3,
    Remove = 4,
    /// Suspends with [`SUSPEND`], else resumes.
    Suspend = 6,
    Status = 7,
    LoadTable = 9,
    TableStatus = 12,
    Message = 14,
}

/// `DM_SUSPEND_FLAG`
const SUSPEND: u32 = 1 << 1;
/// `DM_STATUS_TABLE_FLAG`: the table is asked for, not the status.
const STATUS_TABLE: u32 = 1 << 4;
/// `DM_BUFFER_FULL_FLAG`, in an answer.
const BUFFER_FULL: u32 = 1 << 8;
/// `DM_DEFERRED_REMOVE`: in a request, remove it once it is closed; in an answer, it is going to be.
const DEFERRED_REMOVE: u32 = 1 << 17;
/// `DM_UEVENT_GENERATED_FLAG`, in an answer: udev hears of it.
const EVENT: u32 = 1 << 13;

/// Flags for udev, in the upper half of the event number (`libdevmapper.h`): `DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG`,
/// `..._DISK_RULES_FLAG` and `..._OTHER_RULES_FLAG`, which dockerd gives to its pool, and `DM_UDEV_PRIMARY_SOURCE_FLAG`,
/// which libdevmapper gives to every event: by it udev knows that the flags are meant, and keeps them for later events.
const UDEV_LEAVE_ALONE: u32 = (0x2 | 0x4 | 0x8 | 0x40) << 16;

/// Bytes for what follows the header. One target's table has some hundred at most.
const PAYLOAD: usize = 16 << 10;

/// `struct dm_ioctl`
#[repr(C)]
struct Header {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event: u32,
    padding: u32,
    dev: u64,
    name: [u8; 128],
    uuid: [u8; 129],
    data: [u8; 7],
}

/// A header with what follows it.
#[repr(C)]
struct Request {
    header: Header,
    payload: [u8; PAYLOAD],
}

/// `struct dm_target_spec`, before the text of the target's parameters.
#[repr(C)]
struct TargetSpec {
    start: u64,
    length: u64,
    status: i32,
    next: u32,
    kind: [u8; 16],
}

const _: () = assert!(size_of::<Header>() == 312 && offset_of!(Header, data_size) == 12);
const _: () =
    assert!(offset_of!(Header, flags) == 28 && offset_of!(Header, event) == 32 && offset_of!(Header, dev) == 40);
const _: () = assert!(offset_of!(Header, name) == 48 && offset_of!(Header, uuid) == 176);
const _: () = assert!(size_of::<Request>() == 312 + PAYLOAD && offset_of!(Request, payload) == 312);
const _: () = assert!(size_of::<TargetSpec>() == 40 && offset_of!(TargetSpec, length) == 8);
const _: () = assert!(offset_of!(TargetSpec, next) == 20 && offset_of!(TargetSpec, kind) == 24);

/// The device mapper of the running kernel.
#[derive(Debug)]
pub struct Control {
    file: File,
    udev: Udev,
}

impl Control {
    /// Opens `/dev/mapper/control`.
    ///
    /// # Errors
    /// Of the system: [`io::ErrorKind::NotFound`] without a device mapper, [`io::ErrorKind::PermissionDenied`] for a
    /// user who may not use it.
    pub fn open() -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(CONTROL)?;
        Ok(Self { file, udev: Udev::of_the_system() })
    }

    /// Asks the kernel, and waits for udev if that makes an event. `payload` comes after the header.
    fn ask(&self, command: Command, name: &DeviceName, flags: u32, payload: &[u8]) -> Result<Box<Request>, Errno> {
        let size = u32::try_from(size_of::<Request>()).expect("some thousand bytes");
        let start = u32::try_from(offset_of!(Request, payload)).expect("some hundred bytes");
        let may_make_event = matches!(command, Command::Remove | Command::Suspend) && flags & SUSPEND == 0;
        let cookie = may_make_event.then(|| self.udev.expect()).flatten();
        let header = Header {
            version: VERSION,
            data_size: size,
            data_start: start,
            target_count: u32::from(matches!(command, Command::LoadTable)),
            open_count: 0,
            flags,
            event: if may_make_event { UDEV_LEAVE_ALONE | cookie.as_ref().map_or(0, Cookie::number) } else { 0 },
            padding: 0,
            dev: 0,
            name: [0; 128],
            uuid: [0; 129],
            data: [0; 7],
        };
        let mut request = Box::new(Request { header, payload: [0; PAYLOAD] });
        request.header.name[..name.as_str().len()].copy_from_slice(name.as_str().as_bytes());
        request.payload.get_mut(..payload.len()).ok_or(Errno::TOOBIG)?.copy_from_slice(payload);
        // `_IOWR(DM_IOCTL, command, struct dm_ioctl)`
        let number = 3 << 30 | (size_of::<Header>() as u32) << 16 | TYPE << 8 | command as u32;
        // SAFETY: the kernel reads and writes `data_size` bytes at the address, and that is the size of `request`.
        let result = unsafe { libc::ioctl(self.file.as_raw_fd(), number as libc::Ioctl, &raw mut *request) };
        if result < 0 {
            return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO));
        }
        if let Some(cookie) = cookie {
            self.udev.wait(cookie, request.header.flags & EVENT != 0, name);
        }
        if request.header.flags & BUFFER_FULL != 0 {
            return Err(Errno::TOOBIG);
        }
        Ok(request)
    }

    fn call(
        &self,
        command: Command,
        what: &'static str,
        name: &DeviceName,
        flags: u32,
        payload: &[u8],
    ) -> Result<Box<Request>, MapperError> {
        let failed = |errno| MapperError { what, name: name.clone(), problem: Problem::from(errno) };
        self.ask(command, name, flags, payload).map_err(failed)
    }

    /// The one target of a device: its kind, its length, and the text of its table or status.
    fn target(&self, what: &'static str, name: &DeviceName, flags: u32) -> Result<(String, u64, String), MapperError> {
        let reply = self.call(Command::TableStatus, what, name, flags, &[])?;
        let invalid = || MapperError { what, name: name.clone(), problem: Problem::Answer };
        let start = (reply.header.data_start as usize).checked_sub(offset_of!(Request, payload)).ok_or_else(invalid)?;
        let spec = reply.payload.get(start..).ok_or_else(invalid)?;
        if reply.header.target_count != 1 || spec.len() < size_of::<TargetSpec>() {
            return Err(invalid());
        }
        let length = spec[offset_of!(TargetSpec, length)..][..8].try_into().expect("eight bytes");
        let kind = text(&spec[offset_of!(TargetSpec, kind)..][..16]);
        Ok((kind, u64::from_ne_bytes(length), text(&spec[size_of::<TargetSpec>()..])))
    }
}

/// The bytes before the first zero.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// A target in the form of the kernel: [`TargetSpec`], the text, a zero, and zeros up to a multiple of eight bytes.
fn target_spec(table: &Table) -> Vec<u8> {
    let parameters = table.parameters();
    let mut bytes = vec![0; (size_of::<TargetSpec>() + parameters.len() + 1).next_multiple_of(8)];
    bytes[offset_of!(TargetSpec, length)..][..8].copy_from_slice(&table.length().to_ne_bytes());
    let next = u32::try_from(bytes.len()).expect("some hundred bytes");
    bytes[offset_of!(TargetSpec, next)..][..4].copy_from_slice(&next.to_ne_bytes());
    bytes[offset_of!(TargetSpec, kind)..][..table.kind().len()].copy_from_slice(table.kind().as_bytes());
    bytes[size_of::<TargetSpec>()..][..parameters.len()].copy_from_slice(parameters.as_bytes());
    bytes
}

impl Mapper for Control {
    fn info(&self, name: &DeviceName) -> Result<Option<Info>, MapperError> {
        match self.ask(Command::Status, name, 0, &[]) {
            Ok(reply) => Ok(Some(Info {
                number: DeviceNumber::from(reply.header.dev),
                open: u32::try_from(reply.header.open_count).unwrap_or(0),
                is_being_removed: reply.header.flags & DEFERRED_REMOVE != 0,
            })),
            Err(Errno::NXIO) => Ok(None),
            Err(errno) => Err(MapperError { what: "asking for", name: name.clone(), problem: Problem::from(errno) }),
        }
    }

    fn create(&self, name: &DeviceName, table: &Table) -> Result<DeviceNumber, MapperError> {
        let reply = self.call(Command::Create, "making", name, 0, &[])?;
        let filled = self.reload(name, table);
        if let Err(error) = filled {
            // The device was made, but has no table.
            let _ = self.remove(name, Removal::Now);
            return Err(error);
        }
        Ok(DeviceNumber::from(reply.header.dev))
    }

    fn reload(&self, name: &DeviceName, table: &Table) -> Result<(), MapperError> {
        self.call(Command::LoadTable, "loading the table of", name, 0, &target_spec(table))?;
        self.resume(name)
    }

    fn suspend(&self, name: &DeviceName) -> Result<(), MapperError> {
        self.call(Command::Suspend, "suspending", name, SUSPEND, &[]).map(drop)
    }

    fn resume(&self, name: &DeviceName) -> Result<(), MapperError> {
        self.call(Command::Suspend, "resuming", name, 0, &[]).map(drop)
    }

    fn remove(&self, name: &DeviceName, removal: Removal) -> Result<(), MapperError> {
        let flags = if removal == Removal::WhenClosed { DEFERRED_REMOVE } else { 0 };
        match self.call(Command::Remove, "removing", name, flags, &[]) {
            Ok(_) | Err(MapperError { problem: Problem::Missing, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn message(&self, name: &DeviceName, text: &str) -> Result<(), MapperError> {
        // `struct dm_target_msg`: the sector of the target, then the text with a zero.
        let payload = [&0u64.to_ne_bytes()[..], text.as_bytes(), &[0]].concat();
        self.call(Command::Message, "sending a message to", name, 0, &payload).map(drop)
    }

    fn table(&self, name: &DeviceName) -> Result<Table, MapperError> {
        let (kind, length, parameters) = self.target("asking for the table of", name, STATUS_TABLE)?;
        let invalid = |_| MapperError { what: "reading the table of", name: name.clone(), problem: Problem::Answer };
        format!("0 {length} {kind} {parameters}").parse().map_err(invalid)
    }

    fn status(&self, name: &DeviceName) -> Result<String, MapperError> {
        self.target("asking for the status of", name, 0).map(|(.., status)| status)
    }

    fn open(&self, number: DeviceNumber) -> io::Result<(PathBuf, File)> {
        let path = PathBuf::from(format!("/dev/dm-{}", number.minor));
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let found = file.metadata()?;
        if !found.file_type().is_block_device() || DeviceNumber::from(found.rdev()) != number {
            return Err(io::Error::other(format!("{} is not the device {number}", path.display())));
        }
        Ok((path, file))
    }
}
