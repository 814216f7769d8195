//! The report as one JSON object. Fields may be added, none changes its meaning; codes do not change.
//!
#![doc = concat!("```text\n", include_str!("json.txt"), "```")]
//!
//! `path_raw` is base64, for what is not UTF-8; the text beside it has U+FFFD then.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use snapshot::check::{Cause, CheckReport, FileFault, Finding, ReadSoFar, Severity};
use snapshot::view::View;

pub(super) fn value(view: &View, report: &CheckReport, read: Option<ReadSoFar>) -> Value {
    let count = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
    json!({
        "root": view.root().dir().path(),
        "storage_driver": view.root().driver_name(),
        "mode": if read.is_some() { "deep" } else { "quick" },
        "read": read.map(|read| json!({ "layers": read.layers, "blobs": read.blobs, "bytes": read.bytes })),
        "damage": count(Severity::Damage),
        "unknown": count(Severity::Unknown),
        "notes": count(Severity::Note),
        "findings": report.findings.iter().map(|finding| finding_value(view, finding)).collect::<Vec<_>>(),
    })
}

fn finding_value(view: &View, finding: &Finding) -> Value {
    let catalog = view.catalog();
    let (kind, id) = finding.place.kind_and_name();
    let (files, more, found) = match &finding.cause {
        Cause::Content { files, more, found } => (files.as_slice(), *more, found.map(|id| id.to_string())),
        _ => (&[][..], 0, None),
    };
    let images =
        finding.affected.images.iter().map(|id| json!({ "id": id.to_string(), "names": catalog.names_of(*id) }));
    let containers = finding.affected.containers.iter();
    let containers = containers.map(|id| json!({ "id": id, "name": catalog.container(id).map(|known| &known.name) }));
    json!({
        "code": finding.code(),
        "severity": finding.severity.code(),
        "subject": { "kind": kind, "id": id },
        "cause": finding.cause.to_string(),
        "files": files.iter().map(file).collect::<Vec<_>>(),
        "more_files": more,
        "found_diff_id": found,
        "images": images.collect::<Vec<_>>(),
        "containers": containers.collect::<Vec<_>>(),
        "repair": finding.repair.as_ref().map(|repair| json!({
            "code": repair.code(),
            "text": repair.to_string(),
            "needs_source": repair.needs_source(),
        })),
    })
}

fn file(fault: &FileFault) -> Value {
    let mut value = json!({
        "path": String::from_utf8_lossy(&fault.path),
        "code": fault.kind.code(),
        "cause": fault.kind.to_string(),
    });
    if std::str::from_utf8(&fault.path).is_err() {
        value["path_raw"] = STANDARD.encode(&fault.path).into();
    }
    value
}
