//! Which hosts are believed to be who they say, and how they are spoken to.

mod connector;
mod verifier;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ALL_VERSIONS, ClientConfig};

pub(crate) use self::connector::TlsConnector;
use self::verifier::{AnyCertificate, TrustedCertificates};
use crate::error::RegistryError;

/// Files with the authorities that this system trusts. The first that exists counts (Go's `crypto/x509/root_linux.go`).
const AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The most of a file with certificates that is read.
const MAX_PEM: u64 = 8 << 20;

/// How the connections to a host are made.
pub(crate) type TlsSettings = Arc<ClientConfig>;

/// The certificate that this client shows, with its key.
#[derive(Debug)]
pub(crate) struct ClientCertificate {
    path: PathBuf,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl ClientCertificate {
    /// Reads both from their files.
    pub(crate) fn read(path: &Path, key: &Path) -> Result<Self, RegistryError> {
        let parsed = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| of_no_use(key, &error))?;
        Ok(Self { path: path.into(), chain: certificates(path)?, key: parsed })
    }
}

/// The settings for a host that must show a good certificate. `roots` are those of authorities, or of hosts themselves.
pub(crate) fn checked(
    roots: Vec<CertificateDer<'static>>,
    own: Option<ClientCertificate>,
) -> Result<TlsSettings, RegistryError> {
    settings(|algorithms| Arc::new(TrustedCertificates::new(roots, algorithms)), own)
}

/// The settings for a host that need not prove who it is.
pub(crate) fn unchecked(own: Option<ClientCertificate>) -> Result<TlsSettings, RegistryError> {
    settings(|algorithms| Arc::new(AnyCertificate::new(algorithms)), own)
}

fn settings(
    verifier: impl FnOnce(rustls::crypto::WebPkiSupportedAlgorithms) -> Arc<dyn ServerCertVerifier>,
    own: Option<ClientCertificate>,
) -> Result<TlsSettings, RegistryError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(ALL_VERSIONS)
        .expect("ring has ciphers for each version")
        .dangerous()
        .with_custom_certificate_verifier(verifier(algorithms));
    Ok(Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some(own) => builder.with_client_auth_cert(own.chain, own.key).map_err(|error| of_no_use(&own.path, &error))?,
    }))
}

/// The authorities that this system trusts.
pub(crate) fn system_roots() -> Result<Vec<CertificateDer<'static>>, RegistryError> {
    if let Some(file) = std::env::var_os("SSL_CERT_FILE") {
        return certificates(Path::new(&file));
    }
    AUTHORITIES.iter().map(Path::new).find(|path| path.exists()).map_or(Ok(Vec::new()), certificates)
}

/// The certificates in a file.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, RegistryError> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    parsed.map_err(|error| of_no_use(path, &error))
}

fn of_no_use(path: &Path, error: &dyn std::fmt::Display) -> RegistryError {
    RegistryError::Config { path: path.into(), reason: error.to_string() }
}

fn read(path: &Path) -> Result<Vec<u8>, RegistryError> {
    use std::io::Read;
    let failed = |source| RegistryError::File { path: path.into(), source };
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(failed)?.take(MAX_PEM).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
