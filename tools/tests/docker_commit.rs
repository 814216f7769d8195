//! Images that are made without a daemon, of containers and of tars, are those that dockerd makes.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use testkit::dockerd::Dockerd;
use testkit::root::RootContents;
use testkit::{layerfs_on as layerfs, made_by_layerfs as made, tree};

const IMAGE: &str = "layerfs-test/busybox:1";

/// Files of every type, whiteouts, replaced directories, links, names and times.
const CHANGES: &str = r"
echo new >/new; echo more >>/etc/motd; rm /etc/group; mkdir -p /made/deep/er; echo in >/made/deep/er/file
chmod 4711 /new; touch /empty; ln -s /etc/motd /link; ln -s ../../../../etc/shadow /escape; ln /new /hard; mkfifo /pipe
mknod /char c 1 3; mknod /block b 7 9; rm -rf /var/log; mkdir /var/log; echo again >/var/log/again
rm -rf /tmp; echo 'a file now' >/tmp; rm /bin/awk; mkdir /bin/awk; echo x >/bin/awk/x
chown 7:8 /etc/motd; chmod 1777 /var; touch -d @1000000000 /old; touch -d @1 /made; mkdir /many
for i in 0 1 2 3 4 5 6 7 8 9; do echo $i >/many/$i; ln /many/$i /many/hard$i; done
touch /many/a-b /many/a.b '/many/a b' /many/a; mkdir /many/a-; touch /many/a-/x
printf x >/$(printf 'caf\351'); printf x >/'ünicode'; ln -s $(printf %0200d 4) /longlink
mkdir -p /long/$(printf %0100d 1)/$(printf %0100d 2); echo long >/long/$(printf %0100d 1)/$(printf %0100d 2)/$(printf %0120d 3)
chown 2097152:3000000 /many/0; chmod 0 /many/1; mkdir /gone; rmdir /gone; rm /bin/vi /bin/ls; cp /bin/busybox /bin/ls
head -c 3000000 /dev/zero >/large; mkdir /.wh; touch -d @2000000000 /future; ln /etc/passwd /linked; ln /linked /many/across
cp /bin/busybox /capable; mkdir /attributes
";

