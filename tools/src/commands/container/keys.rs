//! The keys by which a user of a terminal leaves a container (moby v20.10.24 `daemon/attach.go`, moby/term `ascii.go`, `proxy.go`).

use containers::ContainerError;

/// Ctrl-P and Ctrl-Q.
const USUAL: [u8; 2] = [16, 17];

/// A sequence of keys, as `--detach-keys` has it: `ctrl-x`, `DEL` or one character each, with commas between.
///
/// # Errors
/// In docker's words, where one is no key.
pub(super) fn parse(text: Option<&str>) -> Result<Vec<u8>, ContainerError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(USUAL.to_vec()) };
    let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
    keys.ok_or_else(|| ContainerError::Invalid(format!("Invalid detach keys ({text}) provided")))
}

fn key(name: &str) -> Option<u8> {
    if let [single] = name.as_bytes() {
        return Some(*single);
    }
    if name == "DEL" {
        return Some(127);
    }
    match name.strip_prefix("ctrl-")?.as_bytes() {
        [b'@'] => Some(0),
        [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        [sign @ b'['..=b'_'] => Some(sign - b'[' + 27),
        _ => None,
    }
}

/// Finds the sequence in what is typed. Keys that may be its beginning are held back until more is known.
#[derive(Debug)]
pub(super) struct Detaching {
    keys: Vec<u8>,
    held: usize,
}

impl Detaching {
    pub(super) fn by(keys: Vec<u8>) -> Self {
        Self { keys, held: 0 }
    }

    /// What of these keys and of those that were held is for the container, and whether the user detaches after that.
    pub(super) fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len());
        for &key in typed {
            if self.keys.get(self.held) != Some(&key) {
                passed.extend(&self.keys[..self.held]);
                self.held = 0;
            }
            if self.keys.get(self.held) == Some(&key) {
                self.held += 1;
                if self.held == self.keys.len() {
                    return (passed, true);
                }
            } else {
                passed.push(key);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What moby/term's `ToBytes` gives for the same texts.
    #[test]
    fn keys_are_those_of_docker() {
        for (text, keys) in [
            (None, Some(&[16, 17][..])),
            (Some(""), Some(&[16, 17])),
            (Some("ctrl-a"), Some(&[1])),
            (Some("ctrl-z,x,ctrl-@"), Some(&[26, b'x', 0])),
            (Some("ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_,DEL"), Some(&[27, 28, 29, 30, 31, 127])),
            (Some("foo"), None),
            (Some("ctrl-A"), None),
            (Some("ctrl-"), None),
            (Some("a,"), None),
            (Some("del"), None),
        ] {
            assert_eq!(parse(text).ok().as_deref(), keys, "{text:?}");
        }
        assert_eq!(parse(Some("foo")).unwrap_err().to_string(), "Invalid detach keys (foo) provided");
    }

    #[test]
    fn what_is_no_sequence_is_passed_on_whole() {
        for (typed, passed, detached) in [
            (&["ab"][..], "ab", false),
            (&["xyz"], "", true),
            (&["ax", "y", "zb"], "a", true),
            (&["x", "a"], "xa", false),
            (&["xy", "x", "yz"], "xy", true),
            (&["xyx", "q"], "xyxq", false),
            (&["x"], "", false),
        ] {
            let mut detaching = Detaching::by(b"xyz".to_vec());
            let (mut all, mut is_detached) = (Vec::new(), false);
            for part in typed {
                let (more, detached) = detaching.filter(part.as_bytes());
                all.extend(more);
                is_detached |= detached;
            }
            assert_eq!((String::from_utf8(all).unwrap().as_str(), is_detached), (passed, detached), "{typed:?}");
        }
    }
}
