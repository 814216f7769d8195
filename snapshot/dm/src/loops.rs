//! Loop devices: files that the kernel shows as block devices.

#![allow(unsafe_code, reason = "the ioctls of loop devices, which no crate at hand wraps; each says why it is sound")]

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::names::DeviceNumber;

/// `LOOP_CTL_GET_FREE` (`linux/loop.h`).
const GET_FREE: libc::Ioctl = 0x4C82;
/// `LOOP_CONFIGURE`; Linux 5.8 and newer.
const CONFIGURE: libc::Ioctl = 0x4C0A;
/// `LO_FLAGS_AUTOCLEAR`: the device lets go of the file when nobody has it open any more.
const AUTOCLEAR: u32 = 4;
/// How often another device is tried when somebody else was faster to take one.
const TRIES: usize = 64;

/// `struct loop_info64`.
#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

impl Info {
    fn empty() -> Self {
        Self {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: 0,
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        }
    }
}

/// `struct loop_config`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<Info>() == 232 && offset_of!(Info, flags) == 52);
const _: () = assert!(size_of::<Config>() == 304 && offset_of!(Config, info) == 8);

/// A loop device that shows a file, as long as this value or a mount of the device is there.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
    /// Open, so that the kernel keeps the device.
    device: File,
}

impl LoopDevice {
    /// Shows `file`, which is open for reading and writing, as a block device.
    ///
    /// # Errors
    /// Of the system: [`io::ErrorKind::PermissionDenied`] for a user who may not, [`io::ErrorKind::NotFound`] without
    /// loop devices.
    pub fn attach(file: &File) -> io::Result<Self> {
        let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
        for _ in 0..TRIES {
            // SAFETY: the call takes no argument and writes no memory; the descriptor is open.
            let number = check(unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE) })?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = OpenOptions::new().read(true).write(true).open(&path)?;
            match configure(&device, file) {
                Ok(()) => return Ok(Self { path, device }),
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from_raw_os_error(libc::EBUSY))
    }

    /// The number of the device.
    ///
    /// # Errors
    /// Of the system.
    pub fn number(&self) -> io::Result<DeviceNumber> {
        self.device.metadata().map(|found| DeviceNumber::from(found.rdev()))
    }

    /// The path of the device.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn configure(device: &File, file: &File) -> io::Result<()> {
    let info = Info { flags: AUTOCLEAR, ..Info::empty() };
    let fd = u32::try_from(file.as_raw_fd()).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    let config = Config { fd, block_size: 0, info, reserved: [0; 8] };
    // SAFETY: the kernel reads one `struct loop_config` at the address, and `config` has its size and form.
    check(unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE, &raw const config) }).map(drop)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// `LOOP_GET_STATUS64` (`linux/loop.h`)
const GET_STATUS: libc::Ioctl = 0x4C05;

/// The file system and the inode of the file that a loop device shows.
fn behind_it(device: &File) -> io::Result<(u64, u64)> {
    let mut info = Info::empty();
    // SAFETY: the kernel writes one `struct loop_info64` at the address, and `info` has its size and form.
    check(unsafe { libc::ioctl(device.as_raw_fd(), GET_STATUS, &raw mut info) })?;
    Ok((info.device, info.inode))
}

/// The loop device that shows `file`, if there is one: then the kernel may be writing to it. It is looked for by the
/// paths of the files behind all loop devices, and where that leads nowhere by asking the device.
///
/// # Errors
/// Of the system.
pub fn shown_by(file: &File) -> io::Result<Option<PathBuf>> {
    let wanted = file.metadata()?;
    let devices = match std::fs::read_dir("/sys/block") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        devices => devices?,
    };
    for device in devices {
        let device = device?;
        let Ok(behind) = std::fs::read_to_string(device.path().join("loop/backing_file")) else { continue };
        let is_wanted = |found: (u64, u64)| found == (wanted.dev(), wanted.ino());
        let by_path = std::fs::metadata(behind.trim_end_matches('\n')).map(|found| (found.dev(), found.ino()));
        let path = Path::new("/dev").join(device.file_name());
        // In a chroot, or for a file of another mount namespace, the path may lead nowhere, but the device knows the file.
        if by_path.is_ok_and(is_wanted) || File::open(&path).and_then(|device| behind_it(&device)).is_ok_and(is_wanted)
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// `BLKDISCARD` (`linux/fs.h`)
const DISCARD: libc::Ioctl = 0x1277;

/// Gives back the content of a whole block device of `size` bytes: a thin device returns its blocks to the pool.
///
/// # Errors
/// Of the system: [`io::ErrorKind::Unsupported`] for a device that cannot do it.
pub fn discard(device: &File, size: u64) -> io::Result<()> {
    let range = [0, size];
    // SAFETY: the kernel reads two numbers of 64 bits at the address, and there are two.
    check(unsafe { libc::ioctl(device.as_raw_fd(), DISCARD, &raw const range) }).map(drop)
}

/// `LOOP_SET_CAPACITY` (`linux/loop.h`)
const SET_CAPACITY: libc::Ioctl = 0x4C07;

/// Lets a loop device see that its file has grown.
///
/// # Errors
/// Of the system.
pub fn read_size_again(device: &File) -> io::Result<()> {
    // SAFETY: the call takes no argument and writes no memory; the descriptor is open.
    check(unsafe { libc::ioctl(device.as_raw_fd(), SET_CAPACITY) }).map(drop)
}
