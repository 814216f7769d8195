//! Builds that are killed, and builds at the same time: the store is whole, and the next build goes on with what is there.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use layerfs::Digest;
use serde_json::json;
use tempfile::TempDir;
use testkit::dockerd::Dockerd;
use testkit::fault_registry::{FaultRegistry, Reply, Served};
use testkit::mounts::Mounted;
use testkit::run::until;
use testkit::{image, tarfile};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

const DOCKERFILE: &str = "FROM layerfs-test/busybox:1
ENV A=1
COPY files /one/
WORKDIR /two
COPY files /three/
LABEL a=b
COPY files/1 /four
CMD [\"x\"]
";

/// The steps of the Dockerfile.
const STEPS: usize = 8;

/// A context, and a root with the base image.
fn place(dir: &TempDir) -> (PathBuf, PathBuf) {
    let (root, context) = (testkit::empty_root(dir, "root"), dir.path().join("context"));
    testkit::import(&testkit::golden("busybox-20.10.tar"), &root);
    std::fs::create_dir_all(context.join("files")).unwrap();
    for number in 0..50 {
        std::fs::write(context.join("files").join(number.to_string()), vec![b'x'; 10_000]).unwrap();
    }
    std::fs::write(context.join("Dockerfile"), DOCKERFILE).unwrap();
    (root, context)
}

fn start(root: &Path, context: &Path, options: &[&str]) -> Child {
    let mut command = Command::new(testkit::program("layerfs"));
    command.arg("--root").arg(root).args(["build", "--classic"]).args(options).arg(context);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Builds to the end, and returns the lines.
fn finish(build: Child) -> String {
    testkit::succeeded("layerfs build", build.wait_with_output().unwrap())
}

fn assert_whole(root: &Path) {
    testkit::succeeded("layerfs system check", testkit::layerfs_on(root, &["system", "check", "--deep"]));
    assert_eq!(testkit::made_by_layerfs(root, &["container", "ls", "-aq"]), "");
}

#[test]
fn a_build_that_is_killed_goes_on_from_the_cache() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    for step in 2..=STEPS {
        let mut build = start(&root, &context, &[]);
        let mut lines = BufReader::new(build.stdout.take().unwrap()).lines();
        let begins = format!("Step {step}/{STEPS} ");
        assert!(lines.any(|line| line.unwrap().starts_with(&begins)), "step {step}");
        build.kill().unwrap();
        build.wait().unwrap();
        // All steps before this one were stored, `FROM` aside.
        let said = finish(start(&root, &context, &["-t", "built:1"]));
        let found = said.matches(" ---> Using cache").count();
        assert!(found >= step - 2, "killed at step {step}: {found} steps found\n{said}");
        assert_whole(&root);
        // The next one begins anew.
        testkit::made_by_layerfs(&root, &["image", "rm", "built:1"]);
    }
}

/// What is below a directory, by names; nothing if it is not there.
fn names_in(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The processes that a process has started, and those that they have.
fn descendants(pid: u32) -> Vec<u32> {
    let tasks = format!("/proc/{pid}/task");
    let children = |task: &String| std::fs::read_to_string(format!("{tasks}/{task}/children")).unwrap_or_default();
    let texts: Vec<String> = std::fs::read_dir(&tasks).map_or_else(
        |_| Vec::new(),
        |found| found.flatten().map(|task| children(&task.file_name().into_string().unwrap())).collect(),
    );
    let direct: Vec<u32> =
        texts.iter().flat_map(|text| text.split_whitespace()).map(|pid| pid.parse().unwrap()).collect();
    direct.iter().flat_map(|&pid| std::iter::once(pid).chain(descendants(pid))).collect()
}

/// The names of the control groups of a process, without those that an hierarchy has for all.
fn groups_of(pid: u32) -> Vec<String> {
    let table = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    table.lines().filter_map(|line| line.rsplit_once('/')).map(|(_, name)| name.to_owned()).collect()
}

/// Whether a process is there and is of the built-in runtime, be it a container's first one that has not begun.
fn is_of_runtime(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("runtime-stage"))
}

/// Whether a process has this text among its arguments.
fn runs(text: &str) -> bool {
    let is_number = |name: &String| name.bytes().all(|byte| byte.is_ascii_digit());
    let mut pids = names_in(Path::new("/proc")).into_iter().filter(is_number);
    pids.any(|pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(text)))
}

