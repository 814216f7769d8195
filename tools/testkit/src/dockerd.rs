//! A private dockerd on a data-root that the test owns.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::engines::Engine;

const START: Duration = Duration::from_secs(60);
/// dockerd gives containers ten seconds to end.
const STOP: Duration = Duration::from_secs(40);

/// How long something may take here that takes at most `usual` on a machine of its own: a virtual one is ten times as slow.
fn at_most(usual: Duration) -> Duration {
    if crate::vm::inside() { 10 * usual } else { usual }
}

const OVERLAY2: &[&str] = &["--storage-driver=overlay2"];

/// A running daemon. Ends with the value; must be dropped in the thread that started it and before its data-root.
#[derive(Debug)]
pub struct Dockerd {
    process: Child,
    engine: Engine,
    /// Sockets, pid files, run-time state and log.
    home: TempDir,
    data_root: PathBuf,
    ended: bool,
    killed: bool,
}

impl Dockerd {
    /// Starts dockerd on `data_root` and waits until it answers.
    pub fn start(data_root: &Path) -> Self {
        Self::try_start(data_root, at_most(START)).unwrap_or_else(|log| panic!("dockerd does not come up:\n{log}"))
    }

    /// [`Self::start`] with these flags in place of the one for the storage driver.
    pub fn start_with(data_root: &Path, flags: &[&str]) -> Self {
        Self::start_engine(&Engine::system(), data_root, flags)
    }

    /// [`Self::start_with`] with another version of Docker.
    pub fn start_engine(engine: &Engine, data_root: &Path, flags: &[&str]) -> Self {
        let started = Self::try_start_at(engine, &std::env::temp_dir(), data_root, at_most(START), flags);
        started.unwrap_or_else(|log| panic!("dockerd does not come up:\n{log}"))
    }

    /// [`Self::start`], or what the daemon logs if it ends or does not answer in time.
    pub fn try_start(data_root: &Path, limit: Duration) -> Result<Self, String> {
        Self::try_start_at(&Engine::system(), &std::env::temp_dir(), data_root, limit, OVERLAY2)
    }

    /// [`Self::start`] with all the daemon's own files in a directory below `base`.
    pub fn start_at(base: &Path, data_root: &Path) -> Self {
        Self::try_start_at(&Engine::system(), base, data_root, at_most(START), OVERLAY2)
            .unwrap_or_else(|log| panic!("dockerd does not come up:\n{log}"))
    }

