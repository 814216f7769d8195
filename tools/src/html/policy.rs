//! What the browser allows the page: to run and style with exactly what this program wrote, and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use layerfs::Digest;

/// The content security policy for a page with one script and one style sheet.
///
/// The data block is not run, so it needs no permission. Trusted types are required and none exist: so text cannot become
/// markup or script by mistake.
pub(super) fn policy(script: &str, style: &str) -> String {
    let (script, style) = (source(script), source(style));
    format!(
        "default-src 'none'; script-src {script}; style-src {style}; base-uri 'none'; form-action 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    )
}

/// The hash of an inline element, as a policy names it.
fn source(content: &str) -> String {
    let hex = Digest::hash(content.as_bytes()).hex();
    let byte =
        |pair: &[u8; 2]| pair.iter().fold(0, |byte, &digit| byte << 4 | (digit as char).to_digit(16).unwrap_or(0));
    let bytes = hex.as_bytes().as_chunks::<2>().0.iter().map(|pair| byte(pair) as u8);
    format!("'sha256-{}'", STANDARD.encode(bytes.collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_the_standard_has_them() {
        // printf "alert('Hello, world.');" | openssl dgst -sha256 -binary | base64
        assert_eq!(source("alert('Hello, world.');"), "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='");
    }

    #[test]
    fn nothing_is_allowed_by_name() {
        let policy = policy("a", "b");
        assert!(policy.starts_with("default-src 'none'; "));
        assert!(!policy.contains("unsafe") && !policy.contains("http") && !policy.contains('"'));
    }
}
