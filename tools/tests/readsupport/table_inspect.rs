//! Command lines of `inspect`, `container inspect`, `volume ls` and `volume inspect`.

use super::ask::{Examiner, Failure, Row};
use super::canonical::Random::{self, Mounts, No};

const STOPPED: [&str; 4] = ["exited-0", "exited-3", "created", "of-none"];
const RUNNING: [&str; 2] = ["running", "paused"];

const CONTAINER: &[&str] = &[
    "{{.Id}} {{.Name}} {{.Created}} {{.Path}} {{.Args}} {{.Image}}",
    "{{.State.Status}} {{.State.ExitCode}} {{.State.Running}} {{.State.FinishedAt}} {{.RestartCount}}",
    "{{.Driver}} {{.Platform}} {{.LogPath}} {{.HostConfig.NetworkMode}}",
    "{{.GraphDriver.Name}} {{.GraphDriver.Data.UpperDir}}",
    "{{json .Config.Cmd}} {{.Config.Image}} {{json .Config.Labels}}",
    "{{range $name, $network := .NetworkSettings.Networks}}{{$name}} {{$network.NetworkID}}{{end}}",
    "{{len .Mounts}} {{json .NetworkSettings.Ports}}",
];

fn row(random: Random, words: &[&str], arguments: &[&str]) -> Row {
    let arguments = words.iter().chain(arguments).map(|&word| word.to_owned()).collect();
    Row { arguments, random, failure: Failure::Same, live: false }
}

/// What shows when a volume's directory was changed last. Nobody can give a copy of a directory the original's time.
fn of_volumes(words: &[&str], arguments: &[&str]) -> Row {
    Row { live: true, ..row(No, words, arguments) }
}

/// Containers, by name and id, one and several, with their types and without.
pub(crate) fn inspect(examiner: &Examiner) -> Vec<Row> {
    let ids = examiner.zoo.daemon.ok(&["container", "ls", "-aq", "--no-trunc", "--filter", "status=exited"]);
    let mut rows: Vec<Row> = ids
        .lines()
        .flat_map(|id| [id, &id[..12], &id[..5]])
        .map(|id| row(Mounts, &["container", "inspect"], &[id]))
        .collect();
    for name in STOPPED {
        rows.push(row(Mounts, &["inspect"], &[name]));
        rows.push(row(Mounts, &["inspect", "--type", "container"], &[name]));
        rows.extend(CONTAINER.iter().map(|template| row(No, &["inspect", "-f", template], &[name])));
    }
    rows.push(row(Mounts, &["container", "inspect"], &STOPPED));
    rows.push(row(Mounts, &["container", "inspect", "-s"], &STOPPED));
    rows.push(row(No, &["inspect", "--size", "-f", "{{.SizeRw}} {{.SizeRootFs}}"], &STOPPED));
    rows.push(row(No, &["inspect", "-s", "-f", "{{.Id}}"], &["named", "zoo/no-layers:1"]));
    rows.extend(RUNNING.iter().map(|name| Row { live: true, ..row(Mounts, &["container", "inspect"], &[name]) }));
    for wrong in [&["nosuch"][..], &["exited-0", "nosuch", "exited-3"], &["nosuch", "neither"], &["EXITED-0"]] {
        rows.push(row(Mounts, &["container", "inspect"], wrong));
        rows.push(row(Mounts, &["inspect"], wrong));
    }
    rows.push(row(No, &["inspect"], &["zoo/no-layers:1"]));
    rows.push(of_volumes(&["inspect"], &["named"]));
    rows.push(of_volumes(&["inspect", "--type", "volume"], &["named"]));
    rows.push(row(No, &["inspect", "-f", "{{.Name}} {{json .Labels}} {{.Mountpoint}}"], &["named"]));
    rows.push(row(No, &["inspect", "--type", "volume"], &["exited-0"]));
    rows.push(row(No, &["inspect", "--type", "image"], &["exited-0"]));
    rows.push(row(No, &["inspect", "--type", "container"], &["named"]));
    rows
}

/// Volumes, with flags, filters and templates.
pub(crate) fn volumes(_: &Examiner) -> Vec<Row> {
    let ls = |arguments: &&[&str]| row(No, &["volume", "ls"], arguments);
    let mut rows: Vec<Row> = [
        &[][..],
        &["-q"],
        &["--format", "table"],
        &["--format", "raw"],
        &["-q", "--format", "raw"],
        &["--format", "{{.Name}} {{.Driver}} {{.Scope}} {{.Mountpoint}} {{.Labels}} {{.Links}} {{.Size}}"],
        &["--format", "table {{.Name}}\\t{{.Labels}}\\t{{.Mountpoint}}"],
        &["--format", "{{json .}}"],
        &["--filter", "name=na"],
        &["--filter", "name=nosuch"],
        &["--filter", "label=kind"],
        &["--filter", "label=kind=unused"],
        &["--filter", "driver=local"],
        &["--filter", "driver=other"],
        &["--filter", "dangling=true"],
        &["--filter", "dangling=false"],
        &["-q", "--filter", "dangling=1", "--filter", "label=kind=empty"],
    ]
    .iter()
    .map(ls)
    .collect();
    let inspect = ["volume", "inspect"];
    for names in [&["named"][..], &["empty", "unused"], &["named", "nosuch", "empty"]] {
        rows.push(of_volumes(&inspect, names));
    }
    rows.push(of_volumes(&inspect, &["-f", "{{.CreatedAt}}", "named", "empty"]));
    rows.push(row(No, &inspect, &["nosuch"]));
    for template in ["{{.Name}} {{.Driver}} {{.Mountpoint}} {{.Scope}}", "{{json .Labels}} {{json .Options}}"] {
        rows.push(row(No, &inspect, &["-f", template, "named", "nosuch", "empty"]));
    }
    for wrong in [
        &["volume", "ls", "more"][..],
        &["volume", "ls", "--nosuch"],
        &["volume", "ls", "--filter", "nosuch=1"],
        &["volume", "inspect"],
    ] {
        rows.push(Row { failure: Failure::Any, ..row(No, wrong, &[]) });
    }
    rows
}
