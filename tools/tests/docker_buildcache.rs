//! What a data-root says of BuildKit's cache, against what the daemon says that made it.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;

use std::process::{Output, Stdio};
use std::time::Duration;

use layerfs::ChainId;
use serde_json::Value;
use snapshot::dir::Dir;
use snapshot::ids::CacheId;
use snapshot::schema::buildkit::{BuildCache, CacheRecord, CacheSize, Snapshots};
use tempfile::TempDir;
use testkit::dockerd::Dockerd;
use testkit::live;

const BUSYBOX: &str = "busybox-20.10.tar";

/// A stage that ends up in no image, a cache mount, hard links, a hole, and layers of an image.
const STAGES: &str = r#"FROM layerfs-test/busybox:1 AS one
RUN echo one >/one && ln /one /link && truncate -s 1000000 /hole && mkfifo /fifo
RUN --mount=type=cache,target=/cache echo cached >/cache/file && rm /bin/acpid && echo two >/two
FROM layerfs-test/busybox:1
COPY --from=one /one /link /copied/
COPY data /data
RUN echo "three <>&\"" >/three
"#;

/// Nothing of it is exported as an image.
const LOCAL: &str = r"FROM layerfs-test/busybox:1 AS one
RUN --mount=type=cache,target=/cache echo 'once again' >>/cache/file && echo local >/local
FROM scratch
COPY --from=one /local /local
";

/// Builds with BuildKit.
fn build(daemon: &Dockerd, dir: &TempDir, dockerfile: &str, arguments: &[&str]) {
    testkit::succeeded("docker build", try_build(daemon, dir, dockerfile, arguments));
}

fn try_build(daemon: &Dockerd, dir: &TempDir, dockerfile: &str, arguments: &[&str]) -> Output {
    let context = dir.path().join("context");
    fs::create_dir_all(&context).unwrap();
    fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    fs::write(context.join("data"), [7; 5000]).unwrap();
    let arguments = [&["build", "-q", "--network", "none"], arguments, &[context.to_str().unwrap()]].concat();
    daemon.client(&arguments).env("DOCKER_BUILDKIT", "1").output().unwrap()
}

/// What the daemon answers to `/system/df`.
fn disk_usage(daemon: &Dockerd) -> Value {
    let (status, answer) = daemon.ask("GET", "/v1.41/system/df", b"");
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    serde_json::from_slice(&answer).unwrap()
}

/// The layers of every image there is.
fn chains(daemon: &Dockerd) -> BTreeSet<ChainId> {
    let layers = |id: &String| {
        let layers = daemon.ok(&["image", "inspect", "-f", "{{range .RootFS.Layers}}{{println .}}{{end}}", id]);
        let diff_ids = layers.lines().filter(|line| !line.is_empty()).map(|id| id.parse().unwrap());
        ChainId::chain(&diff_ids.collect::<Vec<_>>())
    };
    daemon.images().iter().flat_map(layers).collect()
}

