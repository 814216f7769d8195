//! Addresses that a registry sends: of redirects, and of the next page.

use ureq::http::{Method, Uri};

use crate::error::RegistryError;
use crate::transport::spelled;

/// Scheme and host of an address.
pub(crate) type Origin = (String, String);

/// How much of a refused address is shown.
const MOST_SHOWN: usize = 200;

/// What must be the same for a secret to be sent to an address.
pub(crate) fn origin(url: &str) -> Option<Origin> {
    let uri: Uri = url.parse().ok()?;
    Some((uri.scheme_str()?.to_owned(), uri.authority()?.as_str().to_owned()))
}

/// Makes sure that a request which was for `url` does not go on from HTTPS, at the origin `from`, to something less secure.
pub(crate) fn as_secure(method: &Method, url: &str, from: Option<&Origin>, target: &str) -> Result<(), RegistryError> {
    let is_secure = |origin: Option<&Origin>| origin.is_some_and(|(scheme, _)| scheme == "https");
    if is_secure(from) && !is_secure(origin(target).as_ref()) {
        return Err(refused(method, url, target, "it leads from HTTPS to something that is not"));
    }
    Ok(())
}

/// The error for an address to which a request for `url` is not sent.
pub(crate) fn refused(method: &Method, url: &str, target: &str, reason: &'static str) -> RegistryError {
    let target = target.chars().take(MOST_SHOWN).collect();
    RegistryError::Redirect { method: spelled(method), url: url.to_owned(), target, reason }
}

/// Where a redirect leads, seen from the address `at`.
pub(crate) fn redirected(at: &str, target: &str) -> Option<String> {
    if target.starts_with("http://") || target.starts_with("https://") {
        return target.parse::<Uri>().ok().map(|_| target.to_owned());
    }
    let uri: Uri = at.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    if let Some(rest) = target.strip_prefix("//") {
        return Some(format!("{scheme}://{rest}"));
    }
    if target.starts_with('/') {
        return Some(format!("{scheme}://{authority}{target}"));
    }
    // Another scheme is no relative path.
    if target.split(['/', '?']).next().is_some_and(|first| first.contains(':')) {
        return None;
    }
    let (directory, _) = uri.path().rsplit_once('/')?;
    Some(format!("{scheme}://{authority}{directory}/{target}"))
}

/// The path of a link, to be asked for at the host that sent the link, whichever host the link names. `None` for an
/// address that does not lead below `/v2/`.
pub(crate) fn path_of(link: &str) -> Option<String> {
    if link.starts_with('/') && !link.starts_with("//") {
        return Some(link.to_owned());
    }
    let uri: Uri = link.parse().ok()?;
    uri.path_and_query().map(|path| path.as_str().to_owned()).filter(|path| path.starts_with("/v2/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_somewhere() {
        let at = "https://a.test:5/v2/x/blobs/y?z=1";
        for (target, expected) in [
            ("https://b.test/c", Some("https://b.test/c")),
            ("//b.test/c", Some("https://b.test/c")),
            ("/c?d", Some("https://a.test:5/c?d")),
            ("c", Some("https://a.test:5/v2/x/blobs/c")),
            ("file:///etc/passwd", None),
            ("https://", None),
        ] {
            assert_eq!(redirected(at, target).as_deref(), expected, "{target}");
        }
    }
}
