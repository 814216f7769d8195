//! Ages change while a comparison runs: an answer that was given between two others may show any age between theirs.

/// Whether `ours` can have been given after `before` and before `after`: each line is as in one of the two, or differs
/// from them only in numbers that lie between theirs, as those of `4 seconds ago` do.
pub(crate) fn is_between(before: &str, ours: &str, after: &str) -> bool {
    let lines = |text: &str| text.lines().count();
    let same_length = lines(before) == lines(ours) && lines(ours) == lines(after);
    same_length
        && before.lines().zip(ours.lines()).zip(after.lines()).all(|((before, ours), after)| {
            words_eq(ours, before) || words_eq(ours, after) || numbers_between(before, ours, after)
        })
}

/// Columns are as wide as their widest cell, so an age in one line moves the cells of the others.
fn words_eq(one: &str, other: &str) -> bool {
    one.split_whitespace().eq(other.split_whitespace())
}

fn numbers_between(before: &str, ours: &str, after: &str) -> bool {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<String>>();
    let (before, ours, after) = (words(before), words(ours), words(after));
    let same_count = before.len() == ours.len() && ours.len() == after.len();
    same_count
        && before.iter().zip(&ours).zip(&after).all(|((before, ours), after)| {
            let numbers = (before.parse::<u64>(), ours.parse::<u64>(), after.parse::<u64>());
            let (Ok(low), Ok(number), Ok(high)) = numbers else { return ours == before && ours == after };
            (low..=high).contains(&number)
        })
}

#[test]
fn docker_read_ages_between_two_answers() {
    let before = "app   3 seconds ago   5MB\nweb   59 seconds ago   1MB\n";
    let after = "app   6 seconds ago   5MB\nweb   About a minute ago   1MB\n";
    for (ours, between) in [
        (before, true),
        (after, true),
        ("app   4 seconds ago   5MB\nweb   About a minute ago   1MB\n", true),
        ("app  5 seconds ago  5MB\nweb  59 seconds ago  1MB\n", true),
        // Too young, too old, another size, another name, a line less.
        ("app   2 seconds ago   5MB\nweb   59 seconds ago   1MB\n", false),
        ("app   7 seconds ago   5MB\nweb   59 seconds ago   1MB\n", false),
        ("app   4 seconds ago   6MB\nweb   59 seconds ago   1MB\n", false),
        ("apa   4 seconds ago   5MB\nweb   59 seconds ago   1MB\n", false),
        ("app   4 seconds ago   5MB\n", false),
    ] {
        assert_eq!(is_between(before, ours, after), between, "{ours}");
    }
}