/// The codes of what `system check` calls damaged.
fn damage(root: &Path) -> Vec<String> {
    let mut check = std::process::Command::new(testkit::program("layerfs"));
    let output = check.arg("--root").arg(root).args(["system", "check", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter().filter(|finding| finding["severity"] != "note");
    findings.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
}

fn ours(root: &Path, chains: &BTreeSet<ChainId>) -> (Snapshots, BuildCache) {
    let root = Dir::open(root).unwrap();
    let snapshots = Snapshots::read(&root).unwrap();
    let cache = BuildCache::read(&root, &snapshots, |chain| chains.contains(chain)).unwrap();
    (snapshots, cache)
}

/// The size of a record, measured if it is not known.
fn measured(record: &CacheRecord, root: &Path) -> u64 {
    match &record.size {
        CacheSize::Known(size) => *size,
        CacheSize::Layer(chain) => {
            let hex = chain.to_string().replace("sha256:", "");
            let layer = root.join("image/overlay2/layerdb/sha256").join(hex);
            fs::read_to_string(layer.join("size")).unwrap().parse().unwrap()
        }
        CacheSize::Directory(id) => {
            let diff = root.join("overlay2").join(id.as_str()).join("diff");
            layerfs::tree_size(fs::File::open(diff).unwrap()).unwrap()
        }
    }
}

/// What differs between our records and the daemon's.
fn differences(cache: &BuildCache, usage: &Value, root: &Path) -> Vec<String> {
    let record = |record: &CacheRecord| {
        serde_json::json!({
            "ID": record.id,
            "Parent": record.parent.clone().unwrap_or_default(),
            "Type": record.kind,
            "Description": record.description,
            "InUse": false,
            "Shared": record.shared,
            "Size": measured(record, root),
            "CreatedAt": record.created.map(|time| time.to_string()),
            "LastUsedAt": record.last_used.map(|time| time.to_string()),
            "UsageCount": record.usage_count,
        })
    };
    let by_id = |records: Vec<Value>| -> BTreeMap<String, Value> {
        records.into_iter().map(|record| (record["ID"].to_string(), record)).collect()
    };
    let ours = by_id(cache.records.iter().map(record).collect());
    let theirs = by_id(usage["BuildCache"].as_array().unwrap().clone());
    let ids: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let different = ids.into_iter().filter(|id| ours.get(*id) != theirs.get(*id));
    different.map(|id| format!("{id}:\n  ours {:?}\ndocker {:?}", ours.get(id), theirs.get(id))).collect()
}

/// Each directory of the driver has an owner, and BuildKit is that of all but the loaded image's.
fn owners(snapshots: &Snapshots, root: &Path) {
    let directories = fs::read_dir(root.join("overlay2")).unwrap().map(|entry| entry.unwrap().file_name());
    let names: BTreeSet<_> = directories.map(|name| name.into_string().unwrap()).filter(|name| name != "l").collect();
    let owned: BTreeSet<_> = snapshots.driver_ids().iter().map(|id| id.as_str().to_owned()).collect();
    let (theirs, others): (Vec<_>, Vec<_>) = names.iter().partition(|name| owned.contains(*name));
    assert!(theirs.len() > 3 && theirs.iter().all(|name| name.len() == 25), "{theirs:?}");
    assert!(others.iter().all(|name| name.len() == 64), "{others:?} are nobody's");
    let layers = fs::read_dir(root.join("image/overlay2/layerdb/sha256")).unwrap();
    for layer in layers {
        let chain = format!("sha256:{}", layer.unwrap().file_name().to_str().unwrap()).parse().unwrap();
        assert!(snapshots.holds_chain(&chain), "{chain} is part of the cache");
    }
}

/// The row of `docker system df`, with sizes as docker prints them.
fn row(daemon: &Dockerd) -> Vec<String> {
    let format = "{{.Type}}|{{.TotalCount}}|{{.Active}}|{{.Size}}|{{.Reclaimable}}";
    let rows = daemon.ok(&["system", "df", "--format", format]);
    let row = rows.lines().find(|row| row.starts_with("Build Cache|")).unwrap();
    row.split('|').skip(1).map(str::to_owned).collect()
}

/// Four digits, in steps of a thousand.
fn human(bytes: u64) -> String {
    let (mut size, mut units) = (bytes as f64, ["B", "kB", "MB", "GB"].iter());
    let mut unit = units.next().unwrap();
    while size >= 1000.0 {
        size /= 1000.0;
        unit = units.next().unwrap();
    }
    let whole = (size.log10().floor().max(0.0)) as usize + 1;
    let digits = format!("{size:.*}", 4 - whole);
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { &digits };
    format!("{digits}{unit}")
}

#[test]
fn docker_lists_the_same_build_cache() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let daemon = Dockerd::start(&root);
    assert_eq!(ours(&root, &BTreeSet::new()).1, BuildCache::default(), "a new daemon");
    daemon.load(&testkit::golden(BUSYBOX));
    build(&daemon, &dir, STAGES, &["-t", "layerfs-test/built:1"]);
    build(&daemon, &dir, LOCAL, &["--output", &format!("type=local,dest={}", dir.path().join("out").display())]);
    build(&daemon, &dir, "FROM layerfs-test/busybox:1\nRUN echo gone >/gone\n", &["-t", "layerfs-test/gone:1"]);
    daemon.ok(&["rmi", "layerfs-test/gone:1"]);
    let failing = "FROM layerfs-test/busybox:1\nRUN echo good >/good\nRUN echo bad >/bad && false\n";
    assert!(!try_build(&daemon, &dir, failing, &["-t", "layerfs-test/bad:1"]).status.success());

    // Sizes that nobody has asked for yet; the question is what sets them.
    let (snapshots, cache) = ours(&root, &chains(&daemon));
    owners(&snapshots, &root);
    let sizes = |kind: fn(&CacheSize) -> bool| cache.records.iter().filter(|record| kind(&record.size)).count();
    assert!(sizes(|size| matches!(size, CacheSize::Directory(_))) > 3, "{cache:#?}");
    assert!(sizes(|size| matches!(size, CacheSize::Layer(_))) > 3, "{cache:#?}");
    assert!(cache.summary().unmeasured > 3);
    testkit::assert_none("before the first df", &differences(&cache, &disk_usage(&daemon), &root));

    // Now all are known, and the images that go leave the cache behind.
    for (removed, left) in [(None, 2), (Some("layerfs-test/built:1"), 1), (Some("layerfs-test/busybox:1"), 0)] {
        if let Some(name) = removed {
            daemon.ok(&["rmi", name]);
        }
        assert_eq!(daemon.images().len(), left);
        let usage = disk_usage(&daemon);
        let (snapshots, cache) = ours(&root, &chains(&daemon));
        testkit::assert_none("after", &differences(&cache, &usage, &root));
        owners(&snapshots, &root);
        let summary = cache.summary();
        assert_eq!(cache.records.iter().any(|record| record.shared), left > 0);
        let want = [summary.total.to_string(), summary.active.to_string(), human(summary.size), human(summary.size)];
        assert_eq!((row(&daemon), summary.unmeasured), (want.to_vec(), 0));
    }

    // Without the daemon it is the same, and for the next one too.
    let usage = disk_usage(&daemon);
    daemon.stop();
    testkit::assert_none("stopped", &differences(&ours(&root, &BTreeSet::new()).1, &usage, &root));
    assert_eq!(damage(&root), Vec::<String>::new());
    // A clean-up script has removed a directory of the cache: that is found, and with it back nothing is wrong.
    let (snapshots, _) = ours(&root, &BTreeSet::new());
    let own = snapshots.iter().filter(|(_, found)| found.chain_id.is_none());
    let mut own = own.filter_map(|(_, found)| found.committed.clone());
    let own = root.join("overlay2").join(own.next().unwrap().as_str());
    let aside = root.join("aside");
    fs::rename(&own, &aside).unwrap();
    assert_eq!(damage(&root), ["build-cache-directory-missing"]);
    fs::rename(&aside, &own).unwrap();
    let daemon = Dockerd::start(&root);
    testkit::assert_none("restarted", &differences(&ours(&root, &BTreeSet::new()).1, &disk_usage(&daemon), &root));

    daemon.ok(&["builder", "prune", "-af"]);
    // Of what had become layers, the names stay behind for ever.
    let (snapshots, cache) = ours(&root, &BTreeSet::new());
    assert!(cache.records.is_empty(), "{cache:#?}");
    let there = |id: &CacheId| root.join("overlay2").join(id.as_str()).exists();
    assert!(!snapshots.driver_ids().iter().any(there), "{snapshots:#?}");
    testkit::assert_none("left behind", &live::leftovers(&root));
    daemon.stop();
    assert_eq!(damage(&root), Vec::<String>::new());
}

/// A build writes to the databases all the time.
#[test]
fn docker_building_can_be_read() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let daemon = Dockerd::start(&root);
    daemon.load(&testkit::golden(BUSYBOX));
    let chains = chains(&daemon);
    let steps: String = (0..20).map(|step| format!("RUN echo {step} >/{step}\n")).collect();
    let dockerfile = format!("FROM layerfs-test/busybox:1\n{steps}");
    let (mut seen, mut reads) = (BTreeSet::new(), 0);
    std::thread::scope(|scope| {
        let building = scope.spawn(|| build(&daemon, &dir, &dockerfile, &["-t", "layerfs-test/steps:1"]));
        while !building.is_finished() {
            let (snapshots, _) = ours(&root, &chains);
            seen.extend(snapshots.driver_ids().iter().cloned());
            reads += 1;
        }
    });
    let (snapshots, cache) = ours(&root, &chains);
    assert!(reads > 20, "{reads}");
    assert!(seen.len() > 10 && snapshots.driver_ids().len() > 20, "{} seen", seen.len());
    assert!(cache.records.len() > 20);
}

