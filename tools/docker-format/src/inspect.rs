//! `docker inspect --format`: a template over what is known of an image's type, and if that fails over its bare JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value as Json;

use super::json::{self, Html};
use super::listing::ListingError;
use super::template::{Field, MissingKey, Struct, Template, Value};
use super::{ago, until};

/// What `docker inspect` prints, and what it complains about after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// What goes to standard output.
    pub output: String,
    /// What goes to standard error, a line each; the exit status is 1 if there are any.
    pub errors: Vec<ListingError>,
}

/// The images as JSON, indented as docker's answer: what there is without `--format`.
#[must_use]
pub fn indented(values: &[Json]) -> String {
    if values.is_empty() {
        return "[]\n".to_owned();
    }
    json::indented(values, Html::Plain).unwrap_or_default() + "\n"
}

/// The images through `--format TEMPLATE`, a line each. `json` is what newer clients make of it: JSON on one line.
///
/// # Errors
///
/// If the template cannot be read, after which docker exits with 64.
pub fn inspect_template(values: &[Json], template: &str) -> Result<Inspection, ListingError> {
    inspected(values, template, Some(image))
}

/// Does the same for things whose type is not known here: over their bare JSON alone, so that maps are in order of
/// their keys.
///
/// # Errors
///
/// As [`inspect_template`].
pub fn inspect_raw(values: &[Json], template: &str) -> Result<Inspection, ListingError> {
    inspected(values, template, None)
}

fn inspected(values: &[Json], template: &str, typed: Option<fn(&Json) -> Value>) -> Result<Inspection, ListingError> {
    if template.is_empty() {
        return Ok(Inspection { output: indented(values), errors: Vec::new() });
    }
    if template == "json" {
        let output = json::compact(values, Html::Plain).unwrap_or_default() + "\n";
        return Ok(Inspection { output, errors: Vec::new() });
    }
    let template = Template::parse(template)?;
    let mut inspection = Inspection { output: String::new(), errors: Vec::new() };
    for value in values {
        let typed = typed.and_then(|typed| template.execute(&typed(value), MissingKey::Nothing).ok());
        let text = typed.map_or_else(|| template.execute(&Value::raw(value), MissingKey::Error), Ok);
        match text {
            Ok(text) => inspection.output += &(text + "\n"),
            Err(error) => inspection.errors.push(error.into()),
        }
    }
    if inspection.output.is_empty() {
        inspection.output.push('\n');
    }
    Ok(inspection)
}

/// An image as docker's client knows it.
fn image(json: &Json) -> Value {
    let of = Source(json);
    let fields = vec![
        Field { key: "Id", ..of.text("ID", "Id") },
        of.list("RepoTags", "[]string"),
        of.list("RepoDigests", "[]string"),
        of.text("Parent", "Parent"),
        of.text("Comment", "Comment"),
        of.text("Created", "Created"),
        of.text("Container", "Container"),
        of.pointer("ContainerConfig", "container.Config", config),
        of.text("DockerVersion", "DockerVersion"),
        of.text("Author", "Author"),
        of.pointer("Config", "container.Config", config),
        of.text("Architecture", "Architecture"),
        omitted(of.text("Variant", "Variant")),
        of.text("Os", "Os"),
        omitted(of.text("OsVersion", "OsVersion")),
        of.int("Size", "int64"),
        of.int("VirtualSize", "int64"),
        of.inner("GraphDriver", "types.GraphDriverData", |of| {
            vec![of.map("Data", "map[string]string"), of.text("Name", "Name")]
        }),
        of.inner("RootFS", "types.RootFS", |of| {
            let layers = omitted(of.list("Layers", "[]string"));
            vec![of.text("Type", "Type"), layers, omitted(of.text("BaseLayer", "BaseLayer"))]
        }),
        of.inner("Metadata", "types.ImageMetadata", |of| vec![of.time("LastTagTime")]),
    ];
    Value::Struct(Arc::new(Struct { go_type: "types.ImageInspect", pointer: false, row: false, fields }))
}