    fn try_start_at(
        engine: &Engine,
        base: &Path,
        data_root: &Path,
        limit: Duration,
        flags: &[&str],
    ) -> Result<Self, String> {
        let home = tempfile::Builder::new().prefix("layerfs-dockerd-").tempdir_in(base).unwrap();
        let at = |name: &str| home.path().join(name);
        std::fs::write(at("daemon.json"), "{}").unwrap();
        let log = File::create(at("log")).unwrap();
        // A test that is killed must not leave its daemon behind.
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "TERM"])
            .arg(&engine.dockerd)
            .arg("--data-root")
            .arg(data_root)
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
            .arg("--config-file")
            .arg(at("daemon.json"))
            .arg(format!("--host=unix://{}", at("sock").display()))
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .args(flags)
            .env("PATH", &engine.path)
            .env_remove("DOCKER_TMPDIR")
            .env_remove("DOCKER_HOST")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut daemon = Self {
            process,
            engine: engine.clone(),
            home,
            data_root: data_root.to_owned(),
            ended: false,
            killed: false,
        };
        let started = Instant::now();
        while !daemon.answers(|| started.elapsed() > limit) {
            if daemon.process.try_wait().unwrap().is_some() || started.elapsed() > limit {
                return Err(daemon.log());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(daemon)
    }

    /// Whether the daemon answers. The daemon listens before it has read its root, and may never get done with that. So
    /// the client, which would wait forever, is ended when it is too late or when the daemon has ended.
    fn answers(&mut self, is_late: impl Fn() -> bool) -> bool {
        let mut client = self.client(&["version"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        loop {
            if let Some(status) = client.try_wait().unwrap() {
                return status.success();
            }
            if is_late() || self.process.try_wait().unwrap().is_some() {
                let _ = client.kill();
                let _ = client.wait();
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What the daemon has logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.home.path().join("log")).unwrap()).into_owned()
    }

    /// The errors that the daemon has logged, except about its containerd: on a busy machine dockerd starts containerd
    /// anew if the socket is there a moment before containerd listens.
    pub fn errors(&self) -> Vec<String> {
        let about_containerd =
            |line: &str| ["module=libcontainerd", "module=grpc"].iter().any(|module| line.contains(module));
        let log = self.log();
        let errors = log.lines().filter(|line| line.contains("level=error") && !about_containerd(line));
        errors.map(str::to_owned).collect()
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.home.path().join("sock")
    }

    /// The client with `arguments`, to be run.
    pub fn client(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.engine.client);
        command
            .arg("--host")
            .arg(format!("unix://{}", self.home.path().join("sock").display()))
            .args(arguments)
            .env("DOCKER_CONFIG", self.home.path())
            .env("DOCKER_BUILDKIT", "0")
            .env_remove("DOCKER_HOST")
            .env_remove("DOCKER_CONTEXT")
            .stdin(Stdio::null());
        command
    }

    /// Runs `docker ARGUMENTS`.
    pub fn docker(&self, arguments: &[&str]) -> Output {
        self.client(arguments).output().unwrap()
    }

    /// Runs `docker ARGUMENTS`, which must succeed; returns its standard output.
    pub fn ok(&self, arguments: &[&str]) -> String {
        super::succeeded(&format!("docker {}", arguments.join(" ")), self.docker(arguments))
    }

    /// Loads an archive; returns docker's lines.
    pub fn load(&self, archive: &Path) -> String {
        self.ok(&["load", "-i", archive.to_str().unwrap()])
    }

    /// Asks the daemon itself, which takes a tenth of the time that its client needs to start. Returns the status and what it answers.
    pub fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.0\r\nContent-Type: application/x-tar\r\nContent-Length: {length}\r\n\r\n");
        // A daemon that refuses what it is sent may not read all of it; its answer says why.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|part| part == b"\r\n\r\n").expect("a head and an empty line");
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.unwrap_or_else(|| panic!("no status: {head}")), answer.split_off(end + 4))
    }

    /// Loads the bytes of an archive without the client.
    ///
    /// # Errors
    ///
    /// What the daemon says if it does not take all of it. Images that come before the one it refuses are there.
    pub fn load_bytes(&self, archive: &[u8]) -> Result<(), String> {
        let (status, answer) = self.ask("POST", "/v1.41/images/load?quiet=1", archive);
        let answer = String::from_utf8(answer).unwrap();
        // What goes wrong after the answer has begun is a line of it.
        let failed = status != 200 || answer.lines().any(|line| line.contains("\"errorDetail\""));
        if failed { Err(answer) } else { Ok(()) }
    }

    /// The ids of all images, sorted.
    pub fn images(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.ok(&["images", "-aq", "--no-trunc"]).lines().map(str::to_owned).collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// Removes every container and every image, in whatever order they go.
    pub fn remove_everything(&self) {
        for container in self.ok(&["ps", "-aq"]).lines() {
            self.ok(&["rm", "-f", container]);
        }
        loop {
            let left = self.images();
            if left.is_empty() {
                return;
            }
            // An image that others are built on goes after them.
            let said: Vec<Output> = left.iter().map(|id| self.docker(&["rmi", "-f", id])).collect();
            assert!(self.images().len() < left.len(), "docker rmi -f removes nothing: {said:?}");
        }
    }

    /// Kills the daemon, so that its containers run on. They end with the value.
    pub fn kill(&mut self) {
        self.killed = true;
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Ends the daemon and waits for all it started.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        // A process that has been killed and waited for has no number any more.
        if self.process.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = rustix::process::kill_process(Pid::from_child(&self.process), Signal::TERM);
        }
        wait(at_most(STOP), || self.process.try_wait().is_ok_and(|status| status.is_some()) || self.has_shut_down());
        let _ = self.process.kill();
        let _ = self.process.wait();
        // containerd ends with dockerd; shims and containers remain only after a kill.
        let patience = if self.killed { Duration::ZERO } else { at_most(STOP) };
        if !wait(patience, || self.relatives().is_empty()) {
            for pid in self.relatives() {
                // The first processes of containers are their shims' children.
                let number = pid.as_raw_nonzero();
                let children = std::fs::read_to_string(format!("/proc/{number}/task/{number}/children"));
                let children = children.unwrap_or_default();
                for pid in children.split_whitespace().filter_map(|number| Pid::from_raw(number.parse().ok()?)) {
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                }
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
        unmount_below(&self.data_root);
        unmount_below(self.home.path());
    }

    /// Whether the daemon says that it has shut down, and all it started has ended. After that it only looks once a second
    /// whether its containerd is gone, and removes its pid file (moby 20.10.24, `libcontainerd/supervisor`, `stopDaemon`).
    fn has_shut_down(&self) -> bool {
        self.log().contains("msg=\"Daemon shutdown complete\"") && self.relatives() == [Pid::from_child(&self.process)]
    }

    /// Processes that were given a path below this daemon's own directory, whose name is nobody else's.
    fn relatives(&self) -> Vec<Pid> {
        let home = self.home.path().as_os_str().as_bytes();
        let numbers =
            std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let pids = numbers.filter_map(|name| name.parse().ok());
        pids.filter(|pid: &i32| {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            command.windows(home.len()).any(|part| part == home)
        })
        .filter_map(Pid::from_raw)
        .collect()
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            let log = self.log();
            let grave = |line: &&str| ["error", "fatal"].iter().any(|level| line.contains(&format!("level={level}")));
            eprintln!("dockerd said:\n{}", log.lines().filter(grave).collect::<Vec<_>>().join("\n"));
        }
    }
}

