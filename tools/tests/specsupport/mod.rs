//! Shared by the tests of what a specification asks for: a bundle that is written anew for each case, and who runs it.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use testkit::run::{Input, Ran, run};
use testkit::user::User;
use testkit::{golden, program, scratch};

/// A root file system, and a bundle that is written anew for each case.
#[derive(Debug)]
pub(crate) struct Site {
    dir: tempfile::TempDir,
    pub(crate) user: Option<User>,
}

/// A change of a specification: where, and what is put there. A pointer that ends in `/-` adds to a list.
pub(crate) type Change<'a> = (&'a str, Value);

/// Its name, the changes of a plain specification, what the shell is told, and how it ends with what it prints.
pub(crate) type Case<'a> = (&'a str, Vec<Change<'a>>, &'a str, (i32, &'a str));

impl Site {
    pub(crate) fn new(user: Option<User>) -> Self {
        let site = Self { dir: scratch(), user };
        let mut unpack = Command::new(program("layer-unpack"));
        unpack.arg(golden("busybox-20.10.tar")).arg("--rootfs").arg(site.at("root")).arg("-q");
        testkit::succeeded("layer-unpack", unpack.output().unwrap());
        std::fs::create_dir_all(site.at("bundle")).unwrap();
        std::fs::create_dir_all(site.at("shared")).unwrap();
        std::fs::write(site.at("shared/file"), "shared\n").unwrap();
        if let Some(user) = &site.user {
            let owner = format!("{}:{}", user.uid, user.gid);
            testkit::succeeded(
                "chown",
                Command::new("chown").arg("-hR").arg(owner).arg(site.dir.path()).output().unwrap(),
            );
        }
        site
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What a plain container has, with these changes.
    pub(crate) fn spec(&self, script: &str, changes: &[Change<'_>]) -> Value {
        let spaces: Vec<Value> =
            ["pid", "ipc", "uts", "mount", "network"].iter().map(|kind| json!({"type": kind})).collect();
        let mut spec = json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": ["/bin/sh", "-c", script],
                "env": ["PATH=/bin"],
                "cwd": "/",
                "capabilities": {},
            },
            "root": {"path": self.at("root")},
            "hostname": "box",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                    "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
                {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
                {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                    "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=128k"]},
                {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            ],
            "linux": {"namespaces": spaces},
        });
        for (pointer, value) in changes {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            match spec.pointer_mut(parent).unwrap() {
                Value::Array(list) if key == "-" => list.push(value.clone()),
                Value::Array(list) => list[key.parse::<usize>().unwrap()] = value.clone(),
                parent => parent[key] = value.clone(),
            }
        }
        spec
    }

    pub(crate) fn run(&self, runtime: &str, spec: &Value) -> Ran {
        std::fs::write(self.at("bundle/config.json"), serde_json::to_vec(spec).unwrap()).unwrap();
        let bundle = self.at("bundle").display().to_string();
        let words = ["--runtime", runtime, "--bundle", &bundle];
        let command = match &self.user {
            Some(user) => user.tool("layer-run", &words),
            None => {
                let mut command = Command::new(program("layer-run"));
                command.args(words);
                command
            }
        };
        run(command, Input::Nothing)
    }

    pub(crate) fn holds(
        &self,
        runtime: &str,
        name: &str,
        changes: &[Change<'_>],
        script: &str,
        expected: (i32, &str),
    ) -> Option<String> {
        let ran = self.run(runtime, &self.spec(script, changes));
        let who = if self.user.is_some() { "a user" } else { "root" };
        ((ran.code, ran.stdout.as_str()) != (Some(expected.0), expected.1)).then(|| {
            format!("{name}, {runtime}, as {who}: {:?} {:?} and not {expected:?}: {}", ran.code, ran.stdout, ran.stderr)
        })
    }
}

/// The user, where one can be made.
pub(crate) fn user() -> Option<User> {
    let need = "install passwd, util-linux and uidmap";
    testkit::tier("root", testkit::user::available(), need).then(|| User::new(true).with_tool("layer-run"))
}

/// The built-in one, and runc where it is installed.
pub(crate) fn runtimes() -> Vec<&'static str> {
    let is_there = ["/usr/sbin/runc", "/usr/bin/runc"].iter().any(|path| Path::new(path).exists());
    let runc = testkit::tier("root", is_there, "install docker.io").then_some("runc");
    std::iter::once("builtin").chain(runc).collect()
}

/// A list of capabilities in all sets but the one that outlives a change of the user.
pub(crate) fn capabilities(names: &[&str]) -> Value {
    json!({"bounding": names, "effective": names, "permitted": names})
}
