//! What a container's files and its users' arguments say.

use std::io::Cursor;

use containers::{LogReader, Next, parsers};
use runtime::{Seccomp, Settings, spec};
use snapshot::parsers::container_lines;
use snapshot::schema::container::ContainerFiles;
use snapshot::schema::containerfile::{ConfigFile, HostConfig, Preset};
use snapshot::schema::gojson::first_value;

/// `config.v2.json` and, behind a NUL, `hostconfig.json`: what is written for them is read as the same, and what the
/// runtime is told of them has a specification or an error.
pub fn container(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |&byte| byte == 0);
    let config = first_value::<ConfigFile>(parts.next().unwrap_or_default());
    let host = first_value::<Preset<HostConfig>>(parts.next().unwrap_or(b"{}"));
    let (Ok(config), Ok(Preset(Some(host)))) = (config, host) else { return };
    let files = ContainerFiles { config, host };
    let written = container_lines(&files);
    let [config, host] = written.each_ref().map(String::as_bytes);
    let again = ContainerFiles { config: first_value(config).unwrap(), host: first_value(host).unwrap() };
    assert_eq!(container_lines(&again), written);
    if let Some(settings) = parsers::settings(&files) {
        let _ = spec::make(&settings);
    }
}

/// `/etc/passwd`, `/etc/group`, a user and more groups, with NUL between them: ids are those of users.
pub fn accounts(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split('\0');
    let mut next = || parts.next().unwrap_or_default();
    let (passwd, group, user) = (next(), next(), next());
    let more: Vec<String> = parts.map(str::to_owned).collect();
    if let Some((uid, groups, home)) = runtime::parsers::identity(passwd, group, user, &more) {
        assert!(i32::try_from(uid).is_ok() && groups.iter().all(|gid| i32::try_from(*gid).is_ok()));
        assert!(groups.len() > more.len() && !home.is_empty());
    }
}

/// A profile of system calls for a container without and with all rights.
pub fn profile(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut settings = Settings::new("x", "/nowhere", vec!["x".into()]);
    settings.seccomp = Seccomp::Profile(text.to_owned());
    for add in [vec![], vec!["ALL".to_owned()]] {
        settings.cap_add = add;
        let _ = spec::make(&settings);
    }
}

/// The argument of `-v`: where it is mounted is an absolute path without detours, and not the root.
pub fn bind(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(place) = parsers::bind(text) {
        assert!(place.len() > 1 && place.starts_with('/'), "{place:?}");
        assert!(!place[1..].split('/').any(|name| matches!(name, "" | "." | "..")), "{place:?}");
    }
}

/// A log of json-file: each record is read once, and what is no record stays.
pub fn log(bytes: &[u8]) {
    let mut reader = LogReader::new(Cursor::new(bytes));
    let lines = bytes.split_inclusive(|&byte| byte == b'\n').count();
    for read in 0..=lines {
        match reader.next_record().unwrap() {
            Next::Record(_) => assert!(read < lines),
            Next::Broken => {
                assert_eq!(reader.next_record().unwrap(), Next::Broken);
                return;
            }
            Next::End => return,
        }
    }
    panic!("more records than lines");
}
