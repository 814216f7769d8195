//! Why no answer came, in the words of Go's `net` and `crypto` packages, which dockerd prints.

use rustls::AlertDescription;
use ureq::http::{Method, Uri};

use crate::error::RegistryError;

/// A method as Go writes it in errors.
pub(crate) fn spelled(method: &Method) -> &'static str {
    match *method {
        Method::HEAD => "Head",
        Method::POST => "Post",
        Method::PUT => "Put",
        Method::PATCH => "Patch",
        _ => "Get",
    }
}

/// What Go says if nobody listens at an address.
const REFUSED: &str = "connect: connection refused";

/// Whether a request failed because nobody listens at its address.
pub(crate) fn is_refused(error: &RegistryError) -> bool {
    matches!(error, RegistryError::Transport { reason, .. } if reason.ends_with(REFUSED))
}

/// The error for a request that got no answer.
pub(crate) fn transport(method: &'static str, url: &str, error: &ureq::Error) -> RegistryError {
    let authority = url.parse::<Uri>().ok().and_then(|uri| uri.authority().cloned());
    let authority = authority.map(|authority| authority.to_string()).unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host);
    let (reason, transient) = match error {
        ureq::Error::HostNotFound => (format!("dial tcp: lookup {host}: no such host"), false),
        ureq::Error::Io(error) => return broken_with(method, url, error, &authority),
        ureq::Error::Timeout(which) => (format!("no answer in time ({which})"), true),
        ureq::Error::Protocol(_) | ureq::Error::Http(_) => (format!("malformed HTTP response: {error}"), true),
        error => (error.to_string(), false),
    };
    RegistryError::Transport { method, url: url.to_owned(), reason, transient }
}

/// The error for a connection that broke while a body was read.
pub(crate) fn broken(method: &'static str, url: &str, error: &std::io::Error) -> RegistryError {
    broken_with(method, url, error, "")
}

fn broken_with(method: &'static str, url: &str, error: &std::io::Error, authority: &str) -> RegistryError {
    use std::io::ErrorKind;
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        return of_tls(method, url, tls, host);
    }
    if let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>())
        && !matches!(inner, ureq::Error::Io(_))
    {
        return transport(method, url, inner);
    }
    // What the system's resolver says, for which the standard library has no kind.
    if error.to_string().starts_with("failed to lookup address information") {
        return transport(method, url, &ureq::Error::HostNotFound);
    }
    let reason = match error.kind() {
        ErrorKind::ConnectionRefused => format!("dial tcp {authority}: {REFUSED}"),
        ErrorKind::UnexpectedEof => "unexpected EOF".to_owned(),
        ErrorKind::ConnectionReset => "read: connection reset by peer".to_owned(),
        _ => error.to_string(),
    };
    RegistryError::Transport { method, url: url.to_owned(), reason, transient: true }
}

/// The error for a host that cannot be trusted, in Go's words (`crypto/x509`, `net/http`).
fn of_tls(method: &'static str, url: &str, error: &rustls::Error, host: &str) -> RegistryError {
    use rustls::CertificateError as Bad;
    let is_plain = matches!(error, rustls::Error::InvalidMessage(_));
    let reason = match error {
        rustls::Error::InvalidCertificate(Bad::UnknownIssuer) => "x509: certificate signed by unknown authority".into(),
        rustls::Error::InvalidCertificate(Bad::Expired | Bad::NotValidYet) => {
            "x509: certificate has expired or is not yet valid".into()
        }
        rustls::Error::InvalidCertificate(Bad::ExpiredContext { .. } | Bad::NotValidYetContext { .. }) => {
            "x509: certificate has expired or is not yet valid".into()
        }
        rustls::Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            format!("x509: certificate is not valid for {host}")
        }
        rustls::Error::InvalidCertificate(Bad::InvalidPurpose | Bad::InvalidPurposeContext { .. }) => {
            "x509: certificate specifies an incompatible key usage".into()
        }
        rustls::Error::InvalidMessage(_) => "http: server gave HTTP response to HTTPS client".into(),
        rustls::Error::InvalidCertificate(Bad::Other(why)) => format!("x509: {why}"),
        error if matches!(error, rustls::Error::InvalidCertificate(_)) => format!("x509: {error}"),
        error => {
            let reason = match error {
                rustls::Error::AlertReceived(alert) => format!("remote error: tls: {}", alert_in_words(*alert)),
                error => error.to_string(),
            };
            return RegistryError::Transport { method, url: url.to_owned(), reason, transient: false };
        }
    };
    RegistryError::Untrusted { method, url: url.to_owned(), reason, is_plain }
}

/// What a host says before it hangs up, in the words of Go's `crypto/tls` (`alert.go`).
fn alert_in_words(alert: AlertDescription) -> String {
    let words = match alert {
        AlertDescription::HandshakeFailure => "handshake failure",
        AlertDescription::BadCertificate => "bad certificate",
        AlertDescription::UnsupportedCertificate => "unsupported certificate",
        AlertDescription::CertificateRevoked => "revoked certificate",
        AlertDescription::CertificateExpired => "expired certificate",
        AlertDescription::CertificateUnknown => "unknown certificate",
        AlertDescription::UnknownCA => "unknown certificate authority",
        AlertDescription::AccessDenied => "access denied",
        AlertDescription::ProtocolVersion => "protocol version not supported",
        AlertDescription::InternalError => "internal error",
        AlertDescription::UnrecognisedName => "unrecognized name",
        AlertDescription::CertificateRequired => "certificate required",
        other => return format!("{other:?}"),
    };
    words.to_owned()
}
