//! One registry: requests with what they need of tokens, redirects and repeats.

use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ureq::http::{Method, Request, Response, Uri};
use ureq::{Agent, Body, Proxy, SendBody};

use crate::address::{as_secure, origin, redirected, refused};
use crate::answer::checked;
use crate::body::{Sent, Told};
use crate::credentials::Credentials;
use crate::error::RegistryError;
use crate::header::{Challenge, challenges};
use crate::host::{RegistryHost, is_loopback};
use crate::interrupt::{Watch, agent};
use crate::lock;
use crate::tls::{self, TlsSettings};
use crate::token::Authorization;
use crate::transport::{broken, is_refused, spelled, transport};
use crate::wait::{Backoff, pause};

/// Redirects of one request, as Go's client follows them.
pub(crate) const MAX_REDIRECTS: usize = 10;

/// Attempts at a request for a small document.
const ATTEMPTS: u32 = 4;

/// The most of a body that is read so that its connection can be used again.
const MAX_REST: u64 = 64 << 10;

/// How a registry is spoken to. The defaults are what most users want.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// How long nothing may come before a connection counts as dead.
    pub stall: Duration,
    /// The pause after the first failed attempt; each further one is twice as long.
    pub first_pause: Duration,
    /// The directory with a directory of certificates for each domain.
    pub certs: PathBuf,
    /// Becomes true when the user asks to stop.
    pub interrupted: Arc<AtomicBool>,
}

impl ClientOptions {
    /// The defaults: 30 seconds, half a second, docker's directory.
    #[must_use]
    pub fn new(interrupted: Arc<AtomicBool>) -> Self {
        Self {
            stall: Duration::from_secs(30),
            first_pause: Duration::from_millis(500),
            certs: PathBuf::from("/etc/docker/certs.d"),
            interrupted,
        }
    }
}

/// A registry, with the credentials for it.
pub struct RegistryClient {
    pub(crate) host: RegistryHost,
    pub(crate) credentials: Option<Credentials>,
    options: ClientOptions,
    /// For the registry, and for all other hosts.
    agents: (Agent, Agent),
    _watch: Watch,
    /// Who is asked which digest a tag has, one after the other, if that is not this host.
    resolvers: Vec<Arc<Self>>,
    /// The address that has answered.
    base: Mutex<Option<String>>,
    /// What proves who asks, by the scope for which it holds.
    authorizations: Mutex<HashMap<String, Authorization>>,
    /// Whether a token server is asked for a token that lasts, and the one that it gave.
    pub(crate) asks_identity: AtomicBool,
    pub(crate) identity: Mutex<Option<String>>,
}

impl std::fmt::Debug for RegistryClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryClient").field("host", &self.host).finish_non_exhaustive()
    }
}

/// What a registry has answered.
pub(crate) struct Answer {
    pub(crate) response: Response<Body>,
    /// What was asked for, for messages.
    pub(crate) url: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// All of the body, which must not have more than `limit` bytes.
    pub(crate) fn bytes(self, what: &'static str, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let url = self.url;
        let mut bytes = Vec::new();
        let read = self.response.into_body().into_reader().take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|error| broken("Get", &url, &error))?;
        if bytes.len() as u64 > limit {
            return Err(RegistryError::TooLarge { url, what, limit });
        }
        Ok(bytes)
    }
}

