//! Docker 26.1 and 28.5: what they wrote is listed, accounted and owned as they say, and what we wrote is theirs.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use testkit::dockerd::Dockerd;
use testkit::engines::{self, Engine};

const OVERLAY2: &[&str] = &["--storage-driver=overlay2"];

/// Steps with wide characters, those that join, and a health check.
const BUILD: &str = "FROM layerfs-test/busybox:1\n\
    LABEL x=\"\u{65e5}\u{672c}\u{8a9e}\u{65e5}\u{672c}\u{8a9e}\u{65e5}\u{672c}\u{8a9e}\u{65e5}\u{672c}\u{8a9e}\u{65e5}\u{672c}\u{8a9e}\"\n\
    HEALTHCHECK --interval=1s --retries=1 CMD true\n\
    RUN echo \u{65e5}\u{672c} >/file # a comment that is too long for the column\n\
    RUN echo e\u{301} \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} \u{d55c}\u{ae00} \u{ff46}\u{ff55}\u{ff4c}\u{ff4c}\n\
    CMD [\"sleep\", \"1000\"]\n";

fn run(program: &str, root: &Path, arguments: &[&str]) -> Output {
    Command::new(program).arg("--root").arg(root).args(arguments).output().unwrap()
}

fn layerfs(root: &Path, arguments: &[&str]) -> String {
    testkit::succeeded("layerfs", run(env!("CARGO_BIN_EXE_layerfs"), root, arguments))
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// Images of several kinds, and containers: one that runs and is well, some that do not run, one that has an image mounted.
fn fill(engine: &Engine, daemon: &Dockerd, dir: &Path) {
    for golden in ["busybox-20.10.tar", "shared-20.10.tar", "layers-20.10.tar", "hybrid-26.tar"] {
        daemon.load(&testkit::golden(golden));
    }
    let context = dir.join("context");
    std::fs::create_dir_all(&context).unwrap();
    std::fs::write(context.join("Dockerfile"), BUILD).unwrap();
    daemon.ok(&["build", "-q", "--network", "none", "-t", "well:1", context.to_str().unwrap()]);
    // No other signal ends it, and dockerd would wait ten seconds.
    daemon.ok(&["run", "-d", "--name", "well", "--stop-signal", "KILL", "--network", "none", "well:1"]);
    daemon.ok(&["create", "--name", "made", "-v", "named:/data", "-v", "/other", "layerfs-test/busybox:1", "true"]);
    let gone =
        ["run", "--name", "gone", "--network", "none", "layerfs-test/busybox:1", "sh", "-c", "echo x >/x; exit 3"];
    assert_eq!(daemon.docker(&gone).status.code(), Some(3));
    if engines::version(engine).starts_with("28.") {
        let mount = "type=image,source=layerfs-test/layers:1,target=/mnt/deep/er";
        daemon.ok(&["run", "--name", "shows", "--network", "none", "--mount", mount, "layerfs-test/busybox:1", "true"]);
    }
    let well = || daemon.ok(&["ps", "--format", "{{.Status}}"]).contains("(healthy)");
    while !well() {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// Questions that all versions answer alike, but for the order of lines.
const QUESTIONS: &[&[&str]] = &[
    &["image", "ls", "-a", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}} {{.Size}} {{.CreatedAt}}"],
    &["image", "ls", "--digests", "--format", "{{.ID}} {{.Digest}}"],
    &[
        "image",
        "inspect",
        "-f",
        "{{json .Config.Cmd}} {{json .Config.Healthcheck}} {{json .RootFS}} {{.Size}}",
        "well:1",
    ],
    &["image", "inspect", "-f", "{{json .GraphDriver}} {{.Created}} {{.Id}}", "well:1", "layerfs-test/app:1"],
    &["container", "ls", "-a", "--no-trunc", "--format", "{{.ID}} {{.Image}} {{.Names}} {{.State}} {{.Command}}"],
    &["container", "ls", "-a", "-s", "--format", "{{.Names}} {{.Size}} {{.LocalVolumes}} {{.Networks}}"],
    &["container", "ls", "-a", "--filter", "name=shows", "--format", "{{.Names}} {{.Mounts}}"],
    &[
        "container",
        "inspect",
        "-f",
        "{{.State.Status}} {{.State.ExitCode}} {{.State.FinishedAt}} {{json .Mounts}} {{.Image}} {{.Driver}}",
        "gone",
    ],
    &["volume", "ls", "--format", "{{.Name}} {{.Driver}} {{.Mountpoint}}"],
    &["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}}"],
];

/// What differs from what this daemon says.
fn differences(engine: &Engine, daemon: &Dockerd, root: &Path) -> Vec<String> {
    let mut questions: Vec<Vec<&str>> = QUESTIONS.iter().map(|question| question.to_vec()).collect();
    let images = daemon.ok(&["image", "ls", "-aq", "--no-trunc"]);
    for id in sorted(&images) {
        questions.push(vec!["image", "history", id]);
        questions.push(vec!["image", "history", "--no-trunc", "-H=false", id]);
        questions.push(vec!["image", "history", "--format", "table {{.CreatedBy}}\\t{{.Size}}\\t{{.Comment}}", id]);
    }
    let mut report = Vec::new();
    for question in questions {
        let ask = || (daemon.ok(&question), layerfs(root, &question));
        let (mut theirs, mut ours) = ask();
        if sorted(&theirs) != sorted(&ours) {
            // An age may have changed in between.
            (theirs, ours) = ask();
        }
        if sorted(&theirs) != sorted(&ours) {
            report.push(format!("{} {question:?}:\n{ours}docker:\n{theirs}", engine.name));
        }
    }
    report
}

/// What `image-du` and `system owner` do not know of the root.
fn unknown(root: &Path) -> Vec<String> {
    let output = run(env!("CARGO_BIN_EXE_image-du"), root, &["--json"]);
    let account: Value = serde_json::from_slice(&output.stdout).unwrap();
    let du = Command::new("du").args(["-x", "-s", "-B1"]).arg(root).output().unwrap();
    let total: u64 = String::from_utf8(du.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    let mut report = Vec::new();
    if account["total_allocated"] != total || account["unaccounted"] != 0 {
        report.push(format!(
            "{} allocated, {} unaccounted; du: {total}",
            account["total_allocated"], account["unaccounted"]
        ));
    }
    let lines = account["unowned"].as_array().unwrap();
    let odd = ["orphans", "mounts", "unknown", "referred", "unfinished", "removing", "stale_links"];
    report.extend(lines.iter().filter(|line| odd.contains(&line["kind"].as_str().unwrap())).map(Value::to_string));
    report.extend(account["damage"].as_array().unwrap().iter().map(Value::to_string));
    for entry in std::fs::read_dir(root.join("overlay2")).unwrap() {
        let path = entry.unwrap().path();
        let owner = layerfs(root, &["system", "owner", path.to_str().unwrap()]);
        if !owner.contains("\n  live ") && !owner.contains("\n  service ") || owner.contains("\n  damaged ") {
            report.push(owner);
        }
    }
    report
}

fn empty(dir: &Path) -> PathBuf {
    let root = dir.join("root");
    std::fs::create_dir(&root).unwrap();
    root
}

#[test]
fn engines_wrote_it_and_it_is_read() {
    let Some((all, _turn)) = engines::engines() else { return };
    let reports = testkit::two_at_a_time(&all, |engine| {
        let mut report = Vec::new();
        let dir = testkit::scratch();
        let root = empty(dir.path());
        let daemon = Dockerd::start_engine(engine, &root, OVERLAY2);
        assert!(daemon.ok(&["version", "-f", "{{.Server.Version}}"]).starts_with(engines::version(engine)));
        fill(engine, &daemon, dir.path());
        report.extend(differences(engine, &daemon, &root));
        report.extend(unknown(&root));
        // The disk does not tell how well the container is, and so nor do we.
        let status = layerfs(&root, &["ps", "--format", "{{.Status}}"]);
        if !status.starts_with("Up ") || status.contains('(') {
            report.push(format!("{}: {status}", engine.name));
        }
        if engines::version(engine).starts_with("28.") {
            report.extend(image_mount(&daemon, &root));
        }
        daemon.stop();
        report.extend(unknown(&root));
        report
    });
    testkit::assert_none("stores of newer engines", &reports.concat());
}

/// The directory by which a container shows an image is that container's, and nothing that it has written.
fn image_mount(daemon: &Dockerd, root: &Path) -> Vec<String> {
    let source = daemon.ok(&["inspect", "-f", "{{range .Mounts}}{{.Source}}{{end}}", "shows"]);
    let directory = Path::new(source.trim()).parent().unwrap();
    let owner = layerfs(root, &["system", "owner", directory.to_str().unwrap()]);
    let said = ["an image that a container has mounted", "  container  shows (", ": has it mounted", "  live "];
    said.iter().filter(|said| !owner.contains(**said)).map(|said| format!("no {said:?}: {owner}")).collect()
}

/// They list, run, save and remove what we have imported, and build on it.
#[test]
fn engines_use_what_we_wrote() {
    let Some((all, _turn)) = engines::engines() else { return };
    let reports = testkit::two_at_a_time(&all, |engine| {
        let mut report = Vec::new();
        let dir = testkit::scratch();
        let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
        let goldens = ["busybox-20.10.tar", "shared-20.10.tar", "layers-20.10.tar", "hybrid-26.tar", "oci-umoci.tar"];
        for golden in goldens {
            testkit::import(&testkit::golden(golden), &ours);
        }
        std::fs::create_dir(&theirs).unwrap();
        let daemon = Dockerd::start_engine(engine, &theirs, OVERLAY2);
        for golden in &goldens[..4] {
            daemon.load(&testkit::golden(golden));
        }
        let list = ["image", "ls", "-a", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}} {{.Size}}"];
        let (listed, ids) = (daemon.ok(&list), daemon.images());
        let save = |daemon: &Dockerd, to: &Path| {
            daemon.ok(&["save", "-o", to.to_str().unwrap(), "layerfs-test/busybox:1", "layerfs-test/layers:1"]);
            testkit::saved::check_layers(to)
        };
        let saved = |name: &str| dir.path().join(name);
        save(&daemon, &saved("theirs.tar"));
        daemon.stop();

        let daemon = Dockerd::start_engine(engine, &ours, OVERLAY2);
        let now = daemon.ok(&list);
        let missing = sorted(&listed).into_iter().filter(|line| !sorted(&now).contains(line));
        report.extend(missing.map(|line| format!("{}: not listed: {line}", engine.name)));
        let missing = ids.iter().filter(|id| !daemon.images().contains(id));
        report.extend(missing.map(|id| format!("{}: no image {id}", engine.name)));
        let (layers, wrong) = save(&daemon, &saved("ours.tar"));
        assert!(layers > 5);
        report.extend(wrong);
        let blobs = ["ours.tar", "theirs.tar"].map(|name| testkit::saved::blobs(&saved(name)));
        assert!(blobs[0].len() > layers, "{blobs:?}");
        report.extend(blobs[0].symmetric_difference(&blobs[1]).map(|name| format!("{}: saved: {name}", engine.name)));
        let shown = daemon.ok(&["run", "--rm", "--network", "none", "layerfs-test/busybox:1", "cat", "/etc/motd"]);
        assert!(!shown.is_empty());
        daemon.remove_everything();
        let left = testkit::live::leftovers(&ours);
        report.extend(left.into_iter().map(|line| format!("{}: left: {line}", engine.name)));
        daemon.stop();
        report
    });
    testkit::assert_none("newer engines on our stores", &reports.concat());
}
