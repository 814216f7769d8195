//! What layerfs reads of a store, beside what docker's own client prints.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use support::zoo;

#[test]
fn docker_read_self_check() {
    let Some((zoo, _turn)) = zoo::zoo() else { return };
    for args in [
        &["image", "ls", "-a", "--digests"][..],
        &["ps", "-a", "-s"],
        &["system", "df"],
        &["system", "df", "-v"],
        &["volume", "ls"],
    ] {
        eprintln!("{}", zoo::said(&zoo.daemon.docker(args)));
    }
    eprintln!("{}", zoo::said(&zoo.on_stopped("/bin/ls".as_ref(), "ro").arg("-la").arg(&zoo.root).output().unwrap()));
}