/// A command of layerfs on a root, with `--json`: its exit status and what it says.
fn said(root: &Path, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = testkit::layerfs_on(root, &[arguments, &["--json"]].concat());
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

/// What `image-gc` does with everything that nobody needs: its exit status, and the entries of the driver's home that are left.
fn collect(root: &Path) -> (Option<i32>, BTreeSet<String>) {
    let mut gc = std::process::Command::new(testkit::program("image-gc"));
    let output = gc.arg("--root").arg(root).args(["--apply", "--min-age", "0s"]).output().unwrap();
    let entries = fs::read_dir(root.join("overlay2")).unwrap().map(|entry| entry.unwrap().file_name());
    (output.status.code(), entries.map(|name| name.into_string().unwrap()).collect())
}

/// dockerd does not start on a database of BuildKit's that it cannot open. Each is found; with the directory moved away, as is advised,
/// dockerd starts with its images and builds again, and what the old cache leaves goes.
#[test]
fn docker_starts_where_a_broken_build_cache_was_moved_away() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let daemon = Dockerd::start(&root);
    daemon.load(&testkit::golden(BUSYBOX));
    build(&daemon, &dir, STAGES, &["-t", "layerfs-test/built:1"]);
    daemon.stop();
    let databases = ["snapshots.db", "metadata_v2.db", "cache.db", "containerdmeta.db"];
    let mut report = Vec::new();
    let (_, before) = collect(&root);
    for database in databases {
        let path = root.join("buildkit").join(database);
        let sound = fs::read(&path).unwrap();
        fs::write(&path, "no").unwrap();
        let mut wrong = Vec::new();
        if let Ok(daemon) = Dockerd::try_start(&root, Duration::from_secs(60)) {
            daemon.stop();
            wrong.push("dockerd starts".to_owned());
        }
        let (status, found) = said(&root, &["system", "check"]);
        let code = if database == "snapshots.db" { "build-cache-unreadable" } else { "database-invalid" };
        let found = found["findings"].as_array().unwrap().iter().map(|one| (&one["code"], &one["repair"]["code"]));
        let found: Vec<_> =
            found.map(|(code, repair)| (code.as_str().unwrap(), repair.as_str().unwrap_or_default())).collect();
        if status != Some(1) || found != [(code, "move-build-cache")] {
            wrong.push(format!("check: {status:?} {found:?}"));
        }
        let (status, mended) = said(&root, &["system", "repair", "--apply"]);
        let left = mended["unmended"].as_array().unwrap().iter().map(|one| one["advice"].as_str().unwrap());
        if status != Some(1) || left.collect::<Vec<_>>() != ["move-build-cache"] {
            wrong.push(format!("repair: {status:?} {mended}"));
        }
        if collect(&root).1 != before {
            wrong.push("something of the build cache goes".to_owned());
        }
        report.extend(wrong.into_iter().map(|line| format!("{database}: {line}")));
        fs::write(&path, if database == databases[3] { b"no".to_vec() } else { sound }).unwrap();
    }
    testkit::assert_none("the databases of the build cache", &report);

    fs::rename(root.join("buildkit"), dir.path().join("aside")).unwrap();
    assert_eq!(damage(&root), Vec::<String>::new());
    let goes_on = || {
        let daemon = Dockerd::start(&root);
        let three = daemon.ok(&["run", "--rm", "--network", "none", "layerfs-test/built:1", "cat", "/three"]);
        assert_eq!(three, "three <>&\"\n");
        build(&daemon, &dir, STAGES, &["-t", "layerfs-test/built:1"]);
        daemon.stop();
    };
    goes_on();
    let old: BTreeSet<String> = before.iter().filter(|name| name.len() == 25).cloned().collect();
    let (status, left) = collect(&root);
    assert_eq!(status, Some(0));
    assert!(old.iter().any(|name| !left.contains(name)), "nothing of the old cache goes: {left:?}");
    assert_eq!(damage(&root), Vec::<String>::new());
    goes_on();
}

