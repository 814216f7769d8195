//! Files of a store that are changed in one place: dockerd lists the same images and containers, and does not start where we
//! say that it does not.

#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod mutants;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use layerfs::{ChainId, DiffId, Digest};
use serde_json::json;
use snapshot::dir::Dir;
use snapshot::reference::Reference;
use snapshot::schema::container::{self, ContainerRecord};
use testkit::dockerd::Dockerd;
use testkit::{assert_none, docker, empty_root, program, scratch};

use mutants::{Mutant, documents, mutants as all_mutants, sample};

/// Files of one run that is no sweep.
const CONFIGS: usize = 110;
const HOST_CONFIGS: usize = 110;
const FATAL: usize = 7;

fn ask(root: &Path, arguments: &[&str]) -> (String, String) {
    let output = Command::new(program("layerfs")).arg("--root").arg(root).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// The hexadecimal digits of something's id.
fn hex(of: &str) -> String {
    Digest::hash(of.as_bytes()).hex()
}

/// What a layer's files may hold; `None` for a file that is missing.
const SIZES: [Option<&str>; 20] = [
    None,
    Some(""),
    Some("0"),
    Some("007"),
    Some("+5"),
    Some("-5"),
    Some(" 5"),
    Some("5 "),
    Some("5\n"),
    Some("5.0"),
    Some("1e3"),
    Some("0x10"),
    Some("1_000"),
    Some("9223372036854775807"),
    Some("9223372036854775808"),
    Some("-9223372036854775808"),
    Some("-"),
    Some("five"),
    Some("٣"),
    Some("5\0"),
];

/// Variants of a digest: what is around it, in it, and another algorithm.
fn digests(good: &str) -> Vec<Option<String>> {
    let hex = good.strip_prefix("sha256:").unwrap();
    vec![
        None,
        Some(String::new()),
        Some(format!("{good}\n")),
        Some(format!("\t {good} \r\n")),
        Some(format!("\u{a0}{good}\u{2003}")),
        Some(hex.to_owned()),
        Some(format!("sha256:{}", hex.to_uppercase())),
        Some(format!("SHA256:{hex}")),
        Some(format!("sha256:{}", &hex[1..])),
        Some(format!("sha256:{hex}0")),
        Some(format!("sha256:{}", hex.replace(&hex[..1], "g"))),
        Some(format!("md5:{}", &hex[..32])),
        Some(format!("sha256: {hex}")),
        Some(format!("sha256:{hex}\n{good}")),
        Some("null".into()),
    ]
}

/// A store to plant things in.
struct Store<'r> {
    root: &'r Path,
    /// Images and containers by their ids, with what was done to them.
    images: BTreeMap<String, String>,
    containers: BTreeMap<String, String>,
}

impl Store<'_> {
    /// An image of one layer, or of two where `parent` says what the upper one's file holds.
    fn image(&mut self, what: &str, file: &str, content: Option<&str>) {
        let lower = DiffId(Digest::hash(format!("{what} lower").as_bytes()));
        let upper = DiffId(Digest::hash(format!("{what} upper").as_bytes()));
        let chain = ChainId::chain(&[lower, upper]);
        let good = |name: &str, at: usize| match name {
            "size" => Some("3".to_owned()),
            "diff" => Some([lower, upper][at].to_string()),
            "cache-id" => Some(hex(&format!("{what} {at}"))),
            _ => (at == 1).then(|| chain[0].to_string()),
        };
        for (at, layer) in chain.iter().enumerate() {
            let dir = self.root.join("image/overlay2/layerdb/sha256").join(layer.0.hex());
            for name in ["size", "diff", "cache-id", "parent"] {
                let text = if at == 1 && name == file { content.map(str::to_owned) } else { good(name, at) };
                if let Some(text) = text {
                    write(&dir.join(name), text);
                }
            }
            fs::create_dir_all(self.root.join("overlay2").join(hex(&format!("{what} {at}"))).join("diff")).unwrap();
        }
        let config = json!({"os": "linux", "comment": what, "rootfs": {"type": "layers", "diff_ids": [lower, upper]}})
            .to_string();
        let id = Digest::hash(config.as_bytes());
        write(&self.root.join("image/overlay2/imagedb/content/sha256").join(id.hex()), config);
        self.images.insert(id.to_string(), what.to_owned());
    }

    /// A container of these files and this mount.
    fn container(&mut self, id: &str, what: &str, config: &str, host: Option<&str>, mount: &[(&str, Option<&str>)]) {
        let dir = self.root.join("containers").join(id);
        write(&dir.join("config.v2.json"), config);
        if let Some(host) = host {
            write(&dir.join("hostconfig.json"), host);
        }
        let mounts = self.root.join("image/overlay2/layerdb/mounts").join(id);
        fs::create_dir_all(&mounts).unwrap();
        for (name, content) in mount {
            if let Some(content) = content {
                write(&mounts.join(name), content);
            }
        }
        self.containers.insert(id.to_owned(), what.to_owned());
    }
}

