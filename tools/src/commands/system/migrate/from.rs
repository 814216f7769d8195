//! `--from`: where the bytes are had whose digests images keep.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use images::migrate::{MigrateError, MigrationPlan, digests_of};
use images::source::{Archive, ImageSource, Opened};
use registry::Remote;
use snapshot::catalog::Catalog;
use snapshot::reference::Reference;

use super::Args;
use crate::commands::image::pull::blobs_dir;
use crate::commands::layerfs::NAME;
use crate::commands::remote_image::{RemoteImage, SCHEME};
use crate::registries::parse;
use crate::{input, output};

/// All that `--from` names.
#[derive(Debug, Default)]
pub(super) struct Sources {
    archives: Vec<Archive>,
    remotes: Vec<Remote>,
    /// The directory for what is fetched, if there was none.
    made: Option<PathBuf>,
}

impl Sources {
    /// Opens archives and layouts, and asks registries for manifests. What is fetched later goes into `into`, a data-root.
    pub(super) fn open(
        args: &Args,
        catalog: &Catalog,
        plan: &MigrationPlan,
        into: &Path,
        interrupted: &Arc<AtomicBool>,
    ) -> anyhow::Result<Self> {
        let mut sources = Self::default();
        let blobs = blobs_dir(into);
        sources.made = blobs.parent().filter(|tmp| !tmp.exists()).map(Path::to_owned);
        let ask = |name: Reference| RemoteImage::new(NAME, name, &args.registry, interrupted).source(&blobs);
        for from in &args.from {
            match from.to_str().and_then(|text| text.strip_prefix(SCHEME)) {
                None => sources.archives.push(open_archive(from)?),
                // Each image from where it came: one that is not to be had there any more loses its digest, and no more.
                Some("") => {
                    for name in digests(catalog, plan) {
                        match ask(name.clone()) {
                            Ok(remote) => sources.remotes.push(remote),
                            Err(error) => output::complain(NAME, &format!("warning: {}: {error:#}", name.familiar())),
                        }
                    }
                }
                Some(name) => sources.remotes.push(ask(parse(name)?.with_default_tag())?),
            }
        }
        Ok(sources)
    }

    pub(super) fn all(&self) -> Vec<&dyn ImageSource> {
        let archives = self.archives.iter().map(|archive| archive as &dyn ImageSource);
        archives.chain(self.remotes.iter().map(|remote| remote as &dyn ImageSource)).collect()
    }

    /// Why a migration failed: what went wrong with a transfer, if anything did.
    pub(super) fn cause(&self, error: MigrateError) -> anyhow::Error {
        let fault = self.remotes.iter().find_map(Remote::fault);
        self.finish();
        match (error, fault) {
            (MigrateError::Blob(_) | MigrateError::Source(_), Some((fault, _))) => fault.into(),
            (error, _) => error.into(),
        }
    }

    /// Removes what was fetched.
    pub(super) fn finish(&self) {
        self.remotes.iter().for_each(|remote| remote.finish(false));
        // It stays where something is in it.
        self.made.iter().for_each(|made| drop(std::fs::remove_dir(made)));
    }
}

fn open_archive(path: &Path) -> anyhow::Result<Archive> {
    input::expect_content(path).context("--from")?;
    match Archive::open(path).map_err(input::inside(path)).context("--from")? {
        Opened::Archive(archive) => Ok(archive),
        Opened::Compressed(..) | Opened::Pipe(_) => {
            bail!("--from {}: layers are read in any order: decompress it into a file first", path.display())
        }
        Opened::LayerTar(_) => bail!("--from {}: not an image archive", path.display()),
    }
}

/// The names with digests of all images of a plan, each digest once.
fn digests(catalog: &Catalog, plan: &MigrationPlan) -> Vec<Reference> {
    let mut digests: Vec<Reference> = plan.save.images.iter().flat_map(|image| digests_of(catalog, image.id)).collect();
    digests.sort_by_key(|name| (name.digest(), name.canonical()));
    digests.dedup_by_key(|name| name.digest());
    digests
}
