//! An image whose files are wanted: of the data-root, or of an archive that is not unpacked for it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use images::export::ExportError;
use images::source::{Archive, ArchiveError, ImageSource, Opened, Select, SelectionError};
use images::tree::{Layers, LayersOfArchive, LayersOfStore, TreeError};
use layerfs::DiffId;
use snapshot::catalog::Resolved;
use snapshot::schema::config::ImageConfig;
use snapshot::view::{Needs, View};

use super::no_such_image;
use crate::commands::layerfs::NAME;
use crate::damage::damaged_image;
use crate::{input, output};

/// Where the image is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ContentFlags {
    /// Look into this archive or layout instead of the data-root; it is not unpacked. IMAGE may be left out where it has one
    #[arg(long, value_name = "FILE")]
    archive: Option<PathBuf>,
}

/// An image whose files are wanted.
pub(crate) struct Content<'c> {
    pub(crate) layers: &'c dyn Layers,
    pub(crate) diff_ids: &'c [DiffId],
    /// What made each layer, where the history says it.
    pub(crate) steps: &'c [Option<String>],
}

impl ContentFlags {
    /// Whether `text`, in the place of an image, is a path already: of an archive with one image, its name may be left out.
    pub(super) fn is_path(&self, text: &OsStr) -> bool {
        self.archive.is_some() && text.as_bytes().starts_with(b"/")
    }

    /// Finds the image that `text` means, and calls `work` with its content. Without a text it is the only one of the archive.
    pub(crate) fn open<T>(
        &self,
        text: Option<&str>,
        root: &Path,
        driver: Option<&str>,
        work: impl FnOnce(&Content<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        if let Some(path) = &self.archive {
            let archive = match Archive::open(path).map_err(input::inside(path))? {
                Opened::Archive(archive) => archive,
                Opened::LayerTar(_) => return Err(ArchiveError::NotAnImageArchive { path: path.clone() }.into()),
                Opened::Compressed(..) | Opened::Pipe(_) => bail!(
                    "{}: only a plain tar or a directory can be looked into; decompress it into a file first",
                    path.display()
                ),
            };
            let select = Select { image: text.map(str::to_owned), ..Select::default() };
            let contents = archive.images(&select).map_err(input::inside(path))?;
            for skipped in &contents.skipped {
                output::complain(NAME, &format!("left out: {skipped}"));
            }
            let image = contents.one(text).map_err(|error| match error {
                SelectionError::SeveralImages { .. } => {
                    anyhow!("{}: {error}; name one of them after {}", path.display(), path.display())
                }
                other => anyhow::Error::from(other).context(path.display().to_string()),
            })?;
            let config = ImageConfig::parse(&image.config)?;
            let steps = steps(&config.fields.history.0, config.diff_ids.len());
            let layers = LayersOfArchive::new(&archive, image.layers.clone());
            let content = Content { layers: &layers, diff_ids: &config.diff_ids, steps: &steps };
            return work(&content).map_err(|error| match is_of_the_layers(&error) {
                true => error.context(path.display().to_string()),
                false => error,
            });
        }
        let text = text.expect("an image may be left out only where there is an archive");
        let texts = [text.to_owned()];
        let view = View::read(root, driver, Needs::only(&texts))?;
        let image = match view.catalog().resolve(text) {
            Resolved::Image(id) => &view.catalog().images()[&id],
            Resolved::Damaged(id) => return Err(damaged_image(view.catalog(), text, id)),
            Resolved::Nothing => return Err(no_such_image(text)),
        };
        let layers = LayersOfStore::new(view.root(), view.catalog(), image)?;
        let steps = steps(image.history(), image.diff_ids.len());
        work(&Content { layers: &layers, diff_ids: &image.diff_ids, steps: &steps })
    }
}

/// Whether an error is one of the layers, and not of where their files go.
fn is_of_the_layers(error: &anyhow::Error) -> bool {
    error.is::<TreeError>() || matches!(error.downcast_ref(), Some(ExportError::Tree(_)))
}

/// The step that made each layer; none if the history is of another number of layers.
fn steps(history: &[snapshot::catalog::History], layers: usize) -> Vec<Option<String>> {
    let steps = history.iter().filter(|step| !step.empty_layer).map(|step| Some(step.created_by.clone()));
    let steps: Vec<Option<String>> = steps.collect();
    if steps.len() == layers { steps } else { vec![None; layers] }
}

/// A step as a person reads it: on one line, and without the beginning that all steps have.
pub(crate) fn short_step(step: Option<&String>, most: usize) -> String {
    let text = step.map_or("", String::as_str);
    let text = text.strip_prefix("/bin/sh -c #(nop) ").or(text.strip_prefix("/bin/sh -c ")).unwrap_or(text);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    docker_format::ellipsis(&text, most)
}

/// A path as a user knows it: from the root. Bytes that are no text are escaped.
pub(crate) fn shown(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok(text) => format!("/{}", output::escape(text)),
        Err(_) => format!("/{}", path.escape_ascii()),
    }
}

/// A path for programs: as text, and as bytes as well if the text is not all of it.
#[derive(Debug, serde::Serialize)]
pub(crate) struct JsonPath {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
}

impl JsonPath {
    pub(crate) fn new(path: &[u8]) -> Self {
        use base64::Engine as _;
        let lossless = std::str::from_utf8(path).is_ok();
        let path_base64 = (!lossless).then(|| base64::engine::general_purpose::STANDARD.encode(path));
        Self { path: format!("/{}", String::from_utf8_lossy(path)), path_base64 }
    }
}
