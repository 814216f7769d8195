//! `layerfs image inspect --remote`: an image at its registry, without its layers.

use anyhow::Context;
use images::source::Platform;
use serde_json::{Value, json};

use crate::registries::{RegistryFlags, parse};
use crate::signals;

/// The document of an image: what its registry says of it, and its manifest and config as they are.
pub(super) fn inspect(name: &str, platform: Option<&Platform>, flags: &RegistryFlags) -> anyhow::Result<Value> {
    let reference = parse(name)?.with_default_tag();
    let interrupted = signals::interrupted()?;
    let resolved = registry::resolve(&flags.client(&reference, &interrupted)?, &reference, platform)?;
    let image = resolved.contents.images.first().context("the manifest describes no image")?;
    let (digest, manifest) = &resolved.manifest;
    let document = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).context("a document of the registry");
    let layers = image.layers.iter().filter_map(|layer| layer.descriptor.as_ref());
    let size: u64 = layers.map(|descriptor| descriptor.size).fold(0, u64::saturating_add);
    Ok(json!({
        "Name": reference.canonical(),
        "Digest": resolved.digest,
        "ManifestDigest": digest,
        "Id": image.id,
        "Size": size,
        "Manifest": document(manifest)?,
        "Config": document(&image.config)?,
    }))
}
