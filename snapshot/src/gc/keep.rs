//! Names, ids and labels of images that must stay.

use std::collections::BTreeMap;

use crate::ids::ImageId;
use crate::reference::Reference;

/// The beginning of an id needs this many digits; a shorter text is taken for a name.
const SHORTEST_ID: usize = 4;

/// A pattern of images to keep: a name in which `*` stands for any characters and `?` for one, an image's id or its
/// beginning, or the digest in a name.
///
/// A name is compared as docker shows it, with and without its tag, and as it is written in full. `*` also stands for
/// `/`: a pattern that matches too many images only keeps too much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Makes a pattern of any text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text that it was made of.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it matches this image, which has these names.
    #[must_use]
    pub(crate) fn matches(&self, id: ImageId, names: &[&str]) -> bool {
        let hex = self.0.strip_prefix("sha256:").unwrap_or(&self.0);
        let is_id = hex.len() >= SHORTEST_ID && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if is_id && id.0.hex().starts_with(hex) {
            return true;
        }
        names.iter().any(|name| {
            let parsed = Reference::parse(name).ok();
            let digest = parsed.as_ref().and_then(Reference::digest).map(|digest| digest.to_string());
            let forms = parsed.iter().flat_map(|name| [name.familiar_name(), name.name(), name.canonical()]);
            let forms = forms.chain(digest).chain([(*name).to_owned()]);
            forms.into_iter().any(|form| is_match(self.0.as_bytes(), form.as_bytes()))
        })
    }
}

/// Whether a pattern with `*` and `?` matches the whole text. The work is at most the product of both lengths.
fn is_match(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut pos) = (0, 0);
    // The position of the last star, and how much of the text has been matched up to there.
    let mut star: Option<(usize, usize)> = None;
    while pos < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, pos));
                at += 1;
            }
            Some(b'?') => (at, pos) = (at + 1, pos + 1),
            Some(byte) if *byte == text[pos] => (at, pos) = (at + 1, pos + 1),
            _ => {
                let Some((star_at, taken)) = star else { return false };
                star = Some((star_at, taken + 1));
                (at, pos) = (star_at + 1, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// A label of an image: its key, or its key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    key: String,
    value: Option<String>,
}

impl Label {
    /// Reads `KEY` or `KEY=VALUE`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        match text.split_once('=') {
            Some((key, value)) => Self { key: key.to_owned(), value: Some(value.to_owned()) },
            None => Self { key: text.to_owned(), value: None },
        }
    }

    /// Whether it is among these labels.
    #[must_use]
    pub(crate) fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.get(&self.key).is_some_and(|value| self.value.as_ref().is_none_or(|wanted| wanted == value))
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.key)?;
        self.value.as_ref().map_or(Ok(()), |value| write!(f, "={value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_names_with_and_without_tag_and_ids() {
        let id = ImageId(layerfs::Digest::hash(b"x"));
        let hex = id.0.hex();
        let digest = format!("reg.example:5000/x/y@{}", layerfs::Digest::hash(b"manifest"));
        let names = ["app:1", "reg.example:5000/x/y:2", digest.as_str()];
        let all = [
            "app",
            "app:1",
            "app:*",
            "a?p:1",
            "*",
            "docker.io/library/app",
            "docker.io/library/app:1",
            "reg.example:5000/*",
            "*/y",
            "*y:2",
            &hex,
            &hex[..4],
            &format!("sha256:{}", &hex[..12]),
            &layerfs::Digest::hash(b"manifest").to_string(),
        ];
        for pattern in all {
            assert!(Pattern::new(pattern).matches(id, &names), "{pattern}");
        }
        for pattern in ["ap", "app:2", "y", "reg.example:5000", &hex[..3], "", "app:1?", "sha256:", "*:3"] {
            assert!(!Pattern::new(pattern).matches(id, &names), "{pattern}");
        }
        assert!(!Pattern::new("*").matches(id, &[]), "what has no name has none to match");
    }

    #[test]
    fn many_stars_take_no_time() {
        let text = "a".repeat(2000);
        assert!(!is_match("*a".repeat(500).as_bytes(), format!("{text}b").as_bytes()));
        assert!(
            is_match(b"**a*", text.as_bytes()) && is_match(b"", b"") && is_match(b"*", b"") && !is_match(b"?", b"")
        );
    }

    #[test]
    fn a_label_has_a_value_or_any() {
        let labels = BTreeMap::from([("keep".to_owned(), "yes=1".to_owned())]);
        assert!(Label::new("keep").matches(&labels) && Label::new("keep=yes=1").matches(&labels));
        assert!(!Label::new("keep=").matches(&labels) && !Label::new("k").matches(&labels));
        assert_eq!(Label::new("a=b=c").to_string(), "a=b=c");
    }
}
