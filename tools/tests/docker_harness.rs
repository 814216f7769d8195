//! The comparisons themselves: two roots that dockerd loaded are equal, and no damage to one of them goes unseen.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use testkit::dockerd::Dockerd;
use testkit::root::{self, RootContents};
use testkit::{live, saved};

const LAYERS: &str = "layers-20.10.tar";

/// A root with the golden of that name, loaded by dockerd.
fn loaded(dir: &tempfile::TempDir, name: &str) -> std::path::PathBuf {
    let path = testkit::empty_root(dir, name);
    let daemon = Dockerd::start(&path);
    daemon.load(&testkit::golden(LAYERS));
    daemon.stop();
    path
}

/// What happens to a root, given the content and the record of its layer with those files.
type Damage = fn(&Path, &Path);

const ON_DISK: &[(&str, Damage)] = &[
    ("a file's byte", |diff, _| fs::write(diff.join("etc/config"), "c\n").unwrap()),
    ("a file's mode", |diff, _| chmod(&diff.join("etc/config"), 0o600)),
    ("a directory's mode", |diff, _| chmod(&diff.join("etc"), 0o700)),
    ("an owner", |diff, _| std::os::unix::fs::lchown(diff.join("etc/config"), Some(1), None).unwrap()),
    ("a time", |diff, _| run("touch", &["-h", "-d", "@1700000001"], &diff.join("etc/config"))),
    ("a directory's time", |diff, _| run("touch", &["-d", "@1700000001"], &diff.join("hl"))),
    ("the time of the root", |diff, _| run("touch", &["-d", "@1700000001"], diff)),
    ("an attribute", |diff, _| run("setfattr", &["-n", "user.other", "-v", "1"], &diff.join("etc/config"))),
    ("another name", |diff, _| fs::hard_link(diff.join("etc/config"), diff.join("etc/more")).unwrap()),
    ("a file more", |diff, _| fs::write(diff.join("more"), "").unwrap()),
    ("a file less", |diff, _| fs::remove_file(diff.join("etc/config")).unwrap()),
    ("diff", |_, record| append(&record.join("diff"), "\n")),
    ("size", |_, record| append(&record.join("size"), "0")),
    ("the mode of size", |_, record| chmod(&record.join("size"), 0o600)),
    ("a parent", |_, record| append(&record.join("parent"), "x")),
    ("a record's file more", |_, record| fs::write(record.join("os"), "linux").unwrap()),
    ("the journal", |_, record| append(&record.join("tar-split.json.gz"), "x")),
    ("no journal entry", |_, record| {
        // An empty gzip.
        run("sh", &["-c", "gzip </dev/null >\"$0\""], &record.join("tar-split.json.gz"));
    }),
    ("link", |diff, _| append(&diff.with_file_name("link"), "X")),
    ("lower", |diff, _| append(&diff.with_file_name("lower"), ":l/X")),
    ("committed", |diff, _| fs::remove_file(diff.with_file_name("committed")).unwrap()),
    ("work", |diff, _| fs::create_dir(diff.with_file_name("work")).unwrap()),
    ("a cache id", |diff, record| {
        fs::rename(diff.parent().unwrap(), diff.parent().unwrap().with_file_name("short")).unwrap();
        fs::write(record.join("cache-id"), "short").unwrap();
    }),
    ("a link's target", |diff, _| {
        let link = fs::read_to_string(diff.with_file_name("link")).unwrap();
        let link = diff.parent().unwrap().with_file_name("l").join(link);
        fs::remove_file(&link).unwrap();
        symlink(diff, link).unwrap();
    }),
    ("a stray directory", |diff, _| fs::create_dir(diff.parent().unwrap().with_file_name("stray")).unwrap()),
    ("a reference", |_, record| {
        let file = record.ancestors().nth(3).unwrap().join("repositories.json");
        let text = fs::read_to_string(&file).unwrap().replace("layerfs-alias:latest", "layerfs-alias:newest");
        fs::write(file, text).unwrap();
    }),
    ("a config", |_, record| {
        let configs = record.ancestors().nth(3).unwrap().join("imagedb/content/sha256");
        append(&fs::read_dir(configs).unwrap().next().unwrap().unwrap().path(), "\n");
    }),
];

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn append(path: &Path, text: &str) {
    let old = fs::read(path).unwrap_or_default();
    fs::write(path, [&old, text.as_bytes()].concat()).unwrap();
}

