//! Transcripts: each command prints what the files in `transcript/` say. `first-hour.txt` is a new user's first hour, and the
//! samples in README.md are from there; `errors.txt` has commands that fail, `variants.txt` those that fail with the errors that
//! `errors.txt` does not have, `kinds.txt` the rest of the kinds of errors, and `refusals.txt` what is refused without a kind of its own.
//!
//! With `LAYERFS_WRITE_TRANSCRIPT=1` the transcripts are written anew.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod faultsupport;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use layerfs::Digest;
use serde_json::json;
use testkit::mounts::Mounted;
use testkit::program;
use testkit::tarfile::{dir, file, symlink, tar};

fn transcript(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcript").join(name)
}

/// Bytes that do not look made up, the same each time.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut random = testkit::Random::new(seed);
    (0..length).map(|_| random.below(256) as u8).collect()
}

/// `docker save` of two images that share two layers.
fn archive() -> Vec<u8> {
    let base = tar(&[
        dir("bin/"),
        file("bin/busybox", bytes(1, 1_131_168)).mode(0o755),
        symlink("bin/sh", "busybox"),
        dir("etc/"),
        file("etc/os-release", "ID=harbour\n"),
    ]);
    let tls = tar(&[
        dir("usr/"),
        dir("usr/lib/"),
        file("usr/lib/libssl.so.3", bytes(2, 684_032)),
        file("usr/lib/libcrypto.so.3", bytes(3, 2_412_544)),
        dir("usr/share/"),
        dir("usr/share/doc/"),
        file("usr/share/doc/libssl.html", bytes(4, 96_000)),
    ]);
    let app = |version: u64, size: usize| {
        let mut members = vec![
            dir("srv/"),
            dir("srv/app/"),
            file("srv/app/server", bytes(version, size)).mode(0o755),
            file("srv/app/config.json", format!("{{\"version\":{version}}}\n")),
        ];
        if version == 12 {
            members.push(dir("usr/"));
            members.push(dir("usr/share/"));
            members.push(file("usr/share/.wh.doc", ""));
        }
        tar(&members)
    };
    let hash = |bytes: &[u8]| Digest::hash(bytes).to_string();
    let mut members = Vec::new();
    let mut manifest = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for (name, top) in [("app:1", app(11, 412_000)), ("app:2", app(12, 420_000))] {
        let layers = [&base, &tls, &top];
        let diff_ids: Vec<String> = layers.iter().map(|layer| hash(layer)).collect();
        let added = format!("/bin/sh -c #(nop) ADD file:{} in / ", diff_ids[0].trim_start_matches("sha256:"));
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": "1985-10-26T01:21:00Z",
            "config": {"Cmd": ["/srv/app/server"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [
                {"created": "1985-10-26T01:19:00Z", "created_by": added},
                {"created": "1985-10-26T01:20:00Z", "created_by": "RUN /bin/sh -c apk add --no-cache libssl3 libcrypto3 libssl3-doc # buildkit"},
                {"created": "1985-10-26T01:21:00Z", "created_by": "COPY app /srv/app # buildkit"},
                {"created": "1985-10-26T01:21:00Z", "created_by": "CMD [\"/srv/app/server\"]", "empty_layer": true},
            ],
        })
        .to_string();
        let id = hash(config.as_bytes());
        let config_name = format!("{}.json", id.trim_start_matches("sha256:"));
        let names: Vec<String> =
            diff_ids.iter().map(|id| format!("{}/layer.tar", id.trim_start_matches("sha256:"))).collect();
        for (layer, name) in layers.iter().zip(&names) {
            if seen.insert(name.clone()) {
                members.push(file(name, (*layer).clone()));
            }
        }
        members.push(file(&config_name, config));
        manifest.push(json!({"Config": config_name, "RepoTags": [name], "Layers": names}));
    }
    members.push(file("manifest.json", json!(manifest).to_string()));
    tar(&members)
}

/// How the transcript calls the directory in which everything happens.
const HOME: &str = "/home/you";

/// What a shell makes of a line.
fn run(line: &str, place: &Path) -> String {
    let programs = program("layerfs");
    let path = format!("{}:{}", programs.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec 2>&1; {line}")]).current_dir(place);
    command
        .env("PATH", path)
        .env("COLUMNS", "100")
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .env_remove("RUST_BACKTRACE");
    command.env("TESTDATA", testkit::testdata(""));
    let output = command.output().unwrap();
    let mut text = String::from_utf8(output.stdout).unwrap().replace(place.to_str().unwrap(), HOME);
    if !output.status.success() {
        let _ = writeln!(text, "[exit status {}]", output.status.code().unwrap());
    }
    text
}

/// Whether a line is what the transcript has, where words in braces stand for what varies.
fn is_like(line: &str, pattern: &str) -> bool {
    if line == pattern || !pattern.contains('{') {
        return line == pattern;
    }
    let (mut words, mut wanted) = (line.split_whitespace(), pattern.split_whitespace());
    loop {
        match (words.next(), wanted.next()) {
            (None, None) => return true,
            (_, Some("{rest}")) => return true,
            (Some(word), Some(wanted)) if word == wanted => {}
            (Some(word), Some("{n}")) if word.parse::<f64>().is_ok() => {}
            (Some(_), Some("{word}")) => {}
            _ => return false,
        }
    }
}

/// The commands of the transcript with the answers to each, and what stands between them.
fn parts(text: &str) -> Vec<(Vec<&str>, Option<&str>, Vec<&str>)> {
    let mut parts: Vec<(Vec<&str>, Option<&str>, Vec<&str>)> = vec![(Vec::new(), None, Vec::new())];
    for line in text.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => {
                let last = parts.last_mut().unwrap();
                // Titles and the blank lines around them belong to what follows.
                let start = last.2.iter().position(|line| line.starts_with("## ")).unwrap_or(last.2.len());
                let blank = last.2[..start].iter().rev().take_while(|line| line.is_empty()).count();
                let before =
                    if last.1.is_none() { std::mem::take(&mut last.2) } else { last.2.split_off(start - blank) };
                parts.push((before, Some(command), Vec::new()));
            }
            None => parts.last_mut().unwrap().2.push(line),
        }
    }
    parts
}

