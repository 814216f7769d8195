//! A virtual machine with Debian's kernel, for what tests need of a kernel that the machine at hand has not: the device mapper.
//!
//! ```text
//! qemu (without the processor's help: any machine can do that)
//!   kernel and modules   target/vm/kernel, by `tools/vm-kernel.sh`, with udevd for the tests that want it
//!   memory               a root file system with programs of this machine, and the test itself at /t/test
//!   /dev/vda             an ext4 file system, mounted at /d
//!   /dev/vdb             an empty disk, if the test wants one
//!   serial line          what the command prints, then its exit status
//! ```
//!
//! A test starts [its own executable](Machine::run_tests) there and asks for tests that are marked as ignored, or for those
//! that can run anywhere; so one start of the machine runs many tests.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::initramfs::Initramfs;
use crate::tier::{Turn, tier};
use crate::write_log::WriteLog;

/// A file that only the machine has.
const MARK: &str = "/etc/layerfs-vm";

/// The file of the second disk, beside that of the first.
const SECOND_DISK: &str = "disk2";

/// The log of what is written to it, if there is to be one.
const LOG: &str = "writes";

/// What the kernel counts processor time in, in a second: `USER_HZ`.
const TICKS: u64 = 100;

/// Begins the last line of the serial line, with the exit status after it.
const END: &str = "@@ the command ended with ";

/// Modules of the kernel by their paths below `kernel/`, in the order in which they are loaded.
const MODULES: [&str; 14] = [
    "lib/libcrc32c",
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci",
    "drivers/block/virtio_blk",
    "drivers/block/loop",
    "drivers/md/dm-mod",
    "drivers/md/dm-bufio",
    "drivers/md/persistent-data/dm-persistent-data",
    "drivers/md/dm-bio-prison",
    "drivers/md/dm-thin-pool",
    "fs/xfs/xfs",
];

/// The first program that the kernel starts. `/t/command` is what the test wants to run.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mkdir -p /bin /sbin /proc /sys /dev /tmp /run /d /root
/bin/busybox --install -s /bin
export PATH=/t:/bin:/sbin:/usr/bin:/usr/sbin HOME=/root TMPDIR=/d/tmp
# The root is in memory, where a container's root cannot be put in its place: dockerd tells runc to do without.
export DOCKER_RAMDISK=1
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp; mount -t tmpfs run /run; mkdir -p /dev/shm /dev/pts
ln -s /proc/self/fd /dev/fd
while read module; do insmod "/modules/$module.ko" || echo "cannot load $module"; done </modules/order
ip link set lo up
mount -t ext4 /dev/vda /d && mkdir -p -m 1777 /d/tmp
mount -t cgroup2 cgroup /sys/fs/cgroup
# A root that is a mount like any other can be exchanged for a container's; the root in memory cannot.
mkdir /n; mount --rbind / /n
chroot /n sh -c 'cd /d; sh /t/command </dev/null'; status=$?
sync; echo; echo "@@ the command ended with $status"
echo o >/proc/sysrq-trigger; sleep 60
"#;

/// Whether this test runs in the virtual machine.
#[must_use]
pub fn inside() -> bool {
    Path::new(MARK).exists()
}

fn kernel_dir() -> PathBuf {
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/vm/kernel");
    std::env::var_os("LAYERFS_VM_KERNEL").map_or_else(usual, PathBuf::from)
}

/// The name of the kernel, if it was unpacked.
fn release() -> Option<String> {
    let names = std::fs::read_dir(kernel_dir().join("boot")).ok()?;
    let mut names = names.filter_map(|name| name.ok()?.file_name().into_string().ok());
    names.find_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned))
}

/// udev's one program, and its libraries, below the directory of the kernel.
const UDEVADM: &str = "udev/bin/udevadm";
const UDEV_LIBRARIES: &str = "lib/x86_64-linux-gnu";

/// The device mapper's rules for udev, of the package dmsetup.
const UDEV_RULES: [&str; 3] = ["55-dm.rules", "60-persistent-storage-dm.rules", "95-dm-notify.rules"];

const QEMU: &str = "/usr/bin/qemu-system-x86_64";
const BUSYBOX: [&str; 2] = ["/usr/bin/busybox", "/bin/busybox"];

