//! Versions of Docker: the system's, and newer ones that are unpacked beside it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::tier::{Turn, tier};

/// The programs of Debian's docker.io 20.10, by their paths: another client may come first in `PATH`.
const SYSTEM: [&str; 2] = ["/usr/sbin/dockerd", "/usr/bin/docker"];

/// Where the client of Debian's packages looks for buildx.
const PLUGIN: &str = "/usr/libexec/docker/cli-plugins/docker-buildx";

/// Where daemons look for containerd, its shims and runc.
const PATH: &str = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The releases of Debian that `tools/engines.sh` unpacks, and how the version of their Docker begins.
const BESIDE: [(&str, &str); 2] = [("trixie", "26.1."), ("sid", "28.")];

/// The flag with which Docker 28 keeps its images in containerd's store.
pub const CONTAINERD: &[&str] = &["--feature=containerd-snapshotter=true"];

/// A version of Docker.
#[derive(Debug, Clone)]
pub struct Engine {
    /// Its name in messages.
    pub name: &'static str,
    /// The daemon.
    pub dockerd: PathBuf,
    /// The client.
    pub client: PathBuf,
    /// The client's plugin buildx, where `tools/engines.sh` unpacks one.
    pub buildx: PathBuf,
    /// What is in `PATH` for both.
    pub path: String,
}

impl Engine {
    /// The engine of this system.
    #[must_use]
    pub fn system() -> Self {
        let [dockerd, client] = SYSTEM.map(PathBuf::from);
        Self { name: "docker.io", dockerd, client, buildx: PathBuf::from(PLUGIN), path: PATH.to_owned() }
    }

    /// The engine of a release of Debian, unpacked by `tools/engines.sh` into `$LAYERFS_ENGINES`, else into
    /// `target/engines`.
    fn beside(name: &'static str) -> Self {
        let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/engines");
        let dir = std::env::var_os("LAYERFS_ENGINES").map_or_else(usual, PathBuf::from).join(name);
        let [sbin, bin] = ["usr/sbin", "usr/bin"].map(|below| dir.join(below));
        let path = format!("{}:{}:{PATH}", sbin.display(), bin.display());
        let buildx = dir.join(&PLUGIN[1..]);
        Self { name, dockerd: sbin.join("dockerd"), client: bin.join("docker"), buildx, path }
    }

    /// Whether daemon and client are there.
    #[must_use]
    pub fn installed(&self) -> bool {
        self.dockerd.exists() && self.client.exists()
    }
}

/// The newer engines, oldest first, and the turn of this test; or says why there are none to test with.
pub fn engines() -> Option<(Vec<Engine>, Turn)> {
    static TURN: Mutex<()> = Mutex::new(());
    let engines: Vec<Engine> = BESIDE.iter().map(|(name, _)| Engine::beside(name)).collect();
    let found = rustix::process::geteuid().is_root() && engines.iter().all(Engine::installed);
    let need = "run as root, after tools/engines.sh target/engines (`just engines`)";
    tier("engines", found, need).then(|| (engines, TURN.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// How the version of this engine begins.
#[must_use]
pub fn version(engine: &Engine) -> &'static str {
    BESIDE.iter().find(|(name, _)| *name == engine.name).map_or("20.10.", |(_, version)| version)
}

/// Docker 28 among the versions that are unpacked.
///
/// # Panics
/// If it is not among them.
#[must_use]
pub fn docker_28(engines: &[Engine]) -> &Engine {
    engines.iter().find(|engine| version(engine).starts_with("28.")).expect("tools/engines.sh unpacks it")
}
