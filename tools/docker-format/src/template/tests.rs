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

/// Go's words, too: `text/template/funcs.go`.
#[test]
fn nothing_is_taken_from_a_nil_pointer() {
    let template = Template::parse("{{index . 1}}").unwrap();
    let said = template.execute_as_far(&Value::NilPointer("x.T"), MissingKey::Nothing).1.unwrap_err().to_string();
    assert!(said.ends_with("error calling index: index of nil pointer"), "{said}");
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

/// What Go prints and this does not is named, and nothing ends the program.
#[test]
fn what_is_not_supported_is_named() {
    let execute = |text: &str| Template::parse(text)?.execute(&row(), MissingKey::Nothing);
    for (text, says) in [
        ("{{1i}}", "complex numbers are not supported: 1i"),
        ("{{1+2i}}", "complex numbers are not supported: 1+2i"),
        (r#"{{printf "%x" 1.5}}"#, "%x of a float64 is not supported"),
        (r#"{{printf "%b" 1.5}}"#, "%b of a float64 is not supported"),
        (r#"{{printf "%p" .}}"#, "%p is not supported"),
        (
            r#"{{printf "%999999d%999999d%1000000d%1000000d" 1 1 1 1 | printf "%[1]s%[1]s%[1]s%[1]s%[1]s%[1]s%[1]s%[1]s%[1]s%[1]s%[1]s%[1]s%[1]s%[1]s%[1]s%[1]s%[1]s%[1]s" | len}}"#,
            "more than 67108864 bytes in one call are not supported",
        ),
    ] {
        let error = execute(text).unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
}

/// Go prints the address of a struct that another one points to.
#[test]
fn an_address_is_not_printed_as_a_number() {
    let inner = Value::Struct(Arc::new(Struct { go_type: "x.T", pointer: true, row: false, fields: Vec::new() }));
    let fields = vec![Field { name: "Config", key: "Config", omit_empty: false, value: inner }];
    let outer = Value::Struct(Arc::new(Struct { go_type: "x.U", pointer: true, row: false, fields }));
    let printed = |text: &str| Template::parse(text)?.execute(&outer, MissingKey::Nothing);
    assert_eq!(printed("{{printf `%v` .Config}}").unwrap(), "&{}");
    let error = printed("{{printf `%d` .}}").unwrap_err().to_string();
    assert!(error.ends_with("%d of a pointer within a value is not supported"), "{error}");
}

#[test]
fn depth_has_an_end() {
    let nested = |count: usize| format!("{}x{}", "{{if 1}}".repeat(count), "{{end}}".repeat(count));
    let execute = |text: &str| Template::parse(text)?.execute(&Value::Missing, MissingKey::Nothing);
    assert_eq!(execute(&nested(190)).unwrap(), "x");
    assert_eq!(execute(&nested(100_000)).unwrap_err().to_string(), "template: :1: template nests too deep");
    let parens = format!("{{{{{}1{}}}}}", "(".repeat(100_000), ")".repeat(100_000));
    assert_eq!(execute(&parens).unwrap_err().to_string(), "template: :1: template nests too deep");
    let chain = "{{if 0}}".to_owned() + &"{{else if 0}}".repeat(100_000) + "{{end}}";
    assert_eq!(execute(&chain).unwrap_err().to_string(), "template: :1: template nests too deep");
    let endless = r#"{{define "x"}}{{template "x"}}{{end}}{{template "x"}}"#;
    let error = execute(endless).unwrap_err().to_string();
    assert!(error.ends_with("exceeded maximum template depth (400)"), "{error}");
    let deep = format!(
        r#"{{{{define "x"}}}}{}{{{{template "x"}}}}{}{{{{end}}}}{{{{template "x"}}}}"#,
        "{{if 1}}".repeat(190),
        "{{end}}".repeat(190)
    );
    assert!(execute(&deep).is_err());
}