/// Sets attributes that the programs of the image cannot set, in a container that runs: one that docker keeps, and some that it does not.
fn set_attributes(container: &Path) {
    // Version 2, effective, `cap_net_bind_service`.
    let mut capability = [0; 20];
    (capability[0], capability[3], capability[5]) = (1, 2, 4);
    for (file, name, value) in [
        ("capable", "security.capability", &capability[..]),
        ("bin/ls", "security.capability", &capability),
        ("etc/motd", "user.note", b"a word"),
        ("attributes", "user.note", b"a word"),
        ("attributes", "trusted.note", b"another"),
    ] {
        rustix::fs::setxattr(container.join(file), name, value, rustix::fs::XattrFlags::empty()).unwrap();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Where the driver of a root keeps what it knows of images.
fn image_home(root: &Path) -> std::path::PathBuf {
    let homes = ["overlay2", "vfs"].map(|driver| root.join("image").join(driver));
    homes.into_iter().find(|home| home.exists()).unwrap()
}

/// The config of an image, without what is another one for each: times, and who made it.
fn config(root: &Path, id: &str) -> Value {
    let file = image_home(root).join("imagedb/content/sha256").join(id.trim_start_matches("sha256:"));
    let mut config: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let keys: Vec<String> = config.as_object().unwrap().keys().cloned().collect();
    assert!(keys.is_sorted(), "{keys:?}");
    config.as_object_mut().unwrap().remove("docker_version");
    config["created"] = Value::Null;
    let last = config["history"].as_array_mut().unwrap().last_mut().unwrap();
    last["created"] = Value::Null;
    config
}

fn metadata(root: &Path, id: &str, name: &str) -> Option<String> {
    let dir = image_home(root).join("imagedb/metadata/sha256").join(id.trim_start_matches("sha256:"));
    std::fs::read_to_string(dir.join(name)).ok()
}

/// The files of the topmost layer of an image, without the times that are finer than a tar has them.
fn layer(root: &Path, id: &str) -> Vec<testkit::cases::TreeEntry> {
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
        // What overlayfs marks when it mounts a layer.
        entry.xattrs.retain(|name, _| {
            !["trusted.overlay.origin", "trusted.overlay.impure", "trusted.overlay.uuid"].contains(&name.as_str())
        });
    }
    tree
}

#[test]
fn docker_commit() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let daemon = Dockerd::start(&root);
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    let waits = format!("{CHANGES}touch /done; exec sleep 1000");
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "edited",
        "--network",
        "none",
        "-e",
        "A=1",
        "-w",
        "/etc",
        IMAGE,
        "sh",
        "-c",
        &waits,
    ]);
    let process = daemon.ok(&["inspect", "-f", "{{.State.Pid}}", "edited"]);
    let inside = Path::new("/proc").join(process.trim()).join("root");
    while !inside.join("done").exists() {
        assert!(inside.exists(), "{}", daemon.ok(&["logs", "edited"]));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    set_attributes(&inside);
    daemon.ok(&["kill", "edited"]);
    daemon.ok(&["create", "--name", "fresh", "-l", "a=b", IMAGE, "sh"]);
    let with: &[&str] = &[
        "-a",
        "somebody <a@b>",
        "-m",
        "a word",
        "-c",
        "ENV A=2 B=\"two words\"",
        "-c",
        "env C d e",
        "-c",
        "ENV D=$A:${NONE:-none} E='$A' A=3\nLABEL l$A=\"$PATH\" m=\\$A",
        "-c",
        "CMD [\"echo\",\"hi\"]",
        "-c",
        "EXPOSE 80 90-91/udp",
        "-c",
        "LABEL x=y",
        "-c",
        "USER 7:8",
        "-c",
        "VOLUME /data $D",
        "-c",
        "WORKDIR sub",
        "-c",
        "ONBUILD RUN true",
        "-c",
        "HEALTHCHECK --interval=1m30s --retries=3 CMD test -e /x",
    ];
    let cases: [(&str, &[&str], &str); 4] = [
        ("edited", &[], "plain:1"),
        ("edited", with, "with:1"),
        ("fresh", &[], "empty:1"),
        ("fresh", &["-c", "ENTRYPOINT [\"/bin/echo\"]", "-c", "HEALTHCHECK NONE"], "entry:1"),
    ];
    let commit = |container: &'static str, how: &[&'static str], name: &str| {
        [&["commit"], how, &[container, name]].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut dockers = Vec::new();
    for (container, how, name) in &cases {
        let arguments = commit(container, how, &format!("dockers/{name}"));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        dockers.push(daemon.ok(&arguments).trim().to_owned());
    }
    daemon.stop();
    let mut ours = Vec::new();
    for ((container, how, name), dockers) in cases.iter().zip(&dockers) {
        let arguments = commit(container, how, &format!("ours/{name}"));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let id = made(&root, &arguments);
        let (mut have, mut want) = (config(&root, &id), config(&root, dockers));
        // The tar has other headers than that of docker 20.10, and so another digest.
        let layers = |config: &Value| config["rootfs"]["diff_ids"].as_array().unwrap().len();
        assert_eq!(layers(&have), layers(&want), "{name}");
        (have["rootfs"], want["rootfs"]) = (Value::Null, Value::Null);
        assert_eq!(have, want, "{name}\n{have:#}\n{want:#}");
        assert_eq!(metadata(&root, &id, "parent"), metadata(&root, dockers, "parent"), "{name}");
        assert!(metadata(&root, &id, "lastUpdated").is_some());
        if container == &"edited" {
            let (have, want) = (layer(&root, &id), layer(&root, dockers));
            assert!(have.len() > 60, "{}", have.len());
            assert!(have.iter().any(|entry| entry.xattrs.contains_key("security.capability")));
            testkit::assert_none(name, &testkit::tree_changes(&want, &have));
        }
        ours.push(id);
    }
    // The same container, the same layer.
    let again = made(&root, &["commit", "edited"]);
    assert_eq!(config(&root, &again)["rootfs"], config(&root, &ours[0])["rootfs"]);
    for (arguments, said) in [
        (&["commit", "nosuch"][..], "No such container: nosuch"),
        (&["commit", "edited", "Upper"], "invalid reference format: repository name must be lowercase"),
        (&["commit", "-c", "RUN x", "edited"], "run is not a valid change command"),
        (&["commit", "-c", "", "edited"], "file with no instructions"),
        (&["commit", "-c", "ENV A=${B", "edited"], "failed to process \"${B\": missing ':' in substitution"),
        (&["commit", "-c", "USER", "edited"], "USER requires exactly one argument"),
    ] {
        let output = layerfs(&root, arguments);
        let says = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && says.contains(said), "{arguments:?}: {says}");
    }
    let daemon = Dockerd::start(&root);
    let run =
        |image: &str, command: &[&str]| daemon.ok(&[&["run", "--rm", "--network", "none", image], command].concat());
    assert_eq!(run("ours/plain:1", &["cat", "/new", "/var/log/again", "/tmp"]), "new\nagain\na file now\n");
    assert_eq!(run("ours/with:1", &[]), "hi\n");
    assert_eq!(run("ours/entry:1", &["x"]), "x\n");
    daemon.remove_everything();
}