/// Whether there is a control group of one of these names.
fn has_group(names: &[String]) -> bool {
    let all = Path::new("/sys/fs/cgroup");
    let places =
        names_in(all).into_iter().map(|hierarchy| all.join(hierarchy).join("docker")).chain([all.join("docker")]);
    places.flat_map(|place| names_in(&place)).any(|name| names.contains(&name))
}

/// A command runs apart from all containers, and ends with its build. What the build leaves is taken away by the next command that
/// writes, and by none before.
#[test]
fn a_build_that_is_killed_while_a_command_runs_leaves_nothing_for_long() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    let mark = format!("marked-{}", std::process::id());
    let files = "i=0; while [ $i -lt 40 ]; do mkdir -p /made/$i; echo $i >/made/$i/file; i=$((i+1)); done";
    let text = format!("FROM layerfs-test/busybox:1\nRUN echo first >/one\nRUN : {mark}; {files}; sleep 60\n");
    std::fs::write(context.join("Dockerfile"), text).unwrap();
    let layers = root.join("image/overlay2/layerdb");
    let mut seed = 18_u64;
    let (mut met, mut joined) = (0, 0);
    for round in 0..20 {
        let mut command = Command::new(testkit::program("layerfs"));
        command.arg("--root").arg(&root).args(["build", "--no-sync"]).arg(&context).env("TMPDIR", dir.path());
        let mut build = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // At any time, and in each second round at any time of the commands.
        while round % 2 == 1 && names_in(&layers.join("mounts")).is_empty() {
            assert!(build.try_wait().unwrap().is_none(), "the build has ended");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        std::thread::sleep(std::time::Duration::from_millis(20 + (seed >> 33) % 200));
        // Who else reads or writes meanwhile takes nothing away.
        let held = names_in(&layers.join("mounts"));
        let (started, own) = (descendants(build.id()), groups_of(build.id()));
        let mut groups: Vec<String> = started.iter().flat_map(|&pid| groups_of(pid)).collect();
        groups.retain(|name| !name.is_empty() && !own.contains(name));
        joined += groups.len();
        build.kill().unwrap();
        build.wait().unwrap();
        met += held.len();
        testkit::made_by_layerfs(&root, &["tag", "layerfs-test/busybox:1", "again:1"]);
        assert_eq!(names_in(&layers.join("mounts")), [""; 0]);
        assert_eq!(names_in(&layers.join("tmp")), [""; 0]);
        // One directory a layer, and that of the short names.
        assert_eq!(names_in(&root.join("overlay2")).len(), names_in(&layers.join("sha256")).len() + 1);
        assert_eq!(names_in(&root.join("containers")), [""; 0]);
        // The command and its control groups go by themselves.
        assert!(until(|| !runs(&mark) && !has_group(&groups)), "the command is still there");
        assert!(until(|| !started.iter().any(|&pid| is_of_runtime(pid))), "what starts commands is still there");
        assert_eq!(names_in(dir.path()).iter().filter(|name| name.starts_with("layerfs-build-")).count(), 0);
    }
    assert!(met > 0, "no build was killed while a command ran");
    // Where there are none to be had, nothing can be left.
    assert!(joined > 0 || !testkit::has_device_groups(), "no build was in groups of its own");
    assert_whole(&root);
}

/// dockerd starts on what a killed build has left, shows no container, and keeps nothing that the next command would take away.
#[test]
fn docker_starts_where_a_build_was_killed() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    std::fs::write(context.join("Dockerfile"), "FROM layerfs-test/busybox:1\nRUN sleep 60\n").unwrap();
    let mut command = Command::new(testkit::program("layerfs"));
    command.arg("--root").arg(&root).args(["build", "--no-sync"]).arg(&context);
    let mut build = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let layers = root.join("image/overlay2/layerdb");
    while names_in(&layers.join("mounts")).is_empty() {
        assert!(build.try_wait().unwrap().is_none(), "the build has ended");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    build.kill().unwrap();
    build.wait().unwrap();
    let daemon = Dockerd::start(&root);
    let said = |arguments: &[&str]| testkit::succeeded("docker", daemon.docker(arguments));
    assert_eq!(said(&["ps", "-aq"]), "");
    assert!(said(&["images"]).contains("layerfs-test/busybox"));
    daemon.stop();
    testkit::made_by_layerfs(&root, &["tag", "layerfs-test/busybox:1", "again:1"]);
    assert_eq!(names_in(&layers.join("mounts")), [""; 0]);
    assert_whole(&root);
}

