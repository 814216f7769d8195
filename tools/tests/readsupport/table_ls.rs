//! Command lines of `image ls`.

use super::ask::{Examiner, Failure, Row};
use super::canonical::Random::{self, Blocks, No, Rows};

/// Flags of which each goes with each.
const FLAGS: &[&str] = &["-a", "--digests", "--no-trunc"];

const TEMPLATES: &[&str] = &[
    "{{.ID}}",
    "{{.ID}} {{.Repository}}",
    "{{.ID}}: {{.Repository}}:{{.Tag}}",
    "{{.Repository}}@{{.Digest}} {{.ID}}",
    "{{.ID}} {{.CreatedSince}}",
    "{{.ID}} {{.CreatedAt}}",
    "{{.ID}} {{.Size}}",
    "{{.ID}} {{.VirtualSize}}",
    "{{.ID}} {{.SharedSize}} {{.UniqueSize}} {{.Containers}}",
    "{{json .}}",
    "{{json .ID}} {{json .Tag}}",
    "{{.ID | printf \"%20.5s|\"}}",
    "{{printf \"%q %v\" .ID .Size}}",
    "{{upper .Repository}} {{lower .ID}} {{title .Tag}}",
    "{{if eq .Tag \"latest\"}}newest {{.ID}}{{else}}{{.ID}} is {{.Tag}}{{end}}",
    "{{with .Digest}}{{.}}{{end}} {{.ID}}",
    "{{len .ID}} {{.ID}} {{slice .ID 0 4}}",
    "{{split .Repository \"/\"}} {{.ID}}",
    "{{join (split .ID \"a\") \"-\"}} {{.ID}}",
    "{{pad .Tag 2 3}}|{{truncate .Repository 4}}|{{.ID}}",
    "{{.ID}}\\t{{.Tag}}\\n",
    "{{/* nothing */}}{{- .ID -}} {{.Tag}}",
    "{{$id := .ID}}{{$id}} {{range $i, $part := split .Repository \"/\"}}{{$i}}={{$part}} {{end}}",
    "{{.ID}} {{and .Tag .Digest}} {{or \"\" .Tag}} {{not .Tag}} {{ne .Tag \"1\"}}",
    "constant",
    "table",
    "table {{.ID}}",
    "table {{.ID}}\\t{{.Repository}}\\t{{.Tag}}\\t{{.Digest}}",
    "table {{.ID}} {{.CreatedSince}}\\t{{.CreatedAt}}\\t{{.Size}}\\t{{.VirtualSize}}",
    "table {{.SharedSize}}\\t{{.UniqueSize}}\\t{{.Containers}}\\t{{.ID}}",
    "table {{.Repository}}:{{.Tag}}\\t{{upper .ID}}\\t{{.ID}}",
    "table {{json .ID}}\\t{{.ID}}",
];

/// Templates that do not parse or do not fit.
const BAD_TEMPLATES: &[&str] =
    &["{{.Nosuch}}", "{{.ID", "{{nosuch .ID}}", "{{.ID.More}}", "{{end}}", "table {{.Nosuch}}"];

/// Every value of every filter, and some together.
const FILTERS: &[&[&str]] = &[
    &["dangling=true"],
    &["dangling=false"],
    &["dangling=1"],
    &["dangling=maybe"],
    &["dangling="],
    &["dangling=true", "dangling=false"],
    &["label=maker"],
    &["label=maker=zoo"],
    &["label=maker=other"],
    &["label=nosuch"],
    &["label="],
    &["label=app", "label=version=2"],
    &["label=app="],
    &["label=legacy"],
    &["label=legacy=<yes> & \u{e9}"],
    &["label=comma=a,b=c"],
    &["label=empty"],
    &["label=tr\u{e8}s=chic <>&"],
    &["before=zoo/app:1"],
    &["before=zoo/app"],
    &["before=zoo/legacy:1"],
    &["before=nosuch"],
    &["before=zoo/undated:1"],
    &["since=zoo/app:1"],
    &["since=zoo/undated:1"],
    &["since=zoo/future:1"],
    &["since=zoo/app:1", "before=zoo/app:3"],
    &["since=nosuch:1"],
    &["since=zoo/app:1", "dangling=true"],
    &["nosuch=1"],
    &["reference=zoo/*"],
    &["reference=zoo/app"],
    &["reference=zoo/app:*"],
    &["reference=*"],
    &["reference=*:1"],
    &["reference=*/*"],
    &["reference=*/*/*"],
    &["reference=*/*:[12]"],
    &["reference=zoo/a??:?"],
    &["reference=zoo/a??", "reference=years"],
    &["reference=docker.io/zoo/app:1"],
    &["reference=docker.io/library/years"],
    &["reference=mirror.example:5000/*/base"],
    &["reference=mirror.example:5000/team/base:1"],
    &["reference=years:latest"],
    &["reference=zoo/app:[1"],
    &["reference=ZOO/app"],
    &["reference="],
    &["reference=zoo/*:1", "label=version"],
    &["reference=zoo/app:1", "dangling=true"],
    &["malformed"],
    &["=x"],
];

