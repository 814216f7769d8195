//! How registries are reached: the flags of every command that asks one, and what docker's own files say.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, anyhow};
use images::load::ImportError;
use images::source::ArchiveError;
use layerfs::Digest;
use registry::{
    ClientOptions, CredentialStore, Credentials, InsecureRegistries, RegistryClient, RegistryError, RegistryHost,
    ServingHost,
};
use serde::Deserialize;
use snapshot::reference::{Reference, ReferenceError};

use crate::commands::layerfs::NAME;
use crate::output;

/// The flags of every command that asks a registry.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RegistryFlags {
    /// Whether the registry must prove who it is; with false, its certificate is not looked at, and plain HTTP will do
    #[arg(
        long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true",
        default_missing_value = "true", action = clap::ArgAction::Set, value_parser = crate::flags::parse_bool
    )]
    tls_verify: bool,

    /// Seconds without a byte after which a connection counts as dead, and another one is made
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
    stall_timeout: u16,

    /// dockerd's configuration, of which `insecure-registries` and `registry-mirrors` count
    #[arg(long, value_name = "FILE", default_value = "/etc/docker/daemon.json")]
    daemon_config: PathBuf,

    /// Directory with a directory of certificates for each registry
    #[arg(long, value_name = "DIR", default_value = "/etc/docker/certs.d")]
    certs_dir: PathBuf,

    /// Directory with a directory for each registry in which containerd's `hosts.toml` says who serves its images
    #[arg(long, value_name = "DIR", default_value = "/etc/containerd/certs.d")]
    hosts_dir: PathBuf,
}

/// The flags of every command that fetches images.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SourceFlags {
    /// Ask this mirror first, by its address; may be given several times
    #[arg(long, value_name = "URL")]
    mirror: Vec<String>,

    #[command(flatten)]
    registry: RegistryFlags,
}

impl SourceFlags {
    /// Clients for all that may serve this image, those to ask first in front, with the registry itself at the end.
    pub(crate) fn clients(
        &self,
        reference: &Reference,
        interrupted: &Arc<AtomicBool>,
    ) -> anyhow::Result<Vec<RegistryClient>> {
        self.registry.clients(reference, &self.mirror, interrupted)
    }

    /// How servers are spoken to.
    pub(crate) fn options(&self, interrupted: &Arc<AtomicBool>) -> ClientOptions {
        self.registry.options(interrupted)
    }

    /// A client for the registry of this image.
    pub(crate) fn client(
        &self,
        reference: &Reference,
        interrupted: &Arc<AtomicBool>,
    ) -> anyhow::Result<RegistryClient> {
        self.registry.client(reference, interrupted)
    }

    /// A client for whoever takes pushes of this image.
    pub(crate) fn client_to_push(
        &self,
        reference: &Reference,
        interrupted: &Arc<AtomicBool>,
    ) -> anyhow::Result<RegistryClient> {
        self.registry.client_to_push(reference, interrupted)
    }

    /// The files of this machine that are read.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.registry.paths()
    }
}

/// What counts of `daemon.json`.
#[derive(Debug, Default, Deserialize)]
struct DaemonConfig {
    #[serde(rename = "insecure-registries", default)]
    insecure: Vec<String>,
    #[serde(rename = "registry-mirrors", default)]
    mirrors: Vec<String>,
}

impl DaemonConfig {
    /// Reads the file; one that does not exist sets nothing.
    fn read(path: &Path) -> anyhow::Result<Self> {
        match std::fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            read => {
                let bytes = read.with_context(|| path.display().to_string())?;
                serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
            }
        }
    }
}

impl RegistryFlags {
    /// A client for the registry of this image, with the user's credentials for its host.
    pub(crate) fn client(
        &self,
        reference: &Reference,
        interrupted: &Arc<AtomicBool>,
    ) -> anyhow::Result<RegistryClient> {
        let config = DaemonConfig::read(&self.daemon_config)?;
        let mut hosts = self.hosts(&InsecureRegistries::new(&config.insecure), reference.domain())?;
        let host = hosts.pop().expect("the last host is the registry itself").host;
        let credentials = credential_store().find(host.domain());
        Ok(RegistryClient::new(host, credentials, self.options(interrupted))?)
    }

