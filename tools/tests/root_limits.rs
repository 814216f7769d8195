//! Archives that are small and ask for much: time grows with the archive, memory does not.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use testkit::image::{self, DockerArchive};
use testkit::run::{self, Input, Ran, layer_unpack};
use testkit::store::StoreFiles;
use testkit::tarfile;

/// Address space for a process that must not need much: a bug may not take the machine with it.
const CAGE: &str = "--as=2147483648";

/// The processor's time that a process and its threads have had. What else the machine does is not in it.
fn busy(stat: &str) -> Duration {
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    // Linux counts in hundredths of a second for user space on every architecture.
    Duration::from_millis(ticks * 10)
}

/// Runs a command within limits. Returns the most memory it had; its time is the processor's.
fn caged(command: &Command) -> (Ran, u64) {
    let mut prlimit = Command::new("prlimit");
    prlimit.args([CAGE, "--"]).arg(command.get_program()).args(command.get_args());
    let started = Instant::now();
    let child = run::start(prlimit, Input::Nothing);
    let status = format!("/proc/{}/status", child.id());
    let stat = format!("/proc/{}/stat", child.id());
    let watch = std::thread::spawn(move || {
        let (mut most, mut time) = (0, Duration::ZERO);
        while let Ok(status) = std::fs::read_to_string(&status) {
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let Some(kilobytes) = line.and_then(|line| line.trim().strip_suffix(" kB")) else { break };
            most = most.max(kilobytes.trim().parse::<u64>().unwrap() << 10);
            time = std::fs::read_to_string(&stat).map_or(time, |stat| busy(&stat));
            std::thread::sleep(Duration::from_millis(1));
        }
        (most, time)
    });
    let ran = run::finish(child, started);
    let (most, time) = watch.join().unwrap();
    (Ran { time, ..ran }, most)
}

/// Unpacks a layer. Returns the process, its memory, and leaves the directory.
fn unpack(dir: &Path, layer: &[u8], way: &str) -> (Ran, u64) {
    let path = dir.join("layer.tar");
    std::fs::write(&path, layer).unwrap();
    let to = dir.join("to");
    caged(&layer_unpack(&[path.as_os_str(), way.as_ref(), to.as_os_str(), "--no-sync".as_ref()]))
}

/// Whatever depth it has.
fn remove(path: &Path) {
    assert!(Command::new("rm").arg("-rf").arg(path).status().unwrap().success());
}

const WAYS: [&str; 2] = ["--layers", "--rootfs"];

/// The shorter time of two.
fn time(dir: &Path, layer: &[u8], way: &str) -> Duration {
    let once = |_| {
        let ran = unpack(dir, layer, way).0.ok();
        remove(&dir.join("to"));
        ran.time
    };
    (0..2).map(once).min().unwrap()
}

/// Whether twice as much takes more than two and a half times as long; a little is forgiven.
fn grows_too_fast(dir: &Path, title: &str, layer: impl Fn(usize) -> Vec<u8>, size: usize) -> Vec<String> {
    let mut report = Vec::new();
    for way in WAYS {
        let (half, whole) = (time(dir, &layer(size / 2), way), time(dir, &layer(size), way));
        eprintln!("{title}, {way}: {half:?} for {}, {whole:?} for {size}", size / 2);
        if whole > half.mul_f64(2.5) + Duration::from_millis(100) {
            report.push(format!("{title}, {way}: {whole:?}, and for half of it {half:?}"));
        }
    }
    report
}

fn ready() -> bool {
    let prlimit = Command::new("prlimit").arg("--version").output().is_ok();
    testkit::is_root() && testkit::tier("root", prlimit, "install util-linux")
}

/// Files, and as many markers behind them (W03).
fn marked(count: usize) -> Vec<u8> {
    let files = (0..count).map(|number| tarfile::file(format!("a/{number}"), "x"));
    let markers = (0..count).map(|_| tarfile::file("a/.wh..wh..opq", ""));
    tarfile::tar(&[tarfile::dir("a/")].into_iter().chain(files).chain(markers).collect::<Vec<_>>())
}

