//! Builds in BuildKit's way: what the cache finds and what it does not, and what no layer may have.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use testkit::run::{Input, run};

fn place(dir: &TempDir) -> (PathBuf, PathBuf) {
    let (root, context) = (testkit::empty_root(dir, "root"), dir.path().join("context"));
    testkit::import(&testkit::golden("busybox-20.10.tar"), &root);
    std::fs::create_dir_all(context.join("files")).unwrap();
    for name in ["one", "two", "files/three"] {
        std::fs::write(context.join(name), name).unwrap();
    }
    (root, context)
}

/// Builds a Dockerfile. Returns the id, and what was said.
fn build(root: &Path, context: &Path, dockerfile: &str, options: &[&str]) -> (String, String) {
    std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    let id = context.with_extension("id");
    let mut command = Command::new(testkit::program("layerfs"));
    command.arg("--root").arg(root).args(["build", "--no-sync", "--iidfile"]).arg(&id).args(options).arg(context);
    command.env_remove("DOCKER_BUILDKIT").env_remove("SOURCE_DATE_EPOCH").stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(output.stdout.is_empty());
    (std::fs::read_to_string(id).unwrap(), said)
}

/// What makes no sense is refused before anything is done.
#[test]
fn what_a_build_cannot_do_is_said() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    std::fs::write(context.join("Dockerfile"), "FROM layerfs-test/busybox:1\nRUN --network=some true\n").unwrap();
    for (options, status, words) in [
        (&["--call", "outline"][..], 125, "--call outline is not known here; build and check are"),
        (&["--classic", "--check"], 125, "--check is not known to the classic builder"),
        (&[], 1, "dockerfile parse error line 2: invalid network mode \"some\""),
        (&["--check"], 1, "dockerfile parse error line 2: invalid network mode \"some\""),
    ] {
        let mut command = Command::new(testkit::program("layerfs"));
        command.arg("--root").arg(&root).arg("build").args(options).arg(&context).env_remove("DOCKER_BUILDKIT");
        let ran = run(command, Input::Nothing);
        assert!(ran.code == Some(status) && ran.stderr.contains(words), "{options:?}: {:?} {}", ran.code, ran.stderr);
    }
    assert_eq!(testkit::made_by_layerfs(&root, &["image", "ls", "-aq"]).lines().count(), 1);
}

fn assert_whole(root: &Path) {
    testkit::succeeded("layerfs system check", testkit::layerfs_on(root, &["system", "check", "--deep"]));
    assert_eq!(testkit::made_by_layerfs(root, &["container", "ls", "-aq"]), "");
}

const STAGES: &str = "FROM layerfs-test/busybox:1 AS made
WORKDIR /w
COPY one /one
ARG A=1
RUN cat /one >/w/out
FROM scratch
COPY --from=made /w/out /out
COPY files /files/
ENV E=1
";

/// The steps of [`STAGES`] with layers.
const LAYERS: usize = 5;

