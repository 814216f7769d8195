//! What registries answer: headers.

use registry::header::{challenges, content_range, next_link, retry_after};
use registry::parsers;

/// A header's value, read as each of those that are understood.
pub fn header(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let found = challenges(text);
    assert!(found.len() <= 8, "what is looked at has a bound");
    if let Some(range) = content_range(text) {
        assert!(range.first <= range.last && range.whole.is_none_or(|whole| range.last < whole), "{range:?}");
        let whole = range.whole.map_or_else(|| "*".to_owned(), |whole| whole.to_string());
        let written = format!("bytes {}-{}/{whole}", range.first, range.last);
        assert_eq!(content_range(&written), Some(range), "{written}");
    }
    if let Some(link) = next_link(text) {
        assert!(!link.is_empty() && text.contains(&link));
    }
    let _ = retry_after(text, 1_700_000_000);
}

/// A `hosts.toml` and, behind a NUL, the registry it is for: each host has an address, and the last one is the registry or its server.
pub fn hosts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (file, domain) = text.split_once('\0').unwrap_or((text, "registry.test:5000"));
    let Some(hosts) = parsers::hosts(file, domain) else { return };
    assert!((1..=file.lines().count() + 1).contains(&hosts.len()), "{hosts:?}");
    for host in hosts {
        assert!(host.starts_with("http://") || host.starts_with("https://"), "{host}");
    }
}
