//! `index.json`, the start of an OCI image layout (image-spec v1.1 `image-layout.md`), and what it leads to.
//!
//! ```text
//! index.json --> manifest --> config, layers        one image
//!            --> index --> manifest, manifest, ...  one image, one manifest a platform
//! ```
//!
//! What is no image (a signature, an attestation, another artifact) is left out, wherever it stands, and the user is told. It
//! is known by its artifact type, the type of its config, or the types of its layers.
//!
//! Every document is verified against the descriptor that names it. A document that could be read as either kind
//! (CVE-2021-41190), or that has a key twice, is refused.

mod artifacts;
mod directory;
mod documents;
mod kept;
mod walk;

pub(super) use artifacts::{artifacts, manifests};
pub(super) use directory::{directory_contents, is_registry_manifest};
pub(super) use documents::{INDEX, LAYOUT};
pub(super) use walk::contents;