/// Nobody takes away what a command of a build is writing to.
#[test]
fn a_running_command_of_a_build_is_left_alone() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    let text = "FROM layerfs-test/busybox:1
RUN echo x >/below
RUN --mount=type=cache,target=/c touch /made; while [ ! -e /c/go ]; do sleep 0.01; done
";
    std::fs::write(context.join("Dockerfile"), text).unwrap();
    let mut command = Command::new(testkit::program("layerfs"));
    command.arg("--root").arg(&root).args(["build", "--no-sync", "-t", "made:1"]).arg(&context);
    let mut build = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mounts = root.join("image/overlay2/layerdb/mounts");
    let made = || {
        let homes = names_in(&root.join("overlay2"));
        homes.iter().any(|name| root.join("overlay2").join(name).join("diff/made").exists())
    };
    while !made() {
        assert!(build.try_wait().unwrap().is_none(), "the build has ended");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let held = names_in(&mounts);
    assert_eq!(held.len(), 1);
    // A look at the store, and everything that removes things.
    let check = testkit::layerfs_on(&root, &["system", "check"]);
    let said = testkit::succeeded("layerfs system check", check);
    assert!(!said.contains("unfinished") && !said.contains("nobody"), "{said}");
    testkit::made_by_layerfs(&root, &["image", "prune", "-f"]);
    testkit::made_by_layerfs(&root, &["container", "prune", "-f"]);
    let gc = Command::new(testkit::program("image-gc"))
        .arg("--root")
        .arg(&root)
        .args(["--apply", "--min-age", "0s"])
        .output();
    testkit::succeeded("image-gc", gc.unwrap());
    assert_eq!(names_in(&mounts), held);
    assert!(made());
    let cache =
        names_in(&root.join("volumes")).into_iter().find(|name| name.starts_with("layerfs-build-cache-")).unwrap();
    std::fs::write(root.join("volumes").join(cache).join("_data/go"), "").unwrap();
    testkit::succeeded("layerfs build", build.wait_with_output().unwrap());
    assert_whole(&root);
    assert_eq!(names_in(&mounts), [""; 0]);
    for name in ["/below", "/made"] {
        testkit::made_by_layerfs(&root, &["image", "cat", "made:1", name]);
    }
}

#[test]
fn builds_at_the_same_time_wait_for_each_other() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    let builds = [["-t", "one:1"], ["-t", "two:1"], ["-t", "three:1"]].map(|options| start(&root, &context, &options));
    for build in builds {
        let said = finish(build);
        assert!(said.contains("Successfully tagged"), "{said}");
    }
    assert_whole(&root);
    let names = testkit::made_by_layerfs(&root, &["images", "--format", "{{.Repository}}"]);
    assert_eq!(names.lines().filter(|name| ["one", "two", "three"].contains(name)).count(), 3, "{names}");
}

/// What a build must not do: nothing of the host gets into an image, whatever links a context has.
#[test]
fn nothing_outside_of_the_context_is_copied() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    let outside = dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "secret").unwrap();
    for (name, target) in
        [("absolute", outside.clone()), ("relative", PathBuf::from("../outside")), ("dots", "..".into())]
    {
        std::os::unix::fs::symlink(target, context.join(name)).unwrap();
    }
    for source in
        ["absolute/secret", "relative/secret", "dots/outside/secret", "../outside/secret", "/../outside/secret"]
    {
        std::fs::write(context.join("Dockerfile"), format!("FROM scratch\nCOPY {source} /x\n")).unwrap();
        let output = start(&root, &context, &[]).wait_with_output().unwrap();
        let says = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{source}: {says}");
        assert!(says.contains("COPY failed: "), "{source}: {says}");
    }
    assert_whole(&root);
}