#[test]
fn root_time_is_linear() {
    if !ready() {
        return;
    }
    let dir = testkit::scratch();
    let same =
        |count| tarfile::tar(&(0..count).map(|number| tarfile::file("same", format!("{number}"))).collect::<Vec<_>>());
    let turns = |count| {
        let turn =
            |number| if number % 2 == 0 { tarfile::dir("turn/") } else { tarfile::file("turn", format!("{number}")) };
        tarfile::tar(&(0..count).map(turn).collect::<Vec<_>>())
    };
    let names = |count| {
        let whiteout = |number| tarfile::file(format!("d/.wh.{number}"), "");
        tarfile::tar(&(0..count).map(whiteout).collect::<Vec<_>>())
    };
    let full = if testkit::full_sweep() { 100_000 } else { 30_000 };
    let mut report = grows_too_fast(dir.path(), "W03", marked, full / 2);
    report.extend(grows_too_fast(dir.path(), "R12 one path", same, full));
    report.extend(grows_too_fast(dir.path(), "R12 by turns", turns, full));
    report.extend(grows_too_fast(dir.path(), "whiteouts", names, full));
    testkit::assert_none("time", &report);
}

/// A file below so many directories, none of which has a member (R11): up to 2000 by its name, more through symlinks, each
/// of which adds 2000.
fn deep(levels: usize) -> Vec<tarfile::TarMember> {
    if levels <= STEP {
        return vec![tarfile::file(format!("{}f", "a/".repeat(levels)), "deep")];
    }
    let links = levels / STEP;
    let link = |number| tarfile::symlink(format!("{}l", "l/".repeat(number)), "a/".repeat(STEP));
    (0..links).map(link).chain([tarfile::file(format!("{}f", "l/".repeat(links)), "deep")]).collect()
}

/// Directories in one path.
const STEP: usize = 2000;

#[test]
fn root_depth_costs_little() {
    if !ready() {
        return;
    }
    let dir = testkit::scratch();
    let to = dir.path().join("to");
    let mut report = Vec::new();
    // The kernel, docker and we follow 40 symlinks.
    for levels in [500, STEP, 40 * STEP] {
        for way in WAYS {
            let (ran, memory) = unpack(dir.path(), &tarfile::tar(&deep(levels)), way);
            eprintln!("{levels} levels, {way}: {:?}, {} MiB, {:?}", ran.time, memory >> 20, ran.code);
            if ran.code != Some(0) || memory > 200 << 20 || ran.time > Duration::from_secs(20) {
                let (time, message) = (ran.time, ran.stderr.trim_end());
                report.push(format!(
                    "{levels} levels, {way}: {:?}, {time:?}, {} MiB, {message}",
                    ran.code,
                    memory >> 20
                ));
            }
            remove(&to);
            // What was made goes away again, and what follows is refused for what it is.
            let mut bad = deep(levels);
            bad.push(tarfile::file("../out", ""));
            let (ran, memory) = unpack(dir.path(), &tarfile::tar(&bad), way);
            report.extend(
                ran.complaints(&["leads out of the layer"]).into_iter().map(|line| format!("{levels} levels: {line}")),
            );
            if memory > 200 << 20 || ran.time > Duration::from_secs(20) {
                report.push(format!("{levels} levels, then refused, {way}: {:?}, {} MiB", ran.time, memory >> 20));
            }
            if to.exists() {
                report.push(format!("{levels} levels, {way}: the directory is left"));
                remove(&to);
            }
        }
    }
    testkit::assert_none("depth", &report);
}

