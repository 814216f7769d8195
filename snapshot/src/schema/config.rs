//! What an image config says that decides whether and how it can be stored. The config itself is its bytes.

use layerfs::DiffId;
use serde_json::{Map, Value};

/// Bytes of the largest config that is read.
pub const MAX_CONFIG: usize = 8 << 20;

/// Layers that Docker stacks (moby `layer/layer_store.go`, `maxLayerDepth`).
pub const MAX_LAYERS: usize = 125;

/// The parts of a config that matter to a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfig {
    /// The layers, base first.
    pub diff_ids: Vec<DiffId>,
    /// The history entries as they stand, for comparing with a parent's.
    pub history: Vec<Value>,
    /// The operating system; empty where the config has none.
    pub os: String,
    /// The architecture; empty where the config has none.
    pub architecture: String,
}

/// A config that Docker could not use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidConfig(String);

impl ImageConfig {
    /// Reads a config as Go reads it: keys in any case, the last one wins, unknown ones ignored.
    ///
    /// # Errors
    /// [`InvalidConfig`] if it is not a JSON object, has no `rootfs`, or has values of other types (moby
    /// v20.10.24 `image/image.go: NewFromJSON`).
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidConfig> {
        let invalid = |reason: String| InvalidConfig(reason);
        let value: Value = serde_json::from_slice(bytes).map_err(|error| invalid(format!("not JSON: {error}")))?;
        let Value::Object(object) = value else { return Err(invalid("not a JSON object".into())) };
        let rootfs = match get(&object, "rootfs") {
            Some(Value::Object(rootfs)) => rootfs,
            None | Some(Value::Null) => return Err(invalid("invalid image JSON, no RootFS key".into())),
            Some(_) => return Err(invalid("rootfs is not an object".into())),
        };
        let diff_ids = match get(rootfs, "diff_ids") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(ids)) => {
                let id = |(at, id): (usize, &Value)| {
                    let text = id.as_str().ok_or_else(|| invalid(format!("rootfs.diff_ids[{at}] is not a string")))?;
                    text.parse().map_err(|error| invalid(format!("rootfs.diff_ids[{at}]: {error}")))
                };
                ids.iter().enumerate().map(id).collect::<Result<_, _>>()?
            }
            Some(_) => return Err(invalid("rootfs.diff_ids is not an array".into())),
        };
        let history = match get(&object, "history") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(entries)) if entries.iter().all(Value::is_object) => entries.clone(),
            Some(_) => return Err(invalid("history is not an array of objects".into())),
        };
        let text = |key| match get(&object, key) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(invalid(format!("{key} is not a string"))),
        };
        Ok(Self { diff_ids, history, os: text("os")?, architecture: text("architecture")? })
    }

    /// Whether dockerd on Linux would take the image.
    ///
    /// # Errors
    /// [`InvalidConfig`] with dockerd's own words where it has some.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        match self.os.as_str() {
            "" | "linux" => {}
            os if os.eq_ignore_ascii_case("linux") => {
                // Stored, it would crash dockerd 20.10 at every start (docker-layout 4.3).
                return Err(InvalidConfig(format!("os is {os:?}; it must be \"linux\" in lower case")));
            }
            os => return Err(InvalidConfig(format!("cannot load {os} image on linux"))),
        }
        if self.diff_ids.len() > MAX_LAYERS {
            return Err(InvalidConfig(format!(
                "max depth exceeded: {} layers, {MAX_LAYERS} allowed",
                self.diff_ids.len()
            )));
        }
        let with_layer =
            |entry: &&Value| entry.as_object().and_then(|o| get(o, "empty_layer")) != Some(&Value::Bool(true));
        if self.history.iter().filter(with_layer).count() > self.diff_ids.len() {
            return Err(InvalidConfig("too many non-empty layers in History section".into()));
        }
        Ok(())
    }

    /// Whether `parent` may be recorded as the image this one was built from: its layers and its history are this one's
    /// but for the last history entry (moby `image/tarexport/load.go: checkValidParent`).
    #[must_use]
    pub fn is_child_of(&self, parent: &Self) -> bool {
        self.history.len() == parent.history.len() + 1
            && self.history.starts_with(&parent.history)
            && self.diff_ids.starts_with(&parent.diff_ids)
    }
}

/// Go's field lookup: case does not matter, the last key wins.
#[must_use]
pub fn get<'v>(object: &'v Map<String, Value>, key: &str) -> Option<&'v Value> {
    object.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

    #[test]
    fn configs_are_read_as_go_reads_them() {
        let json = format!(r#"{{"RootFS":{{"Diff_IDs":["{ID}"]}},"os":"windows","OS":"linux","x":1}}"#);
        let config = ImageConfig::parse(json.as_bytes()).unwrap();
        assert_eq!((config.diff_ids.len(), config.os.as_str()), (1, "linux"));
        assert!(config.check().is_ok());
        for bad in ["", "null", "[]", "{}", r#"{"rootfs":null}"#, r#"{"rootfs":{"diff_ids":["sha256:../x"]}}"#] {
            assert!(ImageConfig::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_dockerd_refuses_is_refused() {
        for (json, reason) in [
            (r#"{"rootfs":{},"os":"Linux"}"#, "lower case"),
            (r#"{"rootfs":{},"os":"windows"}"#, "cannot load windows image on linux"),
            (r#"{"rootfs":{},"history":[{"created_by":"x"}]}"#, "too many non-empty layers"),
        ] {
            let error = ImageConfig::parse(json.as_bytes()).unwrap().check().unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
        let many = vec![format!("\"{ID}\""); 126].join(",");
        let json = format!(r#"{{"rootfs":{{"diff_ids":[{many}]}}}}"#);
        assert!(ImageConfig::parse(json.as_bytes()).unwrap().check().is_err());
    }
}
