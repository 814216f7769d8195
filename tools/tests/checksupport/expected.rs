//! What a check must find in each situation of a damaged store, and nothing else.

use crate::checksupport::{CheckOutput, FindingRow};
use crate::damagesupport::small::SmallStore;

/// Whom a finding affects.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Affects {
    Nobody,
    /// The child image and its container.
    Child,
    /// The child image alone.
    ChildAlone,
    /// Both images and the container.
    All,
    /// Both images.
    Images,
    /// The container alone.
    Container,
    /// The container that it is found at, which is none of the store's own.
    Itself,
}

use Affects::{All, Child, ChildAlone, Container, Images, Itself, Nobody};

/// Severity, code, kind of the subject, its id with placeholders, whom it affects, the repair.
type Row = (&'static str, &'static str, &'static str, &'static str, Affects, &'static str);

const ORPHAN: &str = "0123456789012345678901234567890123456789012345678901234567890123";
const ELSEWHERE: &str = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee";

/// The findings of each situation of the table: nearly always one.
const EXPECTED: &[(&str, Row)] = &[
    ("size missing", ("damage", "layer-size-invalid", "layer", "TOP", Child, "restore-field")),
    ("size empty", ("damage", "layer-size-invalid", "layer", "TOP", Child, "restore-field")),
    ("size with a newline", ("damage", "layer-size-invalid", "layer", "TOP", Child, "restore-field")),
    ("size no number", ("damage", "layer-size-invalid", "layer", "TOP", Child, "restore-field")),
    ("diff missing", ("damage", "layer-diff-invalid", "layer", "TOP", Child, "restore-field")),
    ("diff empty", ("damage", "layer-diff-invalid", "layer", "TOP", Child, "restore-field")),
    ("diff no digest", ("damage", "layer-diff-invalid", "layer", "TOP", Child, "restore-field")),
    ("cache-id missing", ("damage", "layer-cache-id-invalid", "layer", "TOP", Child, "drop-record")),
    ("cache-id empty", ("damage", "layer-cache-id-invalid", "layer", "TOP", Child, "drop-record")),
    ("parent empty", ("damage", "layer-parent-invalid", "layer", "TOP", Child, "restore-field")),
    ("diff cut short", ("damage", "layer-diff-invalid", "layer", "TOP", Child, "restore-field")),
    ("parent cut short", ("damage", "layer-parent-invalid", "layer", "TOP", Child, "restore-field")),
    ("parents in a circle", ("damage", "layer-circle", "layer", "LOWEST", All, "restore-field")),
    ("directory of a container", ("damage", "layer-directory-of-container", "layer", "TOP", Child, "restore-field")),
    ("parent missing", ("damage", "layer-wrong-name", "layer", "TOP", Child, "restore-field")),
    ("lowest size missing", ("damage", "layer-size-invalid", "layer", "LOWEST", All, "restore-field")),
    ("lowest record missing", ("damage", "layer-record-missing", "layer", "LOWEST", All, "reextract-layer")),
    ("record of no content", ("damage", "layer-record-empty", "layer", "TOP", Child, "drop-record")),
    ("journal missing", ("damage", "layer-journal-missing", "layer", "TOP", Child, "rebuild-journal")),
    ("journal empty", ("damage", "layer-journal-empty", "layer", "TOP", Child, "rebuild-journal")),
    ("journal no gzip", ("damage", "layer-journal-invalid", "layer", "TOP", Child, "rebuild-journal")),
    (
        "record under a wrong name",
        (
            "damage",
            "layer-wrong-name",
            "layer",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            Child,
            "rename-record",
        ),
    ),
    ("layer directory missing", ("damage", "driver-missing", "layer", "TOP", Child, "reextract-layer")),
    ("link in l/ missing", ("damage", "link-wrong", "layer", "LOWEST", All, "relink-layer")),
    ("link empty", ("damage", "driver-invalid", "layer", "TOP", Child, "relink-layer")),
    ("lower empty", ("damage", "driver-invalid", "layer", "TOP", Child, "rewrite-lower")),
    ("work missing", ("note", "work-missing", "layer", "TOP", Child, "create-work")),
    ("committed missing", ("note", "committed-missing", "layer", "LOWEST", All, "mark-committed")),
    ("config of another hash", ("damage", "image-digest-differs", "image", "CHILD", Child, "reload-image")),
    ("config empty", ("damage", "image-digest-differs", "image", "CHILD", Child, "reload-image")),
    ("config missing", ("damage", "image-config-missing", "image", "CHILD", Child, "reload-image")),
    ("names empty", ("damage", "references-invalid", "references", "", Images, "rewrite-references")),
    ("names truncated", ("damage", "references-invalid", "references", "", Images, "rewrite-references")),
    ("names garbage", ("damage", "references-invalid", "references", "", Images, "rewrite-references")),
    ("names missing", ("damage", "references-missing", "references", "", Images, "rewrite-references")),
    ("parent image unknown", ("damage", "image-parent-invalid", "image", "CHILD", ChildAlone, "drop-image-parent")),
    ("parent image garbled", ("damage", "image-parent-invalid", "image", "CHILD", ChildAlone, "drop-image-parent")),
    ("mount without container", ("note", "mount-without-container", "mount", "CONTAINER", Nobody, "collect")),
    (
        "empty mount without container",
        (
            "note",
            "mount-empty",
            "mount",
            "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc",
            Nobody,
            "collect",
        ),
    ),
    (
        "container of an empty mount",
        ("damage", "container-mount-missing", "container", "CONTAINER", Container, "restore-mount"),
    ),
    (
        "container without mount",
        ("damage", "container-mount-missing", "container", "CONTAINER", Container, "restore-mount"),
    ),
    (
        "container of no driver's",
        ("damage", "mount-file-invalid", "container", "CONTAINER", Container, "restore-mount-file"),
    ),
    ("init-id missing", ("damage", "mount-init-missing", "container", "CONTAINER", Container, "restore-mount-file")),
    (
        "mount's parent missing",
        ("damage", "mount-parent-missing", "container", "CONTAINER", Container, "restore-mount-file"),
    ),
    ("container's directory missing", ("damage", "container-layer-unusable", "container", "CONTAINER", Container, "")),
    (
        "a file for what a container has written",
        ("damage", "container-layer-unusable", "container", "CONTAINER", Container, ""),
    ),
    ("a file for a layer's directory", ("damage", "driver-invalid", "layer", "TOP", Child, "reextract-layer")),
    ("a file for a layer's content", ("damage", "driver-invalid", "layer", "TOP", Child, "reextract-layer")),
    ("a directory for link", ("damage", "driver-invalid", "layer", "TOP", Child, "relink-layer")),
    ("a directory for lower", ("damage", "driver-invalid", "layer", "TOP", Child, "rewrite-lower")),
    ("a file for work", ("note", "work-missing", "layer", "TOP", Child, "create-work")),
    ("container's config empty", ("damage", "container-config-invalid", "container", "CONTAINER", Container, "")),
    ("directory of nobody", ("note", "directory-orphan", "directory", ORPHAN, Nobody, "collect")),
    ("write-set left", ("note", "registration-unfinished", "record", "write-set-1", Nobody, "collect")),
    ("removal not finished", ("note", "removal-unfinished", "record", "TOP-1234-removing", Nobody, "finish-removal")),
    ("layers without image", ("note", "layer-unused", "layer", "TOP", Nobody, "collect")),
    ("stale link", ("note", "link-stale", "link", "STALESTALESTALESTALESTALES", Nobody, "collect")),
    ("temporary file", ("note", "temporary-file", "file", "image/overlay2/.tmp-repositories.json1", Nobody, "collect")),
    ("a directory for size", ("damage", "layer-size-invalid", "layer", "TOP", Child, "restore-field")),
    ("lower cut short", ("damage", "lower-dangling", "layer", "TOP", Child, "rewrite-lower")),
    ("time of a tag garbled", ("damage", "image-time-invalid", "image", "CHILD", ChildAlone, "drop-image-time")),
    (
        "container's host config empty",
        ("damage", "container-hostconfig-invalid", "container", "CONTAINER", Container, ""),
    ),
    ("container's directory under another name", ("damage", "container-other-id", "container", ELSEWHERE, Itself, "")),
    (
        "container's directory under another name",
        ("note", "mount-without-container", "mount", "CONTAINER", Nobody, "collect"),
    ),
    (
        "mount's parent garbled",
        ("damage", "mount-file-invalid", "container", "CONTAINER", Container, "restore-mount-file"),
    ),
    ("init layer missing", ("damage", "container-layer-unusable", "container", "CONTAINER", Container, "")),
    (
        "container's link missing",
        ("damage", "container-layer-unusable", "container", "CONTAINER", Container, "relink-layer"),
    ),
    ("a volume's options garbled", ("damage", "volume-options-invalid", "volume", "kept", Nobody, "")),
];

/// What is not as it must be.
pub(crate) fn compare(situation: &str, store: &SmallStore, checked: &CheckOutput) -> Vec<String> {
    let rows: Vec<&Row> = EXPECTED.iter().filter(|(name, _)| *name == situation).map(|(_, row)| row).collect();
    if rows.is_empty() {
        return vec![format!("nobody says what must be found; found {checked:#?}")];
    }
    let mut report = Vec::new();
    let mut found = checked.findings.clone();
    if situation == "layers without image" {
        // Its container's mount is gone, too: so two directories are nobody's.
        found.retain(|one| one.code != "directory-orphan" || !one.id.starts_with(&store.mount));
    }
    let mut wanted: Vec<FindingRow> = rows.iter().map(|row| wanted(row, store)).collect();
    for findings in [&mut wanted, &mut found] {
        findings.sort_by(|one, other| (&one.code, &one.id).cmp(&(&other.code, &other.id)));
    }
    if found != wanted {
        report.push(format!("wanted {wanted:#?}\nfound {:#?}", checked.findings));
    }
    let status = if rows.iter().any(|(severity, ..)| *severity == "damage") { 1 } else { 0 };
    if checked.status != Some(status) {
        report.push(format!("ends with {:?}", checked.status));
    }
    report
}

/// The finding of a row.
fn wanted(row: &Row, store: &SmallStore) -> FindingRow {
    let (severity, code, kind, id, affects, repair) = *row;
    let (child, base, container) = (store.child.clone(), store.base.clone(), store.container.clone());
    let (mut images, containers) = match affects {
        Nobody => (vec![], vec![]),
        Child => (vec![child], vec![container]),
        ChildAlone => (vec![child], vec![]),
        All => (vec![child, base], vec![container]),
        Images => (vec![child, base], vec![]),
        Container => (vec![], vec![container]),
        Itself => (vec![], vec![id.to_owned()]),
    };
    images.sort();
    let mut wanted = FindingRow {
        severity: severity.into(),
        code: code.into(),
        kind: kind.into(),
        id: store.named(id),
        images,
        containers,
        repair: repair.into(),
        files: vec![],
    };
    if kind == "file" {
        wanted.id = store.at(id).display().to_string();
    }
    wanted
}
