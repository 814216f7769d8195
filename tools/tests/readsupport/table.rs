//! Command lines of `image inspect`, `image history`, `system df` and `container ls`.

use super::ask::{Examiner, Failure, Row};
use super::canonical::Random::{self, Names, No, Usage, UsageJson, Words};

const INSPECT: &[&str] = &[
    "{{.Id}} {{.Parent}} {{.Created}} {{.Size}} {{.VirtualSize}}",
    "{{json .Config}}",
    "{{json .ContainerConfig}}",
    "{{json .}}",
    "{{.Config}}",
    "{{.RootFS}}",
    "{{.RootFS.Layers}}",
    "{{len .RootFS.Layers}} {{index .RootFS.Layers 0}}",
    "{{.GraphDriver.Name}} {{.GraphDriver.Data.UpperDir}}",
    "{{json .GraphDriver}}",
    "{{.Architecture}}/{{.Os}} {{.Variant}} {{.OsVersion}}",
    "{{.Author}}|{{.Comment}}|{{.DockerVersion}}|{{.Container}}",
    "{{.Metadata}}",
    "{{range $key, $value := .Config.Labels}}{{$key}}={{$value}};{{end}}",
    "{{index .Config.Labels \"maker\"}}",
    "{{.Config.Env}} {{.Config.Cmd}} {{.Config.Entrypoint}}",
    "{{join .Config.Cmd \"+\"}}",
    "{{.Config.ExposedPorts}} {{.Config.Volumes}}",
    "{{with .Config.Healthcheck}}{{.Test}} {{.Interval}}{{end}}",
    "{{json .Config.OnBuild}} {{.Config.User}} {{.Config.WorkingDir}}",
    "{{printf \"%.12s\" .Id}}",
    "constant",
];

const HISTORY: &[&str] = &[
    "{{.ID}}",
    "{{.CreatedAt}} {{.CreatedSince}}",
    "{{.CreatedBy}}",
    "{{.Size}} {{.Comment}}",
    "{{json .}}",
    "table {{.ID}}\\t{{.CreatedBy}}\\t{{.Size}}",
    "table {{.Comment}}",
    "table",
    "raw",
];

const CONTAINERS: &[&[&str]] = &[
    &["-a"],
    &["-aq"],
    &["-a", "--no-trunc"],
    &["-a", "-s"],
    &["-a", "--format", "{{.ID}} {{.Names}} {{.Image}} {{.Command}} {{.CreatedAt}}"],
    &["-a", "--format", "{{.Names}} {{.Labels}} {{.Mounts}} {{.LocalVolumes}} {{.Size}}"],
    &["-a", "--format", "table {{.Names}}\\t{{.Image}}\\t{{.ID}}"],
    &["-a", "--no-trunc", "--format", "{{.ID}} {{.Image}} {{.Command}} {{.Mounts}}"],
];

/// Containers of which it matters what is running.
const RUNNING: &[&[&str]] = &[
    &[],
    &["-q"],
    &["-l"],
    &["-n", "2"],
    &["-a", "--format", "{{.Names}} {{.Status}} {{.State}} {{.RunningFor}}"],
    &["-a", "--filter", "status=exited"],
    &["-a", "--filter", "status=paused"],
    &["-a", "--filter", "exited=3"],
    &["-a", "--filter", "ancestor=zoo/base:1"],
    &["-a", "--filter", "ancestor=zoo/app:2"],
    &["-a", "--filter", "ancestor=nothing"],
    &["-a", "--filter", "before=created"],
    &["-a", "--filter", "since=exited-3"],
    &["-a", "--filter", "name=^exi.*[03]$"],
    &["-a", "--filter", "name=/run"],
    &["-a", "--filter", "network=bridge"],
    &["-a", "--filter", "network=none"],
    &["-a", "--filter", "volume=named"],
    &["-a", "--filter", "volume=/u"],
    &["-a", "--filter", "health=none"],
    &["-a", "--filter", "health=healthy"],
    &["-a", "--filter", "is-task=false"],
    &["-a", "--filter", "is-task=true"],
    &["--filter", "exited=3"],
    &["--filter", "since=exited-3"],
    &["-n", "2", "--filter", "before=paused"],
    &["-a", "--size", "--last", "3"],
    &["-s", "--latest"],
];

