//! What leaves the programs: nothing is lost in silence, and names do nothing but stand there.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::program;

const EVIL: &str = "x\n0123456789ab   evil\u{1b}[31m";

/// A root with a container and two volumes whose names mean no good.
fn store() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    let id = "c".repeat(64);
    for path in ["image/overlay2/layerdb", "overlay2/l", "volumes/=cmd|calc/_data", "volumes/a\u{202e}fdp,\"b\"/_data"]
    {
        fs::create_dir_all(at(path)).unwrap();
    }
    fs::create_dir_all(at("volumes").join("red\u{1b}[31m\nrow").join("_data")).unwrap();
    let own = at("containers").join(&id);
    fs::create_dir_all(&own).unwrap();
    let config = json!({
        "ID": id, "Name": format!("/{EVIL}"), "Driver": "overlay2", "OS": "linux", "Created": "2026-01-02T03:04:05Z",
        "Path": "/bin/sh", "Args": [], "Image": format!("sha256:{}", "1".repeat(64)),
        "Config": {"Image": "busybox", "Labels": {}}, "State": {"StartedAt": "0001-01-01T00:00:00Z", "FinishedAt": "0001-01-01T00:00:00Z"},
        "NetworkSettings": {"Networks": {}}, "MountPoints": {},
    });
    fs::write(own.join("config.v2.json"), config.to_string()).unwrap();
    fs::write(own.join("hostconfig.json"), "{}").unwrap();
    let mount = at("image/overlay2/layerdb/mounts").join(&id);
    fs::create_dir_all(&mount).unwrap();
    fs::write(mount.join("mount-id"), "d".repeat(64)).unwrap();
    fs::write(mount.join("init-id"), format!("{}-init", "d".repeat(64))).unwrap();
    for name in ["d".repeat(64), format!("{}-init", "d".repeat(64))] {
        for sub in ["diff", "work"] {
            fs::create_dir_all(at("overlay2").join(&name).join(sub)).unwrap();
        }
        fs::write(at("overlay2").join(&name).join("link"), &name[name.len() - 26..]).unwrap();
    }
    dir
}

fn ask(name: &str, root: &Path, arguments: &[&str]) -> Output {
    Command::new(program(name)).arg("--root").arg(root).args(arguments).output().unwrap()
}

/// What a shell makes of `layerfs --root ROOT ARGUMENTS REDIRECTION`.
fn shell(root: &Path, arguments: &str, redirection: &str) -> (Option<i32>, String) {
    let line = format!("\"$0\" --root \"$1\" {arguments} {redirection}");
    let output = Command::new("sh").arg("-c").arg(line).arg(program("layerfs")).arg(root).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn output_that_is_lost_is_an_error() {
    let dir = store();
    for arguments in [
        "container ls -a",
        "volume ls -q",
        "image ls",
        "system df",
        "inspect ccc",
        "--help",
        "version",
        "--generate man",
    ] {
        let (code, says) = shell(dir.path(), arguments, ">/dev/full");
        assert_eq!(code, Some(1), "{arguments} >/dev/full: {says}");
        assert!(says.contains("standard output: No space left on device"), "{arguments}: {says}");
        let (code, says) = shell(dir.path(), arguments, ">&-");
        assert_eq!(code, Some(1), "{arguments} >&-: {says}");
        assert!(says.contains("standard output: Bad file descriptor"), "{arguments}: {says}");
        // That nobody wants it is nobody's fault, in whatever mode the caller has opened it.
        assert_eq!(shell(dir.path(), arguments, ">/dev/null").0, Some(0), "{arguments} >/dev/null");
        assert_eq!(shell(dir.path(), arguments, "1<>/dev/null").0, Some(0), "{arguments} 1<>/dev/null");
        let piped = shell(dir.path(), arguments, "| true; exit ${PIPESTATUS:-0}");
        assert_eq!(piped, (Some(0), String::new()), "{arguments} | true");
    }
}

#[test]
fn a_name_is_no_row() {
    let dir = store();
    for (arguments, rows) in [
        (&["container", "ls", "-a"][..], 2),
        (&["ps", "-a", "--format", "{{.Names}}"], 1),
        (&["volume", "ls"], 4),
        (&["volume", "ls", "-q"], 3),
    ] {
        let output = ask("layerfs", dir.path(), arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().count(), rows, "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(!text.contains('\u{1b}'), "{arguments:?}: {text}");
    }
    // A program gets the name as it is.
    let output = ask("layerfs", dir.path(), &["container", "inspect", "ccc"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found[0]["Name"], format!("/{EVIL}"));
}

/// As the client 20.10.24 prints it on a store without a build cache.
#[test]
fn an_empty_build_cache_ends_without_an_empty_line() {
    let dir = store();
    let text = String::from_utf8(ask("layerfs", dir.path(), &["system", "df", "-v"]).stdout).unwrap();
    let end = "Build cache usage: 0B\n\nCACHE ID   CACHE TYPE   SIZE      CREATED   LAST USED   USAGE     SHARED\n";
    assert!(text.ends_with(end), "{text:?}");
}

#[test]
fn a_spreadsheet_calculates_nothing() {
    let dir = store();
    let output = ask("image-du", dir.path(), &["--csv"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let volumes: Vec<&str> = text.lines().filter(|line| line.starts_with("volume,")).collect();
    assert_eq!(volumes.len(), 3, "{text}");
    assert!(volumes.iter().any(|line| line.starts_with("volume,,'=cmd|calc,")), "{text}");
    assert!(volumes.iter().any(|line| line.starts_with("volume,,\"a\\u{202e}fdp,\"\"b\"\"\",")), "{text}");
    assert!(volumes.iter().any(|line| line.starts_with("volume,,red\\u{1b}[31m\\nrow,")), "{text}");
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    // The name itself, for programs: "red\x1b[31m\nrow".
    assert!(text.contains(",cmVkG1szMW0Kcm93"), "{text}");
    // Of a container's, too.
    assert!(text.lines().all(|line| line.split(',').count() >= 12), "{text}");
}

/// On a terminal, JSON shows marks that reorder text by their numbers, and says the same.
#[test]
fn json_on_a_terminal_is_harmless() {
    if !testkit::tier("plain", Path::new("/usr/bin/script").exists(), "install bsdutils") {
        return;
    }
    let dir = store();
    for arguments in ["image-du --json", "layerfs volume inspect 'a\u{202e}fdp,\"b\"'"] {
        let (name, rest) = arguments.split_once(' ').unwrap();
        let line = format!("{} --root {} {rest}", program(name).display(), dir.path().display());
        let output = Command::new("script").args(["-qec", &line, "/dev/null"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!text.contains(['\u{202e}', '\u{1b}']), "{arguments}: {text:?}");
        assert!(text.contains("\\u202e"), "{arguments}: {text:?}");
        serde_json::from_str::<Value>(&text).unwrap();
    }
}
