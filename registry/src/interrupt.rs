//! An end to requests that wait for an answer, a lookup or a connection when the user asks to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    ConnectProxyConnector, ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport,
};

use crate::tls::{TlsConnector, TlsSettings};

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

/// An agent whose lookups of names and attempts to connect end as soon as the user asks to stop. What the system does for them
/// cannot be ended, so that it is left to a thread that nobody waits for any more.
pub(crate) fn agent(config: Config, tls: TlsSettings, interrupted: &Arc<AtomicBool>) -> Agent {
    let connector = ConnectProxyConnector::default()
        .chain(Leaving { inner: TcpConnector::default(), interrupted: Arc::clone(interrupted) })
        .chain(TlsConnector::new(tls));
    let resolver = Leaving { inner: DefaultResolver::default(), interrupted: Arc::clone(interrupted) };
    Agent::with_parts(config, connector, resolver)
}

/// What its `inner` one does, until the user asks to stop.
#[derive(Debug)]
struct Leaving<T> {
    inner: T,
    interrupted: Arc<AtomicBool>,
}

impl Resolver for Leaving<DefaultResolver> {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let (uri, config) = (uri.clone(), config.clone());
        unless_interrupted(&self.interrupted, move || DefaultResolver::default().resolve(&uri, &config, timeout))
    }
}

impl<In: Transport> Connector<In> for Leaving<TcpConnector> {
    type Out = <TcpConnector as Connector<In>>::Out;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        if chained.is_some() {
            // A proxy has been connected to.
            return self.inner.connect(details, chained);
        }
        let (uri, config) = (details.uri.clone(), details.config.clone());
        let (addrs, now, timeout) = (details.addrs.clone(), details.now, details.timeout);
        let (request_level, current_time) = (details.request_level, Arc::clone(&details.current_time));
        let run_connector = Arc::clone(&details.run_connector);
        let register_shutdown = Arc::clone(&details.register_shutdown);
        unless_interrupted(&self.interrupted, move || {
            let resolver = DefaultResolver::default();
            let (uri, config, resolver) = (&uri, &config, &resolver);
            let details = ConnectionDetails {
                uri,
                addrs,
                config,
                request_level,
                resolver,
                now,
                timeout,
                current_time,
                run_connector,
                register_shutdown,
            };
            TcpConnector::default().connect(&details, None::<In>)
        })
    }
}

/// Does something on a thread of its own, and leaves it there if the user asks to stop.
fn unless_interrupted<R: Send + 'static>(
    interrupted: &AtomicBool,
    work: impl FnOnce() -> Result<R, ureq::Error> + Send + 'static,
) -> Result<R, ureq::Error> {
    let (sender, receiver) = sync_channel(1);
    let work = move || drop(sender.send(work()));
    std::thread::Builder::new().name("connect".into()).spawn(work)?;
    loop {
        match receiver.recv_timeout(LOOK) {
            Ok(done) => return done,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(std::io::Error::other("the thread that connects has ended").into());
            }
            Err(RecvTimeoutError::Timeout) if interrupted.load(Ordering::Relaxed) => {
                return Err(std::io::Error::from(std::io::ErrorKind::Interrupted).into());
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}
