//! What docker prints in random order, brought into one order.

use std::collections::BTreeMap;

use serde_json::Value;

/// What is random in an answer, because a Go map is walked on the way. Everything else is compared byte by byte.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Random {
    /// Nothing.
    No,
    /// The order of adjacent lines of one image; of all lines, if they do not show an id.
    Rows,
    /// The same with an empty line after each image.
    Blocks,
    /// The order within `RepoTags` and `RepoDigests` of JSON.
    Names,
    /// The order of words, as where a template prints a list.
    Words,
    /// `system df -v`: which of its tags an image is shown with; the order of volumes and of the build cache.
    Usage,
    /// The same in JSON; the order of a container's mounts and labels.
    UsageJson,
    /// `container inspect`: the order of the mounts.
    Mounts,
}

/// Tags by the first twelve digits of the image.
pub(crate) type Tags = BTreeMap<String, Vec<String>>;

/// The answer with what is random brought into order.
pub(crate) fn canonical(random: Random, text: &str, tags: &Tags) -> String {
    let text = &without_addresses(text);
    match random {
        Random::No => text.to_owned(),
        Random::Rows => rows(text.split_inclusive('\n').collect(), tags),
        Random::Blocks => rows(text.split_inclusive("\n\n").collect(), tags),
        Random::Names => ["RepoTags", "RepoDigests"].iter().fold(text.to_owned(), |text, key| names(&text, key)),
        Random::Words => {
            let mut words: Vec<&str> = text.split([' ', '\n', ',', '[', ']', '{', '}']).collect();
            words.sort_unstable();
            words.join("\n")
        }
        Random::Usage => text.split_inclusive("\n\n").map(|part| usage(part, tags)).collect(),
        Random::UsageJson => usage_json(text, tags).unwrap_or_else(|| text.to_owned()),
        Random::Mounts => mounts(text).unwrap_or_else(|| text.to_owned()),
    }
}

/// Go prints where in memory a part of a value is.
fn without_addresses(text: &str) -> String {
    let mut parts = text.split("0xc0");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str("(address)");
        plain.push_str(part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    }
    plain
}

/// An empty line belongs to the one before.
fn rows(lines: Vec<&str>, tags: &Tags) -> String {
    let mut keyed: Vec<(Option<&str>, String)> = Vec::new();
    for line in lines {
        match keyed.last_mut() {
            Some((_, row)) if line.trim().is_empty() => row.push_str(line),
            _ => keyed.push((image(line, tags), line.to_owned())),
        }
    }
    keyed.chunk_by_mut(|(one, _), (other, _)| one == other).for_each(<[_]>::sort_unstable);
    keyed.into_iter().map(|(_, row)| row).collect()
}

/// The first twelve digits of the image that a line shows.
fn image<'a>(line: &'a str, tags: &Tags) -> Option<&'a str> {
    let digits = line.split(|c: char| !c.is_ascii_hexdigit()).filter_map(|word| word.get(..12));
    digits.into_iter().find(|&id| tags.contains_key(id))
}

/// Sorts the lists of strings that follow the key, on one line or on several.
fn names(text: &str, key: &str) -> String {
    let key = format!("\"{key}\":");
    let mut parts = text.split(&key);
    let mut sorted = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        sorted.push_str(&key);
        let Some((list, rest)) = part.split_once(']').filter(|(list, _)| list.trim_start().starts_with('[')) else {
            sorted.push_str(part);
            continue;
        };
        let mut strings: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
        let separators: Vec<&str> = list.split('"').step_by(2).collect();
        strings.sort_unstable();
        strings.push("");
        for (separator, string) in separators.iter().zip(&strings) {
            sorted.push_str(&format!("{separator}\"{string}\""));
        }
        sorted.push(']');
        sorted.push_str(rest);
    }
    sorted
}

