//! `layerfs image ls --tree`: each image with the platforms that it is for, as the client of Docker 28.5 lays it out (docker/cli v28.5.2
//! `cli/command/image/tree.go`), without its colours and without its word of warning.

use layerfs::ChainId;
use snapshot::catalog::{Catalog, Image};
use snapshot::containerd::images::{StoredImage, StoredManifest};
use snapshot::ids::ImageId;
use unicode_width::UnicodeWidthStr;

use super::super::select::Shown;
use crate::columns;
use crate::output::escape;
use docker_format::size::size;

/// The columns after the first, and how wide their cells are; numbers stand at the right.
const COLUMNS: [(&str, usize, Side); 4] = [
    ("ID", 12, Side::Left),
    ("DISK USAGE", 10, Side::Right),
    ("CONTENT SIZE", 12, Side::Right),
    ("EXTRA", 5, Side::Left),
];

const GAP: usize = 3;

/// The first column is at least as wide, as long as others can be left out for it.
const NARROWEST: usize = 12;

/// What docker takes the width of a branch for: it counts its bytes.
const BRANCH: usize = 7;

/// What the words of the last column mean, and how wide docker takes a page for that has no width.
const LEGEND: &str = "Info ->  U In Use ";
const PAGE: usize = 80;

const UNTAGGED: &str = "<untagged>";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

/// An image and the platforms that it is for.
#[derive(Debug)]
struct Top {
    /// Its names, the longest first; none for an image without one.
    names: Vec<String>,
    details: Details,
    platforms: Vec<(String, Details)>,
}

/// What is said of an image, or of one of its platforms.
#[derive(Debug)]
struct Details {
    id: ImageId,
    /// Bytes of blobs and of unpacked layers.
    usage: u64,
    /// Bytes of blobs.
    content: u64,
    in_use: bool,
}

/// The tree of these images. Those without a name are only in it if `all` are asked for.
pub(super) fn text(catalog: &Catalog, images: &[Shown<'_>], all: bool) -> String {
    let tops: Vec<Top> = images.iter().map(|shown| top(catalog, shown)).collect();
    let tops: Vec<Top> = tops.into_iter().filter(|top| all || !top.names.is_empty()).collect();
    render(&tops, columns::room())
}

fn top(catalog: &Catalog, shown: &Shown<'_>) -> Top {
    let image = shown.image;
    let stored = catalog.stored_image(image.id);
    let mut names: Vec<String> = shown.names.iter().map(|name| escape(name)).collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.width()));
    let manifests = stored.map_or(&[][..], |stored| &stored.manifests[..]);
    let platforms: Vec<(String, Details)> = manifests
        .iter()
        .filter(|part| !part.is_attestation())
        .map(|part| {
            let details = Details {
                id: ImageId(part.digest),
                usage: part.content.saturating_add(part.unpacked),
                content: part.content,
                in_use: part.chain.last().is_some_and(|layer| is_used(catalog, image, Some(*layer))),
            };
            (platform(part), details)
        })
        .collect();
    let details = Details {
        id: image.id,
        usage: catalog.image_size(image),
        content: stored.map_or(0, StoredImage::content),
        in_use: is_used(catalog, image, None),
    };
    Top { names, details, platforms }
}

/// Whether a container was made from an image, and stands on this layer if one is named.
fn is_used(catalog: &Catalog, image: &Image, layer: Option<ChainId>) -> bool {
    let stands = |parent: Option<ChainId>| layer.is_none_or(|layer| parent == Some(layer));
    catalog.live_containers().any(|container| {
        container.image == Some(image.id) && stands(container.mount.as_ref().and_then(|mount| mount.parent))
    })
}

/// A platform as it is written, which is how docker shows it.
fn platform(part: &StoredManifest) -> String {
    let written = part.descriptor.platform.as_ref().map(|platform| {
        let words = [&platform.os, &platform.architecture, &platform.variant].map(String::as_str);
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("/")
    });
    let known = written.filter(|text| !text.is_empty()).or_else(|| part.platform.as_ref().map(ToString::to_string));
    known.map_or_else(|| "unknown".to_owned(), |text| escape(&text))
}