fn row(random: Random, words: &[&str], arguments: &[&str]) -> Row {
    let arguments = words.iter().chain(arguments).map(|&word| word.to_owned()).collect();
    Row { arguments, random, failure: Failure::Same, live: false }
}

/// What an image of the store can be called, and what none is.
fn names(examiner: &Examiner) -> Vec<String> {
    let zoo = examiner.zoo;
    let digests = zoo.daemon.ok(&["image", "ls", "--digests", "--format", "{{.Repository}}@{{.Digest}}"]);
    let mut names: Vec<String> = digests.lines().filter(|name| name.contains("@sha256:")).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names.extend(zoo.ids.iter().take(3).flat_map(|id| {
        let digits = id.trim_start_matches("sha256:");
        [digits.to_owned(), digits[..12].to_owned(), digits[..7].to_owned(), id[..20].to_owned(), digits.to_uppercase()]
    }));
    let digest = format!("sha256:{}", "0".repeat(64));
    // Not asked: `zoo//base` and `a/b/../c`, which the client's URLs turn into other names; `ZOO/base`, whose first part
    // newer dockers take for a registry.
    let others = [
        "zoo/base:1",
        "zoo/base",
        "docker.io/zoo/base:1",
        "index.docker.io/zoo/base",
        "years",
        "library/years",
        "docker.io/library/years:latest",
        "mirror.example:5000/team/base:1",
        "zoo/app",
        "zoo/legacy",
        "nosuch",
        "zoo/nosuch:1",
        "zoo/base:",
        "sha256:",
        "0",
        "a",
        "",
        " ",
        "zoo/base@",
        ":1",
        "<none>",
        "mirror.example:5000/team/base",
        "nosuch.example/zoo/base:1",
        &digest,
        &digest[7..],
        "zoo/base:1@sha256:0",
    ];
    names.extend(others.iter().map(|&name| name.to_owned()));
    names.push(format!("zoo/base@{digest}"));
    names
}

/// `image inspect` of every image by its id, of everything by its names, of several, in templates.
pub(crate) fn inspect(examiner: &Examiner) -> Vec<Row> {
    let inspect = |random, arguments: &[&str]| row(random, &["image", "inspect"], arguments);
    let mut rows: Vec<Row> = examiner.zoo.ids.iter().map(|id| inspect(Names, &[id])).collect();
    rows.extend(names(examiner).iter().map(|name| inspect(Names, &[name])));
    let all: Vec<&str> = examiner.zoo.ids.iter().map(String::as_str).collect();
    rows.push(inspect(Names, &all));
    for several in [
        &["zoo/app:1", "zoo/app:2"][..],
        &["zoo/app:1", "nosuch", "zoo/app:2"],
        &["nosuch", "neither"],
        &["zoo/app:1", "zoo/app:1"],
        &["--", "zoo/app:1"],
        &["zoo/app:1", "--format", "{{.Id}}"],
        &["-f", "{{.Id}}", "nosuch", "zoo/app:1"],
    ] {
        rows.push(inspect(Names, several));
    }
    for image in [
        "zoo/app:2",
        "zoo/full:1",
        "zoo/escapes:1",
        "zoo/legacy:1",
        "zoo/import:1",
        "zoo/no-layers:1",
        "zoo/null-config:1",
    ] {
        // A health check is a pointer, which is printed as where it is in memory.
        let pointer = |template: &str| template == "{{.Config}}" && image == "zoo/full:1";
        for template in INSPECT.iter().filter(|template| !pointer(template)) {
            rows.push(inspect(Names, &["--format", template, image]));
        }
        rows.push(inspect(Words, &["--format", "{{.RepoTags}} {{.RepoDigests}}", image]));
        rows.push(inspect(Words, &["--format", "{{.}}", image]));
    }
    for wrong in [&[][..], &["--nosuch"], &["-f", "{{.Nosuch", "zoo/app:1"]] {
        rows.push(Row { failure: Failure::Any, ..inspect(No, wrong) });
    }
    rows
}