/// A prune of ours and of docker's on caches of the same build.
struct Prunes<'d> {
    daemon: &'d Dockerd,
    root: &'d Path,
}

impl Prunes<'_> {
    /// What each says on both streams and how it ends, with ids and sizes apart. Where it is an error, only what follows the program's name.
    fn both(&self, arguments: &[&str], answer: &str) -> [(String, Vec<String>); 2] {
        let arguments = [&["builder", "prune"], arguments].concat();
        let mut layerfs = std::process::Command::new(testkit::program("layerfs"));
        layerfs.arg("--root").arg(self.root).args(&arguments);
        [layerfs, self.daemon.client(&arguments)].map(|mut command| {
            let mut child =
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            let mut text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
            for prefix in ["Error response from daemon: ", "layerfs: "] {
                text = text.replace(prefix, "");
            }
            let id = regex::Regex::new("(?m)^(?:[0-9a-f]{64}|[0-9a-f]{32}|[0-9a-z]{25})$").unwrap();
            let ids = id.find_iter(&text).map(|found| found.as_str().to_owned()).collect();
            let size = regex::Regex::new(r"space: [0-9.]+[kM]?B").unwrap();
            (size.replace(&id.replace_all(&text, "ID"), "space: SIZE").into_owned(), ids)
        })
    }

    fn agree(&self, arguments: &[&str], answer: &str) -> String {
        let [(ours, _), (theirs, _)] = self.both(arguments, answer);
        assert_eq!(ours, theirs, "{arguments:?}");
        ours
    }
}

