//! The text of `docker_format` against docker's client: the same rows, the same images, the same filters.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::process::Output;

use docker_format::filter::{Command, Filters};
use docker_format::listing::{ListingKind, Row};
use docker_format::presets::{self, DISK_USAGE, HISTORY, IMAGES};
use docker_format::{inspect, pattern};
use serde_json::Value;
use testkit::dockerd::Dockerd;

const LAYERS: &str = "layerfs-test/layers:1";

/// Any listing takes these; `F` stands for the name of a field.
const FOR_ALL: [&str; 46] = [
    "",
    "table",
    "raw",
    "table ",
    "table \\t",
    " ",
    "plain",
    "{{json .}}",
    "{{json .F}} {{json (split .F \"b\")}}",
    "{{.F}}",
    "{{.F}}\\n{{.F}}\\t|\\r|\\\\n|\\\"",
    "  {{.F}}  ",
    "\t {{.F}} \t",
    "table {{.F}}",
    "table{{.F}}",
    "tableau {{.F}}",
    "  table   {{.F}}\\n",
    "table {{.F}}\\t{{.F | upper}}\\t{{lower .F}}\\t{{title .F}}",
    "table {{split .F \"/\"}}\\t{{join (split .F \"/\") \"+\"}}\\t{{pad .F 2 3}}|\\t{{truncate .F 4}}\\t{{json .F}}",
    "table {{.F}}\\t{{println .F}}",
    "table {{printf \"%.3s\" .F}}\\t{{print .F .F}}",
    "table {{len .F}} {{if true}}{{.F}}{{end}} {{with .F}}{{.}}{{end}} {{.F | len | printf \"%d\"}}",
    "table {{range $i, $x := split .F \"a\"}}{{$i}}{{$x}}{{end}}",
    "table {{json .}}",
    "table {{.Nope}}",
    "table {{.F",
    "table {{$}}{{.Nope}}",
    "{{.Nope}}",
    "{{.F}} {{.Nope}}",
    "{{.F.Foo}}",
    "{{.F 1}}",
    "{{1 | .F}}",
    "{{.F",
    "{{nope .F}}",
    "{{pad .F}}",
    "{{truncate \"a\" \"b\"}}",
    "{{json}}",
    "{{.F}}{{\"\\n\"}}",
    "{{define \"x\"}}a{{.}}{{end}}{{template \"x\" .F}}",
    "{{if eq .F \"1\"}}one{{else}}other{{end}}",
    "{{with $x := .F}}{{len $x}} {{index $x 0}} {{slice $x 0 1}}{{else}}nothing{{end}}",
    "{{index (split .F \"/\") 1}}",
    "{{join .F \",\"}}",
    "{{end}}",
    "{{- .F -}}  x",
    "{{printf \"%20s|%-20s|%q\" .F .F .F}} {{html .F}} {{urlquery .F}}",
];

/// What differs between docker's text and ours for every template and every one of these fields.
fn compare(
    daemon: &Dockerd,
    arguments: &[&str],
    kind: &ListingKind,
    named: impl Fn(&str) -> String + Sync,
    wrong: &mut Vec<String>,
) {
    let run = |format: &str| daemon.docker(&[arguments, &["--format", format]].concat());
    let rows = || -> Vec<Row> {
        let text = text(&run("{{json .}}").stdout);
        let objects: Vec<BTreeMap<String, String>> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let value = |object: &BTreeMap<String, String>, name| object.get(name).map(|value| (name, value.clone()));
        objects.iter().map(|it| kind.fields.iter().filter_map(|(name, _)| value(it, *name)).collect()).collect()
    };
    let headers: String = kind.fields.iter().map(|(name, _)| format!("{{{{.{name}}}}}\\t")).collect();
    let fields = [kind.fields[0].0, kind.fields[1].0];
    let per_field =
        fields.iter().flat_map(|field| FOR_ALL.map(|template| template.replace(".F", &format!(".{field}"))));
    let all: Vec<String> = per_field.chain([format!("table {headers}"), headers]).collect();
    // An age may pass a boundary in between.
    for _ in 0..3 {
        let before = rows();
        assert!(!before.is_empty());
        let ask = |template: &String| differs(&run(template), kind, &named(template), &before);
        // dockerd adds up the usage for one client at a time, and refuses a second.
        let found: Vec<Option<String>> = if arguments == ["system", "df"] {
            all.iter().map(ask).collect()
        } else {
            testkit::two_at_a_time(&all, ask)
        };
        if rows() == before {
            wrong.extend(found.into_iter().flatten().map(|line| format!("{arguments:?} {line}")));
            return;
        }
    }
    panic!("the rows change all the time");
}

