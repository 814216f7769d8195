//! What `pull --json` and `push --json` print while they go on: an object a line, for programs.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use layerfs::Digest;
use serde_json::{Value, json};

use crate::output;

/// How often it is said at most how far a blob has come.
const PAUSE: Duration = Duration::from_millis(200);

/// Events as lines; nothing if they are not wanted.
pub(super) struct Events {
    wanted: bool,
    /// When it was last said how far a blob has come.
    said: Mutex<HashMap<Digest, Instant>>,
}

impl Events {
    pub(super) fn new(wanted: bool) -> Self {
        Self { wanted, said: Mutex::default() }
    }

    /// Tells an event.
    pub(super) fn tell(&self, event: &str, fields: Value) {
        if !self.wanted {
            return;
        }
        let mut line = json!({ "event": event });
        if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
            line.extend(fields);
        }
        // A reader that is gone is noticed when the program ends.
        let _ = output::json_line(&line);
    }

    /// Tells how far a blob has come, now and then. `of` says what is meant by its digest.
    pub(super) fn advance(&self, of: &str, digest: Digest, bytes: u64, size: u64) {
        if !self.wanted {
            return;
        }
        {
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            if said.get(&digest).is_some_and(|last| last.elapsed() < PAUSE) {
                return;
            }
            said.insert(digest, Instant::now());
        }
        self.tell("progress", json!({ (of): digest, "bytes": bytes, "size": size }));
    }
}
