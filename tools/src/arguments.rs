//! A command line as clap takes it, made of one as docker's client takes it (docker/cli v20.10.24, spf13/pflag).

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction, Command};

/// Turns Go's way to give a truth value to a flag, `--all=false`, into clap's: `--all`, or nothing. Where words for another program
/// follow, as with `run IMAGE COMMAND`, they begin with the first word that is no flag; what stands from there on is that program's.
pub(crate) fn plain(command: &Command, arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let arguments: Vec<OsString> = arguments.collect();
    let (called, words) = called(command, &arguments);
    let (flags, words) = arguments.split_at(words.unwrap_or(arguments.len()));
    let all = all_switches(command);
    let plain = flags.iter().filter_map(|argument| plain_flag(called, &all, argument));
    let ends_flags = words.first().filter(|word| *word != "--").map(|_| OsString::from("--"));
    plain.chain(ends_flags).chain(words.iter().cloned()).collect()
}

/// Flags without a value, of the program and of all its commands.
fn all_switches(command: &Command) -> Vec<String> {
    let set = command.get_arguments().filter(|argument| matches!(argument.get_action(), ArgAction::SetTrue));
    let names =
        |flag: &Arg| [flag.get_long().map(|name| format!("--{name}")), flag.get_short().map(|name| format!("-{name}"))];
    let own = set.flat_map(names).flatten();
    own.chain(command.get_subcommands().flat_map(all_switches)).collect()
}

fn plain_flag(called: &Command, all: &[String], argument: &OsStr) -> Option<OsString> {
    let given = argument.to_str().and_then(|text| text.split_once('='));
    let Some((flag, value)) = given.filter(|(flag, _)| all.iter().any(|known| known == flag)) else {
        return Some(argument.to_owned());
    };
    // The same name may stand for a flag that takes a value.
    let takes_value = |known: &Arg| {
        known.get_long().is_some_and(|long| flag.strip_prefix("--") == Some(long))
            && !matches!(known.get_action(), ArgAction::SetTrue)
    };
    if called.get_arguments().any(takes_value) {
        return Some(argument.to_owned());
    }
    match crate::flags::parse_bool(value) {
        Ok(true) => Some(flag.into()),
        Ok(false) => None,
        Err(_) => Some(argument.to_owned()),
    }
}

/// The command that a command line calls, and where its flags end: at `--`, or, if words for another program follow, at the first word
/// that is no flag.
fn called<'c>(program: &'c Command, arguments: &[OsString]) -> (&'c Command, Option<usize>) {
    let mut command = program;
    let mut place = 1;
    while let Some(argument) = arguments.get(place) {
        let text = argument.to_string_lossy();
        if text == "--" {
            return (command, Some(place));
        } else if text.starts_with('-') && text.len() > 1 {
            place += usize::from(takes_next(program, command, &text));
        } else if let Some(below) = command.find_subcommand(&*text) {
            command = below;
        } else {
            let passes_on = command.get_positionals().any(Arg::is_trailing_var_arg_set);
            return (command, passes_on.then_some(place));
        }
        place += 1;
    }
    (command, None)
}

/// Whether the argument after these flags is the value of the last of them.
fn takes_next(program: &Command, command: &Command, flags: &str) -> bool {
    let find = |is_it: &dyn Fn(&Arg) -> bool| {
        let global = program.get_arguments().filter(|flag| flag.is_global_set());
        let found = command.get_arguments().chain(global).find(|flag| is_it(flag));
        found.is_some_and(|flag| flag.get_action().takes_values() && !flag.is_require_equals_set())
    };
    let Some(name) = flags.strip_prefix("--") else {
        // In a row of short flags, what follows one that takes a value is that value.
        let mut letters = flags.trim_start_matches('-').chars();
        let takes =
            |letter: char| find(&|flag| flag.get_short_and_visible_aliases().is_some_and(|all| all.contains(&letter)));
        return letters.find(|letter| takes(*letter)).is_some() && letters.as_str().is_empty();
    };
    let is_it =
        |flag: &Arg| flag.get_long() == Some(name) || flag.get_all_aliases().is_some_and(|all| all.contains(&name));
    !name.contains('=') && find(&is_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Command {
        let root = Arg::new("root").long("root").global(true);
        let switch = |name: &'static str, letter| Arg::new(name).long(name).short(letter).action(ArgAction::SetTrue);
        let words = Arg::new("words").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true);
        let flags = [
            switch("rm", 'r'),
            switch("tty", 't'),
            Arg::new("env").long("env").short('e').alias("variable").action(ArgAction::Append),
            Arg::new("squash").long("squash").num_args(0..=1).require_equals(true),
        ];
        let run = Command::new("run").visible_alias("r").args(flags).arg(Arg::new("image")).arg(words);
        let list = Command::new("ls").arg(switch("all", 'a')).arg(Arg::new("name").num_args(0..));
        Command::new("it").arg(root).subcommand(Command::new("box").subcommand(run).subcommand(list))
    }

    #[test]
    fn words_for_another_program_are_left_as_they_are() {
        for (given, expected) in [
            ("it box run image -e x --rm=false", "it box run -- image -e x --rm=false"),
            ("it box run --rm=true -e A=1 image -t", "it box run --rm -e A=1 -- image -t"),
            ("it box run --rm=false -te run image -- x", "it box run -te run -- image -- x"),
            ("it box run -teA=1 image cmd", "it box run -teA=1 -- image cmd"),
            ("it box r --variable x image cmd", "it box r --variable x -- image cmd"),
            ("it box run --env=A --squash image cmd", "it box run --env=A --squash -- image cmd"),
            ("it --root dir box run --root other image", "it --root dir box run --root other -- image"),
            ("it box run -- image --rm=false", "it box run -- image --rm=false"),
            ("it box run", "it box run"),
            ("it box ls --all=false name --all", "it box ls name --all"),
            ("it box ls name --all=true", "it box ls name --all"),
        ] {
            let arguments = given.split(' ').map(OsString::from);
            let plain: Vec<String> =
                plain(&program(), arguments).into_iter().map(|word| word.into_string().unwrap()).collect();
            assert_eq!(plain.join(" "), expected, "{given}");
        }
    }
}