fn config(of: &Source<'_>) -> Vec<Field> {
    vec![
        of.text("Hostname", "Hostname"),
        of.text("Domainname", "Domainname"),
        of.text("User", "User"),
        of.bool("AttachStdin"),
        of.bool("AttachStdout"),
        of.bool("AttachStderr"),
        omitted(of.map("ExposedPorts", "nat.PortSet")),
        of.bool("Tty"),
        of.bool("OpenStdin"),
        of.bool("StdinOnce"),
        of.list("Env", "[]string"),
        of.list("Cmd", "strslice.StrSlice"),
        omitted(of.pointer("Healthcheck", "container.HealthConfig", health)),
        omitted(of.bool("ArgsEscaped")),
        of.text("Image", "Image"),
        of.map("Volumes", "map[string]struct {}"),
        of.text("WorkingDir", "WorkingDir"),
        of.list("Entrypoint", "strslice.StrSlice"),
        omitted(of.bool("NetworkDisabled")),
        omitted(of.text("MacAddress", "MacAddress")),
        of.list("OnBuild", "[]string"),
        of.map("Labels", "map[string]string"),
        omitted(of.text("StopSignal", "StopSignal")),
        of.optional_int("StopTimeout"),
        omitted(of.list("Shell", "strslice.StrSlice")),
    ]
}

fn health(of: &Source<'_>) -> Vec<Field> {
    vec![
        omitted(of.list("Test", "[]string")),
        omitted(of.duration("Interval")),
        omitted(of.duration("Timeout")),
        omitted(of.duration("StartPeriod")),
        omitted(of.int("Retries", "int")),
    ]
}

fn omitted(field: Field) -> Field {
    Field { omit_empty: true, ..field }
}

fn field(name: &'static str, value: Value) -> Field {
    Field { name, key: name, omit_empty: false, value }
}

/// JSON that the fields of a struct are read from; what is missing or of another type is as Go leaves it.
struct Source<'a>(&'a Json);

