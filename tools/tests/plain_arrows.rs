//! The arrows of ARCHITECTURE.md are those of the source: no crate uses one that is not below it, and no module of `build` one of a
//! group before its own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn architecture() -> String {
    fs::read_to_string(workspace().join("ARCHITECTURE.md")).unwrap()
}

/// The names in a list.
fn names(text: &str) -> Vec<&str> {
    text.split([',', ' ']).filter(|name| !name.is_empty()).collect()
}

/// What is below each crate.
fn below(text: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let (_, arrows) = text.split_once("    arrows: ").unwrap();
    let end = arrows.find("A crate may use").unwrap();
    let mut below: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for chain in arrows[..end].split([';', '\n']).filter(|chain| chain.contains("->")) {
        let links: Vec<Vec<&str>> = chain.split("->").map(names).collect();
        for pair in links.windows(2) {
            pair[0].iter().for_each(|upper| below.entry(upper).or_default().extend(&pair[1]));
        }
    }
    loop {
        let before: usize = below.values().map(BTreeSet::len).sum();
        for upper in below.keys().copied().collect::<Vec<_>>() {
            let further: Vec<&str> =
                below[upper].iter().filter_map(|lower| below.get(lower)).flatten().copied().collect();
            below.get_mut(upper).unwrap().extend(further);
        }
        if before == below.values().map(BTreeSet::len).sum() {
            return below;
        }
    }
}

#[test]
fn a_crate_uses_those_below_it() {
    let text = architecture();
    let below = below(&text);
    let cargo = fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let local = Regex::new(r#"(?m)^([a-z-]+) = \{ path = "([a-z/-]+)" \}"#).unwrap();
    let mut crates: BTreeMap<&str, &str> = local.captures_iter(&cargo).map(|one| one.extract::<2>().1.into()).collect();
    crates.insert("tools", "tools");
    // It is for tests, and uses what they need.
    crates.remove("testkit").unwrap();
    assert!(crates.len() >= 14, "{crates:?}");
    let mut used = 0;
    for (name, place) in &crates {
        let manifest = fs::read_to_string(workspace().join(place).join("Cargo.toml")).unwrap();
        let (_, own) = manifest.split_once("[dependencies]\n").unwrap_or_default();
        let own = own.split("\n[").next().unwrap();
        let uses =
            own.lines().map(|line| line.split([' ', '.', '=']).next().unwrap()).filter(|one| crates.contains_key(one));
        for one in uses {
            let allowed = below.get(name).is_some_and(|below| below.contains(one));
            assert!(allowed, "{name} uses {one}, and no arrow of ARCHITECTURE.md points there");
            used += 1;
        }
    }
    assert!(used >= 30, "{used}");
}

/// The modules of the crate itself that a source file names.
fn modules_named(text: &str) -> BTreeSet<String> {
    let grouped = Regex::new(r"\bcrate::(?:\{([^}]*)\}|([a-z_]+))").unwrap();
    let found = grouped.captures_iter(text).flat_map(|found| {
        let list = found.get(1).or_else(|| found.get(2)).unwrap().as_str();
        list.split(',').map(|one| one.trim().split("::").next().unwrap().to_owned()).collect::<Vec<_>>()
    });
    found.filter(|name| name.starts_with(|first: char| first.is_ascii_lowercase())).collect()
}

/// The source files of a directory and those below it, without tests.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(sources(&path));
        } else if !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn modules_of_build_use_no_group_before_their_own() {
    let text = architecture();
    let (_, order) = text.split_once("    modules: ").unwrap();
    let (order, lists) = order.split_once('\n').unwrap();
    let order: Vec<&str> = order.split(" -> ").collect();
    let mut group = BTreeMap::from([("modern", 0)]);
    for (line, (place, name)) in lists.lines().zip(order.iter().enumerate().skip(1)) {
        let list = line.trim().strip_prefix(&format!("{name}: ")).unwrap();
        group.extend(names(list).into_iter().map(|module| (module, place)));
    }
    let dir = workspace().join("build/src");
    let mut seen = BTreeSet::new();
    for path in sources(&dir) {
        let inner = path.strip_prefix(&dir).unwrap().with_extension("");
        let module = inner.iter().next().unwrap().to_str().unwrap().to_owned();
        // lib.rs has all of them, and parsers.rs is for fuzzing.
        if matches!(module.as_str(), "lib" | "parsers") {
            continue;
        }
        let own = *group.get(module.as_str()).unwrap_or_else(|| panic!("ARCHITECTURE.md has no group for {module}"));
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for named in modules_named(text) {
            let place =
                *group.get(named.as_str()).unwrap_or_else(|| panic!("ARCHITECTURE.md has no group for {named}"));
            let picks = module == "execute" && named == "modern";
            assert!(place >= own || picks, "{} uses {named}, which is above it", inner.display());
        }
        seen.insert(module);
    }
    assert_eq!(seen.len(), group.len(), "{group:?} {seen:?}");
}
