//! Help, manual pages and what is said about command lines that are wrong.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use testkit::program;

const PROGRAMS: [&str; 5] = ["layerfs", "layer-unpack", "image-du", "image-gc", "layer-run"];

fn run(name: &str, arguments: &[&str]) -> Output {
    Command::new(program(name)).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// As docker: the help on standard error, and success.
#[test]
fn a_command_alone_prints_its_help() {
    for arguments in [&[][..], &["image"], &["container"], &["volume"], &["system"]] {
        let output = run("layerfs", arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(output.stdout.is_empty() && text(&output.stderr).contains("Usage:"), "{arguments:?}");
    }
}

#[test]
fn help_lists_everything() {
    let help = text(&run("layerfs", &["--help"]).stdout);
    for word in [
        "images",
        "history",
        "load",
        "ps",
        "info",
        "--generate",
        "inspect",
        "version",
        "volume",
        "Data-root:",
        "Short forms:",
        "Exit status:",
    ] {
        assert!(help.contains(word), "{word}: {help}");
    }
    for name in PROGRAMS {
        let help = text(&run(name, &["--help"]).stdout);
        assert!(help.contains("--generate <WHAT>") && help.contains("Examples:"), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 140), "{help}");
    }
}

/// A section holds what its title says: a heading is that of all flags which follow in the definition.
#[test]
fn thresholds_stand_alone() {
    let help = text(&run("image-du", &["--help"]).stdout);
    let section = help.split("Thresholds, as dive has them:").nth(1).unwrap().split("\n\nColumns:").next().unwrap();
    let flags = section.lines().filter(|line| line.trim_start().starts_with("--"));
    assert_eq!(flags.count(), 4, "{section}");
    assert!(!section.contains("--json") && section.contains("--ci-config"), "{section}");
}

#[test]
fn tips_help() {
    for (name, arguments) in
        [("layerfs", &["image", "ls", "--nope"][..]), ("layer-unpack", &["--nope", "x"]), ("image-du", &["--nope"])]
    {
        let output = run(name, arguments);
        let says = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{says}");
        assert!(says.contains("unexpected argument '--nope'") && !says.contains("as a value"), "{says}");
    }
    // One that is near is named all the same.
    assert!(text(&run("layerfs", &["image", "ls", "--digest"]).stderr).contains("--digests"));
}

#[test]
fn manual_pages_are_whole() {
    let groff = Path::new("/usr/bin/groff").exists() || Path::new("/usr/bin/man").exists();
    for name in PROGRAMS {
        let page = text(&run(name, &["--generate", "man"]).stdout);
        for heading in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "\"EXIT STATUS\"", "\"SEE ALSO\""] {
            let headings = page.lines().filter(|line| *line == format!(".SH {heading}")).count();
            assert_eq!(headings, 1, "{name}: {heading}: {page}");
        }
        // Nothing refers to a page that there is not.
        let pages: BTreeSet<&str> =
            page.match_indices("(1)").map(|(at, _)| &page[page[..at].rfind('\n').unwrap()..at]).collect();
        for line in pages {
            assert!(PROGRAMS.iter().any(|name| line.replace('\\', "").contains(name)), "{name}: {line}");
        }
        if groff {
            let mut check = Command::new("groff")
                .args(["-man", "-Tutf8", "-ww", "-z"])
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            check.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
            let output = check.wait_with_output().unwrap();
            assert_eq!(text(&output.stderr), "", "{name}");
        }
    }
    let page = text(&run("layerfs", &["--generate", "man"]).stdout);
    for command in [
        "IMAGE LS",
        "IMAGE INSPECT",
        "CONTAINER LS",
        "CONTAINER INSPECT",
        "VOLUME LS",
        "SYSTEM OWNER",
        "SYSTEM CHECK",
        "INSPECT",
        "VERSION",
    ] {
        assert!(page.contains(&format!(".SH \"LAYERFS {command}\"")), "{command}: {page}");
    }
}

/// One status wherever a root cannot be used, and a word on what to do.
#[test]
fn a_root_that_is_missing_is_status_1() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    for (name, arguments) in [
        ("layerfs", &["image", "ls"][..]),
        ("layerfs", &["system", "df"]),
        ("layerfs", &["volume", "ls"]),
        ("layerfs", &["info"]),
        ("image-du", &[]),
        ("image-du", &["--json"]),
        ("image-gc", &[]),
    ] {
        let output = Command::new(program(name)).arg("--root").arg(&missing).args(arguments).output().unwrap();
        let says = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name} {arguments:?}: {says}");
        assert!(says.contains(missing.to_str().unwrap()) && says.contains("there is no such directory"), "{says}");
    }
}
