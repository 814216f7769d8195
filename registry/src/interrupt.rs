//! An end to requests that wait for an answer when the user asks to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ureq::Agent;

/// How often one looks whether the user asks to stop.
const LOOK: Duration = Duration::from_millis(100);

/// Closes the connections of agents as soon as the user asks to stop: whoever waits for an answer on one of them gets an
/// error at once, and not only when the server has been silent for too long. Ends with the value.
#[derive(Debug)]
pub(crate) struct Watch(#[expect(dead_code, reason = "the thread sees when it is dropped")] Arc<()>);

impl Watch {
    pub(crate) fn new(agents: [Agent; 2], interrupted: &Arc<AtomicBool>) -> Self {
        let alive = Arc::new(());
        let (watched, interrupted) = (Arc::downgrade(&alive), Arc::clone(interrupted));
        // Where the system refuses a thread, requests end with their time limits.
        let _ =
            std::thread::Builder::new().name("interrupt".into()).spawn(move || watch(agents, &watched, &interrupted));
        Self(alive)
    }
}

fn watch(agents: [Agent; 2], alive: &Weak<()>, interrupted: &AtomicBool) {
    while alive.strong_count() > 0 {
        if interrupted.load(Ordering::Relaxed) {
            agents.into_iter().for_each(Agent::shutdown);
            return;
        }
        std::thread::sleep(LOOK);
    }
}
