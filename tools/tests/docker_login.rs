//! `layerfs login` against `docker login` at Debian's registry: lines, files, and the notes of pushes with a password.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use testkit::dockerd::Dockerd;
use testkit::registry::{Registry, USER, with_password};
use testkit::run::{Input, layerfs, run};

#[test]
fn docker_login_writes_the_file_that_docker_writes() {
    let Some(_turn) = Registry::with_docker() else { return };
    let dir = testkit::scratch();
    let files = dir.path().join("registry");
    let registry = Registry::start_with(&files, "", &with_password(&files));
    let (ours, dockers) = (dir.path().join("ours"), dir.path().join("dockers"));
    let root = testkit::empty_root(&dir, "root");
    let mine = |arguments: &[&str], input: Input<'_>| {
        let mut command = layerfs(&["--root", root.to_str().unwrap()]);
        command.args(arguments).env("DOCKER_CONFIG", &ours);
        run(command, input)
    };
    let daemon = Dockerd::start(&root);
    let theirs = |arguments: &[&str], input: Input<'_>| {
        run(daemon.client(&[&["--config", dockers.to_str().unwrap()], arguments].concat()), input)
    };
    let login = ["login", "-u", USER.0, "--password-stdin", &registry.host];
    let password = Input::Pipe(USER.1.as_bytes());
    for (arguments, input) in [
        (&login[..], Input::Pipe(b"wrong")),
        (&login[..], Input::Nothing),
        (&login[..], password),
        (&["login", &registry.host][..], Input::Nothing),
        (&["login", "other.test"][..], Input::Nothing),
        (&["login", "--password-stdin", &registry.host][..], Input::Nothing),
    ] {
        let (one, other) = (mine(arguments, input), theirs(arguments, input));
        assert_eq!((one.code, &one.stdout), (other.code, &other.stdout), "{arguments:?}: {one:?} {other:?}");
    }
    let read = |dir: &std::path::Path| std::fs::read_to_string(dir.join("config.json")).unwrap();
    assert_eq!(read(&ours), read(&dockers));
    // Notes carry a mark of the credentials: ours are those of a daemon that was given the same.
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    let loaded = daemon.ok(&["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]);
    let name = format!("{}/t/image:1", registry.host);
    daemon.ok(&["tag", loaded.lines().next().unwrap(), &name]);
    theirs(&["push", &name], Input::Nothing).ok();
    let logout = ["logout", &registry.host];
    assert_eq!(
        theirs(&logout, Input::Nothing).ok().stdout,
        format!("Removing login credentials for {}\n", registry.host)
    );
    daemon.stop();
    let notes = || {
        let dir = root.join("image/overlay2/distribution/v2metadata-by-diffid/sha256");
        let names = testkit::store::names(&dir);
        names.iter().map(|name| std::fs::read_to_string(dir.join(name)).unwrap()).collect::<Vec<_>>()
    };
    let before = notes();
    let pushed = mine(&["push", &name], Input::Nothing).ok();
    assert!(!pushed.stdout.contains(": Pushed"), "{}", pushed.stdout);
    assert_eq!(notes(), before);
    assert_eq!(
        mine(&logout, Input::Nothing).ok().stdout,
        format!("Removing login credentials for {}\n", registry.host)
    );
    assert_eq!(read(&ours), read(&dockers));
}
