//! What is done to patients, each of which concerns nobody else.

use serde_json::json;

use super::patient::Patient;

/// A damage to one patient.
#[derive(Clone)]
pub(crate) struct Damage {
    pub(crate) name: &'static str,
    pub(crate) inflict: fn(&Patient),
}

pub(crate) const fn damage(name: &'static str, inflict: fn(&Patient)) -> Damage {
    Damage { name, inflict }
}

pub(crate) const DAMAGE: &[Damage] = &[
    damage("none", |_| {}),
    damage("size missing", |p| p.remove("TOP/size")),
    damage("size empty", |p| p.set("TOP/size", "")),
    damage("lower size missing", |p| p.remove("LOW/size")),
    damage("size a directory", |p| {
        p.remove("TOP/size");
        p.make("TOP/size");
    }),
    damage("diff missing", |p| p.remove("TOP/diff")),
    damage("diff empty", |p| p.set("TOP/diff", "")),
    damage("lower diff missing", |p| p.remove("LOW/diff")),
    damage("diff a directory", |p| {
        p.remove("TOP/diff");
        p.make("TOP/diff");
    }),
    damage("cache-id missing", |p| p.remove("TOP/cache-id")),
    damage("cache-id empty", |p| p.set("TOP/cache-id", "")),
    damage("lower cache-id missing", |p| p.remove("LOW/cache-id")),
    damage("cache-id a directory", |p| {
        p.remove("TOP/cache-id");
        p.make("TOP/cache-id");
    }),
    damage("parent empty", |p| p.set("TOP/parent", "")),
    damage("parent a directory", |p| {
        p.remove("TOP/parent");
        p.make("TOP/parent");
    }),
    damage("parent with a newline", |p| p.set("TOP/parent", format!("sha256:{}\n", p.chain[0]))),
    damage("parent unknown", |p| p.set("TOP/parent", format!("sha256:{}", "a".repeat(64)))),
    damage("size with a blank", |p| p.set("TOP/size", " 3")),
    damage("size with a plus", |p| p.set("TOP/size", "+3")),
    damage("size other", |p| p.set("TOP/size", "3000")),
    damage("diff of another", |p| p.set("TOP/diff", format!("sha256:{}", "b".repeat(64)))),
    damage("diff with a newline", |p| p.set("TOP/diff", format!("{}\n", p.diff[1]))),
    damage("cache-id with a newline", |p| p.set("TOP/cache-id", format!("{}\n", p.cache[1]))),
    damage("cache-id unknown", |p| p.set("TOP/cache-id", "f".repeat(64))),
    damage("cache-id of the lower layer", |p| p.set("TOP/cache-id", &p.cache[0])),
    damage("cache-id of the container", |p| p.set("TOP/cache-id", &p.mount)),
    damage("record missing", |p| p.remove("TOP")),
    damage("lower record missing", |p| p.remove("LOW")),
    damage("record a file", |p| {
        p.remove("TOP");
        p.set("TOP", "x");
    }),
    damage("record under another name", |p| {
        p.rename("TOP", &p.at("image/overlay2/layerdb/sha256").join("c".repeat(64)));
    }),
    damage("record in capitals", |p| {
        p.rename("TOP", &p.at("image/overlay2/layerdb/sha256").join(p.chain[1].to_uppercase()));
    }),
    damage("record being removed", |p| {
        p.rename("TOP", &p.at("image/overlay2/layerdb/sha256").join(format!("{}-1-removing", p.chain[1])));
    }),
    damage("odd things in layerdb", |p| {
        p.make("image/overlay2/layerdb/sha256/x");
        p.make("image/overlay2/layerdb/md5/00");
        p.make("image/overlay2/layerdb/tmp/write-set-1");
        p.set("image/overlay2/layerdb/file", "x");
    }),
    damage("config empty", |p| p.set("CONFIG", "")),
    damage("config missing", |p| p.remove("CONFIG")),
    damage("config with a newline more", |p| p.set("CONFIG", std::fs::read_to_string(p.at("CONFIG")).unwrap() + "\n")),
    damage("config a directory", |p| {
        p.remove("CONFIG");
        p.make("CONFIG");
    }),
    damage("odd things in imagedb", |p| {
        p.set("image/overlay2/imagedb/content/sha256/x", "{}");
        p.make("image/overlay2/imagedb/content/sha512/00");
    }),
    damage("parent image garbled", |p| {
        p.make("META");
        p.set("META/parent", "no");
    }),
    damage("parent image empty", |p| {
        p.make("META");
        p.set("META/parent", "");
    }),
    damage("parent image unknown", |p| {
        p.make("META");
        p.set("META/parent", format!("sha256:{}", "b".repeat(64)));
    }),
    damage("parent image itself", |p| {
        p.make("META");
        p.set("META/parent", &p.image);
    }),
    damage("parent image itself with a newline", |p| {
        p.make("META");
        p.set("META/parent", format!("{}\n", p.image));
    }),
    damage("last update garbled", |p| {
        p.make("META");
        p.set("META/lastUpdated", "no");
    }),
    damage("metadata a file", |p| {
        p.make("image/overlay2/imagedb/metadata/sha256");
        p.set("META", "x");
    }),
    damage("directory missing", |p| p.remove("TOPDIR")),
    damage("lower directory missing", |p| p.remove("LOWDIR")),
    damage("lower missing", |p| p.remove("TOPDIR/lower")),
    damage("lower empty", |p| p.set("TOPDIR/lower", "")),
    damage("lower doubled", |p| p.set("TOPDIR/lower", format!("l/{0}:l/{0}", p.link[0]))),
    damage("lower itself", |p| p.set("TOPDIR/lower", format!("l/{}", p.link[1]))),
    damage("lower dangling", |p| p.set("TOPDIR/lower", format!("l/{}", "Z".repeat(26)))),
    damage("lower with a newline", |p| p.set("TOPDIR/lower", format!("l/{}\n", p.link[0]))),
    damage("lower of the lowest", |p| p.set("LOWDIR/lower", format!("l/{}", p.link[1]))),
    damage("lower a directory", |p| {
        p.remove("TOPDIR/lower");
        p.make("TOPDIR/lower");
    }),
    damage("link missing", |p| p.remove("TOPDIR/link")),
    damage("link of another", |p| p.set("TOPDIR/link", &p.link[0])),
    damage("link empty", |p| p.set("TOPDIR/link", "")),
    damage("link in l missing", |p| std::fs::remove_file(p.at("overlay2/l").join(&p.link[0])).unwrap()),
    damage("diff missing", |p| p.remove("TOPDIR/diff")),
    damage("diff a file", |p| {
        p.remove("TOPDIR/diff");
        p.set("TOPDIR/diff", "x");
    }),
    damage("writable missing", |p| p.remove("WRITABLE")),
    damage("writable diff missing", |p| p.remove("WRITABLE/diff")),
    damage("writable diff empty", |p| p.remove("WRITABLE/diff/file")),
    damage("writable diff with links", |p| {
        std::fs::hard_link(p.at("WRITABLE/diff/file"), p.at("WRITABLE/diff/again")).unwrap();
        std::os::unix::fs::symlink("file", p.at("WRITABLE/diff/symlink")).unwrap();
        p.make("WRITABLE/diff/deep/er");
        p.set("WRITABLE/diff/deep/er/f", "12");
    }),
    damage("writable work missing", |p| p.remove("WRITABLE/work")),
    damage("init missing", |p| p.remove("INIT")),
    damage("writable lower missing", |p| p.remove("WRITABLE/lower")),
    damage("writable lower short", |p| p.set("WRITABLE/lower", format!("l/{}", p.link[1]))),
    damage("writable link missing", |p| p.remove("WRITABLE/link")),
    damage("writable link in l missing", |p| std::fs::remove_file(p.at("overlay2/l").join(&p.mount_link)).unwrap()),
    damage("mount mount-id missing", |p| p.remove("MOUNT/mount-id")),
    damage("mount mount-id empty", |p| p.set("MOUNT/mount-id", "")),
    damage("mount mount-id a directory", |p| {
        p.remove("MOUNT/mount-id");
        p.make("MOUNT/mount-id");
    }),
    damage("mount init-id missing", |p| p.remove("MOUNT/init-id")),
    damage("mount init-id empty", |p| p.set("MOUNT/init-id", "")),
    damage("mount init-id a directory", |p| {
        p.remove("MOUNT/init-id");
        p.make("MOUNT/init-id");
    }),
    damage("mount parent missing", |p| p.remove("MOUNT/parent")),
    damage("mount parent empty", |p| p.set("MOUNT/parent", "")),
    damage("mount parent a directory", |p| {
        p.remove("MOUNT/parent");
        p.make("MOUNT/parent");
    }),
    damage("mount parent with a newline", |p| p.set("MOUNT/parent", format!("sha256:{}\n", p.chain[1]))),
    damage("mount parent unknown", |p| p.set("MOUNT/parent", format!("sha256:{}", "a".repeat(64)))),
    damage("mount parent the lower layer", |p| p.set("MOUNT/parent", format!("sha256:{}", p.chain[0]))),
    damage("mount parent garbled", |p| p.set("MOUNT/parent", "x")),
    damage("mount-id unknown", |p| p.set("MOUNT/mount-id", "c".repeat(64))),
    damage("mount-id with a newline", |p| p.set("MOUNT/mount-id", format!("{}\n", p.mount))),
    damage("mount-id of a layer", |p| p.set("MOUNT/mount-id", &p.cache[1])),
    damage("init-id unknown", |p| p.set("MOUNT/init-id", "c".repeat(64))),
    damage("mount missing", |p| p.remove("MOUNT")),
    damage("mount a file", |p| {
        p.remove("MOUNT");
        p.set("MOUNT", "x");
    }),
    damage("mount of no container", |p| p.remove("CONTAINER")),
    damage("mount under another name", |p| {
        p.rename("MOUNT", &p.at("image/overlay2/layerdb/mounts").join("d".repeat(64)));
    }),
    damage("odd things in mounts", |p| {
        p.make("image/overlay2/layerdb/mounts/notacontainer");
        p.set("image/overlay2/layerdb/mounts/notacontainer/mount-id", &p.mount);
        p.set("image/overlay2/layerdb/mounts/file", "x");
    }),
    damage("mount with sizes", |p| {
        p.set("MOUNT/size", "x");
        p.set("MOUNT/diff", "x");
    }),
    damage("host config missing", |p| p.remove("CONTAINER/hostconfig.json")),
    damage("host config empty", |p| p.set("CONTAINER/hostconfig.json", "")),
    damage("host config cut", |p| p.set("CONTAINER/hostconfig.json", "{")),
    damage("host config a list", |p| p.set("CONTAINER/hostconfig.json", "[]")),
    damage("host config an empty object", |p| p.set("CONTAINER/hostconfig.json", "{}")),
    damage("host config followed by more", |p| p.set("CONTAINER/hostconfig.json", "{} and more")),
    damage("host config a directory", |p| {
        p.remove("CONTAINER/hostconfig.json");
        p.make("CONTAINER/hostconfig.json");
    }),
    damage("container config missing", |p| p.remove("CONTAINER/config.v2.json")),
    damage("container config empty", |p| p.set("CONTAINER/config.v2.json", "")),
    damage("container config a list", |p| p.set("CONTAINER/config.v2.json", "[]")),
    damage("container config a directory", |p| {
        p.remove("CONTAINER/config.v2.json");
        p.make("CONTAINER/config.v2.json");
    }),
    damage("ID of nobody", |p| p.edit("CONTAINER/config.v2.json", "/ID", json!("e".repeat(64)))),
    damage("ID empty", |p| p.edit("CONTAINER/config.v2.json", "/ID", json!(""))),
    damage("ID in capitals", |p| p.edit("CONTAINER/config.v2.json", "/ID", json!(p.container.to_uppercase()))),
    damage("ID missing", |p| {
        p.edit_with("CONTAINER/config.v2.json", |config| drop(config.as_object_mut().unwrap().remove("ID")));
    }),
    damage("id in another case of the key", |p| {
        p.edit_with("CONTAINER/config.v2.json", |config| config["id"] = json!("e".repeat(64)));
    }),
    damage("driver vfs", |p| p.edit("CONTAINER/config.v2.json", "/Driver", json!("vfs"))),
    damage("driver empty", |p| p.edit("CONTAINER/config.v2.json", "/Driver", json!(""))),
    damage("driver missing", |p| {
        p.edit_with("CONTAINER/config.v2.json", |config| drop(config.as_object_mut().unwrap().remove("Driver")));
    }),
    damage("driver in capitals", |p| p.edit("CONTAINER/config.v2.json", "/Driver", json!("Overlay2"))),
    damage("name odd", |p| p.edit("CONTAINER/config.v2.json", "/Name", json!("/a b"))),
    damage("name with slashes", |p| p.edit("CONTAINER/config.v2.json", "/Name", json!("/a/b"))),
    damage("name with two slashes", |p| {
        p.edit("CONTAINER/config.v2.json", "/Name", json!(format!("//c-{}", p.number)));
    }),
    damage("name long", |p| p.edit("CONTAINER/config.v2.json", "/Name", json!(format!("/{}", "n".repeat(300))))),
    damage("image unknown", |p| {
        p.edit("CONTAINER/config.v2.json", "/Image", json!(format!("sha256:{}", "a".repeat(64))));
    }),
    damage("image garbled", |p| p.edit("CONTAINER/config.v2.json", "/Image", json!("x"))),
    damage("image empty", |p| p.edit("CONTAINER/config.v2.json", "/Image", json!(""))),
    damage("image in capitals", |p| p.edit("CONTAINER/config.v2.json", "/Image", json!(p.image.to_uppercase()))),
    damage("image name gone", |p| p.edit("CONTAINER/config.v2.json", "/Config/Image", json!("nosuch:1"))),
    damage("image name an id", |p| p.edit("CONTAINER/config.v2.json", "/Config/Image", json!(&p.image[7..19]))),
    damage("image name a whole id", |p| p.edit("CONTAINER/config.v2.json", "/Config/Image", json!(p.image))),
    damage("image name with a digest", |p| {
        p.edit("CONTAINER/config.v2.json", "/Config/Image", json!(format!("p-{}@sha256:{}", p.number, "a".repeat(64))));
    }),
    damage("image name of another", |p| p.edit("CONTAINER/config.v2.json", "/Config/Image", json!("p-0:1"))),
    damage("image name canonical", |p| {
        p.edit("CONTAINER/config.v2.json", "/Config/Image", json!(format!("docker.io/library/p-{}:1", p.number)));
    }),
    damage("os windows", |p| p.edit("CONTAINER/config.v2.json", "/OS", json!("windows"))),
    damage("os empty", |p| p.edit("CONTAINER/config.v2.json", "/OS", json!(""))),
    damage("created never", |p| p.edit("CONTAINER/config.v2.json", "/Created", json!("0001-01-01T00:00:00Z"))),
    damage("created null", |p| p.edit("CONTAINER/config.v2.json", "/Created", json!(null))),
    damage("created garbled", |p| p.edit("CONTAINER/config.v2.json", "/Created", json!("x"))),
    damage("no mount points", |p| p.edit("CONTAINER/config.v2.json", "/MountPoints", json!({}))),
    damage("mount points null", |p| p.edit("CONTAINER/config.v2.json", "/MountPoints", json!(null))),
    damage("volume of no record", |p| p.edit("CONTAINER/config.v2.json", "/MountPoints/~1m/Name", json!("nosuch"))),
    damage("volume without a driver", |p| p.edit("CONTAINER/config.v2.json", "/MountPoints/~1m/Driver", json!(""))),
    damage("volume with a bad name", |p| p.edit("CONTAINER/config.v2.json", "/MountPoints/~1m/Name", json!("../x"))),
    damage("volume without a type", |p| p.edit("CONTAINER/config.v2.json", "/MountPoints/~1m/Type", json!(""))),
    damage("volume of type bind", |p| p.edit("CONTAINER/config.v2.json", "/MountPoints/~1m/Type", json!("bind"))),
    damage("volume at another place", |p| {
        p.edit("CONTAINER/config.v2.json", "/MountPoints/~1m/Destination", json!("/other"));
    }),
    damage("two mounts of one volume", |p| {
        p.edit_with("CONTAINER/config.v2.json", |config| {
            let point = config["MountPoints"]["/m"].clone();
            config["MountPoints"]["/n"] = point;
        });
    }),
    damage("bind of nothing", |p| {
        p.edit(
            "CONTAINER/config.v2.json",
            "/MountPoints/~1m",
            json!({"Source": "/nosuch", "Destination": "/m", "Type": "bind", "RW": true}),
        );
    }),
    damage("tmpfs", |p| {
        p.edit(
            "CONTAINER/config.v2.json",
            "/MountPoints/~1m",
            json!({"Source": "", "Destination": "/m", "Type": "tmpfs", "RW": true}),
        );
    }),
    damage("args null", |p| p.edit("CONTAINER/config.v2.json", "/Args", json!(null))),
    damage("path a number", |p| p.edit("CONTAINER/config.v2.json", "/Path", json!(1))),
    damage("restart count text", |p| p.edit("CONTAINER/config.v2.json", "/RestartCount", json!("1"))),
    damage("labels null", |p| p.edit("CONTAINER/config.v2.json", "/Config/Labels", json!(null))),
    damage("exit code 300", |p| p.edit("CONTAINER/config.v2.json", "/State/ExitCode", json!(300))),
    damage("exit code below zero", |p| p.edit("CONTAINER/config.v2.json", "/State/ExitCode", json!(-1))),
    damage("exited", |p| p.edit("CONTAINER/config.v2.json", "/State/StartedAt", json!("2024-01-02T03:04:05Z"))),
    damage("finish garbled", |p| p.edit("CONTAINER/config.v2.json", "/State/FinishedAt", json!("2020"))),
    damage("mount label null", |p| p.edit("CONTAINER/config.v2.json", "/MountLabel", json!(null))),
    damage("health null", |p| p.edit("CONTAINER/config.v2.json", "/State/Health", json!(null))),
    damage("cmd a text", |p| p.edit("CONTAINER/config.v2.json", "/Config/Cmd", json!("sh"))),
    damage("entrypoint a text", |p| p.edit("CONTAINER/config.v2.json", "/Config/Entrypoint", json!("sh"))),
    damage("user a number", |p| p.edit("CONTAINER/config.v2.json", "/Config/User", json!(1000))),
    damage("env an object", |p| p.edit("CONTAINER/config.v2.json", "/Config/Env", json!({}))),
    damage("container under another name", |p| p.rename("CONTAINER", &p.at("containers").join("d".repeat(64)))),
    damage("container under a short name", |p| p.rename("CONTAINER", &p.at("containers/short"))),
    damage("container a file", |p| {
        p.remove("CONTAINER");
        p.set("CONTAINER", "x");
    }),
    damage("odd things in containers", |p| {
        p.make("containers/x");
        p.make(&format!("containers/{}", "e".repeat(64)));
        p.set("containers/file", "x");
    }),
    damage("volume data missing", |p| p.remove("VOLUME/_data")),
    damage("volume missing", |p| p.remove("VOLUME")),
    damage("volume a symlink", |p| {
        p.rename("VOLUME", &p.at("volume-away"));
        std::os::unix::fs::symlink("../volume-away", p.at("VOLUME")).unwrap();
    }),
    damage("volume options", |p| p.set("VOLUME/opts.json", "{\"MountOpts\":\"\"}")),
    damage("volume mounted on use", |p| {
        p.set("VOLUME/opts.json", "{\"MountType\":\"tmpfs\",\"MountDevice\":\"tmpfs\"}");
    }),
    damage("odd volumes", |p| {
        for name in ["a b", ".x", "-x", "ok", "o", "_x", "\u{e9}"] {
            p.make(&format!("volumes/{name}/_data"));
        }
    }),
    damage("things in volumes", |p| {
        p.set("volumes/file", "x");
        p.make("volumes/empty");
        p.make("volumes/backingFsBlockDev");
    }),
    damage("name of an unknown image", |p| p.name("gone-1", "gone-1:1", &format!("sha256:{}", "a".repeat(64)))),
    damage("name no reference", |p| p.name("A B", "A B:1", &p.image)),
    damage("name under another repository", |p| p.name("zz", "yy:1", &p.image)),
    damage("name without a tag", |p| p.name("zy", "zy", &p.image)),
    damage("name with a digest", |p| p.name("zx", &format!("zx@sha256:{}", "a".repeat(64)), &p.image)),
    damage("name with a tag and a digest", |p| p.name("zw", &format!("zw:1@sha256:{}", "a".repeat(64)), &p.image)),
    damage("name with a bad digest", |p| p.name("zv", "zv@sha256:aa", &p.image)),
    damage("name in capitals", |p| p.name("ZU", "ZU:1", &p.image)),
    damage("name canonical", |p| p.name("docker.io/library/zt", "docker.io/library/zt:1", &p.image)),
    damage("name empty", |p| p.name("", "", &p.image)),
    damage("name with an empty tag", |p| p.name("zs", "zs:", &p.image)),
    damage("name none", |p| p.name("<none>", "<none>:<none>", &p.image)),
    damage("name with a long tag", |p| p.name("zr", &format!("zr:{}", "t".repeat(200)), &p.image)),
];

/// Such after which dockerd removes the layer below when it is asked for sizes.
pub(crate) const LOSING: &[Damage] = &[
    damage("none", |_| {}),
    damage("parent missing", |p| p.remove("TOP/parent")),
    damage("parent missing, and of the mount", |p| {
        p.remove("TOP/parent");
        p.remove("MOUNT/parent");
    }),
    damage("parent missing, no container", |p| {
        p.remove("TOP/parent");
        p.remove("CONTAINER");
    }),
    damage("parent missing, lower layer twice as large", |p| {
        p.remove("TOP/parent");
        p.set("LOW/size", "5000");
    }),
];
