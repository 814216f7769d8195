//! For which names an authority may sign (Go's `crypto/x509/verify.go`: `checkNameConstraints`).

use std::sync::Arc;

use rustls::{CertificateError, OtherError};
use x509_cert::ext::pkix::NameConstraints;
use x509_cert::ext::pkix::name::GeneralName;

/// Why a certificate is of no use, where rustls has no word for it, in Go's words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unfit(String);

impl Unfit {
    pub(super) fn error(reason: impl Into<String>) -> CertificateError {
        CertificateError::Other(OtherError(Arc::new(Self(reason.into()))))
    }
}

/// Whether there are constraints on what is no name of a host, an address or a user (`parseNameConstraintsExtension`).
pub(super) fn has_unknown(constraints: &NameConstraints) -> bool {
    let all = [&constraints.permitted_subtrees, &constraints.excluded_subtrees];
    all.into_iter().flatten().flatten().any(|tree| {
        !matches!(
            tree.base,
            GeneralName::DnsName(_)
                | GeneralName::IpAddress(_)
                | GeneralName::Rfc822Name(_)
                | GeneralName::UniformResourceIdentifier(_)
        )
    })
}

/// Whether an authority with these constraints may sign for `name`.
pub(super) fn check(constraints: &NameConstraints, name: &GeneralName) -> Result<(), CertificateError> {
    let refused = |why: String| {
        Unfit::error(format!("a root or intermediate certificate is not authorized to sign for this name: {why}"))
    };
    let shown = match name {
        GeneralName::DnsName(name) if labels(name.as_str()).is_none() => {
            return Err(Unfit::error(format!("cannot parse dnsName {:?}", name.as_str())));
        }
        GeneralName::DnsName(name) => format!("DNS name {:?}", name.as_str()),
        GeneralName::IpAddress(_) => "an IP address".to_owned(),
        GeneralName::Rfc822Name(name) => format!("email address {:?}", name.as_str()),
        GeneralName::UniformResourceIdentifier(name) => format!("URI {:?}", name.as_str()),
        // Other kinds are not constrained.
        _ => return Ok(()),
    };
    for tree in constraints.excluded_subtrees.iter().flatten() {
        // What cannot be compared counts as excluded.
        if is_same_kind(&tree.base, name) && covers(&tree.base, name) != Some(false) {
            return Err(refused(format!("{shown} is excluded by a constraint")));
        }
    }
    let mut permitted = constraints.permitted_subtrees.iter().flatten().filter(|tree| is_same_kind(&tree.base, name));
    let mut any = permitted.clone();
    if any.next().is_some() && !permitted.any(|tree| covers(&tree.base, name) == Some(true)) {
        return Err(refused(format!("{shown} is not permitted by any constraint")));
    }
    Ok(())
}

fn is_same_kind(one: &GeneralName, other: &GeneralName) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}

/// Whether a name is within a constraint of its kind; `None` if that cannot be told. Names of users and addresses of documents,
/// which no registry's certificate has, are not compared.
fn covers(constraint: &GeneralName, name: &GeneralName) -> Option<bool> {
    match (constraint, name) {
        (GeneralName::DnsName(constraint), GeneralName::DnsName(name)) => {
            covers_host(constraint.as_str(), name.as_str())
        }
        (GeneralName::IpAddress(network), GeneralName::IpAddress(address)) => {
            let (network, address) = (network.as_bytes(), address.as_bytes());
            let (base, mask) = network.split_at_checked(network.len() / 2)?;
            if !matches!(network.len(), 8 | 32) || !is_mask(mask) {
                return None;
            }
            let in_network = |((base, mask), byte): ((&u8, &u8), &u8)| base & mask == byte & mask;
            Some(base.len() == address.len() && base.iter().zip(mask).zip(address).all(in_network))
        }
        _ => None,
    }
}

/// Whether bits of the network come before those of the host.
fn is_mask(mask: &[u8]) -> bool {
    let bits = mask.iter().flat_map(|byte| (0..8).map(move |at| byte << at & 0x80));
    bits.is_sorted_by(|before, after| before >= after)
}

/// Whether a host is the constraint's domain, or below it: with a dot in front, only what is below (`matchDomainConstraint`).
fn covers_host(constraint: &str, name: &str) -> Option<bool> {
    if constraint.is_empty() {
        return Some(true);
    }
    let (below, constraint) = constraint.strip_prefix('.').map_or((0, constraint), |rest| (1, rest));
    let (constraint, name) = (labels(constraint)?, labels(name)?);
    let is_longer = name.len() >= constraint.len() + below;
    Some(is_longer && constraint.iter().zip(&name).all(|(one, other)| one.eq_ignore_ascii_case(other)))
}

/// The parts of a host's name, the last one in front; `None` for what is no such name.
fn labels(name: &str) -> Option<Vec<&str>> {
    let labels: Vec<&str> = if name.is_empty() { Vec::new() } else { name.rsplit('.').collect() };
    let is_good = |label: &&str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_graphic());
    labels.iter().all(is_good).then_some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cases of Go's `matchDomainConstraint` (`crypto/x509/name_constraints_test.go`, and what its comments say).
    #[test]
    fn constraints_cover_hosts_as_in_go() {
        for (constraint, name, expected) in [
            ("", "a.test", Some(true)),
            ("a.test", "a.test", Some(true)),
            ("a.test", "b.A.test", Some(true)),
            ("a.test", "ba.test", Some(false)),
            ("a.test", "test", Some(false)),
            (".a.test", "a.test", Some(false)),
            (".a.test", "b.a.test", Some(true)),
            ("a.test", "a.test.", None),
            ("a..test", "a.test", None),
            ("a.test", "a b.test", None),
        ] {
            assert_eq!(covers_host(constraint, name), expected, "{constraint} {name}");
        }
        for (mask, good) in [
            ([255, 255, 0, 0], true),
            ([255, 0, 255, 0], false),
            ([254, 0, 0, 0], true),
            ([254, 255, 0, 0], false),
            ([0; 4], true),
        ] {
            assert_eq!(is_mask(&mask), good, "{mask:?}");
        }
    }
}
