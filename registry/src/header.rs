//! Headers that registries send, read strictly: what is not understood counts as absent.

use std::time::Duration;

/// The most challenges of one answer that are looked at.
const MAX_CHALLENGES: usize = 8;

/// What a registry asks for before it answers (RFC 9110, 11.6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// User and password with every request.
    Basic,
    /// A token, to be fetched from elsewhere.
    Bearer {
        /// Where tokens are made.
        realm: String,
        /// For whom, in the words of the token server.
        service: Option<String>,
        /// What the token must allow.
        scope: Option<String>,
        /// `error`: why the token that was sent does not do.
        error: Option<String>,
    },
}

/// The challenges of one `WWW-Authenticate` header that are understood: `Basic`, and `Bearer` with a realm.
#[must_use]
pub fn challenges(header: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = header.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() && found.len() < MAX_CHALLENGES {
        let (scheme, after) = token(rest);
        if scheme.is_empty() {
            break;
        }
        let (parameters, after) = parameters(after);
        let get = |name: &str| {
            let value = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            value.map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = get("realm")
        {
            found.push(Challenge::Bearer { realm, service: get("service"), scope: get("scope"), error: get("error") });
        }
        rest = after.trim_start_matches([' ', '\t', ',']);
    }
    found
}

/// `name=value` pairs up to the end or to the next scheme.
fn parameters(text: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let at = rest.trim_start_matches([' ', '\t', ',']);
        let (name, after) = token(at);
        let Some(after) = after.trim_start().strip_prefix('=').filter(|_| !name.is_empty()) else {
            return (found, at);
        };
        let after = after.trim_start();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted_text(quoted),
            None => {
                let (value, after) = token(after);
                (value.to_owned(), after)
            }
        };
        // Progress is certain: a name was read.
        found.push((name.to_owned(), value));
        rest = after;
    }
}

fn token(text: &str) -> (&str, &str) {
    let is_token = |char: char| char.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:".contains(char);
    text.split_at(text.find(|char| !is_token(char)).unwrap_or(text.len()))
}

/// A quoted string after its first quote; one that does not end goes to the end of the text.
fn quoted_text(text: &str) -> (String, &str) {
    let (mut value, mut escaped) = (String::new(), false);
    for (at, char) in text.char_indices() {
        match char {
            _ if escaped => {
                value.push(char);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, &text[at + 1..]),
            char => value.push(char),
        }
    }
    (value, "")
}

/// The part of a blob that an answer to a range request holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// The first byte.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// The length of the whole.
    pub whole: Option<u64>,
}

/// Reads `Content-Range: bytes 2-3/6`, also without the unit, as some registries send it.
#[must_use]
pub fn content_range(header: &str) -> Option<ContentRange> {
    let range = header.trim();
    let range = range.strip_prefix("bytes").map_or(range, |rest| rest.trim_start_matches([' ', '=']));
    let (span, whole) = range.split_once('/').unwrap_or((range, "*"));
    let (first, last) = span.trim().split_once('-')?;
    let number = |text: &str| {
        let text = text.trim();
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten()
    };
    let (first, last) = (number(first)?, number(last)?);
    let whole = match whole.trim() {
        "*" => None,
        whole => Some(number(whole)?),
    };
    (first <= last && whole.is_none_or(|whole| last < whole)).then_some(ContentRange { first, last, whole })
}

/// The target of `Link: <target>; rel="next"`.
#[must_use]
pub fn next_link(header: &str) -> Option<String> {
    let mut rest = header;
    while let Some((_, after)) = rest.split_once('<') {
        let (target, after) = after.split_once('>')?;
        // A link without a comma behind it ends where the next one begins.
        let parameters = after.split([',', '<']).next().unwrap_or_default();
        let is_next = parameters.split(';').any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
        });
        if is_next && !target.is_empty() {
            return Some(target.to_owned());
        }
        rest = after;
    }
    None
}

/// How long a server asks to be left alone: seconds, or an HTTP date, of which `now` is told in seconds since 1970.
#[must_use]
pub fn retry_after(header: &str, now: i64) -> Option<Duration> {
    let text = header.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    Some(Duration::from_secs(u64::try_from(http_date(text)?.saturating_sub(now)).unwrap_or(0)))
}

/// An HTTP date, in seconds since 1970.
#[must_use]
pub fn http_date(text: &str) -> Option<i64> {
    let parser = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true);
    parser.parse_timestamp(text.trim()).ok().map(jiff::Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_of_known_registries() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/a:pull""#;
        let bearer = |realm: &str, service: &str, scope: Option<&str>, error: Option<&str>| Challenge::Bearer {
            realm: realm.into(),
            service: Some(service.into()),
            scope: scope.map(Into::into),
            error: error.map(Into::into),
        };
        let expected =
            bearer("https://auth.docker.io/token", "registry.docker.io", Some("repository:library/a:pull"), None);
        assert_eq!(challenges(hub), [expected]);
        assert_eq!(challenges(r#"Basic realm="Registry Realm""#), [Challenge::Basic]);
        let both = r#"Basic realm="a, b=c", bearer realm="https://x/t" , service=svc, error="insufficient_scope""#;
        assert_eq!(
            challenges(both),
            [Challenge::Basic, bearer("https://x/t", "svc", None, Some("insufficient_scope"))]
        );
        let escaped = r#"Bearer realm="https://x/\"t\"",service="s"#;
        assert_eq!(challenges(escaped), [bearer("https://x/\"t\"", "s", None, None)]);
        for none in ["", ",,,", "=", "Bearer", "Bearer service=\"x\"", "Negotiate", "\"", "Bearer realm", "é=1"] {
            assert!(challenges(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn ranges() {
        let range = |first, last, whole| Some(ContentRange { first, last, whole });
        assert_eq!(content_range("bytes 2-3/6"), range(2, 3, Some(6)));
        assert_eq!(content_range("0-5"), range(0, 5, None));
        assert_eq!(content_range("bytes 7-9/*"), range(7, 9, None));
        for bad in [
            "",
            "bytes",
            "bytes */6",
            "bytes 3-2/6",
            "bytes 2-6/6",
            "bytes +2-3/6",
            "bytes 2-3/x",
            "bytes -3/6",
            "bytes 99999999999999999999-3/6",
        ] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn links_and_waits() {
        assert_eq!(
            next_link(r#"</v2/a/tags/list?last=b&n=2>; rel="next""#).as_deref(),
            Some("/v2/a/tags/list?last=b&n=2")
        );
        assert_eq!(next_link("<a>; rel=prev, <b>; x=y; REL=next").as_deref(), Some("b"));
        for none in ["", "<", "<>; rel=next", "<a>", "a; rel=next", "<a>; rel=nextest"] {
            assert_eq!(next_link(none), None, "{none}");
        }
        assert_eq!(retry_after(" 7 ", 0), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 10), Some(Duration::from_secs(50)));
        assert_eq!(retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 100), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", 0), None);
        assert_eq!(retry_after("-1", 0), None);
    }
}
