//! The tools, as programs to run.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where a program of this workspace is: beside the test that asks, or where `LAYERFS_PROGRAMS` says.
///
/// Cargo builds the programs of the package `tools` before that package's tests. The tests of another crate run what was
/// built last, so they have no business with programs.
pub fn program(name: &str) -> PathBuf {
    let dir = std::env::var_os("LAYERFS_PROGRAMS").map_or_else(
        || {
            let test = std::env::current_exe().unwrap();
            // target/debug/deps/NAME-HASH
            test.parent().and_then(Path::parent).unwrap().to_owned()
        },
        PathBuf::from,
    );
    let program = dir.join(name);
    assert!(program.exists(), "{} is not built: cargo build -p tools", program.display());
    program
}

/// `layer-unpack ARCHIVE --root ROOT --no-sync`
pub fn layer_unpack(archive: &Path, root: &Path) -> Output {
    Command::new(program("layer-unpack")).arg(archive).arg("--root").arg(root).arg("--no-sync").output().unwrap()
}

/// [`layer_unpack`] that must succeed; returns its standard output.
pub fn import(archive: &Path, root: &Path) -> String {
    succeeded("layer-unpack", layer_unpack(archive, root))
}

/// `layerfs ARGUMENTS`, which must succeed; returns its standard output.
pub fn layerfs<S: AsRef<OsStr>>(arguments: &[S]) -> String {
    succeeded("layerfs", Command::new(program("layerfs")).args(arguments).output().unwrap())
}

/// `layerfs --root ROOT ARGUMENTS`
pub fn layerfs_on(root: &Path, arguments: &[&str]) -> Output {
    Command::new(program("layerfs")).arg("--root").arg(root).args(arguments).output().unwrap()
}

/// What [`layerfs_on`] prints, byte for byte; it must succeed.
pub fn printed_by_layerfs(root: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = layerfs_on(root, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What [`layerfs_on`] prints, without the space around it; it must succeed. For commands that print an id.
pub fn made_by_layerfs(root: &Path, arguments: &[&str]) -> String {
    succeeded(&format!("layerfs {arguments:?}"), layerfs_on(root, arguments)).trim().to_owned()
}

/// The standard output of a program that must have succeeded.
pub fn succeeded(program: &str, output: Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
