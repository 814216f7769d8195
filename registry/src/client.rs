//! One registry: requests with what they need of tokens, redirects and repeats.

use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use ureq::http::{Method, Request, Response, Uri};
use ureq::{Agent, Body, Proxy};

use crate::credentials::Credentials;
use crate::error::{RegistryError, Reported};
use crate::header::{Challenge, challenges, retry_after};
use crate::host::{RegistryHost, is_loopback, tls_of_others};
use crate::wait::{Backoff, pause};

/// Redirects of one request, as Go's client follows them.
const MAX_REDIRECTS: usize = 10;

/// Attempts at a request for a small document.
const ATTEMPTS: u32 = 4;

/// The most of a token server's answer that is read.
const MAX_TOKEN: u64 = 1 << 20;

/// The most of an error's body that is read.
const MAX_ERROR: u64 = 64 << 10;

/// The most of a body that is read so that its connection can be used again.
const MAX_REST: u64 = 64 << 10;

/// How long a token lasts of which this is not told, and the least that is believed (distribution
/// `registry/client/auth/session.go`).
const LEAST_LIFE: u64 = 60;

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

/// What is sent to prove who asks.
#[derive(Clone)]
struct Authorization {
    header: String,
    /// When it ends; passwords do not.
    until: Option<Instant>,
}

/// A registry, with the credentials for it.
pub struct RegistryClient {
    host: RegistryHost,
    credentials: Option<Credentials>,
    options: ClientOptions,
    /// For the registry, and for all other hosts.
    agents: (Agent, Agent),
    /// The address that has answered.
    base: Mutex<Option<String>>,
    /// By scope.
    authorizations: Mutex<HashMap<String, Authorization>>,
}

impl std::fmt::Debug for RegistryClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryClient").field("host", &self.host).finish_non_exhaustive()
    }
}

