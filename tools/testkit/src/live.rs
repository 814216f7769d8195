//! What a daemon says about its images, in a form that two daemons can be compared by.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::dockerd::Dockerd;
use super::root::RootContents;

/// All that dockerd says about images, by the command that says it.
pub type DaemonWords = BTreeMap<String, String>;

/// Asks the daemon on `root` everything.
pub fn report(daemon: &Dockerd, root: &Path) -> DaemonWords {
    let root = RootContents::read(root);
    let mut report = DaemonWords::new();
    let columns = "{{.Repository}} {{.Tag}} {{.Digest}} {{.ID}} {{.CreatedAt}} {{.Size}}";
    let images = daemon.ok(&["images", "-a", "--digests", "--no-trunc", "--format", columns]);
    report.insert("images".into(), sorted(images.lines()));
    for id in daemon.images() {
        let mut inspected: Value = serde_json::from_str(&daemon.ok(&["inspect", &id])).unwrap();
        // In the order of a Go map.
        for names in ["RepoTags", "RepoDigests"] {
            inspected[0][names].as_array_mut().unwrap().sort_by_key(ToString::to_string);
        }
        let inspected = serde_json::to_string_pretty(&inspected).unwrap();
        report.insert(format!("inspect {id}"), root.lasting(&inspected));
        let history = daemon.ok(&["history", "--no-trunc", "--human=false", &id]);
        report.insert(format!("history {id}"), history);
    }
    let usage = daemon.ok(&["system", "df", "-v", "--format", "{{json .}}"]);
    let mut usage: Value = serde_json::from_str(&usage).unwrap();
    let images = usage["Images"].as_array_mut().unwrap();
    for image in images.iter_mut() {
        // The age; the time itself is in CreatedAt.
        image.as_object_mut().unwrap().remove("CreatedSince");
    }
    images.sort_by_key(ToString::to_string);
    report.insert("system df -v".into(), serde_json::to_string_pretty(&usage).unwrap());
    report
}

/// Where two reports differ.
pub fn differences(ours: &DaemonWords, dockers: &DaemonWords) -> Vec<String> {
    let commands: std::collections::BTreeSet<&String> = ours.keys().chain(dockers.keys()).collect();
    let different = commands.into_iter().filter(|&command| ours.get(command) != dockers.get(command));
    different
        .map(|command| {
            let lines = |report: &DaemonWords| -> Vec<String> {
                report.get(command).map_or_else(Vec::new, |text| text.lines().map(str::to_owned).collect())
            };
            let (have, want) = (lines(ours), lines(dockers));
            let only = |these: &[String], those: &[String], mark: &str| -> String {
                let only = these.iter().filter(|line| !those.contains(line));
                only.map(|line| format!("\n  {mark} {line}")).collect()
            };
            format!("{command}:{}{}", only(&have, &want, "  ours"), only(&want, &have, "docker"))
        })
        .collect()
}

fn sorted<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut lines: Vec<&str> = lines.collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// What `docker rmi` of everything must not leave behind, below `root`.
pub fn leftovers(root: &Path) -> Vec<String> {
    let image = root.join("image/overlay2");
    let names = |dir: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(dir).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path().display().to_string()).collect()
    };
    let mut left = names(&root.join("overlay2"));
    left.retain(|path| !path.ends_with("/overlay2/l"));
    let emptied =
        ["layerdb/sha256", "layerdb/tmp", "layerdb/mounts", "imagedb/content/sha256", "imagedb/metadata/sha256"];
    left.extend(emptied.iter().flat_map(|dir| names(&image.join(dir))));
    left.extend(names(&root.join("overlay2/l")));
    let references = std::fs::read_to_string(image.join("repositories.json")).unwrap();
    if references != r#"{"Repositories":{}}"# {
        left.push(references);
    }
    left
}
