//! The inner stage: the container's first process, until the program takes its place.
//!
//! The steps are in this order:
//!
//! 1. No mount reaches the host from here on. The root is opened, and everything is mounted in it by descriptor.
//! 2. Devices are made.
//! 3. The root becomes the root; kernel settings are written; what is hidden or read-only becomes so; all descriptors
//!    of the host's are closed.
//! 4. Session, terminal, limits, the user, system calls, capabilities.
//! 5. The program is found. The caller hears that the container is ready, and says when it starts.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, Uid, fchown, fstat, open};
use rustix::mount::{MountPropagationFlags, OpenTreeFlags, UnmountFlags, mount_change, open_tree, unmount};
use rustix::process::{PidfdFlags, fchdir, getpid, ioctl_tiocsctty, pidfd_open, pivot_root, setsid};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::filesystems::{Mounter, NODEV, make_readonly};
use super::message::{Inner, Report, Start, receive, send};
use super::program::Program;
use super::terminal::Terminal;
use super::tree::{Point, Tree, attach};
use super::{devices, filter, groups, identity, procfs, program, terminal};
use crate::accounts::Accounts;
use crate::error::Stage;
use crate::oci::{LinuxNamespaceType, LinuxSeccomp, Process, Spec};
use crate::stdio::WindowSize;
use crate::sys::{self, MountChange};

/// Why there is no container.
struct Failed(Stage, String);

/// Names what was tried.
fn failed<E: Into<io::Error>>(doing: &str) -> impl FnOnce(E) -> Failed {
    move |error| Failed(Stage::Setup, format!("{doing}: {}", crate::words(&error.into())))
}

pub(super) fn run(socket: &OwnedFd) -> i32 {
    let prepared = prepare(socket).and_then(|program| {
        send(socket, &Report::Ready, &[]).map_err(failed("reporting"))?;
        Ok(program)
    });
    match prepared {
        Ok(program) => match receive::<Start>(socket) {
            Ok(Some((Start { tied }, _))) => {
                // The outer stage has ended, so the parent is the caller.
                if tied && (die_with_parent(socket).is_err()) {
                    return 1;
                }
                program.run()
            }
            // The caller has ended without starting the container.
            _ => 1,
        },
        Err(Failed(stage, message)) => {
            // If nobody listens, nobody needs to know.
            let _ = send(socket, &Report::failed(stage, message), &[]);
            1
        }
    }
}

