//! What proves to a registry who asks: passwords, and tokens from the server that it names.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use ureq::http::{Method, Uri};

use crate::answer::{body_of, failed, reported};
use crate::body::Sent;
use crate::client::{Answer, RegistryClient};
use crate::credentials::Credentials;
use crate::error::RegistryError;
use crate::header::Challenge;
use crate::host::is_loopback;
use crate::lock;
use crate::transport::spelled;

/// The most of a token server's answer that is read.
const MAX_TOKEN: u64 = 1 << 20;

/// How many seconds a token lasts if the server does not say, or says less than this (distribution
/// `registry/client/auth/session.go`).
const LEAST_LIFE: u64 = 60;

/// What is sent to prove who asks.
#[derive(Clone)]
pub(crate) struct Authorization {
    pub(crate) header: String,
    /// When a token expires; `None` for a password, which does not.
    pub(crate) until: Option<Instant>,
}

impl RegistryClient {
    /// What the challenges ask for; `None` if there is nothing to answer them with.
    pub(crate) fn authorization(
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
            // One word for each thing that the token shall allow.
            pairs.extend(scope.split(' ').map(|scope| ("scope", scope)));
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
                if self.asks_identity.load(Ordering::Relaxed) {
                    pairs.extend([("client_id", "docker"), ("offline_token", "true")]);
                }
                let mark = if realm.contains('?') { '&' } else { '?' };
                let header = match credentials {
                    Some(Credentials::Password { user, password }) => Some(basic(user, password)),
                    _ => None,
                };
                (Method::GET, format!("{realm}{mark}{}", form(&pairs)), None, header)
            }
        };
        let authorization = header.map(|header| Authorization { header, until: None });
        let body = body.as_deref().map_or(Sent::Nothing, Sent::Form);
        let response = self.send(&method, &url, authorization.as_ref(), &[], body)?;
        if !response.status().is_success() {
            // Without the query, which names the user.
            return Err(refused(&method, Answer { response, url: realm.to_owned() }));
        }
        let bytes = Answer { response, url }.bytes("a token", MAX_TOKEN)?;
        let token: Token = serde_json::from_slice(&bytes)
            .map_err(|error| RegistryError::Document { url: realm.to_owned(), reason: error.to_string() })?;
        let text = token.token.filter(|text| !text.is_empty()).or(token.access_token).unwrap_or_default();
        if text.is_empty() || text.bytes().any(|byte| byte.is_ascii_control()) {
            let reason = "authorization server did not include a token in the response".into();
            return Err(RegistryError::Document { url: realm.to_owned(), reason });
        }
        *lock(&self.identity) = token.refresh_token.filter(|text| !text.is_empty());
        let life = token.expires_in.unwrap_or(0).clamp(LEAST_LIFE, 24 * 3600);
        // A little less, so that the token does not expire on its way.
        let until = Some(Instant::now() + Duration::from_secs(life - 5));
        Ok(Authorization { header: format!("Bearer {text}"), until })
    }
}

/// Why a token server gave no token.
fn refused(method: &Method, answer: Answer) -> RegistryError {
    if !matches!(answer.response.status().as_u16(), 401 | 403) {
        return failed(method, answer);
    }
    let reported = reported(&body_of(answer.response));
    let reason = reported.map_or_else(|| "incorrect username or password".into(), |reported| reported.message);
    RegistryError::Unauthorized { method: spelled(method), url: answer.url, reason }
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: Option<u64>,
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Encodes pairs as `application/x-www-form-urlencoded`.
pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    let encoded = |text: &str| {
        let byte = |byte: u8| match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        text.bytes().map(byte).collect::<String>()
    };
    pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_encoded() {
        assert_eq!(form(&[("scope", "repository:a/b:pull"), ("x", "ü")]), "scope=repository%3Aa%2Fb%3Apull&x=%C3%BC");
    }
}
