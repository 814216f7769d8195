//! Image configs: what dockerd reads from one, and which ones it refuses. The image's id is the digest of the config's
//! bytes, so those are kept as they are.
//!
//! Follows moby v20.10.24 `image/image.go` and `image/rootfs.go`.

use layerfs::DiffId;

use super::gojson::{self, Checked, Decode, DecodeError, Expected, JsonDecoder};
use super::runconfig::RunConfig;
use super::time::Time;
use crate::go_struct;

/// Bytes of the largest config that is read. Docker has no limit of its own.
pub(crate) const MAX_CONFIG: usize = 8 << 20;

/// The most layers that Docker stacks (moby `layer/layer_store.go`, `maxLayerDepth`).
pub(crate) const MAX_LAYERS: usize = 125;

/// The most steps of a history that are read. Docker has no limit; a file of nothing but empty steps would take thirty
/// times its size in memory.
const MAX_STEPS: usize = 100_000;

go_struct! {
    /// An image as dockerd decodes it (`image.Image`). Fields that nothing shows are checked and not kept.
    pub struct ImageFields {
        id: Checked<String> = "id",
        parent: Checked<String> = "parent",
        /// The comment that was given when it was made.
        pub comment: String = "comment",
        /// When it was made.
        pub created: Time = "created",
        /// The container it was made from.
        pub container: String = "container",
        /// What that container ran with.
        pub container_config: RunConfig = "container_config",
        /// The version of Docker that made it.
        pub docker_version: String = "docker_version",
        /// Who made it.
        pub author: String = "author",
        /// What its containers run with; `None` where the key is missing, which filters tell from an empty one.
        pub config: Option<RunConfig> = "config",
        /// The processor it is for; empty where the config has none.
        pub architecture: String = "architecture",
        /// The variant of the processor.
        pub variant: String = "variant",
        /// The operating system it is for; empty where the config has none, which stands for Linux.
        pub os: String = "os",
        size: Checked<i64> = "Size",
        /// Its layers.
        pub rootfs: Option<RootFs> = "rootfs",
        /// The steps by which it was made, oldest first.
        pub history: Steps = "history",
        /// The version of the operating system.
        pub os_version: String = "os.version",
        os_features: Checked<Vec<String>> = "os.features",
    }
}

go_struct! {
    /// The layers of an image (`image.RootFS`).
    pub struct RootFs {
        /// `layers`; docker does not look at it.
        pub kind: String = "type",
        /// The diff ids of the layers, base first, as they are written.
        pub diff_ids: Vec<String> = "diff_ids",
    }
}

go_struct! {
    /// One step by which an image was made (`image.History`).
    #[derive(Eq)]
    pub struct History {
        /// When.
        pub created: Time = "created",
        /// By whom.
        pub author: String = "author",
        /// By which command.
        pub created_by: String = "created_by",
        /// The comment that was given for this step.
        pub comment: String = "comment",
        /// Whether it made no layer.
        pub empty_layer: bool = "empty_layer",
    }
}

impl ImageFields {
    /// Forgets everything but the labels, and whether there is a `config`.
    pub(crate) fn keep_labels(&mut self) {
        let only_labels = |config: RunConfig| RunConfig { labels: config.labels, ..RunConfig::default() };
        *self = Self { config: self.config.take().map(only_labels), ..Self::default() };
    }

    /// Forgets everything but the labels, whether there is a `config`, and command and labels of the step that made the image.
    pub(crate) fn keep_labels_and_step(&mut self) {
        let RunConfig { cmd, labels, .. } = std::mem::take(&mut self.container_config);
        self.keep_labels();
        self.container_config = RunConfig { cmd, labels, ..RunConfig::default() };
    }
}

/// The steps of an image: a list of bounded length.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Steps(pub Vec<History>);

impl Decode for Steps {
    fn expected() -> Expected {
        Expected::List
    }

    fn null(&mut self) {
        self.0.clear();
    }

