//! Parsers that only this crate uses, for those who feed them anything (`fuzz/targets`). No part of the interface.

use std::path::Path;

use crate::hosts_file::hosts_of;

/// The first addresses of the hosts that serve images of `domain` by a `hosts.toml`; `None` if it is refused.
#[must_use]
pub fn hosts(text: &str, domain: &str) -> Option<Vec<String>> {
    let hosts = hosts_of(text, Path::new("/certs"), domain, true).ok()?;
    let first = |host: &crate::ServingHost| host.host.bases().first().cloned().unwrap_or_default();
    Some(hosts.iter().map(first).collect())
}