/// What is read of an image without unpacking it: as deep as a path can be long it is right, and what symlinks of the layer have
/// made deeper is refused by all commands alike. The paths of 80,000 levels would be gigabytes.
#[test]
fn root_deep_images_are_read_or_refused() {
    if !ready() {
        return;
    }
    let dir = testkit::scratch();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let write = |name: &str, levels: usize| {
        let archive = DockerArchive::new("deep:1", &[tarfile::tar(&deep(levels))]).build();
        std::fs::write(at(name), archive).unwrap();
    };
    write("right", STEP);
    write("deeper", 40 * STEP);
    std::fs::create_dir(at("to")).unwrap();
    let (right, below) = (format!("/{}f", "a/".repeat(STEP)), format!("/{}f", "l/".repeat(40)));
    let (from, export, to) = (format!("deep:1:{below}"), at("export.tar"), at("to"));
    let mut report = Vec::new();
    for words in [
        &["image", "files", "deep:1"][..],
        &["image", "cat", "deep:1", &below],
        &["image", "export", "deep:1", "-o", &export],
        &["image", "cp", "deep:1:/", &to],
        &["image", "cp", &from, &to],
        &["image", "diff", "deep:1", "deep:1"],
    ] {
        let (ran, memory) = caged(&run::layerfs(&[words, &["--archive", &at("deeper")]].concat()));
        // Two images that are the same one need not be looked into.
        let same = words[1] == "diff" && ran.code == Some(0) && ran.stdout.is_empty();
        let reason = "through symlinks it lies deeper than a path can be long";
        report.extend(ran.complaints(&[reason]).into_iter().filter(|_| !same).map(|line| format!("{words:?}: {line}")));
        if memory > 200 << 20 || ran.time > Duration::from_secs(20) {
            report.push(format!("{words:?}: {:?}, {} MiB", ran.time, memory >> 20));
        }
    }
    assert!(std::fs::read_dir(&to).unwrap().next().is_none());
    let read = |words: &[&str]| caged(&run::layerfs(&[words, &["--archive", &at("right")]].concat())).0.ok().stdout;
    assert_eq!(read(&["image", "cat", "deep:1", &right]), "deep");
    assert_eq!(read(&["image", "files", "deep:1"]).lines().count(), STEP + 1);
    read(&["image", "cp", "deep:1:/", &to]);
    remove(Path::new(&to));
    testkit::assert_none("deep images", &report);
}

/// A kilobyte of gzip that would make half a million directories, which dockerd refuses.
#[test]
fn root_paths_longer_than_dockers_are_refused() {
    if !ready() {
        return;
    }
    let dir = testkit::scratch();
    let mut report = Vec::new();
    // With the slash that dockerd puts in front, and the NUL behind, 4,096 bytes are the most that the kernel takes.
    let of_length = |length: usize| format!("{}{}", "d/".repeat(length / 2 - 1), "f".repeat(2 + length % 2));
    let cases = [
        ("the longest", vec![tarfile::file(of_length(4094), "")], true),
        ("one more", vec![tarfile::file(of_length(4095), "")], false),
        ("one more, a directory", vec![tarfile::dir(format!("{}/", of_length(4095)))], false),
        ("one more, a whiteout", vec![tarfile::file(format!("{}/.wh.f", of_length(4089)), "")], false),
        ("half a million", vec![tarfile::file("a/".repeat(500_000) + "f", "")], false),
        ("longer before it is cleaned", vec![tarfile::file(format!("./{}f", "x/../".repeat(2000)), "")], true),
        ("a link's target", vec![tarfile::hard_link("l", of_length(4095))], false),
    ];
    for (title, members, accepted) in cases {
        for way in WAYS {
            let (ran, _) = unpack(dir.path(), &tarfile::tar(&members), way);
            let found = if accepted { Vec::new() } else { ran.complaints(&["too long"]) };
            report.extend(found.into_iter().map(|line| format!("{title}, {way}: {line}")));
            if accepted && ran.code != Some(0) {
                report.push(format!("{title}, {way}: {}", ran.stderr));
            }
            let to = dir.path().join("to");
            if accepted {
                remove(&to);
            } else if to.exists() {
                report.push(format!("{title}, {way}: the directory is left"));
                remove(&to);
            }
            if ran.time > Duration::from_secs(5) {
                report.push(format!("{title}, {way}: {:?}", ran.time));
            }
        }
    }
    testkit::assert_none("long paths", &report);
}

