//! Words of errors that no program meets unless a store changes while it is read.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use images::migrate::MigrateError;
use images::save::{SaveForm, StoredPlan, read_config};
use layerfs::{DiffId, Digest};
use snapshot::ids::ImageId;
use snapshot::root::DataRoot;
use snapshot::view::{Needs, View};

#[test]
fn what_a_save_misses_is_named() {
    let image = ImageId(Digest::hash(b"an image"));
    let gone = read_config(None, image).unwrap_err();
    assert_eq!(gone.to_string(), format!("image {image}: its config cannot be read any more"));
    let dir = tempfile::tempdir().unwrap();
    for path in ["image/overlay2/imagedb", "overlay2"] {
        std::fs::create_dir_all(dir.path().join(path)).unwrap();
    }
    let view = View::read_root(DataRoot::find(dir.path(), None).unwrap(), Needs::RECORDS).unwrap();
    let elsewhere = StoredPlan::new(view.catalog(), &[], SaveForm::Docker, None).unwrap_err();
    assert_eq!(elsewhere.to_string(), "the images are not in containerd's store");
}

#[test]
fn a_registrys_blob_that_holds_another_layer_is_named_with_both() {
    let [blob, expected, found] = [b"blob".as_slice(), b"layer", b"another layer"].map(Digest::hash);
    let error = MigrateError::OtherLayer { blob, expected: DiffId(expected), found: DiffId(found) };
    let words = format!("{blob}: its content has the digest {found}, and the image has {expected}");
    assert_eq!(error.to_string(), words);
}
