//! Inputs of any size, each of a shape that a careless parser would read more than once.

mod archive;
mod databases;

/// A name, a size that shows in the count, the target, and the input of a size.
pub(crate) type Input = (&'static str, usize, &'static str, fn(usize) -> Vec<u8>);

pub(crate) const INPUTS: &[Input] = &[
    ("links of a header", 4000, "header", |size| "<a>".repeat(size).into()),
    ("a challenge", 4000, "header", |size| format!("Bearer {}", "a=b,".repeat(size)).into()),
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
    ("filters", 2000, "filter", |size| lines(size, |at| format!("label=key{at}=value"))),
    ("digits of a size", 50_000, "size", |size| "1".repeat(size).into()),
    ("blanks of a size", 20_000, "size", |size| format!("1{}k", " ".repeat(size)).into()),
    ("units of a size", 100_000, "size", |size| format!("1{}", "ib".repeat(size)).into()),
    ("lines of excludes", 500, "exclude", |size| lines(size, |at| format!("app{at}:[0-9]*"))),
    ("a long exclude", 1000, "exclude", |size| "x[a-f]*".repeat(size).into()),
    ("a long bracket", 4000, "exclude", |size| format!("app[{}]", "a-f".repeat(size)).into()),
    ("a long name to keep", 20_000, "keep", |size| format!("*a*a*b\0{}", "a".repeat(size)).into()),
    ("a long pattern to keep", 20_000, "keep", |size| format!("{0}\0{0}", "a".repeat(size)).into()),
    ("variables of a change", 1000, "change", |size| {
        format!("ENV {}", (0..size).map(|at| format!("k{at}=v ")).collect::<String>()).into()
    }),
    ("changes of a variable each", 400, "change", |size| lines(size, |at| format!("ENV k{at}=v"))),
    ("labels of a change", 1000, "change", |size| {
        format!("LABEL {}", (0..size).map(|at| format!("k{at}=\"v\" ")).collect::<String>()).into()
    }),
    ("quotes of a change", 3000, "change", |size| format!("USER {}", "'a'\\b\"c\"".repeat(size)).into()),
    ("values of a change", 2000, "change", |size| format!("USER {}", "${A:-x}$A".repeat(size)).into()),
    ("words of a change", 2000, "change", |size| {
        format!("VOLUME [{}\"/z\"]", (0..size).map(|at| format!("\"/v{at}\",")).collect::<String>()).into()
    }),
    ("ports of a change", 1000, "change", |size| {
        format!("EXPOSE {}", (0..size).map(|at| format!("{} ", at % 60_000)).collect::<String>()).into()
    }),
    ("a path of a change", 4000, "change", |size| format!("WORKDIR {}", "a/../b/".repeat(size)).into()),
    ("flags of a check", 1000, "change", |size| format!("HEALTHCHECK {}CMD x", "--retries=1 ".repeat(size)).into()),
    ("a record of intent", 500, "record", |size| {
        let layer = |at| format!("{{\"add-layer\":\"sha256:{at:064x}\"}}\n");
        let all: String = (0..size).map(layer).collect();
        format!("{{\"layerfs-intent\":2}}\n{all}{{\"end\":{size}}}\n").into()
    }),
    ("mounts", 1000, "mountinfo", |size| {
        lines(size, |at| format!("{at} 1 0:{at} /a\\040b /m/{at} rw shared:{at} - ext4 /dev/x rw,a=\\054"))
    }),
    ("options of a mount", 10_000, "mountinfo", |size| {
        format!("1 1 0:1 / /m rw - overlay o {}rw\n", "lowerdir=/a\\054,".repeat(size)).into()
    }),
    ("variables of a container", 2000, "container", |size| {
        format!(
            "{{\"ID\":\"a\",\"Config\":{{\"Env\":[{}\"Z=1\"]}}}}\0{{\"NetworkMode\":\"none\"}}",
            "\"A=b\",".repeat(size)
        )
        .into()
    }),
    ("mounts of a container", 500, "container", |size| {
        let point = |at| format!("\"/m{at}\":{{\"Destination\":\"/m{at}\",\"Type\":\"volume\",\"Name\":\"v{at}\"}},");
        let points: String = (0..size).map(point).collect();
        format!("{{\"ID\":\"a\",\"Config\":{{}},\"Path\":\"x\",\"MountPoints\":{{{points}\"/z\":null}}}}\0{{\"NetworkMode\":\"none\"}}").into()
    }),
    ("paths hidden from a container", 4000, "container", |size| {
        let paths = "\"/proc/a\",".repeat(size);
        format!("{{\"ID\":\"a\",\"Config\":{{}},\"Path\":\"x\"}}\0{{\"NetworkMode\":\"none\",\"MaskedPaths\":[{paths}\"/z\"]}}").into()
    }),
    ("users", 2000, "accounts", |size| {
        [lines(size, |at| format!("u{at}:x:{at}:{at}::/home/{at}:")), b"\0\0nosuch".to_vec()].concat()
    }),
    ("members of a group", 4000, "accounts", |size| {
        format!("u:x:1:1::/:\n\0g:x:5:{}\0u", (0..size).map(|at| format!("m{at},")).collect::<String>()).into()
    }),
    ("rules of a profile", 200, "profile", |size| {
        let rule = |at| {
            format!(
                "{{\"names\":[\"call{at}\"],\"action\":\"SCMP_ACT_ALLOW\",\"includes\":{{\"caps\":[\"CAP_CHOWN\"]}}}},"
            )
        };
        let rules: String = (0..size).map(rule).collect();
        format!("{{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":[{rules}{{\"action\":\"x\"}}]}}").into()
    }),
    ("names of a rule", 4000, "profile", |size| {
        let names = "\"read\",".repeat(size);
        format!("{{\"defaultAction\":\"x\",\"syscalls\":[{{\"names\":[{names}\"write\"],\"action\":\"y\"}}]}}").into()
    }),
    ("a path to mount at", 20_000, "bind", |size| format!("v:/{}", "a/../b/".repeat(size)).into()),
    ("a log", 400, "log", |size| {
        "{\"log\":\"a\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:04:05.12Z\"}\n".repeat(size).into()
    }),
    ("a long line of a log", 60_000, "log", |size| {
        format!("{{\"log\":\"{}\",\"time\":\"2026-01-02T03:04:05Z\"}}\n", "\\u00e9".repeat(size)).into()
    }),
];

fn lines(count: usize, line: impl Fn(usize) -> String) -> Vec<u8> {
    (0..count).flat_map(|at| (line(at) + "\n").into_bytes()).collect()
}
