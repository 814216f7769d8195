//! `image-du ARCHIVE`: what an archive or a layout holds, without a store.
//!
//! With `--json` one object; numbers are bytes or counts:
//!
//! ```text
//! archive     as it was named
//! format      docker-archive, oci or skopeo-dir
//! images      [{id, names, stored, tar, apparent, files, layers}]: layers are ids of the list below, base first
//! layers      [{id, diff_id, name, stored, compression, tar, apparent, files, images, created_by, error}]: id is the layer's in
//!             a store, stored its bytes in the archive, tar those of its tar, images how many have it; numbers are null with
//!             an error
//! files       null without --files and thresholds, else as for a store
//! skipped, warnings   [text]
//! ```

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use docker_format::size::size;
use images::measure::{LayerSizes, Measured, MeasuredImage, MeasuredLayer, measure};
use images::source::{Format, Select};
use layerfs::ChainId;
use layerfs::compress::Compression;
use serde_json::{Value, json};
use snapshot::reference::Reference;

use super::files::FileReport;
use super::rules::Rules;
use super::{NAME, json as report_json, text_files};
use crate::columns::{self, Fit, Table};
use crate::output::{self, counted, escape};
use crate::steps;

/// What the user wants to know of an archive.
pub(super) struct Wanted<'a> {
    /// Files, or a verdict on them.
    pub(super) files: bool,
    pub(super) rules: &'a Rules,
    /// Entries of each list of files.
    pub(super) top: usize,
    pub(super) json: bool,
}

/// Endings of file names by which an archive is known.
const ENDINGS: [&str; 10] =
    [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".oci"];

/// Whether an argument means an archive and not an image: it is `-` for standard input, is spelled as a path, ends as the
/// names of archives do, or is a directory that holds a layout.
pub(super) fn is_archive(argument: &str) -> bool {
    let path = Path::new(argument);
    let spelled = argument.starts_with(['.', '/']) || ENDINGS.iter().any(|ending| argument.ends_with(ending));
    let is_layout = || ["index.json", "manifest.json"].iter().any(|name| path.join(name).is_file());
    argument == "-" || spelled || is_layout()
}

/// Says what an archive holds.
pub(super) fn run(argument: &str, wanted: &Wanted<'_>) -> anyhow::Result<ExitCode> {
    let path = Path::new(argument);
    let mut measured = measure(crate::input::open(path)?, crate::input::called(path), &Select::default(), wanted.files)
        .map_err(crate::input::with_name(path))?;
    let files = wanted.files.then(|| FileReport::of_archive(&mut measured, wanted.rules, wanted.top));
    if wanted.json {
        output::json(&document(argument, &measured, files.as_ref(), wanted.top))?;
    } else {
        output::page(&text(&measured, files.as_ref(), wanted.top))?;
    }
    for line in measured.contents.skipped.iter().chain(&measured.contents.warnings) {
        output::complain(NAME, line);
    }
    let mut failed = files.as_ref().is_some_and(FileReport::failed);
    for error in measured.layers.iter().filter_map(|layer| layer.sizes.as_ref().err()) {
        failed = true;
        output::complain(NAME, &causes(error));
    }
    Ok(ExitCode::from(u8::from(failed)))
}

/// An error and its causes, on one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let _ = write!(text, ": {cause}");
        next = cause.source();
    }
    text
}

/// The sums of an image: bytes in the archive, bytes of tars, bytes of files, number of files.
#[derive(Default)]
struct Sums {
    stored: u64,
    tar: u64,
    content: u64,
    files: u64,
}

fn sums<'l>(layers: impl IntoIterator<Item = &'l MeasuredLayer>) -> Sums {
    let mut sums = Sums::default();
    for LayerSizes { stored, tar, content, files, .. } in
        layers.into_iter().filter_map(|layer| layer.sizes.as_ref().ok())
    {
        sums.stored += stored;
        sums.tar += tar;
        sums.content = sums.content.saturating_add(*content);
        sums.files += files;
    }
    sums
}

fn names(image: &MeasuredImage) -> Vec<String> {
    image.names.iter().map(Reference::familiar).collect()
}

