//! Which hosts are believed to be who they say, and how they are spoken to.

mod certificate;
mod chain;
mod connector;
mod constraints;
mod own;
mod verifier;

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ALL_VERSIONS, ClientConfig};

pub(crate) use self::connector::TlsConnector;
pub(crate) use self::own::ClientCertificate;
use self::own::OwnCertificates;
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

/// The settings for a host that must show a good certificate. `roots` are those of authorities, or of hosts themselves.
pub(crate) fn checked(
    roots: Vec<CertificateDer<'static>>,
    own: Vec<ClientCertificate>,
) -> Result<TlsSettings, RegistryError> {
    settings(|algorithms| Arc::new(TrustedCertificates::new(&roots, algorithms)), own)
}

/// The settings for a host that need not prove who it is.
pub(crate) fn unchecked(own: Vec<ClientCertificate>) -> Result<TlsSettings, RegistryError> {
    settings(|algorithms| Arc::new(AnyCertificate::new(algorithms)), own)
}

fn settings(
    verifier: impl FnOnce(rustls::crypto::WebPkiSupportedAlgorithms) -> Arc<dyn ServerCertVerifier>,
    own: Vec<ClientCertificate>,
) -> Result<TlsSettings, RegistryError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let own = OwnCertificates::new(own, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(ALL_VERSIONS)
        .expect("ring has ciphers for each version")
        .dangerous()
        .with_custom_certificate_verifier(verifier(algorithms));
    Ok(Arc::new(builder.with_client_cert_resolver(Arc::new(own))))
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
