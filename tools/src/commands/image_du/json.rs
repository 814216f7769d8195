//! The report as one JSON object. Numbers are bytes or counts; fields may be added, none changes its meaning.
//!
//! ```text
//! root, storage_driver
//! total_allocated, total_apparent, unaccounted     bytes; total_allocated is what `du -x -B1` says of the root
//! total_files, total_directories, total_inodes
//! docker      {images, containers, volumes, build_cache}: {total, active, size, reclaimable}, as `docker system df`
//!             images and build_cache are null where the images are in the store of the system's containerd, which is not read
//! containerd  null without containerd's store, else {store: its directory, or null for the system's, has_all_images}
//! images      [{id, names, intermediate, SIZES, records, layers, damage, damage_code, kept}]
//! layers      [{id, cache_id, SIZES, images, names, created_by, build_cache, damage, damage_code}]
//! containers  [{id, name, image, SIZES, writable, logs, damage, damage_code}]
//! volumes     [{name, SIZES, containers}]
//! steps       [{id, layer, created_by, SIZES, records, kept}]: the build cache of `layerfs build`, which the store keeps as images without
//!             names; layer is listed again as a layer, and SIZES are those of the step, without what is below it
//! cache_mounts   as volumes: those that `RUN --mount=type=cache` keeps
//! unowned     [{kind, name, name_raw?, count, allocated, apparent, files, directories, inodes}]
//! freed_by    {allocated, images, layers, kept: [{id, reason}], stays: [{layer, allocated, images, containers, mounts,
//!             build_cache}]}, or null; of the images that were named: stays are layers of theirs, and who needs them
//! files       null without --files and thresholds, else {largest: [{path, path_raw?, allocated, apparent}],
//!             largest_in_layers: [{layer, path, path_raw?, allocated, apparent}] and directories: [{layer, path,
//!             path_raw?, allocated, apparent, files}] of the layers of the images that are looked at,
//!             images: [{id, names, efficiency, wasted_bytes, user_bytes, wasted_user_percent, hidden_bytes, hidden_files,
//!             rules: [{rule, failed, reason}], repeated: [{path, path_raw?, bytes, layers}]}],
//!             identical: [{blake3, size, saved, places: [{layer, path, path_raw?}]}], identical_saved, unread, sparse}
//! unreadable  [{path, path_raw?, error}], unreadable_count, vanished
//! unknown_owners   [text]: records of owners that cannot be read
//! damage      [{subject, id, code, text}]: what is wrong with the records; codes do not change
//!
//! SIZES       allocated, apparent, files, directories, inodes, shared, unique
//! ```
//!
//! `allocated` of an image has its layers in it, which are listed again as layers; `logs` of a container are listed again as
//! unowned. `damage` and `kept` are null or a reason. `name_raw` and `path_raw` are base64, for what is not UTF-8; the text
//! beside them has U+FFFD then.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use snapshot::catalog::{Damage, Subject};
use snapshot::usage::files::PathSize;
use snapshot::usage::report::RestKind;

use super::Shown;
use super::files::FileReport;
use crate::output;

pub(super) fn print(shown: &Shown<'_>) -> anyhow::Result<()> {
    output::json(&value(shown)?)
}

/// Base64 of what is not UTF-8.
pub(super) fn raw(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).is_err().then(|| STANDARD.encode(bytes))
}

fn value(shown: &Shown<'_>) -> anyhow::Result<Value> {
    let (report, account) = (&shown.report, shown.account);
    let total = &report.total;
    let row = |name: &str| shown.rows.iter().find(|(kind, _)| *kind == name).map(|(_, row)| *row).unwrap_or_default();
    let root = account.view.root();
    // What is not read is not 0.
    let elsewhere = account.view.catalog().images_elsewhere();
    let read = |name: &str| (!elsewhere).then(|| row(name));
    let containerd = root.containerd().map(|containerd| {
        json!({
            "store": containerd.store.as_ref().map(|store| store.display().to_string()),
            "has_all_images": root.is_containerd_only(),
        })
    });
    let mut unowned = Vec::new();
    for line in &report.lines {
        let mut object = serde_json::Map::new();
        object.insert("kind".into(), kind(&line.kind).into());
        object.insert("name".into(), line.kind.title().into());
        if let RestKind::Other(path) = &line.kind
            && let Some(raw) = raw(path)
        {
            object.insert("name_raw".into(), raw.into());
        }
        object.insert("count".into(), line.count.into());
        if let Value::Object(usage) = serde_json::to_value(line.usage)? {
            object.extend(usage);
        }
        unowned.push(Value::Object(object));
    }
    let freed = shown.freed.as_ref().map(|(freed, stays)| {
        let kept = freed.removal.kept.iter().map(|(id, reason)| json!({"id": id, "reason": reason.to_string()}));
        let kept: Vec<Value> = kept.collect();
        let (images, layers) = (&freed.removal.images, &freed.removal.layers);
        json!({"allocated": freed.allocated, "images": images, "layers": layers, "kept": kept, "stays": stays})
    });
    let unreadable =
        account.errors.iter().map(|error| with_path(&error.path, json!({"error": error.errno.to_string()})));
    let unreadable: Vec<Value> = unreadable.collect();
    Ok(json!({
        "root": account.view.catalog().root().display().to_string(),
        "storage_driver": account.view.catalog().driver(),
        "total_allocated": total.allocated,
        "total_apparent": total.apparent,
        "unaccounted": report.unaccounted,
        "total_files": total.files,
        "total_directories": total.directories,
        "total_inodes": total.inodes,
        "docker": {
            "images": read("Images"),
            "containers": row("Containers"),
            "volumes": row("Local Volumes"),
            "build_cache": read("Build Cache"),
        },
        "containerd": containerd,
        "images": report.images,
        "layers": report.layers,
        "containers": report.containers,
        "volumes": report.volumes,
        "steps": report.steps,
        "cache_mounts": report.cache_mounts,
        "unowned": unowned,
        "freed_by": freed,
        "files": shown.files.as_ref().map(|report| files(report, shown.top)),
        "unreadable": unreadable,
        "unreadable_count": account.error_count,
        "vanished": account.vanished,
        "unknown_owners": account.view.liveness().doubts().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "damage": account.view.damage().iter().map(damage).collect::<Vec<_>>(),
    }))
}