#[test]
fn prune_says_what_docker_says() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let (root, theirs) = (testkit::empty_root(&dir, "ours"), testkit::empty_root(&dir, "theirs"));
    let daemon = Dockerd::start(&theirs);
    daemon.load(&testkit::golden(BUSYBOX));
    testkit::import(&testkit::golden(BUSYBOX), &root);
    let made = || {
        build(&daemon, &dir, STAGES, &["-t", "built:1"]);
        testkit::made_by_layerfs(
            &root,
            &["build", "--no-sync", "-q", "-t", "built:1", dir.path().join("context").to_str().unwrap()],
        );
    };
    made();
    let prunes = Prunes { daemon: &daemon, root: &root };
    for (arguments, answer, said) in [
        (&[][..], "n\n", "dangling build cache. Are you sure you want to continue? [y/N] Total reclaimed space: SIZE"),
        (&["-a"], "no\n", "all build cache. Are you sure"),
        (&[], "", "[y/N] Total"),
        (&["-f", "--filter", "until=1h"], "", "Total reclaimed space: SIZE\n"),
        (&["-f", "--filter", "unused-for=1h30m"], "", "Total reclaimed space: SIZE\n"),
        (
            &["-f", "--filter", "until=x"],
            "",
            "\"until\" filter expects a duration (e.g., '24h'): time: invalid duration",
        ),
        (&["-f", "--filter", "until=2020-01-01"], "", "time: unknown unit \"-\" in duration"),
        (&["-f", "--filter", "until=12"], "", "time: missing unit in duration"),
        (&["-f", "--filter", "foo=bar"], "", "failed to prune build cache: Invalid filter 'foo'"),
        (&["-f", "--filter", "until=1h", "--filter", "until=2h"], "", "filters expect only one value"),
        (&["-f", "--filter", "until=1h", "--filter", "unused-for=2h"], "", "conflicting filters"),
        (&["-f", "--filter", "type=regular", "--filter", "description=none"], "", "Total reclaimed space: SIZE\n"),
        (&["-f", "--filter", "id=nosuch"], "", "Total reclaimed space: SIZE\n"),
        (&["-f", "--keep-storage", "10GB"], "", "Total reclaimed space: SIZE\n"),
    ] {
        let both = prunes.agree(arguments, answer);
        assert!(both.contains(said), "{arguments:?}: {both}");
    }
    let [(ours, _), (theirs, _)] = prunes.both(&["--keep-storage", "x"], "");
    for said in [ours, theirs] {
        assert!(said.contains("invalid argument \"x\" for \"--keep-storage\" flag: invalid size: 'x'"), "{said}");
    }
    // The cache of commands alone.
    let said = prunes.agree(&["--filter", "type=exec.cachemount"], "y\n");
    assert!(said.ends_with("[y/N] Deleted build cache objects:\nID\n\nTotal reclaimed space: SIZE\n"), "{said}");
    // What no image stands on: two steps here; there, directories of the context besides.
    let kinds = |usage: &Value| -> BTreeMap<String, String> {
        let records = usage["BuildCache"].as_array().unwrap().iter();
        records.map(|one| [&one["ID"], &one["Type"]].map(|text| text.as_str().unwrap().to_owned()).into()).collect()
    };
    let before = kinds(&disk_usage(&daemon));
    let [(ours, our_ids), (theirs, their_ids)] = prunes.both(&["-f"], "");
    let steps: Vec<&String> = their_ids.iter().filter(|id| before[*id] == "regular").collect();
    assert_eq!((our_ids.len(), steps.len()), (2, 2), "{ours}{theirs}");
    for (said, ids) in [(ours, our_ids.len()), (theirs, their_ids.len())] {
        let expected = format!("Deleted build cache objects:\n{}\nTotal reclaimed space: SIZE\n", "ID\n".repeat(ids));
        assert_eq!(said, expected);
    }
    // What was made again is taken from the oldest on, until there is no more than may stay.
    made();
    let usage = || {
        let text =
            testkit::made_by_layerfs(&root, &["system", "df", "--format", "{{.Type}}|{{.TotalCount}}|{{.Size}}"]);
        text.lines().last().unwrap().to_owned()
    };
    // 8 bytes of `one`, the hole, 4 bytes of `two` and 7 bytes of the cache of commands.
    let all = usage();
    assert!(all.starts_with("Build Cache|6|1MB"), "{all}");
    testkit::made_by_layerfs(&root, &["builder", "prune", "-f", "--keep-storage", "2MB"]);
    assert_eq!(usage(), all);
    testkit::made_by_layerfs(&root, &["builder", "prune", "-f", "--keep-storage", "1000"]);
    assert_eq!(usage(), "Build Cache|3|0B");
    daemon.stop();
    assert_eq!(damage(&root), Vec::<String>::new());
}
