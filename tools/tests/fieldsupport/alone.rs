//! Damage to what all images and containers of a store share.

use std::fs;

use serde_json::json;

use super::damage::Damage;
use super::patient::{Patient, write};

const NAMES: &str = "image/overlay2/repositories.json";
const LAYERS: &str = "image/overlay2/layerdb/sha256";

const fn alone(name: &'static str, inflict: fn(&Patient)) -> Damage {
    Damage { name, inflict }
}

/// Adds text at the end of the names.
fn names_with(p: &Patient, change: impl Fn(&str) -> String) {
    p.set(NAMES, change(&fs::read_to_string(p.at(NAMES)).unwrap()));
}

pub(crate) const ALONE: &[Damage] = &[
    alone("nothing", |_| {}),
    alone("no layers", |p| p.remove(LAYERS)),
    alone("no layerdb", |p| p.remove("image/overlay2/layerdb")),
    alone("no imagedb", |p| p.remove("image/overlay2/imagedb")),
    alone("no image", |p| p.remove("image")),
    alone("no mounts", |p| p.remove("image/overlay2/layerdb/mounts")),
    alone("no containers", |p| p.remove("containers")),
    alone("no volumes", |p| p.remove("volumes")),
    alone("no links", |p| p.remove("overlay2/l")),
    alone("no home", |p| p.remove("overlay2")),
    alone("no names", |p| p.remove(NAMES)),
    alone("names a directory", |p| {
        p.remove(NAMES);
        p.make(NAMES);
    }),
    alone("names a dangling symlink", |p| {
        p.remove(NAMES);
        std::os::unix::fs::symlink("gone", p.at(NAMES)).unwrap();
    }),
    alone("names with garbage behind", |p| names_with(p, |text| format!("{text} garbage"))),
    alone("names cut", |p| names_with(p, |text| text[..text.len() / 2].to_owned())),
    alone("names with a mark of their encoding", |p| names_with(p, |text| format!("\u{feff}{text}"))),
    alone("names in two objects", |p| {
        names_with(p, |text| {
            let more = json!({"zz": {"zz:1": p.image}});
            format!("{},\"REPOSITORIES\":{more}}}", &text[..text.len() - 1])
        });
    }),
    alone("a repository twice", |p| {
        names_with(p, |text| {
            let one = |tag: u8| format!("\"zz\":{{\"zz:{tag}\":\"{}\"}}", p.image);
            text.replacen("{\"p-0\"", &format!("{{{},{},\"p-0\"", one(1), one(2)), 1)
        });
    }),
    alone("a repository null", |p| names_with(p, |text| text.replacen("{\"p-0\"", "{\"zz\":null,\"p-0\"", 1))),
    alone("a repository empty", |p| names_with(p, |text| text.replacen("{\"p-0\"", "{\"zz\":{},\"p-0\"", 1))),
    alone("a repository a list", |p| names_with(p, |text| text.replacen("{\"p-0\"", "{\"zz\":[],\"p-0\"", 1))),
    alone("a name a number", |p| p.edit_with(NAMES, |names| names["Repositories"]["p-0"]["p-0:2"] = json!(7))),
    alone("a name null", |p| p.edit_with(NAMES, |names| names["Repositories"]["p-0"]["p-0:2"] = json!(null))),
    alone("a name an object", |p| p.edit_with(NAMES, |names| names["Repositories"]["p-0"]["p-0:2"] = json!({}))),
    alone("a name of no id", |p| p.name("zz", "zz:1", "x")),
    alone("a name of an empty id", |p| p.name("zz", "zz:1", "")),
    alone("a name of an id without its algorithm", |p| p.name("zz", "zz:1", &p.image[7..])),
    alone("a name of an id in capitals", |p| p.name("zz", "zz:1", &p.image.to_uppercase())),
    alone("a name of a short id", |p| p.name("zz", "zz:1", &p.image[..19])),
    alone("a name of another algorithm", |p| p.name("zz", "zz:1", &format!("sha512:{}", "a".repeat(128)))),
    alone("a long name", |p| p.name(&"z".repeat(300), &format!("{}:1", "z".repeat(300)), &p.image)),
    alone("two digests and two tags", |p| {
        for digest in ["a", "b"] {
            p.name("zz", &format!("zz@sha256:{}", digest.repeat(64)), &p.image);
        }
        p.name("zz", "zz:1", &p.image);
        p.name("zz", "zz:2", &p.image);
    }),
    alone("containers of one name", |p| p.edit("CONTAINER/config.v2.json", "/Name", json!("/c-9"))),
    alone("state null", |p| p.edit("CONTAINER/config.v2.json", "/State", json!(null))),
    alone("options of a volume garbled", |p| p.set("VOLUME/opts.json", "[")),
    alone("options of a volume empty", |p| p.set("VOLUME/opts.json", "")),
    alone("options of a volume a directory", |p| p.make("VOLUME/opts.json")),
    alone("database of volumes empty", |p| p.set("volumes/metadata.db", "")),
    alone("database of volumes garbled", |p| p.set("volumes/metadata.db", "x".repeat(70_000))),
    alone("database of builds garbled", |p| write(&p.at("buildkit/snapshots.db"), "x".repeat(70_000))),
    alone("database of builds empty", |p| write(&p.at("buildkit/snapshots.db"), "")),
    alone("database of networks garbled", |p| write(&p.at("network/files/local-kv.db"), "x".repeat(70_000))),
    alone("a file for containers", |p| {
        p.remove("containers");
        p.set("containers", "x");
    }),
    alone("a file for volumes", |p| {
        p.remove("volumes");
        p.set("volumes", "x");
    }),
    alone("a file for layers", |p| {
        p.remove(LAYERS);
        p.set(LAYERS, "x");
    }),
    alone("a file for mounts", |p| {
        p.remove("image/overlay2/layerdb/mounts");
        p.set("image/overlay2/layerdb/mounts", "x");
    }),
    alone("a file for images", |p| {
        p.remove("image/overlay2/imagedb/content/sha256");
        p.set("image/overlay2/imagedb/content/sha256", "x");
    }),
    alone("a file for links", |p| {
        p.remove("overlay2/l");
        p.set("overlay2/l", "x");
    }),
    alone("parents in a circle", |p| {
        p.set("LOW/parent", format!("sha256:{}", p.chain[1]));
    }),
    alone("a layer its own parent", |p| p.set("TOP/parent", format!("sha256:{}", p.chain[1]))),
    alone("a container being removed", |p| p.edit("CONTAINER/config.v2.json", "/State/RemovalInProgress", json!(true))),
    alone("a dead container", |p| p.edit("CONTAINER/config.v2.json", "/State/Dead", json!(true))),
    alone("a container that goes when it stops", |p| p.edit("CONTAINER/hostconfig.json", "/AutoRemove", json!(true))),
    alone("an image's name that is no reference", |p| {
        p.edit("CONTAINER/config.v2.json", "/Config/Image", json!("A B"));
    }),
];
