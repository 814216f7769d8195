//! What each program says of itself: help, manual page and completions, all from one definition.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches};

use crate::{commands, output};

/// The line above what `--json` prints.
pub(crate) const REPORT: &str = "What --json prints, one object:";

/// What help and manual page say besides what clap knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manual {
    /// The program.
    pub(crate) name: &'static str,
    /// Command lines, and what each does.
    pub(crate) examples: &'static [(&'static str, &'static str)],
    /// Another section of the help: its title and its lines; empty for none.
    pub(crate) more: (&'static str, &'static [(&'static str, &'static str)]),
    /// Exit statuses and what they mean.
    pub(crate) statuses: &'static [(u8, &'static str)],
    /// Manual pages to look at: of these programs, and of nothing else.
    pub(crate) see_also: &'static [&'static str],
    /// What `--json` prints, in lines, where the whole program has one report; empty for none.
    pub(crate) report: &'static str,
}

impl Manual {
    /// The command line of a program, with everything that its help says.
    pub(crate) fn command<C: CommandFactory>(&self) -> clap::Command {
        let help = self.after_help();
        let command = self.with_texts_of_long_forms(C::command());
        if self.report.is_empty() {
            return command.after_help(help);
        }
        let long = format!("{help}\n\n{REPORT}\n\n{}", self.report);
        command.after_help(help).after_long_help(long)
    }

    /// Gives each short form what its long form says of itself. A set of flags that is flattened into it would speak for it otherwise.
    fn with_texts_of_long_forms(&self, mut command: clap::Command) -> clap::Command {
        for (shorts, longs) in self.more.1 {
            let path = longs.strip_prefix(self.name).and_then(|path| path.trim_start().split_once(' '));
            let Some((group, longs)) = path else { continue };
            for (short, long) in shorts.split(", ").zip(longs.split(", ")) {
                let long = command.find_subcommand(group).and_then(|group| group.find_subcommand(long));
                let about = long.and_then(clap::Command::get_about).map(ToString::to_string).unwrap_or_default();
                command = command.mut_subcommand(short, |short| short.about(about).long_about(Resettable::Reset));
            }
        }
        command
    }

    /// Reads a command line. Help, version and usage errors are printed here.
    pub(crate) fn parse<C>(&self, arguments: impl IntoIterator<Item = OsString>) -> Result<C, ExitCode>
    where
        C: CommandFactory + FromArgMatches,
    {
        let matches = self.command::<C>().try_get_matches_from(arguments);
        matches.and_then(|matches| C::from_arg_matches(&matches)).map_err(|error| self.answer(error))
    }

    fn answer(&self, mut error: clap::Error) -> ExitCode {
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => crate::run(self.name, || {
                let text = error.render();
                let colours = std::io::stdout().is_terminal();
                output::file(if colours { text.ansi().to_string() } else { text.to_string() }.as_bytes())?;
                Ok(ExitCode::SUCCESS)
            }),
            // docker does this, too, for a command that only has subcommands.
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                let _ = error.print();
                ExitCode::SUCCESS
            }
            _ => {
                // clap suggests "to pass '--nope' as a value, use '-- --nope'", which nobody wants who has misspelled a flag.
                error.remove(ContextKind::Suggested);
                // With a flag that it takes for the one that was meant, it prints the usage of that one alone.
                if error.get(ContextKind::SuggestedArg).is_some() {
                    error.remove(ContextKind::Usage);
                }
                // A flag that another command has is not misspelled.
                if let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg)
                    && let Some(owners) = owners(flag)
                {
                    error.remove(ContextKind::SuggestedArg);
                    let tip = ContextValue::StyledStrs(owners.into_iter().map(Into::into).collect());
                    error.insert(ContextKind::Suggested, tip);
                }
                let _ = error.print();
                ExitCode::from(2)
            }
        }
    }

    fn after_help(&self) -> String {
        let mut text = String::new();
        let (title, lines) = self.more;
        if !lines.is_empty() {
            text += &format!("{title}:\n");
            let width = lines.iter().map(|(short, _)| short.len()).max().unwrap_or(0);
            text.extend(lines.iter().map(|(short, long)| format!("  {short:width$}  {long}\n")));
            text.push('\n');
        }
        text += "Examples:\n";
        text.extend(self.examples.iter().map(|(line, what)| format!("  {line}\n      {what}\n")));
        let statuses: Vec<String> = self.statuses.iter().map(|(status, what)| format!("{status} {what}")).collect();
        text + "\nExit status: " + &statuses.join(", ")
    }

    /// The manual page: the program, then each of its commands.
    pub(crate) fn page(&self, mut command: clap::Command) -> std::io::Result<Vec<u8>> {
        command.build();
        let mut page = Vec::new();
        let man = clap_mangen::Man::new(command.clone()).title(self.name.to_uppercase());
        let man = man.date(DATE).manual("User Commands");
        man.render_title(&mut page)?;
        man.render_name_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        for (command, depth) in doers(&command, 1) {
            section(command, depth, &mut page)?;
        }
        let mut text = String::new();
        let (title, lines) = self.more;
        if !lines.is_empty() {
            text += &format!(".SH {}\n", quoted(&title.to_uppercase()));
            text.extend(lines.iter().map(|(short, long)| format!(".TP\n\\fB{}\\fR\n{}\n", roff(short), roff(long))));
        }
        text += &literal(self.report);
        text += ".SH EXAMPLES\n";
        text.extend(self.examples.iter().map(|(line, what)| format!(".TP\n\\fB{}\\fR\n{}\n", roff(line), roff(what))));
        text += ".SH \"EXIT STATUS\"\n";
        text.extend(self.statuses.iter().map(|(status, what)| format!(".TP\n\\fB{status}\\fR\n{}\n", roff(what))));
        let others: Vec<String> = self.see_also.iter().map(|name| format!("\\fB{}\\fR(1)", roff(name))).collect();
        text += &format!(".SH \"SEE ALSO\"\n{}\n", others.join(", "));
        page.extend_from_slice(text.as_bytes());
        Ok(tidy(&String::from_utf8_lossy(&page)).into_bytes())
    }
}

