//! What of a driver's home the kernel has mounted, as this process sees it.

use std::collections::BTreeMap;
use std::path::Path;

/// The home's directory of links, and where each of them leads.
type Links<'l> = Option<(&'l str, &'l BTreeMap<String, Option<String>>)>;

/// Entries of `home` that are part of a mount, each with a mount point.
pub(super) fn entries(home: &Path, links: Links<'_>) -> Vec<(String, String)> {
    let Ok(home) = std::fs::canonicalize(home) else { return Vec::new() };
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts.lines().flat_map(|line| of_mount(line, &home, links)).collect()
}

/// The entries that one line of `mountinfo` names: by its mount point, and by the options of an overlay.
fn of_mount(line: &str, home: &Path, links: Links<'_>) -> Vec<(String, String)> {
    let Some(point) = line.split(' ').nth(4).map(unescape) else { return Vec::new() };
    let mut paths = vec![point.clone()];
    if let Some((_, rest)) = line.split_once(" - ")
        && let mut fields = rest.split(' ')
        && fields.next() == Some("overlay")
        && let Some(options) = fields.nth(1)
    {
        for option in options.split(',') {
            if let Some(("lowerdir" | "upperdir" | "workdir" | "lowerdir+", value)) = option.split_once('=') {
                paths.extend(unescape(value).split(':').map(str::to_owned));
            }
        }
    }
    let entry = |path: String| {
        // Long option strings are relative to the home.
        let path = Path::new(&path);
        let relative = if path.is_absolute() { path.strip_prefix(home).ok()? } else { path };
        let mut parts = relative.components().map(|part| part.as_os_str().to_str());
        let name = parts.next()??.to_owned();
        match links {
            Some((directory, links)) if name == directory => links.get(parts.next()??)?.clone(),
            _ => Some(name),
        }
    };
    paths.into_iter().filter_map(entry).map(|name| (name, point.clone())).collect()
}

/// Undoes the octal escapes of `mountinfo` (proc(5)).
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| *first == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlays_name_all_their_layers() {
        let links = BTreeMap::from([("AB".to_owned(), Some("base".to_owned())), ("CD".to_owned(), None)]);
        let home = Path::new("/r t/overlay2");
        let line = "36 25 0:30 / /r\\040t/overlay2/top/merged rw - overlay overlay rw,lowerdir=/r\\040t/overlay2/l/AB:l/CD,\
                    upperdir=/r\\040t/overlay2/top/diff,workdir=/elsewhere/x";
        let names: Vec<String> = of_mount(line, home, Some(("l", &links))).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["top", "base", "top"]);
        assert!(of_mount("36 25 0:30 / /proc rw - proc proc rw", home, None).is_empty());
        assert!(of_mount("", home, None).is_empty());
    }
}
