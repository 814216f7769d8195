//! Images that are built here are those that BuildKit makes of the same Dockerfiles: config, history and layers.
//!
//! A sample runs always; all of `testdata/dockerfiles/modern.txt` with `LAYERFS_SWEEP=full`.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod buildsupport;

use buildsupport::both::{Both, Made};
use buildsupport::modern::{modern, modern_cases};
use buildsupport::{DockerfileCase, write_dockerfile};
use testkit::dockerd::Dockerd;
use testkit::engines::Engine;
use testkit::fault_registry::{Asked, FaultRegistry, Reply};

/// Those that run always, besides those that end with an error.
const SAMPLE: [&str; 21] = [
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
    "exclude-patterns",
    "copy-chown-names",
    "copy-modes-parents",
    "healthcheck-forms",
];

/// A newer daemon, and a store of ours, both with the base image, and the context of the cases.
fn start() -> Option<(Both, Engine)> {
    let (engines, turn) = testkit::engines::engines()?;
    let engine = testkit::engines::docker_28(&engines).clone();
    let both = Both::start(&engine, turn);
    buildsupport::make_context(&both.context);
    Some((both, engine))
}

#[test]
fn dockerfiles_become_what_buildkit_makes_of_them() {
    let Some((both, engine)) = start() else { return };
    let full = testkit::full_sweep();
    let chosen = |name: &str| full || SAMPLE.contains(&name) || name.starts_with("error-");
    let cases: Vec<_> = modern_cases().into_iter().filter(|case| chosen(&case.name)).collect();
    assert!(cases.len() >= 40, "{}", cases.len());
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

/// Those styles that run always, besides those that end with an error.
const STYLES: [&str; 13] = [
    "node",
    "java",
    "nginx",
    "copy-from-number",
    "symbolic-chmod",
    "link-symlink",
    "env-quotes",
    "workdirs",
    "heredoc-files",
    "comments",
    "crlf",
    "bom",
    "escape-backtick",
];

/// Dockerfiles in the styles that people have: `testdata/dockerfiles/styles.txt`.
fn styles() -> Vec<DockerfileCase> {
    let mut cases = buildsupport::cases_of("dockerfiles/styles.txt");
    for case in &mut cases {
        match case.name.as_str() {
            "crlf" => case.text = case.text.replace('\n', "\r\n"),
            "bom" => case.text.insert(0, '\u{feff}'),
            _ => {}
        }
    }
    cases
}

#[test]
fn styles_that_people_have_become_what_buildkit_makes_of_them() {
    let Some((both, _)) = start() else { return };
    let full = testkit::full_sweep();
    let chosen = |name: &str| full || STYLES.contains(&name) || name.starts_with("error-");
    let cases: Vec<_> = styles().into_iter().filter(|case| chosen(&case.name)).collect();
    assert!(cases.len() >= 20, "{}", cases.len());
    let place = r"^layerfs: (dockerfile parse error line \d+: |failed to parse Dockerfile: )?";
    let place = regex::Regex::new(place).unwrap();
    let mut made = Vec::new();
    for case in &cases {
        match both.build(case) {
            Ok(image) => made.push(image),
            Err((ours, theirs)) => {
                assert!(case.name.starts_with("error-"), "{}: {ours}\n{theirs}", case.name);
                let last = |said: &str| said.trim_end().lines().last().unwrap().to_owned();
                // Where it is, and in which part of the work it was found, is told in other words.
                let reason = place.replace(&last(&ours), "").into_owned();
                assert!(last(&theirs).contains(&reason), "{}: {reason}\n{}", case.name, last(&theirs));
            }
        }
    }
    drop(both.end(&made));
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
    let Some((both, _)) = start() else { return };
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