#[test]
fn a_step_is_done_again_if_and_only_if_something_has_changed() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    // The base image is there as well.
    let found = |said: &str| said.matches(" CACHED\n").count() - 1;
    let (first, said) = build(&root, &context, STAGES, &["-t", "built:1"]);
    assert_eq!(found(&said), 0, "{said}");
    let (again, said) = build(&root, &context, STAGES, &["-t", "built:1"]);
    assert_eq!((found(&said), &again), (LAYERS, &first), "{said}");
    // What changes no file changes no layer.
    testkit::succeeded("touch", Command::new("touch").arg(context.join("one")).output().unwrap());
    std::fs::write(context.join("two"), "other").unwrap();
    let (again, said) = build(&root, &context, STAGES, &[]);
    assert_eq!((found(&said), &again), (LAYERS, &first), "{said}");
    // Each change, and how many steps it leaves.
    let changed = |from: &str, to: &str| STAGES.replace(from, to);
    for (dockerfile, options, left) in [
        (changed("E=1", "E=2"), &[][..], 5),
        (changed("COPY files", "COPY --chmod=600 files"), &[], 4),
        (STAGES.to_owned(), &["--build-arg", "A=2"], 2),
        (changed("/w\n", "/w\nWORKDIR /v\n"), &[], 1),
        (changed("cat /one", "cat  /one"), &[], 2),
        (STAGES.to_owned(), &["--no-cache"], 0),
    ] {
        let (_, said) = build(&root, &context, &dockerfile, options);
        let count = found(&said);
        // The second stage copies the same bytes, and finds them; but not where the directory is another one.
        assert!(count == left || count == left + 2, "{dockerfile} {options:?}: {count} of {left}\n{said}");
    }
    std::fs::write(context.join("files/three"), "four").unwrap();
    let (changed, said) = build(&root, &context, STAGES, &[]);
    assert_eq!(found(&said), LAYERS - 1, "{said}");
    assert_ne!(changed, first);
    std::fs::rename(context.join("files/three"), context.join("files/five")).unwrap();
    let (_, said) = build(&root, &context, STAGES, &[]);
    assert_eq!(found(&said), LAYERS - 1, "{said}");
    assert_whole(&root);
    // The records are images without names that others stand on: not listed, and gone with the image.
    let listed = testkit::made_by_layerfs(&root, &["image", "ls", "--format", "{{.ID}}", "--no-trunc"]);
    assert!(listed.contains(&first), "{listed}");
    testkit::made_by_layerfs(&root, &["image", "rm", "built:1"]);
    testkit::made_by_layerfs(&root, &["image", "prune", "-f"]);
    let all = testkit::made_by_layerfs(&root, &["image", "ls", "-a", "--format", "{{.Repository}}"]);
    assert_eq!(all.lines().collect::<Vec<_>>(), ["layerfs-test/busybox"]);
    assert_whole(&root);
}

/// What the store knows of the files of contexts: one file a context.
fn known_contexts(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root.join("volumes/layerfs-build-key/_data")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("context-")).collect()
}

#[test]
fn files_that_are_not_read_again_are_found_changed_all_the_same() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    let found = |dockerfile: &str| {
        let (id, said) = build(&root, &context, dockerfile, &["-t", "built:1"]);
        (id, said.matches(" CACHED\n").count() - 1)
    };
    let (first, _) = found(STAGES);
    // Nothing is remembered of files that are this new.
    while known_contexts(&root).is_empty() {
        assert_eq!(found(STAGES), (first.clone(), LAYERS));
    }
    assert_eq!(found(STAGES), (first.clone(), LAYERS));
    let [known] = &known_contexts(&root)[..] else { panic!("one context has one file") };
    let before = std::fs::read(known).unwrap();
    let one = context.join("one");
    let time = one.metadata().unwrap().modified().unwrap();
    std::fs::write(&one, "eno").unwrap();
    std::fs::OpenOptions::new().append(true).open(&one).unwrap().set_modified(time).unwrap();
    let (changed, layers) = found(STAGES);
    assert!(changed != first && layers < LAYERS, "{layers} layers were taken for a file that has changed");
    std::fs::write(&one, "one").unwrap();
    assert_eq!(found(STAGES).1, LAYERS);
    // What is known of the file of before, and what is no longer what was written.
    let damaged: Vec<u8> = before.iter().map(|byte| byte ^ 1).collect();
    for bytes in [before.as_slice(), &damaged, b""] {
        std::fs::write(known, bytes).unwrap();
        assert_eq!(found(STAGES).1, LAYERS);
    }
    std::fs::write(known, &before).unwrap();
    testkit::made_by_layerfs(&root, &["builder", "prune", "-f", "--filter", "until=1h"]);
    assert_eq!(known_contexts(&root).len(), 1);
    testkit::made_by_layerfs(&root, &["builder", "prune", "-f"]);
    assert_eq!(known_contexts(&root).len(), 0);
    // Without the layers of the first stage, on which no image stands.
    found(STAGES);
    assert_whole(&root);
}

