//! How each peer is called: the programs it needs, and the job that is timed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::daemon::Daemon;
use super::inputs::Staged;
use super::interrupt::Interrupt;
use super::measure::{Job, Program, find};
use super::rows::{On, Peer, Sync, Workload};
use super::scratch::text;

/// Programs of the system that peers are made of.
const PROGRAMS: [&str; 13] = [
    "tar",
    "bsdtar",
    "gzip",
    "igzip",
    "pigz",
    "zstd",
    "docker",
    "dockerd",
    "containerd",
    "ctr",
    "podman",
    "umoci",
    "sync",
];

/// Where the programs are.
#[derive(Debug)]
pub struct Tools {
    unpack: PathBuf,
    crates: Result<PathBuf, String>,
    found: BTreeMap<&'static str, PathBuf>,
}

impl Tools {
    /// Looks for all of them. `crates` is the program of the Rust crates, or why there is none.
    pub fn find(unpack: PathBuf, crates: Result<PathBuf, String>) -> Self {
        let mut found: BTreeMap<_, _> = PROGRAMS.iter().filter_map(|name| Some((*name, find(name)?))).collect();
        // The client of the distribution fits its daemon; other installations may put a newer one first in PATH.
        let docker = std::env::var_os("DOCKER_BIN").map_or_else(|| "/usr/bin/docker".into(), PathBuf::from);
        if docker.is_file() {
            found.insert("docker", docker);
        }
        Self { unpack, crates, found }
    }

    /// The names and paths of those that say their version.
    pub fn programs(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let ours = std::iter::once(("layer-unpack", self.unpack.as_path()));
        ours.chain(self.found.iter().map(|(name, path)| (*name, path.as_path())))
    }

    /// `layer-unpack`.
    pub fn unpack(&self) -> &Path {
        &self.unpack
    }

    /// The program of the Rust crates, if it is built.
    pub fn crates(&self) -> Option<&Path> {
        self.crates.as_ref().ok().map(PathBuf::as_path)
    }

    /// Why a peer cannot be measured; nothing if it can.
    pub fn missing(&self, peer: Peer, workload: Workload) -> Option<String> {
        let needed: &[&str] = match peer {
            Peer::GnuTar if workload == Workload::LayerGzip => &["tar", "gzip"],
            Peer::GnuTar => &["tar"],
            Peer::Bsdtar => &["bsdtar"],
            Peer::IgzipTar => &["igzip", "tar"],
            Peer::PigzTar => &["pigz", "tar"],
            Peer::ZstdTar => &["zstd", "tar"],
            Peer::Dockerd => &["dockerd", "docker"],
            Peer::Containerd => &["containerd", "ctr"],
            Peer::Podman => &["podman"],
            Peer::Umoci => &["umoci"],
            Peer::OciImage | Peer::TarCrate | Peer::TokioTar => return self.crates.as_ref().err().cloned(),
            Peer::LayerUnpack | Peer::LayerUnpackOneThread | Peer::LayerUnpackWarm | Peer::Sha256 => &[],
        };
        needed.iter().find(|name| !self.found.contains_key(**name)).map(|name| format!("{name} is not installed"))
    }

    fn path(&self, name: &str) -> Result<&str> {
        text(self.found.get(name).with_context(|| format!("{name} is not installed"))?)
    }
}

/// Where a job runs, and on what.
#[derive(Debug)]
pub struct Workplace<'a> {
    /// The programs.
    pub tools: &'a Tools,
    /// What is unpacked.
    pub workload: Workload,
    /// Its files.
    pub staged: &'a Staged,
    /// The fresh file system.
    pub target: &'a Path,
    /// For sockets and state of daemons.
    pub state: &'a Path,
    /// Kind of the file system.
    pub on: On,
    /// Whether the data has to be on the disk.
    pub sync: Sync,
    /// Ends what waits.
    pub interrupt: &'a Interrupt,
}

/// What is ready to be timed.
#[derive(Debug)]
pub struct Prepared {
    /// What is timed.
    pub job: Job,
    /// What runs before, untimed.
    pub before: Option<Job>,
    /// Whom the job talks to. Its CPU time counts.
    pub daemon: Option<Daemon>,
}

