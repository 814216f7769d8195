//! Text from images, made safe for the page: for the eye, for HTML, and for a data block within HTML.

use std::fmt::Write as _;

use super::{PageNode, PageNodeKind};
use crate::output::escape;

/// The longest note that is kept, in characters.
const NOTE: usize = 600;

/// `text` with every character visible: characters that would reorder, hide or break it are spelled out.
pub(super) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in escape(text).chars() {
        if is_unseen(char) {
            out.extend(char.escape_unicode());
        } else {
            out.push(char);
        }
    }
    out
}

/// Whether a character has no shape although [`escape`] lets it through, or is no character at all.
fn is_unseen(char: char) -> bool {
    matches!(char, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
        || (char as u32) & 0xfffe == 0xfffe
}

/// `text` as HTML, for an element or a quoted attribute.
pub(super) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in visible(text).chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            char => out.push(char),
        }
    }
    out
}

/// The tree as JSON for a data block. It is a flat list, so that depth costs nothing; each parent comes before its children.
///
/// `{"kinds": [name...], "nodes": [[parent, kind, allocated, apparent, files, name, note or null, unique?]...]}`
pub(super) fn data(root: &PageNode) -> String {
    let kinds = json(&PageNodeKind::ALL.map(PageNodeKind::name));
    let mut out = format!("{{\"kinds\":{kinds},\"nodes\":[");
    let mut left = vec![(root, -1)];
    let mut number = 0;
    while let Some((node, parent)) = left.pop() {
        let (kind, name) = (node.kind as usize, json(&visible(&node.name)));
        let comma = if number == 0 { "" } else { ",\n" };
        let _ = write!(out, "{comma}[{parent},{kind},{},{},{},{name}", node.allocated, node.apparent, node.files);
        match &node.note {
            Some(note) => _ = write!(out, ",{}", json(&visible(&cut(note)))),
            None => out.push_str(",null"),
        }
        if let Some(unique) = node.unique {
            let _ = write!(out, ",{unique}");
        }
        out.push(']');
        left.extend(node.children.iter().map(|child| (child, number)));
        number += 1;
    }
    out.push_str("]}");
    out
}

fn cut(note: &str) -> String {
    match note.char_indices().nth(NOTE) {
        Some((at, _)) => format!("{}…", &note[..at]),
        None => note.to_owned(),
    }
}

/// JSON in which no character means anything to HTML: such characters occur in strings only, and are spelled out there.
fn json(value: &impl serde::Serialize) -> String {
    let plain = serde_json::to_string(value).expect("strings are JSON");
    let mut out = String::with_capacity(plain.len());
    for char in plain.chars() {
        match char {
            '<' | '>' | '&' | '\'' | '/' | '`' => {
                let _ = write!(out, "\\u{:04x}", char as u32);
            }
            char => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn node(name: &str, note: Option<&str>, children: Vec<PageNode>) -> PageNode {
        let note = note.map(str::to_owned);
        PageNode {
            name: name.to_owned(),
            kind: PageNodeKind::Layer,
            allocated: 4096,
            apparent: 7,
            files: 1,
            unique: None,
            note,
            children,
        }
    }

    #[test]
    fn what_cannot_be_seen_is_spelled_out() {
        for (text, seen) in [
            ("plain é 漢 🐳", "plain é 漢 🐳"),
            ("\u{202e}gpj.exe", "\\u{202e}gpj.exe"),
            ("a\u{2028}b\u{2029}c\u{feff}d\u{200b}", "a\\u{2028}b\\u{2029}c\\u{feff}d\\u{200b}"),
            ("nul\0 esc\x1b del\x7f c1\u{9b}\n", "nul\\u{0} esc\\u{1b} del\\u{7f} c1\\u{9b}\\n"),
            ("\u{fffe}\u{1ffff}", "\\u{fffe}\\u{1ffff}"),
            ("lost \u{fffd}", "lost \u{fffd}"),
        ] {
            assert_eq!(visible(text), seen);
        }
    }

    #[test]
    fn data_cannot_end_its_element() {
        let hostile = "</script><!-- ]]> \u{2028} & ' \" ` \\ \\u003c <script>";
        let data = data(&node(hostile, Some(hostile), Vec::new()));
        for meant in ['<', '>', '&', '\'', '/', '`', '\u{2028}'] {
            assert!(!data.contains(meant), "{meant}");
        }
        let read: Value = serde_json::from_str(&data).unwrap();
        let seen = hostile.replace('\u{2028}', "\\u{2028}");
        assert_eq!(read["nodes"][0][5], seen);
        assert_eq!(read["nodes"][0][6], seen);
    }

    #[test]
    fn text_cannot_end_its_attribute() {
        assert_eq!(text("<a b=\"c\" d='e'>&amp;"), "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;amp;");
    }

    #[test]
    fn parents_come_first() {
        let tree =
            node("a", None, vec![node("b", None, vec![node("c", None, Vec::new())]), node("d", None, Vec::new())]);
        let read: Value = serde_json::from_str(&data(&tree)).unwrap();
        let rows =
            read["nodes"].as_array().unwrap().iter().map(|row| (row[0].as_i64().unwrap(), row[5].as_str().unwrap()));
        assert_eq!(rows.collect::<Vec<_>>(), [(-1, "a"), (0, "d"), (0, "b"), (2, "c")]);
        assert_eq!(read["kinds"][read["nodes"][0][1].as_u64().unwrap() as usize], "layer");
    }

    #[test]
    fn long_notes_are_cut() {
        let read: Value = serde_json::from_str(&data(&node("a", Some(&"é".repeat(5000)), Vec::new()))).unwrap();
        assert_eq!(read["nodes"][0][6].as_str().unwrap(), format!("{}…", "é".repeat(NOTE)));
    }
}
