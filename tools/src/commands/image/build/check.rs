//! `build --check`: what is not as it should be in a Dockerfile, in buildx's form (docker/buildx v0.29.1 `commands/build.go`,
//! moby/buildkit `solver/errdefs/source.go`).

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use ::build::{Context, Options, Place, Warning, Way};

use super::Args;
use crate::commands::layerfs::NAME;
use crate::{hints, output as out};

/// Prints what there is to say; the exit status is 1 where there is something.
pub(super) fn run(args: &Args, place: &Place<'_>, options: &Options) -> anyhow::Result<ExitCode> {
    let way = Way::Modern { root: &place.root };
    let context = Context::open(&args.context, args.file.as_deref(), std::io::stdin(), way)?;
    let (warnings, looked) = ::build::check(place, &context, options)?;
    if looked.is_ok() || !warnings.is_empty() {
        out::raw(&text(&warnings, context.dockerfile(), &name(args)))?;
    }
    let is_clean = looked.is_ok() && warnings.is_empty();
    if let Err(error) = looked {
        out::complain(NAME, &hints::with_hint(&error.into()));
    }
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the Dockerfile is called.
fn name(args: &Args) -> String {
    match (args.context.as_str(), args.file.as_deref()) {
        ("-", None) | (_, Some("-")) => "Dockerfile".into(),
        (_, Some(file)) => file.into(),
        (".", None) => "Dockerfile".into(),
        (context, None) => Path::new(context).join("Dockerfile").display().to_string(),
    }
}

fn text(warnings: &[Warning], dockerfile: &[u8], name: &str) -> String {
    let mut text = match warnings.len() {
        0 => "Check complete, no warnings found.\n".to_owned(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        many => format!("Check complete, {many} warnings have been found!\n"),
    };
    let dockerfile = String::from_utf8_lossy(dockerfile);
    let lines: Vec<&str> = dockerfile.split('\n').collect();
    for warning in warnings {
        let (rule, address, line) = (warning.rule(), warning.address(), warning.line);
        let _ = writeln!(text, "\nWARNING: {rule} - {address}\n{}\n{name}:{line}", warning.text);
        excerpt(&mut text, &lines, (line, warning.last));
    }
    text
}

/// Some lines of a file, by their numbers from 1, and those around them.
fn excerpt(text: &mut String, lines: &[&str], marked: (usize, usize)) {
    let rule = "-".repeat(20);
    let (mut first, mut last) = marked;
    last = last.min(lines.len());
    let around = if first == last { 4 } else { 2 };
    let mut count = 0;
    while count < around {
        if first > 1 {
            (first, count) = (first - 1, count + 1);
        }
        if last < lines.len() {
            (last, count) = (last + 1, count + 1);
        }
        count += 1;
    }
    let _ = writeln!(text, "{rule}");
    for (number, line) in lines.iter().enumerate().take(last).skip(first - 1) {
        let number = number + 1;
        let mark = if (marked.0..=marked.1).contains(&number) { ">>>" } else { "   " };
        let _ = writeln!(text, " {number:3} | {mark} {line}");
    }
    let _ = writeln!(text, "{rule}");
}
