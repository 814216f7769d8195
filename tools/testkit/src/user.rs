//! A user who is not root, made for a test and removed after it.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

/// Where subordinate ids begin that are given to users of tests.
pub const SUBORDINATE: u32 = 1_700_000_000;
/// How many subordinate ids there are.
pub const COUNT: u32 = 65536;

/// A user. Removed with the value.
#[derive(Debug)]
pub struct User {
    name: String,
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The user's own.
    home: TempDir,
    /// Copies of the tools that the user can run.
    tools: TempDir,
    /// The files of accounts are changed by one at a time.
    _turn: MutexGuard<'static, ()>,
}

/// Whether users can be made, and be someone else.
pub fn available() -> bool {
    let all = ["useradd", "usermod", "userdel", "setpriv", "newuidmap", "newgidmap"];
    let found = |program: &&str| ["/usr/bin", "/usr/sbin"].iter().any(|dir| Path::new(dir).join(program).exists());
    all.iter().all(found)
}

fn accounts(program: &str, arguments: &[&str]) {
    let output = Command::new(format!("/usr/sbin/{program}")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn number(option: &str, name: &str) -> u32 {
    let output = Command::new("id").args([option, name]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

impl User {
    /// A new user, with subordinate ids if `subordinate`.
    pub fn new(subordinate: bool) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("layerfs-{}", std::process::id());
        let _ = Command::new("/usr/sbin/userdel").arg(&name).output();
        // A system account gets no subordinate ids by itself.
        accounts("useradd", &["--system", "--no-create-home", "--user-group", "--shell", "/bin/sh", &name]);
        if subordinate {
            let range = format!("{SUBORDINATE}-{}", SUBORDINATE + COUNT - 1);
            accounts("usermod", &["--add-subuids", &range, "--add-subgids", &range, &name]);
        }
        let (uid, gid) = (number("-u", &name), number("-g", &name));
        let home = super::scratch();
        std::os::unix::fs::chown(home.path(), Some(uid), Some(gid)).unwrap();
        // Not in memory, where programs may not be allowed to run.
        let tools = tempfile::Builder::new().prefix("layerfs-user-").tempdir().unwrap();
        std::fs::set_permissions(tools.path(), PermissionsExt::from_mode(0o755)).unwrap();
        for tool in ["layer-unpack", "layerfs"] {
            std::fs::copy(super::program(tool), tools.path().join(tool)).unwrap();
        }
        Self { name, uid, gid, home, tools, _turn: turn }
    }

    /// One more tool that the user can run.
    #[must_use]
    pub fn with_tool(self, tool: &str) -> Self {
        std::fs::copy(super::program(tool), self.tools.path().join(tool)).unwrap();
        self
    }

    /// A directory that the user owns.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A path in the user's home.
    pub fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A program to be run as the user.
    pub fn program(&self, program: &OsStr) -> Command {
        let mut command = Command::new("/usr/bin/setpriv");
        let (uid, gid) = (self.uid.to_string(), self.gid.to_string());
        command.args(["--reuid", &uid, "--regid", &gid, "--clear-groups", "--"]).arg(program);
        command.current_dir(self.home.path()).env("HOME", self.home.path());
        command
    }

    /// One of the tools, to be run as the user.
    pub fn tool<S: AsRef<OsStr>>(&self, tool: &str, arguments: &[S]) -> Command {
        let mut command = self.program(self.tools.path().join(tool).as_os_str());
        command.args(arguments);
        command
    }

    /// The owner that an id of an archive becomes.
    pub fn mapped(own: u32, id: u32) -> u32 {
        if id == 0 { own } else { SUBORDINATE + id - 1 }
    }

    /// Processes of the user, or of the subordinate ids, that still run.
    pub fn processes(&self) -> Vec<String> {
        let mine = |status: &String| {
            if status.contains("State:\tZ") {
                return false;
            }
            let owner = status.lines().find_map(|line| line.strip_prefix("Uid:"));
            let uid: u32 = owner.and_then(|ids| ids.split_whitespace().next()).map_or(0, |uid| uid.parse().unwrap());
            uid == self.uid || (SUBORDINATE..SUBORDINATE + COUNT).contains(&uid)
        };
        let read = |name: String| std::fs::read_to_string(format!("/proc/{name}/status")).ok();
        super::store::names(Path::new("/proc")).into_iter().filter_map(read).filter(mine).collect()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let output = Command::new("/usr/sbin/userdel").arg(&self.name).output();
        let left = ["/etc/passwd", "/etc/group", "/etc/subuid", "/etc/subgid"].into_iter().filter(|file| {
            std::fs::read_to_string(file).unwrap_or_default().lines().any(|line| line.starts_with(&self.name))
        });
        let left: Vec<&str> = left.collect();
        if !left.is_empty() {
            eprintln!("the user {} is left in {left:?}: {output:?}", self.name);
        }
    }
}
