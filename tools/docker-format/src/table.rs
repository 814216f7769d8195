//! Columns aligned as docker aligns them.
//!
//! A cell ends with a tab; a column is as wide as the widest of the cells that stand directly below each other, at
//! least ten with the three blanks after it. What follows a line's last tab belongs to no column. Width is what a
//! terminal makes of a text, as in the clients of Docker 23 and later; that of 20.10 counts characters, so that its
//! columns are out of line after wide ones.

use unicode_width::UnicodeWidthStr;

const NARROWEST: usize = 10;
const GAP: usize = 3;

/// Aligns text whose cells end with tabs.
#[must_use]
pub fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut out = String::with_capacity(text.len() * 2);
    block(&lines, &mut Vec::new(), &mut out);
    // What `split` adds after the last end of line.
    out.pop();
    out
}

/// Aligns these lines, whose first columns have these widths.
fn block(lines: &[Vec<&str>], widths: &mut Vec<usize>, out: &mut String) {
    let column = widths.len();
    let mut rest = lines;
    while let Some((first, tail)) = rest.split_first() {
        let ends_here = |line: &Vec<&str>| line.len() <= column + 1;
        if ends_here(first) {
            line(first, widths, out);
            rest = tail;
            continue;
        }
        let (together, after) = rest.split_at(rest.iter().position(ends_here).unwrap_or(rest.len()));
        let cells = together.iter().map(|line| width(line[column]) + GAP);
        widths.push(cells.fold(NARROWEST, usize::max));
        block(together, widths, out);
        widths.pop();
        rest = after;
    }
}

fn line(cells: &[&str], widths: &[usize], out: &mut String) {
    for (index, cell) in cells.iter().enumerate() {
        out.push_str(cell);
        if let Some(width) = widths.get(index).filter(|_| index + 1 < cells.len()) {
            out.extend(std::iter::repeat_n(' ', width.saturating_sub(self::width(cell))));
        }
    }
    out.push('\n');
}

/// How many columns a text takes up. A control character takes up none; the crate counts one for it.
fn width(text: &str) -> usize {
    text.width() - text.chars().filter(|char| char.is_control()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        assert_eq!(
            align("A\tB\tC\nlonger than ten\tb\tc\n"),
            "A                 B         C\nlonger than ten   b         c\n"
        );
    }

    #[test]
    fn a_line_without_the_column_ends_it() {
        assert_eq!(align("a\tb\nx\nlonger than ten\tb\n"), "a         b\nx\nlonger than ten   b\n");
        assert_eq!(align("\t\n\t\n"), "          \n          \n");
        assert_eq!(align(""), "");
        assert_eq!(align("no end\tx"), "no end    x");
    }

    /// As docker 26.1.5 and 28.5.2 print them; `tools/tests/engines_read.rs` asks both.
    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(align("\u{65e5}\u{672c}\tx\n1234567890\tx\n"), "\u{65e5}\u{672c}         x\n1234567890   x\n");
        for (text, columns) in [
            ("e\u{301}", 1),
            ("\u{ff46}", 2),
            ("\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}", 2),
            ("a\u{1}b", 2),
            ("\u{2026}", 1),
        ] {
            assert_eq!(width(text), columns, "{text:?}");
        }
    }

    /// `testdata/format/table.txt`: pairs of input and output, apart by lines of `%%`. Go's own `tabwriter` made them, which
    /// takes all characters to be narrow, so for this they are.
    #[test]
    fn tables_are_those_recorded() {
        let recorded = include_str!("../../../testdata/format/table.txt");
        let recorded = &recorded.replace(|char: char| char.to_string().width() > 1, "w");
        let parts: Vec<&str> = recorded.split("%%\n").collect();
        for pair in parts.chunks_exact(2) {
            assert_eq!(align(pair[0]), pair[1]);
        }
        assert!(parts.len() > 200);
    }
}