/// A line as it is kept: what varies from run to run taken out.
fn kept(command: &str, line: &str) -> String {
    let years = line.split(" years ago").collect::<Vec<_>>();
    if let [before, after] = years.as_slice()
        && let Some((start, number)) = before.rsplit_once(' ')
        && number.parse::<u32>().is_ok()
    {
        return format!("{start} {{n}} years ago{after}");
    }
    // Directories of layers have names at random.
    let is_random = |word: &str| {
        let last = word.rsplit('/').next().unwrap_or_default();
        let is_id = last.len() == 64 && last.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id || word.starts_with("overlay2/")
    };
    if let Some(random) = line.split(' ').find(|word| is_random(word)) {
        return line.replace(random, "{word}");
    }
    // A time is written without zeros at its end, so that a file with one is a byte shorter now and then.
    if let Some((before, after)) = line.split_once(" apparent (")
        && let Some((_, unit)) = after.split_once(' ')
    {
        return format!("{before} apparent {{word}} {unit}");
    }
    if command.contains("--bench") {
        let words: Vec<String> = line
            .split_whitespace()
            .map(|word| match word {
                _ if word.parse::<f64>().is_ok() => "{n}".to_owned(),
                // On a busy machine milliseconds become parts of a second.
                "ms" | "s" => "{word}".to_owned(),
                word => word.to_owned(),
            })
            .collect();
        return if words.iter().any(|word| word == "{n}") { words.join(" ") } else { line.to_owned() };
    }
    line.to_owned()
}

#[test]
fn each_command_prints_what_the_transcript_says() {
    replay("first-hour.txt");
}

/// Each error names its input, the place in it, and, where something can be done, what to do.
#[test]
fn each_error_says_what_the_transcript_says() {
    replay("errors.txt");
}

#[test]
fn each_variant_of_an_error_says_what_the_transcript_says() {
    replay("variants.txt");
}

#[test]
fn each_other_kind_of_error_says_what_the_transcript_says() {
    replay("kinds.txt");
}

#[test]
fn each_plain_refusal_says_what_the_transcript_says() {
    replay("refusals.txt");
}

/// Runs the commands of a transcript one after the other in one directory.
fn replay(name: &str) {
    if !testkit::is_root() {
        return;
    }
    // What files take up depends on the file system.
    let disk = Mounted::tmpfs("size=256m");
    std::fs::write(disk.path().join("app.tar"), archive()).unwrap();
    let faults = match name {
        "variants.txt" => faultsupport::faults(),
        "kinds.txt" => faultsupport::more_faults(),
        _ => Vec::new(),
    };
    std::fs::create_dir(disk.path().join("faults")).unwrap();
    for (fault, bytes) in faults {
        std::fs::write(disk.path().join(format!("faults/{fault}.tar")), bytes).unwrap();
    }
    let text = std::fs::read_to_string(transcript(name)).unwrap();
    let write = std::env::var_os("LAYERFS_WRITE_TRANSCRIPT").is_some();
    let (mut anew, mut differences) = (String::new(), Vec::new());
    for (before, command, expected) in parts(&text) {
        let Some(command) = command else {
            expected.iter().for_each(|line| anew.push_str(&format!("{line}\n")));
            continue;
        };
        let found = run(command, disk.path());
        before.iter().for_each(|line| anew.push_str(&format!("{line}\n")));
        let _ = writeln!(anew, "$ {command}");
        found.lines().for_each(|line| anew.push_str(&format!("{}\n", kept(command, line))));
        let lines: Vec<&str> = found.lines().collect();
        if lines.len() != expected.len() || !lines.iter().zip(&expected).all(|(line, wanted)| is_like(line, wanted)) {
            differences.push(format!("$ {command}\n{found}--- expected:\n{}\n", expected.join("\n")));
        }
    }
    if write {
        std::fs::write(transcript(name), anew).unwrap();
    } else {
        testkit::assert_none(name, &differences);
    }
}

/// What README.md shows as output is in the transcript, line after line.
#[test]
fn samples_in_the_readme_are_from_the_transcript() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let text = std::fs::read_to_string(transcript("first-hour.txt")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let blocks: Vec<&str> = readme.split("```text\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() > 2, "{}", blocks.len());
    for block in blocks {
        let sample: Vec<&str> = block.lines().collect();
        let found =
            lines.windows(sample.len()).any(|window| sample.iter().zip(window).all(|(line, kept)| is_like(line, kept)));
        assert!(found, "this sample is not in the transcript:\n{block}");
    }
}

#[test]
fn what_varies_is_what_is_said_to_vary() {
    assert!(is_like("app  1  41 years ago", "app  1  {n} years ago"));
    assert!(is_like("CPU  0.5 s user, x", "CPU {n} s {rest}"));
    assert!(!is_like("app  2  41 years ago", "app  1  {n} years ago"));
    assert!(!is_like("app  1  many years ago", "app  1  {n} years ago"));
    assert!(!is_like("a  b", "a b"), "where nothing varies each blank counts");
    assert!(!is_like("a b c", "a {word}"));
}
