//! What a store can suffer, row by row of the two tables that this must stand up to: what dockerd makes of damaged files (every
//! situation that was tried with dockerd 20.10), and what users report of crashes. Each has the cases that plant it.

/// What a repair of a case comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    /// A repair has nothing to mend and touches nothing; `image-gc` collects it, and the store is as dockerd wrote it.
    Collected,
    /// The same, but what dockerd would never have removed is gone as well: dockerd has to say that all is well.
    Cleared,
    /// The store is as dockerd wrote it.
    Restored,
    /// The store is sound again, and not the same: dockerd has to say so.
    Sound,
    /// It is said that something is left.
    Left,
}

/// The rows, and the names of the situations and of the harms to single files that are cases of each.
pub(crate) const ROWS: &[(&str, &[&str])] = &[
    (
        "size, diff or cache-id of a layer missing, empty or garbled",
        &[
            "size missing",
            "size empty",
            "size with a newline",
            "size no number",
            "lowest size missing",
            "diff missing",
            "diff empty",
            "diff no digest",
            "cache-id missing",
            "cache-id empty",
            "directory of a container",
            "a directory for size",
        ],
    ),
    ("unknown chain, invalid checksum digest format: a file cut short", &["diff cut short", "parent cut short"]),
    ("parent of a layer empty", &["parent empty"]),
    ("parent of a layer missing", &["parent missing"]),
    ("parent of a layer leads to itself", &["parents in a circle"]),
    ("layer does not exist: the layer below, or an image's, has no record", &["lowest record missing"]),
    ("rename: file exists: an empty record", &["record of no content"]),
    ("journal missing, empty or corrupt", &["journal missing", "journal empty", "journal no gzip"]),
    ("record under a wrong name", &["record under a wrong name"]),
    ("directory of a layer missing", &["layer directory missing"]),
    ("link in l/ missing", &["link in l/ missing"]),
    ("readlink l: invalid argument: link empty", &["link empty"]),
    ("lower empty", &["lower empty"]),
    ("work missing", &["work missing"]),
    ("committed missing", &["committed missing"]),
    ("config of another hash or empty", &["config of another hash", "config empty"]),
    ("config missing, and its name is there", &["config missing"]),
    ("repositories.json empty, truncated or garbage", &["names empty", "names truncated", "names garbage"]),
    ("repositories.json missing", &["names missing"]),
    ("metadata/parent dangling or garbled", &["parent image unknown", "parent image garbled"]),
    ("mount without container", &["mount without container", "empty mount without container"]),
    (
        "container without mount, or with a bad mount-id",
        &["container without mount", "container of no driver's", "container of an empty mount"],
    ),
    ("container's config empty", &["container's config empty"]),
    ("init-id or parent of a mount missing", &["init-id missing", "mount's parent missing"]),
    (
        "directory of a writable layer missing",
        &["container's directory missing", "a file for what a container has written"],
    ),
    ("directory of nobody, as a crash in a build leaves it", &["directory of nobody"]),
    ("write-set left", &["write-set left"]),
    ("-removing left by a crash in a removal", &["removal not finished"]),
    ("layers without images", &["layers without image"]),
    ("stale links", &["stale link"]),
    ("temporary files", &["temporary file"]),
    ("file integrity checksum failed", &["bits"]),
    (
        "a file for a layer's directory or a part of it, or a directory for its files",
        &[
            "a file for a layer's directory",
            "a file for a layer's content",
            "a directory for link",
            "a directory for lower",
            "a file for work",
        ],
    ),
    ("lower cut short", &["lower cut short"]),
    ("metadata/lastUpdated garbled", &["time of a tag garbled"]),
    (
        "container's files empty, or under another name",
        &["container's host config empty", "container's directory under another name"],
    ),
    ("parent of a mount garbled", &["mount's parent garbled"]),
    ("what a writable layer needs missing", &["init layer missing", "container's link missing"]),
    ("options of a volume garbled", &["a volume's options garbled"]),
    ("programs of no bytes", &["no bytes"]),
];

/// What becomes of each situation without a source, and with one.
pub(crate) fn ends(name: &str) -> (End, End) {
    use End::{Cleared, Collected, Left, Restored, Sound};
    match name {
        "empty mount without container"
        | "directory of nobody"
        | "write-set left"
        | "stale link"
        | "temporary file" => (Collected, Collected),
        "mount without container" | "layers without image" => (Cleared, Cleared),
        "container's directory missing"
        | "container's config empty"
        | "a file for what a container has written"
        | "container's host config empty"
        | "container's directory under another name"
        | "init layer missing"
        | "a volume's options garbled" => (Left, Left),
        "lowest record missing" | "record of no content" => (Left, Sound),
        "journal missing" | "journal empty" | "journal no gzip" => (Left, Sound),
        "layer directory missing"
        | "a file for a layer's directory"
        | "a file for a layer's content"
        | "config of another hash"
        | "config empty"
        | "config missing" => (Left, Restored),
        // Without a source only the name is known that a container was made by.
        "names empty" | "names truncated" | "names garbage" | "names missing" => (Sound, Restored),
        "parent image unknown" | "parent image garbled" | "time of a tag garbled" => (Sound, Sound),
        _ => (Restored, Restored),
    }
}
