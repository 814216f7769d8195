//! What lines say by themselves, and together (moby/buildkit `frontend/dockerfile/instructions/parse.go`,
//! `dockerfile2llb/validations.go`).

use std::collections::BTreeSet;

use super::{Found, Rule};
use crate::parser::{Arguments, Line};

fn words(line: &Line) -> &[String] {
    match &line.arguments {
        Arguments::Words(words) => words,
        _ => &[],
    }
}

fn is_upper(text: &str) -> bool {
    text == text.to_uppercase()
}

fn is_lower(text: &str) -> bool {
    text == text.to_lowercase()
}

/// Each line by itself.
pub(super) fn lines(found: &mut Found, lines: &[Line]) {
    for line in lines.iter().filter(|line| line.gap) {
        found.warn_at(Rule::NoEmptyContinuation, (line.last, line.last), "Empty continuation line".into());
    }
    for line in lines {
        match (line.name.as_str(), words(line)) {
            ("maintainer", _) => {
                let text = "Maintainer instruction is deprecated in favor of using label";
                found.warn(Rule::MaintainerDeprecated, line, text.into());
            }
            ("from", [_, keyword, name]) => {
                if !is_lower(name) {
                    let text = format!("Stage name '{name}' should be lowercase");
                    found.warn(Rule::StageNameCasing, line, text);
                }
                let from = line.written();
                if is_lower(from) && !is_lower(keyword) || is_upper(from) && !is_upper(keyword) {
                    let text = format!("'{keyword}' and '{from}' keywords' casing do not match");
                    found.warn(Rule::FromAsCasing, line, text);
                }
                description(found, line, &[name]);
            }
            ("arg", words) => {
                let names: Vec<&str> = words.iter().map(|word| word.split('=').next().unwrap_or_default()).collect();
                description(found, line, &names);
            }
            _ => {}
        }
    }
}

/// A comment before a stage or an argument tells what that is, and begins with its name.
fn description(found: &mut Found, line: &Line, names: &[impl AsRef<str>]) {
    let Some(comment) = &line.comment else { return };
    let first = comment.split(' ').next().unwrap_or_default();
    if names.is_empty() || names.iter().any(|name| name.as_ref() == first) {
        return;
    }
    let (instruction, name) = (line.name.to_uppercase(), if names.len() > 1 { "<arg_key>" } else { names[0].as_ref() });
    let text = format!("Comment for {instruction} should follow the format: `# {name} <description>`");
    found.warn(Rule::InvalidDefinitionDescription, line, text);
}

/// The stages: their names, and how all that is in them is written.
pub(super) fn stages(found: &mut Found, lines: &[Line]) {
    let first = lines.iter().position(|line| line.name == "from").unwrap_or(lines.len());
    let lines = &lines[first..];
    let mut seen = BTreeSet::new();
    for line in lines.iter().filter(|line| line.name == "from") {
        let [_, _, name] = words(line) else { continue };
        let name = name.to_lowercase();
        let quoted = docker_format::quoted(&name);
        if matches!(name.as_str(), "context" | "scratch") {
            let text = format!("Stage name should not use the same name as reserved stage {quoted}");
            found.warn(Rule::ReservedStageName, line, text);
        }
        if !seen.insert(name) {
            let text = format!("Duplicate stage name {quoted}, stage names should be unique");
            found.warn(Rule::DuplicateStageName, line, text);
        }
    }
    let count = |is: fn(&str) -> bool| lines.iter().filter(|line| is(line.written())).count();
    let (wanted, case): (fn(&str) -> bool, _) =
        if count(is_lower) > count(is_upper) { (is_lower, "lowercase") } else { (is_upper, "uppercase") };
    for line in lines.iter().filter(|line| !wanted(line.written())) {
        let text = format!("Command '{}' should match the case of the command majority ({case})", line.written());
        found.warn(Rule::ConsistentInstructionCasing, line, text);
    }
}
