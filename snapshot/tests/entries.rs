//! What the entries of an overlay2 home stand on, whatever their files look like: the quick way of reading these files
//! and the thorough way give the same answer.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use snapshot::dir::Dir;
use snapshot::driver::{AnyDriver, Driver, HomeEntries, Stacked};
use snapshot::ids::CacheId;

/// A layer with a short name and, perhaps, a `lower`.
fn layer(home: &Path, name: &str, link: &str, lower: Option<&str>) {
    fs::create_dir_all(home.join(name).join("diff")).unwrap();
    fs::write(home.join(name).join("link"), link).unwrap();
    symlink(format!("../{name}/diff"), home.join("l").join(link)).unwrap();
    if let Some(lower) = lower {
        fs::write(home.join(name).join("lower"), lower).unwrap();
    }
}

fn entries(root: &Path) -> HomeEntries {
    let driver = AnyDriver::open(&Dir::open(root).unwrap(), "overlay2").unwrap().unwrap();
    driver.entries().unwrap()
}

/// The entries that `name` stands on, or why that is not known; and the short names that lead to nothing.
fn below(held: &HomeEntries, name: &str) -> (Result<Vec<String>, String>, Vec<String>) {
    let entry = &held.entries[name];
    let parents = entry.parents.as_ref().map_err(|unknown| unknown.cause.clone());
    let parents = parents.map(|_| held.names_below(name).into_iter().map(str::to_owned).collect());
    (parents, entry.missing_links.clone())
}

#[test]
fn odd_files_are_read_as_they_always_were() {
    let root = tempfile::tempdir().unwrap();
    let home = root.path().join("overlay2");
    fs::create_dir_all(home.join("l")).unwrap();
    layer(&home, "base", "BASE", None);
    layer(&home, "plain", "PLAIN", Some("l/BASE"));
    layer(&home, "spaced", "SPACED", Some(" l/PLAIN:l/BASE"));
    layer(&home, "gone", "GONE", Some("l/PLAIN:l/NOWHERE:l/BASE"));
    layer(&home, "no-link", "NOLINK", Some("l/BASE:m/PLAIN"));
    layer(&home, "odd-link", "ODDLINK", Some("l/BASE:l/.odd"));
    layer(&home, "empty", "EMPTY", Some(""));
    // More than Docker stacks, and more than the quick way reads.
    let long = vec!["l/BASE"; 1000].join(":");
    layer(&home, "long", "LONG", Some(&long));
    layer(&home, "special", "SPECIAL", None);
    fs::create_dir(home.join("special/lower")).unwrap();
    // A name in `l` that no `lower` can have, a file in the place of a link, and a link to nothing.
    symlink("../base/diff", home.join("l/.odd")).unwrap();
    fs::write(home.join("l/FILE"), "").unwrap();
    layer(&home, "on-file", "ONFILE", Some("l/FILE:l/BASE"));
    symlink("../away/diff", home.join("l/AWAY")).unwrap();
    fs::write(home.join("stray"), "").unwrap();
    symlink("base", home.join("alias")).unwrap();

    let held = entries(root.path());
    let on = |names: &[&str]| Ok(names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>());
    let none = Vec::<String>::new();
    for (name, parents, missing) in [
        ("base", on(&[]), none.clone()),
        ("plain", on(&["base"]), none.clone()),
        ("gone", on(&["plain", "base"]), vec!["NOWHERE".to_owned()]),
        ("on-file", on(&["base"]), vec!["FILE".to_owned()]),
        ("long", on(&["base"; 1000]), none.clone()),
        ("stray", on(&[]), none.clone()),
        ("alias", on(&[]), none),
    ] {
        assert_eq!(below(&held, name), (parents, missing), "{name}");
    }
    for (name, reason) in [
        // dockerd takes no white space away.
        ("spaced", "\" l/PLAIN\" is not l/<link id>"),
        ("no-link", "\"m/PLAIN\" is not l/<link id>"),
        ("odd-link", "\".odd\" is not a valid link id"),
        ("empty", "\"\" is not l/<link id>"),
        ("special", "not a regular file"),
    ] {
        let (parents, _) = below(&held, name);
        assert!(parents.as_ref().is_err_and(|cause| cause.contains(reason)), "{name}: {parents:?}");
    }
    assert_eq!(held.links["BASE"].as_deref(), Some("base"));
    assert_eq!((&held.links["FILE"], &held.links["AWAY"]), (&None, &None));
    assert_eq!(held.stale["AWAY"], "away");
    assert!(!held.stale.contains_key("FILE"));
    assert!(held.names.iter().is_sorted() && held.names.len() == held.entries.len());
}

