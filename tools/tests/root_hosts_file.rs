//! containerd's `hosts.toml`: who is asked for an image, for what, and how.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use testkit::fault_registry::{Asked, FaultRegistry, Reply, Served};
use testkit::image::pack;
use testkit::registry::{Registry, anonymous, layerfs_anonymous, make_certificates, with_host};
use testkit::run::{Input, run};
use testkit::synthetic;

fn served() -> Option<Served> {
    if !testkit::tier("root", testkit::is_root(), "run as root") {
        return None;
    }
    let plain = synthetic::layers(1 << 20, 40);
    Some(Served::new(&plain.into_iter().map(|plain| (plain.clone(), pack("gzip", &plain))).collect::<Vec<_>>()))
}

fn registry(served: &Served) -> FaultRegistry {
    let served = served.clone();
    FaultRegistry::start(move |asked| served.answer(asked))
}

/// Writes the file of a registry. Returns the flag with its directory.
fn hosts_file(dir: &Path, domain: &str, text: &str) -> String {
    let own = dir.join(domain);
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("hosts.toml"), text).unwrap();
    format!("--hosts-dir={}", dir.display())
}

fn paths(registry: &FaultRegistry) -> Vec<String> {
    registry.asked().into_iter().map(|asked| asked.path).collect()
}

