//! What a container writes: to its log, and to all who are attached.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};

use snapshot::schema::container::ContainerFiles;

use crate::log::{Lines, Log};
use crate::protocol::Message;

/// The connections of those who are attached.
pub(crate) type Clients = Arc<Mutex<Vec<UnixStream>>>;

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Copies what the container writes to the log and to all who are attached. The receiver hears when all has come to its end.
pub(crate) fn copy_output(streams: Vec<(&'static str, File)>, clients: &Clients, log: Option<Log>) -> Receiver<()> {
    let (done, ended) = mpsc::channel();
    let log = Arc::new(Mutex::new(log));
    let threads: Vec<_> = streams
        .into_iter()
        .map(|(name, mut from)| {
            let (clients, log) = (Arc::clone(clients), Arc::clone(&log));
            std::thread::spawn(move || {
                let mut lines = Lines::default();
                let mut buffer = vec![0; 32 << 10];
                let keep = |line: &[u8], time| {
                    // A log that cannot be written must not stop the container.
                    let _ = locked(&log).as_mut().map(|log| log.write(name, line, time));
                };
                loop {
                    let read = match from.read(&mut buffer) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                        // The other end of a terminal is closed.
                        Err(_) | Ok(0) => break,
                        Ok(read) => read,
                    };
                    let bytes = buffer[..read].to_vec();
                    lines.take(&bytes, keep);
                    let message = if name == "stderr" { Message::ErrorOutput(bytes) } else { Message::Output(bytes) };
                    locked(&clients).retain_mut(|client| message.send(client).is_ok());
                }
                lines.end(keep);
            })
        })
        .collect();
    std::thread::spawn(move || {
        for thread in threads {
            let _ = thread.join();
        }
        let _ = done.send(());
    });
    ended
}

/// What `--log-opt` adds to each record, as JSON; empty for nothing.
pub(crate) fn attributes(files: &ContainerFiles) -> String {
    let options = files.host.log_config.config.clone().unwrap_or_default();
    let config = files.config.config.clone().unwrap_or_default();
    let mut found = BTreeMap::new();
    let listed = |name: &str| options.get(name).cloned().unwrap_or_default();
    for label in listed("labels").split(',').filter(|label| !label.is_empty()) {
        if let Some(value) = config.labels.as_ref().and_then(|labels| labels.get(label)) {
            found.insert(label.to_owned(), value.clone());
        }
    }
    for name in listed("env").split(',').filter(|name| !name.is_empty()) {
        let value = config.env.iter().flatten().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='));
        found.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }
    if found.is_empty() {
        return String::new();
    }
    let mut out = String::new();
    snapshot::schema::gojson::Encode::encode(&found, &mut out);
    out
}
