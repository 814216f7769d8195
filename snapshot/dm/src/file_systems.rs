//! What a file system that is mounted from a thin device is asked: to give back what it does not use, and to grow.

#![allow(unsafe_code, reason = "the ioctls of file systems, which no crate at hand wraps; each says why it is sound")]

use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd};

/// `FITRIM` (`linux/fs.h`)
const TRIM: libc::Ioctl = 0xC018_5879_u32 as libc::Ioctl;
/// `EXT4_IOC_RESIZE_FS` (`fs/ext4/ext4.h`)
const RESIZE_EXT4: libc::Ioctl = 0x4008_6610;
/// `XFS_IOC_FSGEOMETRY_V1` (`fs/xfs/libxfs/xfs_fs.h`)
const XFS_GEOMETRY: libc::Ioctl = 0x8070_5864_u32 as libc::Ioctl;
/// `XFS_IOC_FSGROWFSDATA`
const GROW_XFS: libc::Ioctl = 0x4010_586E;

/// `struct fstrim_range`
#[repr(C)]
struct Range {
    start: u64,
    length: u64,
    least: u64,
}

/// `struct xfs_fsop_geom_v1`, of which three numbers are used.
#[repr(C)]
struct Geometry {
    block: u32,
    before: [u32; 6],
    inode_percent: u32,
    blocks: u64,
    after: [u64; 9],
}

/// `struct xfs_growfs_data`
#[repr(C)]
struct Growth {
    blocks: u64,
    inode_percent: u32,
}

const _: () = assert!(size_of::<Range>() == 24);
const _: () = assert!(size_of::<Geometry>() == 112 && offset_of!(Geometry, inode_percent) == 28);
const _: () = assert!(offset_of!(Geometry, blocks) == 32);
const _: () = assert!(size_of::<Growth>() == 16 && offset_of!(Growth, inode_percent) == 8);

/// Gives back to the device what the file system of `directory` does not use. Returns how many bytes the file system has
/// given back; it does not know which of them the device had given it.
///
/// # Errors
/// Of the system: [`io::ErrorKind::Unsupported`] for a file system or a device that cannot do it.
pub fn trim(directory: impl AsFd) -> io::Result<u64> {
    let mut range = Range { start: 0, length: u64::MAX, least: 0 };
    // SAFETY: the kernel reads and writes one `struct fstrim_range` at the address, and `range` has its size and form.
    check(unsafe { libc::ioctl(directory.as_fd().as_raw_fd(), TRIM, &raw mut range) })?;
    Ok(range.length)
}

/// Lets an ext4 that is mounted use a device of `size` bytes.
///
/// # Errors
/// Of the system.
pub fn grow_ext4(directory: impl AsFd, size: u64) -> io::Result<()> {
    let found = rustix::fs::fstatfs(&directory)?;
    let block = u64::try_from(found.f_bsize).ok().filter(|block| *block > 0);
    let blocks = size / block.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    // SAFETY: the kernel reads one number of 64 bits at the address.
    check(unsafe { libc::ioctl(directory.as_fd().as_raw_fd(), RESIZE_EXT4, &raw const blocks) })
}

/// Lets an xfs that is mounted use a device of `size` bytes.
///
/// # Errors
/// Of the system.
pub fn grow_xfs(directory: impl AsFd, size: u64) -> io::Result<()> {
    let mut geometry = Geometry { block: 0, before: [0; 6], inode_percent: 0, blocks: 0, after: [0; 9] };
    // SAFETY: the kernel writes one `struct xfs_fsop_geom_v1` at the address, and `geometry` has its size and form.
    check(unsafe { libc::ioctl(directory.as_fd().as_raw_fd(), XFS_GEOMETRY, &raw mut geometry) })?;
    let block = Some(u64::from(geometry.block)).filter(|block| *block > 0);
    let blocks = size / block.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    if blocks <= geometry.blocks {
        // The kernel would take the same size for an attempt to shrink.
        return Ok(());
    }
    let growth = Growth { blocks, inode_percent: geometry.inode_percent };
    // SAFETY: the kernel reads one `struct xfs_growfs_data` at the address, and `growth` has its size and form.
    check(unsafe { libc::ioctl(directory.as_fd().as_raw_fd(), GROW_XFS, &raw const growth) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
