//! What `image prune`, `container prune`, `volume prune` and `builder prune` ask and say: docker's words (docker/cli v20.10.24
//! `cli/command/{image,container,volume,builder}/prune.go`).

use std::io::{BufRead, Write};
use std::process::ExitCode;

use docker_format::filter::Filters;
use docker_format::size::size4;

use crate::exit::UsageError;
use crate::output;

/// The filters of a prune.
pub(crate) fn filters(texts: &[String]) -> anyhow::Result<Filters> {
    Filters::parse(texts).map_err(|error| UsageError(format!("--filter: {error}")).into())
}

/// Asks before `what` is removed; the end of the input means no.
pub(crate) fn is_sure(what: &str) -> anyhow::Result<bool> {
    confirms(&format!("WARNING! This will remove {what}.\n"))
}

/// Asks whether to continue, after a warning; the end of the input means no.
pub(crate) fn confirms(warning: &str) -> anyhow::Result<bool> {
    write!(std::io::stdout(), "{warning}Are you sure you want to continue? [y/N] ")?;
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim_end_matches(['\r', '\n']).eq_ignore_ascii_case("y"))
}

/// Says what was removed, below a title if it is anything, and how many bytes that gave back.
pub(crate) fn say_removed(title: &str, lines: &[String], reclaimed: u64) -> anyhow::Result<ExitCode> {
    if !lines.is_empty() {
        output::say(title)?;
        lines.iter().try_for_each(|line| output::say(line))?;
        output::say("")?;
    }
    output::say(&format!("Total reclaimed space: {}", size4(reclaimed)))?;
    Ok(ExitCode::SUCCESS)
}
