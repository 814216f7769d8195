//! What a certificate says, as far as that decides whether a host is believed.

use std::time::Duration;

use rustls::CertificateError;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::UnixTime;
use x509_cert::Version;
use x509_cert::der::asn1::{BitString, ObjectIdentifier};
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::oid::db::rfc5280::{
    ANY_EXTENDED_KEY_USAGE, ID_CE_AUTHORITY_KEY_IDENTIFIER, ID_CE_BASIC_CONSTRAINTS, ID_CE_CERTIFICATE_POLICIES,
    ID_CE_CRL_DISTRIBUTION_POINTS, ID_CE_EXT_KEY_USAGE, ID_CE_KEY_USAGE, ID_CE_NAME_CONSTRAINTS,
    ID_CE_SUBJECT_ALT_NAME, ID_CE_SUBJECT_KEY_IDENTIFIER, ID_KP_SERVER_AUTH, ID_PE_AUTHORITY_INFO_ACCESS,
};
use x509_cert::der::{Decode, Encode, Reader, Result, SliceReader};
use x509_cert::ext::pkix::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, NameConstraints, SubjectAltName, name::GeneralName,
};
use x509_cert::time::Validity;

use super::constraints::{self, Unfit};

/// The extensions that Go knows: others must not be critical (`crypto/x509/parser.go`: `processExtensions`).
const KNOWN: [ObjectIdentifier; 10] = [
    ID_CE_AUTHORITY_KEY_IDENTIFIER,
    ID_CE_BASIC_CONSTRAINTS,
    ID_CE_CERTIFICATE_POLICIES,
    ID_CE_CRL_DISTRIBUTION_POINTS,
    ID_CE_EXT_KEY_USAGE,
    ID_CE_KEY_USAGE,
    ID_CE_NAME_CONSTRAINTS,
    ID_CE_SUBJECT_ALT_NAME,
    ID_CE_SUBJECT_KEY_IDENTIFIER,
    ID_PE_AUTHORITY_INFO_ACCESS,
];

/// A certificate that was read, and is not believed yet.
#[derive(Debug)]
pub(super) struct Certificate {
    /// All its bytes, by which two are the same.
    whole: Vec<u8>,
    /// The part that is signed, and by what: an algorithm, as its contents are spelled, and the signature.
    signed: Vec<u8>,
    algorithm: Vec<u8>,
    signature: BitString,
    pub(super) subject: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    /// The key: for which algorithms, and its bytes.
    key_kind: Vec<u8>,
    key: BitString,
    version: Version,
    validity: Validity,
    has_unknown_demands: bool,
    basic: Option<BasicConstraints>,
    usage: Option<KeyUsage>,
    purposes: Option<ExtendedKeyUsage>,
    /// The names it is for, if it has such a list.
    pub(super) names: Option<Vec<GeneralName>>,
    constraints: Option<NameConstraints>,
}

