//! What a figure depends on besides the program: the machine, and the file system that is written to.

use std::os::fd::AsFd;

use anyhow::Context;
use nix::sys::statfs::{FsType, fstatfs};
use serde::Serialize;

/// Names by the magic of statfs(2). ext2 and ext3 have that of ext4, whose driver they are mounted with.
const FILE_SYSTEMS: [(i64, &str); 11] = [
    (0x0102_1994, "tmpfs"),
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x794c_7630, "overlayfs"),
    (0x8584_58f6, "ramfs"),
    (0xf2f5_2010, "f2fs"),
    (0x2fc1_2fc1, "zfs"),
    (0xca45_1a4e, "bcachefs"),
    (0x6573_5546, "fuse"),
    (0x6969, "nfs"),
];

/// The machine that was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// As the processor calls itself.
    pub cpu: String,
    /// Family and model, by which processors that call themselves alike differ; absent where there are none.
    #[serde(skip)]
    pub family_and_model: Option<(String, String)>,
    /// Online processors.
    pub cores: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Release of the kernel.
    pub kernel: String,
    /// Whether the processor has instructions for SHA-256.
    pub sha_instructions: bool,
    /// Whether the processor says that it is not a real one.
    #[serde(skip)]
    pub hypervisor: bool,
    /// This program's version.
    pub layerfs: &'static str,
}

impl Machine {
    /// This machine.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn read() -> anyhow::Result<Self> {
        let read = |path: &str| std::fs::read_to_string(path).with_context(|| path.to_owned());
        Ok(Self::parse(&read("/proc/cpuinfo")?, &read("/proc/meminfo")?, &read("/proc/sys/kernel/osrelease")?))
    }

    fn parse(cpuinfo: &str, meminfo: &str, kernel: &str) -> Self {
        let field = |name: &str| fields(cpuinfo).find(|(key, _)| *key == name).map(|(_, value)| value);
        let flags = field("flags").or_else(|| field("Features")).unwrap_or_default();
        let memory = fields(meminfo).find(|(key, _)| *key == "MemTotal").map_or("", |(_, value)| value);
        let kilobytes: u64 = memory.trim_end_matches(" kB").parse().unwrap_or(0);
        Self {
            family_and_model: field("cpu family")
                .zip(field("model"))
                .map(|(family, model)| (family.to_owned(), model.to_owned())),
            cpu: field("model name").unwrap_or(std::env::consts::ARCH).to_owned(),
            cores: fields(cpuinfo).filter(|(key, _)| *key == "processor").count(),
            memory_bytes: kilobytes * 1024,
            kernel: kernel.trim().to_owned(),
            // x86 and ARM.
            sha_instructions: flags.split(' ').any(|flag| matches!(flag, "sha_ni" | "sha2")),
            hypervisor: flags.split(' ').any(|flag| flag == "hypervisor"),
            layerfs: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// `key : value` lines of proc(5).
fn fields(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once(':')).map(|(key, value)| (key.trim(), value.trim()))
}

/// The type of the file system that `dir` is on: its name, or the number by which the kernel knows it.
#[allow(clippy::unnecessary_cast, reason = "the type of the magic differs between architectures and C libraries")]
pub fn file_system(dir: impl AsFd) -> anyhow::Result<String> {
    let FsType(magic) = fstatfs(dir).context("asking for the type of the file system")?.filesystem_type();
    Ok(name(magic as i64))
}

fn name(magic: i64) -> String {
    // As a C int it may come with its sign spread.
    let magic = magic & 0xffff_ffff;
    let known = FILE_SYSTEMS.iter().find(|(number, _)| *number == magic);
    known.map_or_else(|| format!("{magic:#x}"), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_read_from_what_the_kernel_says() {
        let cpuinfo = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC 9B14\n\
                       flags\t\t: fpu sse4_2 sha_ni avx\n\n\
                       processor\t: 1\nmodel name\t: AMD EPYC 9B14\nflags\t\t: fpu sse4_2 sha_ni avx\n";
        let machine = Machine::parse(cpuinfo, "MemTotal:       24117248 kB\nMemFree: 1 kB\n", "6.18.5\n");
        assert_eq!((machine.cpu.as_str(), machine.cores, machine.sha_instructions), ("AMD EPYC 9B14", 2, true));
        assert_eq!((machine.memory_bytes, machine.kernel.as_str()), (24_117_248 * 1024, "6.18.5"));
        assert_eq!(machine.family_and_model, Some(("25".to_owned(), "17".to_owned())));
        let arm = Machine::parse("processor : 0\nFeatures : fp asimd aes sha1\n", "", "");
        assert_eq!((arm.cores, arm.sha_instructions, arm.memory_bytes), (1, false, 0));
    }

    #[test]
    fn file_systems_have_names_or_numbers() {
        for (magic, text) in [(0x0102_1994, "tmpfs"), (0xef53, "ext4"), (0x1234, "0x1234")] {
            assert_eq!(name(magic), text);
        }
        assert_eq!(name(0x9123_683e_u32 as i32 as nix::libc::__fsword_t), "btrfs");
        assert!(Machine::read().unwrap().cores > 0);
    }
}
