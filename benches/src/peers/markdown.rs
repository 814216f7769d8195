//! stub
use super::plots::Picture;
use super::record::Results;
use std::path::{Path, PathBuf};
/// stub
pub fn report(_: &[Results], _: &[PathBuf], _: &Path, _: &[Picture]) -> String {
    String::new()
}
