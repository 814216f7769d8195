//! containerd's `hosts.toml`: which hosts serve the images of a registry, in which order, and how each is spoken to (containerd
//! `docs/hosts.md`, `core/remotes/docker/config/hosts.go`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::{Table, Value};

use crate::error::RegistryError;
use crate::host::{Contact, RegistryHost};

/// The file of a registry's directory.
const FILE: &str = "hosts.toml";

/// The directory that counts for registries without one of their own.
const DEFAULT: &str = "_default";

/// The most of such a file that is read.
const MAX_FILE: u64 = 1 << 20;

/// A host that serves a registry's images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServingHost {
    /// Where it is and how it is spoken to.
    pub host: RegistryHost,
    /// Whether images are fetched from it by their digests.
    pub pull: bool,
    /// Whether it is believed which digest a tag has.
    pub resolve: bool,
    /// Whether images are pushed to it.
    pub push: bool,
}

#[derive(Debug, Deserialize)]
struct Settings {
    capabilities: Option<Vec<String>>,
    #[serde(default)]
    ca: OneOrMany<String>,
    #[serde(default)]
    client: OneOrMany<OneOrMany<PathBuf>>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    override_path: bool,
    #[serde(default)]
    dial_timeout: String,
    #[serde(default)]
    header: Option<toml::map::Map<String, Value>>,
}

/// A value, or a list of some.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// The hosts that serve the images of `domain`, those that are asked first in front and the registry itself at the end, by the
/// file in a directory of `dir` that is named after it, or in `_default`. `None` without such a file.
///
/// # Errors
/// [`RegistryError::File`], [`RegistryError::Config`] for a file that is there and of no use.
pub fn serving_hosts(dir: &Path, domain: &str, verify: bool) -> Result<Option<Vec<ServingHost>>, RegistryError> {
    for name in [domain, DEFAULT] {
        let own = dir.join(name);
        let path = own.join(FILE);
        let failed = |source| RegistryError::File { path: path.clone(), source };
        let file = match std::fs::File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            file => file.map_err(failed)?,
        };
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::io::Read::take(file, MAX_FILE), &mut text).map_err(failed)?;
        let hosts = hosts_of(&text, &own, domain, verify);
        return hosts.map(Some).map_err(|reason| RegistryError::Config { path, reason });
    }
    Ok(None)
}

pub(crate) fn hosts_of(text: &str, dir: &Path, domain: &str, verify: bool) -> Result<Vec<ServingHost>, String> {
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let named = match table.remove("host") {
        None => Table::new(),
        Some(Value::Table(named)) => named,
        Some(_) => return Err("`host` is no table".into()),
    };
    let server = match table.remove("server") {
        None => None,
        Some(Value::String(server)) => Some(server).filter(|server| !server.is_empty()),
        Some(_) => return Err("`server` is no text".into()),
    };
    let mut hosts = Vec::new();
    for (address, settings) in named {
        let told = |error: String| format!("[host.{address:?}]: {error}");
        let settings = Settings::deserialize(settings).map_err(|error| told(error.to_string()))?;
        hosts.push(serving(Some(&address), settings, dir, domain, verify).map_err(told)?);
    }
    // What is said of no host is said of the registry itself.
    let settings = Settings::deserialize(Value::Table(table)).map_err(|error| error.to_string())?;
    hosts.push(serving(server.as_deref(), settings, dir, domain, verify)?);
    Ok(hosts)
}

fn serving(
    address: Option<&str>,
    settings: Settings,
    dir: &Path,
    domain: &str,
    verify: bool,
) -> Result<ServingHost, String> {
    let Settings { capabilities, ca, client, skip_verify, override_path, dial_timeout, header } = settings;
    let capabilities = capabilities.filter(|capabilities| !capabilities.is_empty());
    if let Some(unknown) =
        capabilities.iter().flatten().find(|name| !matches!(name.as_str(), "pull" | "resolve" | "push"))
    {
        return Err(format!("unknown capability {unknown:?}"));
    }
    let can = |name: &str| capabilities.as_ref().is_none_or(|capabilities| capabilities.iter().any(|own| own == name));
    let mut headers = Vec::new();
    for (name, value) in header.unwrap_or_default() {
        let values = OneOrMany::<String>::deserialize(value).map_err(|error| format!("header {name:?}: {error}"))?;
        headers.extend(values.into_vec().into_iter().map(|value| (name.clone(), value)));
    }
    let contact = Contact {
        authorities: ca.into_vec().into_iter().map(|path| dir.join(path)).collect(),
        clients: client.into_vec().into_iter().map(|pair| pair_of(pair, dir)).collect::<Result<_, _>>()?,
        dial_timeout: dial_timeout_of(&dial_timeout)?,
        headers,
        ..Contact::default()
    };
    let verify = verify && !skip_verify;
    let host = match address {
        Some(address) => RegistryHost::served(domain, address, override_path, verify, contact)?,
        None => RegistryHost::new(domain, verify).with(contact),
    };
    Ok(ServingHost { host, pull: can("pull"), resolve: can("resolve"), push: can("push") })
}

