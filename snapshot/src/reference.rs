//! Image references as users write them: `ubuntu`, `ghcr.io/a/b:1.2`, `localhost:5000/x@sha256:...`.
//!
//! The grammar and the defaults are those of `github.com/distribution/reference` (`ParseNormalizedNamed`), which
//! dockerd uses for every name it takes and every key in `repositories.json`:
//!
//! ```text
//! reference  = [domain "/"] path [":" tag] ["@" digest]
//! domain     = host [":" digits]            host: DNS labels, IPv4, or IPv6 in brackets
//! path       = component *("/" component)   component: a-z 0-9, separated by "." "_" "__" or dashes
//! tag        = word characters, then also "." and "-", 128 at most
//! ```
//!
//! The part before the first slash is a domain if it is `localhost`, has a dot, a colon or an upper-case letter. Otherwise
//! the domain is `docker.io`, and a path there without a slash gets `library/` in front.
//!
//! This is the grammar of Docker 24 and later. dockerd 20.10 accepts neither an IPv6 address nor a first component in
//! upper case as a domain, and it counts the domain towards the 255 characters of a name. It shows an image with such a
//! name as if the image did not have that name.
//!
//! Two things are stricter than in the original: digests are SHA-256 only, and the name `sha256` is refused when it is
//! read, not when it is stored.

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use layerfs::Digest;

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
const DEFAULT_TAG: &str = "latest";
const MAX_PATH: usize = 255;
const MAX_TAG: usize = 128;

/// A normalised image reference. See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// A text that is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// It does not follow the grammar.
    #[error("invalid reference format: {text:?}")]
    Format {
        /// The text, or its beginning.
        text: String,
    },
    /// It would be valid in lower case.
    #[error("invalid reference format: repository name ({name}) must be lowercase")]
    Uppercase {
        /// The repository name.
        name: String,
    },
    /// It is what an image id looks like.
    #[error("invalid repository name ({name}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeAnId {
        /// The name.
        name: String,
    },
    /// A tag of this name would be read as a digest.
    #[error("refusing to create an ambiguous tag using digest algorithm as name: {text:?}")]
    NamedLikeAlgorithm {
        /// The text.
        text: String,
    },
    /// The path is too long for a registry.
    #[error("repository name must not be more than {MAX_PATH} characters, this one has {length}")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// What follows the `@` is not a SHA-256 digest.
    #[error("invalid digest in reference {text:?}")]
    Digest {
        /// The text.
        text: String,
    },
}

impl Reference {
    /// Reads a reference and fills in docker's defaults for the domain and the `library/` namespace, not for the tag.
    ///
    /// # Errors
    /// [`ReferenceError`] where `ParseNormalizedNamed` fails, and in the two cases that the [module](self) names.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let quoted = || text.chars().take(MAX_PATH).collect::<String>();
        if text.len() == 64 && text.bytes().all(is_lower_hex) {
            return Err(ReferenceError::LooksLikeAnId { name: text.into() });
        }
        let (domain, remainder) = split_domain(text);
        let (named, digest) = cut(&remainder, '@');
        let (path, tag) = cut(named, ':');
        if path.chars().any(char::is_uppercase) {
            return Err(ReferenceError::Uppercase { name: path.chars().take(MAX_PATH).collect() });
        }
        let (domain, path) = if is_domain(domain) {
            (domain.to_owned(), path.to_owned())
        } else {
            // The original's regular expression does the same: a text that looked like a domain but is none may still
            // be the first component of the path.
            (String::new(), format!("{domain}/{path}"))
        };
        if !path.split('/').all(is_path_component) || !tag.is_none_or(is_tag) {
            return Err(ReferenceError::Format { text: quoted() });
        }
        if path.len() > MAX_PATH {
            return Err(ReferenceError::TooLong { length: path.len() });
        }
        let digest = digest.map(str::parse).transpose().map_err(|_| ReferenceError::Digest { text: quoted() })?;
        let reference = Self { domain, path, tag: tag.map(str::to_owned), digest };
        if reference.familiar_name() == "sha256" {
            return Err(ReferenceError::NamedLikeAlgorithm { text: quoted() });
        }
        Ok(reference)
    }

    /// The registry: `docker.io` where none was given. Empty in the odd case of a first component with a dot that is no
    /// valid domain, such as `a_b.c/x`.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry, such as `library/ubuntu`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if one was given.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was given.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Domain and path: `docker.io/library/ubuntu`.
    #[must_use]
    pub fn name(&self) -> String {
        if self.domain.is_empty() { self.path.clone() } else { format!("{}/{}", self.domain, self.path) }
    }

    /// The name as docker shows it, the outer key of `repositories.json`: `ubuntu`, `user/app`, `ghcr.io/a/b`.
    #[must_use]
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        let official = self.path.strip_prefix(OFFICIAL).filter(|rest| !rest.contains('/'));
        official.unwrap_or(&self.path).to_owned()
    }

    /// The reference as docker shows it, with its tag and digest: `ubuntu:24.04`.
    #[must_use]
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_name())
    }

    /// The reference with nothing left out: `docker.io/library/ubuntu:24.04`.
    #[must_use]
    pub fn canonical(&self) -> String {
        self.with_suffix(self.name())
    }

    /// The same reference, with the tag `latest` if it has neither tag nor digest (`TagNameOnly`).
    #[must_use]
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// The name with this digest, and without a tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { domain: self.domain.clone(), path: self.path.clone(), tag: None, digest: Some(digest) }
    }

    /// The form that docker stores: without the tag if there is a digest as well (`favorDigest`).
    #[must_use]
    pub fn stored(mut self) -> Self {
        if self.digest.is_some() {
            self.tag = None;
        }
        self
    }

    fn with_suffix(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text = format!("{text}:{tag}");
        }
        if let Some(digest) = &self.digest {
            text = format!("{text}@{digest}");
        }
        text
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

/// The [familiar](Reference::familiar) form.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.familiar())
    }
}

/// The original's `splitDockerDomain`: returns the domain, and the rest with `library/` in front where that is the
/// default.
fn split_domain(text: &str) -> (&str, String) {
    let (domain, rest) = match text.split_once('/') {
        Some((LEGACY_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((first, rest))
            if first == "localhost" || first.contains(['.', ':']) || first.chars().any(char::is_uppercase) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, text),
    };
    let official = domain == DEFAULT_DOMAIN && !rest.contains('/');
    (domain, if official { format!("{OFFICIAL}{rest}") } else { rest.to_owned() })
}

fn cut(text: &str, separator: char) -> (&str, Option<&str>) {
    text.split_once(separator).map_or((text, None), |(head, tail)| (head, Some(tail)))
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn is_domain(text: &str) -> bool {
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((address, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let address_holds = !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
        return address_holds && (port.is_empty() || port.strip_prefix(':').is_some_and(digits));
    }
    let (host, port) = cut(text, ':');
    host.split('.').all(is_domain_label) && port.is_none_or(digits)
}

fn is_domain_label(label: &str) -> bool {
    let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
}

/// Runs of lower-case letters and digits, with one dot, one or two underscores or any number of dashes between them.
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separator = |s: &str| matches!(s, "." | "_" | "__") || s.bytes().all(|byte| byte == b'-');
    component.starts_with(alphanumeric)
        && component.ends_with(alphanumeric)
        && component.split(alphanumeric).all(separator)
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let rest = |byte: u8| word(byte) || byte == b'.' || byte == b'-';
    tag.len() <= MAX_TAG && tag.bytes().next().is_some_and(word) && tag.bytes().all(rest)
}
