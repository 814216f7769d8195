//! Crates from elsewhere that unpack layers: a small program of their own, in `benches/rust-peers`.
//!
//! It is a workspace apart, so that its dependencies stay out of our lock file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The crates that are compared.
const CRATES: [&str; 4] = ["oci-image", "tar", "flate2", "astral-tokio-tar"];

/// Builds the program, and returns its path, or why there is none.
///
/// # Errors
///
/// If cargo is missing or cannot build it: without a network and without a filled cache it cannot.
pub fn build() -> Result<PathBuf, String> {
    let project = project();
    let output = Command::new("cargo")
        .args(["build", "--release", "--locked", "--quiet"])
        .current_dir(&project)
        .output()
        .map_err(|error| format!("cargo does not start: {error}"))?;
    if output.status.success() {
        Ok(project.join("target/release/rust-peers"))
    } else {
        let text = String::from_utf8_lossy(&output.stderr);
        let error = text.lines().find(|line| line.starts_with("error")).unwrap_or("cargo failed");
        Err(format!("benches/rust-peers does not build: {error}"))
    }
}

/// The versions in its lock file.
pub fn versions() -> BTreeMap<String, String> {
    let lock = std::fs::read_to_string(project().join("Cargo.lock")).unwrap_or_default();
    let mut lines = lock.lines();
    let mut versions = BTreeMap::new();
    while let Some(line) = lines.next() {
        let Some(name) = value(line, "name") else { continue };
        let version = lines.next().and_then(|line| value(line, "version")).unwrap_or("unknown");
        if CRATES.contains(&name) {
            versions.insert(format!("crate {name}"), version.to_owned());
        }
    }
    versions
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rust-peers")
}

/// The text of a line `key = "text"`.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')
}