/// Is killed when the parent ends, or fails if it has ended already. A program that gains privileges when it starts gets rid of
/// this; the kernel has no other way.
fn die_with_parent(socket: &OwnedFd) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let mut byte = [0; 1];
    match rustix::net::recv(socket, &mut byte[..], rustix::net::RecvFlags::DONTWAIT | rustix::net::RecvFlags::PEEK) {
        Err(rustix::io::Errno::AGAIN) => Ok(()),
        _ => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

fn prepare(socket: &OwnedFd) -> Result<Program, Failed> {
    let order = receive::<Inner>(socket).map_err(failed("receiving what to run"))?;
    let (order, descriptors) =
        order.ok_or_else(|| failed("receiving what to run")(io::Error::other("the caller has ended")))?;
    match order {
        Inner::Create { spec, devices_guarded, groups, size } => {
            let failed = failed("reading config.json");
            let spec =
                std::fs::read(&spec).and_then(|bytes| Ok(serde_json::from_slice::<Spec>(&bytes)?)).map_err(failed)?;
            create(socket, &spec, devices_guarded, &groups, size, descriptors)
        }
        Inner::Join { process, seccomp, size } => join(socket, &process, seccomp.as_deref(), size, descriptors),
    }
}

fn create(
    socket: &OwnedFd,
    spec: &Spec,
    devices_guarded: bool,
    dirs: &[std::path::PathBuf],
    size: Option<WindowSize>,
    stdio: Vec<OwnedFd>,
) -> Result<Program, Failed> {
    let process =
        spec.process().as_ref().ok_or_else(|| Failed(Stage::Setup, "config.json has no process".to_owned()))?;
    let root = spec.root().as_ref().ok_or_else(|| Failed(Stage::Setup, "config.json has no root".to_owned()))?;
    let linux = spec.linux().clone().unwrap_or_default();
    let spaces = linux.namespaces().clone().unwrap_or_default();
    let has = |kind| spaces.iter().any(|space| space.typ() == kind);
    rustix::process::umask(Mode::empty());
    // A keyring without keys; a kernel that has no keyrings has no keys to hide.
    match sys::new_session_keyring(c"_ses") {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {}
        result => result.map_err(failed("making a keyring"))?,
    }
    if has(LinuxNamespaceType::Uts) {
        if let Some(name) = spec.hostname() {
            rustix::system::sethostname(name.as_bytes()).map_err(failed("setting the name of the host"))?;
        }
        if let Some(name) = spec.domainname() {
            rustix::system::setdomainname(name.as_bytes()).map_err(failed("setting the name of the domain"))?;
        }
    }
    let propagation = match linux.rootfs_propagation().as_deref() {
        Some("private" | "rprivate") => MountPropagationFlags::PRIVATE,
        _ => MountPropagationFlags::DOWNSTREAM,
    };
    mount_change("/", propagation | MountPropagationFlags::REC)
        .map_err(failed("separating the mounts from the host's"))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, root.path(), flags).map_err(failed("opening the root file system"))?;
    let path = open(root.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(failed("opening the root"))?;
    attach(&tree, path).map_err(failed("mounting the root file system"))?;
    let tree = Tree::new(tree);
    let hierarchies = groups::with_dirs(dirs);
    let mounter = Mounter { tree: &tree, hierarchies: &hierarchies, own_groups: has(LinuxNamespaceType::Cgroup) };
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    let mounted = mounter.all(mounts).map_err(|error| Failed(Stage::Setup, error.to_string()))?;
    if !devices_guarded {
        // Nodes of devices, which an image may hold or its root may make, lead nowhere.
        let change = MountChange { set: NODEV, ..MountChange::default() };
        sys::change_mount(&tree, true, &change).map_err(failed("forbidding devices"))?;
        // Terminals are devices, and in this file system nobody can make any others.
        if let Some(pts) = &mounted.pts {
            let change = MountChange { clear: NODEV, ..MountChange::default() };
            sys::change_mount(pts, false, &change).map_err(failed("allowing terminals"))?;
        }
    }
    if let Some(dev) = &mounted.dev {
        let wanted = linux.devices().as_deref().unwrap_or_default();
        devices::fill(&tree, dev, wanted, devices_guarded).map_err(failed("making devices"))?;
    }
    // The working directory and the terminal come before the change of the root: after it, nothing can be mounted from
    // outside.
    let directory = process.cwd().to_string_lossy();
    tree.point(&directory, Point::Directory).map_err(failed("making the working directory"))?;
    let terminal = if process.terminal() == Some(true) {
        let pts = mounted.pts.as_ref().ok_or_else(|| Failed(Stage::Setup, "a terminal needs /dev/pts".to_owned()))?;
        let terminal = terminal::open(pts, size).map_err(failed("making a terminal"))?;
        if let Some(dev) = &mounted.dev {
            terminal::show_console(dev, pts, &terminal).map_err(failed("mounting /dev/console"))?;
        }
        Some(terminal)
    } else {
        None
    };
    // A container without /proc uses the host's for the settings that follow.
    let proc = match mounted.proc {
        Some(proc) => proc,
        None => procfs::host().map_err(failed("opening /proc"))?,
    };
    change_root(&tree, propagation)?;
    for (name, value) in linux.sysctl().iter().flatten() {
        let file = format!("sys/{}", if name.contains('/') { name.clone() } else { name.replace('.', "/") });
        procfs::write(&proc, &file, value).map_err(failed(&format!("setting {name}")))?;
    }
    adjust_oom_score(&proc, process)?;
    devices::protect(&tree, linux.readonly_paths().as_deref().unwrap_or_default())
        .map_err(failed("making paths read-only"))?;
    let masked = linux.masked_paths().as_deref().unwrap_or_default();
    devices::hide(&tree, mounted.dev.as_ref(), masked).map_err(failed("hiding paths"))?;
    if root.readonly() == Some(true) {
        make_readonly(&tree).map_err(failed("making the root read-only"))?;
    }
    drop((tree, proc, mounted.dev, mounted.pts));
    let stdio = stdio.into_iter().map(devices::open_null_again).collect::<io::Result<_>>();
    let stdio = stdio.map_err(failed("opening /dev/null"))?;
    finish(socket, process, linux.seccomp().as_ref(), terminal, stdio)
}

/// Puts the container's root in the place of the root of the mount name space.
///
/// A caller in a chroot has another root than that. With the container's in the place of this one, the host's would stay in the name
/// space: above the container's root for who goes up from it, and at the top for who enters it. So the process leaves the chroot first.
fn change_root(tree: &Tree, propagation: MountPropagationFlags) -> Result<(), Failed> {
    let leaving = failed("changing to the root of the mount name space");
    pidfd_open(getpid(), PidfdFlags::empty())
        .and_then(|own| move_into_thread_name_spaces(own.as_fd(), ThreadNameSpaceType::MOUNT))
        .map_err(leaving)?;
    // What is taken away here must not be taken away on the host, be it mounted outside of a chroot.
    mount_change("/", propagation | MountPropagationFlags::REC)
        .map_err(failed("separating the mounts from the host's"))?;
    fchdir(tree).map_err(failed("changing to the root"))?;
    match pivot_root(".", ".") {
        Ok(()) => unmount(".", UnmountFlags::DETACH).map_err(failed("taking the host's root away"))?,
        // The kernel's first root, in memory, cannot be exchanged. The container's covers it, and nothing leads below.
        Err(rustix::io::Errno::INVAL) => {
            let top = open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(failed("opening the root"))?;
            attach(tree, top).map_err(failed("covering the host's root"))?;
            rustix::process::chroot(".").map_err(failed("changing the root"))?;
        }
        Err(errno) => return Err(failed("changing the root")(errno)),
    }
    rustix::process::chdir("/").map_err(failed("changing to the root"))
}

/// Enters a container, whose mount name space is the first descriptor. The other name spaces have been joined.
fn join(
    socket: &OwnedFd,
    process: &Process,
    seccomp: Option<&LinuxSeccomp>,
    size: Option<WindowSize>,
    mut descriptors: Vec<OwnedFd>,
) -> Result<Program, Failed> {
    if descriptors.is_empty() {
        return Err(Failed(Stage::Setup, "no mount name space came".to_owned()));
    }
    let space = descriptors.remove(0);
    let proc = procfs::host().map_err(failed("opening /proc"))?;
    adjust_oom_score(&proc, process)?;
    drop(proc);
    move_into_thread_name_spaces(space.as_fd(), ThreadNameSpaceType::MOUNT)
        .or_else(|_| {
            nix::sched::setns(&space, nix::sched::CloneFlags::CLONE_NEWNS)
                .map_err(|errno| rustix::io::Errno::from_raw_os_error(errno as i32))
        })
        .map_err(failed("entering the container"))?;
    drop(space);
    let terminal = if process.terminal() == Some(true) {
        let pts =
            Tree::new(open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(failed("opening the root"))?)
                .find_plain("/dev/pts")
                .and_then(|found| found.ok_or_else(|| io::Error::other("it is not there")))
                .map_err(failed("opening /dev/pts"))?;
        Some(terminal::open(&pts, size).map_err(failed("making a terminal"))?)
    } else {
        None
    };
    finish(socket, process, seccomp, terminal, descriptors)
}

fn adjust_oom_score(proc: &OwnedFd, process: &Process) -> Result<(), Failed> {
    let Some(score) = process.oom_score_adj() else { return Ok(()) };
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    if own.trim().parse() == Ok(score) {
        return Ok(());
    }
    let pid = "self/oom_score_adj";
    // `self` is a link, which is not followed: the number is what it leads to.
    let number = rustix::fs::readlinkat(proc, "self", Vec::new()).map_err(failed("setting the OOM score"))?;
    let name = pid.replacen("self", &number.to_string_lossy(), 1);
    procfs::write(proc, &name, &score.to_string()).map_err(failed("setting the OOM score"))
}

/// What is the same for a container's first process and for those that come later.
fn finish(
    socket: &OwnedFd,
    process: &Process,
    seccomp: Option<&LinuxSeccomp>,
    terminal: Option<Terminal>,
    stdio: Vec<OwnedFd>,
) -> Result<Program, Failed> {
    // This fails for a process that leads a group already, as after an exec in a terminal's foreground.
    let _ = setsid();
    let streams: Vec<OwnedFd> = match terminal {
        Some(Terminal { master, slave }) => {
            ioctl_tiocsctty(&slave).map_err(failed("taking the terminal"))?;
            send(socket, &Report::Terminal, &[master.as_fd()]).map_err(failed("handing over the terminal"))?;
            (0..3).map(|_| slave.try_clone()).collect::<io::Result<_>>().map_err(failed("copying a descriptor"))?
        }
        None => stdio,
    };
    let [stdin, stdout, stderr] = &streams[..] else {
        return Err(Failed(Stage::Setup, "no standard input and output came".to_owned()));
    };
    let uid = process.user().uid();
    for stream in [stdin, stdout, stderr] {
        give(stream.as_fd(), uid).map_err(failed("giving standard input and output to the user"))?;
    }
    rustix::stdio::dup2_stdin(stdin)
        .and_then(|()| rustix::stdio::dup2_stdout(stdout))
        .and_then(|()| rustix::stdio::dup2_stderr(stderr))
        .map_err(failed("setting standard input and output"))?;
    drop(streams);
    identity::limit(process).map_err(failed("setting limits"))?;
    let program = seccomp.map(filter::compile).transpose();
    let filter =
        program.map_err(|what| Failed(Stage::Setup, format!("the built-in runtime does not do this: {what}")))?;
    let capabilities = process.capabilities().as_ref();
    identity::bound(capabilities).map_err(failed("limiting capabilities"))?;
    identity::become_user(process).map_err(failed("becoming the user"))?;
    // The directory may be one that only the user can enter, or only root.
    let directory = process.cwd();
    if rustix::process::chdir(directory).is_err() {
        identity::raise().map_err(failed("changing to the working directory"))?;
        rustix::process::chdir(directory).map_err(failed(&format!("changing to {}", directory.display())))?;
    }
    // What lies outside of the root has a path that does not begin at it (CVE-2024-21626).
    let here = rustix::process::getcwd(Vec::new()).map_err(failed("finding the working directory"))?;
    if here.to_bytes().first() != Some(&b'/') {
        return Err(Failed(Stage::Setup, "the working directory is outside of the container".to_owned()));
    }
    let no_new = process.no_new_privileges() == Some(true);
    let install =
        |filter: &[libc::sock_filter]| sys::install_filter(filter, 0).map_err(failed("filtering system calls"));
    if let Some(filter) = filter.as_deref().filter(|_| !no_new) {
        identity::raise().map_err(failed("filtering system calls"))?;
        install(filter)?;
    }
    identity::restrict(capabilities).map_err(|error| Failed(Stage::Setup, error.to_string()))?;
    if no_new {
        rustix::thread::set_no_new_privs(true).map_err(failed("forbidding new privileges"))?;
        if let Some(filter) = filter.as_deref() {
            install(filter)?;
        }
    }
    let mut environment = process.env().clone().unwrap_or_default();
    if !environment.iter().any(|variable| variable.starts_with("HOME=")) {
        let accounts = Accounts::read(std::path::Path::new("/"));
        environment.push(format!("HOME={}", accounts.home(uid)));
    }
    let arguments = process.args().as_deref().unwrap_or_default();
    let program = program::find(arguments, &environment).map_err(|(stage, message)| Failed(stage, message))?;
    sys::reset_signals();
    sys::close_from_at_exec(3).map_err(failed("closing descriptors"))?;
    Ok(program)
}

/// Pipes and terminals belong to the user, who opens them again as `/dev/stdout`; files stay whose they are.
fn give(stream: BorrowedFd<'_>, uid: u32) -> io::Result<()> {
    let found = fstat(stream)?;
    let kind = FileType::from_raw_mode(found.st_mode);
    let is_terminal = kind == FileType::CharacterDevice && rustix::termios::isatty(stream);
    if found.st_uid == uid || !(kind == FileType::Fifo || is_terminal) {
        return Ok(());
    }
    match fchown(stream, Some(Uid::from_raw(uid)), None) {
        // Not ours to give, as with a terminal of the caller's in a user name space.
        Err(rustix::io::Errno::PERM | rustix::io::Errno::INVAL | rustix::io::Errno::ROFS) => Ok(()),
        result => Ok(result?),
    }
}
