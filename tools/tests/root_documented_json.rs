//! What `--json` of `image-gc`, `system check` and `system repair` prints is what their help says, word for word: every key that is
//! printed is documented, every documented key is printed by one store or another, and every word that is a code is in the text.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use testkit::littered::Littered;
use testkit::run::{Input, layerfs, run};
use testkit::{golden, import, program, store::StoreFiles};

const GC: &str = include_str!("../src/commands/image_gc/json.txt");
const CHECK: &str = include_str!("../src/commands/system/check/json.txt");
const REPAIR: &str = include_str!("../src/commands/system/repair.json.txt");

const BUSYBOX: &str = "layerfs-test/busybox:1";

/// A key, after that of the object or list that has it.
type Key = (String, String);

/// The keys of a text: what its first lines begin with, and what stands in braces. A line that is indented says more of a key that
/// another one has, and those after an empty line say which codes there are.
fn documented(text: &str) -> BTreeSet<Key> {
    let mut keys = BTreeSet::new();
    for line in text.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with(' ')) {
        for word in line.split_whitespace() {
            keys.insert((String::new(), word.trim_end_matches(',').to_owned()));
            if !word.ends_with(',') {
                break;
            }
        }
    }
    for line in text.lines() {
        // The name before each brace is that of what is in it.
        let mut parents: Vec<String> = Vec::new();
        let mut name = String::new();
        for piece in line.split_inclusive(|c: char| !(c.is_ascii_lowercase() || c == '_')) {
            let word = piece.trim_end_matches(|c: char| !(c.is_ascii_lowercase() || c == '_'));
            if !word.is_empty() {
                word.clone_into(&mut name);
                keys.extend(parents.last().map(|parent| (parent.clone(), name.clone())));
            }
            match piece.chars().last() {
                Some('{') => parents.push(name.clone()),
                Some('}') => drop(parents.pop()),
                _ => {}
            }
        }
    }
    keys
}

/// The keys of all objects in it, which is at `parent`.
fn printed(value: &Value, parent: &str, keys: &mut BTreeSet<Key>) {
    match value {
        Value::Object(object) => {
            for (key, inner) in object {
                keys.insert((parent.to_owned(), key.clone()));
                printed(inner, key, keys);
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| printed(inner, parent, keys)),
        _ => {}
    }
}

/// The codes of these fields in these lists that the text does not have.
fn unknown(text: &str, outputs: &[Value], fields: &[(&str, &str)]) -> Vec<String> {
    let words: BTreeSet<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').collect();
    let mut found = Vec::new();
    for (list, field) in fields {
        let ones = outputs.iter().filter_map(|output| output[*list].as_array()).flatten();
        let codes = ones.filter_map(|one| one.pointer(field)?.as_str());
        found.extend(codes.filter(|code| !words.contains(code)).map(|code| format!("{list} {field}: {code}")));
    }
    found
}

fn judge(text: &str, outputs: &[Value], fields: &[(&str, &str)]) {
    let mut keys = BTreeSet::new();
    outputs.iter().for_each(|output| printed(output, "", &mut keys));
    let documented = documented(text);
    let without: Vec<&Key> = keys.difference(&documented).collect();
    let never: Vec<&Key> = documented.difference(&keys).collect();
    assert!(without.is_empty() && never.is_empty(), "not documented: {without:?}; never printed: {never:?}");
    testkit::assert_none("codes that are not documented", &unknown(text, outputs, fields));
}

fn json(mut command: Command) -> Value {
    command.arg("--json");
    let ran = run(command, Input::Nothing);
    serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}{}", ran.stdout, ran.stderr))
}

fn gc(root: &Path, arguments: &[&str]) -> Value {
    let mut command = Command::new(program("image-gc"));
    command.arg("--root").arg(root).args(arguments);
    json(command)
}

#[test]
fn root_gc_prints_what_its_help_says() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let mut outputs = Vec::new();
    for seed in 0..12 {
        let root = dir.path().join(format!("store-{seed}"));
        let mut store = Littered::new(&root, seed);
        store.add_young();
        outputs.push(gc(&root, &["--all"]));
        outputs.push(gc(&root, &["--min-age", "0s", "--keep-last", "1"]));
        outputs.push(gc(&root, &["--all", "--min-age", "0s", "--target-size", "1"]));
    }
    let root = dir.path().join("store-0");
    fs::create_dir_all(root.join("buildkit")).unwrap();
    fs::write(root.join("buildkit/snapshots.db"), "no database").unwrap();
    let doubtful = gc(&root, &["--all"]);
    assert!(!doubtful["doubts"].as_array().unwrap().is_empty() && doubtful["items"].as_array().unwrap().is_empty());
    outputs.push(doubtful);
    judge(GC, &outputs, &[("items", "/kind"), ("items", "/reason"), ("spared", "/kind"), ("spared", "/cause")]);
}

fn system(root: &Path, arguments: &[&str]) -> Value {
    let root = root.to_str().unwrap();
    json(layerfs(&[&["--root", root, "system"], arguments].concat()))
}

/// A store with an image of some layers, and a container of it.
fn store(root: &Path) -> Vec<PathBuf> {
    import(&golden("busybox-20.10.tar"), root);
    let create = ["--root", root.to_str().unwrap(), "container", "create", "--name", "one", BUSYBOX, "true"];
    run(layerfs(&create), Input::Nothing).ok();
    StoreFiles::read(root).diffs().into_values().collect()
}

#[test]
fn root_check_and_repair_print_what_their_help_says() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    let diffs = store(&root);
    let (mut checks, mut repairs) = (vec![system(&root, &["check"])], Vec::new());
    for diff in &diffs {
        fs::write(diff.join(OsStr::from_bytes(b"extra-\xff")), "of no layer").unwrap();
    }
    checks.push(system(&root, &["check", "--deep"]));
    repairs.push(system(&root, &["repair", "--deep"]));
    let busybox = diffs.iter().map(|diff| diff.join("bin/busybox")).find(|path| path.is_file()).unwrap();
    fs::write(busybox, "another program").unwrap();
    let names = root.join("image/overlay2/repositories.json");
    let whole = fs::read(&names).unwrap();
    fs::write(&names, &whole[..whole.len() - 2]).unwrap();
    checks.push(system(&root, &["check", "--deep"]));
    repairs.push(system(&root, &["repair", "--deep"]));
    repairs.push(system(&root, &["repair", "--deep", "--apply"]));
    judge(CHECK, &checks, &[("findings", "/severity"), ("findings", "/subject/kind")]);
    judge(REPAIR, &repairs, &[("steps", "/subject"), ("unmended", "/subject"), ("unmended", "/advice")]);
}