/// The turn of this test, or says why there is no virtual machine to test with.
pub fn vm() -> Option<Turn> {
    static TURN: Mutex<()> = Mutex::new(());
    let programs = Path::new(QEMU).exists() && BUSYBOX.iter().any(|path| Path::new(path).exists());
    let need = "qemu-system-x86, busybox-static, and tools/vm-kernel.sh target/vm/kernel (`just vm`)";
    let unpacked = release().is_some() && kernel_dir().join(UDEVADM).exists();
    tier("vm", programs && unpacked, need).then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A program of this machine by its name.
fn find_program(name: &str) -> PathBuf {
    let dirs = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let mut paths = dirs.iter().map(|dir| Path::new(dir).join(name));
    paths.find(|path| path.exists()).unwrap_or_else(|| panic!("{name} is not installed"))
}

/// A machine that is not started yet.
///
/// Each start has a limit, which is processor time and not the clock's, so that a busy host does not end it: the machine is given up
/// when it has used that much, or when it stands still, which is to have used less than a twentieth of it while the whole limit went by.
#[derive(Debug)]
pub struct Machine {
    dir: tempfile::TempDir,
    files: Initramfs,
    memory: u32,
}

/// What came of a command.
#[derive(Debug)]
struct Ran {
    /// Its exit status; `None` if it did not end.
    status: Option<i32>,
    /// What it printed.
    output: String,
}

impl Machine {
    /// A machine with `memory` MiB and a disk of `disk` GiB, which takes up room only as it is written to. `programs` of this
    /// machine are there, and the test itself.
    #[must_use]
    pub fn new(memory: u32, disk: u64, programs: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk_path = dir.path().join("disk");
        File::create_new(&disk_path).unwrap().set_len(disk << 30).unwrap();
        let made = Command::new(find_program("mkfs.ext4")).arg("-q").arg(&disk_path).output().unwrap();
        assert!(made.status.success(), "mkfs.ext4: {}", String::from_utf8_lossy(&made.stderr));

        let mut files = Initramfs::create(&dir.path().join("initramfs"));
        files.file(Path::new("/init"), 0o755, INIT.as_bytes());
        files.file(Path::new(MARK), 0o644, b"");
        files.file(Path::new("/etc/passwd"), 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
        files.file(Path::new("/etc/group"), 0o644, b"root:x:0:\n");
        let busybox = BUSYBOX.into_iter().find(|path| Path::new(path).exists()).unwrap();
        files.copy(Path::new(busybox), Path::new("/bin/busybox"));
        let modules = kernel_dir().join("lib/modules").join(release().unwrap()).join("kernel");
        let mut order = String::new();
        for module in MODULES {
            let name = module.rsplit('/').next().unwrap();
            files.copy(&modules.join(format!("{module}.ko")), Path::new(&format!("/modules/{name}.ko")));
            order.push_str(&format!("{name}\n"));
        }
        files.file(Path::new("/modules/order"), 0o644, order.as_bytes());
        for name in programs {
            let path = find_program(name);
            files.program(&path, &path);
        }
        files.own_program(&std::env::current_exe().unwrap(), Path::new("/t/test"));
        Self { dir, files, memory }
    }

    /// Adds a program of this project, which is found by its file name.
    #[must_use]
    pub fn program(mut self, path: &Path) -> Self {
        self.files.own_program(path, &Path::new("/t").join(path.file_name().unwrap()));
        self
    }

    /// Adds udevd with the device mapper's rules. It runs only while a test has started it.
    #[must_use]
    pub fn udev(mut self) -> Self {
        // The program knows by its name what it is.
        for path in ["/bin/udevadm", "/lib/systemd/systemd-udevd"] {
            let (from, unpacked) = (kernel_dir().join(UDEVADM), kernel_dir().join("udev"));
            self.files.program_with(&from, Path::new(path), &unpacked, UDEV_LIBRARIES);
        }
        self.files.program(&find_program("dmsetup"), Path::new("/sbin/dmsetup"));
        for rules in UDEV_RULES {
            let path = Path::new("/lib/udev/rules.d").join(rules);
            self.files.copy(&path, &path);
        }
        self
    }

    /// Adds an empty disk of so many GiB, `/dev/vdb`.
    #[must_use]
    pub fn empty_disk(self, size: u64) -> Self {
        File::create_new(self.dir.path().join(SECOND_DISK)).unwrap().set_len(size << 30).unwrap();
        self
    }

    /// Adds an empty disk of so many bytes, `/dev/vdb`, and keeps a [log](crate::write_log) of what is written to it.
    #[must_use]
    pub fn logged_disk(self, size: u64) -> Self {
        for (name, size) in [(SECOND_DISK, size), (LOG, 0)] {
            File::create_new(self.dir.path().join(name)).unwrap().set_len(size).unwrap();
        }
        self
    }

    /// Adds a file at a path of the machine.
    #[must_use]
    pub fn file(mut self, from: &Path, to: &str) -> Self {
        self.files.copy(from, Path::new(to));
        self
    }

    /// Runs the tests of this executable whose names contain `filter`, one after the other. Fails as they do, or if there are
    /// fewer than `least` of them, or if the machine is [given up](Machine). With `ignored` only those that are marked so.
    pub fn run_tests(self, filter: &str, ignored: bool, least: usize, limit: Duration) -> String {
        self.run_tests_and_keep(filter, ignored, least, limit).0
    }

    /// Runs one test that is marked as ignored. Returns what was printed, and the log of the [second disk](Self::logged_disk).
    pub fn run_logged(self, filter: &str, limit: Duration) -> (String, WriteLog) {
        let (output, dir) = self.run_tests_and_keep(filter, true, 1, limit);
        (output, WriteLog::read(&dir.path().join(LOG)))
    }

    fn run_tests_and_keep(
        self,
        filter: &str,
        ignored: bool,
        least: usize,
        limit: Duration,
    ) -> (String, tempfile::TempDir) {
        let ignored = if ignored { "--ignored" } else { "" };
        let command = format!("RUST_BACKTRACE=1 /t/test {ignored} --test-threads=1 --nocapture {filter}");
        let (ran, dir) = self.run(&command, limit);
        let passed = ran.output.lines().find_map(|line| line.strip_prefix("test result: ok. "));
        let passed = passed.and_then(|line| line.split(' ').next()).and_then(|count| count.parse().ok()).unwrap_or(0);
        assert!(
            ran.status == Some(0) && passed >= least,
            "{:?}, {passed} passed of {least}:\n{}",
            ran.status,
            ran.output
        );
        (ran.output, dir)
    }

    /// Runs a shell's command, and ends the machine when it has ended or is given up.
    fn run(mut self, command: &str, limit: Duration) -> (Ran, tempfile::TempDir) {
        self.files.file(Path::new("/t/command"), 0o755, format!("{command}\n").as_bytes());
        self.files.finish();
        (start(self.dir.path(), self.memory, "", limit, None), self.dir)
    }

    /// The machine, to be started several times with one disk. Each start runs the test of this executable whose name contains
    /// `filter` and that is marked as ignored.
    #[must_use]
    pub fn ready(mut self, filter: &str) -> ReadyMachine {
        let command = format!("RUST_BACKTRACE=1 /t/test --ignored --test-threads=1 --nocapture {filter}\n");
        self.files.file(Path::new("/t/command"), 0o755, command.as_bytes());
        self.files.finish();
        ReadyMachine { dir: self.dir, memory: self.memory }
    }
}

/// A machine that can be started several times with one disk.
#[derive(Debug)]
pub struct ReadyMachine {
    dir: tempfile::TempDir,
    memory: u32,
}

impl ReadyMachine {
    /// Starts it with `arguments` for the kernel, where the test reads them in `/proc/cmdline`. Fails as the test does, or if the
    /// machine is [given up](Machine). Returns what was printed.
    pub fn boot(&self, arguments: &str, limit: Duration) -> String {
        let ran = start(self.dir.path(), self.memory, arguments, limit, None);
        assert_eq!(ran.status, Some(0), "{}", ran.output);
        ran.output
    }

    /// Starts it in the same way, and cuts its power so long after it has printed `mark`, or when it is given up. What it has given
    /// its disk is there at the next start; what it still had in its memory is lost. Returns what it had printed.
    pub fn cut(&self, arguments: &str, mark: &str, after: Duration, limit: Duration) -> String {
        start(self.dir.path(), self.memory, arguments, limit, Some((mark, after))).output
    }
}

/// Starts a machine whose disk and memory are in `dir`.
fn start(dir: &Path, memory: u32, arguments: &str, limit: Duration, cut: Option<(&str, Duration)>) -> Ran {
    let [serial, log] = ["serial", "log"].map(|name| dir.join(name));
    let disk = |name| format!("if=virtio,format=raw,cache=unsafe,discard=unmap,file={}", dir.join(name).display());
    let kernel = kernel_dir().join("boot").join(format!("vmlinuz-{}", release().unwrap()));
    let mut qemu = Command::new(QEMU);
    qemu.args(["-machine", "q35", "-accel", "tcg", "-cpu", "max", "-nodefaults", "-display", "none", "-no-reboot"]);
    qemu.args(["-monitor", "none", "-m", &memory.to_string(), "-drive", &disk("disk"), "-kernel"]).arg(kernel);
    if dir.join(LOG).exists() {
        for (name, file) in [("second", SECOND_DISK), ("log", LOG)] {
            let node = format!("driver=file,node-name={name},cache.no-flush=on,filename={}", dir.join(file).display());
            qemu.args(["-blockdev", &node]);
        }
        qemu.args(["-blockdev", "driver=blklogwrites,node-name=logged,file=second,log=log"]);
        // The place makes it the second disk.
        qemu.args(["-device", "virtio-blk-pci,drive=logged,addr=0x10"]);
    } else if dir.join(SECOND_DISK).exists() {
        qemu.args(["-drive", &disk(SECOND_DISK)]);
    }
    qemu.arg("-initrd").arg(dir.join("initramfs"));
    qemu.arg("-serial").arg([OsStr::new("file:"), serial.as_os_str()].join(OsStr::new("")));
    // A busy host gives the machine's timer too little time for the kernel's test of it, which would be its end.
    let kernel =
        "console=ttyS0 no_timer_check quiet loglevel=4 panic=-1 rdinit=/init mitigations=off random.trust_cpu=on";
    qemu.arg("-append").arg(format!("{kernel} {arguments}"));
    let log_file = File::create(&log).unwrap();
    qemu.stdin(Stdio::null()).stdout(log_file.try_clone().unwrap()).stderr(log_file);
    // What an earlier start has printed is not this one's.
    let _ = std::fs::remove_file(&serial);
    let mut qemu = Running(qemu.spawn().unwrap());
    let read = || String::from_utf8_lossy(&std::fs::read(&serial).unwrap_or_default()).replace('\r', "");
    let status = match cut {
        None => qemu.wait(limit, || false),
        Some((mark, after)) => {
            let ended = qemu.wait(limit, || read().contains(mark));
            std::thread::sleep(after);
            drop(qemu);
            ended
        }
    };
    let output = read();
    let ended = output.lines().rev().find_map(|line| line.strip_prefix(END)?.trim().parse().ok());
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    Ran { status: ended, output: format!("{output}\n{said}qemu: {status}") }
}

/// Ends the process when the test ends.
struct Running(Child);

impl Running {
    /// Waits until the machine ends, or `until` holds, or the machine is given up.
    fn wait(&mut self, limit: Duration, until: impl Fn() -> bool) -> String {
        // When it was looked at, and what it had used until then.
        let (mut at, mut used) = (Instant::now(), Duration::ZERO);
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.signal().map_or_else(|| status.to_string(), |signal| format!("signal {signal}"));
            }
            if until() {
                return "it has come as far as it was to".into();
            }
            let now = self.processor_time();
            if now > limit {
                return format!("not ended within {limit:?} of processor time");
            }
            if at.elapsed() > limit {
                if now - used < limit / 20 {
                    return format!("it stands still: {:?} of processor time within {limit:?}", now - used);
                }
                (at, used) = (Instant::now(), now);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What its threads have used of the processors so far (`proc_pid_stat(5)`, fields 14 and 15).
    fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap_or_default();
        // The second field is a name, which may have spaces and parentheses.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 1000 / TICKS)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
