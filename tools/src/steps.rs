//! The step that made a layer, as people want to read it: a line of a Dockerfile rather than what a builder made of it.

/// How many digits of a digest are shown.
const SHORT: usize = 12;

/// The step of a history's `created_by`, on one line: without what the builder puts around every command, and with digests
/// cut to the length that ids have in lists.
pub(crate) fn readable(created_by: &str) -> String {
    let plain = created_by.split_whitespace().collect::<Vec<_>>().join(" ");
    let plain = plain.strip_suffix("# buildkit").map_or(plain.as_str(), str::trim_end);
    let (run, rest) = match plain.strip_prefix("RUN ") {
        Some(rest) => ("RUN ", rest),
        None => ("", plain),
    };
    let text = if let Some(rest) = rest.strip_prefix("/bin/sh -c #(nop)") {
        rest.trim_start().to_owned()
    } else if let Some(rest) = rest.strip_prefix("/bin/sh -c ") {
        format!("RUN {rest}")
    } else {
        format!("{run}{rest}")
    };
    short_digests(&text)
}

/// Shortens what may be digests: 64 digits in a row.
fn short_digests(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).count();
        let shown = if digits == 64 { SHORT } else { digits };
        out.push_str(&rest[..shown]);
        rest = &rest[digits..];
        let others = rest.find(|char| matches!(char, '0'..='9' | 'a'..='f')).unwrap_or(rest.len());
        out.push_str(&rest[..others]);
        rest = &rest[others..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_read_like_a_dockerfile() {
        let digest = "7dda0d4fd77d7e1e751bf9db0851b2c382ecb9b37023363a5e1f3a0c5b3e0a11";
        for (made, shown) in [
            ("/bin/sh -c #(nop) COPY file:0 in / ", "COPY file:0 in /"),
            ("/bin/sh -c apt-get update &&\t\tapt-get install", "RUN apt-get update && apt-get install"),
            ("RUN /bin/sh -c make # buildkit", "RUN make"),
            ("COPY app /srv # buildkit", "COPY app /srv"),
            ("bazel build ...", "bazel build ..."),
            ("RUN |1 A=b /bin/sh -c x # buildkit", "RUN |1 A=b /bin/sh -c x"),
            ("", ""),
            ("é 漢", "é 漢"),
        ] {
            assert_eq!(readable(made), shown);
        }
        let step = format!("/bin/sh -c #(nop) ADD file:{digest} in /a{digest}0");
        assert_eq!(readable(&step), format!("ADD file:7dda0d4fd77d in /a{digest}0"));
    }
}