impl Workplace<'_> {
    /// Makes directories, starts the daemon if it takes one, and returns the job.
    ///
    /// # Errors
    ///
    /// If something of it fails.
    pub fn prepare(&self, peer: Peer) -> Result<Prepared> {
        let mut daemon = None;
        let mut before = None;
        let mut job = match peer {
            Peer::LayerUnpack | Peer::LayerUnpackOneThread => Job::program(self.unpack(peer.threads())?),
            Peer::LayerUnpackWarm => {
                before = Some(Job::program(self.unpack(2)?));
                Job::program(self.unpack(2)?)
            }
            Peer::GnuTar => {
                let tar = self.tools.path("tar")?;
                self.each_layer(|layer, to| Ok(vec![gnu_tar(tar, layer, to)]))?
            }
            Peer::Bsdtar => {
                let tar = self.tools.path("bsdtar")?;
                self.each_layer(|layer, to| Ok(vec![Program::new([tar, "-x", "-p", "-f", layer, "-C", to])]))?
            }
            Peer::IgzipTar => self.decompressed("igzip")?,
            Peer::PigzTar => self.decompressed("pigz")?,
            Peer::ZstdTar => self.decompressed("zstd")?,
            Peer::OciImage => self.of_crate("oci-image")?,
            Peer::TarCrate => self.of_crate("tar")?,
            Peer::TokioTar => self.of_crate("astral-tokio-tar")?,
            Peer::Dockerd => {
                let path = Path::new(self.tools.path("dockerd")?);
                let started = Daemon::dockerd(path, &self.target.join("data"), self.state, self.interrupt)?;
                let host = format!("unix://{}", text(&started.socket())?);
                daemon = Some(started);
                Job::program([self.tools.path("docker")?, "-H", &host, "load", "-q", "-i", self.archive()?])
            }
            Peer::Containerd => {
                let path = Path::new(self.tools.path("containerd")?);
                let started = Daemon::containerd(path, &self.target.join("data"), self.state, self.interrupt)?;
                let socket = text(&started.socket())?.to_owned();
                daemon = Some(started);
                let words = [self.tools.path("ctr")?, "-a", &socket, "images", "import", "--snapshotter", "overlayfs"];
                Job::program(words.into_iter().chain([self.archive()?]))
            }
            Peer::Podman => self.podman()?,
            Peer::Umoci => {
                let image = self.staged.layout.as_ref().context("umoci needs an OCI layout")?;
                let bundle = self.target.join("bundle");
                Job::program([self.tools.path("umoci")?, "unpack", "--image", image, text(&bundle)?])
            }
            Peer::Sha256 => {
                let own = std::env::current_exe()?;
                let layers = self.staged.layers.iter().map(|layer| text(layer)).collect::<Result<Vec<_>>>()?;
                Job::program([text(&own)?, "sha256"].into_iter().chain(layers))
            }
        };
        if self.sync == Sync::Synced && !peer.is_ours() && peer != Peer::Sha256 {
            job = job.then([self.tools.path("sync")?, "-f", text(self.target)?]);
        }
        Ok(Prepared { job, before, daemon })
    }

    /// The words that call `layer-unpack`.
    ///
    /// # Errors
    ///
    /// If a path is not UTF-8.
    pub fn unpack(&self, threads: u32) -> Result<Vec<String>> {
        let (option, to) = self.destination();
        let mut words = vec![text(&self.tools.unpack)?.to_owned(), self.archive()?.to_owned()];
        words.extend([option.to_owned(), text(&to)?.to_owned()]);
        words.extend(["--threads".to_owned(), threads.to_string(), "-q".to_owned()]);
        // Memory has nothing to wait for.
        if self.sync == Sync::Unsynced && self.on != On::Tmpfs {
            words.push("--no-sync".to_owned());
        }
        Ok(words)
    }

    /// Where `layer-unpack` writes to: a store for an image, overlay directories for a layer.
    fn destination(&self) -> (&'static str, PathBuf) {
        if self.workload.is_image() {
            ("--root", self.target.join("root"))
        } else {
            ("--layers", self.target.join("l"))
        }
    }

    /// How many files a peer has left; only of those whose layout we know.
    ///
    /// # Errors
    ///
    /// If they cannot be counted.
    pub fn count(&self, peer: Peer) -> Result<Option<u64>> {
        Ok(match peer {
            Peer::LayerUnpack if self.workload.is_image() => {
                Some(super::count::files_in_layers(&self.target.join("root/overlay2"))?)
            }
            Peer::LayerUnpack => Some(super::count::files_in_layers(&self.target.join("l"))?),
            Peer::GnuTar | Peer::IgzipTar | Peer::ZstdTar => Some(super::count::files(self.target)?),
            _ => None,
        })
    }

    fn archive(&self) -> Result<&str> {
        text(&self.staged.archive)
    }

    /// One step for each layer, each into a directory of its own.
    fn each_layer(&self, step: impl Fn(&str, &str) -> Result<Vec<Program>>) -> Result<Job> {
        let mut job = Job::default();
        for (number, layer) in self.staged.layers.iter().enumerate() {
            let to = self.target.join(number.to_string());
            fs::create_dir(&to)?;
            job.steps.push(step(text(layer)?, text(&to)?)?);
        }
        if job.steps.is_empty() {
            bail!("there are no layers to unpack");
        }
        Ok(job)
    }

    /// A decompressor, and GNU tar behind it.
    fn decompressed(&self, decompressor: &str) -> Result<Job> {
        let (tar, decompressor) = (self.tools.path("tar")?, self.tools.path(decompressor)?);
        self.each_layer(|layer, to| Ok(vec![Program::new([decompressor, "-dc", layer]), gnu_tar(tar, "-", to)]))
    }

    /// The program of the Rust crates.
    fn of_crate(&self, name: &str) -> Result<Job> {
        let Ok(program) = &self.tools.crates else { bail!("the program of the Rust crates is not built") };
        self.each_layer(|layer, to| Ok(vec![Program::new([text(program)?, name, layer, to])]))
    }

    /// podman with everything of its own; it copies the archive to its temporary files first, which belong to the
    /// file system that is measured.
    fn podman(&self) -> Result<Job> {
        let temporary = self.target.join("tmp");
        fs::create_dir(&temporary)?;
        let (root, run, locks) = (self.target.join("data"), self.state.join("run"), self.state.join("libpod"));
        let options = ["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "load", "-q", "-i"];
        let mut words = vec![self.tools.path("podman")?, "--root", text(&root)?, "--runroot", text(&run)?];
        words.extend(["--tmpdir", text(&locks)?]);
        words.extend(options);
        words.push(self.archive()?);
        let variables = vec![("TMPDIR".to_owned(), text(&temporary)?.to_owned())];
        Ok(Job { steps: vec![vec![Program { variables, ..Program::new(words) }]] })
    }
}

/// GNU tar with the attributes that `layer-unpack` restores.
fn gnu_tar(tar: &str, archive: &str, to: &str) -> Program {
    Program::new([tar, "-xf", archive, "-C", to, "--xattrs", "--xattrs-include=*", "--warning=none"])
}
