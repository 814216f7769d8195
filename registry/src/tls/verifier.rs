//! Whether a host's certificate proves who it is.

use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::oid::db::rfc5280::{ANY_EXTENDED_KEY_USAGE, ID_KP_SERVER_AUTH};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::ExtendedKeyUsage;

/// Takes what rustls takes: a certificate by a trusted authority, for the host's name, at this time. Besides, as Go does, one
/// that is itself among those that are trusted (`crypto/x509/verify.go` of Go 1.19: `Verify`): of such a certificate nobody
/// asks who signed it, nor whether it is an authority's, as `openssl req -x509` makes it.
#[derive(Debug)]
pub(crate) struct TrustedCertificates {
    trusted: Vec<CertificateDer<'static>>,
    authorities: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl TrustedCertificates {
    pub(crate) fn new(trusted: Vec<CertificateDer<'static>>, algorithms: WebPkiSupportedAlgorithms) -> Self {
        let mut authorities = RootCertStore::empty();
        // What cannot be read as an authority's signs nothing.
        authorities.add_parsable_certificates(trusted.iter().cloned());
        Self { trusted, authorities, algorithms }
    }

    /// rustls tells of an authority's certificate before it looks for who signed it. To docker's users that is the question.
    fn in_the_order_of_go(&self, error: Error, certificate: &CertificateDer<'_>) -> Error {
        if !matches!(error, Error::InvalidCertificate(CertificateError::Other(_))) {
            return error;
        }
        let issuer = Certificate::from_der(certificate).and_then(|read| read.tbs_certificate().issuer().to_der());
        match issuer {
            Ok(issuer) if self.authorities.subjects().iter().all(|name| name.as_ref() != issuer) => {
                CertificateError::UnknownIssuer.into()
            }
            _ => error,
        }
    }
}

/// What Go asks of a certificate that is trusted itself, but for its name: whether this is its time, and whether it may be that
/// of a server. What it must not be used for otherwise (`keyUsage`) Go does not ask, and neither does rustls.
fn is_usable(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let certificate = Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let certificate = certificate.tbs_certificate();
    let (validity, now) = (certificate.validity(), Duration::from_secs(now.as_secs()));
    if now < validity.not_before.to_unix_duration() {
        return Err(CertificateError::NotValidYet);
    }
    if now > validity.not_after.to_unix_duration() {
        return Err(CertificateError::Expired);
    }
    match certificate.get_extension::<ExtendedKeyUsage>() {
        Err(_) => Err(CertificateError::BadEncoding),
        Ok(Some((_, ExtendedKeyUsage(purposes))))
            if !purposes.iter().any(|purpose| matches!(*purpose, ANY_EXTENDED_KEY_USAGE | ID_KP_SERVER_AUTH)) =>
        {
            Err(CertificateError::InvalidPurpose)
        }
        Ok(_) => Ok(()),
    }
}

impl ServerCertVerifier for TrustedCertificates {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // Refuses what has critical extensions that are not known, too.
        let parsed = ParsedCertificate::try_from(end_entity)?;
        if self.trusted.contains(end_entity) {
            is_usable(end_entity, now)?;
        } else {
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, &self.authorities, intermediates, now, algorithms)
                .map_err(|error| self.in_the_order_of_go(error, end_entity))?;
        }
        verify_server_name(&parsed, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Takes whatever a host shows, also what is no certificate: for hosts that may speak plain HTTP as well.
#[derive(Debug)]
pub(crate) struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyCertificate {
    pub(crate) fn new(algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { algorithms }
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
