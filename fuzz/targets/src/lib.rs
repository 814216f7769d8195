//! One function for each parser: it gives the parser these bytes and checks what must hold whatever they are.
//!
//! Three callers share them: cargo-fuzz (`fuzz/cargo-fuzz`), the test that feeds every kept input
//! (`tests/corpus.rs`), and the test that counts instructions (`tests/linear.rs`). A function panics where the parser broke
//! a promise; an error that the parser returns is an answer like any other.

#![allow(clippy::unwrap_used, reason = "a target fails by panicking")]

mod archive;
mod build;
mod containers;
mod devices;
mod format;
mod registries;
mod store;
mod tar;

pub use archive::{index, manifest};
pub use build::{dockerfile, dockerignore};
pub use containers::{accounts, bind, container, log, profile};
pub use devices::{lines, pool};
pub use format::{change, exclude, filter, keep, pattern, size, template, until};
pub use registries::{header, hosts};
pub use store::{bolt, config, containerd, gojson, mountinfo, record, reference, repositories};
pub use tar::{framer, journal};

/// The type of all targets.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its folder in `fuzz/corpus` and of its file in
/// `fuzz/cargo-fuzz/fuzz_targets`.
pub const TARGETS: &[(&str, Target)] = &[
    ("framer", framer),
    ("journal", journal),
    ("bolt", bolt),
    ("manifest", manifest),
    ("index", index),
    ("config", config),
    ("gojson", gojson),
    ("repositories", repositories),
    ("reference", reference),
    ("template", template),
    ("pattern", pattern),
    ("until", until),
    ("filter", filter),
    ("size", size),
    ("exclude", exclude),
    ("keep", keep),
    ("change", change),
    ("record", record),
    ("mountinfo", mountinfo),
    ("container", container),
    ("accounts", accounts),
    ("profile", profile),
    ("bind", bind),
    ("log", log),
    ("header", header),
    ("hosts", hosts),
    ("dockerfile", dockerfile),
    ("dockerignore", dockerignore),
    ("lines", lines),
    ("pool", pool),
    ("containerd", containerd),
];
