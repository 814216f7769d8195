//! Images flattened without a daemon are those that `docker build --squash` makes, and show the same files as before.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use testkit::cases::TreeEntry;
use testkit::dockerd::Dockerd;
use testkit::root::RootContents;
use testkit::{layerfs_on as layerfs, made_by_layerfs as made, tree};

const IMAGE: &str = "layerfs-test/busybox:1";

/// Several layers that add, change, replace and take away what the base and each other have.
const DOCKERFILE: &str = r#"
FROM layerfs-test/busybox:1
ENV A=1
RUN echo one >/one; mkdir -p /dir/below; echo x >/dir/below/x; ln /one /linked; rm /etc/group; echo more >>/etc/passwd
COPY Dockerfile /copied/
RUN rm -rf /var/log /dir; mkdir /dir /var/log; echo again >/dir/again; ln -s ../one /dir/link; rm /linked; mknod /null c 1 3; mkfifo /pipe
LABEL "a"="b"
RUN rm -rf /tmp; echo file >/tmp; rm /bin/awk; mkdir /bin/awk; chmod 4711 /one; chown 7:8 /etc/passwd; touch -d @1000000000 /old
RUN rm /copied/Dockerfile; touch -d @1 /copied; echo x >"/$(printf 'caf\351')"; mkdir /.wh
CMD ["cat", "/dir/again"]
"#;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn config(root: &Path, id: &str) -> Value {
    let file = root.join("image/overlay2/imagedb/content/sha256").join(id.trim_start_matches("sha256:"));
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// A config without what is another one for each: the times at which it was made, and the digest of the new layer.
fn comparable(root: &Path, id: &str) -> Value {
    let mut config = config(root, id);
    config["created"] = Value::Null;
    config["history"].as_array_mut().unwrap().last_mut().unwrap()["created"] = Value::Null;
    *config["rootfs"]["diff_ids"].as_array_mut().unwrap().last_mut().unwrap() = Value::Null;
    config
}

/// The files of the topmost layer of an image.
fn layer(root: &Path, id: &str) -> BTreeMap<Vec<u8>, TreeEntry> {
    let config = config(root, id);
    let top = config["rootfs"]["diff_ids"].as_array().unwrap().last().unwrap().as_str().unwrap().to_owned();
    let layers = RootContents::read(root).layers;
    let layer = layers.values().find(|layer| layer.diff_id == top).unwrap();
    let mut tree = tree::walk(&root.join("overlay2").join(&layer.cache_id).join("diff"));
    tree.retain(|entry| entry.path != b".");
    for entry in &mut tree {
        // A whiteout is made when the layer is unpacked.
        if entry.device == Some((0, 0)) {
            entry.mtime = None;
        }
        entry.xattrs.retain(|name, _| !name.starts_with("trusted.overlay."));
    }
    tree.into_iter().map(|entry| (entry.path.clone(), entry)).collect()
}

/// All that a container of an image sees.
fn rootfs(root: &Path, image: &str, to: &Path) -> Vec<TreeEntry> {
    let archive = to.with_extension("tar");
    made(root, &["image", "save", "-o", text(&archive), image]);
    let output =
        Command::new(testkit::program("layer-unpack")).arg(&archive).args(["--no-sync", "--rootfs"]).arg(to).output();
    testkit::succeeded("layer-unpack", output.unwrap());
    // Layers say nothing about the root.
    tree::walk(to).into_iter().filter(|entry| entry.path != b".").collect()
}

