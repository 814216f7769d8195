//! The listings of docker's that layerfs has: their fields, and the templates behind docker's names for formats.
//!
//! `""` and `table` are the listing's own table, `raw` its list of names and values where it has one; `json`, which the
//! client 20.10 takes for a template without actions, means `{{json .}}` as for newer ones. Anything else is what the
//! user wrote.

use super::listing::ListingKind;

/// `docker image ls`
pub const IMAGES: ListingKind = ListingKind { go_type: "formatter.imageContext", fields: IMAGE_FIELDS };
/// The images of `docker system df -v`
pub const DISK_USAGE_IMAGES: ListingKind = ListingKind { go_type: "formatter.imageContext", fields: IMAGE_FIELDS };
/// `docker history`
pub const HISTORY: ListingKind = ListingKind {
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
pub const DISK_USAGE: ListingKind = ListingKind {
    go_type: "formatter.diskUsageImagesContext",
    fields: &[
        ("Type", Some("TYPE")),
        ("TotalCount", Some("TOTAL")),
        ("Active", Some("ACTIVE")),
        ("Size", Some("SIZE")),
        ("Reclaimable", Some("RECLAIMABLE")),
    ],
};

/// `docker container ls`
pub const CONTAINERS: ListingKind = ListingKind {
    go_type: "formatter.ContainerContext",
    fields: &[
        ("ID", Some("CONTAINER ID")),
        ("Names", Some("NAMES")),
        ("Image", Some("IMAGE")),
        ("Command", Some("COMMAND")),
        ("CreatedAt", Some("CREATED AT")),
        ("RunningFor", Some("CREATED")),
        ("Ports", Some("PORTS")),
        ("State", Some("STATE")),
        ("Status", Some("STATUS")),
        ("Size", Some("SIZE")),
        ("Labels", Some("LABELS")),
        ("Mounts", Some("MOUNTS")),
        ("LocalVolumes", Some("LOCAL VOLUMES")),
        ("Networks", Some("NETWORKS")),
    ],
};
/// `docker volume ls`, and the volumes of `docker system df -v`
pub const VOLUMES: ListingKind = ListingKind {
    go_type: "formatter.volumeContext",
    fields: &[
        ("Name", Some("VOLUME NAME")),
        ("Driver", Some("DRIVER")),
        ("Scope", Some("SCOPE")),
        ("Mountpoint", Some("MOUNTPOINT")),
        ("Labels", Some("LABELS")),
        ("Links", Some("LINKS")),
        ("Size", Some("SIZE")),
    ],
};
/// `docker search`
pub const SEARCH: ListingKind = ListingKind {
    go_type: "formatter.searchContext",
    fields: &[
        ("Name", Some("NAME")),
        ("Description", Some("DESCRIPTION")),
        ("StarCount", Some("STARS")),
        ("IsOfficial", Some("OFFICIAL")),
        ("IsAutomated", Some("AUTOMATED")),
    ],
};
/// The build cache of `docker system df -v`
pub const BUILD_CACHE: ListingKind = ListingKind {
    go_type: "formatter.buildCacheContext",
    fields: &[
        ("ID", Some("CACHE ID")),
        ("Parent", Some("PARENT")),
        ("CacheType", Some("CACHE TYPE")),
        ("Description", Some("DESCRIPTION")),
        ("Size", Some("SIZE")),
        ("CreatedAt", Some("CREATED AT")),
        ("CreatedSince", Some("CREATED")),
        ("LastUsedAt", Some("LAST USED AT")),
        ("LastUsedSince", Some("LAST USED")),
        ("UsageCount", Some("USAGE")),
        ("InUse", Some("IN USE")),
        ("Shared", Some("SHARED")),
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
    // A table shows the digests that were asked for, come what may.
    let added = digests && text.starts_with("table") && !text.contains("{{.Digest}}");
    text.to_owned() + if added { "\t{{.Digest}}" } else { "" }
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

/// The template for `docker container ls --format FORMAT`.
#[must_use]
pub fn containers(format: &str, quiet: bool, sizes: bool) -> String {
    match (format, quiet) {
        ("" | "table", true) => "{{.ID}}".to_owned(),
        ("" | "table", _) => {
            let table =
                r"table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
            format!("{table}{}", if sizes { r"\t{{.Size}}" } else { "" })
        }
        ("raw", true) => "container_id: {{.ID}}".to_owned(),
        ("raw", _) => {
            let list = concat!(
                r"container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\n",
                r"state: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\n",
                r"labels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n"
            );
            format!("{list}{}", if sizes { r"size: {{.Size}}\n" } else { "" })
        }
        _ => other(format).to_owned(),
    }
}

/// The template for `docker volume ls --format FORMAT`.
#[must_use]
pub fn volumes(format: &str, quiet: bool) -> String {
    let text = match (format, quiet) {
        ("" | "table", true) => "{{.Name}}",
        ("" | "table", _) => r"table {{.Driver}}\t{{.Name}}",
        ("raw", true) => "name: {{.Name}}",
        ("raw", _) => r"name: {{.Name}}\ndriver: {{.Driver}}\n",
        _ => other(format),
    };
    text.to_owned()
}

/// The template for `docker search --format FORMAT`.
#[must_use]
pub fn search(format: &str) -> String {
    let text = match format {
        "" | "table" => r"table {{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}\t{{.IsAutomated}}",
        _ => other(format),
    };
    text.to_owned()
}

/// The tables of `docker system df -v` after that of the images: containers, volumes, build cache.
pub const DISK_USAGE_TABLES: [(ListingKind, &str); 3] = [
    (
        CONTAINERS,
        r"table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}",
    ),
    (VOLUMES, r"table {{.Name}}\t{{.Links}}\t{{.Size}}"),
    (
        BUILD_CACHE,
        r"table {{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}",
    ),
];

/// The template of the table of images in `docker system df -v`; the sizes of newer clients have fewer digits (docker/cli v28.5.2
/// `cli/command/formatter/disk_usage.go`).
#[must_use]
pub fn disk_usage_images(newer: bool) -> &'static str {
    if newer {
        return r"table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
    }
    r"table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.VirtualSize}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}"
}

fn other(format: &str) -> &str {
    if format == "json" { "{{json .}}" } else { format }
}
