//! However the bytes come, and however many threads there are: the same trees, the same journals, the same modes.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tarsplit::Entry;
use testkit::cases::TreeEntry;
use testkit::image::{self, DockerArchive, OciLayout};
use testkit::run::{Input, layer_unpack, run};
use testkit::store::StoreFiles;
use testkit::{synthetic, tarfile};

const PACKERS: [&str; 4] = ["gzip", "zstd", "xz", "bzip2"];

/// What an import made: the layers by chain id, with their journals where there are some.
#[derive(Default)]
struct Made {
    images: Vec<String>,
    outline: Vec<String>,
    trees: BTreeMap<String, Vec<TreeEntry>>,
    journals: BTreeMap<String, Vec<Entry>>,
}

impl Made {
    fn in_root(root: &Path, since: i64) -> Self {
        let store = StoreFiles::read(root);
        testkit::assert_none("the store", &[store.wrong.clone(), store.not_replayable()].concat());
        let tree = |(chain, diff): (String, PathBuf)| (chain, testkit::lasting_walk(&diff, since));
        let journal = |chain: &String| (chain.clone(), gathered(store.journal(chain).unwrap().map(Result::unwrap)));
        Self {
            images: store.images.keys().cloned().collect(),
            outline: store.outline(),
            trees: store.diffs().into_iter().map(tree).collect(),
            journals: store.layers.keys().map(journal).collect(),
        }
    }

