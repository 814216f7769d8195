//! Images of BuildKit and of ours, in a form in which they can be compared.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use testkit::cases::TreeEntry;
use testkit::dockerd::Dockerd;

use super::DockerfileCase;

/// The cases of `testdata/dockerfiles/modern.txt`.
pub(crate) fn modern_cases() -> Vec<DockerfileCase> {
    super::cases_of("dockerfiles/modern.txt")
}

/// `docker build` with the BuildKit of a daemon. The client is Debian's of 20.10: newer ones need buildx.
pub(crate) fn buildkit(daemon: &Dockerd, home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("/usr/bin/docker");
    command.arg("--host").arg(format!("unix://{}", daemon.socket().display()));
    command.args(["build", "--progress", "plain", "--network", "none"]).args(arguments);
    command.env("DOCKER_BUILDKIT", "1").env("DOCKER_CONFIG", home).env_remove("DOCKER_CONTEXT");
    command.stdin(Stdio::null()).output().unwrap()
}

/// `layerfs build`.
pub(crate) fn modern(root: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(testkit::program("layerfs"));
    command.arg("--root").arg(root).args(["build", "--no-sync"]).args(arguments).env_remove("DOCKER_BUILDKIT");
    command.stdin(Stdio::null()).output().unwrap()
}

/// The config of an image, without times and diff ids.
pub(crate) fn modern_config(root: &Path, id: &str) -> Value {
    let file = root.join("image/overlay2/imagedb/content/sha256").join(id.trim_start_matches("sha256:"));
    let mut config: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let keys: Vec<String> = config.as_object().unwrap().keys().cloned().collect();
    assert!(keys.is_sorted(), "{keys:?}");
    let steps = config["history"].as_array().cloned().unwrap_or_default();
    assert_eq!(config["created"], steps.last().map(|step| step["created"].clone()).unwrap_or_default());
    config["created"] = Value::Null;
    config["rootfs"] = Value::Null;
    let own = |step: &&mut Value| step["comment"] == "buildkit.dockerfile.v0";
    for step in config["history"].as_array_mut().unwrap().iter_mut().filter(own) {
        step.as_object_mut().unwrap().remove("created");
    }
    config
}

/// The files of each layer, without what depends on how a container is made: BuildKit makes empty files in `/etc` for a moment.
pub(crate) fn modern_layers(root: &Path, id: &str, begun: i64) -> Vec<Vec<TreeEntry>> {
    let mut layers = super::layers(root, id, begun);
    for layer in &mut layers {
        layer.retain(|entry| entry.path != b"etc" || entry.mtime.is_some());
        for entry in layer.iter_mut() {
            // BuildKit unpacks a tar of `ADD` without a look at whiteouts: a file `.wh.x` stays until the layer is packed.
            let at = entry.path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
            if entry.path[at..].starts_with(b".wh.") {
                entry.path.drain(at..at + b".wh.".len());
                (entry.kind, entry.mode, entry.mtime, entry.data) = ('c', 0, None, None);
                entry.device = Some((0, 0));
            }
            // overlayfs has one file for all its whiteouts.
            if entry.device == Some((0, 0)) {
                entry.links = 1;
            }
        }
        layer.sort_by(|one, other| one.path.cmp(&other.path));
    }
    layers
}

/// The options of a case, with the place of the secret.
pub(crate) fn options(case: &DockerfileCase, secret: &Path) -> Vec<String> {
    let secret = secret.to_str().unwrap();
    case.options.iter().map(|option| option.replace("SECRET", secret)).collect()
}