    fn array(&mut self, decoder: &mut JsonDecoder<'_>) -> Result<(), DecodeError> {
        let count = decoder.elements(|decoder, at| {
            if at >= MAX_STEPS {
                let expected = Expected::Rule("a list of at most 100000 steps");
                let error = decoder.error(expected, "a longer one", decoder.at());
                // It is about the list, and not about this step.
                return Err(DecodeError { item: None, ..error });
            }
            if at == self.0.len() {
                self.0.push(History::default());
            }
            self.0[at].value(decoder)
        })?;
        self.0.truncate(count);
        self.0.shrink_to_fit();
        Ok(())
    }
}

/// An image's config.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageConfig {
    /// The layers, base first.
    pub diff_ids: Vec<DiffId>,
    /// All that the config says.
    pub fields: ImageFields,
    /// How many empty texts stand before the first diff id. dockerd skips them when it computes chain ids.
    empty_diff_ids: usize,
}

/// A config that Docker could not use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidConfig {
    /// dockerd's decoder refuses it.
    #[error("{0}")]
    Decode(DecodeError),
    /// It has no `rootfs`.
    #[error("invalid image JSON, no RootFS key")]
    NoRootFs,
    /// A layer is named by something else than a digest.
    #[error("rootfs.diff_ids[{at}] must be sha256: and 64 hexadecimal digits in lower case, not {found:?}")]
    DiffId {
        /// Its place, from 0.
        at: usize,
        /// The text found there, or its beginning.
        found: String,
    },
    /// The operating system is spelled in a way at which dockerd 20.10 crashes, at every start.
    #[error("os is {os:?}; it must be \"linux\" in lower case")]
    OsCase {
        /// As it is spelled.
        os: String,
    },
    /// It is for another operating system.
    #[error("cannot load {os} image on linux")]
    Os {
        /// The operating system that it is for.
        os: String,
    },
    /// It has more layers than Docker stacks.
    #[error("max depth exceeded: {found} layers, {MAX_LAYERS} allowed")]
    TooDeep {
        /// How many.
        found: usize,
    },
    /// The history names more layers than there are.
    #[error("too many non-empty layers in History section")]
    TooManySteps,
}

impl ImageConfig {
    /// Reads a config as dockerd does.
    ///
    /// # Errors
    /// [`InvalidConfig`] where dockerd would refuse it, or not restore it at its start (moby v20.10.24
    /// `image/image.go: NewFromJSON`, `image/store.go: restore`).
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidConfig> {
        let fields: ImageFields = gojson::from_slice(bytes).map_err(InvalidConfig::Decode)?;
        let texts = &fields.rootfs.as_ref().ok_or(InvalidConfig::NoRootFs)?.diff_ids;
        let empty = texts.iter().take_while(|text| text.is_empty()).count();
        let id = |(at, text): (usize, &String)| {
            let found = || text.chars().take(100).collect();
            text.parse().map(DiffId).map_err(|_| InvalidConfig::DiffId { at, found: found() })
        };
        let diff_ids = texts.iter().enumerate().skip(empty).map(id).collect::<Result<_, _>>()?;
        Ok(Self { diff_ids, fields, empty_diff_ids: empty })
    }

    /// How many empty texts stand before the first diff id.
    pub(crate) fn empty_diff_ids(&self) -> usize {
        self.empty_diff_ids
    }

