//! The arguments of `HEALTHCHECK`.

use snapshot::schema::runconfig::HealthConfig;

use super::command;
use super::flags::flags;
use crate::parser::{Arguments, Dialect, Line};

/// Reads a health check, and how often it is made at first, in nanoseconds, which only BuildKit knows.
pub(super) fn healthcheck(line: &Line, dialect: Dialect) -> Result<(HealthConfig, i64), String> {
    let Arguments::Command(kind, arguments) = &line.arguments else {
        return Err("HEALTHCHECK requires at least one argument".into());
    };
    let kind = kind.to_uppercase();
    let command = command(arguments);
    if kind == "NONE" {
        if !command.words.is_empty() {
            return Err("HEALTHCHECK NONE takes no arguments".into());
        }
        return Ok((HealthConfig { test: Some(vec![kind]), ..HealthConfig::default() }, 0));
    }
    let names = ["interval", "timeout", "start-period", "retries", "start-interval"];
    let known = if dialect == Dialect::Modern { &names[..] } else { &names[..4] };
    let values = flags(line, known, &[], dialect)?;
    if kind != "CMD" {
        return Err(format!("Unknown type {} in HEALTHCHECK (try CMD)", docker_format::quoted(&kind)));
    }
    if command.words.is_empty() {
        return Err("Missing command after HEALTHCHECK CMD".into());
    }
    let first = if command.shell { "CMD-SHELL" } else { "CMD" }.to_owned();
    let time = |at: usize| match values.get(at).map_or("", String::as_str) {
        "" => Ok(0),
        text => match docker_format::until::duration(text) {
            None => Err(docker_format::until::duration_error(text)),
            // BuildKit of newer engines takes it for what is not set.
            Some(0) if dialect == Dialect::Modern => Ok(0),
            Some(..1_000_000) => Err(format!("Interval {:?} cannot be less than 1ms", names[at])),
            Some(length) => Ok(length),
        },
    };
    let retries = match values[3].as_str() {
        "" => 0,
        text => {
            let invalid = || format!("strconv.ParseInt: parsing {}: invalid syntax", docker_format::quoted(text));
            let number: i64 = text.parse::<i32>().map_err(|_| invalid())?.into();
            if dialect == Dialect::Modern && number < 0 {
                return Err(format!("--retries cannot be negative ({number})"));
            }
            if dialect == Dialect::Classic && number < 1 {
                return Err(format!("--retries must be at least 1 (not {number})"));
            }
            number
        }
    };
    let health = HealthConfig {
        test: Some(std::iter::once(first).chain(command.words).collect()),
        interval: time(0)?,
        timeout: time(1)?,
        start_period: time(2)?,
        retries,
    };
    Ok((health, time(4)?))
}
