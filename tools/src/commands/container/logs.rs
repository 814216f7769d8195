//! `layerfs container logs`: `docker container logs`, from the files of json-file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use snapshot::catalog::{Container, Status};
use snapshot::schema::container::own_path;
use snapshot::schema::time::Time;
use snapshot::view::{Needs, View};

use super::flags::duration;
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

/// One record.
#[derive(Debug, Deserialize)]
struct Record {
    #[serde(default)]
    log: String,
    #[serde(default)]
    stream: String,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
    #[serde(deserialize_with = "moment")]
    time: Timestamp,
}

fn moment<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    let time = Time::parse(&text).map_err(serde::de::Error::custom)?;
    time.moment().ok_or_else(|| serde::de::Error::custom("no time"))
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let view = View::read(root, driver, Needs::RECORDS)?;
    let container = containers::find(view.catalog(), &args.container)?;
    if matches!(container.status(), Status::Removing | Status::Dead) {
        anyhow::bail!("can not get logs from container which is dead or marked for removal");
    }
    let own = own_path(view.root().dir().path(), &container.id);
    let host = snapshot::schema::documents::read_container(view.root().dir(), &container.id)?.host.unwrap_or_default();
    match host.get("LogConfig").and_then(|config| config.get("Type")).and_then(serde_json::Value::as_str) {
        None | Some("json-file" | "") => {}
        Some("none") => anyhow::bail!("configured logging driver does not support reading"),
        Some(other) => anyhow::bail!("logs of the driver {other} are not read here"),
    }
    let since = args.since.as_deref().map(|text| time("--since", text)).transpose()?;
    let until = args.until.as_deref().map(|text| time("--until", text)).transpose()?;
    let shows = |record: &Record| {
        since.is_none_or(|since| record.time >= since) && until.is_none_or(|until| record.time <= until)
    };
    let tail = args.tail.parse::<usize>().ok();
    let mut printer = Printer { args, out: output::binary()?, errors: std::io::stderr() };
    let mut waiting = std::collections::VecDeque::new();
    let mut broken = false;
    for path in files(&own, container) {
        let mut reader = open(&path)?;
        loop {
            match next(&mut reader)? {
                Next::Record(record) if shows(&record) => match tail {
                    None => printer.print(&record)?,
                    Some(most) => {
                        waiting.push_back(record);
                        if waiting.len() > most {
                            waiting.pop_front();
                        }
                    }
                },
                Next::Record(_) => {}
                Next::Broken => {
                    broken = true;
                    break;
                }
                Next::End => break,
            }
        }
    }
    waiting.iter().try_for_each(|record| printer.print(record))?;
    if args.follow {
        return follow(args, root, driver, container, &own, &mut printer, shows);
    }
    if broken {
        output::complain(NAME, "error from daemon in stream: Error grabbing logs: unexpected EOF");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn follow(
    args: &Args,
    root: &Path,
    driver: Option<&str>,
    container: &Container,
    own: &Path,
    printer: &mut Printer<'_>,
    shows: impl Fn(&Record) -> bool,
) -> anyhow::Result<ExitCode> {
    const PAUSE: Duration = Duration::from_millis(100);
    let path = log_path(own, container);
    let mut reader = open(&path)?;
    if let Some(reader) = &mut reader {
        reader.seek(SeekFrom::End(0))?;
    }
    loop {
        let view = View::read(root, driver, Needs::RECORDS)?;
        let is_up = containers::find(view.catalog(), container.id.as_str()).is_ok_and(|found| found.status().is_up());
        if reader.is_none() {
            reader = open(&path)?;
        }
        while let Next::Record(record) = next(&mut reader)? {
            if shows(&record) {
                printer.print(&record)?;
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

fn open(path: &Path) -> anyhow::Result<Option<BufReader<File>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::new(file))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(anyhow::Error::new(error).context(path.display().to_string())),
    }
}

enum Next {
    Record(Record),
    /// What is left is no whole record.
    Broken,
    End,
}

fn next(reader: &mut Option<BufReader<File>>) -> anyhow::Result<Next> {
    let Some(reader) = reader else { return Ok(Next::End) };
    let mut line = Vec::new();
    let read = reader.read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(Next::End);
    }
    match serde_json::from_slice(&line) {
        Ok(record) => Ok(Next::Record(record)),
        Err(_) => {
            // It may be written just now.
            reader.seek_relative(-i64::try_from(read)?)?;
            Ok(Next::Broken)
        }
    }
}

struct Printer<'a> {
    args: &'a Args,
    out: File,
    errors: std::io::Stderr,
}

impl Printer<'_> {
    fn print(&mut self, record: &Record) -> anyhow::Result<()> {
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

/// A time as docker's client takes it.
fn time(flag: &str, text: &str) -> anyhow::Result<Timestamp> {
    if let Ok(nanos) = duration(flag, text) {
        return Ok(Timestamp::now() - Duration::from_nanos(u64::try_from(nanos)?));
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return Ok(Timestamp::from_nanosecond((seconds * 1e9) as i128)?);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let local = text.parse::<jiff::civil::DateTime>();
    let local = local.map_err(|_| anyhow::anyhow!("invalid value for \"{flag}\": {text} is no time"))?;
    Ok(local.to_zoned(jiff::tz::TimeZone::system())?.timestamp())
}