#[test]
fn docker_flatten() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let context = dir.path().join("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("Dockerfile"), DOCKERFILE).unwrap();
    // dockerd squashes only with this flag.
    let daemon = Dockerd::start_with(&root, &["--storage-driver=overlay2", "--experimental"]);
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    daemon.ok(&["build", "--squash", "--network=none", "-t", "squashed:1", text(&context)]);
    let squashed = daemon.ok(&["inspect", "--format", "{{.Id}}", "squashed:1"]).trim().to_owned();
    // The image as it was before is still there: it is found by what the history says.
    let history = config(&root, &squashed)["history"].as_array().unwrap().last().unwrap()["comment"].clone();
    let whole = history.as_str().unwrap().split(' ').nth(1).unwrap().to_owned();
    daemon.ok(&["tag", &whole, "whole:1"]);
    let committed = daemon.ok(&["inspect", "--format", "{{len .RootFS.Layers}}", "whole:1"]);
    daemon.stop();
    assert!(committed.trim().parse::<u32>().unwrap() > 4, "{committed}");

    let ours = made(&root, &["image", "flatten", "whole:1", "--from", IMAGE, "-t", "ours:1"]);
    let (have, want) = (comparable(&root, &ours), comparable(&root, &squashed));
    assert_eq!(have, want, "{have:#}\n{want:#}");
    let metadata = root.join("image/overlay2/imagedb/metadata/sha256").join(ours.trim_start_matches("sha256:"));
    assert!(!metadata.join("parent").exists() && metadata.join("lastUpdated").exists());
    let (have, want) = (layer(&root, &ours), layer(&root, &squashed));
    let report: Vec<String> =
        testkit::tree_changes(&want.values().cloned().collect::<Vec<_>>(), &have.values().cloned().collect::<Vec<_>>());
    testkit::assert_none("the layer is docker's", &report);
    assert!(have.len() > 15, "{}", have.len());

    // Onto nothing, onto a layer by its diff id or chain id, and the same layer each time.
    let everything = made(&root, &["image", "flatten", "whole:1", "-t", "everything:1"]);
    assert_eq!(config(&root, &everything)["rootfs"]["diff_ids"].as_array().unwrap().len(), 1);
    let last = config(&root, &everything)["history"].as_array().unwrap().last().unwrap()["comment"].clone();
    assert_eq!(last, format!("create new from {whole}"));
    let layer_of_whole = |at: usize| config(&root, &whole)["rootfs"]["diff_ids"][at].as_str().unwrap().to_owned();
    let kept = config(&root, &squashed)["rootfs"]["diff_ids"].as_array().unwrap().len() - 1;
    let by_layer = made(&root, &["image", "flatten", "whole:1", "--from", &layer_of_whole(kept - 1)]);
    assert_eq!(config(&root, &by_layer)["rootfs"], config(&root, &ours)["rootfs"]);
    let upper =
        made(
            &root,
            &[
                &[
                    "image",
                    "flatten",
                    "--tag",
                    "upper",
                    "-t",
                    "other.example/second:2",
                    "-t",
                    "upper:latest",
                    "whole:1",
                ][..],
                &["--from", &layer_of_whole(kept)[7..20]],
            ]
            .concat(),
        );
    assert_eq!(config(&root, &upper)["rootfs"]["diff_ids"].as_array().unwrap().len(), kept + 2);

    let expected = rootfs(&root, "whole:1", &dir.path().join("whole"));
    for image in ["ours:1", "everything:1", "upper"] {
        let found = rootfs(&root, image, &dir.path().join(image));
        testkit::assert_none(image, &testkit::tree_changes(&expected, &found));
    }
    let before = testkit::listing(&root);
    for (arguments, said) in [
        (&["nosuch"][..], "No such image: nosuch:latest"),
        (&["whole:1", "--from", "nosuch"], "nosuch: neither an image nor a layer of sha256:"),
        (&["whole:1", "--from", "whole:1"], "there is no layer of sha256:"),
        (&["whole:1", "--from", "everything:1"], "are not the lowest layers of sha256:"),
        (&["whole:1", "-t", "Upper"], "repository name must be lowercase"),
        (&["whole:1", "-t", "good", "-t", "Upper"], "repository name must be lowercase"),
    ] {
        let output = layerfs(&root, &[&["image", "flatten"], arguments].concat());
        let says = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && says.contains(said), "{arguments:?}: {says}");
    }
    testkit::assert_none("after what failed", &testkit::changes(&before, &testkit::listing(&root)));
    let daemon = Dockerd::start(&root);
    for image in ["ours:1", "everything:1", "upper"] {
        assert_eq!(daemon.ok(&["run", "--rm", "--network", "none", image]), "again\n", "{image}");
    }
    // All names are those of one image.
    let names = daemon.ok(&["inspect", "--format", "{{range .RepoTags}}{{println .}}{{end}}", &upper]);
    let mut names: Vec<&str> = names.split_whitespace().collect();
    names.sort_unstable();
    assert_eq!(names, ["other.example/second:2", "upper:latest"]);
    daemon.remove_everything();
}
