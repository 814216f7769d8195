//! Debian's docker-registry on the loopback interface.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Turn;
use crate::run::{Input, Ran, layerfs, run};

const REGISTRY: &str = "/usr/bin/docker-registry";

/// A registry on the loopback interface. Ends with the value.
#[derive(Debug)]
pub struct Registry {
    process: Child,
    /// `127.0.0.1:PORT`
    pub host: String,
}

impl Registry {
    /// Whether the program is there, which tests of this tier need.
    pub fn installed(tier: &str) -> bool {
        crate::tier(tier, Path::new(REGISTRY).exists(), "/usr/bin/docker-registry (Debian: docker-registry)")
    }

    /// Waits for the turn of a test that needs dockerd as well, or says what there is not.
    pub fn with_docker() -> Option<Turn> {
        let turn = crate::docker()?;
        Self::installed("docker").then_some(turn)
    }

    /// Starts it with its files in `dir` and waits until it answers.
    pub fn start(dir: &Path) -> Self {
        Self::start_with(dir, "", "")
    }

    /// [`Self::start`] with further settings: `http` is appended to those of that name, each with a comma before it,
    /// and `more` is lines of its own.
    pub fn start_with(dir: &Path, http: &str, more: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        std::fs::create_dir_all(dir).unwrap();
        let config = dir.join("config.yml");
        let storage = format!("storage: {{filesystem: {{rootdirectory: {}}}}}", dir.join("data").display());
        std::fs::write(&config, format!("version: 0.1\n{storage}\nhttp: {{addr: \"{host}\"{http}}}\n{more}\n"))
            .unwrap();
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

/// `layerfs --root ROOT ARGUMENTS`, to be run without credentials of whoever runs the test.
pub fn anonymous(root: &Path, arguments: &[&str]) -> Command {
    let mut command = layerfs(&["--root", root.to_str().unwrap()]);
    command.args(arguments).env("DOCKER_CONFIG", root.with_extension("no-config"));
    command
}

/// Runs [`anonymous`].
pub fn layerfs_anonymous(root: &Path, arguments: &[&str]) -> Ran {
    run(anonymous(root, arguments), Input::Nothing)
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The user and the password that registries with [`HTPASSWD`] take.
pub const USER: (&str, &str) = ("tester", "geheim");

/// A file as Apache's `htpasswd -B` makes it: [`USER`] alone.
pub const HTPASSWD: &str = "tester:$2b$05$abcdefghijklmnopqrstuuVWu8RjbNovPZWAMRdd7iqaaG0mI53Uu\n";

/// The settings by which a registry asks for a password. The file is put into `dir`.
pub fn with_password(dir: &Path) -> String {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("htpasswd"), HTPASSWD).unwrap();
    format!("auth: {{htpasswd: {{realm: test, path: {}}}}}", dir.join("htpasswd").display())
}

/// Makes an authority, `ca.crt`, and by it a certificate for `host`, `host.crt` with `host.key`.
pub fn make_certificates(dir: &Path, host: &str) {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("empty.cnf"), "[req]\ndistinguished_name=dn\n[dn]\n").unwrap();
    let make = |name: &str, more: &[&str]| {
        let mut command = Command::new("openssl");
        command.current_dir(dir).args(["req", "-x509", "-config", "empty.cnf", "-days", "3", "-nodes"]);
        command.args(["-newkey", "rsa:2048", "-keyout", &format!("{name}.key"), "-out", &format!("{name}.crt")]);
        let output = command.args(more).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    make("ca", &["-subj", "/CN=authority", "-addext", "basicConstraints=critical,CA:TRUE"]);
    let name = format!("subjectAltName=DNS:{host}");
    make(
        "host",
        &[
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-subj",
            "/CN=host",
            "-addext",
            &name,
            "-addext",
            "basicConstraints=CA:FALSE",
        ],
    );
}

/// Lets a command believe that `host` is this machine, by a mount that only it sees.
pub fn with_host(command: &Command, hosts: &Path, host: &str) -> Command {
    std::fs::write(hosts, format!("127.0.0.1 localhost {host}\n")).unwrap();
    with_mounted(command, hosts, "/etc/hosts")
}

/// Shows a command `file` in the place of another one, by a mount that only it sees.
pub fn with_mounted(command: &Command, file: &Path, at: &str) -> Command {
    let mut inside = Command::new("unshare");
    inside.args(["-m", "sh", "-c", "mount --bind \"$0\" \"$1\" && shift && exec \"$@\""]).arg(file).arg(at);
    inside.arg(command.get_program()).args(command.get_args());
    command.get_envs().for_each(|(name, value)| match value {
        Some(value) => drop(inside.env(name, value)),
        None => drop(inside.env_remove(name)),
    });
    inside
}