/// An image that somebody else has made may say what it likes: only records that were made in this store count.
#[test]
fn a_record_from_elsewhere_is_not_believed() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    let (_, _) = build(&root, &context, STAGES, &["-t", "built:1"]);
    let archive = dir.path().join("all.tar");
    let ids = testkit::made_by_layerfs(&root, &["image", "ls", "-a", "-q", "--no-trunc"]);
    let ids: Vec<&str> = ids.lines().collect();
    assert!(ids.len() > LAYERS);
    let all = [&["save", "-o", archive.to_str().unwrap()], &ids[..]].concat();
    testkit::made_by_layerfs(&root, &all);
    let other = testkit::empty_root(&dir, "other");
    testkit::import(&testkit::golden("busybox-20.10.tar"), &other);
    testkit::made_by_layerfs(&other, &["load", "-i", archive.to_str().unwrap()]);
    let (_, said) = build(&other, &context, STAGES, &[]);
    assert_eq!(said.matches(" CACHED\n").count(), 1, "{said}");
    let (_, said) = build(&other, &context, STAGES, &[]);
    assert_eq!(said.matches(" CACHED\n").count(), 1 + LAYERS, "{said}");
}

#[test]
fn the_same_input_gives_the_same_image() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    let options = ["--reproducible", "--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=1700000001"];
    let (first, _) = build(&root, &context, STAGES, &options);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    testkit::succeeded("touch", Command::new("touch").arg(context.join("one")).output().unwrap());
    let (second, _) = build(&root, &context, STAGES, &options);
    assert_eq!(first, second);
    let created = testkit::made_by_layerfs(&root, &["image", "inspect", "--format", "{{.Created}}", &first]);
    assert_eq!(created.trim(), "2023-11-14T22:13:21Z");
    // Otherwise times differ.
    let (other, _) = build(&root, &context, STAGES, &["--no-cache"]);
    assert_ne!(other, first);
}

#[test]
fn a_secret_is_in_no_layer_and_nothing_is_left_after_a_failure() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "word-that-nobody-else-has").unwrap();
    let given = format!("id=s,src={}", secret.display());
    let dockerfile = "FROM layerfs-test/busybox:1
RUN --mount=type=secret,id=s grep -c nobody /run/secrets/s
RUN --mount=type=secret,id=s,env=S test -n \"$S\"
RUN --mount=target=/c,rw touch /c/new
";
    build(&root, &context, dockerfile, &["--secret", &given]);
    let grep = Command::new("grep").args(["-r", "-l", "nobody-else"]).arg(&root).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&grep.stdout), "");
    assert!(!context.join("new").exists());
    std::fs::write(context.join("Dockerfile"), "FROM layerfs-test/busybox:1\nRUN echo said; exit 7\n").unwrap();
    let mut command = Command::new(testkit::program("layerfs"));
    command.arg("--root").arg(&root).args(["build", "--no-sync"]).arg(&context).stdin(Stdio::null());
    let output = command.env_remove("DOCKER_BUILDKIT").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(" said\n") && said.contains("did not complete successfully: exit code: 7"), "{said}");
    assert_whole(&root);
}

