//! Man page and completions, from the same definition as the help.

use std::io::Write;
use std::process::ExitCode;

use clap_complete::Shell;

/// What to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Generate {
    /// roff
    Man,
    /// Completions for bash.
    Bash,
    /// Completions for zsh.
    Zsh,
    /// Completions for fish.
    Fish,
}

impl Generate {
    pub(crate) fn print(self, mut command: clap::Command) -> anyhow::Result<ExitCode> {
        let mut out = Vec::new();
        let shell = match self {
            Self::Man => {
                command.build();
                man(&command, &mut out)?;
                None
            }
            Self::Bash => Some(Shell::Bash),
            Self::Zsh => Some(Shell::Zsh),
            Self::Fish => Some(Shell::Fish),
        };
        if let Some(shell) = shell {
            let name = command.get_name().to_owned();
            clap_complete::generate(shell, &mut command, name, &mut out);
        }
        std::io::stdout().write_all(&out)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// One page for the command and all its subcommands.
fn man(command: &clap::Command, out: &mut Vec<u8>) -> anyhow::Result<()> {
    clap_mangen::Man::new(command.clone()).render(out)?;
    for subcommand in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let page = clap_mangen::Man::new(subcommand.clone());
        page.render_synopsis_section(out)?;
        page.render_description_section(out)?;
        page.render_options_section(out)?;
        for below in subcommand.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let page = clap_mangen::Man::new(below.clone());
            page.render_synopsis_section(out)?;
            page.render_description_section(out)?;
            page.render_options_section(out)?;
        }
    }
    Ok(())
}
