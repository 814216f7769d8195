//! The report for people: each cause, whom it affects, and what would mend it.

use docker_format::size::size;
use snapshot::check::{Cause, CheckReport, Finding, Place, ReadSoFar, Repair, Severity};

use snapshot::ids::ContainerId;
use snapshot::view::View;

use crate::output::{self, counted};

/// How many files of a layer are named.
const FILES: usize = 20;

/// How many notes of one kind are listed.
const NOTES: usize = 20;

pub(super) fn print(view: &View, report: &CheckReport, read: Option<ReadSoFar>) -> anyhow::Result<()> {
    let mut listed = std::collections::HashMap::<&str, usize>::new();
    for finding in &report.findings {
        let of_kind = listed.entry(finding.code()).or_default();
        *of_kind += 1;
        if finding.severity != Severity::Note || *of_kind <= NOTES {
            print_finding(view, finding)?;
        }
    }
    for (code, count) in listed {
        let is_note = report.findings.iter().any(|found| found.code() == code && found.severity == Severity::Note);
        if let (true, Some(more)) = (is_note, count.checked_sub(NOTES).filter(|more| *more > 0)) {
            output::say(&format!("note: {more} more of the kind {code}"))?;
        }
    }
    let count = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count() as u64;
    let (damage, unknown, notes) = (count(Severity::Damage), count(Severity::Unknown), count(Severity::Note));
    let mut line = if damage == 0 { "no damage".to_owned() } else { format!("{damage} damaged") };
    if unknown > 0 {
        line += &format!(", {unknown} not checked");
    }
    if notes > 0 {
        line += &format!(", {}", counted(notes, "note"));
    }
    let (layers, images) = (view.catalog().layers().len() as u64, view.catalog().images().len() as u64);
    let containers = view.catalog().containers().len() as u64;
    let of = [counted(images, "image"), counted(layers, "layer"), counted(containers, "container")].join(", ");
    let read = read.map_or_else(String::new, |read| format!(", {} of {} read", size(read.bytes), what_was_read(read)));
    Ok(output::say(&format!("{line}: {of}{read}"))?)
}

fn what_was_read(read: ReadSoFar) -> String {
    if read.blobs > 0 { counted(read.blobs, "blob") } else { counted(read.layers, "layer") }
}

fn print_finding(view: &View, finding: &Finding) -> anyhow::Result<()> {
    let kind = match finding.severity {
        Severity::Damage => "damaged",
        Severity::Unknown => "not checked",
        Severity::Note => "note",
    };
    output::say(&format!("{kind}: {}: {}", place(view, &finding.place), finding.cause))?;
    let line = |key: &str, text: &str| output::say(&format!("  {key:<9} {text}"));
    if let Cause::Content { files, more, .. } = &finding.cause
        && (files.len() > 1 || *more > 0)
    {
        for fault in files.iter().take(FILES) {
            line("file", &fault.to_string())?;
        }
        let hidden = (files.len().saturating_sub(FILES) as u64).saturating_add(*more);
        if hidden > 0 {
            line("file", &format!("{hidden} more"))?;
        }
    }
    for id in &finding.affected.images {
        if finding.place == Place::Image(*id) {
            continue;
        }
        line("image", &image(view, *id))?;
    }
    for id in &finding.affected.containers {
        if finding.place == Place::Container(id.clone()) {
            continue;
        }
        line("container", &container(view, id))?;
    }
    match &finding.repair {
        Some(repair) => line("repair", &format!("{repair}: {}", command(view, repair)))?,
        None if finding.severity == Severity::Damage => line("repair", "none that is known")?,
        None => {}
    }
    Ok(())
}

/// The command that does what a repair says.
fn command(view: &View, repair: &Repair) -> String {
    let path = view.root().dir().path().display().to_string();
    let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+@%".contains(&byte));
    let root = if plain { path } else { format!("'{}'", path.replace('\'', "'\\''")) };
    match repair {
        Repair::Collect => format!("image-gc --root {root} --apply"),
        Repair::TrimPool => format!("layerfs --root {root} system trim"),
        Repair::PruneBuildCache => "docker builder prune -a".to_owned(),
        Repair::MoveBuildCache => format!("mv {root}/buildkit {root}/buildkit.broken"),
        repair if repair.needs_source() => {
            format!("layerfs --root {root} system repair --from ARCHIVE|LAYOUT|ROOT --apply")
        }
        Repair::RemoveExtraFiles { .. } => format!("layerfs --root {root} system repair --deep --apply"),
        _ => format!("layerfs --root {root} system repair --apply"),
    }
}

/// The name by which people know the thing that a finding is about.
fn place(view: &View, place: &Place) -> String {
    match place {
        Place::References if view.root().is_containerd_only() => "the names in containerd's store".to_owned(),
        Place::References => view.root().images_dir().map_or_else(
            || "repositories.json".to_owned(),
            |dir| dir.join(snapshot::schema::references::FILE).display().to_string(),
        ),
        Place::Image(id) => format!("image {}", image(view, *id)),
        Place::Layer(id) => format!("layer {id}"),
        Place::Blob(digest) => format!("blob {digest}"),
        Place::Container(id) => format!("container {}", container(view, id)),
        Place::Mount(name) => format!("layerdb/mounts/{name}"),
        Place::Volume(name) => format!("volume {name}"),
        Place::BuildCache => "build cache".to_owned(),
        Place::Directory(name) => in_home(view, &[name]),
        Place::Link(name) => {
            in_home(view, &[view.root().home_layout().and_then(|layout| layout.links).unwrap_or("l"), name])
        }
        Place::Record(name) => format!("layerdb record {name}"),
        Place::Lease(id) => format!("lease {id}"),
        Place::Pool => "pool of devicemapper".to_owned(),
        Place::Device(id) => format!("device {id} of the pool"),
        Place::File(path) => path.display().to_string(),
    }
}

fn in_home(view: &View, names: &[&str]) -> String {
    let home = view.root().home().map(|home| home.path().to_path_buf()).unwrap_or_default();
    names.iter().fold(home, |path, name| path.join(name)).display().to_string()
}

fn image(view: &View, id: snapshot::ids::ImageId) -> String {
    let names = view.catalog().names_of(id).join(", ");
    if names.is_empty() { id.to_string() } else { format!("{names} ({id})") }
}

fn container(view: &View, id: &ContainerId) -> String {
    let name = view.catalog().container(id).map(|known| known.name.as_str()).unwrap_or_default();
    if name.is_empty() { id.to_string() } else { format!("{name} ({id})") }
}
