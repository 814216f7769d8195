//! User names and passwords, where docker keeps them: in `config.json`, or with a helper that it names (docker/cli 20.10
//! `cli/config/configfile`, docker-credential-helpers).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::error::RegistryError;

/// The key of Docker Hub, which is as old as docker.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// The user name with which a helper hands out a token instead of a password.
const TOKEN_USER: &str = "<token>";

/// What proves to a registry who asks.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// User name and password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A token that a registry has given in exchange for them.
    Identity {
        /// The user, if it is known.
        user: String,
        /// The token.
        token: String,
    },
}

impl std::fmt::Debug for Credentials {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user()).finish_non_exhaustive()
    }
}

impl Credentials {
    /// docker's own JSON of them (moby v20.10.24 `api/types/auth.go`), with what Go escapes in it.
    pub(crate) fn to_json(&self) -> String {
        let pairs: &[(&str, &str)] = match self {
            Self::Password { user, password } => &[("username", user), ("password", password)],
            Self::Identity { user, token } => &[("username", user), ("identitytoken", token)],
        };
        let filled = pairs.iter().filter(|(_, value)| !value.is_empty());
        let map: Map<String, Value> = filled.map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
        let mut json = Value::from(map).to_string();
        for char in ['<', '>', '&', '\u{2028}', '\u{2029}'] {
            json = json.replace(char, &format!("\\u{:04x}", u32::from(char)));
        }
        json
    }

    /// Whose they are.
    #[must_use]
    pub fn user(&self) -> &str {
        match self {
            Self::Password { user, .. } | Self::Identity { user, .. } => user,
        }
    }
}

/// docker's `config.json`.
#[derive(Debug, Clone)]
pub struct CredentialStore {
    content: Map<String, Value>,
}

impl CredentialStore {
    /// The file of this user: `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
    ///
    /// # Errors
    /// [`RegistryError::File`], [`RegistryError::Config`] for one that cannot be understood.
    pub fn of_user() -> Result<Self, RegistryError> {
        let dir = std::env::var_os("DOCKER_CONFIG").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
        Self::at(&dir.or_else(home).unwrap_or_else(|| PathBuf::from("/root/.docker")))
    }

    /// The file in this directory. It need not exist.
    ///
    /// # Errors
    /// As [`of_user`](Self::of_user).
    pub fn at(dir: &Path) -> Result<Self, RegistryError> {
        let path = dir.join("config.json");
        let content = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Map::new(),
            read => {
                let bytes = read.map_err(|source| RegistryError::File { path: path.clone(), source })?;
                serde_json::from_slice(&bytes)
                    .map_err(|error| RegistryError::Config { path: path.clone(), reason: error.to_string() })?
            }
        };
        Ok(Self { content })
    }

    /// A store without a file and without credentials.
    #[must_use]
    pub fn none() -> Self {
        Self { content: Map::new() }
    }

    /// The key under which the credentials of a domain are kept.
    fn key(domain: &str) -> &str {
        if domain == "docker.io" { HUB_KEY } else { domain }
    }

    /// The credentials for a domain. A helper that fails counts as one that knows none, as for dockerd's client.
    #[must_use]
    pub fn find(&self, domain: &str) -> Option<Credentials> {
        let key = Self::key(domain);
        if let Some(helper) = self.helper(key) {
            return ask(&helper, key).and_then(|answer| of_helper(&answer));
        }
        let entries = self.content.get("auths")?.as_object()?;
        // A key may also be an address of the host (docker/cli `credentials/file_store.go`: `ConvertToHostname`).
        let entry = entries.get(key).or_else(|| {
            entries
                .iter()
                .find(|(address, _)| domain != "docker.io" && host_of(address) == domain)
                .map(|(_, entry)| entry)
        })?;
        of_entry(entry)
    }

    fn helper(&self, key: &str) -> Option<String> {
        let named = self.content.get("credHelpers").and_then(|helpers| helpers.get(key)).and_then(Value::as_str);
        let helper = named.or_else(|| self.content.get("credsStore").and_then(Value::as_str));
        // The name becomes that of a program.
        helper.filter(|name| !name.is_empty() && !name.contains('/')).map(|name| format!("docker-credential-{name}"))
    }
}

fn host_of(address: &str) -> &str {
    let bare = address.strip_prefix("https://").or(address.strip_prefix("http://")).unwrap_or(address);
    bare.split('/').next().unwrap_or_default()
}

fn of_entry(entry: &Value) -> Option<Credentials> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let plain = text("auth").and_then(|auth| String::from_utf8(STANDARD.decode(auth).ok()?).ok());
    let (user, password) = match &plain {
        Some(plain) => plain.split_once(':')?,
        None => (text("username").unwrap_or_default(), text("password").unwrap_or_default()),
    };
    let user = user.to_owned();
    if let Some(token) = text("identitytoken") {
        return Some(Credentials::Identity { user, token: token.to_owned() });
    }
    let password = password.trim_matches('\0').to_owned();
    (!user.is_empty()).then_some(Credentials::Password { user, password })
}

fn of_helper(answer: &[u8]) -> Option<Credentials> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
    let (user, secret) = (text("Username")?, text("Secret")?);
    Some(match user.as_str() {
        TOKEN_USER => Credentials::Identity { user: String::new(), token: secret },
        _ => Credentials::Password { user, password: secret },
    })
}

/// Asks a helper for the credentials of a key. `None` if it knows none, or does not work.
fn ask(helper: &str, key: &str) -> Option<Vec<u8>> {
    let started =
        Command::new(helper).arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut process = started.ok()?;
    if let Some(mut stdin) = process.stdin.take() {
        // A helper may end without reading.
        let _ = stdin.write_all(key.as_bytes());
    }
    let output = process.wait_with_output().ok()?;
    output.status.success().then_some(output.stdout)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn password(user: &str, password: &str) -> Credentials {
        Credentials::Password { user: user.into(), password: password.into() }
    }

    #[test]
    fn addresses_of_a_host_mean_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let auth = STANDARD.encode("u:p");
        let file = json!({"auths": {"https://a.test/v1/": {"auth": auth}, "b.test": {}}});
        std::fs::write(dir.path().join("config.json"), file.to_string()).unwrap();
        let store = CredentialStore::at(dir.path()).unwrap();
        assert_eq!(store.find("a.test"), Some(password("u", "p")));
        assert_eq!(store.find("b.test"), None);
        std::fs::write(dir.path().join("config.json"), "{").unwrap();
        assert!(matches!(CredentialStore::at(dir.path()), Err(RegistryError::Config { .. })));
        assert!(!format!("{:?}", password("u", "geheim")).contains("geheim"));
    }
}
