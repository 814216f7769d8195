//! A data-root with as many images as wanted, written file by file as dockerd lays it out, to measure how cost grows.
//!
//! Every image has 20 layers: it shares the lower 10 with others, and the upper 10 are its own. So 5,000 images have
//! 50,300 layers.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use layerfs::{ChainId, DiffId, Digest};
use serde_json::json;

/// Layers of an image, and how many of them are shared.
const DEPTH: usize = 20;
const SHARED: usize = 10;

/// Stacks of shared layers.
const BASES: usize = 30;

/// Writes the store. `root` must be empty or not exist.
pub(crate) fn write(root: &Path, images: usize, containers: usize) -> io::Result<()> {
    let store = root.join("image/overlay2");
    for dir in ["imagedb/content/sha256", "imagedb/metadata/sha256", "layerdb/sha256", "layerdb/mounts", "layerdb/tmp"]
    {
        fs::create_dir_all(store.join(dir))?;
    }
    for dir in ["overlay2/l", "containers", "volumes"] {
        fs::create_dir_all(root.join(dir))?;
    }
    let bases = BASES.min(images.max(1));
    let mut stacks = Vec::new();
    for base in 0..bases {
        stacks.push(extend(root, &Stack::default(), &format!("base {base}"), SHARED)?);
    }
    let mut tags = serde_json::Map::new();
    let mut made = Vec::new();
    for number in 0..images {
        let stack = extend(root, &stacks[number % bases], &format!("image {number}"), DEPTH - SHARED)?;
        let config = config(number, &stack);
        let id = Digest::hash(config.as_bytes());
        fs::write(store.join("imagedb/content/sha256").join(id.hex()), &config)?;
        let metadata = store.join("imagedb/metadata/sha256").join(id.hex());
        fs::create_dir(&metadata)?;
        fs::write(metadata.join("lastUpdated"), "2024-05-06T07:08:09.123456789Z")?;
        let name = format!("big/app{number}");
        tags.insert(name.clone(), json!({ format!("{name}:1"): id.to_string() }));
        made.push((id, stack));
    }
    fs::write(store.join("repositories.json"), json!({ "Repositories": tags }).to_string())?;
    for number in 0..containers.min(images) {
        container(root, number, &made[number * images / containers.max(1)])?;
    }
    Ok(())
}

/// Layers on top of each other, base first.
#[derive(Default, Clone)]
struct Stack {
    diff_ids: Vec<DiffId>,
    top: Option<ChainId>,
    links: Vec<String>,
}

fn hex(text: &str) -> String {
    Digest::hash(text.as_bytes()).hex()
}

/// The name by which overlay2 mounts a directory: 26 characters.
fn link_of(id: &str) -> String {
    id[..26].to_uppercase()
}

/// A directory of the driver with all that belongs to it.
fn directory(root: &Path, id: &str, lower: &[String], content: &str) -> io::Result<()> {
    let dir = root.join("overlay2").join(id);
    fs::create_dir_all(dir.join("diff/usr"))?;
    fs::write(dir.join("diff/usr").join(content), content)?;
    fs::write(dir.join("link"), link_of(id))?;
    symlink(format!("../{id}/diff"), root.join("overlay2/l").join(link_of(id)))?;
    if !lower.is_empty() {
        let lower: Vec<String> = lower.iter().rev().map(|link| format!("l/{link}")).collect();
        fs::write(dir.join("lower"), lower.join(":"))?;
        fs::create_dir(dir.join("work"))?;
    }
    fs::write(dir.join("committed"), "")
}

fn extend(root: &Path, below: &Stack, what: &str, count: usize) -> io::Result<Stack> {
    let mut stack = below.clone();
    for number in 0..count {
        let name = format!("{what} layer {number}");
        let diff_id = DiffId(Digest::hash(name.as_bytes()));
        let chain = ChainId::next(stack.top, diff_id);
        let cache_id = hex(&format!("directory of {name}"));
        let record = root.join("image/overlay2/layerdb/sha256").join(chain.0.hex());
        fs::create_dir(&record)?;
        fs::write(record.join("diff"), diff_id.to_string())?;
        fs::write(record.join("size"), "1000")?;
        fs::write(record.join("cache-id"), &cache_id)?;
        fs::write(record.join("tar-split.json.gz"), "not read")?;
        if let Some(parent) = stack.top {
            fs::write(record.join("parent"), parent.to_string())?;
        }
        directory(root, &cache_id, &stack.links, &name)?;
        stack.links.push(link_of(&cache_id));
        stack.diff_ids.push(diff_id);
        stack.top = Some(chain);
    }
    Ok(stack)
}

fn config(number: usize, stack: &Stack) -> String {
    let diff_ids: Vec<String> = stack.diff_ids.iter().map(ToString::to_string).collect();
    let step = |layer: usize| {
        json!({
            "created": "2024-05-06T07:08:09.123456789Z",
            "created_by": format!("/bin/sh -c #(nop) COPY file:{} in /usr/share/application/{layer}", hex(&layer.to_string())),
        })
    };
    let history: Vec<_> = (0..stack.diff_ids.len()).map(step).collect();
    json!({
        "architecture": "amd64",
        "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                   "Labels": {"number": number.to_string()}},
        "created": "2024-05-06T07:08:09.123456789Z",
        "history": history,
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string()
}

fn container(root: &Path, number: usize, (image, stack): &(Digest, Stack)) -> io::Result<()> {
    let (id, mount) = (hex(&format!("container {number}")), hex(&format!("mount {number}")));
    let init = format!("{mount}-init");
    directory(root, &init, &stack.links, "init")?;
    let mut lower = stack.links.clone();
    lower.push(link_of(&init));
    // The names of the two directories begin alike, so `link_of` would give both the same link.
    let dir = root.join("overlay2").join(&mount);
    fs::create_dir_all(dir.join("diff"))?;
    fs::create_dir(dir.join("work"))?;
    fs::write(dir.join("diff/written"), "by the container")?;
    let link = hex(&mount)[..26].to_uppercase();
    fs::write(dir.join("link"), &link)?;
    symlink(format!("../{mount}/diff"), root.join("overlay2/l").join(link))?;
    let lower: Vec<String> = lower.iter().rev().map(|link| format!("l/{link}")).collect();
    fs::write(dir.join("lower"), lower.join(":"))?;
    let record = root.join("image/overlay2/layerdb/mounts").join(&id);
    fs::create_dir(&record)?;
    fs::write(record.join("mount-id"), &mount)?;
    fs::write(record.join("init-id"), &init)?;
    fs::write(record.join("parent"), stack.top.map(|top| top.to_string()).unwrap_or_default())?;
    let own = root.join("containers").join(&id);
    fs::create_dir(&own)?;
    let config = json!({
        "ID": id, "Name": format!("/container-{number}"), "Driver": "overlay2", "Image": image.to_string(),
        "Created": "2024-05-06T07:08:09.123456789Z", "Path": "/bin/sh", "Args": [],
        "Config": {"Image": format!("big/app{number}:1"), "Labels": {}},
        "State": {"Running": false, "ExitCode": 0, "StartedAt": "2024-05-06T07:08:10Z", "FinishedAt": "2024-05-06T07:08:11Z"},
    });
    fs::write(own.join("config.v2.json"), config.to_string())?;
    fs::write(own.join("hostconfig.json"), r#"{"NetworkMode":"none"}"#)
}