/// What dockerd would do with a running container, or with one that goes when it stops, is not what is asked here. A volume
/// driver that it does not know costs it 15 seconds each, and of two containers of one name it drops either.
fn is_left_alone(mutant: &Mutant) -> bool {
    let acts = [
        "AutoRemove: ",
        "State/Running: ",
        "State/Restarting: ",
        "State/RemovalInProgress: ",
        "State/Dead: ",
        "State/Paused: ",
    ];
    let others = ["MountPoints//m/Driver: ", "Name: and again"];
    let is = |fields: &[&str]| fields.iter().any(|field| mutant.what.starts_with(field));
    !(is(&acts) && mutant.what.ends_with("true") || is(&others) && mutant.what.contains('"'))
}

/// What we read of a container with these files, which are written into `dir`; `None` where they cannot be read.
fn record_of(dir: &Path, config: &str, host: &str) -> Option<ContainerRecord> {
    write(&dir.join("config.v2.json"), config);
    write(&dir.join("hostconfig.json"), host);
    container::read(&Dir::open(dir).unwrap(), &"x".parse().unwrap()).ok()
}

/// Whether dockerd can list others beside this container: as we say, it does not crash on it, and `docker ps` does not fail as
/// a whole, as it does where the name of one container's image is no reference.
fn lets_others_be(dir: &Path, config: &str, host: &str) -> bool {
    record_of(dir, config, host)
        .is_none_or(|record| record.crash.is_none() && Reference::parse(&record.image_name).is_ok())
}

/// Plants containers that differ in one place, but for those that keep dockerd from listing the others.
fn plant_containers(store: &mut Store<'_>) {
    let host = documents::host_config().to_string();
    let dir = scratch();
    let add = |store: &mut Store<'_>, id: &str, what: &str, config: String, host: String| {
        if lets_others_be(dir.path(), &config, &host) {
            let mount = hex(&format!("mount of {id}"));
            store.container(id, what, &config, Some(&host), &[("mount-id", Some(&mount))]);
        }
    };
    let of_good = |what: &str| hex(&format!("container {what}"));
    let models = all_mutants(&documents::container(&of_good("")));
    for mutant in sample(models, CONFIGS, 22).into_iter().filter(is_left_alone) {
        let id = of_good(&mutant.what);
        let good = of_good("");
        let text = mutant.text.replace(&good, &id).replace(&format!("/{}", &good[52..]), &format!("/{}", &id[52..]));
        add(store, &id, &format!("config.v2.json {}", mutant.what), text, host.clone());
    }
    for mutant in sample(all_mutants(&documents::host_config()), HOST_CONFIGS, 23).into_iter().filter(is_left_alone) {
        let id = hex(&format!("host config {}", mutant.what));
        let config = documents::container(&id).to_string();
        add(store, &id, &format!("hostconfig.json {}", mutant.what), config, mutant.text);
    }
}

fn plant_mounts(store: &mut Store<'_>) {
    let good = hex("some mount");
    let parent = format!("sha256:{}", hex("no such layer"));
    let ids = [
        "",
        "x",
        "\n",
        &good[1..],
        &format!("{good}\n"),
        &format!(" {good}-init "),
        &good.to_uppercase(),
        &format!("{good}-x"),
    ]
    .map(str::to_owned);
    let mut number = 0;
    let mut add = |what: String, files: &[(&str, Option<&str>)]| {
        number += 1;
        let id = hex(&format!("mount {number}"));
        store.container(&id, &what, &documents::container(&id).to_string(), Some("{}"), files);
    };
    add("mount-id missing".into(), &[]);
    for text in &ids {
        add(format!("mount-id {text:?}"), &[("mount-id", Some(text))]);
        add(format!("init-id {text:?}"), &[("mount-id", Some(&good)), ("init-id", Some(text))]);
    }
    for text in digests(&parent).into_iter().flatten() {
        add(format!("mount's parent {text:?}"), &[("mount-id", Some(&good)), ("parent", Some(&text))]);
    }
    add("mount's parent missing layer".into(), &[("mount-id", Some(&good)), ("parent", Some(&parent))]);
}

