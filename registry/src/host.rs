//! Where a registry is, and how it is spoken to.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use ureq::http::Uri;

use crate::error::RegistryError;
use crate::tls::{self, TlsSettings};
use crate::token::form;

/// The domain of names without one, and the host that serves it (moby v20.10.24 `registry/config.go`).
const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// Registries that need not prove who they are, as `insecure-registries` of `daemon.json` names them: hosts, with their
/// ports, and networks of addresses (moby v20.10.24 `registry/config.go`: `isSecureIndex`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InsecureRegistries {
    names: Vec<String>,
    networks: Vec<(IpAddr, u8)>,
}

impl InsecureRegistries {
    /// The registries that `texts` name.
    #[must_use]
    pub fn new(texts: &[String]) -> Self {
        let mut all = Self::default();
        for text in texts {
            let network = text.split_once('/').and_then(|(address, bits)| {
                let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse().ok()?);
                (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
            });
            match network {
                Some(network) => all.networks.push(network),
                None => all.names.push(text.clone()),
            }
        }
        all
    }

    /// Whether `domain`, with its port if it has one, is one of them. A name is looked up if there are networks.
    #[must_use]
    pub fn contains(&self, domain: &str) -> bool {
        if self.names.iter().any(|name| name == domain) {
            return true;
        }
        if self.networks.is_empty() {
            return false;
        }
        let with_port = if domain.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
            domain.to_owned()
        } else {
            format!("{domain}:443")
        };
        let addresses = std::net::ToSocketAddrs::to_socket_addrs(&with_port);
        addresses.is_ok_and(|mut found| {
            found.any(|address| self.networks.iter().any(|network| is_in(address.ip(), *network)))
        })
    }
}

fn is_in(address: IpAddr, (network, bits): (IpAddr, u8)) -> bool {
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    };
    let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    address.is_ipv4() == network.is_ipv4() && (number(address) ^ number(network)) & mask == 0
}

/// A registry by the domain of image names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryHost {
    domain: String,
    insecure: bool,
    /// The only address of a mirror.
    only: Option<String>,
    contact: Contact,
}

/// What a `hosts.toml` says of how a host is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Contact {
    /// Files with authorities beside those of the system.
    pub(crate) authorities: Vec<PathBuf>,
    /// Files with certificates that can be shown, and with their keys.
    pub(crate) clients: Vec<(PathBuf, PathBuf)>,
    /// How long the host may take to accept a connection.
    pub(crate) dial_timeout: Option<Duration>,
    /// Headers of each request.
    pub(crate) headers: Vec<(String, String)>,
    /// The path in the place of `/v2`.
    pub(crate) root: Option<String>,
    /// The registry whose images a mirror is asked for.
    pub(crate) namespace: Option<String>,
}

impl RegistryHost {
    /// The registry that serves `domain`. If `verify`, its certificate must be good, unless the registry is on this
    /// machine: then, as for dockerd, it is insecure in any case (moby v20.10.24 `registry/config.go`: 127.0.0.0/8 is
    /// insecure).
    #[must_use]
    pub fn new(domain: &str, verify: bool) -> Self {
        let insecure = !verify || is_loopback(domain);
        Self { domain: domain.to_owned(), insecure, only: None, contact: Contact::default() }
    }

