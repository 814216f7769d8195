//! Columns aligned as docker aligns them.
//!
//! A cell ends with a tab; a column is as wide as the widest of the cells that stand directly below each other, at least
//! ten with the three blanks after it. What follows a line's last tab belongs to no column. Width counts characters, not
//! what a terminal makes of them, as Go does it.

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
        let cells = together.iter().map(|line| line[column].chars().count() + GAP);
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
            out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
        }
    }
    out.push('\n');
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

    /// `testdata/format/table.txt`: pairs of input and output, apart by lines of `%%`.
    #[test]
    fn tables_are_those_recorded() {
        let recorded = include_str!("../../../testdata/format/table.txt");
        let parts: Vec<&str> = recorded.split("%%\n").collect();
        for pair in parts.chunks_exact(2) {
            assert_eq!(align(pair[0]), pair[1]);
        }
        assert!(parts.len() > 200);
    }
}
