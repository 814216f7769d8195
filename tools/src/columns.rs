//! Tables of our own, made for the terminal that shows them. Docker's tables are docker's, see `docker_format::table`.
//!
//! A table that is too wide first loses the columns that matter least, then long cells are cut: names in the middle, since
//! their ends tell them apart, and remarks at the end. Where no terminal is, in a pipe or a file, everything is printed.

use snapshot::parallel;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::output::escape;

/// What happens to a column if the table is too wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It is never cut.
    Whole,
    /// Its cells are cut in the middle.
    Middle,
    /// Its cells are cut at the end.
    End,
    /// The whole column is left out; of several, the one with the highest number goes first.
    Drop(u8),
}

/// A table: its columns, and cells for each.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    columns: [(&'static str, Fit); N],
    rows: Vec<[String; N]>,
}

/// Blanks between columns: in a table that fits, and in one that does not.
const GAPS: [usize; 2] = [3, 2];

/// The least width to which a column is cut: one that is cut in the middle, and one that is cut at the end.
const NARROWEST: [usize; 2] = [20, 24];

impl<const N: usize> Table<N> {
    pub(crate) fn new(columns: [(&'static str, Fit); N]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row. Cells are escaped: none of them ends its row or speaks to the terminal.
    pub(crate) fn push(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| escape(&cell)));
    }

    /// Adds a row for each item, with several threads where there are many.
    pub(crate) fn fill<T: Sync>(&mut self, items: &[T], cells: impl Fn(&T) -> [String; N] + Sync) {
        self.rows.reserve_exact(items.len());
        parallel::each(items, |item| cells(item).map(|cell| escape(&cell)), |row| self.rows.push(row));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as lines, with its head. A column whose cells are all empty is left out.
    pub(crate) fn render(&self, room: Option<usize>) -> String {
        let mut widths = [0; N];
        let of_row = |row: &[String; N]| row.each_ref().map(|cell| cell.width());
        parallel::each(&self.rows, of_row, |row| {
            widths.iter_mut().zip(row).for_each(|(widest, width)| *widest = width.max(*widest));
        });
        for (width, (name, _)) in widths.iter_mut().zip(&self.columns).filter(|(width, _)| **width > 0) {
            *width = name.width().max(*width);
        }
        let mut gap = GAPS[0];
        if let Some(room) = room.filter(|room| needed(&widths, gap) > *room) {
            gap = GAPS[1];
            self.narrow(&mut widths, room, gap);
        }
        let head = self.columns.map(|(name, _)| name.to_owned());
        let mut lines = self.line(&head, &widths, gap);
        parallel::each(&self.rows, |row| self.line(row, &widths, gap), |line| lines.push_str(&line));
        lines
    }

    /// Makes columns narrower until a line fits, or nothing more can be done. A width of 0 leaves a column out.
    fn narrow(&self, widths: &mut [usize; N], room: usize, gap: usize) {
        let can_be_cut = |at: usize| matches!(self.columns[at].1, Fit::Middle | Fit::End);
        let least = |widths: &[usize; N]| {
            let mut least = *widths;
            for at in (0..N).filter(|at| can_be_cut(*at)) {
                let narrowest = NARROWEST[usize::from(self.columns[at].1 == Fit::End)];
                least[at] = least[at].min(narrowest.max(self.columns[at].0.len()));
            }
            least
        };
        let order = |at: &usize| if let Fit::Drop(order) = self.columns[*at].1 { Some(order) } else { None };
        while needed(&least(widths), gap) > room {
            let Some(at) = (0..N).filter(|at| widths[*at] > 0).max_by_key(order).filter(|at| order(at).is_some())
            else {
                break;
            };
            widths[at] = 0;
        }
        // The columns that are cut share the width that is left: each time, the narrowest gets one more.
        let wanted = *widths;
        *widths = least(widths);
        while needed(widths, gap) < room {
            let narrowest = (0..N).filter(|at| widths[*at] < wanted[*at]).min_by_key(|at| widths[*at]);
            let Some(at) = narrowest else { break };
            widths[at] += 1;
        }
    }

    fn line(&self, row: &[String; N], widths: &[usize; N], gap: usize) -> String {
        let mut line = String::new();
        let mut owed = 0;
        for (at, cell) in row.iter().enumerate().filter(|(at, _)| widths[*at] > 0) {
            let cut = match self.columns[at].1 {
                Fit::End => end(cell, widths[at]),
                _ => middle(cell, widths[at]),
            };
            line.extend(std::iter::repeat_n(' ', owed));
            owed = widths[at] + gap - cut.width();
            line.push_str(&cut);
        }
        line.truncate(line.trim_end().len());
        line + "\n"
    }
}

/// The width of a line.
fn needed<const N: usize>(widths: &[usize; N], gap: usize) -> usize {
    let shown = widths.iter().filter(|width| **width > 0);
    shown.map(|width| width + gap).sum::<usize>().saturating_sub(gap)
}

/// How wide a line may be: what `COLUMNS` says, else what the terminal says, else as wide as it likes.
pub(crate) fn room() -> Option<usize> {
    let set = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse::<usize>().ok()).filter(|room| *room > 0);
    set.or_else(|| terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| width.0.into()))
}

