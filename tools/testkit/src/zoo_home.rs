//! Where the store of [`super::zoo`] lives: a file system of its own, which goes when the test process does.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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

const REGISTRY: &str = "/usr/bin/docker-registry";

/// A registry on the loopback interface. Ends with the value.
pub(crate) struct Registry {
    process: Child,
    /// `127.0.0.1:PORT`
    pub(crate) host: String,
}

impl Registry {
    /// Whether the program is there.
    pub(crate) fn installed() -> bool {
        Path::new(REGISTRY).exists()
    }

    /// Starts it with its files in `dir` and waits until it answers.
    pub(crate) fn start(dir: &Path) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        std::fs::create_dir(dir).unwrap();
        let config = dir.join("config.yml");
        let storage = format!("storage: {{filesystem: {{rootdirectory: {}}}}}", dir.join("data").display());
        std::fs::write(&config, format!("version: 0.1\n{storage}\nhttp: {{addr: \"{host}\"}}\n")).unwrap();
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", REGISTRY, "serve"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let registry = Self { process, host };
        let start = Instant::now();
        while !registry.answers() {
            assert!(start.elapsed() < Duration::from_secs(20), "the registry does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }

    fn answers(&self) -> bool {
        std::net::TcpStream::connect(&self.host).is_ok_and(|mut stream| stream.write_all(b"\n").is_ok())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
