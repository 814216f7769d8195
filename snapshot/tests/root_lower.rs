//! An overlay2 layer's `lower` and `link` against the chain that its records say.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use snapshot::dir::{CreatedDirectories, Dir};
use snapshot::driver::{AnyDriver, Driver};
use snapshot::ids::CacheId;

/// Four layers, the topmost first.
fn chain(driver: &AnyDriver) -> [CacheId; 4] {
    let ids = [(); 4].map(|()| CacheId::random());
    for at in (0..4).rev() {
        let parent = ids.get(at + 1);
        driver.prepare(&ids[at], parent).unwrap().commit(parent).unwrap();
    }
    ids
}

/// What a case is; the layer's new `lower`, made of the links of the layer itself and of those below it, or `None` to
/// remove the file; and the code of the damage that must be found.
type Case = (&'static str, fn(&[String; 4]) -> Option<String>, &'static str);

const CASES: [Case; 9] = [
    ("as it is", |l| Some(format!("l/{}:l/{}:l/{}", l[1], l[2], l[3])), ""),
    ("missing", |_| None, "driver-missing"),
    ("short", |l| Some(format!("l/{}:l/{}", l[1], l[2])), "lower-short"),
    ("without the nearest", |l| Some(format!("l/{}:l/{}", l[2], l[3])), "lower-short"),
    ("reordered", |l| Some(format!("l/{}:l/{}:l/{}", l[2], l[1], l[3])), "lower-reordered"),
    ("doubled", |l| Some(format!("l/{0}:l/{0}:l/{1}:l/{2}", l[1], l[2], l[3])), "lower-doubled"),
    ("on itself", |l| Some(format!("l/{}:l/{}:l/{}", l[0], l[2], l[3])), "lower-self"),
    ("dangling", |l| Some(format!("l/{}:l/{}:l/AAAAAAAAAAAAAAAAAAAAAAAAAA", l[1], l[2])), "lower-dangling"),
    ("no link", |_| Some("x".into()), "driver-invalid"),
];

#[test]
fn root_lower_must_name_the_chain() {
    if !testkit::is_root() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let root = Dir::open(temp.path()).unwrap();
    let mut created = CreatedDirectories::default();
    let driver = AnyDriver::create(&root, "overlay2", &mut created).unwrap();
    created.keep();
    let ids = chain(&driver);
    let layer = |id: &CacheId| temp.path().join("overlay2").join(id.as_str());
    let links = ids.clone().map(|id| std::fs::read_to_string(layer(&id).join("link")).unwrap());
    let lower = layer(&ids[0]).join("lower");
    let code = |parents: &[CacheId]| {
        let fresh = AnyDriver::open(&root, "overlay2").unwrap().unwrap();
        fresh.damage(&ids[0], parents).unwrap().map_or("", |damage| damage.code())
    };
    for (name, make, expected) in CASES {
        match make(&links) {
            Some(text) => std::fs::write(&lower, text).unwrap(),
            None => std::fs::remove_file(&lower).unwrap(),
        }
        assert_eq!(code(&ids[1..]), expected, "{name}");
    }
    std::fs::write(&lower, format!("l/{}:l/{}:l/{}", links[1], links[2], links[3])).unwrap();
    // Records that say something else.
    let stranger = CacheId::random();
    driver.prepare(&stranger, None).unwrap().commit(None).unwrap();
    assert_eq!(code(&[ids[1].clone(), stranger.clone(), ids[3].clone()]), "lower-other");
    assert_eq!(code(&ids[1..3]), "lower-other");
    assert_eq!(code(&[]), "lower-other");
    // A container's layer needs a directory for the kernel's work.
    assert_eq!(driver.writable_damage(&ids[0], &ids[1..]).unwrap(), None);
    std::fs::remove_dir(layer(&ids[0]).join("work")).unwrap();
    assert_eq!(driver.damage(&ids[0], &ids[1..]).unwrap(), None);
    let damage = driver.writable_damage(&ids[0], &ids[1..]).unwrap().unwrap();
    assert_eq!((damage.code(), damage.to_string().contains("work is missing")), ("driver-missing", true));
    // The short name leads to another layer, or to none.
    for target in [format!("../{stranger}/diff"), "../nowhere/diff".into()] {
        let link = temp.path().join("overlay2/l").join(&links[0]);
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(target, link).unwrap();
        assert_eq!(code(&ids[1..]), "link-wrong");
    }
    // The short name of the layer below leads to another layer: the layer's own files are right.
    let link = temp.path().join("overlay2/l");
    std::fs::remove_file(link.join(&links[0])).unwrap();
    std::os::unix::fs::symlink(format!("../{}/diff", ids[0]), link.join(&links[0])).unwrap();
    std::fs::remove_file(link.join(&links[2])).unwrap();
    std::os::unix::fs::symlink(format!("../{}/diff", ids[1]), link.join(&links[2])).unwrap();
    assert_eq!(code(&ids[1..]), "lower-misled");
    let fresh = AnyDriver::open(&root, "overlay2").unwrap().unwrap();
    let said = fresh.damage(&ids[0], &ids[1..]).unwrap().unwrap().to_string();
    let expected =
        format!("{}/lower stands on l/{}, which does not lead to {}", layer(&ids[0]).display(), links[2], ids[2]);
    assert_eq!(said, expected);
    std::fs::write(layer(&ids[0]).join("link"), "../x").unwrap();
    assert_eq!(code(&ids[1..]), "driver-invalid");
}