/// A part of `system df -v`: a heading, or a table.
fn usage(part: &str, tags: &Tags) -> String {
    let Some((start, header)) = part.lines().enumerate().find(|(_, line)| line.contains("   ")) else {
        return part.to_owned();
    };
    let lines: Vec<Vec<char>> =
        part.trim_end_matches('\n').lines().skip(start).map(|line| line.chars().collect()).collect();
    let starts = columns(&header.chars().collect::<Vec<_>>());
    let cell = |line: &[char], column: usize| -> String {
        let end = starts.get(column + 1).copied().unwrap_or(line.len()).min(line.len());
        line.get(starts[column]..end).unwrap_or_default().iter().collect::<String>()
    };
    let mut rows: Vec<Vec<String>> =
        lines.iter().map(|line| (0..starts.len()).map(|column| cell(line, column)).collect()).collect();
    let layout = laid_out(&rows);
    for row in rows.iter_mut().flatten() {
        row.truncate(row.trim_end().len());
    }
    if header.starts_with("REPOSITORY") {
        for row in &mut rows {
            let tag = format!("{}:{}", row[0], row[1]);
            if tags.get(&row[2]).is_some_and(|tags| tags.contains(&tag)) {
                row[0] = "(one of".into();
                row[1] = "its tags)".into();
            }
        }
    }
    if header.starts_with("VOLUME") || header.starts_with("CACHE ID") {
        rows.sort_unstable();
    }
    let rows: Vec<String> = rows.iter().map(|row| row.join(" | ")).collect();
    let heading: String = part.split_inclusive('\n').take(start).collect();
    format!("{heading}{}\n({layout})\n\n", rows.join("\n"))
}

/// Where the columns of a header begin, which are three blanks or more apart.
fn columns(header: &[char]) -> Vec<usize> {
    let blank = |at: usize| header.get(at) == Some(&' ');
    (0..header.len()).filter(|&at| at == 0 || (!blank(at) && at > 2 && (1..=3).all(|back| blank(at - back)))).collect()
}

/// Whether every column but the last is as wide as its longest cell, three blanks and at least ten.
fn laid_out(rows: &[Vec<String>]) -> &'static str {
    let Some(header) = rows.first() else { return "no table" };
    let well = (0..header.len() - 1).all(|column| {
        let needed = rows.iter().map(|row| row[column].trim_end().chars().count() + 3).max().unwrap_or(0).max(10);
        rows.iter().all(|row| row[column].chars().count() == needed)
    });
    if well { "laid out as docker does" } else { "the columns have other widths than docker gives them" }
}

/// The keys stay in their order.
fn mounts(text: &str) -> Option<String> {
    let mut inspected: Value = serde_json::from_str(text).ok()?;
    for container in inspected.as_array_mut()? {
        if let Some(mounts) = container.get_mut("Mounts").and_then(Value::as_array_mut) {
            mounts.sort_by_key(|mount| mount["Destination"].to_string());
        }
    }
    Some(format!("{inspected:#}{}", if text.ends_with('\n') { "\n" } else { "" }))
}

fn usage_json(text: &str, tags: &Tags) -> Option<String> {
    let mut usage: Value = serde_json::from_str(text).ok()?;
    for image in usage["Images"].as_array_mut()? {
        let tag = format!("{}:{}", image["Repository"].as_str()?, image["Tag"].as_str()?);
        let id = image["ID"].as_str()?.trim_start_matches("sha256:").get(..12)?.to_owned();
        if tags.get(&id).is_some_and(|tags| tags.contains(&tag)) {
            image["Repository"] = "(one of".into();
            image["Tag"] = "its tags)".into();
        }
    }
    for container in usage["Containers"].as_array_mut()? {
        for list in ["Mounts", "Labels"] {
            let mut items: Vec<&str> = container[list].as_str()?.split(',').collect();
            items.sort_unstable();
            container[list] = items.join(",").into();
        }
    }
    for list in ["Volumes", "BuildCache"] {
        usage[list].as_array_mut()?.sort_by_key(Value::to_string);
    }
    Some(format!("{usage:#}{}", if text.ends_with('\n') { "\n" } else { "" }))
}