impl Certificate {
    /// Reads a certificate.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let read = x509_cert::Certificate::from_der(bytes)?;
        let inner = read.tbs_certificate();
        let signed = SliceReader::new(bytes)?.sequence(|parts| {
            let signed = parts.tlv_bytes()?;
            parts.tlv_bytes()?;
            parts.tlv_bytes()?;
            Ok::<_, x509_cert::der::Error>(signed)
        })?;
        let key = inner.subject_public_key_info();
        let constraints: Option<(bool, NameConstraints)> = extension(inner)?;
        let is_known = |id: &ObjectIdentifier| KNOWN.contains(id);
        let has_unknown =
            inner.extensions().into_iter().flatten().any(|found| found.critical && !is_known(&found.extn_id));
        let has_unknown_constraints =
            constraints.as_ref().is_some_and(|(critical, found)| *critical && constraints::has_unknown(found));
        Ok(Self {
            whole: bytes.to_vec(),
            signed: signed.to_vec(),
            algorithm: contents(read.signature_algorithm())?,
            signature: read.signature().clone(),
            subject: inner.subject().to_der()?,
            issuer: inner.issuer().to_der()?,
            key_kind: contents(&key.algorithm)?,
            key: key.subject_public_key.clone(),
            version: inner.version(),
            validity: *inner.validity(),
            has_unknown_demands: has_unknown || has_unknown_constraints,
            basic: extension(inner)?.map(|(_, found)| found),
            usage: extension(inner)?.map(|(_, found)| found),
            purposes: extension(inner)?.map(|(_, found)| found),
            names: extension::<SubjectAltName>(inner)?.map(|(_, found)| found.0),
            constraints: constraints.map(|(_, found)| found),
        })
    }

    /// Whether it is this very certificate.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.whole == other.whole
    }

    /// Whether two certificates are of the same holder: then one does not stand above the other (`alreadyInChain`).
    pub(super) fn is_of_same_holder(&self, other: &Self) -> bool {
        let key = |of: &Self| (of.key_kind.clone(), of.key.clone());
        self.subject == other.subject && key(self) == key(other) && self.names == other.names
    }

    /// What Go asks of each certificate first: that it demands nothing unknown, and that this is its time.
    pub(super) fn check_time(&self, now: UnixTime) -> std::result::Result<(), CertificateError> {
        if self.has_unknown_demands {
            return Err(Unfit::error("unhandled critical extension"));
        }
        let now = Duration::from_secs(now.as_secs());
        if now < self.validity.not_before.to_unix_duration() {
            return Err(CertificateError::NotValidYet);
        }
        if now > self.validity.not_after.to_unix_duration() {
            return Err(CertificateError::Expired);
        }
        Ok(())
    }

    /// Whether this one has signed `child`, and may sign certificates at all (`CheckSignatureFrom`).
    pub(super) fn has_signed(&self, child: &Self, algorithms: WebPkiSupportedAlgorithms) -> bool {
        let is_authority = self.basic.as_ref().map_or(self.version != Version::V3, |basic| basic.ca);
        let may_sign = self.usage.as_ref().is_none_or(|usage| usage.0.is_empty() || usage.key_cert_sign());
        let (Some(key), Some(signature)) = (self.key.as_bytes(), child.signature.as_bytes()) else { return false };
        is_authority
            && may_sign
            && algorithms.all.iter().any(|known| {
                known.signature_alg_id().as_ref() == child.algorithm
                    && known.public_key_alg_id().as_ref() == self.key_kind
                    && known.verify_signature(key, &child.signed, signature).is_ok()
            })
    }

    /// Whether it may stand above these certificates, the host's in front (`isValid`).
    pub(super) fn check_above(
        &self,
        below: &[&Self],
        is_root: bool,
        now: UnixTime,
    ) -> std::result::Result<(), CertificateError> {
        self.check_time(now)?;
        if let (Some(constraints), Some(host)) = (&self.constraints, below.first()) {
            for name in [&host.names, &self.names].into_iter().flatten().flatten() {
                constraints::check(constraints, name)?;
            }
        }
        if !is_root && !self.basic.as_ref().is_some_and(|basic| basic.ca) {
            return Err(Unfit::error("certificate is not authorized to sign other certificates"));
        }
        let limit = self.basic.as_ref().and_then(|basic| basic.path_len_constraint);
        if limit.is_some_and(|limit| below.len() > usize::from(limit) + 1) {
            return Err(Unfit::error("too many intermediates for path length constraint"));
        }
        Ok(())
    }

    /// Whether it may be that of a server, or stand above one. What a key must not be used for otherwise (`keyUsage`) Go does not
    /// ask (`checkChainForKeyUsage`).
    pub(super) fn serves(&self) -> bool {
        let serves = |purpose: &ObjectIdentifier| matches!(*purpose, ANY_EXTENDED_KEY_USAGE | ID_KP_SERVER_AUTH);
        self.purposes
            .as_ref()
            .is_none_or(|ExtendedKeyUsage(purposes)| purposes.is_empty() || purposes.iter().any(serves))
    }
}

/// An extension, and whether it is critical.
fn extension<'c, T>(inner: &'c x509_cert::TbsCertificate) -> Result<Option<(bool, T)>>
where
    T: Decode<'c, Error = x509_cert::der::Error> + AssociatedOid,
{
    inner.get_extension::<T>()
}

/// An algorithm as it is spelled, without the tag and the length around it, which have two bytes.
fn contents(algorithm: &impl Encode) -> Result<Vec<u8>> {
    let whole = algorithm.to_der()?;
    SliceReader::new(&whole)?.sequence(|inner| {
        let length = inner.remaining_len();
        inner.read_vec(length)
    })
}
