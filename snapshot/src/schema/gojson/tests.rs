use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::time::Time;
use super::*;
use crate::go_struct;

/// Go's answers to the documents; see `testdata/gojson/README.md`.
const TABLE: &str = include_str!("../../../../testdata/gojson/table.jsonl");

go_struct! {
    struct Inner { a: String = "A", b: i64 = "b" }
}

go_struct! {
    /// The same fields as `target` in `testdata/gojson/record.go`.
    struct Target {
        text: String = "Text",
        flag: bool = "Flag",
        int: i64 = "Int",
        small: u16 = "Small",
        wide: u32 = "Wide",
        huge: u64 = "Huge",
        list: Option<Vec<String>> = "List",
        items: Option<Vec<Inner>> = "Items",
        map: Option<BTreeMap<String, String>> = "Map",
        nested: Option<BTreeMap<String, Option<Inner>>> = "Nested",
        set: Option<BTreeMap<String, Empty>> = "Set",
        ptr: Option<Inner> = "Ptr",
        inner: Inner = "Inner",
        time: Time = "Time",
        cmd: StrSlice = "Cmd",
        pair: [u64; 2] = "Pair",
        kind: String = "kind_s",
    }
}

fn inner(inner: &Inner) -> Value {
    json!({ "A": inner.a, "b": inner.b })
}

fn as_go_writes(target: &Target) -> Value {
    let items = target.items.as_ref().map(|items| items.iter().map(inner).collect::<Vec<_>>());
    let nested = target.nested.as_ref().map(|nested| {
        nested
            .iter()
            .map(|(key, value)| (key.clone(), value.as_ref().map_or(Value::Null, inner)))
            .collect::<Map<_, _>>()
    });
    let set = target.set.as_ref().map(|set| set.keys().map(|key| (key.clone(), json!({}))).collect::<Map<_, _>>());
    json!({
        "Text": target.text, "Flag": target.flag, "Int": target.int, "Small": target.small, "Wide": target.wide, "Huge": target.huge,
        "List": target.list, "Items": items, "Map": target.map, "Nested": nested, "Set": set, "Ptr": target.ptr.as_ref().map(inner),
        "Inner": inner(&target.inner), "Time": target.time.to_string(), "Cmd": target.cmd.0, "Pair": target.pair, "kind_s": target.kind,
    })
}

fn expected_kind(expected: &Expected) -> String {
    match expected {
        Expected::Text => "text".into(),
        Expected::Flag => "flag".into(),
        Expected::Int(bits) => format!("int{bits}"),
        Expected::Uint(bits) => format!("uint{bits}"),
        Expected::List => "list".into(),
        Expected::Object => "object".into(),
        other => panic!("{other:?} is none of the table's"),
    }
}

/// Our decoder's answer, in the form of the table.
fn ours(document: &[u8], by: &str) -> Value {
    let decoded = if by == "Decoder" { first_value::<Target>(document) } else { from_slice::<Target>(document) };
    let error = match decoded {
        Ok(target) => return json!({ "Value": as_go_writes(&target) }),
        Err(error) => error,
    };
    match &error.expected {
        // If a file ends too early, the two ways to decode differ only in the error's text.
        Expected::Json(what) if by != "Unmarshal" && what.starts_with("unexpected end") => json!({ "Kind": "end" }),
        Expected::Json(what) => json!({ "Kind": "syntax", "Error": what, "Offset": error.offset }),
        Expected::Time => json!({ "Kind": "time" }),
        expected => json!({
            "Kind": "type", "Field": error.field, "Found": error.found, "Expected": expected_kind(expected), "Offset": error.offset,
        }),
    }
}

/// Go's answer, without the parts that our decoder cannot have.
fn go(mut answer: Value) -> Value {
    let object = answer.as_object_mut().unwrap();
    object.remove("Document");
    object.remove("By");
    let kind = object.get("Kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    if kind != "syntax" {
        object.remove("Error");
    }
    // These types decode a part of the document on their own, and Go counts offsets from the beginning of that part.
    if matches!(kind.as_str(), "time" | "end") {
        object.retain(|key, _| key == "Kind");
    }
    if kind == "syntax" {
        object.entry("Offset").or_insert(0.into());
    }
    if kind == "type" {
        object.entry("Field").or_insert("".into());
    }
    answer
}

#[test]
fn says_what_go_says() {
    let mut differences = Vec::new();
    for line in TABLE.lines() {
        let answer: Value = serde_json::from_str(line).unwrap();
        let document: Vec<u8> =
            answer["Document"].as_str().unwrap().chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        let by = answer["By"].as_str().unwrap().to_owned();
        let (mut go, mut ours) = (go(answer), ours(&document, &by));
        if go["Field"] == "Cmd" {
            for answer in [&mut go, &mut ours] {
                answer.as_object_mut().unwrap().remove("Offset");
            }
        }
        // At the end of the file, Go feeds a blank to its scanner, and reports that blank as the invalid character.
        if go["Offset"] == document.len() && go["Error"].as_str().is_some_and(|error| error.contains("' '")) {
            go["Error"] = "unexpected end of JSON input".into();
        }
        if go != ours {
            let document = String::from_utf8_lossy(&document[..document.len().min(200)]).into_owned();
            differences.push(format!("{by} {document}\n  Go   {go}\n  ours {ours}"));
        }
    }
    assert!(TABLE.lines().count() > 800);
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn an_error_counts_from_the_beginning_of_the_file() {
    let error = from_slice::<Target>(br#"{"Text":"x","Cmd":["a",1]}"#).unwrap_err();
    assert_eq!((error.field.as_str(), error.offset), ("Cmd", 19));
    assert_eq!(error.to_string(), "Cmd must be a string, not a list (byte 19)");
    let error = from_slice::<Target>(br#"{"Inner":{"b":1.5}}"#).unwrap_err();
    assert_eq!(error.to_string(), "Inner.b must be a whole number of 64 bits, not number 1.5 (byte 17)");
    let error = from_slice::<Vec<Target>>(br#"[{"Text":"x"},7]"#).unwrap_err();
    assert_eq!((error.field.as_str(), error.item), ("", Some(1)));
    assert_eq!(error.to_string(), "item 1 must be an object, not a number (byte 15)");
    let error = from_slice::<Vec<Target>>(br#"[{"Text":1}]"#).unwrap_err();
    assert_eq!(error.to_string(), "Text must be a string, not a number (byte 10)");
    let error = from_slice::<Target>(br#"{"Time":"yesterday"}"#).unwrap_err();
    let expected = "Time must be a time such as \"2006-01-02T15:04:05Z\", not \"yesterday\" (byte 19)";
    assert_eq!(error.to_string(), expected);
}
