//! `index.json`, the start of an OCI image layout (image-spec v1.1 `image-layout.md`), and what it leads to.
//!
//! ```text
//! index.json --> manifest --> config, layers        one image
//!            --> index --> manifest, manifest, ...  one image, one manifest a platform
//! ```
//!
//! Every document is verified against the descriptor that names it. A document that could be read as either kind
//! (CVE-2021-41190), or that has a key twice, is refused.

mod documents;
mod walk;

pub(super) use documents::INDEX;
pub(super) use walk::contents;