    fn in_directories(dir: &Path, since: i64) -> Self {
        let list: Value = serde_json::from_slice(&std::fs::read(dir.join("layers.json")).unwrap()).unwrap();
        let tree = |layer: &Value| {
            let diff = dir.join(layer["directory"].as_str().unwrap()).join("diff");
            let chain = layer["chain_id"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
            (chain, testkit::lasting_walk(&diff, since))
        };
        Self { trees: list["layers"].as_array().unwrap().iter().map(tree).collect(), ..Self::default() }
    }

    /// Where another one differs; journals and outline only where it has them.
    fn differences(&self, other: &Self) -> Vec<String> {
        let mut report = Vec::new();
        if !self.trees.keys().eq(other.trees.keys()) {
            report.push(format!("layers {:?}, not {:?}", other.trees.keys(), self.trees.keys()));
        }
        for (chain, tree) in &other.trees {
            let changes = self.trees.get(chain).map_or_else(Vec::new, |mine| testkit::tree_changes(mine, tree));
            report.extend(changes.into_iter().map(|change| format!("{chain}: {change}")));
        }
        let different = other.journals.iter().filter(|(chain, journal)| self.journals.get(*chain) != Some(*journal));
        report.extend(different.map(|(chain, _)| format!("{chain}: another journal")));
        if !other.outline.is_empty() && (&self.images, &self.outline) != (&other.images, &other.outline) {
            report.push(format!("{:?} {:?}, not {:?} {:?}", other.images, other.outline, self.images, self.outline));
        }
        report
    }
}

/// A journal with adjacent segments as one.
fn gathered(journal: impl Iterator<Item = Entry>) -> Vec<Entry> {
    let mut gathered = Vec::new();
    for entry in journal {
        match (gathered.last_mut(), entry) {
            (Some(Entry::Segment(bytes)), Entry::Segment(more)) => bytes.extend(more),
            (_, entry) => gathered.push(entry),
        }
    }
    gathered
}

/// A layer in which members come in each other's way.
fn tricky() -> Vec<u8> {
    let large = |byte| vec![byte; 300_000];
    let mut members =
        vec![tarfile::dir("d/").mode(0o700), tarfile::file("d/f", large(b'1')), tarfile::file("d/f", large(b'2'))];
    members.extend([
        tarfile::hard_link("d/hard", "d/f").mode(0o4755),
        tarfile::file("d/f", "3"),
        tarfile::dir("d/sub/"),
    ]);
    members.extend([tarfile::file("d/sub/x", large(b'4')), tarfile::file("d/sub", "no directory any more")]);
    members.extend([
        tarfile::symlink("to-d", "d"),
        tarfile::file("to-d/through", large(b'5')),
        tarfile::dir("d/").mode(0o555),
    ]);
    members.extend([
        tarfile::file("implied/a/b", "6"),
        tarfile::file("late/x", "7"),
        tarfile::dir("late/").mtime(1_500_000_000),
    ]);
    members.extend([
        tarfile::file("gone/.wh.x", ""),
        tarfile::file("late/.wh..wh..opq", ""),
        tarfile::file("empty", ""),
    ]);
    members.push(tarfile::file("xattr", "8").record("SCHILY.xattr.user.a", "b").record("mtime", "1600000000.5"));
    members.extend([
        tarfile::char_device("null", (1, 3)),
        tarfile::fifo("pipe"),
        tarfile::file("mode", "").mode(0o6000),
    ]);
    tarfile::tar(&members)
}

/// Archives to be read in every way.
fn archives() -> Vec<(&'static str, Vec<u8>)> {
    let golden = |name| (name, std::fs::read(testkit::golden(name)).unwrap());
    vec![
        golden("layers-20.10.tar"),
        ("synthetic", synthetic::archive(4 << 20, 400)),
        ("tricky", DockerArchive::new("layerfs-test/tricky:1", &[tricky(), tricky()]).build()),
    ]
}

/// Unpacks to `to` and looks at what there is.
fn make(command: Command, input: Input<'_>, way: &str, to: &Path, since: i64) -> Result<Made, String> {
    let ran = run(command, input);
    if ran.code != Some(0) {
        return Err(format!("{:?}: {}", ran.code, ran.stderr));
    }
    let made = if way == "--root" { Made::in_root(to, since) } else { Made::in_directories(to, since) };
    std::fs::remove_dir_all(to).unwrap();
    Ok(made)
}

fn command(archive: &str, way: &str, to: &Path, options: &[&str]) -> Command {
    let mut command = layer_unpack(&[archive, way, to.to_str().unwrap(), "--no-sync"]);
    command.args(options);
    command
}

/// Unpacks `archive` with the threads, from each kind of input, in both ways. Returns what differs from `expected`.
fn attempts(dir: &Path, archive: &[u8], threads: &[&str], expected: &Made, since: i64) -> Vec<String> {
    let (path, to) = (dir.join("archive"), dir.join("to"));
    std::fs::write(&path, archive).unwrap();
    let path_text = path.to_str().unwrap();
    let inputs = [(path_text, Input::Nothing), ("-", Input::File(&path)), ("-", Input::Pipe(archive))];
    let mut report = Vec::new();
    for ((name, input), threads) in inputs.iter().flat_map(|input| threads.iter().map(move |threads| (input, threads)))
    {
        for way in ["--root", "--layers"] {
            let command = command(name, way, &to, &["--threads", threads]);
            let found = match make(command, *input, way, &to, since) {
                Ok(made) => expected.differences(&made),
                Err(message) => vec![message],
            };
            let kind = match input {
                Input::Nothing => "file",
                Input::File(_) => "standard input",
                Input::Pipe(_) => "pipe",
            };
            report.extend(found.into_iter().map(|line| format!("{way}, {kind}, {threads} threads: {line}")));
        }
    }
    report
}

/// From the archive's file, with one thread.
fn baseline(dir: &Path, archive: &[u8], since: i64) -> Made {
    let (path, to) = (dir.join("baseline.tar"), dir.join("to"));
    std::fs::write(&path, archive).unwrap();
    let command = command(path.to_str().unwrap(), "--root", &to, &["--threads", "1"]);
    let made = make(command, Input::Nothing, "--root", &to, since).unwrap();
    assert!(
        made.trees.values().any(|tree| tree.len() > 10) && made.journals.values().any(|journal| journal.len() > 10)
    );
    made
}

fn ready() -> bool {
    testkit::is_root() && testkit::tier("root", image::packers(), "install gzip, zstd, xz-utils and bzip2")
}

#[test]
fn root_does_not_depend_on_how_bytes_come() {
    if !ready() {
        return;
    }
    let (dir, since, mut report) = (testkit::scratch(), testkit::now() - 1, Vec::new());
    let all = ["1", "2", "8"];
    for (title, archive) in archives() {
        let expected = baseline(dir.path(), &archive, since);
        let mut packed = vec![("plain", archive.clone())];
        packed.extend(PACKERS.map(|program| (program, image::pack(program, &archive))));
        for (number, (kind, bytes)) in packed.iter().enumerate() {
            // All numbers of threads where it is plain, else one of them in a sample.
            let threads = if number == 0 || testkit::full_sweep() { &all[..] } else { &all[number % 3..][..1] };
            let found = attempts(dir.path(), bytes, threads, &expected, since);
            report.extend(found.into_iter().map(|line| format!("{title}, {kind}, {line}")));
        }
    }
    testkit::assert_none("the same bytes", &report);
}

#[test]
fn root_does_not_depend_on_how_layers_are_packed() {
    if !ready() {
        return;
    }
    let (dir, since, mut report) = (testkit::scratch(), testkit::now() - 1, Vec::new());
    let mut layers = synthetic::layers(4 << 20, 400);
    layers.push(tricky());
    let tag = "layerfs-test/packed:1";
    let expected = baseline(dir.path(), &DockerArchive::new(tag, &layers).build(), since);
    let oci = |suffix, program| OciLayout::new(tag, &layers, suffix, |layer| image::pack(program, layer)).build();
    let docker = |program| DockerArchive::packed(tag, &layers, |layer| image::pack(program, layer)).build();
    // By turns, and the first one plain.
    let mut mixed = DockerArchive::new(tag, &layers);
    for (number, layer) in layers.iter().enumerate().skip(1) {
        mixed.layers[number] = tarfile::file(image::layer_name(number), image::pack(PACKERS[number % 4], layer));
    }
    let variants = [
        ("an OCI layout", OciLayout::new(tag, &layers, "", <[u8]>::to_vec).build()),
        ("an OCI layout with gzip", oci("+gzip", "gzip")),
        ("an OCI layout with zstd", oci("+zstd", "zstd")),
        ("gzip layers", docker("gzip")),
        ("zstd layers", docker("zstd")),
        ("mixed layers", mixed.build()),
        ("mixed layers packed again", image::pack("zstd", &mixed.build())),
    ];
    for (number, (title, archive)) in variants.iter().enumerate() {
        let threads = ["1", "2", "8"];
        let threads = if testkit::full_sweep() { &threads[..] } else { &threads[number % 3..][..1] };
        let found = attempts(dir.path(), archive, threads, &expected, since);
        report.extend(found.into_iter().map(|line| format!("{title}, {line}")));
    }
    testkit::assert_none("the same layers", &report);
}

/// The same archive as a file and from a pipe, as one tree, whatever the tool that wrote it put first.
#[test]
fn root_does_not_depend_on_what_comes_first() {
    if !testkit::is_root() {
        return;
    }
    let (dir, since, mut report) = (testkit::scratch(), testkit::now() - 1, Vec::new());
    let named = |config: &str, layer: &str| {
        let mut archive = DockerArchive::new("layerfs-test/first:1", &[tricky()]);
        archive.layers = vec![tarfile::file(layer, tricky())];
        archive.manifest[0]["Layers"][0] = layer.into();
        archive.manifest[0]["Config"] = config.into();
        let config = tarfile::file(config, serde_json::to_vec(&archive.config).unwrap());
        let manifest = tarfile::file("manifest.json", serde_json::to_vec(&archive.manifest).unwrap());
        tarfile::tar([&config, &archive.layers[0], &manifest])
    };
    let hex = "ab".repeat(32);
    let umoci = std::fs::read(testkit::golden("oci-umoci.tar")).unwrap();
    let archives: [(&str, Vec<u8>, &[&str]); 4] = [
        ("umoci", umoci, &["--image", "6704148228c9"]),
        ("go-containerregistry", named(&format!("sha256:{hex}"), &format!("{hex}.tar.gz")), &[]),
        ("jib", named("config.json", &format!("{hex}.tar.gz")), &[]),
        ("nothing known", named("settings", "some/layer"), &[]),
    ];
    for (title, archive, options) in &archives {
        let (path, from_file, from_pipe) =
            (dir.path().join("archive.tar"), dir.path().join("from-file"), dir.path().join("from-pipe"));
        std::fs::write(&path, archive).unwrap();
        run(command(path.to_str().unwrap(), "--rootfs", &from_file, options), Input::Nothing).ok();
        let ran = run(command("-", "--rootfs", &from_pipe, options), Input::Pipe(archive));
        let walk = |path: &Path| testkit::lasting_walk(path, since);
        let found = match ran.code {
            Some(0) => testkit::tree_changes(&walk(&from_file), &walk(&from_pipe)),
            // It may say that it cannot tell, but not take one for the other.
            Some(1) if *title == "nothing known" && ran.stderr.contains("as a file") => Vec::new(),
            _ => vec![ran.stderr],
        };
        report.extend(found.into_iter().take(3).map(|line| format!("{title}: {line}")));
        for made in [from_file, from_pipe].iter().filter(|path| path.exists()) {
            std::fs::remove_dir_all(made).unwrap();
        }
    }
    testkit::assert_none("from a pipe", &report);
}

#[test]
fn root_does_not_depend_on_the_umask() {
    if !testkit::is_root() {
        return;
    }
    let (dir, since, mut report) = (testkit::scratch(), testkit::now() - 1, Vec::new());
    let to = dir.path().join("some/where");
    for (title, archive) in archives() {
        let path = dir.path().join("archive.tar");
        std::fs::write(&path, &archive).unwrap();
        let with_umask = |umask: &str, way: &str| {
            // A root in a directory that does not exist is refused; the others make it.
            if way == "--root" {
                std::fs::create_dir(to.parent().unwrap()).unwrap();
            }
            let plain = command(path.to_str().unwrap(), way, &to, &[]);
            let mut shell = Command::new("sh");
            shell.args(["-c", "umask $0 && exec \"$@\"", umask]).arg(plain.get_program()).args(plain.get_args());
            run(shell, Input::Nothing).ok();
            let tree = testkit::lasting_walk(&to, since);
            let outline = if way == "--root" { StoreFiles::read(&to).outline() } else { Vec::new() };
            let trees = StoreFiles::read(&to).diffs().into_values().map(|diff| testkit::lasting_walk(&diff, since));
            let trees: Vec<_> = if way == "--root" { trees.collect() } else { vec![tree] };
            std::fs::remove_dir_all(dir.path().join("some")).unwrap();
            (outline, trees)
        };
        for way in ["--root", "--layers", "--rootfs"] {
            let expected = with_umask("0022", way);
            for umask in ["0077", "0000", "0777"] {
                let found = with_umask(umask, way);
                let outline = found.0.iter().filter(|line| !expected.0.contains(line)).cloned();
                let trees = expected.1.iter().zip(&found.1).flat_map(|(a, b)| testkit::tree_changes(a, b));
                report.extend(outline.chain(trees).map(|line| format!("{title}, {way}, umask {umask}: {line}")));
            }
        }
    }
    testkit::assert_none("umasks", &report);
}
