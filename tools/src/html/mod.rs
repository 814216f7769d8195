//! One self-contained page that shows where the bytes of a data-root are: a treemap to click through, and a table.
//!
//! The page asks nothing of the network and works from a file. Its parts are written beside this file and embedded:
//! `page.html` is the frame, `page.css` the looks; `model.js` reads the tree, `treemap.js` lays it out, `map.js` and
//! `table.js` draw it, and `page.js` is what happens on a click.
//! Invariant: names and notes come from images and are hostile; they enter the page through `embed` alone.

mod embed;
mod policy;

use std::fmt::Write as _;

use docker_format::size::size;

const FRAME: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = concat!(
    include_str!("model.js"),
    include_str!("treemap.js"),
    include_str!("map.js"),
    include_str!("table.js"),
    include_str!("page.js")
);

/// What the page shows.
#[derive(Debug)]
pub struct Page {
    /// The heading, as `Docker storage on HOST`.
    pub title: String,
    /// What was read and when: labels and values, shown in a row below the heading. The sizes of the root follow them.
    pub facts: Vec<(String, String)>,
    /// The table below the heading, its head first; none if there is nothing in it.
    pub rows: Vec<[String; 5]>,
    /// The box that holds all others.
    pub root: PageNode,
}

/// A box of the map. Its sizes include its children's; what they leave is shown as "not itemised".
#[derive(Debug)]
pub struct PageNode {
    /// Control and reordering characters are made visible by the page.
    pub name: String,
    /// Decides the colour; directories and files have the colour of what they belong to.
    pub kind: PageNodeKind,
    /// Bytes on disk.
    pub allocated: u64,
    /// Bytes as the lengths of files say.
    pub apparent: u64,
    /// Files in it, directories not counted.
    pub files: u64,
    /// Bytes that would be freed if exactly this were removed, where it can be.
    pub unique: Option<u64>,
    /// What else there is to say: the step that made a layer, tags, why an orphan is one. Long ones are cut.
    pub note: Option<String>,
    /// In any order.
    pub children: Vec<Self>,
}

/// What a box of the map is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the meanings")]
pub enum PageNodeKind {
    DataRoot,
    Images,
    Image,
    Layer,
    Container,
    Volume,
    BuildCache,
    Orphan,
    Logs,
    Directory,
    File,
    Other,
}

impl PageNodeKind {
    /// In the order of the declaration: the number of a kind is its place in this list.
    const ALL: [Self; 12] = [
        Self::DataRoot,
        Self::Images,
        Self::Image,
        Self::Layer,
        Self::Container,
        Self::Volume,
        Self::BuildCache,
        Self::Orphan,
        Self::Logs,
        Self::Directory,
        Self::File,
        Self::Other,
    ];

    /// The name of the kind on the page.
    fn name(self) -> &'static str {
        match self {
            Self::DataRoot => "data-root",
            Self::Images => "images",
            Self::Image => "image",
            Self::Layer => "layer",
            Self::Container => "container",
            Self::Volume => "volume",
            Self::BuildCache => "build cache",
            Self::Orphan => "orphan",
            Self::Logs => "logs",
            Self::Directory => "directory",
            Self::File => "file",
            Self::Other => "other",
        }
    }
}

impl Drop for PageNode {
    /// Images may nest directories as deep as they like, so children are dropped in a loop and not by recursion.
    fn drop(&mut self) {
        let mut left = std::mem::take(&mut self.children);
        while let Some(mut node) = left.pop() {
            left.append(&mut node.children);
        }
    }
}

/// The page as HTML in UTF-8.
#[must_use]
pub fn render(page: &Page) -> String {
    let data = embed::data(&page.root);
    let mut out = String::with_capacity(FRAME.len() + STYLE.len() + SCRIPT.len() + data.len());
    // The frame is filled in one pass, so that a text that was filled in is not searched for places to fill in.
    let mut pieces = FRAME.split("{{");
    out.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let (place, text) = piece.split_once("}}").expect("the frame closes its places");
        match place {
            "policy" => out.push_str(&policy::policy(SCRIPT, STYLE)),
            "title" => out.push_str(&embed::text(&page.title)),
            "facts" => facts(&mut out, page),
            "rows" => rows(&mut out, page),
            "style" => out.push_str(STYLE),
            "script" => out.push_str(SCRIPT),
            "data" => out.push_str(&data),
            _ => unreachable!("the frame names a place that nothing fills: {place}"),
        }
        out.push_str(text);
    }
    out
}

fn facts(out: &mut String, page: &Page) {
    let sizes = [("Allocated", page.root.allocated), ("Apparent", page.root.apparent)];
    let sizes = sizes.map(|(label, bytes)| (label.to_owned(), size(bytes)));
    for (label, value) in page.facts.iter().chain(&sizes) {
        let (label, value) = (embed::text(label), embed::text(value));
        let _ = write!(out, "<div><dt>{label}</dt><dd>{value}</dd></div>");
    }
}

fn rows(out: &mut String, page: &Page) {
    let Some((head, rows)) = page.rows.split_first() else { return };
    out.push_str("<table id=\"sums\"><thead><tr>");
    for cell in head {
        let _ = write!(out, "<th scope=\"col\">{}</th>", embed::text(cell));
    }
    out.push_str("</tr></thead><tbody>");
    for [name, cells @ ..] in rows {
        let _ = write!(out, "<tr><th scope=\"row\">{}</th>", embed::text(name));
        for cell in cells {
            let _ = write!(out, "<td>{}</td>", embed::text(cell));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table>");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, children: Vec<PageNode>) -> PageNode {
        PageNode {
            name: name.to_owned(),
            kind: PageNodeKind::Other,
            allocated: 1,
            apparent: 2,
            files: 3,
            unique: None,
            note: None,
            children,
        }
    }

    #[test]
    fn every_place_is_filled_once() {
        let page = Page {
            title: "{{data}} <b>".to_owned(),
            facts: vec![("Data-root".to_owned(), "/a & \"b\"".to_owned())],
            rows: vec![["A", "B", "C", "D", "E"].map(str::to_owned), ["<x>", "1", "2", "3", "4%"].map(str::to_owned)],
            root: node("{{script}}", Vec::new()),
        };
        let html = render(&page);
        assert_eq!(html.matches("<script").count(), 2);
        assert_eq!(html.matches("</script").count(), 2);
        assert!(html.contains("<title>{{data}} &lt;b&gt;</title>"));
        assert!(html.contains("<dt>Data-root</dt><dd>/a &amp; &quot;b&quot;</dd>"));
        assert!(html.contains("<dt>Allocated</dt><dd>1B</dd>"));
        assert!(html.contains("\"{{script}}\""));
        assert!(html.contains("<th scope=\"row\">&lt;x&gt;</th><td>1</td>"));
    }

    #[test]
    fn our_own_parts_do_not_end_their_elements() {
        for part in [STYLE, SCRIPT] {
            assert!(!part.contains("</") && !part.contains("<!--"));
        }
        assert!(!FRAME.contains("//"), "nothing is fetched");
    }

    #[test]
    fn depth_takes_no_stack() {
        let mut root = node("deepest", Vec::new());
        for _ in 0..200_000 {
            root = node("d", vec![root]);
        }
        let page = Page { title: String::new(), facts: Vec::new(), rows: Vec::new(), root };
        assert!(render(&page).contains("[199999,"));
    }

    #[test]
    fn kinds_are_numbered_by_their_place() {
        for (place, kind) in PageNodeKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
    }
}
