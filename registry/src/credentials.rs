//! User names and passwords, where docker keeps them: in `config.json`, or with a helper that it names (docker/cli 20.10
//! `cli/config/configfile`, docker-credential-helpers).

use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use images::output::{NewFile, OutputError};
use serde_json::{Map, Value, json};

use crate::error::RegistryError;

/// The key of Docker Hub, which is as old as docker.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// What a helper says if it knows of no password. It is no failure.
const UNKNOWN: &str = "credentials not found in native keychain";

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
    /// A token that a registry has given in exchange for user name and password.
    Identity {
        /// The user, if it is known.
        user: String,
        /// The token.
        token: String,
    },
}

impl std::fmt::Debug for Credentials {
    /// Prints the user, and not the secret.
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

    /// The user that they belong to.
    #[must_use]
    pub fn user(&self) -> &str {
        match self {
            Self::Password { user, .. } | Self::Identity { user, .. } => user,
        }
    }
}

/// Where credentials were put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved {
    /// In this file, where everybody who can read it can read them.
    File(PathBuf),
    /// With a helper.
    Helper,
}

/// docker's `config.json`.
#[derive(Debug, Clone)]
pub struct CredentialStore {
    path: PathBuf,
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
        Ok(Self { path, content })
    }

    /// A store without a file and without credentials.
    #[must_use]
    pub fn none() -> Self {
        Self { path: PathBuf::new(), content: Map::new() }
    }

    /// The key under which the credentials of a domain are kept.
    #[must_use]
    pub fn key(domain: &str) -> &str {
        if domain == "docker.io" { HUB_KEY } else { domain }
    }

    /// The credentials for a domain. A helper that fails counts as one that knows none, as for dockerd's client.
    #[must_use]
    pub fn find(&self, domain: &str) -> Option<Credentials> {
        let key = Self::key(domain);
        if let Some(helper) = self.helper(key) {
            return ask(&helper, "get", key.as_bytes()).ok().and_then(|answer| of_helper(&answer));
        }
        let entries = self.content.get("auths")?.as_object()?;
        // A key may also be an address of the host (docker/cli `credentials/file_store.go`).
        let entry = entries.get(key).or_else(|| {
            entries
                .iter()
                .find(|(address, _)| domain != "docker.io" && host_of(address) == domain)
                .map(|(_, entry)| entry)
        })?;
        of_entry(entry)
    }

    /// Keeps credentials, with the helper if one is named.
    ///
    /// # Errors
    /// [`RegistryError::Helper`], [`RegistryError::File`]
    pub fn store(&mut self, domain: &str, credentials: &Credentials) -> Result<Saved, RegistryError> {
        let key = Self::key(domain).to_owned();
        let helper = self.helper(&key);
        let (entry, saved) = match &helper {
            Some(helper) => {
                let (user, secret) = match credentials {
                    Credentials::Password { user, password } => (user.as_str(), password),
                    Credentials::Identity { token, .. } => (TOKEN_USER, token),
                };
                let message = json!({"ServerURL": key, "Username": user, "Secret": secret}).to_string();
                ask(helper, "store", message.as_bytes())?;
                (json!({}), Saved::Helper)
            }
            None => (to_entry(credentials), Saved::File(self.path.clone())),
        };
        let entries = self.content.entry("auths").or_insert_with(|| json!({}));
        match entries.as_object_mut() {
            Some(entries) => drop(entries.insert(key, entry)),
            None => *entries = json!({ key: entry }),
        }
        self.write()?;
        Ok(saved)
    }

    /// Forgets the credentials of a domain, under all keys that mean it. Returns whether there were any in the file.
    ///
    /// # Errors
    /// [`RegistryError::File`]; [`RegistryError::Helper`] after everything else was done.
    pub fn erase(&mut self, domain: &str) -> Result<bool, RegistryError> {
        let key = Self::key(domain);
        let mut failed = None;
        if let Some(helper) = self.helper(key) {
            failed = ask(&helper, "erase", key.as_bytes()).err();
        }
        let entries = self.content.get_mut("auths").and_then(Value::as_object_mut);
        // All that `find` would find, and for Docker Hub what some program may have kept under its domain.
        let erased = entries.is_some_and(|entries| {
            let before = entries.len();
            entries.retain(|address, _| address != key && host_of(address) != domain);
            entries.len() < before
        });
        if erased {
            self.write()?;
        }
        failed.map_or(Ok(erased), Err)
    }

    fn helper(&self, key: &str) -> Option<String> {
        let named = self.content.get("credHelpers").and_then(|helpers| helpers.get(key)).and_then(Value::as_str);
        let helper = named.or_else(|| self.content.get("credsStore").and_then(Value::as_str));
        // The name becomes part of a program's name, so it must not lead into another directory.
        helper.filter(|name| !name.is_empty() && !name.contains('/')).map(|name| format!("docker-credential-{name}"))
    }

    /// Writes the file as docker does: indented by tabs, without an end of line, for its owner only, whole or not at all.
    fn write(&self) -> Result<(), RegistryError> {
        let failed = |source| RegistryError::File { path: self.path.clone(), source };
        let mut text = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
        serde::Serialize::serialize(&self.content, &mut serializer).expect("a map of values always serialises");
        // The file may be a symlink to where the user keeps it.
        let target = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let dir = target.parent().unwrap_or(Path::new("."));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let refused = |error| match error {
            OutputError::Io { path, source, .. } => RegistryError::File { path, source },
            error => RegistryError::Config { path: self.path.clone(), reason: error.to_string() },
        };
        let mut file = NewFile::create(target).map_err(refused)?;
        file.write_all(&text).and_then(|()| file.file().sync_all()).map_err(failed)?;
        file.finish().map_err(refused)
    }
}

