//! Debian's docker-registry on the loopback interface.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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
    /// Whether the program is there.
    pub fn installed() -> bool {
        Path::new(REGISTRY).exists()
    }

    /// Starts it with its files in `dir` and waits until it answers.
    pub fn start(dir: &Path) -> Self {
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

/// `layerfs --root ROOT ARGUMENTS`, without credentials of whoever runs the test.
pub fn layerfs_anonymous(root: &Path, arguments: &[&str]) -> Ran {
    let mut command = layerfs(&["--root", root.to_str().unwrap()]);
    command.args(arguments).env("DOCKER_CONFIG", root.with_extension("no-config"));
    run(command, Input::Nothing)
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