/// What is damaged, how, and both in words.
fn damage(damage: &Damage) -> Value {
    let (kind, id) = match damage.subject() {
        Subject::References => ("references", Value::Null),
        Subject::Image(id) => ("image", id.to_string().into()),
        Subject::Layer(id) => ("layer", id.to_string().into()),
        Subject::Container(id) => ("container", String::from(id).into()),
        Subject::Mount(name) => ("mount", String::from(name).into()),
        Subject::Volume(name) => ("volume", String::from(name).into()),
        Subject::BuildCache => ("build_cache", Value::Null),
        Subject::Database(path) => ("database", path.into()),
        Subject::Directory(path) => ("directory", path.into()),
    };
    json!({"subject": kind, "id": id, "code": damage.code(), "text": damage.to_string()})
}

/// An object with a path, lossless.
fn with_path(path: &[u8], mut object: Value) -> Value {
    object["path"] = String::from_utf8_lossy(path).into();
    if let Some(raw) = raw(path) {
        object["path_raw"] = raw.into();
    }
    object
}

pub(super) fn files(report: &FileReport, top: usize) -> Value {
    let largest = report.files.largest.iter();
    let largest = largest
        .map(|large| with_path(&large.path, json!({"allocated": large.allocated(), "apparent": large.apparent})));
    let in_layers = report.files.largest_of(&report.layers, top).into_iter().map(|(layer, file)| {
        let PathSize { path, allocated, apparent } = file;
        with_path(path, json!({"layer": layer, "allocated": allocated, "apparent": apparent}))
    });
    let directories = report.directories.iter().map(|one| {
        let (allocated, apparent, files) = (one.allocated, one.apparent, one.files);
        let sizes = json!({"layer": one.layer, "allocated": allocated, "apparent": apparent, "files": files});
        with_path(&one.path, sizes)
    });
    let images = report.images.iter().map(|image| {
        let waste = &image.waste;
        let rules = image.verdicts.iter();
        let rules = rules.map(|rule| json!({"rule": rule.rule, "failed": rule.failed, "reason": rule.reason.as_str()}));
        let repeated = waste.repeated.iter().take(top);
        let repeated = repeated.map(|path| with_path(&path.path, json!({"bytes": path.bytes, "layers": path.layers})));
        json!({
            "id": image.id,
            "names": image.names,
            "efficiency": waste.efficiency,
            "wasted_bytes": waste.wasted,
            "user_bytes": waste.user,
            "wasted_user_percent": waste.user_share(),
            "hidden_bytes": waste.hidden,
            "hidden_files": waste.hidden_files,
            "rules": rules.collect::<Vec<_>>(),
            "repeated": repeated.collect::<Vec<_>>(),
        })
    });
    let identical = report.identical.iter().take(top).map(|same| {
        let digest: String = same.digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let places = same.places.iter().map(|(layer, path)| with_path(path, json!({"layer": layer.to_string()})));
        let places: Vec<Value> = places.collect();
        json!({"blake3": digest, "size": same.size, "saved": same.saved(), "places": places})
    });
    json!({
        "largest": largest.collect::<Vec<_>>(),
        "largest_in_layers": in_layers.collect::<Vec<_>>(),
        "directories": directories.collect::<Vec<_>>(),
        "images": images.collect::<Vec<_>>(),
        "identical": identical.collect::<Vec<_>>(),
        "identical_saved": report.identical.iter().map(snapshot::usage::files::Identical::saved).sum::<u64>(),
        "unread": report.unread,
        "sparse": report.sparse,
    })
}

fn kind(kind: &RestKind) -> &'static str {
    match kind {
        RestKind::BuildCache => "build_cache",
        RestKind::Logs => "logs",
        RestKind::Removing => "removing",
        RestKind::Unfinished => "unfinished",
        RestKind::Orphans => "orphans",
        RestKind::Mounts => "mounts",
        RestKind::Referred => "referred",
        RestKind::StaleLinks => "stale_links",
        RestKind::Unknown => "unknown",
        RestKind::Store => "store",
        RestKind::Other(_) => "other",
    }
}