/// Polls until `done` or the time is over.
fn wait(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Undoes every mount on `dir` and below: dockerd mounts its root on itself and may leave that behind.
fn unmount_below(dir: &Path) {
    let mut mounts: Vec<PathBuf> = mount_points().into_iter().filter(|mount| mount.starts_with(dir)).collect();
    mounts.reverse();
    for mount in mounts {
        let _ = rustix::mount::unmount(&mount, UnmountFlags::DETACH);
    }
}

/// Where something is mounted, in the order of mounting.
fn mount_points() -> Vec<PathBuf> {
    let table = std::fs::read("/proc/self/mountinfo").unwrap();
    let field = |line: &[u8]| line.split(|&byte| byte == b' ').nth(4).map(unescape);
    table.split(|&byte| byte == b'\n').filter_map(field).map(|path| std::ffi::OsString::from_vec(path).into()).collect()
}

/// Blanks and the like stand as `\040` in the table.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let octal = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
        match tail.get(..3).filter(|_| byte == b'\\').and_then(octal) {
            Some(escaped) => {
                plain.push(escaped);
                rest = &tail[3..];
            }
            None => plain.push(byte),
        }
    }
    plain
}

/// Gaps between columns as narrow as they can be, where there are wide characters: the client of Docker 20.10 takes
/// them to be narrow, and layerfs follows newer ones.
#[must_use]
pub fn narrow(text: &str) -> String {
    if !text.contains(|char: char| char > '\u{2e80}') {
        return text.to_owned();
    }
    let mut narrow = text.to_owned();
    while narrow.contains("    ") {
        narrow = narrow.replace("    ", "   ");
    }
    narrow
}
