//! Debian's docker-registry on the loopback interface.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
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
    /// `127.0.0.1:PORT`, or another address of this machine.
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
        Self::start_at(dir, Ipv4Addr::LOCALHOST.into(), http, more)
    }

    /// [`Self::start_with`] at another address of this machine: docker believes any host at 127.0.0.1.
    pub fn start_at(dir: &Path, address: IpAddr, http: &str, more: &str) -> Self {
        let host = TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().to_string();
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
    make_certificate(dir, "ca", "basicConstraints=critical,CA:TRUE", NOW, None);
    let extensions = format!("subjectAltName=DNS:{host}\nbasicConstraints=CA:FALSE");
    make_certificate(dir, "host", &extensions, NOW, Some("ca"));
}

/// Times between which a certificate is good, as openssl writes them.
pub type Validity = (&'static str, &'static str);

/// Good now, and as long as these tests can be expected to run.
pub const NOW: Validity = ("20200101000000Z", "20991231235959Z");

/// Makes the certificate `NAME.crt` with `NAME.key`, with these extensions, a line each, signed by `issuer`, or by itself.
pub fn make_certificate(dir: &Path, name: &str, extensions: &str, (from, until): Validity, issuer: Option<&str>) {
    std::fs::create_dir_all(dir).unwrap();
    let config = "[req]\ndistinguished_name=dn\n[dn]\n[ca]\ndefault_ca=own\n[own]\ndatabase=index\nserial=serial\nnew_certs_dir=.\n\
                  default_md=sha256\npolicy=any\nunique_subject=no\n[any]\ncommonName=supplied\n";
    std::fs::write(dir.join("openssl.cnf"), config).unwrap();
    std::fs::write(dir.join("extensions"), format!("{extensions}\n")).unwrap();
    std::fs::File::options().append(true).create(true).open(dir.join("index")).unwrap();
    let openssl = |arguments: &[&str]| {
        let mut command = Command::new("openssl");
        let output = command.current_dir(dir).args(arguments).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let (key, signing) = (format!("{name}.key"), format!("{}.key", issuer.unwrap_or(name)));
    let subject = format!("/CN={name}");
    let request = ["req", "-new", "-config", "openssl.cnf", "-nodes", "-out", "request", "-subj", &subject];
    let kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", &key];
    openssl(&[&request[..], &kind].concat());
    let (certificate, authority) = (format!("{name}.crt"), format!("{}.crt", issuer.unwrap_or_default()));
    let by = if issuer.is_some() { vec!["-cert", &authority] } else { vec!["-selfsign"] };
    let sign = ["ca", "-batch", "-notext", "-rand_serial", "-config", "openssl.cnf", "-extfile", "extensions"];
    let files = ["-in", "request", "-out", &certificate, "-keyfile", &signing, "-startdate", from, "-enddate", until];
    openssl(&[&sign[..], &files, &by].concat());
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
