//! One store with a bit of everything, made by a private dockerd: images of all kinds and ages, containers in every
//! state, one of an image that is gone, volumes, build cache. Made once in a test binary, for everything that only reads.
//!
//! No two images are from the same second, because dockerd lists those in random order. There are two states of the
//! store: a daemon is live on the first, with containers running; the other is a copy that a stopped daemon left.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::dockerd::Dockerd;
use super::registry::Registry;
use super::tier::tier;
use super::zoo_archive::{self, DIGEST_ONLY};
use super::zoo_home::Home;
use super::{Turn, succeeded};

/// The steps of a build without BuildKit, each of which leaves an image.
const LEGACY: &[&str] = &[
    "FROM zoo/base:1",
    "LABEL legacy=\"<yes> & \u{e9}\" step=one",
    "ENV GREETING=\"gr\u{fc}\u{df} <>&\" PATH=/bin:/usr/bin:/sbin",
    "HEALTHCHECK --interval=30s --timeout=3s --retries=2 CMD true || exit 1",
    "VOLUME [\"/data\", \"/more data\"]",
    "EXPOSE 80 53/udp",
    "COPY file /srv/file",
    "RUN ln /srv/file /srv/same && ln -s file /srv/link && rm /etc/motd && mkdir -m 1777 /srv/dir",
    "ONBUILD RUN echo <built> && true",
    "USER 1000:1000",
    "WORKDIR /srv",
    "ENTRYPOINT [\"/bin/sh\", \"-c\"]",
    "CMD [\"echo '<&>' \u{65e5}\u{672c}\"]",
];

const BUILDKIT: &str = "FROM zoo/base:1 AS first\nRUN echo first >/first\nFROM zoo/base:1\n\
    COPY --from=first /first /copied\nLABEL built=\"with BuildKit\"\nRUN echo '<second>' && true >/second\nCMD [\"sh\"]\n";

/// The store.
#[derive(Debug)]
pub struct Zoo {
    home: Home,
    /// The data-root of the live daemon.
    pub root: PathBuf,
    /// The copy; what is in it names [`Self::root`], where [`Self::on_stopped`] shows it.
    pub stopped: PathBuf,
    /// The daemon that has the store.
    pub daemon: Dockerd,
    /// Every image, intermediate ones too, as `sha256:` and 64 digits.
    pub ids: Vec<String>,
    /// Where images with digests were pushed to and pulled from; it does not answer any more.
    pub registry: String,
}

/// The store and the turn of this test, or says why there is none.
pub fn zoo() -> Option<(&'static Zoo, Turn)> {
    static ZOO: OnceLock<Option<Zoo>> = OnceLock::new();
    let turn = Registry::with_docker()?;
    let made = ZOO.get_or_init(|| {
        let home = Home::mount();
        tier("docker", home.is_some(), "a tmpfs can be mounted").then(|| Zoo::make(home.expect("the tier is there")))
    });
    made.as_ref().map(|zoo| (zoo, turn))
}

impl Zoo {
    /// The daemons end with the thread that starts them: it has to outlast every test.
    fn make(home: Home) -> Self {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            sender.send(Self::make_here(home)).unwrap();
            loop {
                std::thread::park();
            }
        });
        receiver.recv().expect("the store is made")
    }

    fn make_here(home: Home) -> Self {
        let at = |name: &str| home.path().join(name);
        let (root, stopped) = (at("root"), at("stopped"));
        std::fs::create_dir(&root).unwrap();
        let registry = Registry::start(&at("registry"));
        let daemon = Dockerd::start_at(home.path(), &root);
        Keeper { daemon: &daemon, dir: at("made") }.fill(&registry.host);
        let host = registry.host.clone();
        daemon.stop();
        succeeded("cp", Command::new("cp").arg("-a").args([&root, &stopped]).output().unwrap());
        let daemon = Dockerd::start_at(home.path(), &root);
        daemon.ok(&["start", "running", "paused"]);
        daemon.ok(&["pause", "paused"]);
        let ids = daemon.images();
        Self { home, root, stopped, daemon, ids, registry: host }
    }

    /// Room for files of tests, on the same file system.
    pub fn scratch(&self) -> tempfile::TempDir {
        tempfile::tempdir_in(self.home.path()).unwrap()
    }

    /// `program` on the copy, which it sees where the live store is otherwise, with these options of the mount.
    pub fn on_stopped(&self, program: &Path, mount: &str) -> Command {
        let script = "mount --bind -o \"$0\" \"$1\" \"$2\" && shift 2 && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, mount]).args([&self.stopped, &self.root]).arg(program);
        command
    }
}

/// Fills the store.
struct Keeper<'a> {
    daemon: &'a Dockerd,
    /// Archives and build contexts.
    dir: PathBuf,
}

