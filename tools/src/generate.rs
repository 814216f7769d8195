//! Manual page and completions, from the same definition as the help.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::manual::Manual;
use crate::output;

/// What to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Generate {
    /// The manual page, as roff
    Man,
    /// Completions for bash
    Bash,
    /// Completions for zsh
    Zsh,
    /// Completions for fish
    Fish,
}

impl Generate {
    pub(crate) fn print<C: CommandFactory>(self, manual: &Manual) -> anyhow::Result<ExitCode> {
        let mut command = manual.command::<C>();
        let complete = |shell: Shell, command: &mut clap::Command| {
            let mut out = Vec::new();
            clap_complete::generate(shell, command, manual.name, &mut out);
            out
        };
        let bytes = match self {
            Self::Man => manual.page(command)?,
            Self::Bash => complete(Shell::Bash, &mut command),
            Self::Zsh => complete(Shell::Zsh, &mut command),
            Self::Fish => complete(Shell::Fish, &mut command),
        };
        output::file(&bytes)?;
        Ok(ExitCode::SUCCESS)
    }
}
