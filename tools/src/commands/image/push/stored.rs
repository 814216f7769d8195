//! `layerfs image push` from containerd's store: blobs, manifests and indexes as they are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::bail;
use layerfs::Digest;
use registry::{Arrival, CopyListener, CopyOptions, ManifestForm, RegistryClient, RegistryError, Source};
use serde_json::json;
use snapshot::catalog::InContainerd;
use snapshot::containerd::images::{StoredImage, StoredManifest};
use snapshot::containerd::metadata::Target;
use snapshot::reference::Reference;
use snapshot::root::DataRoot;
use snapshot::view::{Needs, View};

use super::super::events::Events;
use super::super::for_platform::Wanted;
use super::{Args, find, tags_of};
use crate::blob_bars::BlobBars;
use crate::output;

pub(super) fn run(
    args: &Args,
    root: DataRoot,
    reference: &Reference,
    platform: Option<&Wanted>,
    interrupted: &Arc<AtomicBool>,
) -> anyhow::Result<ExitCode> {
    if args.format == ManifestForm::Oci || args.compress.is_some() {
        bail!(
            "--format and --compress: an image of containerd's store is pushed as it is, so that its digest stays what it is"
        );
    }
    let view = View::read_root(root, Needs::RECORDS)?;
    let catalog = view.catalog();
    let known = catalog.in_containerd().expect("the caller has asked whether it is containerd's store");
    let wanted = if args.all_tags { tags_of(catalog, reference) } else { vec![reference.clone().with_default_tag()] };
    if let Some(missing) = wanted.iter().find(|name| catalog.references().get(name).is_none()) {
        bail!("tag does not exist: {}", missing.familiar());
    }
    let images = wanted.iter().map(|name| find(catalog, name)).collect::<anyhow::Result<Vec<_>>>()?;
    if images.is_empty() {
        bail!("An image does not exist locally with the tag: {}", reference.familiar_name());
    }
    let client = Arc::new(args.registry.client_to_push(reference, interrupted)?);
    for (name, id) in wanted.iter().zip(images) {
        let image = &known.images.images[&id.0];
        let (target, instead) = match platform {
            None => pushed(known, image, name)?,
            Some(wanted) => {
                let part = known.store.whole_manifest(image, &wanted.platform);
                (part.ok_or_else(|| wanted.missing(&name.familiar()))?.as_target(), false)
            }
        };
        push(args, (&client, name), (known, image, &target), interrupted)?;
        if instead && !args.quiet && !args.json {
            let (index, manifest) = (image.target.digest, target.digest);
            output::say("")?;
            output::say(
                " Info -> Not all multiplatform-content is present and only the available single-platform image was pushed",
            )?;
            output::say(&format!("         {index} -> {manifest}"))?;
        }
    }
    if args.quiet {
        output::say(&if args.all_tags { reference.canonical() } else { wanted[0].canonical() })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What of an image is pushed: all of it, or the only manifest that is there with all that it needs, and whether that is instead
/// of an index (moby v28.5.2 `daemon/containerd/image_push.go`).
fn pushed(known: &InContainerd, image: &StoredImage, name: &Reference) -> anyhow::Result<(Target, bool)> {
    if image.manifests.iter().all(|part| known.store.is_whole(part)) {
        return Ok((image.target.clone(), false));
    }
    let whole: BTreeMap<Digest, &StoredManifest> = image
        .manifests
        .iter()
        .filter(|part| !part.is_attestation() && known.store.is_whole(part))
        .map(|part| (part.digest, part))
        .collect();
    match whole.into_values().collect::<Vec<_>>()[..] {
        [only] => Ok((only.as_target(), true)),
        [] => bail!("{}: for none of its platforms is all of it in the store; pull it, then push it", name.familiar()),
        ref several => {
            let platforms = several.iter().filter_map(|part| part.platform.as_ref()).map(ToString::to_string);
            let platforms = platforms.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ");
            bail!(
                "multiple matching manifests found but no specific platform requested: {} is whole for {platforms}; \
                 --platform chooses one",
                name.familiar()
            )
        }
    }
}

fn push(
    args: &Args,
    (client, name): (&Arc<RegistryClient>, &Reference),
    (known, image, target): (&InContainerd, &StoredImage, &Target),
    interrupted: &AtomicBool,
) -> anyhow::Result<()> {
    let quiet = args.quiet || args.json;
    let layers = image.manifests.iter().filter_map(|part| part.manifest.as_ref());
    let layers = layers.flat_map(|manifest| &manifest.layers);
    let lines = Lines {
        bars: BlobBars::new(quiet),
        events: Events::new(args.json),
        layers: layers.filter_map(|layer| Some((layer.blob()?, is_layer(&layer.media_type)))).collect(),
    };
    let familiar = name.familiar();
    let from = registry::StoredImage { content: &known.store.content, target, name: &familiar };
    let to = registry::Target::Registry(Arc::clone(client), name.clone());
    let most = args.max_concurrent_uploads.into();
    let options = CopyOptions { all: true, referrers: false, platform: None, most, interrupted };
    let copied = registry::copy(&Source::Store(from), &to, options, &lines)?;
    let Lines { events, .. } = lines;
    events.tell("end", json!({"name": name.canonical(), "digest": copied.digest, "size": copied.size}));
    if !quiet {
        output::say(&format!("{}: digest: {} size: {}", name.tag().unwrap_or_default(), copied.digest, copied.size))?;
    }
    Ok(())
}

/// Whether docker calls a blob of this type a layer.
fn is_layer(media_type: &str) -> bool {
    ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."]
        .iter()
        .any(|family| media_type.starts_with(family))
}

/// docker's line for each layer that is in the repository, and bars on a terminal.
struct Lines {
    bars: BlobBars,
    events: Events,
    /// What manifests have for layers, and whether docker calls it so. docker says nothing of other blobs.
    layers: HashMap<Digest, bool>,
}

impl CopyListener for Lines {
    fn begin(&self, blob: Digest, size: u64) {
        self.bars.begin(blob, size);
    }

    fn advance(&self, blob: Digest, bytes: u64) {
        self.bars.advance(blob, bytes);
    }

    fn retry(&self, blob: Digest, pause: Duration, error: &RegistryError) {
        self.bars.retry(blob, pause, error);
    }

    fn end(&self, blob: Digest, arrival: &Arrival) {
        self.bars.end(blob);
        let (what, from) = match arrival {
            Arrival::Existed => ("existed", None),
            Arrival::Mounted { from } => ("mounted", Some(from)),
            Arrival::Sent => ("sent", None),
        };
        let mut done = json!({"blob": blob, "arrival": what});
        if let Some(from) = from {
            done["from"] = from.as_str().into();
        }
        self.events.tell("done", done);
        let Some(is_layer) = self.layers.get(&blob) else { return };
        let what = match arrival {
            Arrival::Existed if *is_layer => "Layer already exists".to_owned(),
            Arrival::Existed => "Already exists".to_owned(),
            Arrival::Mounted { from } => format!("Mounted from {from}"),
            Arrival::Sent => "Pushed".to_owned(),
        };
        self.bars.say(&format!("{}: {what}", blob.short()));
    }
}