#[test]
fn files_of_a_store_count_as_they_do_for_dockerd() {
    let Some(_turn) = docker() else { return };
    let dir = scratch();
    let root = empty_root(&dir, "root");
    let mut store = Store { root: &root, images: BTreeMap::new(), containers: BTreeMap::new() };
    store.image("nothing changed", "", None);
    for size in SIZES {
        store.image(&format!("size {size:?}"), "size", size);
    }
    let digest = format!("sha256:{}", hex("other"));
    for file in ["diff", "parent"] {
        for text in digests(&digest) {
            store.image(&format!("{file} {text:?}"), file, text.as_deref());
        }
    }
    for text in [None, Some(""), Some(" \n"), Some("some-id"), Some("some-id\n")] {
        store.image(&format!("cache-id {text:?}"), "cache-id", text);
    }
    plant_mounts(&mut store);
    plant_containers(&mut store);
    write(&root.join("image/overlay2/repositories.json"), r#"{"repositories":{"x":null},"Extra":1} and more"#);

    let (images, said_of_images) = ask(&root, &["image", "ls", "-a", "-q", "--no-trunc"]);
    let (containers, said) = ask(&root, &["container", "ls", "-a", "-q", "--no-trunc"]);
    let set = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<String>>();
    let (our_images, our_containers) = (set(&images), set(&containers));

    let daemon = Dockerd::start(&root);
    let images: BTreeSet<String> = daemon.images().into_iter().collect();
    let containers = set(&daemon.ok(&["ps", "-aq", "--no-trunc"]));
    daemon.stop();
    let mut findings = Vec::new();
    let all = [
        ("image", &store.images, &images, &our_images, &said_of_images),
        ("container", &store.containers, &containers, &our_containers, &said),
    ];
    for (kind, planted, theirs, ours, said) in all {
        for (id, what) in planted {
            match (theirs.contains(id), ours.contains(id)) {
                (true, false) => {
                    let why =
                        said.lines().find(|line| line.contains(id) || line.contains(&id[52..])).unwrap_or_default();
                    findings.push(format!("docker lists the {kind}, we do not: {what}: {why}"));
                }
                (false, true) => findings.push(format!("docker drops the {kind}, we do not: {what}")),
                _ => {}
            }
        }
        let dropped = planted.len() - theirs.len();
        eprintln!("{} of kind {kind}: {} listed, {dropped} dropped", planted.len(), theirs.len());
        assert!(dropped > 20 && theirs.len() > 10, "{kind}: {} of {} listed", theirs.len(), planted.len());
    }
    assert_none("files", &findings);
}

/// A store on which dockerd does or does not start.
struct Start {
    what: String,
    plant: Box<dyn Fn(&Path) + Sync>,
}

fn starts() -> Vec<Start> {
    let mut all = Vec::new();
    let mut add = |what: String, plant: Box<dyn Fn(&Path) + Sync>| all.push(Start { what, plant });
    let names = [
        "",
        " ",
        "{",
        "null",
        "[]",
        "1",
        "nonsense",
        r#"{"Repositories":[]}"#,
        r#"{"Repositories":{"a":{"a:1":7}}}"#,
        r#"{"Repositories":{"a":7}}"#,
        r#"{"Repositories":{"a":{"a:1":"x"}},"Repositories":null}"#,
        r#"{"Repositories":{"a":null}}"#,
        r#"{"Repositories":{"a":{"a:1":null}}}"#,
        r#"{"REPOSITORIES":{"b":{}}} trailing"#,
        "{}",
        r#"{"Other":{"a":1}}"#,
    ];
    for text in names {
        let plant = move |root: &Path| write(&root.join("image/overlay2/repositories.json"), text);
        add(format!("repositories.json {text:?}"), Box::new(plant));
    }
    let options = [
        "",
        "null",
        "[]",
        "{}",
        "{} x",
        r#"{"MountType":1}"#,
        r#"{"Quota":{"Size":-1}}"#,
        r#"{"Quota":null,"mountdevice":"d"}"#,
        r#"{"MountOpts":["a"]}"#,
    ];
    for text in options {
        let plant = move |root: &Path| write(&root.join("volumes/v/opts.json"), text);
        add(format!("opts.json {text:?}"), Box::new(plant));
    }
    let id = hex("the container");
    let host = documents::host_config();
    let good = documents::container(&id);
    let changed = |field: &str, value: serde_json::Value| {
        let mut document = good.clone();
        document[field] = value;
        document.to_string()
    };
    let mut without = good.clone();
    without.as_object_mut().unwrap().remove("Config");
    let containers = [
        ("State null", changed("State", json!(null)), host.to_string()),
        ("StreamConfig null", changed("StreamConfig", json!(null)), host.to_string()),
        ("Config null", changed("Config", json!(null)), host.to_string()),
        ("Config missing", without.to_string(), host.to_string()),
        ("mount point null", changed("MountPoints", json!({"/m": null})), host.to_string()),
        ("hostconfig.json null", good.to_string(), "null".into()),
        ("MountPoints null", changed("MountPoints", json!(null)), host.to_string()),
        ("NetworkSettings null", changed("NetworkSettings", json!(null)), host.to_string()),
        (
            "State null, of another driver",
            changed("State", json!(null)).replace("\"overlay2\"", "\"vfs\""),
            host.to_string(),
        ),
    ];
    let containers = containers.map(|(what, config, host)| (what.to_owned(), config, host));
    let host = documents::host_config();
    let configs = sample(all_mutants(&good), CONFIGS, 25).into_iter();
    let configs = configs.map(|mutant| (format!("config.v2.json {}", mutant.what), mutant.text, host.to_string()));
    let hosts = sample(all_mutants(&host), HOST_CONFIGS, 26).into_iter();
    let hosts = hosts.map(|mutant| (format!("hostconfig.json {}", mutant.what), good.to_string(), mutant.text));
    // The ones that no other container can be tried beside.
    let dir = scratch();
    let crashes = |(_, config, host): &(String, String, String)| {
        record_of(dir.path(), config, host).is_some_and(|record| record.crash.is_some())
    };
    for (what, config, host) in containers.into_iter().chain(configs.chain(hosts).filter(crashes)) {
        let id = id.clone();
        let plant = move |root: &Path| {
            let mut store = Store { root, images: BTreeMap::new(), containers: BTreeMap::new() };
            store.container(&id, "", &config, Some(&host), &[("mount-id", Some(&hex("m")))]);
        };
        add(format!("container with {what}"), Box::new(plant));
    }
    all
}

/// Several daemons at once: each is mostly waited for.
#[test]
fn what_keeps_dockerd_from_starting_is_said() {
    let Some(_turn) = docker() else { return };
    let found = testkit::several_at_a_time(4, &sample(starts(), FATAL, 24), judge_start);
    assert_none("starts", &found.into_iter().flatten().collect::<Vec<_>>());
}

/// Where we and dockerd differ on whether it starts.
fn judge_start(start: &Start) -> Option<String> {
    let began = std::time::Instant::now();
    let dir = scratch();
    let root = empty_root(&dir, "root");
    fs::create_dir_all(root.join("image/overlay2/imagedb/content/sha256")).unwrap();
    fs::create_dir_all(root.join("containers")).unwrap();
    (start.plant)(&root);
    let (_, of_images) = ask(&root, &["image", "ls", "-a"]);
    let (_, of_containers) = ask(&root, &["container", "ls", "-a"]);
    let said = of_images + &of_containers;
    let refuses = said.contains("dockerd would not start") || said.contains("dockerd crashes at its start");
    // It answers for a moment before it crashes, so it has to be there a little later as well.
    let attempt = || {
        Dockerd::try_start(&root, Duration::from_secs(60)).and_then(|daemon| {
            std::thread::sleep(Duration::from_millis(200));
            if daemon.docker(&["version"]).status.success() { Ok(()) } else { Err(daemon.log()) }
        })
    };
    // On a busy machine containerd may take too long to come up, which says nothing of the store.
    let slow = |log: &String| log.contains("timeout waiting for containerd to start");
    let mut started = attempt();
    for _ in 0..3 {
        if started.as_ref().is_err_and(slow) {
            started = attempt();
        }
    }
    eprintln!("{}: starts {}, after {:?}", start.what, started.is_ok(), began.elapsed());
    (started.is_ok() == refuses).then(|| {
        let log = started.err().unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(3).collect();
        format!("{}: we say {said:?}, dockerd {last:?}", start.what)
    })
}