impl Source<'_> {
    fn text(&self, name: &'static str, key: &str) -> Field {
        field(name, Value::text(self.0[key].as_str().unwrap_or("")))
    }

    fn bool(&self, name: &'static str) -> Field {
        field(name, Value::Bool(self.0[name].as_bool().unwrap_or(false)))
    }

    fn int(&self, name: &'static str, go_type: &'static str) -> Field {
        field(name, Value::Int(self.0[name].as_i64().unwrap_or(0), go_type))
    }

    /// A pointer to a number, which `omitempty` omits if it is nil, and not if the number is 0.
    fn optional_int(&self, name: &'static str) -> Field {
        match self.0[name].as_i64() {
            Some(number) => field(name, Value::int(number)),
            None => omitted(field(name, Value::NilPointer("int"))),
        }
    }

    fn list(&self, name: &'static str, go_type: &'static str) -> Field {
        let items = |items: &Vec<Json>| items.iter().map(|item| Value::text(item.as_str().unwrap_or(""))).collect();
        let list = self.0[name].as_array().map(|list| Value::decoded(items(list), go_type));
        field(name, list.unwrap_or(Value::NilList(go_type)))
    }

    fn map(&self, name: &'static str, go_type: &'static str) -> Field {
        let value = |value: &Json| match value.as_str() {
            Some(text) => Value::text(text),
            None => {
                Value::Struct(Arc::new(Struct { go_type: "struct {}", pointer: false, row: false, fields: Vec::new() }))
            }
        };
        let map = self.0[name].as_object().map(|map| {
            let entries: BTreeMap<String, Value> = map.iter().map(|(key, it)| (key.clone(), value(it))).collect();
            Value::Map(Arc::new(entries), go_type)
        });
        field(name, map.unwrap_or(Value::NilMap(go_type)))
    }

    fn inner(&self, name: &'static str, go_type: &'static str, fields: fn(&Source<'_>) -> Vec<Field>) -> Field {
        let fields = fields(&Source(&self.0[name]));
        field(name, Value::Struct(Arc::new(Struct { go_type, pointer: false, row: false, fields })))
    }

    fn pointer(&self, name: &'static str, go_type: &'static str, fields: fn(&Source<'_>) -> Vec<Field>) -> Field {
        if !self.0[name].is_object() {
            return field(name, Value::NilPointer(go_type));
        }
        let fields = fields(&Source(&self.0[name]));
        field(name, Value::Struct(Arc::new(Struct { go_type, pointer: true, row: false, fields })))
    }

    fn duration(&self, name: &'static str) -> Field {
        let nanos = self.0[name].as_i64().unwrap_or(0);
        let text = until::go_duration(nanos);
        let (text, json) = (text.into(), nanos.to_string().into());
        field(name, Value::Shown { text, json, go_type: "time.Duration", truth: nanos != 0 })
    }

    fn time(&self, name: &'static str) -> Field {
        let written = self.0[name].as_str().unwrap_or("0001-01-01T00:00:00Z");
        let json = json::string(written, Html::Plain).into();
        field(name, Value::Shown { text: shown(written).into(), json, go_type: "time.Time", truth: true })
    }
}

/// A time of JSON as Go shows it: in UTC, in this machine's zone if the offset is its own, or with a bare offset.
fn shown(written: &str) -> String {
    let Ok(time) = written.parse::<Timestamp>() else { return written.to_owned() };
    let local = TimeZone::system();
    if written.ends_with('Z') {
        return ago::go_time(time, &TimeZone::UTC);
    }
    let offset = written.len().checked_sub(6).and_then(|at| written.get(at..)).unwrap_or("");
    if time.to_zoned(local.clone()).strftime("%:z").to_string() == offset {
        return ago::go_time(time, &local);
    }
    let bare = offset.replace(':', "");
    let date_time = written[..written.len() - offset.len()].replace('T', " ");
    format!("{date_time} {bare} {bare}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn inspected(template: &str) -> (String, Vec<String>) {
        let image = json!({
            "Id": "sha256:0123", "RepoTags": ["a:1", "b:2"], "Size": 842,
            "Config": {"Cmd": null, "Env": ["A=<&>"], "Labels": {"k": "v"}, "Healthcheck": {"Test": ["CMD"], "Interval": 5_000_000_000_i64}},
            "Metadata": {"LastTagTime": "2026-11-21T02:44:04.5+05:45"},
        });
        let inspection = inspect_template(&[image], template).unwrap();
        (inspection.output, inspection.errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn types_first_then_json() {
        let fine = [
            ("{{.ID}}", "sha256:0123\n"),
            ("{{.Id}} {{printf \"%T\" .Size}}", "sha256:0123 json.Number\n"),
            ("{{.Size}} {{printf \"%T\" .Size}}", "842 int64\n"),
            ("{{.Config.Cmd}} {{json .Config.Cmd}} {{.Variant}}|", "[] null |\n"),
            ("{{.Config.Labels.nope}}", "<no value>\n"),
            ("{{.Config.Healthcheck}}", "{[CMD] 5s 0s 0s 0}\n"),
            ("{{.Config.StopTimeout}} {{.ContainerConfig}}", "<nil> <nil>\n"),
            ("{{.Metadata.LastTagTime}}", "2026-11-21 02:44:04.5 +0545 +0545\n"),
            ("{{json .Config.Healthcheck}}", "{\"Test\":[\"CMD\"],\"Interval\":5000000000}\n"),
            ("{{join .RepoTags \",\"}}", "a:1,b:2\n"),
            ("json me", "json me\n"),
        ];
        for (template, output) in fine {
            assert_eq!(inspected(template), (output.to_owned(), vec![]), "{template}");
        }
    }

    #[test]
    fn errors_name_the_json() {
        let (output, errors) = inspected("{{.Config.Nope}}");
        assert_eq!(output, "\n");
        let text = r#"template parsing error: template: :1:9: executing "" at <.Config.Nope>: map has no entry for key "Nope""#;
        assert_eq!(errors, [text]);
        assert_eq!(
            inspect_template(&[], "{{.Nope").unwrap_err().to_string(),
            "template parsing error: template: :1: unclosed action"
        );
    }
}