fn run(program: &str, arguments: &[&str], path: &Path) {
    assert!(Command::new(program).args(arguments).arg(path).status().unwrap().success(), "{program}");
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    run("cp", &["-a", from.to_str().unwrap()], to);
}

/// The base layer of a root: its content and its record.
fn base(root: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let layers = RootContents::read(root).layers;
    let (chain, layer) = layers.iter().find(|(chain, layer)| layer.diff_id.ends_with(chain.as_str())).unwrap();
    let record = root.join("image/overlay2/layerdb/sha256").join(chain);
    (root.join("overlay2").join(&layer.cache_id).join("diff"), record)
}

#[test]
fn docker_damage_on_disk_is_seen() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let (one, two) = (loaded(&dir, "one"), loaded(&dir, "two"));
    let copied = dir.path().join("copy");
    let two = RootContents::read(&two);
    let since = 1_750_000_000;
    copy(&one, &copied);
    testkit::assert_none("two loads", &root::differences(&RootContents::read(&copied), &two, since));
    let mut unseen = Vec::new();
    for (what, damage) in ON_DISK {
        copy(&one, &copied);
        let (diff, record) = base(&copied);
        damage(&diff, &record);
        let seen = std::panic::catch_unwind(|| root::differences(&RootContents::read(&copied), &two, since));
        if seen.is_ok_and(|lines| lines.is_empty()) {
            unseen.push((*what).to_owned());
        }
    }
    testkit::assert_none("damage that is not seen", &unseen);
}

#[test]
fn docker_damage_in_use_is_seen() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let (one, two) = (loaded(&dir, "one"), loaded(&dir, "two"));
    let at = |name: &str| dir.path().join(name);
    let ask = |path: &Path, file: &str| {
        let daemon = Dockerd::start(path);
        let report = live::report(&daemon, path);
        let output = daemon.docker(&["save", "-o", at(file).to_str().unwrap(), "layerfs-alias"]);
        (report, output.status.success())
    };
    let (sound, _) = ask(&one, "one.tar");
    let (again, _) = ask(&two, "two.tar");
    testkit::assert_none("two loads", &live::differences(&sound, &again));
    testkit::assert_none("two loads saved", &saved::differences(&at("one.tar"), &at("two.tar")));
    assert_eq!(saved::check_layers(&at("one.tar")), (4, Vec::new()));

    // A byte inside a layer, where no checksum of the outer archive covers it.
    let mut bytes = fs::read(at("one.tar")).unwrap();
    let byte = bytes.windows(11).position(|part| part == b"etc/config\0").unwrap();
    bytes[byte] = b'E';
    fs::write(at("one.tar"), bytes).unwrap();
    assert_eq!(saved::check_layers(&at("one.tar")).1.len(), 1);
    assert_eq!(saved::differences(&at("one.tar"), &at("two.tar")).len(), 1);

    // The size of one layer, and one byte that the journal's checksum covers.
    let (diff, record) = base(&two);
    append(&record.join("size"), "0");
    fs::write(diff.join("etc/config"), "x").unwrap();
    let (damaged, saved) = ask(&two, "bad.tar");
    assert!(!saved, "a changed file cannot be saved");
    let mut commands: Vec<String> = live::differences(&damaged, &sound);
    commands.iter_mut().for_each(|line| line.truncate(line.find([' ', ':']).unwrap()));
    commands.sort();
    assert_eq!(commands, ["history", "images", "inspect", "system"]);

    let daemon = Dockerd::start(&one);
    assert!(!live::leftovers(&one).is_empty());
    daemon.remove_everything();
    testkit::assert_none("left", &live::leftovers(&one));
    let before = testkit::listing(&one);
    daemon.load(&testkit::golden(LAYERS));
    assert!(!testkit::changes(&before, &testkit::listing(&one)).is_empty(), "a load that adds layers is seen");
}