/// A layer with one file, its end, and so many zeros behind it (R01).
fn padded(padding: u64) -> (Vec<u8>, layerfs::Digest) {
    const PART: usize = 16 << 20;
    let (layer, zeros) = (tarfile::tar(&[tarfile::file("f", "f")]), vec![0; PART]);
    let parts = usize::try_from(padding).unwrap() / PART;
    let mut hasher = layerfs::Hasher::default();
    hasher.update(&layer);
    (0..parts).for_each(|_| hasher.update(&zeros));
    // Members of a gzip stream are one after the other.
    ([image::pack("gzip", &layer), image::pack("gzip", &zeros).repeat(parts)].concat(), hasher.finish())
}

#[test]
fn root_padding_is_not_kept_in_memory() {
    if !ready() {
        return;
    }
    let (dir, mut report) = (testkit::scratch(), Vec::new());
    let (packed, digest) = padded(1 << 30);
    let mut archive = DockerArchive::new("layerfs-test/padded:1", &[Vec::new()]);
    archive.config["rootfs"]["diff_ids"][0] = digest.to_string().into();
    archive.layers[0] = tarfile::file(image::layer_name(0), packed.clone());
    for (way, bytes) in [("--root", archive.build()), ("--layers", packed.clone()), ("--rootfs", packed)] {
        let (ran, memory) = unpack(dir.path(), &bytes, way);
        eprintln!("1 GiB of zeros, {way}: {:?}, {} MiB, {:?}", ran.time, memory >> 20, ran.code);
        if ran.code != Some(0) || memory > 200 << 20 {
            report.push(format!("{way}: {:?}, {} MiB, {}", ran.code, memory >> 20, ran.stderr));
        }
        if way == "--root" {
            let store = StoreFiles::read(&dir.path().join("to"));
            report.extend(store.not_replayable());
            report.extend(store.wrong);
        }
        remove(&dir.path().join("to"));
    }
    testkit::assert_none("padding", &report);
}

