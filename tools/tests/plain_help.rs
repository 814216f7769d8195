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
            assert_eq!(complaints(&["groff", "-man", "-Tutf8", "-ww", "-z"], &page), "", "{name}");
        }
        assert_eq!(without_text(&page), [""; 0], "{name}: what is this, and what for?");
    }
}

/// mandoc sees more than groff does. What it calls style is a matter of taste.
#[test]
fn manual_pages_pass_mandocs_lint() {
    if !testkit::tier("plain", Path::new("/usr/bin/mandoc").exists(), "install mandoc") {
        return;
    }
    for name in PROGRAMS {
        let page = text(&run(name, &["--generate", "man"]).stdout);
        let says = complaints(&["mandoc", "-Tlint", "-Wwarning"], &page);
        assert_eq!(says, "", "{name}");
    }
}

/// What a checker of manual pages prints.
fn complaints(command: &[&str], page: &str) -> String {
    let mut check = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A page is longer than what a pipe holds, and so is what may be said about it.
    let mut input = check.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(page.as_bytes()).unwrap());
        check.wait_with_output().unwrap()
    });
    text(&output.stdout) + &text(&output.stderr)
}

/// The options, arguments and commands of a page of which nothing is said.
fn without_text(page: &str) -> Vec<String> {
    let lines: Vec<&str> = page.lines().collect();
    let tagged =
        lines.windows(3).filter(|three| three[0] == ".TP" && (three[2].is_empty() || three[2].starts_with('.')));
    let mut found: Vec<String> = tagged.map(|three| three[1].to_owned()).collect();
    for section in page.split("\n.SH \"LAYERFS ").skip(1) {
        // The synopsis, then a paragraph, then the options.
        let description = section.split(".PP\n").nth(1).unwrap_or_default().lines().next().unwrap_or_default();
        if description.is_empty() || description.starts_with('.') {
            found.push(section.lines().next().unwrap().to_owned());
        }
    }
    found
}

/// The commands below one, as its help lists them.
fn commands(of: &[&str]) -> Vec<String> {
    let help = text(&run("layerfs", &[of, &["--help"]].concat()).stdout);
    let list = help.split("Commands:\n").nth(1).unwrap_or_default().lines().take_while(|line| !line.is_empty());
    let names = list.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// The page has a section for each command that the help lists, and each command prints help of its own.
#[test]
fn each_command_has_its_section_and_its_help() {
    let page = text(&run("layerfs", &["--generate", "man"]).stdout);
    let mut seen = 0;
    for group in commands(&[]) {
        let below = commands(&[&group]);
        let paths = if below.is_empty() {
            vec![vec![group]]
        } else {
            below.into_iter().map(|sub| vec![group.clone(), sub]).collect()
        };
        for path in paths {
            let arguments: Vec<&str> = path.iter().map(String::as_str).collect();
            let heading = format!(".SH \"LAYERFS {}\"", arguments.join(" ").to_uppercase());
            assert!(page.contains(&heading), "{heading}");
            let output = run("layerfs", &[&arguments[..], &["--help"]].concat());
            let help = text(&output.stdout);
            let usage = format!("Usage: layerfs {}", arguments.join(" "));
            assert!(output.status.success() && help.contains(&usage), "{usage}: {help}");
            assert!(help.lines().next().is_some_and(|line| line.len() > 10), "{usage}: {help}");
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen}");
    // One that does something and has a command below it has a section, and so has that.
    assert!(page.contains(".SH \"LAYERFS SYSTEM POOL COPY\""));
}

/// A short form says of itself what its long form says.
#[test]
fn short_forms_say_what_they_do() {
    let first = |words: &[&str]| {
        let help = text(&run("layerfs", &[words, &["--help"]].concat()).stdout);
        help.lines().next().unwrap_or_default().to_owned()
    };
    let help = text(&run("layerfs", &["--help"]).stdout);
    let list = help.split("Short forms:\n").nth(1).unwrap().lines().take_while(|line| !line.is_empty());
    let mut seen = 0;
    for line in list {
        let (shorts, longs) = line.trim().split_once(" layerfs ").unwrap();
        let (group, longs) = longs.split_once(' ').unwrap();
        for (short, long) in shorts.trim().split(", ").zip(longs.split(", ")) {
            assert_eq!(first(&[short]), first(&[group, long]), "{short}");
            seen += 1;
        }
    }
    assert_eq!(seen, 29, "short forms");
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
        ("layerfs", &["system", "check"]),
        ("layerfs", &["system", "check", "--json"]),
        ("layerfs", &["system", "repair"]),
        ("layerfs", &["container", "ls"]),
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

/// Options of the storage driver are dockerd's in each program that opens a store, with dockerd's words for what is none.
#[test]
fn storage_options_are_dockers_in_each_program() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let missing = missing.to_str().unwrap();
    for (name, arguments, failed) in [
        ("layerfs", &["--root", missing, "image", "ls"][..], 1),
        ("image-gc", &["--root", missing], 1),
        ("image-gc", &["--root", missing, "--restore", missing], 1),
        ("image-du", &["--root", missing], 1),
        ("image-du", &[missing], 1),
        ("layer-unpack", &["--root", missing, missing], 1),
        ("layer-run", &["--root", missing, "app:1", "--", "true"], 125),
    ] {
        let with = |option: &str| run(name, &[&["--storage-opt", option][..], arguments].concat());
        let refused = with("dm.nope=1");
        let says = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{name} {arguments:?}: {says}");
        assert!(says.contains("devmapper: Unknown option dm.nope"), "{says}");
        // What is one is taken, and what is wrong then is the path.
        let taken = with("dm.basesize=1G");
        let says = text(&taken.stderr);
        assert_eq!(taken.status.code(), Some(failed), "{name} {arguments:?}: {says}");
        assert!(says.contains(missing), "{says}");
    }
}

/// What clap takes for misspelled may be a flag of another command: then that command is named, and no other flag.
#[test]
fn a_flag_of_another_command_is_not_taken_for_misspelled() {
    for (program, arguments, tip) in [
        ("image-gc", &["--store", "containerd"][..], "  tip: --store is an option of `layer-unpack` and `layerfs`\n\n"),
        ("layer-unpack", &["--freed-by=x"], "  tip: --freed-by is an option of `image-du`\n\n"),
        ("layerfs", &["image", "rm", "--deleted", "x"], "  tip: --deleted is an option of `layerfs image files`\n\n"),
        // Many commands have it, so that naming them helps nobody.
        ("layerfs", &["image", "history", "--filter", "x"], ""),
        // It is misspelled.
        ("image-gc", &["--targetfree"], "  tip: a similar argument exists: '--target-free'\n\n"),
    ] {
        let output = run(program, arguments);
        let flag = arguments.iter().find(|word| word.starts_with("--")).unwrap().split('=').next().unwrap();
        let said = text(&output.stderr);
        let begin = format!("error: unexpected argument '{flag}' found\n\n{tip}");
        assert!(output.status.code() == Some(2) && said.starts_with(&begin), "{arguments:?}: {said}");
        assert_eq!(said.contains("tip:"), !tip.is_empty(), "{arguments:?}: {said}");
    }
}
