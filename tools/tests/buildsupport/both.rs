//! The same Dockerfile built by BuildKit of a daemon and by ours, and what became of it compared.

use std::cell::Cell;
use std::path::PathBuf;
use std::process::Output;

use regex::Regex;
use serde_json::Value;
use tempfile::TempDir;
use testkit::Turn;
use testkit::dockerd::Dockerd;
use testkit::engines::Engine;

use super::modern::{buildkit, modern, modern_config, modern_layers, options};
use super::{DockerfileCase, write_dockerfile};

/// A daemon, and a store of ours, both with the base image.
pub(crate) struct Both {
    pub(crate) daemon: Dockerd,
    pub(crate) dir: TempDir,
    pub(crate) context: PathBuf,
    /// Whether the daemon is the system's, whose BuildKit is that of docker 20.10.
    is_old: bool,
    secret: PathBuf,
    begun: i64,
    /// How often the daemon has built.
    builds: Cell<u32>,
    turn: Turn,
}

/// One Dockerfile, and the image of each.
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) our_id: String,
    pub(crate) docker_id: String,
    /// Where its commands have something mounted.
    mounts: Vec<Vec<u8>>,
}

impl Both {
    pub(crate) fn start(engine: &Engine, turn: Turn) -> Self {
        let dir = testkit::scratch();
        let begun = testkit::now() - 1;
        let (theirs, ours) = (testkit::empty_root(&dir, "theirs"), testkit::empty_root(&dir, "ours"));
        let (context, secret) = (dir.path().join("context"), dir.path().join("secret"));
        std::fs::write(&secret, "topsecret\n").unwrap();
        let archive = testkit::golden("busybox-20.10.tar");
        testkit::import(&archive, &ours);
        let daemon = Dockerd::start_engine(engine, &theirs, &["-s", "overlay2"]);
        daemon.load(&archive);
        let is_old = testkit::engines::version(engine).starts_with("20.");
        Self { daemon, dir, context, is_old, secret, begun, builds: Cell::new(0), turn }
    }

    /// With Docker 28, and its buildx.
    pub(crate) fn with_buildx() -> Option<(Self, Engine)> {
        let (engines, turn) = testkit::engines::engines()?;
        let engine = testkit::engines::docker_28(&engines).clone();
        assert!(engine.buildx.exists(), "{} is missing: run `just engines`", engine.buildx.display());
        Some((Self::start(&engine, turn), engine))
    }

    pub(crate) fn root(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Builds a Dockerfile with both, which end alike. What they say is returned if they fail.
    pub(crate) fn build(&self, case: &DockerfileCase) -> Result<Made, (String, String)> {
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
        let docker = self.elsewhere(|context| {
            let all = [&all[..all.len() - 1], &[context]].concat();
            buildkit(&self.daemon, self.dir.path(), &all)
        });
        let docker_id = id();
        let layerfs = modern(&self.root("ours"), &all);
        let our_id = id();
        let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
        let (ours, theirs) = (said(&layerfs), said(&docker));
        assert_eq!(layerfs.status.code(), docker.status.code(), "{}:\n{ours}\n{theirs}", case.name);
        let (Some(our_id), Some(docker_id)) = (our_id, docker_id) else { return Err((ours, theirs)) };
        let (ours, theirs) = (self.root("ours"), self.root("theirs"));
        let (mut ours, mut theirs) = (modern_config(&ours, &our_id), modern_config(&theirs, &docker_id));
        if self.is_old {
            alike(&mut ours, &mut theirs);
        }
        assert_eq!(ours, theirs, "{}", case.name);
        let target = Regex::new(r"target=/([^\s,]+)").unwrap();
        let mounts = target.captures_iter(&case.text).map(|found| found[1].as_bytes().to_vec()).collect();
        Ok(Made { name: case.name.clone(), our_id, docker_id, mounts })
    }

    /// Builds with the context at a place that BuildKit has not seen before. Of a place that it knows it keeps the files that it was sent
    /// and is sent the differences alone; a directory of which it had a part then has the time at which the rest came instead of its own.
    fn elsewhere<T>(&self, build: impl FnOnce(&str) -> T) -> T {
        let place = self.dir.path().join(format!("context-{}", self.builds.replace(self.builds.get() + 1)));
        std::fs::rename(&self.context, &place).unwrap();
        let made = build(place.to_str().unwrap());
        std::fs::rename(&place, &self.context).unwrap();
        made
    }

    /// Builds a Dockerfile with ours alone. Returns the id.
    pub(crate) fn build_ours(&self, case: &DockerfileCase) -> String {
        let file = self.dir.path().join("id");
        write_dockerfile(&self.context, &case.text);
        let options = options(case, &self.secret);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let all = [&["--iidfile", file.to_str().unwrap()][..], &options, &[self.context.to_str().unwrap()]].concat();
        testkit::succeeded("layerfs build", modern(&self.root("ours"), &all));
        std::fs::read_to_string(file).unwrap().trim().to_owned()
    }

    /// Compares the layers, when the daemon has ended.
    pub(crate) fn end(self, made: &[Made]) -> (TempDir, Turn) {
        let (ours, theirs) = (self.root("ours"), self.root("theirs"));
        self.daemon.stop();
        for Made { name, our_id, docker_id, mounts } in made {
            let [our_layers, docker_layers] = [(&ours, our_id), (&theirs, docker_id)].map(|(root, id)| {
                let mut layers = modern_layers(root, id, self.begun);
                // BuildKit of docker 20.10 leaves mount points, and gives directories that it copies no time.
                layers.iter_mut().for_each(|layer| layer.retain(|entry| !self.is_old || !mounts.contains(&entry.path)));
                let old = layers.iter_mut().flatten().filter(|entry| self.is_old && entry.kind == 'd');
                old.for_each(|entry| entry.mtime = None);
                layers
            });
            assert_eq!(our_layers.len(), docker_layers.len(), "{name}");
            for (number, (our_layer, docker_layer)) in our_layers.iter().zip(&docker_layers).enumerate() {
                assert_eq!(our_layer, docker_layer, "{name}: layer {number}");
            }
        }
        (self.dir, self.turn)
    }
}

/// Takes from configs what BuildKit writes otherwise since docker 20.10: `"OnBuild": null` is left out; the history has the flags of `COPY`,
/// the values of `ARG`, one more time of `HEALTHCHECK`, and ports in another form.
fn alike(ours: &mut Value, theirs: &mut Value) {
    theirs["config"].as_object_mut().unwrap().retain(|key, value| key != "OnBuild" || !value.is_null());
    let flags = Regex::new(r"^(COPY|ADD)( --(chown|chmod)=\S+)+").unwrap();
    let argument = Regex::new(r"(?s)^(ARG \w+)=.*").unwrap();
    for config in [ours, theirs] {
        for step in config["history"].as_array_mut().unwrap() {
            let Some(text) = step["created_by"].as_str() else { continue };
            let text = argument.replace(&flags.replace(text, "$1"), "$1").into_owned();
            step["created_by"] = match text.split_once(' ') {
                Some(("HEALTHCHECK", _)) => text.replace(" \"0s\"", "").into(),
                Some(("EXPOSE", _)) => text.replace("map[", "[").replace(":{}", "").into(),
                _ => text.into(),
            };
        }
    }
}
