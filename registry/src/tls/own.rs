//! The certificates that this client can show, of which the host says which it takes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;
use super::{certificates, of_no_use, read};
use crate::error::RegistryError;

/// A certificate that this client can show, with its key.
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

/// Shows the first certificate that was signed by an authority which the host names, with a key of a kind that it takes, and none if
/// there is none (Go's `crypto/tls`: `getClientCertificate`, `SupportsCertificate`).
#[derive(Debug)]
pub(super) struct OwnCertificates(Vec<(Vec<Vec<u8>>, Arc<CertifiedKey>)>);

impl OwnCertificates {
    pub(super) fn new(own: Vec<ClientCertificate>, provider: &CryptoProvider) -> Result<Self, RegistryError> {
        let usable = own.into_iter().map(|ClientCertificate { path, chain, key }| {
            let issuers = chain.iter().map(|one| Certificate::read(one).map(|read| read.issuer));
            let issuers = issuers.collect::<Result<Vec<_>, _>>().map_err(|error| of_no_use(&path, &error))?;
            let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| of_no_use(&path, &error))?;
            Ok((issuers, Arc::new(key)))
        });
        Ok(Self(usable.collect::<Result<_, RegistryError>>()?))
    }
}

impl ResolvesClientCert for OwnCertificates {
    fn resolve(&self, authorities: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let is_taken = |issuers: &[Vec<u8>]| {
            authorities.is_empty() || issuers.iter().any(|issuer| authorities.contains(&issuer.as_slice()))
        };
        let fitting = |(issuers, own): &&(Vec<Vec<u8>>, Arc<CertifiedKey>)| {
            own.key.choose_scheme(schemes).is_some() && is_taken(issuers)
        };
        self.0.iter().find(fitting).map(|(_, own)| Arc::clone(own))
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}