/// Commands that are named as those that have a flag; of more, none is.
const MOST_OWNERS: usize = 3;

/// Which commands of ours have a long flag: nothing to say where many have it, and `None` where none does.
fn owners(flag: &str) -> Option<Option<String>> {
    let name = flag.strip_prefix("--")?;
    let mut owners = Vec::new();
    let mut left: Vec<(String, clap::Command)> =
        commands::programs().into_iter().map(|program| (program.get_name().to_owned(), program)).collect();
    while let Some((path, command)) = left.pop() {
        let has_it = |arg: &clap::Arg| !arg.is_hide_set() && arg.get_long() == Some(name);
        if command.get_arguments().any(has_it) {
            owners.push(format!("`{path}`"));
        }
        let below = command.get_subcommands().filter(|below| !below.is_hide_set());
        left.extend(below.map(|below| (format!("{path} {}", below.get_name()), below.clone())));
    }
    owners.sort_unstable();
    let (last, others) = owners.split_last()?;
    let joined = if others.is_empty() { last.clone() } else { format!("{} and {last}", others.join(", ")) };
    Some((owners.len() <= MOST_OWNERS).then(|| format!("{flag} is an option of {joined}")))
}

/// The date in the foot of each page. Without one the name of the program is taken for it. It changes with the version.
const DATE: &str = "2026-11-30";

/// The page without what its renderer leaves behind: blanks at the end of lines, and line breaks beside a space, which
/// do nothing.
fn tidy(page: &str) -> String {
    let lines: Vec<&str> = page.lines().map(str::trim_end).collect();
    let is_space =
        |place: Option<usize>| place.and_then(|at| lines.get(at)).is_some_and(|line| matches!(*line, ".sp" | ""));
    let kept = lines
        .iter()
        .enumerate()
        .filter(|(at, line)| **line != ".br" || !(is_space(at.checked_sub(1)) || is_space(at.checked_add(1))));
    kept.map(|(_, line)| format!("{line}\n")).collect()
}

/// The commands that do something, in the order of the help; hidden ones are other names of these and are left out.
/// A command that has others below it may do something itself. With each comes how deep below the program it is; those
/// of `command` are at `depth`.
fn doers(command: &clap::Command, depth: usize) -> Vec<(&clap::Command, usize)> {
    let below = command.get_subcommands().filter(|sub| sub.get_name() != "help" && !sub.is_hide_set());
    let with_below = below.flat_map(|sub| {
        let own = (!sub.has_subcommands() || !sub.is_subcommand_required_set()).then_some((sub, depth));
        own.into_iter().chain(doers(sub, depth + 1))
    });
    with_below.collect()
}

/// A section with the whole of a command: what it does, how it is called, its options.
fn section(command: &clap::Command, depth: usize, page: &mut Vec<u8>) -> std::io::Result<()> {
    let path = command.get_bin_name().unwrap_or(command.get_name()).replace('-', " ");
    let path = command.get_display_name().map_or(path, |name| name.replacen('-', " ", depth));
    let man = clap_mangen::Man::new(command.clone());
    let body = |render: &dyn Fn(&mut Vec<u8>) -> std::io::Result<()>| -> std::io::Result<String> {
        let mut bytes = Vec::new();
        render(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // Remove the section's own heading, and the renderer's marks before it.
        Ok(text
            .split_once(".SH ")
            .map_or(text.clone(), |(_, rest)| rest.split_once('\n').map_or(String::new(), |(_, body)| body.to_owned())))
    };
    let synopsis = body(&|out| man.render_synopsis_section(out))?;
    let description = body(&|out| man.render_description_section(out))?;
    let options = body(&|out| man.render_options_section(out))?;
    let more = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let more = literal(more.strip_prefix(REPORT).unwrap_or(&more));
    let text = format!(".SH {}\n{synopsis}.PP\n{description}{options}{more}", quoted(&path.to_uppercase()));
    page.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Lines of a report, as they are; nothing for none.
fn literal(report: &str) -> String {
    if report.is_empty() {
        return String::new();
    }
    format!(".PP\n{}\n.PP\n.nf\n{}\n.fi\n", roff(REPORT), roff(report.trim()))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", roff(text))
}

/// Text that roff prints as it is.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}
