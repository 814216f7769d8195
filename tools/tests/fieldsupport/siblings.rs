//! More of what is done to patients: what is in the place of their directories and links, odd owners and modes, foreign files, and
//! what older versions of docker have left.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use serde_json::json;

use super::damage::{Damage, damage};
use super::patient::{Patient, write};

const CONFIG: &str = "CONTAINER/config.v2.json";
const HOST_CONFIG: &str = "CONTAINER/hostconfig.json";

/// A symlink in the place of a short name of a layer's directory.
fn relink(p: &Patient, link: &str, to: impl AsRef<std::path::Path>) {
    let at = p.at("overlay2/l").join(link);
    fs::remove_file(&at).unwrap();
    symlink(to, at).unwrap();
}

/// A directory that another has the place of.
pub(super) fn put_away(p: &Patient, place: &str, name: &str) {
    let away = p.at(&format!("away-{name}-{}", p.number));
    p.rename(place, &away);
    symlink(away, p.at(place)).unwrap();
}

fn mode(p: &Patient, place: &str, mode: u32) {
    fs::set_permissions(p.at(place), fs::Permissions::from_mode(mode)).unwrap();
}

fn own(p: &Patient, place: &str) {
    std::os::unix::fs::lchown(p.at(place), Some(4711), Some(4712)).unwrap();
}

/// A second container, with the record of the first but for what is told apart.
pub(super) fn twin(p: &Patient, mount: &str) {
    let id = layerfs::Digest::hash(format!("twin of {}", p.number).as_bytes()).hex();
    let dir = p.at("containers").join(&id);
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(p.at(CONFIG)).unwrap()).unwrap();
    config["ID"] = json!(id);
    config["Name"] = json!(format!("/twin-{}", p.number));
    write(&dir.join("config.v2.json"), config.to_string());
    fs::copy(p.at(HOST_CONFIG), dir.join("hostconfig.json")).unwrap();
    let record = p.at("image/overlay2/layerdb/mounts").join(&id);
    write(&record.join("mount-id"), mount);
    write(&record.join("init-id"), format!("{}-init", p.mount));
    write(&record.join("parent"), format!("sha256:{}", p.chain[1]));
}

