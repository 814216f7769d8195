use super::*;
use crate::containerd::content::Content;
use crate::containerd::metadata::{ImageRecord, Metadata, SnapshotRecord};
use crate::containerd::snapshots::Snapshots;
use crate::dir::Dir;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A store whose blobs are in `dir`.
struct Made {
    dir: tempfile::TempDir,
    metadata: Metadata,
    snapshots: Snapshots,
}

impl Made {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, metadata: Metadata::default(), snapshots: Snapshots::default() }
    }

    /// Adds a blob, and returns what leads to it.
    fn blob(&mut self, media_type: &str, content: &str) -> serde_json::Value {
        let digest = Digest::hash(content.as_bytes());
        std::fs::write(self.dir.path().join(digest.hex()), content).unwrap();
        self.recorded(media_type, digest, content.len().try_into().unwrap())
    }

    /// Adds the record of a blob without a file.
    fn recorded(&mut self, media_type: &str, digest: Digest, size: u64) -> serde_json::Value {
        self.metadata.blobs.insert(digest, size);
        serde_json::json!({"mediaType": media_type, "digest": digest.to_string(), "size": size})
    }

    /// Names an index or a manifest, and reads the image that it is.
    fn image(mut self, media_type: &str, content: &str) -> StoredImage {
        self.blob(media_type, content);
        let (digest, size) = (Digest::hash(content.as_bytes()), content.len().try_into().unwrap());
        let target = Some(Target { digest, media_type: media_type.into(), size });
        self.metadata.images.insert("a".into(), ImageRecord { target, ..ImageRecord::default() });
        let content = Content::new(Some(Dir::open(self.dir.path()).unwrap()));
        let store = Store { metadata: self.metadata, content, snapshots: self.snapshots, missing: Vec::new() };
        store.images().images.remove(&digest).unwrap()
    }
}

fn config(diff_ids: &[DiffId]) -> String {
    let diff_ids: Vec<String> = diff_ids.iter().map(ToString::to_string).collect();
    serde_json::json!({"os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}).to_string()
}

#[test]
fn a_manifest_that_is_named_often_makes_no_room_for_others() {
    let mut made = Made::new();
    let small = made.blob(MANIFEST, r#"{"config":{}}"#);
    // Two of these are all that may be read beyond the shares of single files.
    let long = |number| {
        let text = format!(r#"{{"config":{{"size":{number}}}}}"#);
        let spaces = " ".repeat(MAX_DOCUMENT - text.len());
        text + &spaces
    };
    let mut manifests = vec![small; 1000];
    manifests.extend([1, 2, 3].map(|number| made.blob(MANIFEST, &long(number))));
    let image = made.image(INDEX, &serde_json::json!({ "manifests": manifests }).to_string());
    assert_eq!(image.manifests.len(), 1003);
    let decoded: Vec<_> = image.manifests[..1000].iter().map(|part| part.manifest.as_ref().unwrap()).collect();
    assert!(decoded.iter().all(|manifest| Arc::ptr_eq(manifest, decoded[0])), "it is in memory once");
    let read: Vec<bool> = image.manifests[999..].iter().map(|part| part.manifest.is_some()).collect();
    assert_eq!(read, [true, true, true, false]);
    let refusal = crate::catalog::budget::refusal(MAX_DOCUMENT.try_into().unwrap());
    assert_eq!(image.fault, Some((image.manifests[1002].digest, BlobFault::Unreadable { cause: refusal })));
}

#[test]
fn sums_of_sizes_that_are_too_large_end_at_the_largest() {
    let mut made = Made::new();
    let diff_id = DiffId(Digest::hash(b"layer"));
    let [chain] = ChainId::chain(&[diff_id])[..] else { panic!("one layer") };
    made.metadata.snapshots.insert(chain.to_string(), SnapshotRecord { name: "1".into(), parent: None });
    made.snapshots.by_name.insert("1".into(), Snapshot { size: 1, ..Snapshot::default() });
    let config = made.blob("application/json", &config(&[diff_id]));
    let most = u64::MAX / 2;
    let layers = [b"1", b"2", b"3"].map(|text| made.recorded("application/gzip", Digest::hash(text), most));
    let image = made.image(MANIFEST, &serde_json::json!({"config": config, "layers": layers}).to_string());
    assert_eq!((image.manifests[0].content, image.manifests[0].unpacked), (u64::MAX, 1));
    assert_eq!(image.size(), u64::MAX);
}
