//! What is in images and containers, read without a daemon, is what dockerd shows: `export`, `diff`, and single files.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::BTreeMap;
use std::path::Path;

use layerfs::Digest;
use testkit::dockerd::Dockerd;
use testkit::{layerfs_on, printed_by_layerfs};

const IMAGE: &str = "layerfs-test/busybox:1";

/// Everything that can be done to files in a container without help from outside: one change a line.
const CHANGES: &str = r#"
echo new >/new; echo more >>/etc/motd; rm /etc/group; mkdir -p /made/deep/er; echo in >/made/deep/er/file
chmod 4711 /new; touch /empty; ln -s /etc/motd /link; ln -s ../../../../etc/shadow /escape; ln /new /hard; mkfifo /pipe
mknod /char c 1 3; rm -rf /var/log; mkdir /var/log; echo again >/var/log/again
rm -rf /tmp; echo 'a file now' >/tmp; rm /etc/removed /etc/motd2 2>/dev/null; rm /bin/awk; mkdir /bin/awk; echo x >/bin/awk/x
chown 7:8 /etc/motd; chmod 1777 /var; touch -d @1000000000 /old; touch -d @1 /made; mkdir /many
for i in 0 1 2 3 4 5 6 7 8 9; do echo $i >/many/$i; ln /many/$i /many/hard$i; done
touch /many/a-b /many/a.b '/many/a b' /many/a; mkdir /many/a-; touch /many/a-/x
printf x >/'new
line'; printf x >/$(printf 'caf\351'); printf x >/'ünicode'; printf x >'/quo"te'; printf x >'/back\slash'
mkdir -p /long/$(printf %0100d 1)/$(printf %0100d 2); echo long >/long/$(printf %0100d 1)/$(printf %0100d 2)/$(printf %0120d 3)
ln -s $(printf %0200d 4) /longlink; chown 2097152:3000000 /many/0; chmod 0 /many/1; mkdir /gone; rmdir /gone
rm /bin/vi; ln -sf busybox2 /bin/ls2; mkdir /.wh; touch /etc/.wh.fake; echo 1 >/tmp1; mv /tmp1 /moved
head -c 3000000 /dev/zero >/large; cp /bin/busybox /copy; chmod 2755 /copy
"#;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// All that matters of the members of a tar, in its order; the mode without the type that docker 20.10 adds.
fn members(tar: &[u8]) -> Vec<(Vec<u8>, String)> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| {
            let mut entry = entry.unwrap();
            let records = entry.pax_extensions().unwrap();
            let records: Vec<String> = records
                .into_iter()
                .flatten()
                .map(Result::unwrap)
                .filter(|record| record.key_bytes().starts_with(b"SCHILY"))
                .map(|record| format!("{}={}", record.key().unwrap(), record.value_bytes().escape_ascii()))
                .collect();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            let header = entry.header();
            let name = entry.path_bytes().into_owned();
            let told = format!(
                "{:?} {:o} {}:{} {} {:?} {:?} {} {records:?}",
                header.entry_type(),
                header.mode().unwrap() & 0o7777,
                entry.header().uid().unwrap(),
                entry.header().gid().unwrap(),
                header.mtime().unwrap(),
                entry.link_name_bytes().map(|link| link.escape_ascii().to_string()),
                (header.device_major().ok().flatten(), header.device_minor().ok().flatten()),
                Digest::hash(&content).short()
            );
            (name, told)
        })
        .collect()
}

/// What is in the wrong order, missing, too much or different.
fn differences(ours: &[(Vec<u8>, String)], dockers: &[(Vec<u8>, String)]) -> Vec<String> {
    let by_name = |members: &[(Vec<u8>, String)]| members.iter().cloned().collect::<BTreeMap<_, _>>();
    let (have, want) = (by_name(ours), by_name(dockers));
    let mut report = Vec::new();
    for name in have.keys().chain(want.keys()).collect::<std::collections::BTreeSet<_>>() {
        if have.get(name) != want.get(name) {
            report.push(format!(
                "{}:\n    ours {:?}\n  docker {:?}",
                name.escape_ascii(),
                have.get(name),
                want.get(name)
            ));
        }
    }
    let names = |members: &[(Vec<u8>, String)]| members.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    if report.is_empty() && names(ours) != names(dockers) {
        report.push("the members are in another order".into());
    }
    report
}