/// The commands of a build are all in the control groups that the first one was given, and none can use a device of the host's,
/// whatever nodes it makes.
#[test]
fn no_command_of_a_build_can_use_the_hosts_devices() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    let ask = "sed -n 's/^.*:devices:/group: /p' /proc/self/cgroup; mknod n c 1 5; mknod k c 1 11; \\
        for node in n k; do head -c 1 $node >/dev/null 2>&1 && echo $node: open || echo $node: shut; done; rm n k";
    let dockerfile =
        format!("FROM layerfs-test/busybox:1\nRUN {ask}\nRUN :; {ask}\nFROM scratch\nCOPY --from=0 /bin/true /\n");
    let (_, said) = build(&root, &context, &dockerfile, &["--no-cache"]);
    let heard = |word: &str| -> Vec<&str> { said.lines().filter_map(|line| Some(line.split_once(word)?.1)).collect() };
    // A program of the host's, in its groups, may read the kernel's messages.
    assert_eq!(heard(" k: "), ["shut", "shut"], "{said}");
    if testkit::has_device_groups() {
        assert_eq!(heard(" n: "), ["open", "open"], "{said}");
        let groups = heard(" group: ");
        assert_eq!((groups.len(), groups[0]), (2, groups[1]), "{said}");
    }
}

#[test]
fn flags_that_buildkit_has_since_take_effect() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    let dockerfile = "FROM layerfs-test/busybox:1
COPY --exclude=two --exclude=Dockerfile . /most/
COPY --parents files/three one /all/
COPY --parents ./files/./three /pivot/
";
    let (id, _) = build(&root, &context, dockerfile, &[]);
    let container = testkit::made_by_layerfs(&root, &["container", "create", &id, "true"]);
    let tar = testkit::printed_by_layerfs(&root, &["container", "export", container.trim()]);
    let mut list = Command::new("tar").arg("-t").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut list.stdin.take().unwrap(), &tar).unwrap();
    let names = testkit::succeeded("tar", list.wait_with_output().unwrap());
    let names: Vec<&str> =
        names.lines().filter(|name| ["most", "all", "pivot"].iter().any(|dir| name.starts_with(dir))).collect();
    let expected = [
        "all/",
        "all/files/",
        "all/files/three",
        "all/one",
        "most/",
        "most/files/",
        "most/files/three",
        "most/one",
        "pivot/",
        "pivot/three",
    ];
    assert_eq!(names, expected);
}

