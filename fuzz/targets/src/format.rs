//! What users write: templates, patterns, points in time, filters, sizes, changes.

use build::apply_changes;
use docker_format::filter::{Command, Filters};
use docker_format::pattern::matches;
use docker_format::size::{parse, ram_in_bytes};
use docker_format::template::{MissingKey, Template, Value};
use docker_format::until;
use layerfs::Digest;
use snapshot::gc::{Excludes, Pattern};
use snapshot::ids::ImageId;
use snapshot::parsers::keeps;
use snapshot::schema::runconfig::RunConfig;

/// Values of every kind that JSON has.
const DATA: &str = r#"{"ID":"sha256:1","Tags":["a:1","b"],"Size":1234,"Ratio":0.5,"On":true,"Nil":null,
    "Labels":{"a":"b","c":"<d>"},"Deep":{"List":[[1,2],[],["x"]]}}"#;

/// The longest output looked at: a template may ask for more than there is memory (`printf "%1000000d"`, in a range).
const MOST: usize = 64 << 20;

/// A template, evaluated over JSON: twice the same, whatever it is.
pub fn template(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(template) = Template::parse(text) else { return };
    let data = Value::raw(&serde_json::from_str(DATA).unwrap());
    let first = template.execute_as_far(&data, MissingKey::Nothing);
    assert!(first.0.len() <= MOST, "{} bytes of output", first.0.len());
    assert_eq!(first, template.execute_as_far(&data, MissingKey::Nothing));
    let _ = template.execute(&data, MissingKey::Error);
}

/// A pattern and, behind a NUL, a name: a pattern without special characters matches itself and nothing else.
pub fn pattern(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (pattern, name) = text.split_once('\0').unwrap_or((text, "library/busybox:latest"));
    let found = matches(pattern, name);
    if !pattern.contains(['*', '?', '[', '\\']) {
        assert_eq!(found, Ok(pattern == name));
    }
}

/// A point in time or a duration before now, as `--filter until=` takes it.
pub fn until(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let now = docker_format::ago::from_unix(1_700_000_000).unwrap();
    let _ = until::parse(text, now);
    if let Some(nanos) = until::duration(text) {
        let printed = until::go_duration(nanos);
        assert_eq!(until::duration(&printed), Some(nanos), "{text:?} is printed as {printed:?}");
    }
}

/// Filters, one a line: a name has each value once, in the order in which they came.
pub fn filter(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let lines: Vec<&str> = text.lines().collect();
    let Ok(filters) = Filters::parse(&lines) else { return };
    for name in ["label", "dangling", "until", "id", "name"] {
        let values = filters.get(name);
        assert!(filters.contains(name) != values.is_empty() && values.len() <= lines.len());
    }
    for command in [Command::ImageList, Command::ImagePrune, Command::ContainerList, Command::VolumeList] {
        let _ = filters.check(command);
    }
    let now = docker_format::ago::from_unix(1_700_000_000).unwrap();
    let _ = (filters.dangling(), filters.dangling_to_prune(), filters.until(now));
}

/// A size as people write it: digits mean themselves.
pub fn size(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (ours, ram) = (parse(text), ram_in_bytes(text));
    assert!(ram.is_none_or(|bytes| bytes >= 0));
    if !text.is_empty() && text.len() < 16 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number: u64 = text.parse().unwrap();
        assert_eq!((ours, ram), (Some(number), i64::try_from(number).ok()));
    }
}

/// docker-gc's file of images that stay: a line without special characters finds its own name.
pub fn exclude(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(excludes) = Excludes::parse(text) else { return };
    let id = ImageId(Digest::hash(b"x"));
    let names: Vec<&str> = text.lines().filter(|line| line.len() < 100).take(3).collect();
    let (found, _) = keeps(&excludes, &Pattern::new("x"), id, &names);
    let is_plain = |line: &&str| !line.is_empty() && line.bytes().all(|b| b.is_ascii_alphanumeric() || b == b':');
    assert!(found || !names.iter().any(is_plain), "{text:?}");
}

/// A pattern of images to keep and, behind a NUL, a name: one without special characters finds its own name.
pub fn keep(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (pattern, name) = text.split_once('\0').unwrap_or((text, text));
    let id = ImageId(Digest::hash(b"x"));
    let (_, found) = keeps(&Excludes::default(), &Pattern::new(pattern), id, &[name]);
    assert!(found || pattern != name || pattern.contains(['*', '?']), "{text:?}");
}

/// Changes to a config, as `-c` takes them: done twice, they are done, but for variables, which have other values then.
pub fn change(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut config = RunConfig { env: Some(vec!["PATH=/bin".into(), "A=b".into()]), ..RunConfig::default() };
    if apply_changes(&mut config, &[text.to_owned()]).is_err() {
        return;
    }
    assert!(config.env.iter().flatten().all(|variable| variable.contains('=')), "{:?}", config.env);
    if text.contains('$') {
        return;
    }
    let first = config.env.clone();
    apply_changes(&mut config, &[text.to_owned()]).unwrap();
    assert_eq!(config.env, first);
}
