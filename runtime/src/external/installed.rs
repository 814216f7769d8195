//! Runtimes that are installed on this machine.

use std::path::PathBuf;

use crate::builtin;

/// By name, the fastest first.
pub(crate) const KNOWN: [&str; 3] = ["crun", "runc", "youki"];

/// What docker calls runc besides (moby v20.10.24 `daemon/config/config_unix.go: GetAllRuntimes`).
pub(crate) const RUNC: [&str; 2] = ["io.containerd.runc.v2", "io.containerd.runtime.v1.linux"];

/// Whether a runtime can work on this machine: crun refuses control groups of both versions at once (1.8.1, "cgroups in
/// hybrid mode not supported").
pub(crate) fn works_here(name: &str) -> bool {
    name != "crun" || !builtin::has_hybrid_groups()
}

/// Where Debian has them, though not every user's `PATH` does.
const ELSEWHERE: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// A program by its path, or by its name in `PATH`.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let runs = |path: &PathBuf| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(runs);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(ELSEWHERE.map(PathBuf::from));
    dirs.filter(|dir| dir.is_absolute()).map(|dir| dir.join(name)).find(runs)
}