    /// Clients for all that may serve this image: the mirrors `named` by the user, the hosts of a `hosts.toml`, those that
    /// dockerd has for Docker Hub, and the registry itself. Each has the user's credentials for its own host: those for Docker
    /// Hub are not a mirror's to see.
    fn clients(
        &self,
        reference: &Reference,
        named: &[String],
        interrupted: &Arc<AtomicBool>,
    ) -> anyhow::Result<Vec<RegistryClient>> {
        let (config, store) = (DaemonConfig::read(&self.daemon_config)?, credential_store());
        let configured = if reference.domain() == "docker.io" { config.mirrors.as_slice() } else { &[] };
        let insecure = InsecureRegistries::new(&config.insecure);
        let client = |host: RegistryHost| {
            let host = if insecure.contains(host.domain()) { host.without_proof() } else { host };
            let credentials = store.find(host.domain());
            Ok::<_, anyhow::Error>(RegistryClient::new(host, credentials, self.options(interrupted))?)
        };
        let mirrors = |addresses: &[String]| {
            let mirror = |address: &String| RegistryHost::mirror(address).map_err(|reason| anyhow!(reason));
            addresses.iter().map(|address| client(mirror(address)?)).collect::<anyhow::Result<Vec<_>>>()
        };
        let mut hosts = self.hosts(&insecure, reference.domain())?;
        let itself = hosts.pop();
        let resolvers = hosts.iter().chain(&itself).filter(|host| host.resolve).map(|host| host.host.clone());
        let resolvers: Vec<RegistryHost> = resolvers.collect();
        let serving = |host: ServingHost| {
            if !host.pull || (resolvers.is_empty() && reference.digest().is_none()) {
                return Ok(None);
            }
            if host.resolve || reference.digest().is_some() {
                return client(host.host).map(Some);
            }
            let others = resolvers.iter().map(|host| Ok(Arc::new(client(host.clone())?)));
            Ok(Some(client(host.host)?.resolving_at(others.collect::<anyhow::Result<_>>()?)))
        };
        let mut clients = mirrors(named)?;
        for host in hosts {
            clients.extend(serving(host)?);
        }
        clients.extend(mirrors(configured)?);
        if let Some(itself) = itself {
            clients.extend(serving(itself)?);
        }
        anyhow::ensure!(!clients.is_empty(), "by hosts.toml nobody serves {}", reference.familiar_name());
        Ok(clients)
    }

    /// A client for the registry, or for the host, that images of this name are pushed to.
    pub(crate) fn client_to_push(
        &self,
        reference: &Reference,
        interrupted: &Arc<AtomicBool>,
    ) -> anyhow::Result<RegistryClient> {
        let config = DaemonConfig::read(&self.daemon_config)?;
        let hosts = self.hosts(&InsecureRegistries::new(&config.insecure), reference.domain())?;
        let Some(ServingHost { host, .. }) = hosts.into_iter().find(|host| host.push) else {
            anyhow::bail!("by hosts.toml nobody takes pushes of {}", reference.familiar_name());
        };
        let credentials = credential_store().find(host.domain());
        Ok(RegistryClient::new(host, credentials, self.options(interrupted))?)
    }

    /// The hosts that serve a registry's images, the registry itself at the end.
    fn hosts(&self, insecure: &InsecureRegistries, domain: &str) -> anyhow::Result<Vec<ServingHost>> {
        let verify = self.tls_verify && !insecure.contains(domain);
        let itself = || ServingHost { host: RegistryHost::new(domain, verify), pull: true, resolve: true, push: true };
        Ok(registry::serving_hosts(&self.hosts_dir, domain, verify)?.unwrap_or_else(|| vec![itself()]))
    }