#[test]
fn root_hosts_file_says_who_is_asked_for_what() {
    let Some(served) = served() else { return };
    let dir = testkit::scratch();
    let origin = registry(&served);
    let empty = FaultRegistry::start(|_| Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown"));
    // Its content is the origin's, below another path.
    let mirror = {
        let served = served.clone();
        FaultRegistry::start(move |asked: &Asked| match asked.path.strip_prefix("/v2/proxy/") {
            Some(rest) => {
                let path = format!("/v2/{}", rest.split('?').next().unwrap());
                served.answer(&Asked { path, ..asked.clone() })
            }
            None => Reply::new(404, b""),
        })
    };
    let text = format!(
        "server = \"http://{}\"\n[host.\"http://{}/prefix\"]\n[host.\"http://{}/v2/proxy\"]\ncapabilities = [\"pull\"]\n\
         override_path = true\n[host.\"http://{}/v2/proxy\".header]\nx-team = [\"blue\", \"red\"]\n",
        origin.host, empty.host, mirror.host, mirror.host
    );
    let flag = hosts_file(&dir.path().join("hosts"), "registry.test", &text);
    let root = |name: &str| -> PathBuf { dir.path().join(name) };
    let said = layerfs_anonymous(&root("one"), &["pull", "--no-sync", &flag, "registry.test/t/image:1"]).ok();
    assert_eq!(said.stderr.matches("warning: mirror ").count(), 1, "{said:?}");
    // The first mirror is asked below its path, and told for whom it is asked.
    assert!(paths(&empty).iter().all(|path| path == "/prefix/v2/t/image/manifests/1?ns=registry.test"), "{empty:?}");
    // The second one is not believed what a tag means.
    let digest = layerfs::Digest::hash(&served.manifest);
    let asked = paths(&mirror);
    assert!(asked.iter().any(|path| path.starts_with(&format!("/v2/proxy/t/image/manifests/{digest}"))), "{asked:?}");
    assert!(asked.iter().all(|path| !path.contains("/manifests/1")), "{asked:?}");
    assert_eq!(mirror.asked().iter().filter(|asked| asked.path.contains("/blobs/")).count(), served.blobs.len());
    let team = |asked: &Asked| asked.headers.contains_key("x-team");
    assert!(mirror.asked().iter().all(team) && !origin.asked().iter().any(team));
    // The registry is asked what the tag means, and nothing else.
    assert!(
        paths(&origin).iter().all(|path| path == "/v2/t/image/manifests/1?ns=registry.test"),
        "{:?}",
        paths(&origin)
    );

    // Without its mirror, the registry itself serves the image, also to `layer-unpack`, and `_default` counts for others.
    drop(mirror);
    let before = origin.asked().len();
    layerfs_anonymous(&root("two"), &["pull", "-q", "--no-sync", &flag, "registry.test/t/image:1"]).ok();
    assert!(origin.asked().len() > before + served.blobs.len());
    let flag = hosts_file(&dir.path().join("hosts"), "_default", &format!("server = \"http://{}\"\n", origin.host));
    layerfs_anonymous(&root("three"), &["pull", "-q", "--no-sync", &flag, "elsewhere.test/t/image:1"]).ok();

    // A file that cannot be meant is an error, and so are hosts that may not do what is wanted.
    for (text, words) in
        [("host = 1", "hosts.toml: `host` is no table"), ("capabilities = [\"push\"]", "by hosts.toml nobody serves")]
    {
        let flag = hosts_file(&dir.path().join("hosts"), "registry.test", text);
        let said = layerfs_anonymous(&root("four"), &["pull", "-q", &flag, "registry.test/t/image:1"]);
        testkit::assert_none(text, &said.complaints(&[words]));
    }
}

/// Docker-registry with a certificate of an authority that nobody knows but the file.
#[test]
fn root_hosts_file_names_the_authority_and_where_pushes_go() {
    if !testkit::tier("root", testkit::is_root(), "run as root") || !Registry::installed("root") {
        return;
    }
    let dir = testkit::scratch();
    let host = "registry.test";
    make_certificates(&dir.path().join("certificates"), host);
    let file = |name: &str| dir.path().join("certificates").join(name).display().to_string();
    let tls = format!(", tls: {{certificate: {}, key: {}}}", file("host.crt"), file("host.key"));
    let registry = Registry::start_with(&dir.path().join("registry"), &tls, "");
    let port = registry.host.rsplit(':').next().unwrap();
    let (root, hosts) = (dir.path().join("root"), dir.path().join("hosts"));
    testkit::import(&testkit::golden("busybox-20.10.tar"), &root);
    let listed = testkit::made_by_layerfs(&root, &["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]);
    let name = "elsewhere.test/t/image:1";
    testkit::made_by_layerfs(&root, &["tag", listed.lines().next().unwrap(), name]);
    let layerfs = |arguments: &[&str]| {
        let command = anonymous(&root, arguments);
        run(with_host(&command, &dir.path().join("hosts-file"), host), Input::Nothing)
    };
    let text = |ca: &str| {
        format!(
            "capabilities = [\"pull\", \"resolve\"]\n[host.\"https://{host}:{port}\"]\ncapabilities = [\"push\", \"pull\", \"resolve\"]\n{ca}"
        )
    };
    let flag = hosts_file(&hosts, "elsewhere.test", &text(""));
    let said = layerfs(&["push", "-q", &flag, name]);
    testkit::assert_none("message", &said.complaints(&["certificate signed by unknown authority"]));
    // A path that is not absolute is seen from the file.
    std::fs::copy(file("ca.crt"), hosts.join("elsewhere.test/own.crt")).unwrap();
    hosts_file(&hosts, "elsewhere.test", &text("ca = \"own.crt\"\n"));
    layerfs(&["push", &flag, name]).ok();
    layerfs(&["rmi", name]).ok();
    let said = layerfs(&["pull", &flag, name]).ok();
    assert!(said.stdout.contains("Status: Downloaded newer image for elsewhere.test/t/image:1"), "{said:?}");

    // Through a proxy, which alone knows where the host is.
    layerfs(&["rmi", name]).ok();
    let proxy = proxy();
    let mut command = anonymous(&root, &["pull", &flag, name]);
    command.env("HTTPS_PROXY", format!("http://{proxy}")).env_remove("NO_PROXY").env_remove("no_proxy");
    let said = run(command, Input::Nothing).ok();
    assert!(said.stdout.contains("Status: Downloaded newer image for elsewhere.test/t/image:1"), "{said:?}");
}

/// A proxy that connects to the port it is asked for on this machine, whatever the host. Returns its address.
fn proxy() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            // A client that has hung up is no fault of the proxy.
            std::thread::spawn(move || drop(client.and_then(pass_on)));
        }
    });
    address
}

fn pass_on(mut client: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap();
    let port: u16 = target.rsplit(':').next().unwrap().parse().unwrap();
    let server = TcpStream::connect(("127.0.0.1", port))?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to) = (server, client);
    std::io::copy(&mut from, &mut to)?;
    to.shutdown(Shutdown::Write)
}
