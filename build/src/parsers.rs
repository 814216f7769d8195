//! Parsers that only this crate uses, for those who feed them anything (`fuzz/targets`). No part of the interface.

use crate::expand::{expand_modern_words, expand_text, expand_words};
use crate::ignore::{Patterns, lines};
use crate::instruction::{Dockerfile, read};
use crate::parser::Dialect;

/// How many instructions a Dockerfile has, as the classic builder and as BuildKit read it; `None` where it is refused. The
/// variables of each instruction are expanded, too.
#[must_use]
pub fn dockerfile(bytes: &[u8]) -> [Option<usize>; 2] {
    [Dialect::Classic, Dialect::Modern].map(|dialect| {
        let file = read(bytes, dialect).ok()?;
        let env = ["A=b c".to_owned(), "B=".to_owned(), "C=a/b.c".to_owned()];
        for text in texts(&file) {
            let _ = (expand_text(text, &env), expand_words(text, file.escape, &env));
            let _ = expand_modern_words(text, file.escape, &env);
        }
        Some(texts(&file).count())
    })
}

fn texts(file: &Dockerfile) -> impl Iterator<Item = &str> {
    let inside = file.stages.iter().flat_map(|stage| &stage.instructions);
    let instructions = file.arguments.iter().chain(inside).map(|instruction| instruction.text.as_str());
    instructions.chain(file.stages.iter().map(|stage| stage.text.as_str()))
}

/// Whether a `.dockerignore` excludes a path; `None` if it is refused.
#[must_use]
pub fn dockerignore(file: &[u8], path: &[u8]) -> Option<bool> {
    let patterns = Patterns::parse(&lines(file), Dialect::Classic).ok()?;
    let _ = patterns.may_take_back(path);
    Some(patterns.exclude(path))
}