impl Keeper<'_> {
    fn fill(&self, registry: &str) {
        std::fs::create_dir(&self.dir).unwrap();
        let archive = self.dir.join("images.tar");
        zoo_archive::write(&archive, super::now());
        self.daemon.load(&archive);
        for golden in ["busybox-20.10.tar", "layers-20.10.tar"] {
            self.daemon.load(&super::golden(golden));
        }
        self.digests(registry);
        self.legacy();
        self.next_second();
        self.build("buildkit", "1", BUILDKIT, &["-t", "zoo/buildkit:1"]);
        self.containers();
        self.next_second();
        let change = ["-c", "LABEL committed=\"<yes>\"", "-a", "Zo\u{eb} <&>", "-m", "a commit & more"];
        self.daemon.ok(&[&["commit"], &change[..], &["exited-0", "zoo/commit:1"]].concat());
        self.next_second();
        self.daemon.ok(&["commit", "created"]);
        self.next_second();
        let tree = self.dir.join("tree.tar");
        succeeded("tar", Command::new("tar").args(["-C", "/etc", "-cf"]).arg(&tree).arg("hostname").output().unwrap());
        let import = ["import", "-m", "made <outside>", "-c", "ENV A=b", tree.to_str().unwrap(), "zoo/import:1"];
        self.daemon.ok(&import);
    }

    /// Waits until the second is over in which the image before may have been made.
    fn next_second(&self) {
        let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let last = second();
        while second() == last {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Repositories with digests, beside tags, with tags of other images, and alone.
    fn digests(&self, registry: &str) {
        let docker = |arguments: &[&str]| self.daemon.ok(arguments);
        let name = |name: &str| format!("{registry}/{name}");
        for (source, target) in [
            ("zoo/app:1", name("zoo/pushed:1")),
            ("zoo/app:2", name("zoo/pushed:2")),
            ("zoo/app:2", name("zoo/pushed:two")),
            ("zoo/app:2", name("other:2")),
            (DIGEST_ONLY, name("zoo/digest-only:1")),
            ("zoo/tool:day", name("zoo/pulled:1")),
        ] {
            docker(&["tag", source, &target]);
            docker(&["push", "-q", &target]);
        }
        let said = docker(&["inspect", "--format", "{{index .RepoDigests 0}}", DIGEST_ONLY]);
        docker(&["rmi", DIGEST_ONLY, &name("zoo/digest-only:1"), &name("zoo/pulled:1")]);
        docker(&["pull", "-q", said.trim()]);
        docker(&["pull", "-q", &name("zoo/pulled:1")]);
        // The digest stays with the image that was pushed under this tag.
        docker(&["tag", "zoo/app:3", &name("zoo/pushed:1")]);
    }

    fn build(&self, name: &str, buildkit: &str, dockerfile: &str, arguments: &[&str]) {
        let context = self.dir.join(name);
        std::fs::create_dir_all(&context).unwrap();
        std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        std::fs::write(context.join("file"), "copied\n".repeat(999)).unwrap();
        let build = [&["build", "--network", "none"], arguments, &[context.to_str().unwrap()]].concat();
        succeeded(name, self.daemon.client(&build).env("DOCKER_BUILDKIT", buildkit).output().unwrap());
    }

    /// A step a second: the steps before come from the cache.
    fn legacy(&self) {
        for steps in 2..=LEGACY.len() {
            let last: &[&str] = if steps == LEGACY.len() { &["-t", "zoo/legacy:1", "-t", "zoo/legacy:2"] } else { &[] };
            self.next_second();
            self.build("legacy", "0", &LEGACY[..steps].join("\n"), last);
        }
    }

    /// Containers that are made, have run and wait to be started; volumes that they use and others.
    fn containers(&self) {
        let docker = |arguments: &[&str]| self.daemon.ok(arguments);
        for (volume, labels) in [("named", "kind=used"), ("unused", "kind=unused"), ("empty", "kind=empty")] {
            docker(&["volume", "create", "--label", labels, volume]);
        }
        // Numbers in names count by their value.
        for volume in ["v2", "v10", "v010", "v1a", "v1", "v10.2", "v10.10", "V3", "va"] {
            docker(&["volume", "create", volume]);
        }
        let bind = self.dir.join("bound");
        std::fs::create_dir(&bind).unwrap();
        let bind = format!("{}:/bound:ro", bind.display());
        let create = |arguments: &[&str]| docker(&[&["create", "--network", "none"], arguments].concat());
        let run = |code: i32, arguments: &[&str]| {
            let output = self.daemon.docker(&[&["run", "--network", "none"], arguments].concat());
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let write = "echo hello >/etc/motd; rm /etc/passwd; truncate -s 10M /sparse; ln /etc/motd /motd; \
            echo more >/named/file; truncate -s 1M /named/sparse; ln /named/file /named/same";
        let writer = ["-v", "named:/named", "-v", "/anonymous", "zoo/base:1", "sh", "-c", write];
        run(0, &[&["--name", "exited-0", "--label", "maker=zoo", "--label", "text=<\u{e9}>&"], &writer[..]].concat());
        run(3, &["--name", "exited-3", "zoo/app:1", "sh", "-c", "echo out; exit 3"]);
        run(0, &["--name", "on-unused", "-v", "unused:/u", "zoo/tool:hours", "sh", "-c", "echo kept >/u/file"]);
        docker(&["rm", "on-unused"]);
        create(&["--name", "created", "-v", &bind, "-p", "8080:80", "zoo/app:2", "sh"]);
        create(&["zoo/legacy:1", "a long command line of more than twenty columns \u{e9}\u{e9}\u{e9}"]);
        let sleeper = ["--stop-signal", "KILL", "zoo/base:1", "sleep", "1000000"];
        create(&[&["--name", "running", "-v", "named:/again"], &sleeper[..]].concat());
        create(&[&["--name", "paused"], &sleeper[..]].concat());
        run(0, &["--name", "of-none", "zoo/gone:1", "true"]);
        docker(&["rmi", "-f", "zoo/gone:1"]);
    }
}

/// What a program printed and how it ended, as text.
pub fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}
