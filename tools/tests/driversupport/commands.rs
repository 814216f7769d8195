//! Each command on one store of a storage driver, and what the README says of that.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use testkit::image::DockerArchive;
use testkit::tarfile;

const README: &str = include_str!("../../../README.md");

/// The heading of the README's table.
const HEADING: &str = "| command | overlay2 | vfs | devicemapper |";

/// The commands in the README's table, and whether it says that they work with this driver.
fn documented(driver: &str) -> Vec<(String, bool)> {
    let table = README.lines().skip_while(|line| *line != HEADING).take_while(|line| line.starts_with('|'));
    let cells: Vec<Vec<&str>> = table.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect();
    assert!(cells.len() > 2, "the README has no table: {HEADING}");
    let column = cells[0].iter().position(|name| *name == driver).unwrap();
    let rows = cells[2..].iter().map(|row| match row[column] {
        "yes" => (row[0].trim_matches('`').to_owned(), true),
        "no" => (row[0].trim_matches('`').to_owned(), false),
        other => panic!("{row:?}: {other}"),
    });
    rows.collect()
}

/// A store that is worked with.
struct Store {
    programs: PathBuf,
    root: PathBuf,
    /// The commands so far, and whether they did what they are for.
    done: Vec<(String, bool)>,
}

impl Store {
    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        Command::new(self.programs.join(program)).arg("--root").arg(&self.root).args(arguments).output().unwrap()
    }

    /// A command that is called `name` in the README works. Returns what it prints.
    fn works(&mut self, name: &str, arguments: &[&str]) -> String {
        let program = name.split(' ').next().filter(|word| word.contains('-')).unwrap_or("layerfs");
        self.done.push((name.to_owned(), true));
        testkit::succeeded(name, self.run(program, arguments))
    }

    /// It prints this.
    fn says(&mut self, name: &str, arguments: &[&str], expected: &str) {
        assert_eq!(self.works(name, arguments), expected, "{name}");
    }

    /// It is refused with these words.
    fn refuses(&mut self, name: &str, arguments: &[&str], expected: &str) {
        let program = name.split(' ').next().filter(|word| word.contains('-')).unwrap_or("layerfs");
        let output = self.run(program, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(expected), "{name}: {output:?}");
        self.done.push((name.to_owned(), false));
    }
}

/// An image of two layers: `etc/a` and `etc/old`, and what is in `second`.
fn archive(path: &Path, name: &str, second: &[(&str, &str)]) {
    let layer = |files: &[(&str, &str)]| {
        let files = files.iter().map(|(name, content)| tarfile::file(name, *content));
        tarfile::tar(&std::iter::once(tarfile::dir("etc/")).chain(files).collect::<Vec<_>>())
    };
    let layers = [layer(&[("etc/a", "one\n"), ("etc/old", "old\n")]), layer(second)];
    std::fs::write(path, DockerArchive::new(name, &layers).build()).unwrap();
}