#[test]
fn the_image_goes_where_it_is_asked_to_go() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    let at = |name: &str| dir.path().join(name).display().to_string();
    let to = |kind: &str, name: &str| format!("type={kind},dest={}", at(name));
    let outputs = [to("local", "files"), to("tar", "tar"), to("oci", "oci"), to("docker", "docker")];
    let options: Vec<&str> = outputs.iter().flat_map(|output| ["-o", output]).chain(["-t", "out:1"]).collect();
    build(&root, &context, STAGES, &options);
    assert_eq!(std::fs::read_to_string(at("files/out")).unwrap(), "one");
    assert_eq!(std::fs::read_to_string(at("files/files/three")).unwrap(), "files/three");
    let list = |name: &str| {
        let output = Command::new("tar").args(["-tf", &at(name)]).output().unwrap();
        testkit::succeeded("tar", output).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(list("tar"), ["files/", "files/three", "out"]);
    let oci = list("oci");
    assert!(oci.iter().any(|name| name == "oci-layout") && !oci.iter().any(|name| name == "manifest.json"), "{oci:?}");
    let names = |root: &Path| testkit::made_by_layerfs(root, &["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert!(!names(&root).contains("out:1"));
    let other = testkit::empty_root(&dir, "other");
    testkit::made_by_layerfs(&other, &["load", "-i", &at("docker")]);
    assert_eq!(names(&other).trim(), "out:1");
    assert_whole(&root);
}

#[test]
fn a_cache_is_taken_elsewhere_and_pruned() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    let cache = dir.path().join("cache").display().to_string();
    let with_volume =
        format!("{STAGES}FROM layerfs-test/busybox:1 AS more\nRUN --mount=type=cache,target=/c touch /c/x\n");
    // A cache that does not exist yet is none.
    build(&root, &context, STAGES, &["-t", "built:1", "--cache-from", &cache, "--cache-to", &cache]);
    let other = testkit::empty_root(&dir, "other");
    testkit::import(&testkit::golden("busybox-20.10.tar"), &other);
    let (_, said) = build(&other, &context, STAGES, &["--cache-from", &format!("type=local,src={cache}")]);
    // Those of the last stage, and the base.
    assert_eq!(said.matches(" CACHED\n").count(), 2 + 1, "{said}");
    assert_whole(&other);
    build(&root, &context, &with_volume, &["--target", "more"]);
    let volumes = || {
        let names = testkit::made_by_layerfs(&root, &["volume", "ls", "-q"]);
        names.lines().filter(|name| name.starts_with("layerfs-build-cache-")).count()
    };
    assert_eq!(volumes(), 1);
    // As long as a command has it, it stays.
    let content = std::fs::read_dir(root.join("volumes")).unwrap().map(|entry| entry.unwrap().path());
    let cache = content.into_iter().find(|path| path.to_string_lossy().contains("layerfs-build-cache-")).unwrap();
    let lock = std::fs::File::open(cache).unwrap();
    lock.lock().unwrap();
    testkit::made_by_layerfs(&root, &["builder", "prune", "-f"]);
    assert_eq!(volumes(), 1);
    drop(lock);
    testkit::made_by_layerfs(&root, &["builder", "prune", "-f", "--filter", "until=1h"]);
    assert_eq!(volumes(), 1);
    testkit::made_by_layerfs(&root, &["builder", "prune", "-f"]);
    assert_eq!(volumes(), 0);
    // What the image stands on is still there, the first stage is not.
    let (_, said) = build(&root, &context, STAGES, &["-t", "built:1"]);
    assert_eq!(said.matches(" CACHED\n").count(), 2 + 1, "{said}");
    assert_whole(&root);
}

#[test]
fn directories_have_names_in_a_dockerfile() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    let named = dir.path().join("named");
    std::fs::create_dir_all(named.join("deep")).unwrap();
    for (name, text) in [("one", "named"), ("deep/two", "deep"), ("left-out", "x"), (".dockerignore", "left-*\n.d*\n")]
    {
        std::fs::write(named.join(name), text).unwrap();
    }
    // The names of a stage that is not built, of an image that is there, and of one that nobody has.
    let given = ["replaced", "layerfs-test/base:latest", "other"].map(|name| format!("{name}={}", named.display()));
    let options: Vec<&str> = given.iter().flat_map(|given| ["--build-context", given]).collect();
    let dockerfile = "FROM layerfs-test/busybox:1 AS replaced
RUN false
FROM layerfs-test/busybox:1 AS made
COPY --from=replaced / /replaced/
RUN --mount=from=other,source=deep,target=/m cat /m/two >/mounted
FROM docker.io/layerfs-test/base
COPY --from=other deep/two /three
COPY --from=made /replaced /replaced
COPY --from=made /mounted /mounted
COPY one /context
";
    let (_, said) = build(&root, &context, dockerfile, &options);
    assert!(said.contains("[context layerfs-test/base] load from client"), "{said}");
    let files = |options: &[&str]| {
        let to = dir.path().join("out");
        let output = format!("type=local,dest={}", to.display());
        let (_, said) = build(&root, &context, dockerfile, &[options, &["-o", &output]].concat());
        let mut list = Command::new("find");
        list.current_dir(&to).args([".", "-type", "f", "-exec", "grep", "-H", "", "{}", "+"]);
        let listed = testkit::succeeded("find", list.output().unwrap());
        std::fs::remove_dir_all(&to).unwrap();
        let mut lines: Vec<String> = listed.lines().map(str::to_owned).collect();
        lines.sort();
        (lines, said.matches(" CACHED\n").count())
    };
    let (lines, cached) = files(&options);
    let expected = [
        "./context:one",
        "./deep/two:deep",
        "./mounted:deep",
        "./one:named",
        "./replaced/deep/two:deep",
        "./replaced/one:named",
        "./three:deep",
    ];
    assert_eq!(lines, expected);
    // The two directories that are layers, two steps of the first stage and its base, four of the last one.
    assert_eq!(cached, 9);
    std::fs::write(named.join("left-out"), "y").unwrap();
    assert_eq!(files(&options).1, 9);
    std::fs::write(named.join("deep/two"), "new").unwrap();
    let (lines, cached) = files(&options);
    assert!(lines.contains(&"./three:new".to_owned()) && lines.contains(&"./mounted:new".to_owned()), "{lines:?}");
    // The base, and the second directory, which is the same layer as the first one, unless its stage began before that was stored.
    assert!((1..=2).contains(&cached), "{cached}");
    for (given, status, words) in [
        ("other", 125, "invalid context value: other, expected key=value"),
        ("other=docker-image://alpine", 125, "--build-context other: docker-image://alpine is not known here"),
        ("other=/nowhere", 1, "failed to get build context other: /nowhere: No such file or directory"),
        ("other=/etc/passwd", 1, "failed to get build context other: /etc/passwd: not a directory"),
        ("Other=/etc", 1, "invalid context name Other"),
    ] {
        let mut command = Command::new(testkit::program("layerfs"));
        command.arg("--root").arg(&root).args(["build", "--no-sync", "--build-context", given]).arg(&context);
        let output = command.env_remove("DOCKER_BUILDKIT").stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{given}: {said}");
        assert!(said.contains(words), "{given}: {said}");
    }
    assert_whole(&root);
}

