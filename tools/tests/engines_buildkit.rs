//! Images that are built here are those that BuildKit makes of the same Dockerfiles: config, history and layers.
//!
//! A sample runs always; all of `testdata/dockerfiles/modern.txt` with `LAYERFS_SWEEP=full`.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod buildsupport;

use std::path::PathBuf;
use std::process::Output;

use buildsupport::modern::{buildkit, make_place, modern, modern_cases, modern_config, modern_layers, options};
use buildsupport::{DockerfileCase, write_dockerfile};
use tempfile::TempDir;
use testkit::Turn;
use testkit::dockerd::Dockerd;
use testkit::engines::Engine;
use testkit::fault_registry::{Asked, FaultRegistry, Reply};

/// Those that run always, besides those that end with an error.
const SAMPLE: [&str; 20] = [
    "metadata",
    "workdir",
    "run",
    "arguments",
    "copy",
    "copy-all",
    "copy-onto",
    "chmod",
    "add",
    "add-zstd",
    "copy-from",
    "heredoc-run",
    "heredoc-copy",
    "patterns",
    "mounts",
    "diamond",
    "exclude",
    "copy-chown-names",
    "copy-modes-parents",
    "healthcheck-forms",
];

/// A newer daemon, and a store of ours, both with the base image.
struct Both {
    engine: Engine,
    daemon: Dockerd,
    dir: TempDir,
    context: PathBuf,
    secret: PathBuf,
    begun: i64,
    turn: Turn,
}

/// One Dockerfile, and the image of each.
struct Made {
    name: String,
    our_id: String,
    docker_id: String,
}

impl Both {
    fn start() -> Option<Self> {
        let (engines, turn) = testkit::engines::engines()?;
        let engine = engines.iter().find(|engine| testkit::engines::version(engine).starts_with("28.")).unwrap();
        let dir = testkit::scratch();
        let begun = testkit::now() - 1;
        let (theirs, ours) = (testkit::empty_root(&dir, "theirs"), testkit::empty_root(&dir, "ours"));
        let (context, secret) = make_place(dir.path());
        let archive = testkit::golden("busybox-20.10.tar");
        testkit::import(&archive, &ours);
        let daemon = Dockerd::start_engine(engine, &theirs, &["-s", "overlay2"]);
        daemon.load(&archive);
        Some(Self { engine: engine.clone(), daemon, dir, context, secret, begun, turn })
    }

