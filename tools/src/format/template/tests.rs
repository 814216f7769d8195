//! Every template of `testdata/format/template.json` does what Go's did.

use std::sync::Arc;

use serde_json::Value as Json;

use super::{Field, MissingKey, Struct, Template, Value};

/// Go 1.19 says more about the type of the recorder than this.
fn row() -> Value {
    let field = |name, text| Field { name, key: name, omit_empty: false, value: Value::text(text) };
    let fields = vec![field("ID", "123"), field("Name", "a/b"), field("Tag", "t")];
    Value::Struct(Arc::new(Struct { go_type: "main.row", pointer: true, row: true, fields }))
}

#[test]
fn templates_do_what_go_recorded() {
    let recorded: Json = serde_json::from_str(include_str!("../../../../testdata/format/template.json")).unwrap();
    let raw = Value::raw(&recorded["data"]);
    let cases = recorded["cases"].as_array().unwrap();
    let mut wrong = Vec::new();
    for case in cases {
        let text = case["template"].as_str().unwrap();
        let (missing, template) = match text.strip_prefix('!') {
            Some(template) => (MissingKey::Error, template),
            None => (MissingKey::Nothing, text),
        };
        let dot = if case["over"] == "row" { row() } else { raw.clone() };
        let (output, error) = match Template::parse(template) {
            Err(error) => (String::new(), error.to_string()),
            Ok(template) => {
                let (output, result) = template.execute_as_far(&dot, missing);
                (output, result.err().map_or_else(String::new, |error| error.to_string()))
            }
        };
        let expected = (case["output"].as_str().unwrap(), case["error"].as_str().unwrap_or(""));
        if (output.as_str(), error.as_str()) != expected {
            wrong.push(format!("{text}\n  ours {:?}\n  go's {expected:?}", (output, error)));
        }
    }
    assert!(cases.len() > 300);
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}