/// Whoever asks for the entries and for which layers are sound gets the answers of those who ask for one of them, and no layer is
/// called sound that the thorough way finds to be damaged.
#[test]
fn sound_layers_are_told_with_the_entries() {
    const LAYERS: [(&str, &str, Option<&str>); 4] = [
        ("base", "BASE", None),
        ("other", "OTHER", None),
        ("middle", "MIDDLE", Some("l/BASE")),
        ("top", "TOP", Some("l/MIDDLE:l/BASE")),
    ];
    let ids: Vec<CacheId> = LAYERS.iter().map(|(name, ..)| name.parse().unwrap()).collect();
    let below: [&[usize]; 4] = [&[], &[], &[0], &[2, 0]];
    let stacked: Vec<Stacked<'_>> =
        ids.iter().zip(below).map(|(id, below)| Stacked { id, parent: below.first().copied() }).collect();
    type Change<'c> = &'c dyn Fn(&Path);
    let write = |path: &'static str, text: &'static str| move |home: &Path| fs::write(home.join(path), text).unwrap();
    let replace_link = |link: &'static str, target: &'static str| {
        move |home: &Path| {
            fs::remove_file(home.join("l").join(link)).unwrap();
            symlink(target, home.join("l").join(link)).unwrap();
        }
    };
    // What is changed, and the layers that cannot be used then.
    let cases: [(&str, Change<'_>, &[&str]); 16] = [
        ("nothing", &|_| {}, &[]),
        ("no content", &|home| fs::remove_dir(home.join("middle/diff")).unwrap(), &["middle", "top"]),
        (
            "a file as content",
            &|home| {
                fs::remove_dir(home.join("top/diff")).unwrap();
                fs::write(home.join("top/diff"), "").unwrap();
            },
            &["top"],
        ),
        ("no link", &|home| fs::remove_file(home.join("middle/link")).unwrap(), &["middle"]),
        ("an empty link", &write("base/link", ""), &["base"]),
        ("the link of another", &write("top/link", "OTHER"), &["top"]),
        ("a link to another", &replace_link("MIDDLE", "../other/diff"), &["middle", "top"]),
        ("a link to a part", &replace_link("MIDDLE", "../middle/work"), &["middle", "top"]),
        ("a link to nothing", &replace_link("BASE", "../away/diff"), &["base", "middle", "top"]),
        ("no link in l", &|home| fs::remove_file(home.join("l/BASE")).unwrap(), &["base", "middle", "top"]),
        ("no lower", &|home| fs::remove_file(home.join("middle/lower")).unwrap(), &["middle"]),
        ("a lower of a base", &write("base/lower", "l/OTHER"), &["base"]),
        ("on another", &write("middle/lower", "l/OTHER"), &["middle"]),
        ("too short", &write("top/lower", "l/MIDDLE"), &["top"]),
        ("reordered", &write("top/lower", "l/BASE:l/MIDDLE"), &["top"]),
        ("no layer", &|home| fs::remove_dir_all(home.join("other")).unwrap(), &["other"]),
    ];
    for (name, change, damaged) in cases {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("overlay2");
        fs::create_dir_all(home.join("l")).unwrap();
        for (layer_name, link, lower) in LAYERS {
            layer(&home, layer_name, link, lower);
        }
        change(&home);
        let driver = AnyDriver::open(&Dir::open(root.path()).unwrap(), "overlay2").unwrap().unwrap();
        let (held, sound) = driver.entries_and_sound(&stacked).unwrap();
        assert_eq!(held, driver.entries().unwrap(), "{name}");
        assert_eq!(sound, driver.certainly_sound(&stacked), "{name}");
        let thorough = |at: usize| {
            let parents: Vec<CacheId> = below[at].iter().map(|below| ids[*below].clone()).collect();
            driver.damage(&ids[at], &parents).unwrap().is_some()
        };
        let found: Vec<&str> = (0..LAYERS.len()).filter(|at| thorough(*at)).map(|at| LAYERS[at].0).collect();
        assert_eq!(found, damaged, "{name}");
        // What lies above something odd may be sound, but is not called so without a closer look.
        let is_odd = |at: usize| {
            damaged.contains(&LAYERS[at].0) || below[at].iter().any(|below| damaged.contains(&LAYERS[*below].0))
        };
        let expected: Vec<bool> = (0..LAYERS.len()).map(|at| !is_odd(at)).collect();
        assert_eq!(sound, expected, "{name}");
    }
}