/// The host, with its port, that an address is of; a host is an address of itself (docker/cli v20.10
/// `credentials.ConvertToHostname`).
#[must_use]
pub fn host_of(address: &str) -> &str {
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

fn to_entry(credentials: &Credentials) -> Value {
    let auth = |user: &str, password: &str| STANDARD.encode(format!("{user}:{password}"));
    match credentials {
        Credentials::Password { user, password } => json!({"auth": auth(user, password)}),
        Credentials::Identity { user, token } => json!({"auth": auth(user, ""), "identitytoken": token}),
    }
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

/// Runs a helper with a word as its argument and the rest as its input: other users can see arguments, so no secret is
/// one.
fn ask(helper: &str, word: &str, input: &[u8]) -> Result<Vec<u8>, RegistryError> {
    let failed = |reason: String, output: &[u8]| RegistryError::Helper {
        reason,
        output: String::from_utf8_lossy(output).trim().to_owned(),
    };
    let started =
        Command::new(helper).arg(word).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut process = started.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => failed(format!("exec: {helper:?}: executable file not found in $PATH"), b""),
        _ => failed(format!("{helper}: {error}"), b""),
    })?;
    if let Some(mut stdin) = process.stdin.take() {
        // A helper may end without reading.
        let _ = stdin.write_all(input);
    }
    let output = process.wait_with_output().map_err(|error| failed(format!("{helper}: {error}"), b""))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() || (word == "erase" && said.trim() == UNKNOWN) {
        return Ok(output.stdout);
    }
    Err(failed(output.status.to_string().replace(": ", " "), &output.stdout))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn password(user: &str, password: &str) -> Credentials {
        Credentials::Password { user: user.into(), password: password.into() }
    }

    #[test]
    fn the_file_is_as_docker_writes_it() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("new");
        let mut store = CredentialStore::at(&home).unwrap();
        assert_eq!(store.find("registry.test"), None);
        let path = home.join("config.json");
        assert_eq!(store.store("registry.test", &password("u", "p:q")).unwrap(), Saved::File(path.clone()));
        let expected = "{\n\t\"auths\": {\n\t\t\"registry.test\": {\n\t\t\t\"auth\": \"dTpwOnE=\"\n\t\t}\n\t}\n}";
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(&home).unwrap().permissions().mode() & 0o777, 0o700);
        let token = Credentials::Identity { user: "u".into(), token: "t".into() };
        store.store("docker.io", &token).unwrap();
        let mut store = CredentialStore::at(&home).unwrap();
        assert_eq!(store.find("registry.test"), Some(password("u", "p:q")));
        assert_eq!(store.find("docker.io"), Some(token));
        assert!(store.erase("docker.io").unwrap());
        assert!(!store.erase("docker.io").unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(std::fs::read_dir(&home).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn addresses_of_a_host_mean_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let auth = STANDARD.encode("u:p");
        let file = json!({"auths": {"https://a.test/v1/": {"auth": auth}, "b.test": {}}, "kept": [1]});
        std::fs::write(dir.path().join("config.json"), file.to_string()).unwrap();
        let mut store = CredentialStore::at(dir.path()).unwrap();
        assert_eq!(store.find("a.test"), Some(password("u", "p")));
        assert_eq!(store.find("b.test"), None);
        store.store("b.test", &password("x", "y")).unwrap();
        let mut forgotten = CredentialStore::at(dir.path()).unwrap();
        assert!(forgotten.erase("a.test").unwrap());
        let again = CredentialStore::at(dir.path()).unwrap();
        assert_eq!((forgotten.find("a.test"), again.find("a.test")), (None, None));
        assert_eq!(again.find("b.test"), Some(password("x", "y")));
        let text = std::fs::read_to_string(dir.path().join("config.json")).unwrap();
        assert!(text.contains("\"kept\""), "{text}");
        std::fs::write(dir.path().join("config.json"), "{").unwrap();
        assert!(matches!(CredentialStore::at(dir.path()), Err(RegistryError::Config { .. })));
        assert!(!format!("{:?}", password("u", "geheim")).contains("geheim"));
    }
}
