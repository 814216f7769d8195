//! What dockerd and we are asked of one store, and where the answers differ.

use std::process::Output;

/// What both are asked. The rows come first: to answer them dockerd takes and releases layers, and forgets those that nothing else holds.
pub(crate) const QUESTIONS: [&[&str]; 6] = [
    &["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}"],
    &["image", "ls", "-a", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}} {{.Digest}} {{.Size}}"],
    &["image", "ls", "-q", "--filter", "dangling=true"],
    &["container", "ls", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.Image}} {{.State}} {{.Mounts}}"],
    &["container", "ls", "-a", "-s", "--format", "{{.Names}} {{.Size}} {{.LocalVolumes}}"],
    &["volume", "ls", "--format", "{{.Name}} {{.Driver}} {{.Mountpoint}}"],
];

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The lines of each that the other does not have, named by the damage.
pub(crate) fn differences(
    question: &[&str],
    ours: &Output,
    theirs: &Output,
    name: impl Fn(&str) -> String,
) -> Vec<String> {
    let sorted = |output: &Output| {
        let mut lines: Vec<String> = text(&output.stdout).lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    let (a, b) = (sorted(ours), sorted(theirs));
    let only = |who: &str, these: &[String], others: &[String]| -> Vec<String> {
        let lines = these.iter().filter(|line| !others.contains(line));
        lines.map(|line| format!("{:?}: {who} only: {line}{}", &question[..2], name(line))).collect()
    };
    let mut found = only("we", &a, &b);
    found.extend(only("docker", &b, &a));
    if !theirs.status.success() {
        found.push(format!("{question:?}: docker fails: {}", text(&theirs.stderr)));
    }
    found
}