/// With vfs the container's directory holds the image as well: what is different becomes the layer.
#[test]
fn docker_commit_vfs() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let daemon = Dockerd::start_with(&root, &["--storage-driver=vfs"]);
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    daemon.ok(&["run", "--name", "edited", "--network", "none", IMAGE, "sh", "-c", CHANGES]);
    daemon.ok(&["create", "--name", "fresh", IMAGE, "sh"]);
    let dockers = ["edited", "fresh"].map(|name| daemon.ok(&["commit", name]).trim().to_owned());
    daemon.stop();
    let ours = ["edited", "fresh"].map(|name| made(&root, &["commit", name, &format!("ours/{name}:1")]));
    for (ours, dockers) in ours.iter().zip(&dockers) {
        let (mut have, mut want) = (config(&root, ours), config(&root, dockers));
        let layers = |config: &Value| config["rootfs"]["diff_ids"].as_array().unwrap().len();
        assert_eq!(layers(&have), layers(&want));
        (have["rootfs"], want["rootfs"]) = (Value::Null, Value::Null);
        assert_eq!(have, want, "{have:#}\n{want:#}");
    }
    let top = |id: &str| {
        let top = config(&root, id)["rootfs"]["diff_ids"].as_array().unwrap().last().unwrap().clone();
        let records =
            std::fs::read_dir(root.join("image/vfs/layerdb/sha256")).unwrap().map(|entry| entry.unwrap().path());
        let read = |record: &Path, name: &str| std::fs::read_to_string(record.join(name)).unwrap();
        let record = records.into_iter().find(|record| read(record, "diff") == top.as_str().unwrap()).unwrap();
        let mut tree = tree::walk(&root.join("vfs/dir").join(read(&record, "cache-id")));
        for entry in &mut tree {
            // The copy of the layer below has new times of directories in docker, and no attributes and no links of symlinks.
            (entry.mtime, entry.links) = match entry.kind {
                'd' => (None, entry.links),
                'l' => (entry.mtime, 1),
                _ => (entry.mtime, entry.links),
            };
            entry.xattrs.clear();
        }
        tree
    };
    let (have, want) = (top(&ours[0]), top(&dockers[0]));
    assert!(have.len() > 60, "{}", have.len());
    testkit::assert_none("the committed layer", &testkit::tree_changes(&want, &have));
    let daemon = Dockerd::start_with(&root, &["--storage-driver=vfs"]);
    let shown =
        daemon.ok(&["run", "--rm", "--network", "none", "ours/edited:1", "cat", "/new", "/var/log/again", "/tmp"]);
    assert_eq!(shown, "new\nagain\na file now\n");
    daemon.remove_everything();
}

#[test]
fn docker_import() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let daemon = Dockerd::start(&root);
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    daemon.ok(&["create", "--name", "box", IMAGE]);
    let at = |name: &str| dir.path().join(name);
    daemon.ok(&["export", "-o", text(&at("plain.tar")), "box"]);
    daemon.ok(&["rm", "box"]);
    for program in ["gzip", "bzip2", "xz"] {
        let (from, to) = (std::fs::File::open(at("plain.tar")).unwrap(), std::fs::File::create(at(program)).unwrap());
        assert!(Command::new(program).arg("-c").stdin(from).stdout(to).status().unwrap().success());
    }
    std::fs::write(at("nothing"), "").unwrap();
    std::fs::write(at("junk"), "junk".repeat(200)).unwrap();
    let cases: [(&str, &[&str]); 6] = [
        ("plain.tar", &[]),
        ("gzip", &["-m", "a word"]),
        ("bzip2", &["-c", "CMD echo $HOME", "-c", "ENTRYPOINT [\"sh\"]"]),
        ("xz", &["-c", "ENV A=b\nLABEL c=$A d=$PATH", "-c", "EXPOSE 7"]),
        ("nothing", &[]),
        ("plain.tar", &["-c", "VOLUME [\"/a\", \"/b\"]"]),
    ];
    let mut dockers = Vec::new();
    for (number, (file, how)) in cases.iter().enumerate() {
        let (file, name) = (at(file), format!("dockers:{number}"));
        dockers.push(daemon.ok(&[&["import"], *how, &[text(&file), &name]].concat()).trim().to_owned());
    }
    assert!(!daemon.docker(&["import", text(&at("junk"))]).status.success());
    daemon.stop();
    for (number, ((file, how), dockers)) in cases.iter().zip(&dockers).enumerate() {
        let (file, name) = (at(file), format!("ours:{number}"));
        let id = made(&root, &[&["import"], *how, &[text(&file), &name]].concat());
        // The layers as well: they are the bytes of the file.
        let (have, want) = (config(&root, &id), config(&root, dockers));
        assert_eq!(have, want, "{file:?} {how:?}\n{have:#}\n{want:#}");
        let piped = Command::new(testkit::program("layerfs"))
            .args(["--root", text(&root), "image", "import"])
            .args(*how)
            .arg("-")
            .stdin(std::fs::File::open(&file).unwrap())
            .stderr(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(config(&root, testkit::succeeded("import", piped).trim()), want, "{file:?} through a pipe");
    }
    let before = testkit::listing(&root);
    for (arguments, code, said) in [
        (&["import", text(&at("junk"))][..], 1, "the new layer"),
        (&["import", "http://example.com/x.tar"], 2, "no URL is imported"),
        (&["import", "--platform", "windows/amd64", text(&at("plain.tar"))], 1, "operating system is not supported"),
        (&["import", text(&at("plain.tar")), "Upper"], 1, "repository name must be lowercase"),
        (&["import", text(&at("none"))], 1, "No such file"),
    ] {
        let output = layerfs(&root, arguments);
        let says = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && says.contains(said), "{arguments:?}: {says}");
    }
    testkit::assert_none("after what failed", &testkit::changes(&before, &testkit::listing(&root)));
    let daemon = Dockerd::start(&root);
    assert_eq!(daemon.ok(&["run", "--rm", "--network", "none", "ours:0", "/bin/busybox", "echo", "hi"]), "hi\n");
    daemon.remove_everything();
}

