//! What `just install` puts where: each program, with its manual page and its completions.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::Path;
use std::process::Command;

use testkit::program;

#[test]
fn everything_is_installed() {
    let dir = tempfile::tempdir().unwrap();
    let prefix = dir.path().join("a prefix");
    let programs = program("layerfs");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("install.sh");
    let status = Command::new(script).arg(programs.parent().unwrap()).arg(&prefix).status().unwrap();
    assert!(status.success());
    for name in ["layer-unpack", "layerfs", "image-du", "image-gc", "layer-run"] {
        let version = Command::new(prefix.join("bin").join(name)).arg("--version").output().unwrap();
        assert!(String::from_utf8(version.stdout).unwrap().starts_with(&format!("{name} ")));
        for (file, has) in [
            (format!("man/man1/{name}.1"), ".SH \"EXIT STATUS\"".to_owned()),
            (format!("bash-completion/completions/{name}"), format!("_{}", name.replace('-', "__"))),
            (format!("zsh/site-functions/_{name}"), format!("#compdef {name}")),
            (format!("fish/vendor_completions.d/{name}.fish"), format!("complete -c {name}")),
        ] {
            let text = std::fs::read_to_string(prefix.join("share").join(&file)).unwrap();
            assert!(text.contains(&has), "{file} has no {has}");
        }
    }
}