impl RegistryClient {
    /// A client for a registry. Nothing is sent yet.
    ///
    /// # Errors
    /// [`RegistryError::File`], [`RegistryError::Config`] if the certificates for it cannot be read.
    pub fn new(
        host: RegistryHost,
        credentials: Option<Credentials>,
        options: ClientOptions,
    ) -> Result<Self, RegistryError> {
        let agents = {
            let config = |proxy: Option<Proxy>, dial: Option<Duration>, tls| agent_of(&options, proxy, dial, tls);
            let proxy = if is_loopback(host.address()) { None } else { Proxy::try_from_env() };
            let roots = tls::system_roots()?;
            let others = tls::checked(roots.clone(), Vec::new())?;
            let dial = host.contact().dial_timeout;
            (config(proxy, dial, host.tls(roots, &options.certs)?), config(Proxy::try_from_env(), None, others))
        };
        let watch = Watch::new([agents.0.clone(), agents.1.clone()], &options.interrupted);
        Ok(Self {
            host,
            credentials,
            options,
            agents,
            _watch: watch,
            resolvers: Vec::new(),
            base: Mutex::default(),
            authorizations: Mutex::default(),
            asks_identity: AtomicBool::new(false),
            identity: Mutex::default(),
        })
    }

    /// The same client, which does not believe its host which digest a tag has, and asks these for that, one after the other.
    #[must_use]
    pub fn resolving_at(self, resolvers: Vec<Arc<Self>>) -> Self {
        Self { resolvers, ..self }
    }

    /// Whether others are asked what names mean.
    pub(crate) fn has_resolvers(&self) -> bool {
        !self.resolvers.is_empty()
    }

    /// Asks who knows what names mean, until one of them has an answer.
    pub(crate) fn resolving<R>(&self, ask: impl Fn(&Self) -> Result<R, RegistryError>) -> Result<R, RegistryError> {
        let Some((last, others)) = self.resolvers.split_last() else { return ask(self) };
        for resolver in others {
            match ask(resolver) {
                Err(error) if !matches!(error, RegistryError::Interrupted) => {}
                answer => return answer,
            }
        }
        ask(last)
    }

    /// The registry.
    #[must_use]
    pub fn host(&self) -> &RegistryHost {
        &self.host
    }

    /// The credentials as docker's own JSON, `{}` for none. docker marks its notes of pushes with this text.
    #[must_use]
    pub fn credentials_as_json(&self) -> String {
        self.credentials.as_ref().map_or_else(|| "{}".to_owned(), Credentials::to_json)
    }

    /// The options of this client.
    #[must_use]
    pub fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// Shows the credentials to the registry. Returns what to keep: a token, if the registry gives one in exchange for a
    /// password, else the credentials themselves.
    ///
    /// # Errors
    /// [`RegistryError`]; [`RegistryError::LoginRefused`], [`RegistryError::Unauthorized`] if the registry does not take them.
    pub fn login(&self) -> Result<Option<Credentials>, RegistryError> {
        const PATH: &str = "/v2/";
        self.asks_identity.store(true, Ordering::Relaxed);
        let shown = self.ask(&Method::GET, PATH, "", &[], |answer| {
            drain(answer.response);
            Ok(())
        });
        shown.map_err(|error| match error {
            RegistryError::Unauthorized { url, .. } if url.ends_with(PATH) => RegistryError::LoginRefused { url },
            error => error,
        })?;
        let token = lock(&self.identity).take();
        Ok(match (token, &self.credentials) {
            (Some(token), Some(own)) => Some(Credentials::Identity { user: own.user().to_owned(), token }),
            (_, own) => own.clone(),
        })
    }

