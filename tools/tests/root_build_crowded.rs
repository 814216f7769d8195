//! Builds at the same time in one store, and builds on a file system that gets full: the store is whole, and goes on to be of use.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use testkit::mounts::Mounted;

fn start(root: &Path, context: &Path, options: &[&str]) -> Child {
    let mut command = Command::new(testkit::program("layerfs"));
    command.arg("--root").arg(root).args(["build", "--no-sync"]).args(options).arg(context);
    command.env_remove("DOCKER_BUILDKIT").env_remove("SOURCE_DATE_EPOCH").stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Whether a build succeeds, and what it says.
fn end(build: Child) -> (bool, String) {
    let output = build.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn context(dir: &Path, dockerfile: &str) -> PathBuf {
    let context = dir.join("context");
    std::fs::create_dir_all(&context).unwrap();
    std::fs::write(context.join("one"), "one").unwrap();
    std::fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    context
}

fn assert_whole(root: &Path) {
    testkit::succeeded("layerfs system check", testkit::layerfs_on(root, &["system", "check", "--deep"]));
    assert_eq!(testkit::made_by_layerfs(root, &["container", "ls", "-aq"]), "");
}

#[test]
fn builds_of_one_dockerfile_at_once_have_an_image_each() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    testkit::import(&testkit::golden("busybox-20.10.tar"), &root);
    let dockerfile = "FROM layerfs-test/busybox:1 AS a\nRUN --mount=type=cache,target=/c,sharing=locked echo a >>/c/n; echo a >/a\n\
                      FROM layerfs-test/busybox:1 AS b\nCOPY one /one\nRUN echo b >/b\n\
                      FROM scratch\nCOPY --from=a /a /a\nCOPY --from=b /one /b /\n";
    let context = context(dir.path(), dockerfile);
    // First with nothing in the cache, then with all of it, then without looking.
    for options in [&[][..], &[], &["--no-cache"]] {
        let options = [&["--reproducible"], options].concat();
        let names = ["first:1", "second:1", "third:1"];
        let builds = names.map(|name| start(&root, &context, &[&options[..], &["-t", name]].concat()));
        for build in builds {
            let (succeeded, said) = end(build);
            assert!(succeeded, "{said}");
        }
        let ids = names.map(|name| testkit::made_by_layerfs(&root, &["image", "inspect", "--format", "{{.Id}}", name]));
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        assert_whole(&root);
    }
}

#[test]
fn a_build_on_a_full_file_system_leaves_the_store_whole() {
    if !testkit::is_root() {
        return;
    }
    let mounted = Mounted::tmpfs("size=24m");
    let dir = testkit::scratch();
    let root = mounted.path().join("root");
    std::fs::create_dir(&root).unwrap();
    testkit::import(&testkit::golden("busybox-20.10.tar"), &root);
    let base = "FROM layerfs-test/busybox:1\n";
    let context = context(dir.path(), base);
    let large: Vec<u8> = (0..32_u32 << 20).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(context.join("large"), large).unwrap();
    let build = |lines: &str| {
        std::fs::write(context.join("Dockerfile"), format!("{base}{lines}")).unwrap();
        end(start(&root, &context, &["-t", "made:1"]))
    };
    let side_by_side = "RUN echo x >/x\nFROM layerfs-test/busybox:1 AS b\nCOPY large /large\nFROM scratch\nCOPY --from=0 /x /x\nCOPY --from=b /large /l\n";
    for lines in ["COPY large /large\n", "RUN dd if=/dev/zero of=/large bs=1M count=32\n", side_by_side] {
        let (succeeded, said) = build(lines);
        assert!(!succeeded && said.contains("No space left on device"), "{lines}: {said}");
        assert_whole(&root);
        assert_eq!(testkit::made_by_layerfs(&root, &["image", "ls", "-q", "made"]), "", "{lines}");
        // What the next one needs is there again.
        let (succeeded, said) = build("COPY one /one\nRUN cat /one >/two\n");
        assert!(succeeded, "{lines}: {said}");
        testkit::made_by_layerfs(&root, &["image", "rm", "made:1"]);
    }
}
