//! What was measured of a real image, as tables.
//!
//! The image is `testdata/make-big-image.sh`'s of Debian bookworm: seven layers of its packages, 75,328 members, 1.43 GB of
//! content. Sizes are binned by bit length: bin 0 is the empty file, bin `n` has sizes from `2^(n-1)` below `2^n`.

use super::content::Class;
use super::content::Class::{Binary, Data, Library, Packed, Prose, Source, Table};

/// Bins of file sizes.
pub(super) const BINS: usize = 28;

/// The first bin of the large files, half a mebibyte: 0.4 % of the files, 61 % of the bytes.
pub(super) const LARGE: usize = 20;

/// What was measured of one layer.
#[derive(Debug)]
pub(super) struct Spec {
    /// Files, symlinks and directories.
    pub(super) files: u64,
    pub(super) symlinks: u64,
    pub(super) dirs: u64,
    /// Bytes in files.
    pub(super) bytes: u64,
    /// Files per bin of sizes.
    pub(super) sizes: [u32; BINS],
    /// Shares of the bytes of small files by content.
    pub(super) small: &'static [(Class, u32)],
    /// Shares of the bytes of large files by content.
    pub(super) large: &'static [(Class, u32)],
    /// Directories that the rest hangs below, with their shares.
    pub(super) below: &'static [(&'static str, u32)],
    /// Owner of all files.
    pub(super) owner: u64,
}

/// debootstrap's minimal system.
pub(super) const BASE: Spec = Spec {
    files: 5_235,
    symlinks: 646,
    dirs: 784,
    bytes: 116_658_104,
    sizes: [
        20, 1, 2, 1, 7, 25, 51, 156, 228, 282, 890, 905, 768, 350, 364, 521, 314, 186, 98, 44, 12, 7, 3, 0, 0, 0, 0, 0,
    ],
    small: &[(Prose, 69), (Data, 288), (Binary, 313), (Packed, 83)],
    large: &[(Binary, 234), (Prose, 13)],
    below: &[
        ("etc", 18),
        ("usr/bin", 1),
        ("usr/lib/x86_64-linux-gnu", 14),
        ("usr/share/doc", 20),
        ("usr/share/locale", 25),
        ("usr/share/zoneinfo", 8),
        ("var/lib", 14),
    ],
    owner: 0,
};

/// Compilers, headers of C++ libraries and of the kernel.
pub(super) const TOOLCHAIN: Spec = Spec {
    files: 31_733,
    symlinks: 68,
    dirs: 1_820,
    bytes: 374_746_655,
    sizes: [
        6445, 0, 0, 1, 9, 69, 58, 62, 431, 1473, 4079, 5076, 5118, 3909, 2682, 1297, 597, 245, 105, 38, 15, 15, 3, 2,
        0, 3, 1, 0,
    ],
    small: &[(Source, 497), (Binary, 8), (Packed, 1)],
    large: &[(Binary, 396), (Source, 47), (Library, 43), (Packed, 7)],
    below: &[("usr/include", 60), ("usr/lib/gcc", 5), ("usr/share/doc", 5), ("usr/src", 30)],
    owner: 0,
};

/// Go, Perl, Python and Node: sources, some libraries.
pub(super) const LANGUAGES: Spec = Spec {
    files: 17_277,
    symlinks: 7,
    dirs: 1_964,
    bytes: 297_222_261,
    sizes: [
        138, 3, 9, 23, 41, 88, 165, 215, 1168, 2763, 2599, 2193, 1994, 1865, 1640, 1132, 679, 328, 120, 70, 23, 7, 4,
        5, 5, 0, 0, 0,
    ],
    small: &[(Prose, 548), (Binary, 15), (Data, 17), (Packed, 5)],
    large: &[(Source, 294), (Library, 118), (Table, 2)],
    below: &[
        ("usr/lib/python3/dist-packages", 40),
        ("usr/share/go", 40),
        ("usr/share/nodejs", 5),
        ("usr/share/perl", 15),
    ],
    owner: 0,
};