pub(crate) const SIBLINGS: &[Damage] = &[
    // Records of layers.
    damage("descriptor garbled", |p| p.set("TOP/descriptor.json", "no")),
    damage("descriptor empty", |p| p.set("TOP/descriptor.json", "")),
    damage("descriptor an empty object", |p| p.set("TOP/descriptor.json", "{}")),
    damage("descriptor null", |p| p.set("TOP/descriptor.json", "null")),
    damage("descriptor a list", |p| p.set("TOP/descriptor.json", "[]")),
    damage("descriptor of a text for the size", |p| p.set("TOP/descriptor.json", r#"{"size":"1"}"#)),
    damage("descriptor of an odd digest", |p| p.set("TOP/descriptor.json", r#"{"digest":"x","urls":null}"#)),
    damage("descriptor a directory", |p| p.make("TOP/descriptor.json")),
    damage("descriptor of the lower layer garbled", |p| p.set("LOW/descriptor.json", "{")),
    damage("system of another", |p| p.set("TOP/os", "windows")),
    damage("journal a directory", |p| p.make("TOP/tar-split.json.gz")),
    damage("foreign files in a record", |p| {
        p.set("TOP/.nfs0000", "x");
        p.make("TOP/lost+found");
    }),
    damage("record without rights", |p| mode(p, "TOP", 0)),
    damage("record's file without rights", |p| mode(p, "TOP/size", 0)),
    damage("record of another user", |p| {
        own(p, "TOP");
        own(p, "TOP/diff");
    }),
    // Directories of layers.
    damage("link in l absolute", |p| relink(p, &p.link[0], p.at("LOWDIR/diff"))),
    damage("link in l dangling", |p| relink(p, &p.link[0], "../gone/diff")),
    damage("link in l of another", |p| relink(p, &p.link[0], format!("../{}/diff", p.cache[1]))),
    damage("link in l a file", |p| {
        fs::remove_file(p.at("overlay2/l").join(&p.link[0])).unwrap();
        write(&p.at("overlay2/l").join(&p.link[0]), "x");
    }),
    damage("writable link in l absolute", |p| relink(p, &p.mount_link, p.at("WRITABLE/diff"))),
    damage("link with a newline", |p| p.set("TOPDIR/link", format!("{}\n", p.link[1]))),
    damage("lower with a colon behind", |p| p.set("TOPDIR/lower", format!("l/{}:", p.link[0]))),
    damage("lower absolute", |p| p.set("TOPDIR/lower", p.at("LOWDIR/diff").to_str().unwrap())),
    damage("lower of directories", |p| p.set("TOPDIR/lower", format!("{}/diff", p.cache[0]))),
    damage("lower through another place", |p| p.set("TOPDIR/lower", format!("../overlay2/l/{}", p.link[0]))),
    damage("layer's directory a symlink", |p| put_away(p, "TOPDIR", "top")),
    damage("layer's content a symlink", |p| put_away(p, "TOPDIR/diff", "content")),
    damage("layer's directory without rights", |p| mode(p, "TOPDIR", 0)),
    damage("layer's content of another user", |p| own(p, "TOPDIR/diff")),
    damage("layer with a writable layer's merged", |p| p.make("TOPDIR/merged/left")),
    damage("layer being removed by the driver", |p| {
        p.rename("LOWDIR", &p.at(&format!("overlay2/{}-removing", p.cache[0])));
    }),
    damage("lost and found in a layer's directory", |p| p.make("TOPDIR/lost+found")),
    // What containers write.
    damage("writable diff of all kinds", |p| {
        let at = p.at("WRITABLE/diff");
        let make = |kind: &[&str]| {
            assert!(Command::new("mknod").arg(at.join(kind[0])).args(&kind[1..]).status().unwrap().success());
        };
        make(&["fifo", "p"]);
        make(&["whiteout", "c", "0", "0"]);
        fs::File::create(at.join("sparse")).unwrap().set_len(1 << 20).unwrap();
        symlink("x".repeat(300), at.join("long")).unwrap();
        symlink("no/where", at.join("dangling")).unwrap();
        fs::write(at.join("with\nnewline"), "12").unwrap();
        let odd: std::ffi::OsString = OsStringExt::from_vec(vec![0xff, 0xfe]);
        fs::write(at.join(odd), "1").unwrap();
        mode(p, "WRITABLE/diff/file", 0);
    }),
    damage("writable diff linked from outside", |p| {
        fs::hard_link(p.at("WRITABLE/diff/file"), p.at(&format!("outside-{}", p.number))).unwrap();
    }),
    damage("writable merged with files", |p| {
        p.make("WRITABLE/merged");
        p.set("WRITABLE/merged/left", "123");
    }),
    damage("writable committed", |p| p.set("WRITABLE/committed", "")),
    damage("writable lower dangling", |p| p.set("WRITABLE/lower", format!("l/{}", "Z".repeat(26)))),
    damage("writable lower empty", |p| p.set("WRITABLE/lower", "")),
    damage("writable lower absolute", |p| p.set("WRITABLE/lower", p.at("LOWDIR/diff").to_str().unwrap())),
    damage("writable lower without the init layer", |p| {
        p.set("WRITABLE/lower", format!("l/{}:l/{}", p.link[1], p.link[0]));
    }),
    damage("writable lower doubled", |p| {
        let lower = fs::read_to_string(p.at("WRITABLE/lower")).unwrap();
        p.set("WRITABLE/lower", format!("{lower}:{lower}"));
    }),
    damage("writable lower with a newline", |p| {
        let lower = fs::read_to_string(p.at("WRITABLE/lower")).unwrap();
        p.set("WRITABLE/lower", format!("{lower}\n"));
    }),
    damage("writable lower a directory", |p| {
        p.remove("WRITABLE/lower");
        p.make("WRITABLE/lower");
    }),
    damage("init diff missing", |p| p.remove("INIT/diff")),
    damage("init link missing", |p| p.remove("INIT/link")),
    damage("init lower missing", |p| p.remove("INIT/lower")),
    damage("init a symlink", |p| put_away(p, "INIT", "init")),
    // Mounts.
    damage("two containers of one mount", |p| twin(p, &p.mount)),
    damage("mount-id with a slash", |p| p.set("MOUNT/mount-id", format!("{}/", p.mount))),
    damage("mount-id with dots", |p| p.set("MOUNT/mount-id", format!("x/../{}", p.mount))),
    damage("mount-id of two lines", |p| p.set("MOUNT/mount-id", format!("{0}\n{0}", p.mount))),
    damage("foreign files in a mount", |p| {
        p.make("MOUNT/lost+found");
        p.set("MOUNT/.swp", "x");
    }),
    damage("mount without rights", |p| mode(p, "MOUNT", 0)),
    // Containers' files.
    damage("container config with a mark of its encoding", |p| {
        let text = fs::read_to_string(p.at(CONFIG)).unwrap();
        p.set(CONFIG, format!("\u{feff}{text}"));
    }),
    damage("container config with zeros behind", |p| {
        let text = fs::read_to_string(p.at(CONFIG)).unwrap();
        p.set(CONFIG, format!("{text}{}", "\0".repeat(40)));
    }),
    damage("container config of zeros", |p| p.set(CONFIG, "\0".repeat(4000))),
    damage("container config twice", |p| {
        let text = fs::read_to_string(p.at(CONFIG)).unwrap();
        p.set(CONFIG, format!("{text}{text}"));
    }),
    damage("container config null", |p| p.set(CONFIG, "null")),
    damage("container config an empty object", |p| p.set(CONFIG, "{}")),
    damage("host config of zeros", |p| p.set(HOST_CONFIG, "\0".repeat(2000))),
    damage("container's config of before 1.10", |p| p.rename(CONFIG, &p.at("CONTAINER/config.json"))),
    damage("configs of both ages", |p| p.set("CONTAINER/config.json", "no")),
    damage("files of many kinds in a container", |p| {
        p.make("CONTAINER/checkpoints/one");
        p.make("CONTAINER/mounts/shm");
        p.set("CONTAINER/.tmp-config.v2.json123", "{");
        p.make("CONTAINER/lost+found");
        p.set(&format!("CONTAINER/{}-json.log", p.container), "x".repeat(100_000));
    }),
    damage("container without rights", |p| {
        mode(p, "CONTAINER", 0);
        mode(p, CONFIG, 0);
    }),
    damage("container of another user", |p| {
        own(p, "CONTAINER");
        own(p, CONFIG);
    }),
    // Containers of older versions.
    damage("volumes of before 1.8", |p| {
        p.edit_with(CONFIG, |config| {
            config.as_object_mut().unwrap().remove("MountPoints");
            config["Volumes"] = json!({"/m": format!("/var/lib/docker/vfs/dir/{}", p.mount)});
            config["VolumesRW"] = json!({"/m": true});
        });
    }),
    damage("mount points of before 1.13", |p| {
        let volume = format!("v-{}", p.number);
        p.edit(
            CONFIG,
            "/MountPoints/~1m",
            json!({
                "Name": volume, "Destination": "/m", "Driver": "local", "RW": true, "Source": "", "Relabel": "",
            }),
        );
    }),
    damage("mount points of before 1.13, without a driver", |p| {
        let volume = format!("v-{}", p.number);
        p.edit(CONFIG, "/MountPoints/~1m", json!({"Name": volume, "Destination": "/m", "RW": true, "Source": ""}));
    }),
    damage("a bind of before 1.13", |p| {
        p.edit(
            CONFIG,
            "/MountPoints/~1m",
            json!({
                "Name": "", "Destination": "/m", "Driver": "", "RW": true, "Source": "/etc", "Relabel": "z",
            }),
        );
    }),
    damage("mount points under another key", |p| {
        p.edit_with(CONFIG, |config| {
            let points = config.as_object_mut().unwrap().remove("MountPoints").unwrap();
            config["mountpoints"] = points;
        });
    }),
    damage("fields of old versions", |p| {
        p.edit_with(CONFIG, |config| {
            for (name, value) in [
                ("ExecDriver", json!("native-0.2")),
                ("AppliedVolumesFrom", json!(null)),
                ("UpdateDns", json!(false)),
                ("hostConfig", json!({})),
                ("SysInitPath", json!("/x")),
                ("ResolvConfPath", json!("")),
            ] {
                config[name] = value;
            }
            config["Config"]["Memory"] = json!(0);
            config["Config"]["PortSpecs"] = json!(null);
            config["Config"]["VolumesFrom"] = json!("");
        });
        p.edit_with(HOST_CONFIG, |host| {
            host["LxcConf"] = json!({"Values": null});
            host["ConsoleSize"] = json!([0, 0]);
        });
    }),
    damage("restart policy null", |p| p.edit_with(HOST_CONFIG, |host| host["RestartPolicy"] = json!(null))),
    damage("restart policy a text", |p| p.edit_with(HOST_CONFIG, |host| host["RestartPolicy"] = json!("always"))),
    damage("log config null", |p| p.edit_with(HOST_CONFIG, |host| host["LogConfig"] = json!(null))),
    damage("binds a text", |p| p.edit_with(HOST_CONFIG, |host| host["Binds"] = json!("/a:/b"))),
    damage("devices null", |p| p.edit_with(HOST_CONFIG, |host| host["Devices"] = json!([null]))),
    damage("security options null", |p| p.edit_with(CONFIG, |config| config["SecurityOpt"] = json!(["label:disable"]))),
    damage("config null", |p| p.edit_with(CONFIG, |config| config["Config"]["ExposedPorts"] = json!({"80": {}}))),
    damage("streaming fields", |p| p.edit_with(CONFIG, |config| config["StreamConfig"] = json!({}))),
    damage("networks null", |p| {
        p.edit_with(CONFIG, |config| config["NetworkSettings"] = json!({"Networks": null, "Ports": null}));
    }),
    damage("a network null", |p| {
        p.edit_with(CONFIG, |config| config["NetworkSettings"] = json!({"Networks": {"none": null}}));
    }),
    damage("network settings null", |p| p.edit_with(CONFIG, |config| config["NetworkSettings"] = json!(null))),
    damage("links of old networks", |p| {
        p.edit_with(CONFIG, |config| {
            config["NetworkSettings"] =
                json!({"Bridge": "", "PortMapping": null, "Ports": {"80/tcp": null}, "Service": null});
        });
    }),
    damage("exec commands", |p| p.edit_with(CONFIG, |config| config["ExecIDs"] = json!(["x"]))),
    damage("checkpoint, swarm and secrets", |p| {
        p.edit_with(CONFIG, |config| {
            config["SecretReferences"] = json!([{"File": null, "SecretID": "x", "SecretName": "y"}]);
            config["ConfigReferences"] = json!(null);
        });
    }),
    // Volumes.
    damage("volume a file", |p| {
        p.remove("VOLUME");
        p.set("VOLUME", "x");
    }),
    damage("volume without rights", |p| mode(p, "VOLUME", 0)),
    damage("volume options null", |p| p.set("VOLUME/opts.json", "null")),
    damage("volume options an empty object", |p| p.set("VOLUME/opts.json", "{}")),
    damage("volume options of another key", |p| p.set("VOLUME/opts.json", r#"{"mounttype":"tmpfs","x":[1]}"#)),
    damage("volume options with a quota", |p| {
        p.set("VOLUME/opts.json", r#"{"MountType":"","Quota":{"Size":1048576}}"#);
    }),
    damage("volume with files beside", |p| {
        p.set("VOLUME/beside", "x".repeat(5000));
        p.make("VOLUME/_data/deep");
        fs::hard_link(p.at("VOLUME/_data/file"), p.at("VOLUME/_data/deep/again")).unwrap();
        symlink("nowhere", p.at("VOLUME/_data/link")).unwrap();
    }),
    // Images.
    damage("config without rights", |p| mode(p, "CONFIG", 0)),
    damage("metadata with foreign files", |p| {
        p.make("META/lost+found");
        p.set("META/builtLocally", "");
        p.set("META/lastUpdated", "2024-02-30T00:00:00Z");
    }),
    damage("metadata of before", |p| {
        p.make("META");
        p.set("META/v1id", "x");
        p.set("META/parent", format!("{}\n\n", p.image));
    }),
    damage("distribution of the layer garbled", |p| {
        let hex = p.diff[1].strip_prefix("sha256:").unwrap();
        write(&p.at("image/overlay2/distribution/v2metadata-by-diffid/sha256").join(hex), "{");
        write(&p.at("image/overlay2/distribution/diffid-by-digest/sha256").join(&p.chain[0]), "no");
    }),
    damage("migration of before 1.10", |p| {
        p.set("TOP/.migration-v1-table.json", "{");
        write(&p.at("image/overlay2/.migration-v1-images.json"), "[");
        write(&p.at("image/overlay2/.migration-v1-tarsplit"), "x");
        write(&p.at("graph").join(&p.mount).join("json"), "{}");
        write(&p.at("graph").join(&p.mount).join("layersize"), "1");
        write(&p.at("repositories-overlay2"), r#"{"Repositories":{"old":{"1":"x"}}}"#);
        write(&p.at("linkgraph.db"), "SQLite format 3\0 and no more");
    }),
    damage("foreign files everywhere", |p| {
        for place in [
            "image",
            "image/overlay2",
            "image/overlay2/imagedb",
            "image/overlay2/imagedb/content",
            "containers",
            "overlay2",
        ] {
            p.make(&format!("{place}/lost+found"));
            p.set(&format!("{place}/.DS_Store"), "x");
        }
        write(&p.at("image/overlay2/imagedb/content/sha256").join(format!("{}.bak", p.chain[0])), "{}");
        write(&p.at("image/overlay2/imagedb/metadata/sha256/README"), "x");
        write(&p.at("image/overlay2/repositories.json~"), "{");
        p.make("volumes/lost+found");
    }),
    damage("other drivers' leftovers", |p| {
        write(&p.at("image/aufs/repositories.json"), "{");
        write(&p.at("vfs/dir").join(&p.mount).join("file"), "x");
        p.make("aufs/diff");
    }),
];