/// A text of at most `width` columns: what is too long loses its middle.
pub(crate) fn middle(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let tail = width.saturating_sub(1) / 2;
    let head = width.saturating_sub(1) - tail;
    let after: Vec<char> = within(text.chars().rev(), tail).collect();
    within(text.chars(), head).chain(['…']).chain(after.into_iter().rev()).collect()
}

/// A text of at most `width` columns: what is too long loses its end.
pub(crate) fn end(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    within(text.chars(), width.saturating_sub(1)).chain(['…']).collect()
}

fn within(chars: impl Iterator<Item = char>, width: usize) -> impl Iterator<Item = char> {
    let mut left = width;
    chars.take_while(move |char| {
        let less = left.checked_sub(char.width().unwrap_or(0));
        less.inspect(|less| left = *less).is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<5> {
        let columns = [
            ("ID", Fit::Whole),
            ("NAMES", Fit::Middle),
            ("SIZE", Fit::Whole),
            ("INODES", Fit::Drop(1)),
            ("NOTE", Fit::End),
        ];
        let mut table = Table::new(columns);
        for (name, note) in [
            ("registry.example.org/team/project/shop:2026-11", ""),
            ("漢字/イメージ:1", "stays: the running container 0123456789ab uses it"),
        ] {
            table.push(["0123456789ab", name, "1.24MB", "12", note].map(str::to_owned));
        }
        table
    }

    #[test]
    fn a_table_has_the_room_it_needs_where_nobody_says_how_much_there_is() {
        let whole = table().render(None);
        let lines: Vec<&str> = whole.lines().collect();
        assert!(lines[1].contains("registry.example.org/team/project/shop:2026-11   1.24MB"), "{whole}");
        assert!(lines[2].ends_with("uses it"), "{whole}");
        // Wide characters take up two columns.
        let at = |line: &str, text: &str| line[..line.find(text).unwrap()].width();
        assert_eq!(at(lines[1], "1.24MB"), at(lines[2], "1.24MB"));
        assert_eq!(at(lines[0], "SIZE"), at(lines[2], "1.24MB"));
    }

    #[test]
    fn a_table_fits() {
        for room in 72..140 {
            let shown = table().render(Some(room));
            for line in shown.lines() {
                assert!(line.width() <= room, "{} of {room}: {line}", line.width());
            }
        }
        let narrow = table().render(Some(72));
        assert!(!narrow.contains("INODES") && narrow.contains("1.24MB") && narrow.contains("0123456789ab"), "{narrow}");
        assert!(narrow.contains("…") && narrow.contains("2026-11"), "names end as they ended: {narrow}");
        assert_eq!(table().render(Some(1000)), table().render(None));
    }

    #[test]
    fn what_is_empty_is_no_column() {
        let mut table = Table::new([("A", Fit::Whole), ("B", Fit::Whole), ("C", Fit::Whole)]);
        table.push(["1".into(), String::new(), "3\n".into()]);
        assert_eq!(table.render(None), "A   C\n1   3\\n\n");
    }

    #[test]
    fn texts_are_cut_where_they_say_least() {
        assert_eq!(middle("registry.example.org/shop:1", 11), "regis…hop:1");
        assert_eq!(middle("short", 5), "short");
        assert_eq!(middle("漢字漢字漢字", 6), "漢…字");
        assert_eq!(end("RUN apt-get install", 8), "RUN apt…");
        assert_eq!(end("漢字", 3), "漢…");
    }
}