/// Manual pages, locales, fonts.
pub(super) const DOCUMENTS: Spec = Spec {
    files: 6_596,
    symlinks: 5_013,
    dirs: 1_508,
    bytes: 327_167_533,
    sizes: [
        1, 0, 0, 0, 0, 36, 511, 441, 517, 1062, 468, 684, 952, 483, 396, 425, 203, 83, 82, 135, 41, 2, 72, 2, 0, 0, 0,
        0,
    ],
    small: &[(Prose, 63), (Data, 237), (Packed, 6)],
    large: &[(Table, 673), (Prose, 20)],
    below: &[
        ("usr/lib/locale", 60),
        ("usr/share/fonts", 5),
        ("usr/share/locale", 25),
        ("usr/share/man", 5),
        ("usr/share/vim", 5),
    ],
    owner: 0,
};

/// LLVM, a browser engine and ICU: few files, two of a hundred megabytes.
pub(super) const LIBRARIES: Spec = Spec {
    files: 278,
    symlinks: 12,
    dirs: 126,
    bytes: 312_092_732,
    sizes: [0, 0, 0, 0, 0, 0, 0, 2, 0, 2, 3, 10, 15, 42, 56, 60, 61, 15, 4, 2, 0, 0, 1, 1, 0, 1, 1, 2],
    small: &[(Prose, 16), (Data, 6), (Library, 3)],
    large: &[(Library, 975)],
    below: &[("usr/lib/x86_64-linux-gnu", 10), ("usr/share/doc", 60), ("usr/share/lintian", 30)],
    owner: 0,
};

/// An application's own data: small files of another owner in one directory.
pub(super) const SAMPLES: Spec = Spec {
    files: 2_000,
    symlinks: 0,
    dirs: 1,
    bytes: 8_893,
    sizes: [0, 0, 99, 1901, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    small: &[(Prose, 1)],
    large: &[(Prose, 1)],
    below: &[("var/lib/sample", 1)],
    owner: 1000,
};

/// All layers in one.
pub(super) const WHOLE: Spec = Spec {
    files: 63_352,
    symlinks: 5_746,
    dirs: 6_219,
    bytes: 1_427_897_431,
    sizes: [
        6725, 4, 110, 1937, 158, 218, 785, 876, 2344, 5582, 8039, 8868, 8847, 6649, 5138, 3435, 1854, 857, 409, 289,
        91, 31, 83, 10, 5, 4, 2, 2,
    ],
    small: &[(Source, 132), (Prose, 138), (Data, 82), (Binary, 32), (Packed, 11)],
    large: &[(Library, 226), (Table, 154), (Binary, 123), (Source, 73), (Prose, 5), (Packed, 2)],
    below: &[
        ("etc", 3),
        ("opt/app", 5),
        ("usr/include", 25),
        ("usr/lib/python3/dist-packages", 17),
        ("usr/lib/x86_64-linux-gnu", 5),
        ("usr/share/doc", 20),
        ("usr/share/locale", 15),
        ("usr/src", 8),
        ("var/lib", 2),
    ],
    owner: 0,
};

/// Directories by the number of their entries that are not directories, binned as sizes are. Mean 11.1.
pub(super) const FILES_PER_DIRECTORY: [u32; 14] = [793, 1601, 1167, 830, 1189, 355, 174, 56, 37, 13, 5, 4, 0, 1];

/// Directories with directories below them by how many these are, binned as sizes are.
pub(super) const DIRECTORIES_PER_DIRECTORY: [u32; 10] = [0, 1571, 342, 137, 59, 32, 10, 7, 2, 1];

/// Names of directories by their length in bytes.
pub(super) const DIRECTORY_NAME_LENGTHS: [u32; 30] = [
    0, 47, 433, 576, 583, 732, 735, 444, 415, 240, 433, 994, 125, 96, 187, 68, 32, 9, 15, 12, 4, 14, 1, 2, 0, 13, 2, 1,
    3, 3,
];

/// All names by their length in bytes.
pub(super) const NAME_LENGTHS: [u32; 42] = [
    0, 55, 467, 792, 1676, 2469, 3154, 5186, 6206, 5976, 6389, 5991, 5662, 5515, 4161, 3590, 2608, 2770, 2016, 1754,
    1457, 1232, 1117, 962, 811, 685, 491, 457, 321, 294, 175, 153, 120, 104, 90, 82, 61, 49, 30, 21, 19, 160,
];