/// The sources of `COPY --parents`, with flags, and what they copy: files, links and empty directories. The built-in frontend of docker 28.5
/// does not know the flag; this is what Docker's reference of Dockerfiles says, and what the copier of BuildKit does.
const PARENTS: [(&str, &str); 36] = [
    ("a/x", "a/x"),
    ("./a/x /a/b/y", "a/b/y a/x"),
    ("a/b", "a/b/c/x a/b/x a/b/y"),
    ("a/b/", "a/b/c/x a/b/x a/b/y"),
    ("a/./x", "x"),
    ("./a/./b/x", "b/x"),
    ("a/././b/y", "b/y"),
    ("a/b/./", "c/x x y"),
    ("a/./b/./y", "b/y"),
    ("a/./b/../x", "x"),
    ("a/../r", "r"),
    ("*", "Dockerfile a/b/c/x a/b/x a/b/y a/l a/none a/x n/m/i r"),
    ("a/*", "a/b/c/x a/b/x a/b/y a/l a/none a/x"),
    ("*/x", "a/x"),
    ("*/*/x", "a/b/x"),
    ("**/x", "a/b/c/x a/b/x a/x"),
    ("./**/x", "a/b/c/x a/b/x a/x"),
    ("a/**/x", "a/b/c/x a/b/x a/x"),
    ("a/./**/x", "b/c/x b/x x"),
    ("a/b/./**/x", "c/x x"),
    ("**/b", "a/b/c/x a/b/x a/b/y"),
    ("**/c", "a/b/c/x"),
    ("**/b/**", "a/b/c/x a/b/x a/b/y"),
    ("a/b/**", "a/b/c/x a/b/x a/b/y"),
    ("**/[yi]", "a/b/y n/m/i"),
    ("**/m/./i", "i"),
    ("[an]/./x", "x"),
    ("n/*/./i", "i"),
    ("a/none", "a/none"),
    ("a/l", "a/l"),
    ("**/nosuch", ""),
    ("--exclude=**/x a", "a/b/c a/b/y a/l a/none"),
    ("--exclude=a/b a", "a/l a/none a/x"),
    ("--exclude=b a", "a/b/c/x a/b/x a/b/y a/l a/none a/x"),
    ("--exclude=b a/./*", "l none x"),
    ("--exclude=a/b --exclude=!a/b/y **/[xy]", "a/b/y a/x"),
];

