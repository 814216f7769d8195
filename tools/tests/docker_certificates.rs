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
    /// A certificate that the registry shows besides.
    between: Option<&'static str>,
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
    between: None,
    refused: None,
};
const UNKNOWN: Option<&str> = Some("x509: certificate signed by unknown authority");
const EXPIRED: Option<&str> = Some("x509: certificate has expired or is not yet valid");
const PURPOSE: Option<&str> = Some("x509: certificate specifies an incompatible key usage");
const TOO_LONG: Option<&str> = Some("x509: too many intermediates for path length constraint");
const NAMES: Option<&str> = Some(
    "x509: a root or intermediate certificate is not authorized to sign for this name: DNS name \"registry.test\" is ",
);

/// A name, extensions, times, and who signed it.
type Authority = (&'static str, &'static str, Validity, Option<&'static str>);

/// Authorities, those that others are signed by in front.
const AUTHORITIES: &[Authority] = &[
    ("other", "basicConstraints=critical,CA:TRUE", NOW, None),
    ("old", "basicConstraints=critical,CA:TRUE", ("20200101000000Z", "20200102000000Z"), None),
    ("no-signer", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,digitalSignature", NOW, None),
    ("no-basic", "subjectKeyIdentifier=hash", NOW, None),
    ("clients", "basicConstraints=critical,CA:TRUE\nextendedKeyUsage=clientAuth", NOW, None),
    ("short", "basicConstraints=critical,CA:TRUE,pathlen:0", NOW, None),
    ("odd", "basicConstraints=critical,CA:TRUE\n1.2.3.4.5=critical,ASN1:NULL", NOW, None),
    (
        "here",
        "basicConstraints=critical,CA:TRUE\nnameConstraints=critical,permitted;DNS:test,excluded;DNS:elsewhere.test",
        NOW,
        None,
    ),
    (
        "elsewhere",
        "basicConstraints=critical,CA:TRUE\nnameConstraints=critical,permitted;DNS:elsewhere.test",
        NOW,
        None,
    ),
    ("not-here", "basicConstraints=critical,CA:TRUE\nnameConstraints=critical,excluded;DNS:registry.test", NOW, None),
    (
        "people",
        "basicConstraints=critical,CA:TRUE\nnameConstraints=critical,permitted;dirName:people\n[people]\nCN=x",
        NOW,
        None,
    ),
    ("between", "basicConstraints=critical,CA:TRUE", NOW, Some("other")),
    ("between-old", "basicConstraints=critical,CA:TRUE", ("20200101000000Z", "20200102000000Z"), Some("other")),
    ("between-none", "basicConstraints=critical,CA:FALSE", NOW, Some("other")),
    ("between-clients", "basicConstraints=critical,CA:TRUE\nextendedKeyUsage=clientAuth", NOW, Some("other")),
    ("below-short", "basicConstraints=critical,CA:TRUE", NOW, Some("short")),
    ("below-elsewhere", "basicConstraints=critical,CA:TRUE", NOW, Some("elsewhere")),
];

/// A certificate that is no authority's, by one.
const fn signed(name: &'static str, issuer: &'static str, refused: Option<&'static str>) -> Shown {
    let extensions = "basicConstraints=critical,CA:FALSE\nsubjectAltName=DNS:registry.test";
    Shown { name, extensions, issuer: Some(issuer), trusted: issuer, refused, ..OWN }
}

/// The same with an authority in between.
const fn far(name: &'static str, between: &'static str, trusted: &'static str, refused: Option<&'static str>) -> Shown {
    Shown { between: Some(between), trusted, ..signed(name, between, refused) }
}

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
    // An authority's certificate as that of a host, which somebody else has signed.
    Shown { name: "authority", issuer: Some("other"), trusted: "other", ..OWN },
    Shown { name: "authority-below-short", issuer: Some("short"), trusted: "short", ..OWN },
    Shown { name: "authority-far", issuer: Some("between"), trusted: "other", between: Some("between"), ..OWN },
    Shown {
        name: "authority-for-clients",
        extensions: "basicConstraints=critical,CA:TRUE\nsubjectAltName=DNS:registry.test\nextendedKeyUsage=clientAuth",
        issuer: Some("other"),
        trusted: "other",
        refused: PURPOSE,
        ..OWN
    },
    // What is wrong with the authority.
    signed("by-old", "old", EXPIRED),
    signed("by-no-signer", "no-signer", UNKNOWN),
    signed("by-no-basic", "no-basic", UNKNOWN),
    signed("by-clients", "clients", PURPOSE),
    signed("by-odd", "odd", Some("x509: unhandled critical extension")),
    signed("by-short", "short", None),
    signed("by-here", "here", None),
    signed("by-elsewhere", "elsewhere", NAMES),
    signed("by-not-here", "not-here", NAMES),
    signed("by-people", "people", Some("x509: unhandled critical extension")),
    // With another one in between.
    far("far", "between", "other", None),
    Shown { between: None, ..far("far-missing", "between", "other", UNKNOWN) },
    far("far-trusted", "between", "between", None),
    far("far-old", "between-old", "other", EXPIRED),
    far("far-none", "between-none", "other", UNKNOWN),
    far("far-clients", "between-clients", "other", PURPOSE),
    far("far-short", "below-short", "short", TOO_LONG),
    far("far-elsewhere", "below-elsewhere", "elsewhere", NAMES),
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
    for (name, extensions, validity, issuer) in AUTHORITIES {
        make_certificate(&files, name, extensions, *validity, *issuer);
    }
    let registries: Vec<Registry> = SHOWN
        .iter()
        .map(|shown| {
            make_certificate(&files, shown.name, shown.extensions, shown.validity, shown.issuer);
            if let Some(between) = shown.between {
                let own = std::fs::read(files.join(format!("{}.crt", shown.name))).unwrap();
                let both = [own, std::fs::read(files.join(format!("{between}.crt"))).unwrap()].concat();
                std::fs::write(files.join(format!("{}.crt", shown.name)), both).unwrap();
            }
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

/// A registry that wants a certificate of its clients, by one authority of several.
#[test]
fn docker_certificates_of_clients_are_chosen_as_by_docker() {
    let Some(_turn) = Registry::with_docker() else { return };
    let dir = testkit::scratch();
    let at = |name: &str| dir.path().join(name);
    let (files, settings, hosts) = (at("certificates"), at("settings"), at("hosts"));
    std::fs::write(&hosts, format!("127.0.0.1 localhost\n::1 {HOST}\n")).unwrap();
    std::fs::create_dir_all(&settings).unwrap();
    for authority in ["wanted", "unwanted"] {
        make_certificate(&files, authority, "basicConstraints=critical,CA:TRUE", NOW, None);
    }
    make_certificate(&files, "server", "subjectAltName=DNS:registry.test", NOW, Some("wanted"));
    for (name, issuer) in [("good", "wanted"), ("bad", "unwanted"), ("worse", "unwanted")] {
        make_certificate(&files, name, "extendedKeyUsage=clientAuth", NOW, Some(issuer));
    }
    let file = |name: &str| files.join(name).display().to_string();
    let (certificate, key, wanted) = (file("server.crt"), file("server.key"), file("wanted.crt"));
    let tls = format!(", tls: {{certificate: {certificate}, key: {key}, clientcas: [{wanted}]}}");
    // What is in the directory of the registry, under which names, and what is said of it.
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("good", "a")], "manifest unknown"),
        (&[("bad", "a"), ("good", "b")], "manifest unknown"),
        (&[("good", "a"), ("bad", "b")], "manifest unknown"),
        (&[("bad", "a"), ("worse", "b"), ("good", "c")], "manifest unknown"),
        (&[("bad", "a"), ("worse", "b")], "remote error: tls: bad certificate"),
        (&[], "remote error: tls: bad certificate"),
    ];
    std::fs::create_dir_all("/etc/docker").unwrap();
    let registry = Registry::start_at(&at("registry"), Ipv6Addr::LOCALHOST.into(), &tls, "");
    let named = format!("{HOST}:{}", registry.host.rsplit(':').next().unwrap());
    let daemon = Dockerd::start_engine(
        &engine(dir.path(), &hosts, &settings),
        &testkit::empty_root(&dir, "theirs"),
        &["--storage-driver=overlay2"],
    );
    let ours = testkit::empty_root(&dir, "ours");
    let certs = settings.join("certs.d").join(&named);
    let name = format!("{named}/t/image:1");
    let both = || {
        let inside = with_mounted(&anonymous(&ours, &["pull", &name]), &hosts, "/etc/hosts");
        [
            ("docker", run(daemon.client(&["pull", &name]), Input::Nothing)),
            ("layerfs", run(with_mounted(&inside, &settings, "/etc/docker"), Input::Nothing)),
        ]
    };
    let mut wrong = Vec::new();
    for (own, expected) in cases {
        let _ = std::fs::remove_dir_all(&certs);
        std::fs::create_dir_all(&certs).unwrap();
        std::fs::copy(&wanted, certs.join("ca.crt")).unwrap();
        for (certificate, called) in *own {
            std::fs::copy(file(&format!("{certificate}.crt")), certs.join(format!("{called}.cert"))).unwrap();
            std::fs::copy(file(&format!("{certificate}.key")), certs.join(format!("{called}.key"))).unwrap();
        }
        for (who, said) in both() {
            if said.code != Some(1) || !said.stderr.contains(expected) {
                wrong.push(format!("{who}, {own:?}, not {expected:?}: {said:?}"));
            }
        }
    }
    // A key without its certificate, and the other way round.
    for (gone, left) in [("a.cert", "a.key"), ("a.key", "a.cert")] {
        std::fs::copy(file("good.crt"), certs.join("a.cert")).unwrap();
        std::fs::copy(file("good.key"), certs.join("a.key")).unwrap();
        std::fs::remove_file(certs.join(gone)).unwrap();
        for (who, said) in both() {
            if said.code != Some(1) || !said.stderr.contains(left) {
                wrong.push(format!("{who}, {gone} is gone: {said:?}"));
            }
        }
    }
    testkit::assert_none("certificates", &wrong);
}
