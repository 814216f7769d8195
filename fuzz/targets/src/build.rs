//! What a build reads: a Dockerfile, and which files of a context do not count.

use build::parsers;

/// A Dockerfile: an instruction has a line of its own.
pub fn dockerfile(bytes: &[u8]) {
    let lines = bytes.split(|&byte| byte == b'\n').count();
    for count in parsers::dockerfile(bytes).into_iter().flatten() {
        assert!(count <= lines, "{count} instructions in {lines} lines");
    }
}

/// A `.dockerignore` and, behind a NUL, a path: one more line with that path excludes it, whatever the others say, and with `!` takes
/// it back in.
pub fn dockerignore(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |&byte| byte == 0);
    let file = parts.next().unwrap_or_default();
    let path = parts.next().unwrap_or(b"a/b");
    if parsers::dockerignore(file, path).is_none() {
        return;
    }
    let Some(line) = as_pattern(path) else { return };
    for (mark, excluded) in [("", true), ("!", false)] {
        let file = [file, b"\n", mark.as_bytes(), line.as_bytes()].concat();
        assert_eq!(parsers::dockerignore(&file, path), Some(excluded), "{mark}{line}");
    }
}

/// The pattern that means this path alone; `None` for a path that no line can mean.
fn as_pattern(path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let is_plain = path.trim() == path && !path.contains(char::is_control);
    let mut names = path.split('/');
    if !is_plain || names.any(|name| name.is_empty() || name.trim() != name || matches!(name, "." | "..")) {
        return None;
    }
    let escaped = |char: char| {
        let escape = Some('\\').filter(|_| char.is_ascii_punctuation() && char != '/');
        escape.into_iter().chain([char])
    };
    Some(path.chars().flat_map(escaped).collect())
}
