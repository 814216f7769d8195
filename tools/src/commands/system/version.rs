//! `layerfs version`: what `docker version` says of a client.

use std::process::ExitCode;

use serde_json::json;

use super::info::print;
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A Go template, such as `{{.Client.Version}}`, or `json`
    #[arg(short, long)]
    format: Option<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    // Go's names of architectures.
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let system = std::env::consts::OS;
    match args.format.as_deref() {
        None | Some("") => {
            for line in [
                "Client: layerfs".to_owned(),
                format!(" Version:           {version}"),
                format!(" OS/Arch:           {system}/{machine}"),
            ] {
                output::say(&line)?;
            }
        }
        Some(format) => print(&json!({ "Client": { "Version": version, "Os": system, "Arch": machine } }), format)?,
    }
    Ok(ExitCode::SUCCESS)
}
