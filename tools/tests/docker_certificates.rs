//! Certificates of registries: what `docker pull` takes and refuses, and we.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::net::Ipv6Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use testkit::dockerd::Dockerd;
use testkit::engines::Engine;
use testkit::registry::{NOW, Registry, Validity, anonymous, make_certificate, with_mounted};
use testkit::run::{Input, run};

const HOST: &str = "registry.test";

/// A certificate that a registry shows.
struct Shown {
    name: &'static str,
    extensions: &'static str,
    validity: Validity,
    issuer: Option<&'static str>,
    /// Which certificate is in `certs.d`.
    trusted: &'static str,
    /// What is said of it; none if it is accepted.
    refused: Option<&'static str>,
}

/// As `openssl req -x509 -addext subjectAltName=...` makes it, which many use for a registry of their own.
const OWN: Shown = Shown {
    name: "own",
    extensions: "basicConstraints=critical,CA:TRUE\nsubjectAltName=DNS:registry.test",
    validity: NOW,
    issuer: None,
    trusted: "own",
    refused: None,
};
const UNKNOWN: Option<&str> = Some("x509: certificate signed by unknown authority");
const EXPIRED: Option<&str> = Some("x509: certificate has expired or is not yet valid");
const PURPOSE: Option<&str> = Some("x509: certificate specifies an incompatible key usage");

const SHOWN: &[Shown] = &[
    OWN,
    Shown { name: "not-trusted", trusted: "other", refused: UNKNOWN, ..OWN },
    Shown {
        name: "other-name",
        extensions: "basicConstraints=critical,CA:TRUE\nsubjectAltName=DNS:elsewhere.test",
        trusted: "other-name",
        refused: Some("x509: certificate is "),
        ..OWN
    },
    Shown {
        name: "expired",
        validity: ("20200101000000Z", "20200102000000Z"),
        trusted: "expired",
        refused: EXPIRED,
        ..OWN
    },
    Shown {
        name: "too-early",
        validity: ("20980101000000Z", "20991231235959Z"),
        trusted: "too-early",
        refused: EXPIRED,
        ..OWN
    },
    Shown {
        name: "for-clients",
        extensions: "basicConstraints=critical,CA:TRUE\nsubjectAltName=DNS:registry.test\nextendedKeyUsage=clientAuth",
        trusted: "for-clients",
        refused: PURPOSE,
        ..OWN
    },
    Shown {
        name: "for-servers",
        extensions: "basicConstraints=critical,CA:TRUE\nsubjectAltName=DNS:registry.test\nextendedKeyUsage=serverAuth\nkeyUsage=critical,keyCertSign",
        trusted: "for-servers",
        ..OWN
    },
    Shown {
        name: "critical",
        extensions: "basicConstraints=critical,CA:TRUE\nsubjectAltName=DNS:registry.test\n1.2.3.4.5=critical,ASN1:NULL",
        trusted: "critical",
        refused: Some("x509: "),
        ..OWN
    },
    Shown { name: "no-authority", extensions: "subjectAltName=DNS:registry.test", trusted: "no-authority", ..OWN },
    // By an authority, which is trusted, or is not while the certificate itself is.
    Shown {
        name: "signed",
        extensions: "subjectAltName=DNS:registry.test",
        issuer: Some("other"),
        trusted: "other",
        ..OWN
    },
    Shown {
        name: "signed-own",
        extensions: "subjectAltName=DNS:registry.test",
        issuer: Some("other"),
        trusted: "signed-own",
        ..OWN
    },
    Shown {
        name: "signed-unknown",
        extensions: "subjectAltName=DNS:registry.test",
        issuer: Some("other"),
        trusted: "own",
        refused: UNKNOWN,
        ..OWN
    },
];

/// A daemon to which `hosts` and `settings` are `/etc/hosts` and `/etc/docker`.
fn engine(dir: &Path, hosts: &Path, settings: &Path) -> Engine {
    let system = Engine::system();
    let script = dir.join("dockerd");
    let mounts = "mount --bind \"$0\" /etc/hosts && mount --bind \"$1\" /etc/docker && shift && exec \"$@\"";
    let (hosts, settings, dockerd) = (hosts.display(), settings.display(), system.dockerd.display());
    let text = format!("#!/bin/sh\nexec unshare -m sh -c '{mounts}' '{hosts}' '{settings}' '{dockerd}' \"$@\"\n");
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    Engine { dockerd: script, ..system }
}

#[test]
fn docker_certificates_of_registries_are_accepted_and_refused_as_by_docker() {
    let Some(_turn) = Registry::with_docker() else { return };
    let dir = testkit::scratch();
    let at = |name: &str| dir.path().join(name);
    let (files, settings, hosts) = (at("certificates"), at("settings"), at("hosts"));
    std::fs::write(&hosts, format!("127.0.0.1 localhost\n::1 {HOST}\n")).unwrap();
    std::fs::create_dir_all(&settings).unwrap();
    make_certificate(&files, "other", "basicConstraints=critical,CA:TRUE", NOW, None);
    let registries: Vec<Registry> = SHOWN
        .iter()
        .map(|shown| {
            make_certificate(&files, shown.name, shown.extensions, shown.validity, shown.issuer);
            let file = |end: &str| files.join(format!("{}.{end}", shown.name)).display().to_string();
            let tls = format!(", tls: {{certificate: {}, key: {}}}", file("crt"), file("key"));
            Registry::start_at(&at(shown.name), Ipv6Addr::LOCALHOST.into(), &tls, "")
        })
        .collect();
    let named = |registry: &Registry| format!("{HOST}:{}", registry.host.rsplit(':').next().unwrap());
    for (shown, registry) in SHOWN.iter().zip(&registries) {
        let certs = settings.join("certs.d").join(named(registry));
        std::fs::create_dir_all(&certs).unwrap();
        std::fs::copy(files.join(format!("{}.crt", shown.trusted)), certs.join("ca.crt")).unwrap();
    }
    // As a daemon makes it when it starts.
    std::fs::create_dir_all("/etc/docker").unwrap();
    let daemon = Dockerd::start_engine(
        &engine(dir.path(), &hosts, &settings),
        &testkit::empty_root(&dir, "theirs"),
        &["--storage-driver=overlay2"],
    );
    let ours = testkit::empty_root(&dir, "ours");
    let mut wrong = Vec::new();
    for (shown, registry) in SHOWN.iter().zip(&registries) {
        let name = format!("{}/t/image:1", named(registry));
        let inside = with_mounted(&anonymous(&ours, &["pull", &name]), &hosts, "/etc/hosts");
        let said = [
            ("docker", run(daemon.client(&["pull", &name]), Input::Nothing)),
            ("layerfs", run(with_mounted(&inside, &settings, "/etc/docker"), Input::Nothing)),
        ];
        for (who, said) in said {
            // A host that is believed is asked for the image, which it does not have.
            let expected = shown.refused.unwrap_or("manifest unknown");
            if said.code != Some(1) || !said.stderr.contains(expected) {
                wrong.push(format!("{who}, {}, not {expected:?}: {said:?}", shown.name));
            }
        }
    }
    testkit::assert_none("certificates", &wrong);
}