    /// The files of this machine that are read.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let named = ["DOCKER_CONFIG", "SSL_CERT_FILE"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
        [&self.daemon_config, &self.certs_dir, &self.hosts_dir].into_iter().cloned().chain(named).collect()
    }

    fn options(&self, interrupted: &Arc<AtomicBool>) -> ClientOptions {
        let mut options = ClientOptions::new(Arc::clone(interrupted));
        options.stall = Duration::from_secs(self.stall_timeout.into());
        options.certs = self.certs_dir.clone();
        options
    }

    /// A client for a registry, with these credentials. They go to no other host, whatever `hosts.toml` says.
    pub(crate) fn client_with(
        &self,
        domain: &str,
        credentials: Option<Credentials>,
        interrupted: &Arc<AtomicBool>,
    ) -> anyhow::Result<RegistryClient> {
        let config = DaemonConfig::read(&self.daemon_config)?;
        let insecure = InsecureRegistries::new(&config.insecure);
        let itself = self.hosts(&insecure, domain)?.pop().filter(|itself| itself.host.domain() == domain);
        let verify = self.tls_verify && !insecure.contains(domain);
        let host = itself.map_or_else(|| RegistryHost::new(domain, verify), |itself| itself.host);
        Ok(RegistryClient::new(host, credentials, self.options(interrupted))?)
    }
}

/// Lets one registry after the other attempt something: what one mirror does not have, the next one may have.
pub(crate) fn in_turn<T>(
    command: &str,
    clients: Vec<RegistryClient>,
    mut attempt: impl FnMut(&Arc<RegistryClient>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut clients = clients.into_iter().map(Arc::new).peekable();
    loop {
        let client = clients.next().expect("the registry itself is the last");
        match attempt(&client) {
            Err(error) if clients.peek().is_some() && is_of_registry(&error) => {
                let mirror = client.host().domain();
                output::complain(command, &format!("warning: mirror {mirror}: {error:#}"));
            }
            done => return done,
        }
    }
}

/// The error of a registry that an error of a chain is; that of a transfer is shared with the transfer.
pub(crate) fn registry_error<'e>(cause: &'e (dyn std::error::Error + 'static)) -> Option<&'e RegistryError> {
    cause.downcast_ref().or_else(|| cause.downcast_ref::<Arc<RegistryError>>().map(|shared| &**shared))
}

/// Whether the registry is why something failed, and not this machine or its user.
fn is_of_registry(error: &anyhow::Error) -> bool {
    error.chain().find_map(registry_error).is_some_and(|error| {
        !matches!(error, RegistryError::Interrupted | RegistryError::File { .. } | RegistryError::Store(_))
    })
}

/// Why an image of a registry was not unpacked, with what went wrong on the way here, if anything did.
pub(crate) fn cause(error: ImportError, fault: Option<Arc<RegistryError>>) -> anyhow::Error {
    match (error, fault) {
        // The thread that fetches may be the first to notice an interrupt.
        (_, Some(fault)) if matches!(*fault, RegistryError::Interrupted) => ImportError::Interrupted.into(),
        (error @ ImportError::Interrupted, _) => error.into(),
        (_, Some(fault)) => anyhow::Error::new(fault),
        (ImportError::Archive(ArchiveError::Digest { file, expected, found }), None) => {
            anyhow!("filesystem layer verification failed for digest {expected}: {file} has the digest {found}")
        }
        (error, None) => error.into(),
    }
}

/// Says that a blob is asked for again, and why.
pub(crate) fn complain_of_retry(command: &str, blob: Digest, at: u64, error: &RegistryError) {
    output::complain(command, &format!("{} at byte {at}: {error}", blob.short()));
}

/// The user's credentials. Without a file that can be read there are none, as for docker's client.
pub(crate) fn credential_store() -> CredentialStore {
    CredentialStore::of_user().unwrap_or_else(|error: RegistryError| {
        output::complain(NAME, &format!("warning: error loading config file: {error}"));
        CredentialStore::none()
    })
}

/// A name as docker's client reads it.
pub(crate) fn parse(text: &str) -> anyhow::Result<Reference> {
    let reference = Reference::parse(text).map_err(|error| match error {
        ReferenceError::Format { .. } | ReferenceError::Digest { .. } => anyhow!("invalid reference format: {text:?}"),
        error => anyhow!("{error}"),
    })?;
    anyhow::ensure!(!reference.domain().is_empty(), "invalid reference format: {text:?}");
    Ok(reference)
}
