//! Every kept input goes through its target: what once broke a parser, and examples of all it reads.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use fuzz_targets::TARGETS;

fn corpus() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../corpus"))
}

#[test]
fn every_kept_input_keeps_the_promises() {
    for (name, target) in TARGETS {
        let mut files: Vec<_> =
            std::fs::read_dir(corpus().join(name)).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        assert!(files.len() >= 5, "{name}: only {} inputs", files.len());
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            let ran = std::panic::catch_unwind(|| target(&bytes));
            assert!(ran.is_ok(), "{}", file.display());
        }
    }
}

/// No target without its folder and its program, and none of them without a target.
#[test]
fn folders_and_programs_are_those_of_the_targets() {
    let names = |dir: &Path| {
        let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<String> = names.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    let mut expected: Vec<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    expected.sort();
    assert_eq!(names(corpus()), expected);
    assert_eq!(names(&corpus().join("../cargo-fuzz/fuzz_targets")), expected);
}