/// Each layer of a layout in a directory is a file of its own, and open only while it is read.
#[test]
fn root_layers_may_be_more_than_files_may_be_open() {
    if !ready() {
        return;
    }
    // The usual limit, and more layers than one image may have.
    const IMAGES: usize = 13;
    const LAYERS: usize = 116;
    let dir = testkit::scratch();
    let layout = dir.path().join("layout");
    let mut manifest = Vec::new();
    for image in 0..IMAGES {
        let layer = |layer| tarfile::tar(&[tarfile::file(format!("f{layer}"), format!("{image} {layer}"))]);
        let layers: Vec<Vec<u8>> = (0..LAYERS).map(layer).collect();
        let archive = DockerArchive::new(&format!("layerfs-test/many:{image}"), &layers);
        let mut entry = archive.manifest[0].clone();
        entry["Config"] = format!("{image}.json").into();
        std::fs::create_dir_all(layout.join(format!("{image}"))).unwrap();
        std::fs::write(layout.join(format!("{image}.json")), serde_json::to_vec(&archive.config).unwrap()).unwrap();
        for (number, layer) in layers.iter().enumerate() {
            let name = format!("{image}/{number}.tar");
            std::fs::write(layout.join(&name), layer).unwrap();
            entry["Layers"][number] = name.into();
        }
        manifest.push(entry);
    }
    std::fs::write(layout.join("manifest.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
    for (limit, way, image) in [("1024", "--root", None), ("64", "--rootfs", Some("layerfs-test/many:7"))] {
        let to = dir.path().join(way);
        let mut arguments = vec![layout.as_os_str(), way.as_ref(), to.as_os_str(), "--no-sync".as_ref()];
        image.iter().for_each(|image| arguments.extend(["--image".as_ref(), std::ffi::OsStr::new(*image)]));
        let command = layer_unpack(&arguments);
        let mut prlimit = Command::new("prlimit");
        prlimit.args([&format!("--nofile={limit}:{limit}"), "--"]).arg(command.get_program()).args(command.get_args());
        let started = Instant::now();
        run::finish(run::start(prlimit, Input::Nothing), started).ok();
    }
    let layers = std::fs::read_dir(dir.path().join("--root/image/overlay2/layerdb/sha256")).unwrap();
    assert_eq!(layers.count(), IMAGES * LAYERS);
    let text = |number: usize| std::fs::read_to_string(dir.path().join("--rootfs").join(format!("f{number}"))).unwrap();
    assert!((0..LAYERS).all(|number| text(number) == format!("7 {number}")));
}

/// `{"Repositories":...}` with one name for each text, all of one image.
fn repositories(names: impl Iterator<Item = String>, image: &str) -> String {
    let all: Vec<String> = names.map(|name| format!("\"{name}\":{{\"{name}:1\":\"{image}\"}}")).collect();
    format!("{{\"Repositories\":{{{}}}}}", all.join(","))
}

/// Each file is within its own limit, and all of them together would fill gigabytes.
#[test]
fn root_many_large_records_are_not_kept_in_memory() {
    const CONFIG: &str = r#""os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}"#;
    if !ready() {
        return;
    }
    let dir = testkit::scratch();
    let pairs = |count: usize| (0..count).map(|number| format!("\"k{number}\":\"\"")).collect::<Vec<_>>().join(",");
    let empty_root = |name: &str| {
        let root = dir.path().join(name);
        for place in ["imagedb/content/sha256", "imagedb/metadata/sha256", "layerdb/sha256", "layerdb/mounts"] {
            std::fs::create_dir_all(root.join("image/overlay2").join(place)).unwrap();
        }
        for place in ["overlay2/l", "containers"] {
            std::fs::create_dir_all(root.join(place)).unwrap();
        }
        root
    };
    let put = |root: &Path, config: &str| {
        let id = layerfs::Digest::hash(config.as_bytes());
        std::fs::write(root.join("image/overlay2/imagedb/content/sha256").join(id.hex()), config).unwrap();
        id.to_string()
    };
    let configs = empty_root("configs");
    let labels = pairs(500_000);
    for number in 0..6 {
        put(&configs, &format!(r#"{{{CONFIG},"author":"{number}","config":{{"Labels":{{{labels}}}}}}}"#));
    }
    let containers = empty_root("containers");
    let labels = pairs(900_000);
    for number in 0..4 {
        let id = layerfs::Digest::hash(&[number]).hex();
        let own = containers.join("containers").join(&id);
        std::fs::create_dir(&own).unwrap();
        let config = format!(r#"{{"ID":"{id}","Name":"/c{number}","State":{{}},"Config":{{"Labels":{{{labels}}}}}}}"#);
        std::fs::write(own.join("config.v2.json"), config).unwrap();
    }
    let references = |name: &str, count: usize| {
        let root = empty_root(name);
        let id = put(&root, &format!("{{{CONFIG}}}"));
        let text = repositories((0..count).map(|number| format!("r{number}")), &id);
        std::fs::write(root.join("image/overlay2/repositories.json"), text).unwrap();
        root
    };
    let (some, too_many) = (references("some", 160_000), references("too many", 600_000));
    let mut report = Vec::new();
    // What is not read is named.
    let cases = [
        (&configs, "imagedb/content/sha256/", "not read"),
        (&containers, "config.v2.json", "not read"),
        (&some, "", ""),
        (&too_many, "repositories.json", "longer than"),
    ];
    for (root, file, reason) in cases {
        for words in [&["layerfs", "image", "ls"][..], &["layerfs", "system", "check"], &["image-gc"], &["image-du"]] {
            let mut command = Command::new(testkit::program(words[0]));
            command.arg("--root").arg(root).args(&words[1..]);
            let (ran, memory) = caged(&command);
            eprintln!("{}, {words:?}: {:?}, {} MiB", root.display(), ran.time, memory >> 20);
            if memory > 256 << 20 || ran.time > Duration::from_secs(60) || !matches!(ran.code, Some(0 | 1)) {
                report.push(format!("{words:?}: {:?}, {:?}, {} MiB", ran.code, ran.time, memory >> 20));
            }
            if words[0] == "layerfs" && !(ran.stderr.contains(file) || ran.stdout.contains(file)) {
                report.push(format!("{words:?}: does not name {file}"));
            }
            if words[0] == "layerfs" && !(ran.stderr.contains(reason) || ran.stdout.contains(reason)) {
                report.push(format!("{words:?}: does not say why"));
            }
        }
    }
    testkit::assert_none("memory", &report);
}