fn render(tops: &[Top], room: Option<usize>) -> String {
    let names = tops.iter().flat_map(|top| &top.names).map(|name| name.width());
    let untagged = tops.iter().filter(|top| top.names.is_empty()).map(|_| UNTAGGED.len());
    let platforms = tops.iter().flat_map(|top| &top.platforms).map(|(platform, _)| platform.width() + BRANCH);
    let mut width = names.chain(untagged).chain(platforms).fold("IMAGE".len(), usize::max);
    let mut shown = COLUMNS.len();
    if let Some(room) = room {
        let left = |shown: usize| room.saturating_sub(COLUMNS[..shown].iter().map(|column| column.1 + GAP).sum());
        while shown > 0 && left(shown) < NARROWEST {
            shown -= 1;
        }
        width = width.min(left(shown));
    }
    let columns = &COLUMNS[..shown];
    let line = |first: &str, cells: [String; 4]| {
        let mut line = padded(first, width, Side::Left);
        for ((_, width, side), cell) in columns.iter().zip(cells) {
            line.extend(std::iter::repeat_n(' ', GAP));
            line.push_str(&padded(&cell, *width, *side));
        }
        line + "\n"
    };
    let mut text = format!("{LEGEND:>page$}\n\n", page = room.unwrap_or(PAGE));
    // A title stands at the left, whatever is below it.
    let titles = COLUMNS.map(|(title, width, _)| padded(title, width, Side::Left));
    text.push_str(line("IMAGE", titles).trim_end());
    text.push('\n');
    let spaced = tops.iter().any(|top| !top.platforms.is_empty());
    for top in tops {
        let (last, others) =
            top.names.split_last().map_or((UNTAGGED, &[][..]), |(last, others)| (last.as_str(), others));
        others.iter().for_each(|name| text.extend([name, "\n"]));
        text.push_str(&line(&columns::end(last, width), cells(&top.details)));
        for (at, (platform, details)) in top.platforms.iter().enumerate() {
            let branch = if at + 1 == top.platforms.len() { "└─" } else { "├─" };
            text.push_str(&line(&columns::end(&format!("{branch} {platform}"), width), cells(details)));
        }
        if spaced {
            text.push('\n');
        }
    }
    text
}

fn cells(details: &Details) -> [String; 4] {
    let used = if details.in_use { "U" } else { "" };
    [details.id.0.short(), size(details.usage), size(details.content), used.to_owned()]
}

fn padded(cell: &str, width: usize, side: Side) -> String {
    let blanks = " ".repeat(width.saturating_sub(cell.width()));
    match side {
        Side::Left => format!("{cell}{blanks}"),
        Side::Right => format!("{blanks}{cell}"),
    }
}

#[cfg(test)]
mod tests {
    use layerfs::Digest;

    use super::*;

    fn tops() -> Vec<Top> {
        let details = |name: &str, usage, content, in_use| Details {
            id: ImageId(Digest::hash(name.as_bytes())),
            usage,
            content,
            in_use,
        };
        vec![Top {
            names: vec!["many:1".into()],
            details: details("many", 42_600, 34_400, true),
            platforms: vec![
                ("linux/amd64".into(), details("amd64", 19_100, 10_900, true)),
                ("linux/arm64/v8".into(), details("arm64", 10_900, 10_900, false)),
            ],
        }]
    }

    /// Measured with the client of Docker 28.5.2 in terminals of these widths.
    #[test]
    fn columns_are_left_out_where_docker_leaves_them_out() {
        let heads = [
            (None, "IMAGE                   ID             DISK USAGE   CONTENT SIZE   EXTRA"),
            (Some(80), "IMAGE                   ID             DISK USAGE   CONTENT SIZE   EXTRA"),
            (Some(63), "IMAGE          ID             DISK USAGE   CONTENT SIZE   EXTRA"),
            (Some(62), "IMAGE                 ID             DISK USAGE   CONTENT SIZE"),
            (Some(60), "IMAGE               ID             DISK USAGE   CONTENT SIZE"),
            (Some(45), "IMAGE               ID             DISK USAGE"),
            (Some(30), "IMAGE             ID"),
        ];
        for (room, expected) in heads {
            let text = render(&tops(), room);
            assert_eq!(text.lines().nth(2).unwrap(), expected, "{room:?}");
        }
        let narrow = render(&tops(), Some(30));
        let lines: Vec<&str> = narrow.lines().collect();
        assert!(lines[0].ends_with("Info ->  U In Use "), "{narrow}");
        assert!(lines[5].starts_with("└─ linux/arm64…   "), "{narrow}");
    }
}
