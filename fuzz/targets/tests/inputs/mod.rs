//! Inputs of any size, each of a shape that a careless parser would read more than once.

mod archive;
mod databases;

/// A name, a size that shows in the count, the target, and the input of a size.
pub(crate) type Input = (&'static str, usize, &'static str, fn(usize) -> Vec<u8>);

pub(crate) const INPUTS: &[Input] = &[
    ("many members", 400, "framer", archive::members),
    ("a PAX 1.0 map", 8000, "framer", archive::map_in_body),
    ("a PAX 0.1 map", 8000, "framer", archive::map_in_record),
    ("a PAX 0.0 map", 2000, "framer", archive::map_of_records),
    ("an old GNU map", 4000, "framer", archive::gnu_map),
    ("PAX records", 4000, "framer", archive::records),
    ("extension headers", 300, "framer", archive::extensions),
    ("a deep path", 20_000, "framer", archive::deep_path),
    ("journal entries", 1000, "journal", |size| {
        let line = |at| format!("{{\"type\":1,\"name\":\"{at}\",\"payload\":null,\"position\":{at}}}\n");
        (0..size).map(line).collect::<String>().into()
    }),
    ("a long journal entry", 400_000, "journal", |size| {
        format!("{{\"type\":2,\"payload\":\"{}\"}}", "aGVs".repeat(size / 4)).into()
    }),
    ("unknown keys", 100_000, "journal", |size| format!("{{\"type\":2,\"x\":[{}1]}}", "{},".repeat(size)).into()),
    ("a leaf's keys", 3000, "bolt", databases::keys),
    ("pages", 400, "bolt", databases::pages),
    ("buckets in a leaf", 1000, "bolt", databases::inline_buckets),
    ("buckets of their own", 200, "bolt", databases::buckets),
    ("archives of many images", 300, "manifest", |size| {
        let image = |at| format!("{{\"Config\":\"{at}.json\",\"RepoTags\":[\"a:{at}\"],\"Layers\":[]}},");
        format!("[{}null]", (0..size).map(image).collect::<String>()).replace(",null]", "]").into()
    }),
    ("an image of many layers", 3000, "manifest", |size| {
        format!("[{{\"Config\":\"c.json\",\"Layers\":[{}\"x\"]}}]", "\"a/layer.tar\",".repeat(size)).into()
    }),
    ("tags of an image", 1000, "manifest", |size| {
        let tags: String = (0..size).map(|at| format!("\"a:{at}\",")).collect();
        format!("[{{\"Config\":\"c.json\",\"RepoTags\":[{tags}\"b:1\"],\"Layers\":[]}}]").into()
    }),
    ("manifests of an index", 1000, "index", |size| {
        let one = "{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"size\":9,\"digest\":\"sha256:@1\"},";
        let all = one.repeat(size);
        format!("{{\"schemaVersion\":2,\"manifests\":[{}]}}\0{{}}", all.trim_end_matches(',')).into()
    }),
    ("a config's history", 1000, "config", |size| {
        format!("{{\"rootfs\":{{}},\"history\":[{}{{}}]}}", "{\"empty_layer\":true},".repeat(size)).into()
    }),
    ("a config's keys", 2000, "config", |size| {
        let keys: String = (0..size).map(|at| format!("\"k{at}\":{at},")).collect();
        format!("{{{keys}\"rootfs\":{{\"diff_ids\":[]}}}}").into()
    }),
    ("lists of numbers", 4000, "gojson", |size| format!("{{\"a\":[{}null]}}", "12,".repeat(size)).into()),
    ("keys of a map", 2000, "gojson", |size| {
        let keys: String = (0..size).map(|at| format!("\"k{at}\":[],")).collect();
        format!("{{{keys}\"z\":[1]}}").into()
    }),
    ("one field many times", 2000, "gojson", |size| {
        format!("{{{}\"env\":[]}}", "\"Env\":[\"A=b\"],".repeat(size)).into()
    }),
    ("levels of JSON", 2000, "gojson", |size| format!("{{\"x\":{}{}}}", "[".repeat(size), "]".repeat(size)).into()),
    ("escapes", 4000, "gojson", |size| format!("{{\"{}\":[]}}", "\\u00e9".repeat(size)).into()),
    ("repositories", 500, "repositories", |size| {
        let id = format!("sha256:{}", "a".repeat(64));
        let all: String = (0..size).map(|at| format!("\"r{at}\":{{\"r{at}:1\":\"{id}\"}},")).collect();
        format!("{{\"Repositories\":{{{}}}}}", all.trim_end_matches(',')).into()
    }),
    ("a long reference", 20_000, "reference", |size| "a/".repeat(size).into()),
    ("a reference of dashes", 20_000, "reference", |size| format!("a{}b", "-".repeat(size)).into()),
    ("a template's actions", 300, "template", |size| "x{{.ID}}{{if .On}}y{{end}}".repeat(size).into()),
    ("a template's text", 20_000, "template", |size| "some text { } ".repeat(size).into()),
    ("a template's comments", 5000, "template", |size| "{{/* x */}}".repeat(size).into()),
    ("a pipeline", 1000, "template", |size| format!("{{{{.ID{}}}}}", " | print".repeat(size / 10)).into()),
    ("arguments", 1000, "template", |size| format!("{{{{print{}}}}}", " .Size".repeat(size)).into()),
    ("quoted text", 20_000, "template", |size| format!("{{{{\"{}\"}}}}", "\\u00e9".repeat(size)).into()),
    ("verbs of printf", 1000, "template", |size| format!("{{{{printf \"{}\" 1}}}}", "%d %v ".repeat(size)).into()),
    ("stars of a pattern", 20_000, "pattern", |size| format!("{}b\0{}", "*a".repeat(size), "a".repeat(400)).into()),
    ("a class of a pattern", 20_000, "pattern", |size| format!("[{}]*", "a-b".repeat(size)).into()),
    ("a duration", 2000, "until", |size| "1h1m".repeat(size).into()),
    ("digits of a time", 20_000, "until", |size| "1".repeat(size).into()),
];
