//! Documents that differ from a good one in one place: each value replaced by one of each kind, left out, under a key in
//! other case, or there twice.

// Every test that has mutants uses some of these.
#![allow(dead_code)]

pub(crate) mod documents;

use serde_json::Value;
use testkit::Random;

/// A document and what was done to it.
#[derive(Clone, Debug)]
pub(crate) struct Mutant {
    pub(crate) what: String,
    pub(crate) text: String,
}

impl Mutant {
    /// The id of the image whose config this is.
    pub(crate) fn id(&self) -> String {
        layerfs::Digest::hash(self.text.as_bytes()).to_string()
    }
}

/// Values of each kind, and on both sides of each border.
const VALUES: [&str; 26] = [
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1.0",
    "1e2",
    "65536",
    "4294967296",
    "9223372036854775808",
    "18446744073709551616",
    r#""""#,
    r#""x""#,
    r#""2020-01-02T03:04:05+05:30""#,
    r#""2020-01-02T3:04:05,123456789123Z""#,
    r#""2020-01-02T03:04:05\u005a""#,
    "[]",
    "[null]",
    r#"["a"]"#,
    r#"["a",1]"#,
    "[{}]",
    "{}",
    r#"{"a":null}"#,
    r#"{"a":1}"#,
    r#"{"a":{}}"#,
    r#"{"a":"b"}"#,
];

/// What is done to the value at a path.
enum Edit<'e> {
    Replace(&'e str),
    Remove,
    /// Its key is written in capitals.
    Capitals,
    /// A second member with its key in capitals follows.
    Twice(&'e str),
}

/// All documents that differ from `base` in one place.
pub(crate) fn mutants(base: &Value) -> Vec<Mutant> {
    let mut all = vec![Mutant { what: "nothing changed".into(), text: base.to_string() }];
    for path in paths(base) {
        let mut add = |what: String, edit: &Edit<'_>| {
            let mut text = String::new();
            render(base, &path, 0, edit, &mut text);
            all.push(Mutant { what: format!("{}: {what}", path.join("/")), text });
        };
        for value in VALUES {
            add(value.into(), &Edit::Replace(value));
            add(format!("and again {value}"), &Edit::Twice(value));
        }
        add("left out".into(), &Edit::Remove);
        add("key in capitals".into(), &Edit::Capitals);
    }
    all
}

/// At most `count` of them, the same ones in every run; all of them in a sweep.
pub(crate) fn sample<T>(mut all: Vec<T>, count: usize, seed: u64) -> Vec<T> {
    if testkit::full_sweep() {
        return all;
    }
    let mut random = Random::new(seed);
    while all.len() > count {
        let one = usize::try_from(random.below(all.len() as u64)).unwrap();
        all.swap_remove(one);
    }
    all
}

/// The paths of all values in it.
fn paths(value: &Value) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut add = |key: String, inner: &Value| {
        found.push(vec![key.clone()]);
        found.extend(paths(inner).into_iter().map(|rest| std::iter::once(key.clone()).chain(rest).collect()));
    };
    match value {
        Value::Object(object) => object.iter().for_each(|(key, inner)| add(key.clone(), inner)),
        Value::Array(list) => list.iter().enumerate().for_each(|(at, inner)| add(at.to_string(), inner)),
        _ => {}
    }
    found
}

fn render(value: &Value, path: &[String], depth: usize, edit: &Edit<'_>, out: &mut String) {
    let here = path.get(depth);
    let last = depth + 1 == path.len();
    let members: Vec<(Option<&String>, &Value)> = match value {
        Value::Object(object) => object.iter().map(|(key, value)| (Some(key), value)).collect(),
        Value::Array(list) => list.iter().map(|value| (None, value)).collect(),
        other => return out.push_str(&other.to_string()),
    };
    let (open, close) = if value.is_object() { ('{', '}') } else { ('[', ']') };
    out.push(open);
    let mut first = true;
    for (at, (key, member)) in members.into_iter().enumerate() {
        let edited = here.is_some_and(|here| key.map_or(*here == at.to_string(), |key| here == key));
        let edit_here = if edited && last { Some(edit) } else { None };
        if matches!(edit_here, Some(Edit::Remove)) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        let mut name = |key: &str| out.push_str(&format!("{}:", Value::from(key)));
        match (key, edit_here) {
            (Some(key), Some(Edit::Capitals)) => name(&key.to_uppercase()),
            (Some(key), _) => name(key),
            (None, _) => {}
        }
        match edit_here {
            Some(Edit::Replace(text)) => out.push_str(text),
            None if edited => render(member, path, depth + 1, edit, out),
            _ => out.push_str(&member.to_string()),
        }
        if let Some(Edit::Twice(text)) = edit_here {
            match key {
                Some(key) => out.push_str(&format!(",{}:{text}", Value::from(key.to_uppercase()))),
                None => out.push_str(&format!(",{text}")),
            }
        }
    }
    out.push(close);
}