/// Positional references.
const REFERENCES: &[&str] = &[
    "zoo/app",
    "zoo/app:2",
    "zoo/app:nosuch",
    "zoo/*",
    "*",
    "years",
    "years:latest",
    "library/years",
    "nosuch",
    "zoo/a*:1",
    "zoo/[a-b]*",
    "mirror.example:5000/team/base",
    "zoo/app:",
    "",
    "[",
    "zoo/app@sha256:00",
    "<none>",
];

fn row(random: Random, arguments: &[&str]) -> Row {
    let arguments = ["image", "ls"].iter().chain(arguments).map(|&word| word.to_owned()).collect();
    Row { arguments, random, failure: Failure::Same, live: false }
}

/// `image ls` with every combination of its flags, with references, and as it is called otherwise.
pub(crate) fn flags(examiner: &Examiner) -> Vec<Row> {
    let mut rows = Vec::new();
    for combination in 0..1 << FLAGS.len() {
        let chosen: Vec<&str> =
            (0..FLAGS.len()).filter(|flag| combination & (1 << flag) != 0).map(|flag| FLAGS[flag]).collect();
        rows.push(row(Rows, &chosen));
        rows.push(row(No, &[&chosen[..], &["-q"]].concat()));
    }
    for reference in REFERENCES {
        rows.push(row(Rows, &[reference]));
        rows.push(row(Rows, &["-a", "--digests", "--no-trunc", reference]));
        rows.push(row(No, &["-q", reference]));
    }
    let registry = &examiner.zoo.registry;
    for reference in ["zoo/pushed", "zoo/pushed:1", "zoo/digest-only", "*/*", "other:2"] {
        rows.push(row(Rows, &[&format!("{registry}/{reference}")]));
        rows.push(row(Rows, &["--digests", &format!("{registry}/{reference}")]));
    }
    for more in [&["-aq"][..], &["--all", "--quiet"], &["--all=false"], &["--no-trunc=false"], &["-qa", "--no-trunc"]] {
        rows.push(row(Rows, more));
    }
    for wrong in [&["one", "two"][..], &["--nosuch"], &["-x"], &["--filter"], &["--all=maybe"]] {
        rows.push(Row { failure: Failure::Any, ..row(No, wrong) });
    }
    // The older names of the command.
    for words in [&["images"][..], &["images", "-q"], &["image", "list", "--digests"]] {
        rows.push(Row { arguments: words.iter().map(|&word| word.to_owned()).collect(), ..row(Rows, &[]) });
    }
    rows
}

/// `image ls` with filters.
pub(crate) fn filters(_: &Examiner) -> Vec<Row> {
    let mut rows = Vec::new();
    for filters in FILTERS {
        let filters: Vec<&str> = filters.iter().flat_map(|filter| ["--filter", filter]).collect();
        rows.push(row(Rows, &filters));
        rows.push(row(No, &[&filters[..], &["-aq"]].concat()));
    }
    rows.push(row(Rows, &["-f", "dangling=true", "--digests", "--no-trunc"]));
    rows.push(row(Rows, &["-f", "label=maker", "zoo/app"]));
    rows.push(row(Rows, &["-f", "reference=zoo/app:1", "zoo/app:2"]));
    rows
}

/// `image ls` with templates.
pub(crate) fn templates(_: &Examiner) -> Vec<Row> {
    let mut rows = Vec::new();
    for template in TEMPLATES {
        rows.push(row(Rows, &["--format", template]));
        rows.push(row(Rows, &["-a", "--digests", "--no-trunc", "--format", template]));
    }
    for flags in [&[][..], &["-a", "--digests"], &["--no-trunc"]] {
        rows.push(row(Blocks, &[flags, &["--format", "raw"]].concat()));
        rows.push(row(Rows, &[flags, &["--format", "raw", "-q"]].concat()));
    }
    rows.push(row(Rows, &["-q", "--format", "{{.ID}} {{.Tag}}"]));
    rows.push(row(Rows, &["-q", "--format", "table {{.ID}} {{.Tag}}"]));
    // Not `--format json`: 20.10 prints the word itself, later ones and we what {{json .}} gives.
    rows.push(row(Rows, &["--format", ""]));
    rows.push(row(Rows, &["--format", "{{.ID}}", "nosuch"]));
    rows.push(row(Rows, &["--format", "table {{.ID}}", "nosuch"]));
    rows.extend(BAD_TEMPLATES.iter().map(|bad| Row { failure: Failure::Any, ..row(Rows, &["--format", bad]) }));
    rows
}
