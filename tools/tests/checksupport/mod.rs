//! Shared by the tests of `system check`: what it says, as data.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What a check has said.
#[derive(Debug)]
pub(crate) struct CheckOutput {
    pub(crate) status: Option<i32>,
    /// Layers whose files were read.
    pub(crate) layers_read: u64,
    pub(crate) findings: Vec<FindingRow>,
}

/// One finding.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FindingRow {
    pub(crate) severity: String,
    pub(crate) code: String,
    pub(crate) kind: String,
    pub(crate) id: String,
    /// Ids of images without `sha256:`, and of containers.
    pub(crate) images: Vec<String>,
    pub(crate) containers: Vec<String>,
    pub(crate) repair: String,
    /// `code path`
    pub(crate) files: Vec<String>,
}

impl CheckOutput {
    /// Checks a store.
    pub(crate) fn run(root: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(testkit::program("layerfs"));
        let output =
            command.arg("--root").arg(root).args(["system", "check", "--json"]).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
        let findings = json["findings"].as_array().unwrap().iter().map(FindingRow::read).collect();
        Self {
            status: output.status.code(),
            layers_read: json["read"]["layers"].as_u64().unwrap_or_default(),
            findings,
        }
    }
}

impl FindingRow {
    fn read(json: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let bare = |value: &Value| text(value).trim_start_matches("sha256:").to_owned();
        let ids = |key: &str| json[key].as_array().unwrap().iter().map(|one| bare(&one["id"])).collect();
        let files = json["files"].as_array().unwrap().iter();
        Self {
            severity: text(&json["severity"]),
            code: text(&json["code"]),
            kind: text(&json["subject"]["kind"]),
            id: bare(&json["subject"]["id"]),
            images: ids("images"),
            containers: ids("containers"),
            repair: text(&json["repair"]["code"]),
            files: files.map(|file| format!("{} {}", text(&file["code"]), text(&file["path"]))).collect(),
        }
    }
}