    /// Whether the user has asked to stop.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.options.interrupted.load(Ordering::Relaxed)
    }

    /// Asks for something small, several times if the registry is busy or the connection breaks.
    pub(crate) fn ask<R>(
        &self,
        method: &Method,
        path: &str,
        scope: &str,
        headers: &[(&'static str, String)],
        mut take: impl FnMut(Answer) -> Result<R, RegistryError>,
    ) -> Result<R, RegistryError> {
        self.repeat(|| self.once(method, path, scope, headers).and_then(&mut take))
    }

    /// Does something small several times if the registry is busy or the connection breaks.
    pub(crate) fn repeat<R>(&self, mut attempt: impl FnMut() -> Result<R, RegistryError>) -> Result<R, RegistryError> {
        let mut backoff = Backoff::new(self.options.first_pause, ATTEMPTS);
        loop {
            let error = match attempt() {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            // If nobody listens at the address, that does not change in a second.
            let refused = is_refused(&error);
            match backoff.next(&error) {
                Some(time) if !refused => pause(time, || self.is_interrupted())?,
                _ => return Err(error),
            }
        }
    }

    /// Asks once. An error status is an error.
    pub(crate) fn once(
        &self,
        method: &Method,
        path: &str,
        scope: &str,
        headers: &[(&'static str, String)],
    ) -> Result<Answer, RegistryError> {
        self.once_with(method, path, scope, headers, Sent::Nothing)
    }

    /// Asks once, with a body. An error status is an error.
    pub(crate) fn once_with(
        &self,
        method: &Method,
        path: &str,
        scope: &str,
        headers: &[(&'static str, String)],
        sent: Sent<'_>,
    ) -> Result<Answer, RegistryError> {
        let known = lock(&self.base).clone();
        let bases = known.map_or_else(|| self.host.bases(), |base| vec![base]);
        let mut last = None;
        for base in bases {
            match self.authorized(method, &self.host.target(&base, path), scope, headers, sent) {
                // No answer came, or one that is not of this protocol: the next address may be the right one.
                Err(error @ (RegistryError::Transport { .. } | RegistryError::Untrusted { .. })) => {
                    if self.is_interrupted() {
                        return Err(RegistryError::Interrupted);
                    }
                    // The error of the last address is shown, as by dockerd: it says why plain HTTP did not do, either.
                    last = Some(error);
                }
                answer => {
                    *lock(&self.base) = Some(base);
                    return answer;
                }
            }
        }
        Err(last.expect("a host has an address"))
    }

    /// Asks at an address that the registry has sent. What proves who asks goes along only if that is the registry
    /// itself.
    pub(crate) fn once_at(
        &self,
        method: &Method,
        url: &str,
        scope: &str,
        headers: &[(&'static str, String)],
        sent: Sent<'_>,
    ) -> Result<Answer, RegistryError> {
        let own = lock(&self.base).as_deref().and_then(origin);
        let registry = own.as_ref().map(|(scheme, authority)| format!("{scheme}://{authority}")).unwrap_or_default();
        as_secure(method, &registry, own.as_ref(), url)?;
        if own == origin(url) {
            return self.authorized(method, url, scope, headers, sent);
        }
        checked(method, self.follow(method, url, None, headers, sent)?)
    }

    /// Asks with the authorization for `scope`, and gets one first if the registry wants it.
    fn authorized(
        &self,
        method: &Method,
        url: &str,
        scope: &str,
        headers: &[(&'static str, String)],
        sent: Sent<'_>,
    ) -> Result<Answer, RegistryError> {
        let current = |authorization: &&Authorization| authorization.until.is_none_or(|until| Instant::now() < until);
        let mut authorization = lock(&self.authorizations).get(scope).filter(current).cloned();
        // A token may have expired on the way: then a new one is fetched, once.
        for fresh in [false, true] {
            let answer = self.follow(method, url, authorization.as_ref(), headers, sent)?;
            if answer.response.status() != 401 || fresh {
                return checked(method, answer);
            }
            let asked: Vec<Challenge> = answer
                .response
                .headers()
                .get_all("www-authenticate")
                .iter()
                .filter_map(|value| value.to_str().ok())
                .flat_map(challenges)
                .collect();
            let refused = authorization.is_some();
            match self.authorization(&asked, scope, url)? {
                // The same password again would be refused again.
                Some(found) if !(refused && found.until.is_none()) => {
                    lock(&self.authorizations).insert(scope.to_owned(), found.clone());
                    authorization = Some(found);
                }
                _ => return checked(method, answer),
            }
        }
        unreachable!("the second round returns")
    }

    /// Asks, and follows redirects. The authorization is not sent to another host.
    fn follow(
        &self,
        method: &Method,
        url: &str,
        authorization: Option<&Authorization>,
        headers: &[(&'static str, String)],
        sent: Sent<'_>,
    ) -> Result<Answer, RegistryError> {
        let mut at = url.to_owned();
        let mut authorization = authorization;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(method, &at, authorization, headers, sent)?;
            // Clients turn a request into a GET for these three, so they are followed only if the request has no body.
            let is_redirect = match response.status().as_u16() {
                301..=303 => matches!(sent, Sent::Nothing),
                status => matches!(status, 307 | 308),
            };
            let target = response.headers().get("location").and_then(|target| target.to_str().ok());
            let Some(target) = target.filter(|_| is_redirect) else {
                return Ok(Answer { response, url: url.to_owned() });
            };
            let next = redirected(&at, target)
                .ok_or_else(|| refused(method, url, target, "it is neither an http nor an https address"))?;
            let before = origin(&at);
            as_secure(method, url, before.as_ref(), &next)?;
            if before != origin(&next) {
                authorization = None;
            }
            at = next;
        }
        Err(refused(method, url, &at, "stopped after 10 redirects"))
    }

    /// Sends one request.
    pub(crate) fn send(
        &self,
        method: &Method,
        url: &str,
        authorization: Option<&Authorization>,
        headers: &[(&'static str, String)],
        sent: Sent<'_>,
    ) -> Result<Response<Body>, RegistryError> {
        let not_one = |error: &dyn std::fmt::Display| RegistryError::Document {
            url: url.chars().take(200).collect(),
            reason: error.to_string(),
        };
        let uri: Uri = url.parse().map_err(|error| not_one(&error))?;
        let own = uri.authority().is_some_and(|authority| authority.as_str() == self.host.address());
        let agent = if own { &self.agents.0 } else { &self.agents.1 };
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if own {
            for (name, value) in &self.host.contact().headers {
                request = request.header(name, value);
            }
        }
        if let Some(Authorization { header, .. }) = authorization {
            request = request.header("authorization", header);
        }
        if let Some(media_type) = sent.media_type() {
            request = request.header("content-type", media_type);
        }
        let answered = match sent {
            Sent::Nothing => agent.run(request.body(()).map_err(|error| not_one(&error))?),
            Sent::Form(text) => agent.run(request.body(text).map_err(|error| not_one(&error))?),
            Sent::Bytes { bytes, .. } => agent.run(request.body(bytes).map_err(|error| not_one(&error))?),
            Sent::Part { content, from, to, advance } => {
                let source = content.open(from).map_err(|error| broken("Get", url, &error))?;
                let mut reader = Told { source: Box::new(source.take(to - from)), at: from, advance };
                let request = request.header("content-length", (to - from).to_string());
                agent.run(request.body(SendBody::from_reader(&mut reader)).map_err(|error| not_one(&error))?)
            }
        };
        answered.map_err(|error| transport(spelled(method), url, &error))
    }
}

/// What speaks to servers with these options. It follows no redirects.
pub(crate) fn agent_of(
    options: &ClientOptions,
    proxy: Option<Proxy>,
    dial: Option<Duration>,
    tls: TlsSettings,
) -> Agent {
    let builder = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_resolve(Some(Duration::from_secs(30)))
        .timeout_connect(Some(dial.unwrap_or(Duration::from_secs(30))))
        .timeout_recv_response(Some(options.stall.max(Duration::from_secs(1)) * 2))
        .timeout_per_read(Some(options.stall))
        .timeout_per_write(Some(options.stall))
        .input_buffer_size(256 << 10)
        .user_agent(concat!("layerfs/", env!("CARGO_PKG_VERSION")))
        .accept("")
        .proxy(proxy);
    agent(builder.build(), tls, &options.interrupted)
}

/// Reads a little of what is left of a body, so that the connection can be used again.
pub(crate) fn drain(response: Response<Body>) {
    let _ = std::io::copy(&mut response.into_body().into_reader().take(MAX_REST), &mut std::io::sink());
}