/// Goes through all commands on a new store below `dir`; the outcome is the same with each driver, and is what the README says.
pub(crate) fn check_commands(programs: &Path, dir: &Path, driver: &str, options: &[&str]) {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (app, other, out) = (path("app.tar"), path("other.tar"), path("out"));
    archive(Path::new(&app), "t/app:1", &[("etc/.wh.old", ""), ("etc/b", "two\n")]);
    archive(Path::new(&other), "t/other:1", &[("etc/b", "other\n")]);
    let mut store = Store { programs: programs.to_owned(), root: dir.join("root"), done: Vec::new() };

    store.works("layer-unpack --root", &[options, &["-q", "--storage-driver", driver, &app]].concat());
    store.says("image load", &["image", "load", "-q", "-i", &other], "Loaded image: t/other:1\n");
    store.says("image ls", &["image", "ls", "--format", "{{.Repository}}"], "t/app\nt/other\n");
    let kind = ["image", "inspect", "-f", "{{len .RootFS.Layers}} {{.GraphDriver.Name}}", "t/app:1"];
    store.says("image inspect", &kind, &format!("2 {driver}\n"));
    let steps = ["image", "history", "--format", "{{.CreatedBy}} {{.Size}}", "t/app:1"];
    store.says("image history", &steps, "step 1 4B\nstep 0 8B\n");
    let tree = store.works("image tree", &["image", "tree", "t/app:1"]);
    let lines: Vec<&str> = tree.lines().collect();
    assert!(
        lines.len() == 2 && lines[0].contains("8B  in 2 images") && lines[1].contains("4B of 12B  t/app:1"),
        "{tree}"
    );
    // Files, one by one and all together.
    store.says("image files", &["image", "files", "t/app:1"], "/etc\n/etc/a\n/etc/b\n");
    store.says("image cat", &["image", "cat", "t/app:1", "/etc/b"], "two\n");
    store.works("image cp", &["image", "cp", "t/app:1:/etc/b", &out]);
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "two\n");
    let difference = store.works("image diff", &["image", "diff", "t/app:1", "t/other:1"]);
    let lines: Vec<&str> = difference.lines().collect();
    let is_it = lines.len() == 2 && lines[0].starts_with("C ") && lines[0].contains(" /etc/b ");
    assert!(is_it && lines[1].starts_with("A ") && lines[1].ends_with(" /etc/old"), "{difference}");
    let (saved, exported) = (path("saved.tar"), path("exported.tar"));
    store.works("image save", &["image", "save", "-o", &saved, "t/app:1"]);
    let (layers, wrong) = testkit::saved::check_layers(Path::new(&saved));
    assert_eq!((layers, wrong), (2, Vec::new()));
    store.works("image export", &["image", "export", "-o", &exported, "t/app:1"]);
    let listed = Command::new("tar").arg("-tf").arg(&exported).output().unwrap();
    assert_eq!(testkit::succeeded("tar", listed), "etc/\netc/a\netc/b\n");
    // A container.
    store.works("container create", &["container", "create", "--name", "box", "--network", "none", "t/app:1", "true"]);
    let new = path("new");
    std::fs::write(&new, "mine\n").unwrap();
    store.works("container cp", &["container", "cp", &new, "box:/etc/new"]);
    store.says("container diff", &["container", "diff", "box"], "C /etc\nA /etc/new\n");
    store.works("container commit", &["container", "commit", "box", "t/kept:1"]);
    let content = store.run("layerfs", &["image", "cat", "t/kept:1", "/etc/new"]);
    assert_eq!(testkit::succeeded("image cat", content), "mine\n");
    // The store as a whole.
    let account: serde_json::Value = serde_json::from_str(&store.works("image-du", &["--json"])).unwrap();
    assert_eq!((&account["unaccounted"], account["images"].as_array().unwrap().len()), (&0.into(), 3));
    let counts = ["system", "df", "--format", "{{.Type}} {{.TotalCount}}"];
    store.says("system df", &counts, "Images 3\nContainers 1\nLocal Volumes 0\nBuild Cache 0\n");
    let owner = store.works("system owner", &["system", "owner", "t/app:1"]);
    assert!(owner.starts_with("t/app:1: an image\n") && owner.contains("made from it"), "{owner}");
    let said = store.works("system check", &["system", "check", "--deep"]);
    assert!(said.starts_with("no damage: 3 images, 4 layers, 1 container"), "{said}");
    store.says("system repair", &["system", "repair"], "Nothing is damaged.\n");
    let in_directories = driver != "devicemapper";
    if in_directories {
        store.refuses("system trim", &["system", "trim"], "keeps layers in directories: nothing is to be trimmed");
        store.refuses("system pool", &["system", "pool"], "has no thin pool");
    } else {
        store.works("system trim", &["system", "trim"]);
        let pool: serde_json::Value =
            serde_json::from_str(&store.works("system pool", &["system", "pool", "--json"])).unwrap();
        // The base, four layers, and two of the container.
        assert_eq!(pool["devices"].as_array().unwrap().len(), 7, "{pool}");
    }
    store.says("container rm", &["container", "rm", "box"], "box\n");
    let removed = store.works("image rm", &["image", "rm", "t/kept:1"]);
    assert!(removed.starts_with("Untagged: t/kept:1\n") && removed.matches("Deleted: ").count() == 2, "{removed}");
    // A clean-up: what goes is kept elsewhere first, where that can be.
    let (kept, all) = (path("kept"), ["--all", "--apply"]);
    let quarantine = [&all[..], &["--quarantine", &kept]].concat();
    if in_directories {
        store.works("image-gc --quarantine", &quarantine);
        assert_eq!(std::fs::read_dir(&kept).unwrap().count(), 1);
        testkit::succeeded("image load", store.run("layerfs", &["image", "load", "-q", "-i", &app]));
    } else {
        store.refuses("image-gc --quarantine", &quarantine, "is not done with the storage driver devicemapper");
    }
    store.works("image-gc", &all);
    let left = store.run("layerfs", &["image", "ls", "-q"]);
    assert_eq!(testkit::succeeded("image ls", left), "");
    assert_eq!(store.done, documented(driver));
}