    fn root(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Builds a Dockerfile with both, which end alike. What they say is returned if they fail.
    fn build(&self, case: &DockerfileCase) -> Result<Made, (String, String)> {
        let file = self.dir.path().join("id");
        let id = || {
            let id = std::fs::read_to_string(&file).ok().map(|id| id.trim().to_owned());
            let _ = std::fs::remove_file(&file);
            id
        };
        write_dockerfile(&self.context, &case.text);
        let options = options(case, &self.secret);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let all = [&["--iidfile", file.to_str().unwrap()][..], &options, &[self.context.to_str().unwrap()]].concat();
        let docker = buildkit(&self.daemon, self.dir.path(), &all);
        let docker_id = id();
        let layerfs = modern(&self.root("ours"), &all);
        let our_id = id();
        let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
        let (ours, theirs) = (said(&layerfs), said(&docker));
        assert_eq!(layerfs.status.code(), docker.status.code(), "{}:\n{ours}\n{theirs}", case.name);
        let (Some(our_id), Some(docker_id)) = (our_id, docker_id) else { return Err((ours, theirs)) };
        let (ours, theirs) = (self.root("ours"), self.root("theirs"));
        assert_eq!(modern_config(&ours, &our_id), modern_config(&theirs, &docker_id), "{}", case.name);
        Ok(Made { name: case.name.clone(), our_id, docker_id })
    }

    /// Compares the layers, when the daemon has ended.
    fn end(self, made: &[Made]) -> (TempDir, Turn) {
        let (ours, theirs) = (self.root("ours"), self.root("theirs"));
        self.daemon.stop();
        for Made { name, our_id, docker_id } in made {
            let (our_layers, docker_layers) =
                (modern_layers(&ours, our_id, self.begun), modern_layers(&theirs, docker_id, self.begun));
            assert_eq!(our_layers.len(), docker_layers.len(), "{name}");
            for (number, (our_layer, docker_layer)) in our_layers.iter().zip(&docker_layers).enumerate() {
                assert_eq!(our_layer, docker_layer, "{name}: layer {number}");
            }
        }
        (self.dir, self.turn)
    }
}

#[test]
fn dockerfiles_become_what_buildkit_makes_of_them() {
    let Some(both) = Both::start() else { return };
    let full = testkit::full_sweep();
    let chosen = |name: &str| full || SAMPLE.contains(&name) || name.starts_with("error-");
    let cases: Vec<_> = modern_cases().into_iter().filter(|case| chosen(&case.name)).collect();
    assert!(cases.len() >= 40, "{}", cases.len());
    let engine = both.engine.clone();
    let made: Vec<Made> = cases.iter().filter_map(|case| both.build(case).ok()).collect();
    let (dir, _turn) = both.end(&made);
    // The newer daemon runs what was built here.
    let daemon = Dockerd::start_engine(&engine, &dir.path().join("ours"), &["-s", "overlay2"]);
    testkit::assert_none("dockerd on our root", &daemon.errors());
    let id = &made.iter().find(|made| made.name == "run").unwrap().our_id;
    let said = daemon.ok(&["run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "/bin/cat", id, "/r"]);
    assert_eq!(said, "hi q1\n");
    daemon.stop();
}

/// What a web server gives.
fn served(asked: &Asked) -> Reply {
    let modified = |reply: Reply| reply.with("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    match asked.path.as_str() {
        "/f.txt" => modified(Reply::new(200, FILE)),
        "/plain" => Reply::new(200, b"plain"),
        "/t.tar" => modified(Reply::new(200, &std::fs::read(testkit::golden("busybox-20.10.tar")).unwrap()[..1024])),
        "/moved" => Reply::new(302, b"").with("Location", "/f.txt"),
        "/" | "/d%20r/" => Reply::new(200, b"index"),
        _ => Reply::new(404, b"none"),
    }
}

const FILE: &[u8] = b"a file of a server\n";

#[test]
fn addresses_in_add_become_what_buildkit_makes_of_them() {
    let Some(both) = Both::start() else { return };
    let server = FaultRegistry::start(served);
    let sum = layerfs::Digest::hash(FILE).to_string();
    let case = |name: &str, lines: &str| {
        let text = format!("FROM layerfs-test/busybox:1\n{lines}\n");
        let text = text.replace("HOST", &server.host).replace("SUM", &sum);
        DockerfileCase { name: name.to_owned(), options: Vec::new(), text }
    };
    let lines = "ADD http://HOST/f.txt /one
ADD http://HOST/f.txt /dir/
ADD --chown=5:6 --chmod=751 http://HOST/plain /new/two
ADD http://HOST/t.tar /tars/
ADD http://HOST/moved /r/
ADD http://HOST/ /unnamed/
ADD http://HOST/d%20r/ /named/
ADD http://HOST/f.txt a.txt t.tar /both/
ADD --checksum=SUM http://HOST/f.txt /sum
ENV F=f
ADD http://HOST/$F.txt /variable";
    let first = both.build(&case("addresses", lines));
    let made = first.unwrap_or_else(|(ours, theirs)| panic!("{ours}\n{theirs}"));
    // Its checksum says that nothing need be fetched.
    let requests = || server.asked().len();
    let text = case("again", "ADD --checksum=SUM http://HOST/f.txt /sum").text;
    write_dockerfile(&both.context, &text);
    let build = || modern(&both.root("ours"), &[both.context.to_str().unwrap()]);
    assert!(build().status.success());
    let before = requests();
    let output = build();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stderr).contains("#3 CACHED"));
    assert_eq!(requests(), before);
    let other = layerfs::Digest::hash(b"other").to_string();
    for (name, line, reason) in [
        ("missing", "ADD http://HOST/missing /x".to_owned(), "invalid response status 404"),
        ("checksum", format!("ADD --checksum={other} http://HOST/f.txt /x"), "digest mismatch"),
        ("no-checksum", "ADD --checksum=sha256:abc http://HOST/f.txt /x".into(), "invalid checksum digest length"),
        ("algorithm", "ADD --checksum=md5:abc http://HOST/f.txt /x".into(), "unsupported digest algorithm"),
        ("copy", "COPY http://HOST/f.txt /x".into(), "source can't be a URL for COPY"),
    ] {
        let (ours, theirs) = both.build(&case(name, &line)).err().unwrap();
        for said in [ours, theirs] {
            assert!(said.trim_end().lines().last().unwrap().contains(reason), "{name}: {said}");
        }
    }
    write_dockerfile(&both.context, &case("git", "ADD https://HOST/x.git /x").text);
    let output = modern(&both.root("ours"), &[both.context.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("x.git is a git repository, which is not fetched here"));
    drop(both.end(&[made]));
}
