//! Shared by the tests of what gets out of a container of the built-in runtime: a host that must stay as it is, and who runs the container.

use std::path::PathBuf;
use std::process::Command;

use testkit::run::{Input, Ran, run};
use testkit::user::User;
use testkit::{golden, is_root, program, scratch};

/// A directory of the host that must stay as it is, and everything that a container is made of.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) user: Option<User>,
}

/// As root, and as a user where one can be made.
pub(crate) fn hosts() -> Vec<Host> {
    if !is_root() {
        return Vec::new();
    }
    let need = "install passwd, util-linux and uidmap";
    let user = testkit::tier("root", testkit::user::available(), need).then(|| User::new(true).with_tool("layer-run"));
    let hosts = std::iter::once(None).chain(user.map(Some)).map(|user| Host { dir: scratch(), user });
    hosts.inspect(Host::fill).collect()
}

impl Host {
    fn fill(&self) {
        std::fs::create_dir(self.at("victim")).unwrap();
        std::fs::write(self.at("victim/file"), "precious").unwrap();
        std::fs::write(self.at("victim/null"), "precious").unwrap();
        std::fs::write(self.at("victim/console"), "precious").unwrap();
        std::fs::create_dir(self.at("shared")).unwrap();
        let unpacked = Command::new(program("layer-unpack"))
            .arg(golden("busybox-20.10.tar"))
            .arg("--rootfs")
            .arg(self.at("root"))
            .arg("-q")
            .output()
            .unwrap();
        testkit::succeeded("layer-unpack", unpacked);
        self.give();
    }

    /// Everything becomes the user's, so that it is not a lack of rights that keeps the container in.
    pub(crate) fn give(&self) {
        if let Some(user) = &self.user {
            let owner = format!("{}:{}", user.uid, user.gid);
            let given = Command::new("chown").arg("-hR").arg(owner).arg(self.dir.path()).output().unwrap();
            testkit::succeeded("chown", given);
        }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }

    pub(crate) fn who(&self) -> &'static str {
        if self.user.is_some() { "a user" } else { "root" }
    }

    /// `layer-run` with the root directory of this host.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let root = self.path("root");
        let all = [&[root.as_str()], arguments].concat();
        match &self.user {
            Some(user) => user.tool("layer-run", &all),
            None => {
                let mut command = Command::new(program("layer-run"));
                command.args(all);
                command
            }
        }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        run(self.command(arguments), Input::Nothing)
    }

    /// A shell's lines, with flags before.
    pub(crate) fn shell(&self, flags: &[&str], script: &str) -> Ran {
        self.run(&[flags, &["--", "/bin/sh", "-c", script]].concat())
    }

    /// The host is as it was: the victim, what is mounted, and the devices.
    pub(crate) fn is_untouched(&self, after: &str) {
        let names = ["console", "file", "null"];
        let mut found = testkit::store::names(&self.at("victim"));
        found.sort();
        assert_eq!(found, names, "{after}, as {}", self.who());
        for name in names {
            let text = std::fs::read_to_string(self.at("victim").join(name)).unwrap();
            assert_eq!(text, "precious", "{name} after {after}, as {}", self.who());
        }
        // Others may have mounts whose names are no text.
        let mounts = String::from_utf8_lossy(&std::fs::read("/proc/self/mountinfo").unwrap()).into_owned();
        assert!(!mounts.contains(self.dir.path().to_str().unwrap()), "{after}: {mounts}");
        let null = std::fs::symlink_metadata("/dev/null").unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::rdev(&null), rustix::fs::makedev(1, 3), "{after}");
    }
}
