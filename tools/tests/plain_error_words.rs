//! Whoever adds a kind of error must provoke it once and read what it says: the longest part of its text that does not vary is
//! in some test, as it is expected.
//!
//! This only reads source files. A test that has the words proves what it provokes; nothing here does.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// What Go has said of templates, which a test asks ours for; nothing else that is recorded is read.
const RECORDED: &str = "testdata/format/template.json";

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
                let is_for_users = !matches!(name.as_str(), "target" | "pages" | "examples");
                if is_for_users && !name.starts_with('.') {
                    left.push(path);
                }
            } else if name.ends_with(".rs") || name.ends_with(".txt") || path == Path::new(RECORDED) {
                found.push((path.into_os_string().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()));
            }
        }
    }
    found
}

fn is_test(path: &str) -> bool {
    path == RECORDED || path.split('/').any(|part| part == "tests" || part == "tests.rs")
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

/// Where a literal ends that begins at the start of this text, behind its quote.
fn literal_end(text: &str) -> usize {
    let mut escaped = false;
    let end = text.find(|char| {
        let ends = char == '"' && !escaped;
        escaped = char == '\\' && !escaped;
        ends
    });
    end.expect("each literal ends")
}

/// A literal as the program has it, without what a reader of the source would have to skip.
fn literal(text: &str) -> String {
    literals_joined(text).trim_end_matches('\n').to_owned()
}

fn line(source: &str, at: usize) -> usize {
    source[..at].matches('\n').count() + 1
}

/// The texts of `#[error("...")]`, each with the number of its line.
fn error_texts(source: &str) -> Vec<(usize, String)> {
    let mut texts = Vec::new();
    for (at, start) in source.match_indices("#[error(") {
        let Some(text) = source[at + start.len()..].trim_start().strip_prefix('"') else { continue };
        texts.push((line(source, at), literal(&text[..literal_end(text)])));
    }
    texts
}

/// What refuses with a text of its own, as its source has it. `Err(` and what makes an option an error take other things, too: a text
/// must be the first that they are given.
const REFUSALS: [(&str, bool); 12] = [
    ("bail!(", false),
    ("anyhow!(", false),
    ("ensure!(", false),
    (".context(", false),
    (".with_context(", false),
    ("UsageError(", true),
    ("Error::msg(", true),
    ("Err(", true),
    ("ok_or(", true),
    ("ok_or_else(|| ", true),
    ("map_err(|_| ", true),
    ("return Some(", true),
];

/// The literals of a call whose arguments begin here, each with whether a comma of the call's own stands before it.
fn literals_of_call(source: &str) -> Vec<(bool, &str)> {
    let (mut literals, mut depth, mut at, mut is_behind_comma) = (Vec::new(), 0, 0, false);
    while let Some(char) = source[at..].chars().next() {
        match char {
            '(' | '{' | '[' => depth += 1,
            ')' | '}' | ']' if depth == 0 => break,
            ')' | '}' | ']' => depth -= 1,
            '"' => {
                let end = literal_end(&source[at + 1..]);
                literals.push((is_behind_comma, &source[at + 1..][..end]));
                at += end + 1;
            }
            // A quote as a character is no start of a text.
            '\'' if source[at..].starts_with("'\"'") => at += 2,
            ',' if depth == 0 => is_behind_comma = true,
            _ => {}
        }
        at += char.len_utf8();
    }
    literals
}

/// The texts that refuse something without a kind of their own, each with the number of its line.
fn plain_texts(source: &str) -> Vec<(usize, String)> {
    let is_comment = |line: &&str| line.trim_start().starts_with("//");
    let source: Vec<&str> = source.split('\n').map(|line| if is_comment(&line) { "" } else { line }).collect();
    let source = source.join("\n");
    let mut texts = Vec::new();
    for (start, must_be_first) in REFUSALS {
        for (at, _) in source.match_indices(start) {
            if source[..at].ends_with(|char: char| char.is_alphanumeric() || char == '_') {
                continue;
            }
            let arguments = &source[at + start.len()..];
            let first = arguments.trim_start();
            if must_be_first && !first.starts_with('"') && !first.starts_with("format!(") {
                continue;
            }
            let literals = literals_of_call(arguments);
            // A condition may have literals, which are before its comma.
            let text = match start {
                "ensure!(" => literals.iter().find(|(is_behind_comma, _)| *is_behind_comma),
                _ => literals.first(),
            };
            match text {
                Some((_, text)) => texts.push((line(&source, at), literal(text))),
                // The text of a closure that has a name: `let failed = || format!("...")`.
                None => {
                    let name = first.split(|char: char| !char.is_alphanumeric() && char != '_').next().unwrap();
                    let named = format!("let {name} = ||");
                    let Some(closure) = source[..at].rfind(&named).filter(|_| !name.is_empty()) else { continue };
                    let text = source[closure..].split_once('"').map(|(_, text)| &text[..literal_end(text)]);
                    texts.extend(text.map(|text| (line(&source, at), literal(text))));
                }
            }
        }
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

/// What no test provokes, by the reason: what the kernel, another program or a race would have to do, and what is caught before.
const UNPROVOKED: [(&str, &[&str]); 10] = [
    (
        "the kernel has to refuse what it does wherever the tests run",
        &[
            "asking for the type of the file system",
            "finding this program",
            "waiting for the child in the user namespace",
            "the child in the user namespace ended with",
            "the user namespace was not set up in",
            "creating a user namespace; is it allowed on this system?",
            "dropping groups",
            "becoming root in the user namespace",
            "tying this process to its parent",
            "reading the user namespace",
            "making a name space of mounts",
            "separating the mounts from the host's",
            "making a file system in memory",
            "unmounting the init layer",
            "mounting an overlay",
            "mounting an overlay with",
            "mounting an overlay on",
            "mounting at",
            "without the kernel's overlay, another program is needed",
            "drawing an id",
            "standard input and output",
            "handling signals",
            "getrusage",
            "starting to write the layer",
            "reading the terminal's modes",
            "setting the terminal's modes",
            "reading from the terminal",
            "writing config.json",
        ],
    ),
    ("the machine has no /mnt, /tmp or other directory to mount on", &["there is no directory to mount on: make /mnt"]),
    ("fuse-overlayfs has to fail, or to hang", &["ended with", "shows nothing for"]),
    (
        "somebody else has to change it at that moment",
        &["the archive changed between two runs", "is not there any more", "the config of image"],
    ),
    ("a file has to stay that root may delete", &["something could not be removed; the next run goes on with it"]),
    (
        "it is damaged before that, and named as such",
        &["is not in the store", "its writable layer is not known", "the layer that it stands on is damaged"],
    ),
    (
        "a registry is asked no more once its answer was read as what it should be",
        &["the manifest describes no image", "a document of the registry"],
    ),
    (
        "the config of an image has a platform before anybody asks for one",
        &["failed to read config content: NotFound: content digest", "failed to read config content: blob"],
    ),
    ("a layer would need sixteen million files", &["there are too many before it"]),
    ("no more than six arguments have conditions", &["that many conditions on a system call"]),
];

#[test]
fn plain_each_plain_refusal_is_read_by_a_test() {
    let (tests, sources) = tests_and_sources(files());
    let (mut unread, mut refusals, mut unprovoked) = (Vec::new(), 0, Vec::new());
    for (path, source) in sources {
        for (line, text) in plain_texts(&source) {
            let Some(words) = fixed_words(&text) else { continue };
            refusals += 1;
            if tests.contains(words) {
                continue;
            }
            match UNPROVOKED.iter().flat_map(|(_, all)| *all).find(|unprovoked| **unprovoked == words) {
                Some(words) => unprovoked.push(*words),
                None => unread.push(format!("{path}:{line}: {text}")),
            }
        }
    }
    assert!(refusals > 250, "only {refusals} refusals were found: are they written in another way?");
    testkit::assert_none("refusals that no test reads", &unread);
    let all = UNPROVOKED.iter().flat_map(|(_, all)| *all);
    let gone: Vec<String> = all.filter(|words| !unprovoked.contains(words)).map(|words| (*words).to_owned()).collect();
    testkit::assert_none("refusals that are gone, or that a test reads", &gone);
}

#[test]
fn plain_what_is_looked_for_is_what_does_not_vary() {
    let source = "/// One.\n#[error(\"{0} is \\\"odd\\\": {}\", x)]\nA,\n#[error(\n    \"a long \\\n     text\"\n)]\n#[error(transparent)]";
    assert_eq!(error_texts(source), [(2, "{0} is \"odd\": {}".to_owned()), (4, "a long text".to_owned())]);
    let source = "bail!(\"one\");\n// bail!(\"none\")\nensure!(a != \"b\", \"two {}\", f(1));\nlet why = || format!(\"three\");\n\
                  f(a, '\"').with_context(why)?;\nErr(format!(\n\"four\"))\nErr(other(\"none\"))\nSomeErr(\"none\")\n";
    let mut texts = plain_texts(source);
    texts.sort_unstable();
    let expected = [(1, "one"), (3, "two {}"), (5, "three"), (6, "four")].map(|(line, text)| (line, text.to_owned()));
    assert_eq!(texts, expected);
    assert_eq!(fixed_words("{0} is \"odd\": {}"), Some("is \"odd"));
    assert_eq!(fixed_words("{path}: {reason}"), None);
    assert_eq!(fixed_words("damaged layer {layer}: it cannot be mounted: {why}"), Some("it cannot be mounted"));
}