/// Builds with standard output into a file that may grow by no more than `most` bytes.
fn build_into_small_file(root: &Path, context: &Path, options: &[&str], most: usize) -> std::process::Output {
    const LIMIT: usize = 64 << 20;
    let file = context.with_extension("out");
    std::fs::write(&file, "").unwrap();
    let out = std::fs::File::options().append(true).open(&file).unwrap();
    out.set_len((LIMIT - most) as u64).unwrap();
    let mut command = Command::new("sh");
    // In blocks of 512 bytes.
    command.args(["-c", &format!("ulimit -f {}; exec \"$@\"", LIMIT / 512), "sh"]).arg(testkit::program("layerfs"));
    command.arg("--root").arg(root).args(["build", "--classic", "--no-cache"]).args(options).arg(context);
    command.stdin(Stdio::null()).stdout(out).stderr(Stdio::piped()).output().unwrap()
}

/// What a build says up to a line.
fn said_before(root: &Path, context: &Path, options: &[&str], line: &str) -> usize {
    let options = [&["--no-cache"], options].concat();
    let output = start(root, context, &options).wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    said.find(line).unwrap_or_else(|| panic!("no {line:?} in {said}{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn an_image_gets_all_its_names_at_once() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    let names = ["-t", "one:1", "-t", "two:1"];
    let most = said_before(&root, &context, &names, "Successfully tagged");
    testkit::made_by_layerfs(&root, &["image", "rm", "one:1", "two:1"]);
    let output = build_into_small_file(&root, &context, &names, most);
    let says = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), says.contains("writing the output")), (Some(1), true), "{says}");
    let found = testkit::made_by_layerfs(&root, &["images", "--format", "{{.Repository}}"]);
    assert_eq!(found.lines().filter(|name| ["one", "two"].contains(name)).count(), 2, "{found}");
}

#[test]
fn a_command_that_fails_is_why_a_build_fails_whatever_becomes_of_its_container() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    std::fs::write(context.join("Dockerfile"), "FROM layerfs-test/busybox:1\nRUN exit 7\n").unwrap();
    let options = ["--force-rm", "--runtime", "builtin"];
    let most = said_before(&root, &context, &options, "Removing intermediate container");
    let output = build_into_small_file(&root, &context, &options, most);
    let says = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{says}");
    assert!(says.contains("returned a non-zero code: 7"), "{says}");
    assert_whole(&root);
}

/// Builds on file systems that become full in the middle: what was there stays, the store is whole, and with room the build goes on
/// from the cache.
#[test]
fn a_build_without_room_leaves_a_whole_store() {
    if !testkit::is_root() {
        return;
    }
    const ROOM: &str = "size=64m";
    let mut failed_at = std::collections::BTreeSet::new();
    let few = if testkit::full_sweep() { 30 } else { 6 };
    for part in 0..few {
        let mounted = Mounted::tmpfs(ROOM);
        let dir = testkit::scratch();
        let (_, context) = place(&dir);
        let root = mounted.path().join("root");
        testkit::import(&testkit::golden("busybox-20.10.tar"), &root);
        // Each of the larger steps needs 50 files of three pages.
        let used = (64 << 20) - mounted.free().0;
        mounted.remount(&format!("size={}", used + part * (1_300_000 / few)));
        let built = start(&root, &context, &["-t", "built:1"]).wait_with_output().unwrap();
        let says = String::from_utf8_lossy(&built.stderr);
        assert_eq!(built.status.code(), Some(1), "{part}: {says}");
        assert!(says.contains("No space left on device"), "{part}: {says}");
        let said = String::from_utf8(built.stdout).unwrap();
        failed_at.insert(said.matches("Step ").count());
        assert_whole(&root);
        mounted.remount(ROOM);
        let again = finish(start(&root, &context, &["-t", "built:1"]));
        // Every step that was stored is found.
        let stored = said.matches(" ---> ").count() - 1 - said.matches(" ---> Running in").count();
        assert_eq!(again.matches("Using cache").count(), stored, "{part}: {said}{again}");
        assert_whole(&root);
    }
    assert!(failed_at.len() > 2, "{failed_at:?}");
}