    /// A mirror by its address, as `registry-mirrors` of `daemon.json` has it: a scheme and a host, and nothing else (moby
    /// v20.10.24 `registry/config.go`: `ValidateMirror`). It is spoken to as the address says, and in no other way.
    ///
    /// # Errors
    /// What is wrong with the address, in dockerd's words.
    pub fn mirror(address: &str) -> Result<Self, String> {
        let uri: Uri = address.parse().map_err(|_| format!("invalid mirror: {address:?} is not a valid URI"))?;
        let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(format!("invalid mirror: unsupported scheme in {address:?}"));
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(format!("invalid mirror: path, query, or fragment at end of the URI {address:?}"));
        }
        let domain = authority.as_str();
        let insecure = is_loopback(domain) || scheme == "http";
        let only = Some(format!("{scheme}://{domain}"));
        Ok(Self { domain: domain.to_owned(), insecure, only, contact: Contact::default() })
    }

    /// A host by its address in a `hosts.toml`, which serves images of `domain`. Unless `whole`, its path is one below which
    /// there is `/v2`.
    pub(crate) fn served(
        domain: &str,
        address: &str,
        whole: bool,
        verify: bool,
        contact: Contact,
    ) -> Result<Self, String> {
        let complete = if address.contains("://") { address.to_owned() } else { format!("https://{address}") };
        let uri: Uri = complete.parse().map_err(|_| format!("{address:?} is no address"))?;
        let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(format!("{address:?} is no address that begins with https:// or http://"));
        };
        let path = uri.path().trim_end_matches('/');
        let is_plain = path.split('/').all(|part| part != "." && part != "..");
        if uri.query().is_some() || authority.as_str().contains('@') || !is_plain {
            return Err(format!("{address:?} has more than a host and a path"));
        }
        let root = if whole || path.ends_with("/v2") { path.to_owned() } else { format!("{path}/v2") };
        let authority = authority.as_str();
        let own = Self::new(domain, verify);
        let is_own = authority == own.address();
        let insecure = !verify || is_loopback(authority) || scheme == "http";
        let namespace = (!is_own).then(|| domain.to_owned());
        Ok(Self {
            domain: if is_own { own.domain } else { authority.to_owned() },
            insecure,
            only: Some(format!("{scheme}://{authority}")),
            contact: Contact { root: Some(root), namespace, ..contact },
        })
    }

    /// The same host, spoken to in this way.
    pub(crate) fn with(self, contact: Contact) -> Self {
        Self { contact, ..self }
    }

    pub(crate) fn contact(&self) -> &Contact {
        &self.contact
    }

    /// Where a path of the protocol is asked for, seen from one of the addresses. A mirror is told whose images it is asked for,
    /// as containerd does.
    pub(crate) fn target(&self, base: &str, path: &str) -> String {
        let rest = path.strip_prefix("/v2");
        let mut url = match (&self.contact.root, rest) {
            (Some(root), Some(rest)) => format!("{base}{root}{rest}"),
            _ => format!("{base}{path}"),
        };
        if let Some(namespace) = &self.contact.namespace {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(&form(&[("ns", namespace)]));
        }
        url
    }

    /// The same host, which need not prove who it is.
    #[must_use]
    pub fn without_proof(self) -> Self {
        Self { insecure: true, ..self }
    }

    /// The domain in image names.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The host and port that requests go to.
    #[must_use]
    pub fn address(&self) -> &str {
        if self.domain == HUB.0 { HUB.1 } else { &self.domain }
    }

    /// Whether it need not prove who it is, and may speak plain HTTP.
    #[must_use]
    pub fn is_insecure(&self) -> bool {
        self.insecure
    }

    /// The addresses to try, in order.
    pub(crate) fn bases(&self) -> Vec<String> {
        if let Some(only) = &self.only {
            return vec![only.clone()];
        }
        let schemes: &[&str] = if self.insecure { &["https", "http"] } else { &["https"] };
        schemes.iter().map(|scheme| format!("{scheme}://{}", self.address())).collect()
    }

    /// How its certificate is checked: `CERTS/DOMAIN/*.crt` are authorities beside `roots`, `X.cert` with `X.key` is the
    /// certificate that this client can show (moby v20.10.24 `registry/registry.go`: `ReadCertsDirectory`).
    ///
    /// # Errors
    /// [`RegistryError::File`], [`RegistryError::Config`] for files that are there and of no use.
    pub(crate) fn tls(
        &self,
        mut roots: Vec<CertificateDer<'static>>,
        certs: &Path,
    ) -> Result<TlsSettings, RegistryError> {
        let mut own = Vec::new();
        let dir = certs.join(&self.domain);
        let failed = |source| RegistryError::File { path: dir.clone(), source };
        let names = match std::fs::read_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            entries => {
                let names = entries.map_err(failed)?.map(|entry| entry.map(|entry| entry.path()));
                let mut names = names.collect::<Result<Vec<_>, _>>().map_err(failed)?;
                names.sort();
                names
            }
        };
        for path in names {
            match path.extension().and_then(|end| end.to_str()) {
                Some("crt") => roots.extend(tls::certificates(&path)?),
                Some("cert") => {
                    let key = path.with_extension("key");
                    let missing = "there is no key for this certificate, which must be in a file of the same name that ends in .key";
                    if !key.exists() {
                        return Err(RegistryError::Config { path, reason: missing.into() });
                    }
                    own.push(tls::ClientCertificate::read(&path, &key)?);
                }
                Some("key") if !path.with_extension("cert").exists() => {
                    let reason = "there is no certificate for this key, which must be in a file of the same name that ends in .cert";
                    return Err(RegistryError::Config { path, reason: reason.into() });
                }
                _ => {}
            }
        }
        for path in &self.contact.authorities {
            roots.extend(tls::certificates(path)?);
        }
        for (path, key) in &self.contact.clients {
            own.push(tls::ClientCertificate::read(path, key)?);
        }
        if self.insecure { tls::unchecked(own) } else { tls::checked(roots, own) }
    }
}