fn text(measured: &Measured, files: Option<&FileReport>, top: usize) -> String {
    let room = columns::room();
    let mut out = String::new();
    if let Some(files) = files {
        text_files::print(files, top, room, &mut out);
        return out.trim_start_matches('\n').to_owned();
    }
    let by_id: HashMap<ChainId, &MeasuredLayer> = measured.layers.iter().map(|layer| (layer.chain_id, layer)).collect();
    let compressed = measured.layers.iter().any(is_compressed);
    for image in &measured.images {
        let layers = || image.layers.iter().map(|id| by_id[id]);
        let names = names(image);
        let called = if names.is_empty() { "<none>".to_owned() } else { names.join(", ") };
        let Sums { stored, tar, files, .. } = sums(layers());
        let _ = writeln!(out, "{}  {}", escape(&called), image.id.short());
        let count = counted(image.layers.len() as u64, "layer");
        let packed = if compressed { format!(", {} in the archive", size(stored)) } else { String::new() };
        let _ = writeln!(out, "{} in {count}{packed}, {}", size(tar), counted(files, "file"));
        let mut table = Table::new([
            ("LAYER ID", Fit::Whole),
            ("SIZE", Fit::Whole),
            ("STORED", Fit::Whole),
            ("FORM", Fit::Drop(1)),
            ("FILES", Fit::Drop(2)),
            ("IMAGES", Fit::Drop(3)),
            ("MADE BY", Fit::End),
        ]);
        for layer in layers() {
            let made = columns::end(&steps::readable(layer.step.as_deref().unwrap_or_default()), super::text::COMMAND);
            let shared = if layer.images > 1 { layer.images.to_string() } else { String::new() };
            let [bytes, stored, form, files] = match &layer.sizes {
                Ok(sizes) => [
                    size(sizes.tar),
                    if compressed { size(sizes.stored) } else { String::new() },
                    if compressed { sizes.compression.to_string() } else { String::new() },
                    sizes.files.to_string(),
                ],
                Err(_) => ["unread".to_owned(), String::new(), String::new(), String::new()],
            };
            table.push([layer.chain_id.0.short(), bytes, stored, form, files, shared, made]);
        }
        out.push_str(&table.render(room));
        out.push('\n');
    }
    let Sums { stored, tar, .. } = sums(&measured.layers);
    let [images, layers] = [(measured.images.len(), "image"), (measured.layers.len(), "layer")]
        .map(|(number, what)| counted(number as u64, what));
    let packed = if compressed { format!(", {} in the archive", size(stored)) } else { String::new() };
    let _ = writeln!(out, "Total: {images}, {layers}: {} ({tar} B){packed}", size(tar));
    out
}

fn is_compressed(layer: &MeasuredLayer) -> bool {
    layer.sizes.as_ref().is_ok_and(|sizes| sizes.compression != Compression::None)
}

fn document(argument: &str, measured: &Measured, files: Option<&FileReport>, top: usize) -> Value {
    let by_id: HashMap<ChainId, &MeasuredLayer> = measured.layers.iter().map(|layer| (layer.chain_id, layer)).collect();
    let images = measured.images.iter().map(|image| {
        let Sums { stored, tar, content, files } = sums(image.layers.iter().map(|id| by_id[id]));
        json!({
            "id": image.id.to_string(), "names": names(image), "stored": stored, "tar": tar, "apparent": content,
            "files": files, "layers": image.layers,
        })
    });
    let layers = measured.layers.iter().map(|layer| {
        let sizes = layer.sizes.as_ref().ok();
        json!({
            "id": layer.chain_id, "diff_id": layer.diff_id.to_string(), "name": layer.name,
            "stored": sizes.map(|sizes| sizes.stored),
            "compression": sizes.map(|sizes| sizes.compression).filter(|form| *form != Compression::None)
                .map(|form| form.to_string()),
            "tar": sizes.map(|sizes| sizes.tar), "apparent": sizes.map(|sizes| sizes.content),
            "files": sizes.map(|sizes| sizes.files), "images": layer.images, "created_by": layer.step,
            "error": layer.sizes.as_ref().err().map(|error| causes(error)),
        })
    });
    let format = measured.contents.format.map(|format| match format {
        Format::DockerArchive => "docker-archive",
        Format::Oci => "oci",
        Format::SkopeoDir => "skopeo-dir",
    });
    json!({
        "archive": argument,
        "format": format,
        "images": images.collect::<Vec<_>>(),
        "layers": layers.collect::<Vec<_>>(),
        "files": files.map(|files| report_json::files(files, top)),
        "skipped": measured.contents.skipped,
        "warnings": measured.contents.warnings,
    })
}