/// How long a host may take to accept a connection; without a text, and with none that is longer than zero, as long as any other.
fn dial_timeout_of(text: &str) -> Result<Option<Duration>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let nanos = docker_format::until::duration(text)
        .ok_or_else(|| format!("`dial_timeout`: {text:?} is no duration such as \"3s\" or \"500ms\""))?;
    Ok(u64::try_from(nanos).ok().filter(|nanos| *nanos > 0).map(Duration::from_nanos))
}

/// A certificate and its key: in one file, or in two.
fn pair_of(pair: OneOrMany<PathBuf>, dir: &Path) -> Result<(PathBuf, PathBuf), String> {
    let files = pair.into_vec();
    match files.as_slice() {
        [both] => Ok((dir.join(both), dir.join(both))),
        [certificate, key] if key.as_os_str().is_empty() => Ok((dir.join(certificate), dir.join(certificate))),
        [certificate, key] => Ok((dir.join(certificate), dir.join(key))),
        _ => Err("`client`: a certificate and its key are one file, or two".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(text: &str) -> Result<Vec<ServingHost>, String> {
        hosts_of(text, Path::new("/certs/docker.io"), "docker.io", true)
    }

    /// The examples of containerd's documentation, with what it says of them.
    #[test]
    fn files_are_read_as_containerd_reads_them() {
        let text = "server = \"https://registry-1.docker.io\"\n\
                    [host.\"https://public.test\"]\n capabilities = [\"pull\"]\n\
                    [host.\"http://mirror.test:5/prefix\"]\n skip_verify = true\n\
                    [host.\"https://proxy.test/v2/hub\"]\n override_path = true\n ca = \"ca.crt\"\n dial_timeout = \"1.5s\"\n\
                    client = [[\"/c.cert\", \"/c.key\"], [\"both.pem\"]]\n [host.\"https://proxy.test/v2/hub\".header]\n\
                    x-a = \"1\"\n x-b = [\"2\", \"3\"]\n";
        let hosts = hosts(text).unwrap();
        let asked: Vec<String> =
            hosts.iter().map(|host| host.host.target(&host.host.bases()[0], "/v2/a/tags/list")).collect();
        let expected = [
            "https://public.test/v2/a/tags/list?ns=docker.io",
            "http://mirror.test:5/prefix/v2/a/tags/list?ns=docker.io",
            "https://proxy.test/v2/hub/a/tags/list?ns=docker.io",
            "https://registry-1.docker.io/v2/a/tags/list",
        ];
        assert_eq!(asked, expected);
        let can = |host: &ServingHost| (host.pull, host.resolve, host.push);
        assert_eq!(can(&hosts[0]), (true, false, false));
        assert_eq!(can(&hosts[1]), (true, true, true));
        assert_eq!(hosts.iter().map(|host| host.host.is_insecure()).collect::<Vec<_>>(), [false, true, false, false]);
        let contact = hosts[2].host.contact();
        assert_eq!(contact.authorities, [Path::new("/certs/docker.io/ca.crt")]);
        let timeouts = hosts.iter().map(|host| host.host.contact().dial_timeout).collect::<Vec<_>>();
        assert_eq!(timeouts, [None, None, Some(Duration::from_millis(1500)), None]);
        let both = PathBuf::from("/certs/docker.io/both.pem");
        assert_eq!(contact.clients, [("/c.cert".into(), "/c.key".into()), (both.clone(), both)]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(contact.headers, [pair("x-a", "1"), pair("x-b", "2"), pair("x-b", "3")]);
    }

    #[test]
    fn without_a_server_the_registry_itself_is_asked_as_the_file_says() {
        let hosts = hosts("ca = [\"a.crt\", \"/b.crt\"]\nskip_verify = true\n").unwrap();
        assert_eq!(hosts.len(), 1);
        assert_eq!(hosts[0].host.bases()[0], "https://registry-1.docker.io");
        assert!(hosts[0].host.is_insecure());
        assert_eq!(hosts[0].host.contact().authorities.len(), 2);
    }

    #[test]
    fn what_cannot_be_meant_is_an_error() {
        for bad in [
            "server = 1",
            "host = 1",
            "x",
            "[host.\"ftp://a.test\"]",
            "[host.\"https://a.test?x\"]",
            "[host.\"https://u:p@a.test\"]",
            "[host.\"https://a.test\"]\ncapabilities = [\"fly\"]",
            "[host.\"https://a.test\"]\nclient = [[\"a\", \"b\", \"c\"]]",
            "[host.\"https://a.test\"]\nskip_verify = \"yes\"",
            "[host.\"https://a.test\"]\ndial_timeout = 3",
            "[host.\"https://a.test\"]\ndial_timeout = \"3\"",
            "[host.\"https://a.test\"]\n[host.\"https://a.test\".header]\nx = 1",
        ] {
            assert!(hosts(bad).is_err(), "{bad}");
        }
    }
}
