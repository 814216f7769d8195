//! Searching: version 1 of the registries' interface, of which nothing else is left (moby v20.10.24 `registry/search.go`,
//! `registry/session.go`).

use serde::Deserialize;
use ureq::http::Method;

use crate::client::RegistryClient;
use crate::error::RegistryError;
use crate::token::form;

/// The most of an answer that is read.
const MAX_RESULTS: u64 = 16 << 20;

/// A repository that was found.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SearchResult {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// What its owner says of it.
    #[serde(default)]
    pub description: String,
    /// How many users like it.
    #[serde(default)]
    pub star_count: u64,
    /// Whether Docker looks after it.
    #[serde(default)]
    pub is_official: bool,
    /// Whether it was built by the registry.
    #[serde(default)]
    pub is_automated: bool,
}

#[derive(Deserialize)]
struct Answered {
    #[serde(default)]
    results: Vec<SearchResult>,
}

/// The registry's domain and the words in a text such as `registry.example/words`. Without a host, Docker Hub is meant.
#[must_use]
pub fn search_host(text: &str) -> (&str, &str) {
    let is_host = |part: &str| part.contains(['.', ':']) || part == "localhost";
    match text.split_once('/') {
        Some((host, words)) if is_host(host) && host != "docker.io" && host != "index.docker.io" => (host, words),
        Some((host, words)) if is_host(host) => ("docker.io", words),
        _ => ("docker.io", text.strip_prefix("library/").unwrap_or(text)),
    }
}

/// The host that answers searches for the registry of `domain`.
#[must_use]
pub fn search_address(domain: &str) -> &str {
    if domain == "docker.io" { "index.docker.io" } else { domain }
}

impl RegistryClient {
    /// Looks for repositories.
    ///
    /// # Errors
    /// [`RegistryError`]
    pub fn search(&self, words: &str, limit: u64) -> Result<Vec<SearchResult>, RegistryError> {
        let path = format!("/v1/search?{}", form(&[("n", &limit.to_string()), ("q", words)]));
        self.ask(&Method::GET, &path, "", &[("x-docker-token", "true".into())], |answer| {
            let url = answer.url.clone();
            let bytes = answer.bytes("search results", MAX_RESULTS)?;
            let found: Answered = serde_json::from_slice(&bytes).map_err(|error| RegistryError::Document {
                url,
                reason: format!("error decoding registry search results: {error}"),
            })?;
            Ok(found.results)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_words() {
        for (text, expected) in [
            ("nginx", ("docker.io", "nginx")),
            ("library/nginx", ("docker.io", "nginx")),
            ("team/app", ("docker.io", "team/app")),
            ("docker.io/team/app", ("docker.io", "team/app")),
            ("a.test/team/app", ("a.test", "team/app")),
            ("localhost/x", ("localhost", "x")),
        ] {
            assert_eq!(search_host(text), expected, "{text}");
        }
    }
}