    /// Whether dockerd on Linux would take the image.
    ///
    /// # Errors
    /// [`InvalidConfig`] with dockerd's own words where it has some.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        if self.empty_diff_ids > 0 {
            return Err(InvalidConfig::DiffId { at: 0, found: String::new() });
        }
        self.check_os()?;
        let found = self.diff_ids.len();
        if found > MAX_LAYERS {
            return Err(InvalidConfig::TooDeep { found });
        }
        if self.fields.history.0.iter().filter(|step| !step.empty_layer).count() > found {
            return Err(InvalidConfig::TooManySteps);
        }
        Ok(())
    }

    /// Whether the image is for Linux.
    ///
    /// # Errors
    /// [`InvalidConfig::Os`], [`InvalidConfig::OsCase`]
    pub(crate) fn check_os(&self) -> Result<(), InvalidConfig> {
        let os = self.fields.os.clone();
        match os.as_str() {
            "" | "linux" => Ok(()),
            // If the image were stored, dockerd 20.10 would crash at every start (moby v20.10.24 `image/store.go:
            // restore`).
            _ if os.eq_ignore_ascii_case("linux") => Err(InvalidConfig::OsCase { os }),
            _ => Err(InvalidConfig::Os { os }),
        }
    }

    /// Whether `parent` may be recorded as the image this one was built from: its history is this one's without the last
    /// entry, and its layers are the first of this one's (moby `image/tarexport/load.go: checkValidParent`).
    #[must_use]
    pub fn is_child_of(&self, parent: &Self) -> bool {
        let (steps, before) = (&self.fields.history.0, &parent.fields.history.0);
        steps.len() == before.len() + 1 && steps.starts_with(before) && self.diff_ids.starts_with(&parent.diff_ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

    fn refused(json: &str) -> String {
        ImageConfig::parse(json.as_bytes()).expect_err(json).to_string()
    }

    #[test]
    fn configs_are_read_as_go_reads_them() {
        let json = format!(r#"{{"RootFS":{{"Diff_IDs":["{ID}"]}},"os":"windows","OS":"linux","x":1}}"#);
        let config = ImageConfig::parse(json.as_bytes()).unwrap();
        // The second key differs in case, and both mean the field: the last one wins.
        assert_eq!((config.diff_ids.len(), config.fields.os.as_str()), (1, "linux"));
        assert!(config.check().is_ok());
        for bad in ["", "null", "[]", "{}", r#"{"rootfs":null}"#, r#"{"rootfs":{"diff_ids":["sha256:../x"]}}"#] {
            assert!(ImageConfig::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let fine = r#"{"rootfs":{},"history":[null],"created":null,"config":{"Cmd":"one word"},"size":7}"#;
        let config = ImageConfig::parse(fine.as_bytes()).unwrap();
        assert_eq!(config.fields.history.0, [History::default()]);
        assert_eq!(config.fields.config.unwrap().cmd.0, Some(vec!["one word".to_owned()]));
    }

    #[test]
    fn a_wrong_type_is_said_with_its_field() {
        for (json, reason) in [
            (r#"{"rootfs":{},"config":{"User":1000}}"#, "config.User must be a string, not a number (byte 34)"),
            (r#"{"rootfs":{},"config":{"Env":"A=b"}}"#, "config.Env must be a list, not a string (byte 34)"),
            (
                r#"{"rootfs":{},"created":""}"#,
                "created must be a time such as \"2006-01-02T15:04:05Z\", not \"\" (byte 25)",
            ),
            (r#"{"rootfs":{"diff_ids":{}}}"#, "rootfs.diff_ids must be a list, not an object (byte 23)"),
            (
                r#"{"rootfs":{},"history":[{"empty_layer":1}]}"#,
                "history.empty_layer must be true or false, not a number (byte 40)",
            ),
            (
                r#"{"rootfs":{},"config":{"Healthcheck":{"Retries":1.5}}}"#,
                "config.Healthcheck.Retries must be a whole number of 64 bits, not number 1.5 (byte 51)",
            ),
            (r#"{"rootfs":{}"#, "unexpected end of JSON input (byte 12)"),
        ] {
            assert_eq!(refused(json), reason);
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

    #[test]
    fn a_history_is_bounded() {
        let json = format!(r#"{{"rootfs":{{}},"history":[{}null]}}"#, "null,".repeat(MAX_STEPS));
        assert!(refused(&json).starts_with("history must be a list of at most 100000 steps"));
    }
}
