//! What a crash has left is finished or taken back by the next transaction.

use super::*;

/// What the version before this one leaves when it is killed: write-sets, and an array of the layers that it registers.
#[test]
fn a_crash_of_the_version_before_is_recovered() {
    let store = Store::new();
    let used = store.add(Some("app:1"), &["base", "one"]);
    let before = store.listing();
    let layers = store.add_layers(&["base", "two", "three"]);
    let orphan = "f".repeat(64);
    store.write(&format!("overlay2/{orphan}/diff/file"), "");
    store.write(&format!("image/overlay2/layerdb/tmp/write-set-layerfs-{}/cache-id", &orphan[..20]), &orphan);
    std::fs::create_dir(store.at(&format!("image/overlay2/layerdb/tmp/write-set-layerfs-{}", "1".repeat(20)))).unwrap();
    store.write("image/overlay2/.tmp-layerfs-repositories.json-1-0", "{");
    // That version wrote all layers of the import into its record, even if it could not read so long a record itself.
    let many: Vec<ChainId> = (0..20_000_u32).map(|number| ChainId(Digest::hash(&number.to_le_bytes()))).collect();
    old_intent(&store, &[many.as_slice(), &layers].concat());
    drop(store.begin());
    assert_eq!(store.listing(), before);
    assert!(store.has_image(used) && store.has_layer(layers[0]));
}

#[test]
fn what_was_committed_is_finished() {
    let store = Store::new();
    let (gone, retagged) = (store.add(None, &["base", "one"]), store.add(Some("again:1"), &["base", "two"]));
    let layers = [chain(&["base", "one"])[1], chain(&["base", "two"])[1]];
    let lines = [
        "{\"layerfs-intent\":2}".to_owned(),
        format!("{{\"remove-image\":\"{gone}\"}}"),
        format!("{{\"remove-image\":\"{retagged}\"}}"),
        format!(
            "{{\"remove-layer\":{{\"chain\":\"{}\",\"removing\":\"{}-x-removing\"}}}}",
            layers[0],
            layers[0].0.hex()
        ),
        format!(
            "{{\"remove-layer\":{{\"chain\":\"{}\",\"removing\":\"{}-x-removing\"}}}}",
            layers[1],
            layers[1].0.hex()
        ),
    ];
    store.write("image/overlay2/layerdb/tmp/layerfs-commit-1", lines.map(|line| line + "\n").concat());
    drop(store.begin());
    assert!(!store.has_image(gone) && !store.has_layer(layers[0]));
    // Somebody has given the image a name since.
    assert!(store.has_image(retagged) && store.has_layer(layers[1]));
    assert_eq!(store.leftovers(), 0);
}

/// A change that was not committed has moved nothing away yet, so its quarantine is not needed to take it back.
#[test]
fn a_quarantine_that_is_gone_keeps_no_change_from_being_taken_back() {
    let store = Store::new();
    let id = store.add(Some("app:1"), &["base"]);
    let lines = [
        "{\"layerfs-intent\":2}".to_owned(),
        format!("{{\"quarantine\":\"{}\"}}", store.temp.path().join("gone").display()),
        format!("{{\"remove-image\":\"{id}\"}}"),
    ];
    store.write("image/overlay2/layerdb/tmp/layerfs-intent-1", lines.map(|line| line + "\n").concat());
    // What was to be kept and cannot be is not deleted either.
    let begun = format!("image/overlay2/layerdb/sha256/{}-x-removing/size", "9".repeat(64));
    store.write(&begun, "1");
    drop(store.begin());
    assert!(store.has_image(id));
    assert!(store.at(&begun).exists());
    assert_eq!(store.leftovers(), 0);
}

#[test]
fn names_tell_whether_a_change_was_made() {
    for made in [true, false] {
        let store = Store::new();
        let id = store.add(made.then_some("app:1"), &["base"]);
        let lines = [
            "{\"layerfs-intent\":2}".to_owned(),
            format!("{{\"add-layer\":\"{}\"}}", chain(&["base"])[0]),
            format!("{{\"add-image\":\"{id}\"}}"),
            format!("{{\"name\":{{\"name\":\"app:1\",\"image\":\"{id}\"}}}}"),
            format!("{{\"last-updated\":{{\"image\":\"{id}\",\"time\":\"2026-01-01T00:00:00Z\"}}}}"),
        ];
        store.write("image/overlay2/layerdb/tmp/layerfs-intent-1", lines.map(|line| line + "\n").concat());
        drop(store.begin());
        assert_eq!((store.has_image(id), store.has_layer(chain(&["base"])[0])), (made, made));
        let noted = store.at(&format!("image/overlay2/imagedb/metadata/sha256/{}/lastUpdated", id.0.hex()));
        assert_eq!(noted.exists(), made);
        assert_eq!(store.leftovers(), 0);
    }
}

#[test]
fn an_image_that_came_into_use_is_not_taken_back() {
    let (id, config) = image(&["base"]);
    type Use = fn(&Store, ImageId);
    let uses: [(&str, Use); 4] = [
        ("a container", |s, id| {
            s.write("containers/c/config.v2.json", format!("{{\"ID\":\"c\",\"Image\":\"{id}\"}}"));
        }),
        ("an unreadable container", |s, _| s.write("containers/c/config.v2.json", "{")),
        ("a child", |s, id| {
            let child = s.add(Some("child:1"), &["base", "top"]);
            s.write(&format!("image/overlay2/imagedb/metadata/sha256/{}/parent", child.0.hex()), id.to_string());
        }),
        ("a name", |s, id| {
            let mut transaction = s.begin();
            transaction.add(Edit::SetTag { reference: name("used:1"), image: id });
            transaction.commit().unwrap();
        }),
    ];
    for (what, make) in uses {
        let store = Store::new();
        assert_eq!(store.add(None, &["base"]), id);
        make(&store, id);
        let lines = ["{\"layerfs-intent\":2}".to_owned(), format!("{{\"add-image\":\"{id}\"}}")];
        store.write("image/overlay2/layerdb/tmp/layerfs-intent-1", lines.map(|line| line + "\n").concat());
        drop(store.begin());
        let path = store.at(&format!("image/overlay2/imagedb/content/sha256/{}", id.0.hex()));
        assert_eq!(std::fs::read(path).unwrap(), *config, "{what}");
    }
}

#[test]
fn a_record_that_cannot_be_read_stops_the_next_change_and_says_what_to_do() {
    let store = Store::new();
    store.add(Some("app:1"), &["base"]);
    store.write("image/overlay2/layerdb/tmp/layerfs-intent-1", "{\"layerfs-intent\":99}\n");
    let before = store.listing();
    let error = Transaction::begin(&store.path(), OPTIONS).unwrap_err().to_string();
    assert!(error.contains("layerfs-intent-1") && error.contains("99") && error.contains("remove the file"), "{error}");
    assert_eq!(store.listing(), before);
    std::fs::remove_file(store.at("image/overlay2/layerdb/tmp/layerfs-intent-1")).unwrap();
    drop(store.begin());
}
