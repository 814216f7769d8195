//! Parsers that only this crate uses, for those who feed them anything (`fuzz/targets`). No part of the interface.

use std::path::Path;

use runtime::{NetworkFiles, Settings};
use snapshot::schema::container::ContainerFiles;

/// Where `-v` mounts what it names; `None` if it is refused.
#[must_use]
pub fn bind(text: &str) -> Option<String> {
    crate::mounts::parse_bind(text).ok().map(|point| point.destination)
}

/// What the runtime is told of a container with these files; `None` if it cannot be started.
#[must_use]
pub fn settings(files: &ContainerFiles) -> Option<Settings> {
    crate::settings::from_files(Path::new("/root"), files, "/rootfs".into(), NetworkFiles::default()).ok()
}