fn differs(docker: &Output, kind: &ListingKind, template: &str, rows: &[Row]) -> Option<String> {
    let (out, err, code) = match kind.render(template, rows) {
        Ok(text) => (text, String::new(), 0),
        Err(error) => (String::new(), format!("{error}\n"), 1),
    };
    differ(template, docker, (&out, &err, code))
}

fn differ(what: &str, docker: &Output, ours: (&str, &str, i32)) -> Option<String> {
    let dockers = (text(&docker.stdout), text(&docker.stderr), docker.status.code().unwrap());
    let equal = (dockers.0.as_str(), dockers.1.as_str(), dockers.2) == ours;
    (!equal).then(|| format!("{what}\n    ours {ours:?}\n  docker {dockers:?}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A daemon with images of different seconds, a name each or none.
fn daemon(dir: &tempfile::TempDir) -> Dockerd {
    let daemon = Dockerd::start(&testkit::empty_root(dir, "root"));
    for golden in ["layers-20.10.tar", "shared-20.10.tar", "busybox-20.10.tar"] {
        daemon.load(&testkit::golden(golden));
    }
    daemon.ok(&["rmi", "layerfs-alias:latest", "layerfs-test/twice:1", "layerfs-test/shared-base:1"]);
    daemon
}

#[test]
fn listings_are_dockers() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let daemon = daemon(&dir);
    let mut wrong = Vec::new();
    for (flags, quiet, digests) in [
        (&[][..], false, false),
        (&["--digests"], false, true),
        (&["-q"], true, false),
        (&["--no-trunc"], false, false),
    ] {
        let arguments = [&["image", "ls"], flags].concat();
        compare(&daemon, &arguments, &IMAGES, |format| presets::images(format, quiet, digests), &mut wrong);
    }
    for (flags, quiet, human) in
        [(&[][..], false, true), (&["-q"], true, true), (&["-H=false"], false, false), (&["--no-trunc"], false, true)]
    {
        let arguments = [&["history", LAYERS], flags].concat();
        compare(&daemon, &arguments, &HISTORY, |format| presets::history(format, quiet, human), &mut wrong);
    }
    compare(&daemon, &["system", "df"], &DISK_USAGE, presets::disk_usage, &mut wrong);
    testkit::assert_none("listings", &wrong);
}

#[test]
fn inspect_is_dockers() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let daemon = daemon(&dir);
    let images = [LAYERS, "layerfs-test/app:1", "layerfs-test/busybox:1"];
    let inspected = |more: &[&str]| daemon.docker(&[&["image", "inspect"], more, &images].concat());
    let values: Vec<Value> = serde_json::from_slice(&inspected(&[]).stdout).unwrap();
    let templates = [
        "",
        "{{json .}}",
        "{{json .Config}}",
        "{{.Id}}",
        "{{.ID}}",
        "{{.Id}} {{.ID}}",
        "{{.Nope}}",
        "{{.Config.Nope}}",
        "{{.config.Nope}}",
        "{{.Id.x}}",
        "{{.ID.x}}",
        "{{.Config.Labels.nope}} {{.Config.Env}}",
        "{{.Nope",
        "{{nope}}",
        "{{.Id}}\\n\\t{{.Size}}",
        "{{.Size}} {{.VirtualSize}} {{printf \"%T %T\" .Size .RootFS}} {{.RootFS}}",
        "{{printf \"%T %d %v %s\" .Id .Size .Size .Size}}",
        "{{.Id}} {{printf \"%T %d %v %s\" .Id .Size .Size .Size}}",
        "{{range .RepoTags}}{{.}},{{end}} {{.GraphDriver.Data.MergedDir}} {{index .RepoTags 0}} {{.Metadata.LastTagTime}}",
        "{{index .RepoTags 1}}",
        "{{index .RepoTags 0}} {{index .RepoTags 5}}",
        "{{.Created}} {{json .Created}} {{.Metadata}} {{json .Metadata}}",
        "{{.GraphDriver}} {{json .GraphDriver}}",
        "{{.Config.Cmd}} {{join .Config.Cmd \",\"}} {{json .Config.Cmd}} {{len .Config.Cmd}}",
        "{{join .RepoTags \"+\"}}",
        "{{.Id}} {{join .RepoTags \"+\"}}",
        "{{index . \"Id\"}}",
        "{{.Variant}}{{.RootFS.BaseLayer}}|",
        "{{range $k, $v := .GraphDriver.Data}}{{$k}}={{$v}} {{end}}",
        "{{.Config.ExposedPorts}} {{.Config.Volumes}} {{.Config.User}} {{.Config.Healthcheck}}",
        "{{json .Config.Healthcheck}} {{json .Config.ExposedPorts}} {{json .Config.Volumes}}",
        "{{with .Config.Healthcheck}}{{.Interval}} {{.Test}} {{.Retries}}{{else}}none{{end}}",
        "{{.Config.Healthcheck.Interval}}",
        "{{.Config.StopTimeout}} {{.Config.StopSignal}} {{.Config.Shell}} {{json .Config.Shell}}",
        "{{.Config.Labels}} {{json .Config.Labels}} {{len .Config.Labels}}",
        "{{index .Config.Labels \"k\"}}|",
        "{{.Id}} {{.Config.Cmd}} {{.ContainerConfig.Tty}} {{json .ContainerConfig}}",
        "{{.Id}} {{.RootFS.Layers}}",
        "{{.Id}} {{.Config.Env.x}}",
        "{{.Id}} {{.Config.Cmd.x}}",
        "{{range .Config.Env}}{{println .}}{{end}}",
        "{{if .Config.AttachStdin}}in{{end}}{{if not .Config.Tty}}no tty{{end}} {{.Config.Tty}}",
        "{{eq .Size 842}} {{gt .Size 20}} {{eq .Os \"linux\"}}",
        "{{upper .Os}}/{{title .Architecture}} {{split .ID \":\"}} {{truncate .ID 12}} {{pad .Os 1 1}}|",
        "{{range $i, $l := .RootFS.Layers}}{{if $i}}, {{end}}{{slice $l 7 19}}{{end}}",
        "{{.Comment}}{{.Author}}{{.DockerVersion}} {{.Container}} {{.Parent}}",
    ];
    let mut wrong = Vec::new();
    for template in templates {
        let docker = inspected(&["--format", template]);
        let ours = match inspect::inspect_template(&values, template) {
            Ok(it) => {
                let errors: String = it.errors.iter().map(|error| format!("{error}\n")).collect();
                (it.output, errors, i32::from(!it.errors.is_empty()))
            }
            Err(error) => (String::new(), format!("{error}\n"), 64),
        };
        wrong.extend(differ(template, &docker, (&ours.0, &ours.1, ours.2)));
    }
    testkit::assert_none("inspect", &wrong);
}

#[test]
fn filters_are_dockers() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let daemon = daemon(&dir);
    let mut wrong = Vec::new();
    let names = daemon.ok(&["image", "ls", "--format", "{{.Repository}} {{.Tag}}"]);
    let patterns = [
        "*",
        "*/*",
        "layerfs-test/*",
        "layerfs-test/a*",
        "*/*:1",
        "*/[a-l]*",
        "*/[^a]*",
        "layerfs-test/?pp",
        "*/app:?",
        "layerfs-test/app",
        "layerfs-test/app:1",
        "layerfs-test/app:2",
        "\\layerfs-test/app",
        "LAYERFS-test/app",
        ":1",
        "",
        "docker.io/layerfs-test/app",
        "[",
        "x[",
        "layerfs-test/app\\",
        "*/[a-",
        "*/[]",
        "**",
        "*/*s*",
    ];
    for pattern in patterns {
        let docker = daemon.docker(&[
            "image",
            "ls",
            "--format",
            "{{.Repository}} {{.Tag}}",
            "--filter",
            &format!("reference={pattern}"),
        ]);
        let tagged = names.lines().filter(|line| !line.starts_with('<'));
        let found: Result<Vec<&str>, _> = tagged
            .filter_map(|line| {
                let (name, tag) = line.split_once(' ').unwrap();
                match pattern::familiar(pattern, &format!("{name}:{tag}"), name) {
                    Ok(found) => found.then_some(Ok(line)),
                    Err(error) => Some(Err(error)),
                }
            })
            .collect();
        let ours = match found {
            Ok(lines) => (lines.iter().map(|line| format!("{line}\n")).collect(), String::new(), 0),
            Err(error) => (String::new(), format!("Error response from daemon: {error}\n"), 1),
        };
        wrong.extend(differ(pattern, &docker, (&ours.0, &ours.1, ours.2)));
    }
    // Commands that find nothing to do, or refuse.
    let list = (Command::ImageList, &["image", "ls", "-q", "--filter", "reference=none"][..]);
    let prune = (Command::ImagePrune, &["image", "prune", "-f", "--filter", "label=none"][..]);
    let containers = (Command::ContainerPrune, &["container", "prune", "-f", "--filter", "label=none"][..]);
    let volumes = (Command::VolumeList, &["volume", "ls", "-q"][..]);
    let values = [
        "x=1",
        "=",
        "X = 1",
        "dangling=1",
        "dangling=foo",
        "dangling=",
        "dangling=true",
        "label=a",
        "label!=a",
        "until=1h",
        "until=bad",
        "until=",
        "until=1h30m",
        "until=2030-01-01",
        "until=99999999",
        "until=1x",
        "until=-1h",
        "until=2030-01-01T00:00:00",
        "until=2030-13-01",
        "until=2030-02-30",
        "until=2030-1-1",
        "until=a-b",
        "until=2030-01-01T25:00",
        "until=2030-01-01T10:61",
        "until=2030-01-01T1",
        "until=2030-01-01x",
        "until=2030-01-01T10:10:10.5Zx",
        "until=-",
        "until=1.5",
        "until=2030-01-01T10:10:10+0100",
        "until=2030-01-01T10:10:10.",
        "until=1.",
        "until=.5",
        "until=1.5h",
        "driver=x",
        "name=x",
    ];
    for (command, arguments) in [list, prune, containers, volumes] {
        for value in values {
            // Values of `dangling` are another's business where there are more than these.
            let checks_dangling = command == Command::ImageList;
            if value.starts_with("dangling") && !checks_dangling {
                continue;
            }
            let docker = daemon.docker(&[arguments, &["--filter", value]].concat());
            let filters = Filters::parse(&[value]).unwrap();
            let checked = filters.check(command);
            let checked = checked.and_then(|()| if checks_dangling { filters.dangling().map(drop) } else { Ok(()) });
            let checked = checked.and_then(|()| filters.until(jiff::Timestamp::now()).map(drop));
            let ours = checked.err().map_or_else(String::new, |error| format!("Error response from daemon: {error}\n"));
            if ours != text(&docker.stderr) {
                wrong.push(format!("{arguments:?} {value}\n    ours {ours:?}\n  docker {:?}", text(&docker.stderr)));
            }
        }
    }
    testkit::assert_none("filters", &wrong);
}