/// Whether a host, with or without a port, is `localhost` or a loopback address.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_where_dockerd_looks_for_them() {
        let bases = |domain, verify| RegistryHost::new(domain, verify).bases();
        assert_eq!(bases("docker.io", true), ["https://registry-1.docker.io"]);
        assert_eq!(bases("ghcr.io", true), ["https://ghcr.io"]);
        assert_eq!(bases("ghcr.io:444", false), ["https://ghcr.io:444", "http://ghcr.io:444"]);
        for loopback in ["127.0.0.1:5000", "localhost", "localhost:5000", "[::1]:5000", "127.9.8.7"] {
            assert_eq!(bases(loopback, true).len(), 2, "{loopback}");
        }
        for other in ["localhost.example.com", "128.0.0.1", "[::2]:1", "127.0.0.1.example.com:5"] {
            assert_eq!(bases(other, true).len(), 1, "{other}");
        }
    }

    #[test]
    fn mirrors_are_hosts_and_nothing_else() {
        let bases = |address| RegistryHost::mirror(address).map(|host| host.bases());
        assert_eq!(bases("https://m.test:5/"), Ok(vec!["https://m.test:5".to_owned()]));
        assert_eq!(bases("http://m.test"), Ok(vec!["http://m.test".to_owned()]));
        for bad in ["m.test", "ftp://m.test", "https://m.test/v2", "https://m.test?x", "https://u:p@m.test", "https://"]
        {
            assert!(bases(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn insecure_registries_are_hosts_and_networks() {
        let all = InsecureRegistries::new(&["a.test:5000".into(), "10.1.0.0/16".into(), "b.test/32".into()]);
        for (domain, expected) in [
            ("a.test:5000", true),
            ("a.test", false),
            ("10.1.255.1:80", true),
            ("10.1.0.7", true),
            ("10.2.0.1", false),
            ("b.test/32", true),
        ] {
            assert_eq!(all.contains(domain), expected, "{domain}");
        }
        let four = "1.2.3.4".parse::<IpAddr>().unwrap();
        assert!(is_in(four, ("9.9.9.9".parse().unwrap(), 0)) && !is_in(four, ("1.2.3.5".parse().unwrap(), 32)));
        assert!(!is_in(four, ("::".parse().unwrap(), 0)));
    }

    #[test]
    fn certificates_of_a_host_are_read_or_refused() {
        let certs = tempfile::tempdir().unwrap();
        let host = RegistryHost::new("registry.test:5", true);
        host.tls(Vec::new(), certs.path()).unwrap();
        let dir = certs.path().join("registry.test:5");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("own.cert"), "").unwrap();
        let said = host.tls(Vec::new(), certs.path()).unwrap_err().to_string();
        assert!(said.contains("own.cert: there is no key for this certificate"), "{said}");
        std::fs::write(dir.join("own.key"), "nonsense").unwrap();
        assert!(matches!(host.tls(Vec::new(), certs.path()), Err(RegistryError::Config { .. })));
        std::fs::remove_file(dir.join("own.cert")).unwrap();
        let said = host.tls(Vec::new(), certs.path()).unwrap_err().to_string();
        assert!(said.contains("own.key: there is no certificate for this key"), "{said}");
    }
}
