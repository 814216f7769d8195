//! The images of [`super::zoo`] that no build makes: their times, configs and layers are chosen.

use std::path::Path;

use layerfs::Digest;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::archive::{self, ArchiveItem};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The repository that is pushed and comes back by its digest alone.
pub(crate) const DIGEST_ONLY: &str = "zoo/digest-only:1";

/// An image to be: its layers are those of the base and then `more`.
struct Plan {
    tags: &'static [&'static str],
    created: Option<String>,
    base: bool,
    more: Vec<(Vec<u8>, Digest)>,
    /// Fields that replace those that the config has by itself.
    config: Value,
}

/// Writes the archive; times are counted back from `now`, in seconds since 1970.
pub(crate) fn write(path: &Path, now: i64) {
    let base = archive::layers(&super::golden("busybox-20.10.tar"));
    let items = plans(now).into_iter().map(|plan| plan.item(&base)).collect::<Vec<_>>();
    archive::write_items(path, &items);
}

impl Plan {
    fn new(tags: &'static [&'static str], created: &str, more: Vec<(Vec<u8>, Digest)>) -> Self {
        Self { tags, created: Some(created.to_owned()), base: true, more, config: json!({}) }
    }

    fn alone(self) -> Self {
        Self { base: false, ..self }
    }

    fn undated(self) -> Self {
        Self { created: None, ..self }
    }

    fn with(self, config: Value) -> Self {
        Self { config, ..self }
    }

    fn item(self, base: &[(Vec<u8>, Digest)]) -> ArchiveItem {
        let layers: Vec<(Vec<u8>, Digest)> = base.iter().filter(|_| self.base).cloned().chain(self.more).collect();
        let mut history = Vec::new();
        for (number, _) in layers.iter().enumerate() {
            let mut step = json!({"created_by": format!("/bin/sh -c #(nop) ADD file:{number} in / ")});
            if let Some(created) = &self.created {
                step["created"] = created.as_str().into();
            }
            history.push(step);
        }
        let mut config = json!({
            "architecture": "amd64",
            "config": {"Cmd": ["sh"], "Labels": {"maker": "zoo"}},
            "history": history,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|(_, id)| id).collect::<Vec<_>>()},
            // Makes images with the same layers different ones.
            "zoo": self.tags,
        });
        if let Some(created) = &self.created {
            config["created"] = created.as_str().into();
        }
        for (key, value) in self.config.as_object().unwrap() {
            config[key] = value.clone();
        }
        ArchiveItem {
            config: serde_json::to_vec(&config).unwrap(),
            tags: self.tags.iter().map(|&tag| tag.to_owned()).collect(),
            layers: layers.into_iter().map(|(layer, _)| layer).collect(),
        }
    }
}

fn plans(now: i64) -> Vec<Plan> {
    let ago = |seconds: i64| rfc3339(now - seconds);
    let (app, data) = (archive::layer("app", "the app\n"), archive::layer("data", &"d".repeat(54_321)));
    let hundred = (0..100).map(|n| archive::layer(&format!("layers/{n}"), &"x".repeat(n * 100))).collect();
    let labels = |labels: Value| json!({"config": {"Cmd": ["sh"], "Labels": labels}});
    vec![
        Plan::new(
            &["zoo/base:1", "zoo/base:latest", "zoo/alias:old", "mirror.example:5000/team/base:1"],
            &ago(400 * DAY),
            vec![],
        )
        .with(labels(json!({"maker": "zoo", "stage": "base"}))),
        Plan::new(&["zoo/app:1"], &ago(45 * DAY), vec![app.clone()])
            .with(labels(json!({"maker": "zoo", "app": "one", "version": "1"}))),
        Plan::new(&["zoo/app:2"], &ago(20 * DAY), vec![app.clone(), data.clone()])
            .with(labels(json!({"maker": "zoo", "app": "one", "version": "2"}))),
        Plan::new(&["zoo/app:3", "zoo/app:latest"], &ago(10 * DAY), vec![data.clone()])
            .with(labels(json!({"maker": "zoo", "app": "", "version": "3"}))),
        Plan::new(&["zoo/tool:minutes"], &ago(50 * MINUTE), vec![]),
        Plan::new(&["zoo/tool:hour"], &ago(80 * MINUTE), vec![]),
        Plan::new(&["zoo/tool:hours"], &ago(5 * HOUR), vec![]),
        Plan::new(&["zoo/tool:day"], &ago(30 * HOUR), vec![]),
        Plan::new(&["zoo/tool:days"], &ago(3 * DAY), vec![]),
        Plan::new(&["years:latest"], &ago(3 * 365 * DAY), vec![archive::layer("old", "old\n")]).alone(),
        Plan::new(&[], &ago(2 * DAY), vec![archive::layer("dangling", "dangling\n")])
            .with(labels(json!({"maker": "zoo", "dangling": "yes"}))),
        Plan::new(&[DIGEST_ONLY], &ago(50 * DAY), vec![archive::layer("digest", "digest\n")]),
        Plan::new(&["zoo/gone:1"], &ago(55 * DAY), vec![archive::layer("gone", "gone\n")]),
        Plan::new(&["zoo/deep:100"], &ago(100 * DAY), hundred).alone(),
        Plan::new(&["zoo/twice:1"], &ago(35 * DAY), vec![data.clone(), app, data]),
        Plan::new(&["zoo/links:1"], &ago(33 * DAY), vec![links()]),
        // Three digits of this size are no number of kB below a thousand.
        Plan::new(&["zoo/quirk:1"], &ago(31 * DAY), vec![archive::layer("quirk", &"q".repeat(999_600))]).alone(),
        Plan::new(&["zoo/no-layers:1"], &ago(7 * DAY), vec![]).alone().with(json!({"history": [
            {"created": ago(7 * DAY), "created_by": "nothing at all", "empty_layer": true}]})),
        Plan::new(&["zoo/null-layers:1"], &ago(6 * DAY), vec![])
            .alone()
            .with(json!({"history": null, "rootfs": {"type": "layers", "diff_ids": null}})),
        Plan::new(&["zoo/null-config:1"], &ago(8 * DAY), vec![]).with(json!({"config": null})),
        Plan::new(&["zoo/no-history:1"], &ago(9 * DAY), vec![]).with(json!({"history": []})),
        Plan::new(&["zoo/year1:1"], "0001-01-01T00:00:01Z", vec![]),
        Plan::new(&["zoo/undated:1"], "", vec![]).undated(),
        Plan::new(&["zoo/epoch:1"], "1970-01-01T00:00:00Z", vec![]),
        Plan::new(&["zoo/zone:1"], "2024-02-29T23:59:59.123456789+05:30", vec![]),
        Plan::new(&["zoo/future:1"], &rfc3339(now + 30 * DAY), vec![]),
        Plan::new(&["zoo/escapes:1"], &ago(15 * DAY), vec![archive::layer("escapes", "<&>\n")])
            .with(escapes(&ago(15 * DAY), &ago(16 * DAY))),
        Plan::new(&["zoo/full:1"], &ago(25 * DAY), vec![]).with(full()),
    ]
}