/// An answer that is no error.
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
            let config = |proxy: Option<Proxy>, tls| {
                let builder = Agent::config_builder()
                    .http_status_as_error(false)
                    .max_redirects(0)
                    .max_redirects_will_error(false)
                    .timeout_resolve(Some(Duration::from_secs(30)))
                    .timeout_connect(Some(Duration::from_secs(30)))
                    .timeout_recv_response(Some(options.stall.max(Duration::from_secs(1)) * 2))
                    .timeout_per_read(Some(options.stall))
                    .timeout_per_write(Some(options.stall))
                    .input_buffer_size(256 << 10)
                    .user_agent(concat!("layerfs/", env!("CARGO_PKG_VERSION")))
                    .accept("")
                    .proxy(proxy)
                    .tls_config(tls);
                builder.build().new_agent()
            };
            let proxy = if is_loopback(host.address()) { None } else { Proxy::try_from_env() };
            (config(proxy, host.tls(&options.certs)?), config(Proxy::try_from_env(), tls_of_others()?))
        };
        Ok(Self { host, credentials, options, agents, base: Mutex::default(), authorizations: Mutex::default() })
    }

    /// The registry.
    #[must_use]
    pub fn host(&self) -> &RegistryHost {
        &self.host
    }

    /// How it is spoken to.
    #[must_use]
    pub fn options(&self) -> &ClientOptions {
        &self.options
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
        let mut backoff = Backoff::new(self.options.first_pause, ATTEMPTS);
        loop {
            let error = match self.once(method, path, scope, headers).and_then(&mut take) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            // Nobody listens there: that does not change in a second.
            let refused = matches!(&error, RegistryError::Transport { reason, .. } if reason.ends_with(REFUSED));
            match backoff.next(&error) {
                Some(time) if !refused => pause(time, &self.options.interrupted)?,
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
        let known = lock(&self.base).clone();
        let bases = known.map_or_else(|| self.host.bases(), |base| vec![base]);
        let mut first = None;
        for base in bases {
            match self.authorized(method, &format!("{base}{path}"), scope, headers) {
                // No answer at all, or one that is not of this protocol: the next one may be the right one.
                Err(error @ RegistryError::Transport { .. }) => {
                    if self.is_interrupted() {
                        return Err(RegistryError::Interrupted);
                    }
                    // The last one's error is shown, as by dockerd, which says why plain HTTP did not do.
                    first = Some(error);
                }
                answer => {
                    *lock(&self.base) = Some(base);
                    return answer;
                }
            }
        }
        Err(first.expect("a host has an address"))
    }

    /// Asks with what proves who asks, and gets that first if the registry wants it.
    fn authorized(
        &self,
        method: &Method,
        url: &str,
        scope: &str,
        headers: &[(&'static str, String)],
    ) -> Result<Answer, RegistryError> {
        let current = |authorization: &&Authorization| authorization.until.is_none_or(|until| Instant::now() < until);
        let mut authorization = lock(&self.authorizations).get(scope).filter(current).cloned();
        // A token may have ended on the way: then a new one is fetched, once.
        for fresh in [false, true] {
            let answer = self.follow(method, url, authorization.as_ref(), headers)?;
            if answer.response.status() != 401 || fresh {
                return self.checked(method, answer);
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
                _ => return self.checked(method, answer),
            }
        }
        unreachable!("the second round returns")
    }

    /// What the challenges ask for; `None` if there is nothing to answer them with.
    fn authorization(
        &self,
        asked: &[Challenge],
        scope: &str,
        url: &str,
    ) -> Result<Option<Authorization>, RegistryError> {
        if asked.contains(&Challenge::Basic) {
            return match &self.credentials {
                Some(Credentials::Password { user, password }) => {
                    Ok(Some(Authorization { header: basic(user, password), until: None }))
                }
                _ => Err(RegistryError::Unauthorized {
                    method: "Get",
                    url: url.to_owned(),
                    reason: "no basic auth credentials".into(),
                }),
            };
        }
        let bearer = asked.iter().find_map(|challenge| match challenge {
            Challenge::Bearer { realm, service, .. } => Some((realm, service.as_deref())),
            Challenge::Basic => None,
        });
        bearer.map(|(realm, service)| self.token(realm, service, scope)).transpose()
    }

    /// Fetches a token (distribution-spec does not say how; docs.docker.com/registry/spec/auth/token and `/oauth` do).
    fn token(&self, realm: &str, service: Option<&str>, scope: &str) -> Result<Authorization, RegistryError> {
        let unsafe_realm = || RegistryError::Document {
            url: realm.to_owned(),
            reason: "the registry names a token server that is not reached by HTTPS".into(),
        };
        let uri: Uri = realm.parse().map_err(|_| unsafe_realm())?;
        let is_plain = uri.scheme_str() != Some("https");
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        if is_plain && !(is_loopback(&authority) || (self.host.is_insecure() && authority == self.host.address())) {
            return Err(unsafe_realm());
        }
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        if let Some(Credentials::Password { user, .. }) = &self.credentials {
            pairs.push(("account", user));
        }
        if !scope.is_empty() {
            pairs.push(("scope", scope));
        }
        if let Some(service) = service {
            pairs.push(("service", service));
        }
        let (method, url, body, header) = match &self.credentials {
            Some(Credentials::Identity { token, .. }) => {
                pairs.extend([("client_id", "docker"), ("grant_type", "refresh_token"), ("refresh_token", token)]);
                (Method::POST, realm.to_owned(), Some(form(&pairs)), None)
            }
            credentials => {
                let mark = if realm.contains('?') { '&' } else { '?' };
                let header = match credentials {
                    Some(Credentials::Password { user, password }) => Some(basic(user, password)),
                    _ => None,
                };
                (Method::GET, format!("{realm}{mark}{}", form(&pairs)), None, header)
            }
        };
        let authorization = header.map(|header| Authorization { header, until: None });
        let response = self.send(&method, &url, authorization.as_ref(), &[], body)?;
        let status = response.status();
        let bytes = Answer { response, url: url.clone() }.bytes("a token", MAX_TOKEN)?;
        if !status.is_success() {
            return Err(self.refused_token(realm, status.as_u16(), status.to_string(), &bytes));
        }
        let token: Token = serde_json::from_slice(&bytes)
            .map_err(|error| RegistryError::Document { url: realm.to_owned(), reason: error.to_string() })?;
        let text = token.token.filter(|text| !text.is_empty()).or(token.access_token).unwrap_or_default();
        if text.is_empty() || text.bytes().any(|byte| byte.is_ascii_control()) {
            let reason = "authorization server did not include a token in the response".into();
            return Err(RegistryError::Document { url: realm.to_owned(), reason });
        }
        let life = token.expires_in.unwrap_or(0).clamp(LEAST_LIFE, 24 * 3600);
        // A little less, so that it does not end on its way.
        let until = Some(Instant::now() + Duration::from_secs(life - 5));
        Ok(Authorization { header: format!("Bearer {text}"), until })
    }

    fn refused_token(&self, realm: &str, number: u16, status: String, body: &[u8]) -> RegistryError {
        let reported = reported(body);
        match (number, reported) {
            (401 | 403, reported) => RegistryError::Unauthorized {
                method: "Get",
                url: realm.to_owned(),
                reason: reported.map_or_else(|| "incorrect username or password".into(), |reported| reported.message),
            },
            (429, reported) => RegistryError::TooManyRequests {
                message: reported.map_or_else(|| "the token server is busy".into(), |reported| reported.message),
                retry_after: None,
            },
            (_, Some(reported)) => RegistryError::Reported { method: "Get", url: realm.to_owned(), reported },
            (number, None) => {
                RegistryError::Status { method: "Get", url: realm.to_owned(), status, transient: number >= 500 }
            }
        }
    }

    /// Asks, and goes where the answer sends it. What proves who asks stays with the registry.
    fn follow(
        &self,
        method: &Method,
        url: &str,
        authorization: Option<&Authorization>,
        headers: &[(&'static str, String)],
    ) -> Result<Answer, RegistryError> {
        let mut at = url.to_owned();
        let mut authorization = authorization;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(method, &at, authorization, headers, None)?;
            let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            let target = response.headers().get("location").and_then(|target| target.to_str().ok());
            let Some(target) = target.filter(|_| is_redirect) else {
                return Ok(Answer { response, url: url.to_owned() });
            };
            let refuse = |reason| RegistryError::Redirect {
                method: spelled(method),
                url: url.to_owned(),
                target: target.chars().take(200).collect(),
                reason,
            };
            let next = absolute(&at, target).ok_or_else(|| refuse("it is no address"))?;
            let origin = |url: &str| {
                url.parse::<Uri>().ok().map(|uri| (uri.scheme_str().map(str::to_owned), uri.authority().cloned()))
            };
            let (before, after) = (origin(&at), origin(&next));
            let scheme = |origin: &Option<(Option<String>, _)>| origin.as_ref().and_then(|(scheme, _)| scheme.clone());
            if scheme(&before).as_deref() == Some("https") && scheme(&after).as_deref() != Some("https") {
                return Err(refuse("it leads from HTTPS to something that is not"));
            }
            if before != after {
                authorization = None;
            }
            at = next;
        }
        Err(RegistryError::Redirect {
            method: spelled(method),
            url: url.to_owned(),
            target: at.chars().take(200).collect(),
            reason: "stopped after 10 redirects",
        })
    }

    fn send(
        &self,
        method: &Method,
        url: &str,
        authorization: Option<&Authorization>,
        headers: &[(&'static str, String)],
        form: Option<String>,
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
        if let Some(Authorization { header, .. }) = authorization {
            request = request.header("authorization", header);
        }
        let sent = match form {
            Some(form) => {
                let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
                agent.run(request.map_err(|error| not_one(&error))?)
            }
            None => agent.run(request.body(()).map_err(|error| not_one(&error))?),
        };
        sent.map_err(|error| transport(spelled(method), url, &error))
    }

    /// An answer that is no error.
    fn checked(&self, method: &Method, answer: Answer) -> Result<Answer, RegistryError> {
        let status = answer.response.status();
        if status.is_success() {
            return Ok(answer);
        }
        let wait = answer.header("retry-after").and_then(|text| retry_after(text, now()));
        let Answer { response, url } = answer;
        let method = spelled(method);
        let mut body = Vec::new();
        // What cannot be read of an error says nothing; the status does.
        let _ = response.into_body().into_reader().take(MAX_ERROR).read_to_end(&mut body);
        Err(match (status.as_u16(), reported(&body)) {
            (429, reported) => RegistryError::TooManyRequests {
                message: reported.map_or_else(|| plain(&body, "the registry is busy"), |reported| reported.message),
                retry_after: wait,
            },
            (503, _) if wait.is_some() => {
                RegistryError::TooManyRequests { message: plain(&body, "the registry is busy"), retry_after: wait }
            }
            (number @ 500.., _) => {
                RegistryError::Status { method, url, status: status.to_string(), transient: number != 501 }
            }
            (401, reported) if reported.as_ref().is_none_or(|reported| reported.code == "UNAUTHORIZED") => {
                let reason = reported.map_or_else(|| "authentication required".to_owned(), |reported| reported.message);
                RegistryError::Unauthorized { method, url, reason }
            }
            (_, Some(reported)) => RegistryError::Reported { method, url, reported },
            (_, None) => RegistryError::Status { method, url, status: status.to_string(), transient: false },
        })
    }
}

/// Reads a little of what is left of a body, so that the connection can be used again.
pub(crate) fn drain(response: Response<Body>) {
    let _ = std::io::copy(&mut response.into_body().into_reader().take(MAX_REST), &mut std::io::sink());
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

#[derive(Deserialize)]
struct ErrorBody {
    errors: Option<Vec<ErrorItem>>,
    details: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct ErrorItem {
    code: Option<String>,
    message: Option<String>,
}

/// The first error of an error's body.
fn reported(body: &[u8]) -> Option<Reported> {
    let body: ErrorBody = serde_json::from_slice(body).ok()?;
    let clean = |text: String| text.chars().filter(|char| !char.is_control()).take(1000).collect::<String>();
    if let Some(first) = body.errors.and_then(|errors| errors.into_iter().next()) {
        let (code, message) = (first.code.unwrap_or_default(), first.message.unwrap_or_default());
        return Some(Reported { code: clean(code), message: clean(message) });
    }
    let message = body.details.or(body.message)?;
    Some(Reported { code: "UNKNOWN".into(), message: clean(message) })
}

/// The beginning of a text that is no JSON.
fn plain(body: &[u8], otherwise: &str) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text.lines().next().unwrap_or_default().trim();
    let line: String = line.chars().filter(|char| !char.is_control()).take(200).collect();
    if line.is_empty() { otherwise.to_owned() } else { line }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// `application/x-www-form-urlencoded`
fn form(pairs: &[(&str, &str)]) -> String {
    let encoded = |text: &str| {
        let byte = |byte: u8| match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        text.bytes().map(byte).collect::<String>()
    };
    pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
}

/// Where a redirect leads, seen from the address `at`.
fn absolute(at: &str, target: &str) -> Option<String> {
    if target.starts_with("http://") || target.starts_with("https://") {
        return target.parse::<Uri>().ok().map(|_| target.to_owned());
    }
    let uri: Uri = at.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    if let Some(rest) = target.strip_prefix("//") {
        return Some(format!("{scheme}://{rest}"));
    }
    if target.starts_with('/') {
        return Some(format!("{scheme}://{authority}{target}"));
    }
    // Another scheme is no relative path.
    if target.split(['/', '?']).next().is_some_and(|first| first.contains(':')) {
        return None;
    }
    let (directory, _) = uri.path().rsplit_once('/')?;
    Some(format!("{scheme}://{authority}{directory}/{target}"))
}

/// A path on the address at which a link was found; `None` for a link to another host.
pub(crate) fn path_of(link: &str) -> Option<String> {
    if link.starts_with('/') && !link.starts_with("//") {
        return Some(link.to_owned());
    }
    let uri: Uri = link.parse().ok()?;
    uri.path_and_query().map(|path| path.as_str().to_owned()).filter(|path| path.starts_with("/v2/"))
}

/// As Go writes a method in errors.
fn spelled(method: &Method) -> &'static str {
    match *method {
        Method::HEAD => "Head",
        Method::POST => "Post",
        _ => "Get",
    }
}

const REFUSED: &str = "connect: connection refused";

fn transport(method: &'static str, url: &str, error: &ureq::Error) -> RegistryError {
    let authority = url.parse::<Uri>().ok().and_then(|uri| uri.authority().cloned());
    let authority = authority.map(|authority| authority.to_string()).unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host);
    let (reason, transient) = match error {
        ureq::Error::HostNotFound => (format!("dial tcp: lookup {host}: no such host"), false),
        ureq::Error::Io(error) => return broken_with(method, url, error, &authority),
        ureq::Error::Rustls(error) => (of_tls(error, host), false),
        ureq::Error::Timeout(which) => (format!("no answer in time ({which})"), true),
        ureq::Error::Protocol(_) | ureq::Error::Http(_) => (format!("malformed HTTP response: {error}"), true),
        error => (error.to_string(), false),
    };
    RegistryError::Transport { method, url: url.to_owned(), reason, transient }
}

/// A connection that broke while a body was read.
pub(crate) fn broken(method: &'static str, url: &str, error: &std::io::Error) -> RegistryError {
    broken_with(method, url, error, "")
}

fn broken_with(method: &'static str, url: &str, error: &std::io::Error, authority: &str) -> RegistryError {
    use std::io::ErrorKind;
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        return RegistryError::Transport { method, url: url.to_owned(), reason: of_tls(tls, host), transient: false };
    }
    if let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>())
        && !matches!(inner, ureq::Error::Io(_))
    {
        return transport(method, url, inner);
    }
    // What the system's resolver says, for which the standard library has no kind.
    if error.to_string().starts_with("failed to lookup address information") {
        return transport(method, url, &ureq::Error::HostNotFound);
    }
    let reason = match error.kind() {
        ErrorKind::ConnectionRefused => format!("dial tcp {authority}: {REFUSED}"),
        ErrorKind::UnexpectedEof => "unexpected EOF".to_owned(),
        ErrorKind::ConnectionReset => "read: connection reset by peer".to_owned(),
        _ => error.to_string(),
    };
    RegistryError::Transport { method, url: url.to_owned(), reason, transient: true }
}

/// What is wrong with a host's certificate, in Go's words (`crypto/x509`).
fn of_tls(error: &rustls::Error, host: &str) -> String {
    use rustls::CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(Bad::UnknownIssuer) => "x509: certificate signed by unknown authority".into(),
        rustls::Error::InvalidCertificate(Bad::Expired | Bad::NotValidYet) => {
            "x509: certificate has expired or is not yet valid".into()
        }
        rustls::Error::InvalidCertificate(Bad::ExpiredContext { .. } | Bad::NotValidYetContext { .. }) => {
            "x509: certificate has expired or is not yet valid".into()
        }
        rustls::Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            format!("x509: certificate is not valid for {host}")
        }
        rustls::Error::InvalidMessage(_) => "http: server gave HTTP response to HTTPS client".into(),
        error => error.to_string(),
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_somewhere() {
        let at = "https://a.test:5/v2/x/blobs/y?z=1";
        for (target, expected) in [
            ("https://b.test/c", Some("https://b.test/c")),
            ("//b.test/c", Some("https://b.test/c")),
            ("/c?d", Some("https://a.test:5/c?d")),
            ("c", Some("https://a.test:5/v2/x/blobs/c")),
            ("file:///etc/passwd", None),
            ("https://", None),
        ] {
            assert_eq!(absolute(at, target).as_deref(), expected, "{target}");
        }
    }

    #[test]
    fn errors_are_read() {
        let of = |text: &str| reported(text.as_bytes()).map(|reported| reported.to_string());
        let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"x"}}]}"#;
        assert_eq!(of(body).as_deref(), Some("manifest unknown: manifest unknown"));
        assert_eq!(of(r#"{"details":"slow\u001b[31m down"}"#).as_deref(), Some("unknown: slow[31m down"));
        for none in ["", "<html>", "{}", "[]", r#"{"errors":[]}"#, r#"{"errors":7}"#] {
            assert_eq!(of(none), None, "{none}");
        }
        assert_eq!(form(&[("scope", "repository:a/b:pull"), ("x", "ü")]), "scope=repository%3Aa%2Fb%3Apull&x=%C3%BC");
    }
}
