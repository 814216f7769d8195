//! Where the store of [`super::zoo`] lives: a file system of its own, which goes when the test process does.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Waits until the test process has ended in whatever way, then for all that names the directory, and removes it.
const CARETAKER: &str = r#"
cat >/dev/null
mine() { printf '%s\n' "$ZOO" | grep -lF -f - /proc/[0-9]*/cmdline 2>/dev/null; }
for _ in $(seq 300); do [ -n "$(mine)" ] || break; sleep 0.1; done
for left in $(mine); do left=${left#/proc/}; kill -KILL "${left%/cmdline}"; done
umount --recursive --lazy "$ZOO"
rmdir "$ZOO"
"#;

/// A file system in memory that records every access.
///
/// A value in a `static` is never dropped, so that a process of its own cleans up.
#[derive(Debug)]
pub(crate) struct Home {
    path: PathBuf,
    /// Ends when its standard input does.
    _caretaker: Child,
}

impl Home {
    /// Mounts it in an empty directory; `None` where that is not allowed.
    pub(crate) fn mount() -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("layerfs-zoo-").tempdir().unwrap();
        let mount = ["-t", "tmpfs", "-o", "strictatime,size=3g,mode=755", "layerfs-zoo"];
        if !Command::new("mount").args(mount).arg(dir.path()).status().unwrap().success() {
            return None;
        }
        let path = dir.keep();
        let caretaker = Command::new("sh")
            .args(["-c", CARETAKER])
            .env("ZOO", &path)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self { path, _caretaker: caretaker })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