/// What `layer-run --keep` has kept becomes the layer that a commit of a container with the same changes has, and dockerd runs it.
#[test]
fn docker_runs_what_layer_run_has_kept() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    made(&root, &["load", "-q", "-i", text(&testkit::golden("busybox-20.10.tar"))]);
    let script = "echo new >/new; ln /new /hard; chmod 4711 /new; rm /etc/group /bin/vi; rm -rf /var/log; mkdir /var/log
        echo again >/var/log/again; chown 7:8 /etc/motd; ln -s /etc/motd /link; mkdir -p /made/deep; echo x >/made/deep/x";
    let layer_run = |arguments: &[&str]| {
        let mut command = Command::new(testkit::program("layer-run"));
        testkit::succeeded("layer-run", command.args(arguments).stdin(Stdio::null()).output().unwrap())
    };
    let at = |name: &str| dir.path().join(name);
    layer_run(&["--root", text(&root), "--keep", text(&at("kept")), IMAGE, "--", "sh", "-c", script]);
    let kept =
        made(&root, &["image", "commit", "-m", "a word", "-c", "ENV A=$PATH:/x", text(&at("kept")), "ours/kept:1"]);
    made(&root, &["run", "--name", "one", IMAGE, "sh", "-c", script]);
    let committed = made(&root, &["commit", "one"]);
    let plain = |id: &str| {
        let mut tree = layer(&root, id);
        tree.iter_mut().for_each(|entry| entry.mtime = None);
        tree
    };
    testkit::assert_none("the kept layer", &testkit::tree_changes(&plain(&committed), &plain(&kept)));
    // The same from an archive, whose image the store has meanwhile.
    let archive = testkit::golden("busybox-20.10.tar");
    layer_run(&["--keep", text(&at("more")), text(&archive), "--", "sh", "-c", "echo more >/more"]);
    made(&root, &["image", "commit", text(&at("more")), "ours/more:1"]);
    std::fs::create_dir_all(at("plain/diff")).unwrap();
    for (arguments, said) in [
        (&["image", "commit", text(&at("plain"))][..], "is no directory of layer-run --keep"),
        (&["image", "commit", "--image", "nosuch", text(&at("kept"))], "No such image: nosuch:latest"),
        (&["image", "commit", text(&at("kept")), "Upper"], "repository name must be lowercase"),
    ] {
        let output = layerfs(&root, arguments);
        let says = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && says.contains(said), "{arguments:?}: {says}");
    }
    let other = testkit::empty_root(&dir, "other");
    let output = layerfs(&other, &["image", "commit", text(&at("kept"))]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("load it first"), "{output:?}");
    let daemon = Dockerd::start(&root);
    assert_eq!(daemon.errors(), Vec::<String>::new());
    let run = |image: &str, script: &str| daemon.ok(&["run", "--rm", "--network", "none", image, "sh", "-c", script]);
    let shown = "cat /new /hard /var/log/again /link; ls -A /var/log /etc/group 2>&1; stat -c '%a %h' /new; echo $A";
    let expected = run(IMAGE, &format!("{script}; A=$PATH:/x; {shown}"));
    assert_eq!(run("ours/kept:1", shown), expected);
    assert_eq!(run("ours/more:1", "cat /more"), "more\n");
    let history = daemon.ok(&["history", "--no-trunc", "--format", "{{.CreatedBy}} {{.Comment}}", "ours/kept:1"]);
    assert!(
        history.starts_with("sh -c echo new") && history.lines().any(|line| line.ends_with(" a word")),
        "{history}"
    );
    daemon.remove_everything();
}