/// Texts that Go, HTML, tables and terminals treat in a special way.
fn escapes(created: &str, before: &str) -> Value {
    let long = "RUN /bin/sh -c echo \u{e9}\u{e9}\u{e9} \u{65e5}\u{672c}\u{8a9e} and more than forty-five columns of it";
    json!({
        "author": "Zo\u{eb} <zoe@example.org> & \"friends\"",
        "comment": "a <comment> & \u{2028} \\ more",
        "config": {
            "Cmd": ["sh", "-c", "echo '<a>' && echo \"b\" \\ \u{1f433} \u{7f} \u{1} \t."],
            "Entrypoint": ["/bin/\u{e9}ntry"],
            "Env": ["PATH=/bin", "GREETING=gr\u{fc}\u{df} <>&"],
            "Labels": {"maker": "zoo", "tr\u{e8}s": "chic <>&", "empty": "", "comma": "a,b=c", "B": "2", "a": "1"},
        },
        "history": [
            {"created": before, "created_by": long},
            {"created": before, "created_by": "tab\there,\nnewline and <html> & such", "comment": "caf\u{e9} <b>"},
            {"created": before, "created_by": "", "comment": "nothing ran"},
            {"created": before, "author": "Zo\u{eb}", "created_by": "LABEL x=\"<y>\"", "empty_layer": true},
            {"created": created, "created_by": "exactly forty-five columns are here, not less", "comment": "end"},
            {"created": created, "created_by": "as many as forty-six columns are in here, more", "empty_layer": true},
        ],
    })
}

/// A config with every field that dockerd knows.
fn full() -> Value {
    let config = json!({
        "Hostname": "host", "Domainname": "example.org", "User": "1000:1000",
        "AttachStdin": true, "AttachStdout": true, "AttachStderr": true,
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Tty": true, "OpenStdin": true, "StdinOnce": true,
        "Env": ["PATH=/bin:/usr/bin", "A=1"], "Cmd": ["-x"],
        "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 30_000_000_000_i64, "Timeout": 5_000_000_000_i64,
            "StartPeriod": 1_000_000_000, "Retries": 3},
        "ArgsEscaped": true, "Image": "sha256:0000", "Volumes": {"/v": {}, "/a": {}}, "WorkingDir": "/work",
        "Entrypoint": ["/bin/sh", "-c"], "NetworkDisabled": true, "MacAddress": "02:42:ac:11:00:02",
        "OnBuild": ["RUN echo one", "RUN echo two"], "Labels": {"maker": "zoo", "z": "26", "m": "13"},
        "StopSignal": "SIGUSR1", "StopTimeout": 7, "Shell": ["/bin/ash", "-ec"], "Unknown": "dropped",
    });
    json!({
        "architecture": "arm64", "variant": "v8", "os.version": "1.2.3", "os.features": ["f1", "f2"],
        "author": "A. Uthor", "comment": "with a comment", "container": "c0ffee", "docker_version": "19.03.0",
        "container_config": config, "config": config,
    })
}

/// A layer with a file of three names, a symlink, a named pipe and a directory with bits.
fn links() -> (Vec<u8>, Digest) {
    let mut layer = Builder::new(Vec::new());
    let mut append = |name: &str, kind: EntryType, mode: u32, target: &str, content: &[u8]| {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        if !target.is_empty() {
            header.set_link_name(target).unwrap();
        }
        layer.append_data(&mut header, name, content).unwrap();
    };
    append("links", EntryType::Directory, 0o1777, "", b"");
    append("links/a", EntryType::Regular, 0o4755, "", &[b'a'; 70_000]);
    append("links/b", EntryType::Link, 0o644, "links/a", b"");
    append("links/c", EntryType::Link, 0o644, "links/a", b"");
    append("links/symlink", EntryType::Symlink, 0o777, "a/target/of/some/length", b"");
    append("links/pipe", EntryType::Fifo, 0o600, "", b"");
    append("etc/.wh.motd", EntryType::Regular, 0o600, "", b"");
    let layer = layer.into_inner().unwrap();
    let digest = Digest::hash(&layer);
    (layer, digest)
}

/// A time as image configs have it.
fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::new(seconds, 987_654_321).unwrap().to_string()
}