fn sorted(text: &[u8]) -> Vec<String> {
    let mut lines: Vec<String> = String::from_utf8_lossy(text).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn docker_export_and_diff() {
    export_and_diff("overlay2");
}

#[test]
fn docker_export_and_diff_vfs() {
    export_and_diff("vfs");
}

fn export_and_diff(driver: &str) {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let daemon = Dockerd::start_with(&root, &[&format!("--storage-driver={driver}")]);
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    daemon.ok(&["create", "--name", "fresh", IMAGE, "sh"]);
    daemon.ok(&["run", "--name", "edited", "--network", "none", IMAGE, "sh", "-c", CHANGES]);
    // On what a container has left, so that there are whiteouts in the image as well.
    daemon.ok(&["commit", "edited", "edited:1"]);
    daemon.ok(&[
        "run",
        "--name",
        "twice",
        "--network",
        "none",
        "edited:1",
        "sh",
        "-c",
        "rm -r /made /many/a-; echo >/many/2; rm /hard",
    ]);
    let mut report = Vec::new();
    for name in ["fresh", "edited", "twice"] {
        let exported = dir.path().join(format!("{name}.tar"));
        daemon.ok(&["export", "-o", text(&exported), name]);
        let dockers = members(&std::fs::read(&exported).unwrap());
        let ours = printed_by_layerfs(&root, &["container", "export", name]);
        report.extend(differences(&members(&ours), &dockers).into_iter().map(|line| format!("export {name}: {line}")));
        assert!(ours == printed_by_layerfs(&root, &["export", name]), "{name}: other bytes the second time");
        let file = dir.path().join("ours.tar");
        printed_by_layerfs(&root, &["export", "-o", text(&file), name]);
        assert!(std::fs::read(&file).unwrap() == ours, "{name}: a file gets other bytes");
        let (ours, dockers) =
            (printed_by_layerfs(&root, &["container", "diff", name]), daemon.ok(&["diff", name]).into_bytes());
        let (ours, dockers) = (sorted(&ours), sorted(&dockers));
        let only = |these: &[String], those: &[String], who: &str| -> Vec<String> {
            these
                .iter()
                .filter(|line| !those.contains(line))
                .map(|line| format!("diff {name}: only {who}: {line}"))
                .collect()
        };
        assert!(name == "fresh" || dockers.len() > 4);
        report.extend(only(&ours, &dockers, "ours"));
        report.extend(only(&dockers, &ours, "docker's"));
    }
    testkit::assert_none("containers", &report);
    // An image is what a fresh container of it shows, but for docker's own files.
    let own = ["/.dockerenv", "/dev/", "/dev/console", "/dev/pts/", "/dev/shm/", "/proc/", "/sys/", "/etc/hosts"];
    let own = [&own[..], &["/etc/hostname", "/etc/resolv.conf", "/etc/mtab", "/etc/"]].concat();
    let kept = |members: Vec<(Vec<u8>, String)>| -> Vec<(Vec<u8>, String)> {
        members
            .into_iter()
            .filter(|(name, _)| !own.contains(&format!("/{}", String::from_utf8_lossy(name)).as_str()))
            .collect()
    };
    let image = kept(members(&printed_by_layerfs(&root, &["image", "export", IMAGE])));
    let fresh = kept(members(&printed_by_layerfs(&root, &["container", "export", "fresh"])));
    testkit::assert_none("image", &differences(&image, &fresh));
    for (words, said) in
        [(&["export", "nosuch"][..], "No such container: nosuch"), (&["diff", "nosuch"], "No such container: nosuch")]
    {
        let output = layerfs_on(&root, words);
        let says = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && says.contains(said), "{says}");
        assert!(String::from_utf8_lossy(&daemon.docker(words).stderr).contains(said));
    }
}
