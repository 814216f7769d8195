//! `layerfs container logs`: `docker container logs`, from the files of json-file.

use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use containers::{LogReader, LogRecord, Next};
use docker_format::until;
use jiff::Timestamp;
use snapshot::catalog::{Container, ContainerStatus};
use snapshot::schema::container::own_path;
use snapshot::view::{Needs, View};

use crate::commands::layerfs::NAME;
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show what --log-opt adds to each line
    #[arg(long)]
    details: bool,

    /// Go on with what comes
    #[arg(short, long)]
    follow: bool,

    /// Only what was written since a time: RFC 3339, seconds since 1970, or a duration before now
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Only the last lines
    #[arg(
        short = 'n',
        long,
        value_name = "NUMBER",
        default_value = "all",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    tail: String,

    /// Show the time of each line
    #[arg(short, long)]
    timestamps: bool,

    /// Only what was written before a time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// The container, by name or id
    container: String,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let view = View::read(root, driver, Needs::RECORDS)?;
    let container = containers::find(view.catalog(), &args.container)?;
    if matches!(container.status(), ContainerStatus::Removing | ContainerStatus::Dead) {
        anyhow::bail!("can not get logs from container which is dead or marked for removal");
    }
    let own = own_path(view.root().dir().path(), &container.id);
    let host = snapshot::schema::documents::read_container(view.root().dir(), &container.id)?.host.unwrap_or_default();
    match host.get("LogConfig").and_then(|config| config.get("Type")).and_then(serde_json::Value::as_str) {
        None | Some("json-file" | "") => {}
        Some("none") => anyhow::bail!("configured logging driver does not support reading"),
        Some(other) => anyhow::bail!("logs of the driver {other} are not read here"),
    }
    let now = Timestamp::now();
    let time = |name: &str, text: &Option<String>| {
        let time = text.as_deref().filter(|text| !text.is_empty()).map(|text| until::parse(text, now)).transpose();
        time.map_err(|error| anyhow::anyhow!("invalid value for \"{name}\": {error}"))
    };
    let (since, until) = (time("since", &args.since)?, time("until", &args.until)?);
    // The first record that is too late ends it, wherever the clock was before or is after that.
    let shows = |record: &LogRecord| match () {
        () if since.is_some_and(|since| record.time < since) => Shows::Not,
        () if until.is_some_and(|until| record.time > until) => Shows::NoMore,
        () => Shows::This,
    };
    let files = files(&own, container);
    // Records are counted first and printed afterwards, so that memory does not grow with the log. `--tail` takes the
    // last of all records, and only then do `--since` and `--until` count (moby v20.10.24
    // `daemon/logger/loggerutils/logfile.go: tailFiles`).
    let skipped = match args.tail.parse::<usize>() {
        Err(_) => 0,
        Ok(most) => {
            let mut count = 0_usize;
            read(&files, &mut |_| {
                count += 1;
                Ok(ControlFlow::Continue(()))
            })?;
            count.saturating_sub(most)
        }
    };
    let mut printer = Printer { args, out: output::binary()?, errors: std::io::stderr() };
    let mut count = 0;
    let (is_whole, last) = read(&files, &mut |record| {
        count += 1;
        if count <= skipped {
            return Ok(ControlFlow::Continue(()));
        }
        match shows(record) {
            Shows::This => printer.print(record)?,
            Shows::Not => {}
            Shows::NoMore => return Ok(ControlFlow::Break(())),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if args.follow {
        return follow(args, root, driver, container, (last, log_path(&own, container)), &mut printer, shows);
    }
    if !is_whole {
        output::complain(NAME, "error from daemon in stream: Error grabbing logs: unexpected EOF");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    This,
    Not,
    /// Neither this one nor any that comes after it.
    NoMore,
}

/// Reads the files of a log, until `each` has enough. Returns whether each of them is whole, and the last one where it ended.
fn read(
    files: &[PathBuf],
    each: &mut dyn FnMut(&LogRecord) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<(bool, Option<LogReader<File>>)> {
    let (mut is_whole, mut reader) = (true, None);
    for path in files {
        reader = open(path)?;
        while let Some(reader) = &mut reader {
            match reader.next_record()? {
                Next::Record(record) => {
                    if each(&record)?.is_break() {
                        return Ok((true, None));
                    }
                }
                Next::Broken => {
                    is_whole = false;
                    break;
                }
                Next::End => break,
            }
        }
    }
    Ok((is_whole, reader))
}

fn follow(
    args: &Args,
    root: &Path,
    driver: Option<&str>,
    container: &Container,
    (mut reader, path): (Option<LogReader<File>>, PathBuf),
    printer: &mut Printer<'_>,
    shows: impl Fn(&LogRecord) -> Shows,
) -> anyhow::Result<ExitCode> {
    const PAUSE: Duration = Duration::from_millis(100);
    loop {
        let view = View::read(root, driver, Needs::RECORDS)?;
        let is_up = containers::find(view.catalog(), container.id.as_str()).is_ok_and(|found| found.status().is_up());
        if reader.is_none() {
            reader = open(&path)?;
        }
        while let Some(reader) = &mut reader
            && let Next::Record(record) = reader.next_record()?
        {
            match shows(&record) {
                Shows::This => printer.print(&record)?,
                Shows::Not => {}
                Shows::NoMore => return Ok(ExitCode::SUCCESS),
            }
        }
        // After a rotation the path leads to another file.
        if let Some(old) = &reader
            && let (Ok(now), Ok(then)) = (std::fs::metadata(&path), old.get_ref().metadata())
        {
            use std::os::unix::fs::MetadataExt;
            if now.ino() != then.ino() {
                reader = open(&path)?;
                continue;
            }
        }
        if !is_up || args.until.is_some() {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(PAUSE);
    }
}

fn log_path(own: &Path, container: &Container) -> PathBuf {
    own.join(format!("{}-json.log", container.id))
}

/// The files of a log, the oldest first.
fn files(own: &Path, container: &Container) -> Vec<PathBuf> {
    let last = log_path(own, container);
    let numbered = |number: u32| own.join(format!("{}-json.log.{number}", container.id));
    let rotated: Vec<PathBuf> = (1..).map(numbered).take_while(|path| path.exists()).collect();
    rotated.into_iter().rev().chain([last]).collect()
}

fn open(path: &Path) -> anyhow::Result<Option<LogReader<File>>> {
    LogReader::open(path).with_context(|| path.display().to_string())
}

struct Printer<'a> {
    args: &'a Args,
    out: File,
    errors: std::io::Stderr,
}

impl Printer<'_> {
    fn print(&mut self, record: &LogRecord) -> anyhow::Result<()> {
        let mut line = String::new();
        if self.args.timestamps {
            line.push_str(&record.time.strftime("%Y-%m-%dT%H:%M:%S.%9fZ ").to_string());
        }
        if self.args.details {
            let pairs = record.attrs.iter().map(|(key, value)| format!("{}={}", escaped(key), escaped(value)));
            line.push_str(&pairs.collect::<Vec<_>>().join(","));
            line.push(' ');
        }
        line.push_str(&record.log);
        match record.stream.as_str() {
            "stdout" => self.out.write_all(line.as_bytes()).map_err(output::Lost::new)?,
            "stderr" => self.errors.write_all(line.as_bytes())?,
            _ => {}
        }
        Ok(())
    }
}

/// Go's `url.QueryEscape`.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