/// A command that fails leaves the steps before it, and nothing of its own but its container, which is for a look into it.
#[test]
fn a_command_that_fails_leaves_a_whole_store() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    let text = "FROM layerfs-test/busybox:1\nRUN echo kept >/kept\nRUN echo lost >/lost; mkdir /gone; exit 7\nRUN echo never\n";
    std::fs::write(context.join("Dockerfile"), text).unwrap();
    let output = start(&root, &context, &["--runtime", "builtin"]).wait_with_output().unwrap();
    let says = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{says}");
    let left = testkit::made_by_layerfs(&root, &["container", "ls", "-aq"]);
    let container = left.trim();
    assert_eq!(container.lines().count(), 1, "{left}");
    let written = testkit::made_by_layerfs(&root, &["container", "diff", container]);
    assert_eq!(written, "A /gone\nA /lost");
    testkit::made_by_layerfs(&root, &["container", "rm", container]);
    assert_whole(&root);
    std::fs::write(context.join("Dockerfile"), text.replace("exit 7", "true")).unwrap();
    let said = finish(start(&root, &context, &["--runtime", "builtin"]));
    assert_eq!(said.matches("Using cache").count(), 1, "{said}");
    assert_whole(&root);
}

/// A base that is fetched is the one for the platform that the Dockerfile or the user names; one that is there is taken as it is.
#[test]
fn a_base_is_fetched_for_its_platform() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = place(&dir);
    let architectures = ["amd64", "arm64", "s390x"];
    let plain = architectures.map(|name| tarfile::tar_of_names(&[name]));
    let images = plain.map(|plain| Served::new(&[(plain.clone(), image::pack("gzip", &plain))]));
    let entries = images.iter().zip(architectures).map(|(image, architecture)| {
        json!({
            "mediaType": MANIFEST, "size": image.manifest.len(), "digest": Digest::hash(&image.manifest).to_string(),
            "platform": {"os": "linux", "architecture": architecture},
        })
    });
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries.collect::<Vec<_>>()});
    let index = serde_json::to_vec(&index).unwrap();
    let served = images.clone();
    let registry = FaultRegistry::start(move |asked| {
        let of = |image: &&Served| {
            asked.path.ends_with(&Digest::hash(&image.manifest).to_string())
                || asked.blob().is_some_and(|digest| image.blobs.contains_key(digest))
        };
        match served.iter().find(of) {
            Some(image) => image.answer(asked),
            None => Reply::new(200, &index)
                .with("Content-Type", INDEX)
                .with("Docker-Content-Digest", &Digest::hash(&index).to_string()),
        }
    });
    let built = |number: usize, from: &str, options: &[&str]| {
        let name = format!("{}/t/image:{number}", registry.host);
        std::fs::write(context.join("Dockerfile"), format!("FROM {from} {name}\n")).unwrap();
        let mut command = testkit::run::layerfs(&["--root", root.to_str().unwrap(), "build", "--classic", "-q"]);
        command.args(options).arg(&context).env("DOCKER_CONFIG", dir.path().join("no-config"));
        let id = testkit::succeeded("layerfs build", command.stdin(Stdio::null()).output().unwrap());
        let layers =
            testkit::made_by_layerfs(&root, &["image", "inspect", "--format", "{{json .RootFS.Layers}}", id.trim()]);
        let layers: Vec<String> = serde_json::from_str(&layers).unwrap();
        let of = |image: &&Served| {
            let config = image.blobs.values().find_map(|blob| serde_json::from_slice::<serde_json::Value>(blob).ok());
            config.unwrap()["rootfs"]["diff_ids"] == json!(layers)
        };
        architectures[images.iter().position(|image| of(&image)).unwrap()]
    };
    assert_eq!(built(1, "--platform=linux/arm64", &[]), "arm64");
    assert_eq!(built(2, "", &["--platform", "linux/s390x"]), "s390x");
    assert_eq!(built(3, "--platform=linux/aarch64", &["--platform", "linux/s390x"]), "arm64");
    // It is there, and dockerd takes it, too.
    assert_eq!(built(1, "--platform=linux/s390x", &[]), "arm64");
    assert_eq!(built(1, "--platform=linux/s390x", &["--pull"]), "s390x");
}
