//! The listings of docker's that layerfs has: their fields, and the templates behind docker's names for formats.
//!
//! `""` and `table` are the listing's own table, `raw` its list of names and values where it has one; `json`, which the
//! client 20.10 takes for a template without actions, means `{{json .}}` as for newer ones. Anything else is what the
//! user wrote.

use super::listing::Kind;

/// `docker image ls`
pub const IMAGES: Kind = Kind { go_type: "formatter.imageContext", fields: IMAGE_FIELDS };
/// The images of `docker system df -v`
pub const DISK_USAGE_IMAGES: Kind = Kind { go_type: "formatter.imageContext", fields: IMAGE_FIELDS };
/// `docker history`
pub const HISTORY: Kind = Kind {
    go_type: "image.historyContext",
    fields: &[
        ("ID", Some("IMAGE")),
        ("CreatedAt", Some("CREATED AT")),
        ("CreatedSince", Some("CREATED")),
        ("CreatedBy", Some("CREATED BY")),
        ("Size", Some("SIZE")),
        ("Comment", Some("COMMENT")),
    ],
};
/// `docker system df`
pub const DISK_USAGE: Kind = Kind {
    go_type: "formatter.diskUsageImagesContext",
    fields: &[
        ("Type", Some("TYPE")),
        ("TotalCount", Some("TOTAL")),
        ("Active", Some("ACTIVE")),
        ("Size", Some("SIZE")),
        ("Reclaimable", Some("RECLAIMABLE")),
    ],
};

const IMAGE_FIELDS: &[(&str, Option<&str>)] = &[
    ("ID", Some("IMAGE ID")),
    ("Repository", Some("REPOSITORY")),
    ("Tag", Some("TAG")),
    ("Digest", Some("DIGEST")),
    ("CreatedSince", Some("CREATED")),
    ("CreatedAt", Some("CREATED AT")),
    ("Size", Some("SIZE")),
    ("Containers", Some("CONTAINERS")),
    ("VirtualSize", Some("SIZE")),
    ("SharedSize", Some("SHARED SIZE")),
    ("UniqueSize", Some("UNIQUE SIZE")),
];

/// The template for `docker image ls --format FORMAT`.
#[must_use]
pub fn images(format: &str, quiet: bool, digests: bool) -> String {
    let text = match (format, quiet, digests) {
        ("" | "table", true, _) => "{{.ID}}",
        ("" | "table", _, true) => {
            r"table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}"
        }
        ("" | "table", ..) => {
            r"table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}"
        }
        ("raw", true, _) => "image_id: {{.ID}}",
        ("raw", _, true) => {
            r"repository: {{.Repository}}\ntag: {{.Tag}}\ndigest: {{.Digest}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n"
        }
        ("raw", ..) => {
            r"repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n"
        }
        _ => other(format),
    };
    text.to_owned()
}

/// The template for `docker history --format FORMAT`; `human` is false for `--human=false`.
#[must_use]
pub fn history(format: &str, quiet: bool, human: bool) -> String {
    let text = match (format, quiet, human) {
        ("" | "table", true, _) => "{{.ID}}",
        ("" | "table", _, true) => r"table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
        ("" | "table", ..) => r"table {{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
        _ => other(format),
    };
    text.to_owned()
}

/// The template for `docker system df --format FORMAT`.
#[must_use]
pub fn disk_usage(format: &str) -> String {
    let text = match format {
        "" | "table" => r"table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
        "raw" => {
            r"type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\nreclaimable: {{.Reclaimable}}\n"
        }
        _ => other(format),
    };
    text.to_owned()
}

/// The template of the table of images in `docker system df -v`.
#[must_use]
pub fn disk_usage_images() -> &'static str {
    r"table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.VirtualSize}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}"
}

fn other(format: &str) -> &str {
    if format == "json" { "{{json .}}" } else { format }
}