/// `image history` of every image.
pub(crate) fn history(examiner: &Examiner) -> Vec<Row> {
    let history = |arguments: &[&str]| row(No, &["image", "history"], arguments);
    let mut rows = Vec::new();
    for id in &examiner.zoo.ids {
        rows.push(history(&[id]));
        rows.push(history(&["--no-trunc", "-H=false", id]));
    }
    for image in ["zoo/legacy:1", "zoo/escapes:1", "zoo/buildkit:1", "zoo/no-layers:1", "zoo/undated:1", "zoo/quirk:1"]
    {
        for flags in [&["-q"][..], &["-H=false"], &["--no-trunc"], &["-q", "--no-trunc"], &["--human"], &["-H=true"]] {
            rows.push(history(&[flags, &[image]].concat()));
        }
        for template in HISTORY {
            rows.push(history(&["--format", template, image]));
            rows.push(history(&["-H=false", "--no-trunc", "--format", template, image]));
        }
    }
    rows.extend(names(examiner).iter().map(|name| {
        // What comes of a name in the path of a request.
        let failure = if name.is_empty() || name.contains("..") { Failure::Any } else { Failure::Same };
        Row { failure, ..history(&[name]) }
    }));
    rows.push(Row { arguments: vec!["history".into(), "zoo/app:1".into()], ..history(&[]) });
    for wrong in [&[][..], &["zoo/app:1", "zoo/app:2"], &["--nosuch"], &["--format", "{{.Nosuch}}", "zoo/app:1"]] {
        rows.push(Row { failure: Failure::Any, ..history(wrong) });
    }
    rows
}

/// `system df`: what a container that runs adds to it is known while it runs.
pub(crate) fn df(_: &Examiner) -> Vec<Row> {
    let df = |random, arguments: &[&str]| Row { live: true, ..row(random, &["system", "df"], arguments) };
    let mut rows = vec![df(No, &[]), df(Usage, &["-v"]), df(UsageJson, &["-v", "--format", "{{json .}}"])];
    for template in [
        "{{json .}}",
        "{{.Type}}: {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}",
        "table {{.Type}}\\t{{.Size}}\\t{{.Reclaimable}}",
        "table",
        "{{.Type}}",
    ] {
        rows.push(df(No, &["--format", template]));
    }
    for template in [
        "{{range .Images}}{{.ID}} {{.Size}} {{.SharedSize}} {{.UniqueSize}} {{.Containers}}\n{{end}}",
        "{{range .Volumes}}{{.Name}} {{.Links}} {{.Size}}\n{{end}}",
        "{{range .BuildCache}}{{.ID}} {{.CacheType}} {{.Size}} {{.Shared}}\n{{end}}",
        "{{range .Containers}}{{.Names}} {{.Size}} {{.LocalVolumes}}\n{{end}}",
    ] {
        rows.push(Row { live: false, ..df(Words, &["-v", "--format", template]) });
    }
    for wrong in [&["more"][..], &["--nosuch"], &["--format", "{{.Nosuch}}"]] {
        rows.push(Row { failure: Failure::Any, live: false, ..df(No, wrong) });
    }
    rows
}

/// `container ls`.
pub(crate) fn containers(_: &Examiner) -> Vec<Row> {
    // The mounts and the labels of a container come in any order.
    let random = |arguments: &[&str]| if arguments.concat().contains(".Mounts") { Words } else { No };
    let ls = |arguments: &&[&str]| row(random(arguments), &["container", "ls"], arguments);
    // Status and names of images stand in the same table: only a daemon that runs says all of it.
    let live = |row: Row, live| Row { live, ..row };
    let lasting = CONTAINERS.iter().map(|arguments| live(ls(arguments), !arguments.contains(&"--format")));
    let running = RUNNING.iter().map(|arguments| live(ls(arguments), true));
    lasting.chain(running).collect()
}
