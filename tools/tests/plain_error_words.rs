//! Whoever adds a kind of error must provoke it once and read what it says: the longest part of its text that does not vary is
//! in some test, as it is expected.
//!
//! This only reads source files. A test that has the words proves what it provokes; nothing here does.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// Parts with fewer characters than this are no words to look for.
const SHORTEST: usize = 6;

/// Crates that only those use who work on the program.
const NOT_FOR_USERS: [&str; 3] = ["benches", "fuzz", "tools/testkit"];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file of the workspace, by its path below it, but for what is made and what tests read as data.
fn files() -> Vec<(String, String)> {
    let (mut found, mut left) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(workspace().join(&dir)).unwrap().map(Result::unwrap) {
            let path = dir.join(entry.file_name());
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_dir() {
                if !matches!(name.as_str(), "target" | "testdata" | "pages") && !name.starts_with('.') {
                    left.push(path);
                }
            } else if name.ends_with(".rs") || name.ends_with(".txt") {
                found.push((path.into_os_string().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()));
            }
        }
    }
    found
}

fn is_test(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "tests.rs")
}

/// What tests say, and what is not a test.
fn tests_and_sources(files: Vec<(String, String)>) -> (String, Vec<(String, String)>) {
    let (mut tests, mut sources) = (String::new(), Vec::new());
    for (path, text) in files {
        if path.ends_with("plain_error_words.rs") {
            continue;
        }
        if is_test(&path) {
            tests += &literals_joined(&text);
            continue;
        }
        let at = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
        tests += &literals_joined(&text[at..]);
        if path.ends_with(".rs") && !NOT_FOR_USERS.iter().any(|not| path.starts_with(not)) {
            sources.push((path, text[..at].to_owned()));
        }
    }
    (tests, sources)
}

/// A text in which literals that go over several lines are on one, and what is escaped is itself.
fn literals_joined(text: &str) -> String {
    let mut joined = String::new();
    let mut left = text;
    while let Some((before, after)) = left.split_once('\\') {
        joined += before;
        left = match after.as_bytes().first() {
            Some(b'\n') => after.trim_start(),
            Some(b'"') => {
                joined.push('"');
                &after[1..]
            }
            _ => after,
        };
    }
    joined + left + "\n"
}

/// The texts of `#[error("...")]`, each with the number of its line.
fn error_texts(source: &str) -> Vec<(usize, String)> {
    let mut texts = Vec::new();
    for (at, start) in source.match_indices("#[error(") {
        let Some(text) = source[at + start.len()..].trim_start().strip_prefix('"') else { continue };
        let mut escaped = false;
        let end = text.find(|char| {
            let ends = char == '"' && !escaped;
            escaped = char == '\\' && !escaped;
            ends
        });
        texts.push((source[..at].lines().count() + 1, literals_joined(&text[..end.unwrap()]).trim_end().to_owned()));
    }
    texts
}

/// The longest part of a text that stands between what is put into it; `None` if nothing of any length does.
fn fixed_words(text: &str) -> Option<&str> {
    let parts = text.split('{').enumerate();
    let parts = parts.map(|(at, part)| if at == 0 { part } else { part.split_once('}').map_or("", |(_, rest)| rest) });
    let around = |char: char| char.is_whitespace() || ":;,.()'\"`-#".contains(char);
    parts.map(|part| part.trim_matches(around)).filter(|part| part.len() >= SHORTEST).max_by_key(|part| part.len())
}

#[test]
fn plain_each_kind_of_error_is_read_by_a_test() {
    let (tests, sources) = tests_and_sources(files());
    let (mut unread, mut kinds) = (Vec::new(), 0);
    for (path, source) in sources {
        for (line, text) in error_texts(&source) {
            let Some(words) = fixed_words(&text) else { continue };
            kinds += 1;
            if !tests.contains(words) {
                unread.push(format!("{path}:{line}: {text}"));
            }
        }
    }
    assert!(kinds > 250, "only {kinds} kinds of errors were found: are they written in another way?");
    testkit::assert_none("kinds of errors that no test reads", &unread);
}

#[test]
fn plain_what_is_looked_for_is_what_does_not_vary() {
    let source = "/// One.\n#[error(\"{0} is \\\"odd\\\": {}\", x)]\nA,\n#[error(\n    \"a long \\\n     text\"\n)]\n#[error(transparent)]";
    assert_eq!(error_texts(source), [(2, "{0} is \"odd\": {}".to_owned()), (4, "a long text".to_owned())]);
    assert_eq!(fixed_words("{0} is \"odd\": {}"), Some("is \"odd"));
    assert_eq!(fixed_words("{path}: {reason}"), None);
    assert_eq!(fixed_words("damaged layer {layer}: it cannot be mounted: {why}"), Some("it cannot be mounted"));
}