#[test]
fn parents_come_along_with_what_patterns_mean() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    std::fs::remove_dir_all(&context).unwrap();
    for name in ["a/b/c", "a/none", "n/m"] {
        std::fs::create_dir_all(context.join(name)).unwrap();
    }
    for name in ["a/x", "a/b/x", "a/b/y", "a/b/c/x", "n/m/i", "r"] {
        std::fs::write(context.join(name), name).unwrap();
    }
    std::os::unix::fs::symlink("b", context.join("a/l")).unwrap();
    let mode = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(context.join("a/b"), mode(0o711)).unwrap();
    let mut dockerfile = "FROM scratch\n".to_owned();
    for (number, (sources, _)) in PARENTS.iter().enumerate() {
        dockerfile += &format!("COPY --parents {sources} /{number}/\n");
    }
    dockerfile += "COPY --parents --chown=3:4 --chmod=u=rwx,go= a/b/y /owned/\n";
    let out = dir.path().join("out");
    build(&root, &context, &dockerfile, &["--output", &format!("type=local,dest={}", out.display())]);
    for (number, (sources, expected)) in PARENTS.iter().enumerate() {
        let top = out.join(number.to_string());
        let mut find = Command::new("find");
        find.args([".", "(", "!", "-type", "d", "-o", "-empty", ")", "-printf", "%P\n"]).current_dir(&top);
        let listed = find.output().unwrap();
        let mut listed: Vec<String> =
            testkit::succeeded("find", listed).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
        listed.sort();
        assert_eq!(listed.join(" "), *expected, "{sources}");
        let parent = top.join("a/b");
        if parent.exists() {
            assert_eq!(parent.metadata().unwrap().mode() & 0o7777, 0o711, "{sources}");
        }
    }
    // What was made on the way is as the directory is in the context, with the flags.
    let stat = |path: &str| out.join("owned").join(path).metadata().unwrap().mode() & 0o7777;
    assert_eq!((stat("a"), stat("a/b"), stat("a/b/y")), (0o700, 0o700, 0o700));
    for (source, path) in [("nosuch", "/nosuch"), ("a/./nosuch", "/a/nosuch")] {
        let dockerfile = format!("FROM scratch\nCOPY --parents {source} /d/\n");
        std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        let output = testkit::layerfs_on(&root, &["build", context.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(&format!("{path:?}: not found")), "{said}");
    }
}

#[test]
fn attestations_may_be_turned_off_and_are_not_made() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    std::fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY one /\n").unwrap();
    let run = |flags: &[&str]| {
        let arguments = [&["build", "--no-sync"][..], flags, &[context.to_str().unwrap()]].concat();
        let output = testkit::layerfs_on(&root, &arguments);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for flags in [
        &["--provenance=false"][..],
        &["--provenance=0", "--sbom=false"],
        &["--attest", "type=sbom,disabled=true"],
        &["--attest", "type=provenance,mode=max,disabled=true"],
    ] {
        let (code, said) = run(flags);
        assert_eq!(code, Some(0), "{flags:?}: {said}");
    }
    for (flags, reason) in [
        (&["--provenance"][..], "--provenance: attestations of type \"provenance\" are not made here"),
        (&["--provenance=true"], "--provenance: attestations of type \"provenance\" are not made here"),
        (&["--provenance=mode=max"], "--provenance: attestations of type"),
        (&["--sbom=true"], "--sbom: attestations of type \"sbom\" are not made here"),
        (&["--attest", "type=sbom,generator=image"], "--attest: attestations of type \"sbom\" are not made here"),
        (&["--attest", "disabled=true"], "attestation type not specified"),
        (&["--attest", "type=sbom,disabled=x"], "strconv.ParseBool: parsing \"x\": invalid syntax"),
        (&["--attest", "sbom"], "invalid value sbom"),
    ] {
        let (code, said) = run(flags);
        assert!(code != Some(0) && said.contains(reason), "{flags:?}: {said}");
    }
}
