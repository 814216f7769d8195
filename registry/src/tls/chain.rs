//! From a host's certificate to one that is trusted, as Go's `crypto/x509/verify.go` (1.19) goes.

use rustls::CertificateError;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::UnixTime;

use super::certificate::Certificate;

/// The most signatures that are checked for one host (`maxChainSignatureChecks`).
const MAX_CHECKS: u32 = 100;

/// Whether a host's certificate is trusted, or was signed by one that is, perhaps with others in between that the host has
/// `sent`, and whether all of these may be used so. The host's own time was checked before.
pub(super) fn check(
    host: &Certificate,
    trusted: &[Certificate],
    sent: &[Certificate],
    algorithms: WebPkiSupportedAlgorithms,
    now: UnixTime,
) -> Result<(), CertificateError> {
    let mut search = Search { trusted, sent, algorithms, now, checks: 0, is_complete: false, error: None };
    // Of a certificate that is trusted nobody asks who signed it, nor whether it is an authority's.
    if trusted.iter().any(|own| own.is(host)) {
        return if host.serves() { Ok(()) } else { Err(CertificateError::InvalidPurpose) };
    }
    if search.leads_to_trusted(&mut vec![host]) {
        return Ok(());
    }
    if search.is_complete {
        return Err(CertificateError::InvalidPurpose);
    }
    Err(search.error.unwrap_or(CertificateError::UnknownIssuer))
}

struct Search<'s> {
    trusted: &'s [Certificate],
    sent: &'s [Certificate],
    algorithms: WebPkiSupportedAlgorithms,
    now: UnixTime,
    checks: u32,
    /// Whether there was a way, if only for other purposes than a server's.
    is_complete: bool,
    /// What was wrong with the last certificate that had signed what stands below it.
    error: Option<CertificateError>,
}

impl<'s> Search<'s> {
    /// Whether the last of these certificates was signed by one that is trusted, or by one for which that holds.
    fn leads_to_trusted(&mut self, chain: &mut Vec<&'s Certificate>) -> bool {
        let child = *chain.last().expect("it begins with the host's");
        let trusted = self.trusted.iter().map(|parent| (parent, true));
        for (parent, is_root) in trusted.chain(self.sent.iter().map(|parent| (parent, false))) {
            if parent.subject != child.issuer || chain.iter().any(|below| below.is_of_same_holder(parent)) {
                continue;
            }
            if self.checks == MAX_CHECKS {
                return false;
            }
            self.checks += 1;
            if !parent.has_signed(child, self.algorithms) {
                continue;
            }
            if let Err(error) = parent.check_above(chain, is_root, self.now) {
                self.error = Some(error);
                continue;
            }
            chain.push(parent);
            self.is_complete |= is_root;
            let is_good = if is_root {
                chain.iter().all(|certificate| certificate.serves())
            } else {
                self.leads_to_trusted(chain)
            };
            chain.pop();
            if is_good {
                return true;
            }
        }
        false
    }
}
