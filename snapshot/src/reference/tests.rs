use super::*;

const DIGEST: &str = "sha256:e6693c20186f837fc393390135d8a598a96a833917917789d63766cab6c59582";

#[test]
fn names_are_normalised_and_shortened_again() {
    let cases = [
        ("ubuntu", "docker.io", "library/ubuntu", "ubuntu"),
        ("library/ubuntu", "docker.io", "library/ubuntu", "ubuntu"),
        ("docker.io/ubuntu", "docker.io", "library/ubuntu", "ubuntu"),
        ("docker.io/library/ubuntu", "docker.io", "library/ubuntu", "ubuntu"),
        ("index.docker.io/ubuntu", "docker.io", "library/ubuntu", "ubuntu"),
        ("index.docker.io/user/app", "docker.io", "user/app", "user/app"),
        ("user/app", "docker.io", "user/app", "user/app"),
        ("library/distros/ubuntu", "docker.io", "library/distros/ubuntu", "library/distros/ubuntu"),
        ("library", "docker.io", "library/library", "library"),
        ("docker.io/library", "docker.io", "library/library", "library"),
        ("localhost", "docker.io", "library/localhost", "localhost"),
        ("localhost/app", "localhost", "app", "localhost/app"),
        ("localhost:5000/a/b", "localhost:5000", "a/b", "localhost:5000/a/b"),
        ("127.0.0.1:5055/x/app", "127.0.0.1:5055", "x/app", "127.0.0.1:5055/x/app"),
        ("[::1]:5000/x", "[::1]:5000", "x", "[::1]:5000/x"),
        ("[fe80::A]/x", "[fe80::A]", "x", "[fe80::A]/x"),
        ("ghcr.io/a/b_c__d.e---f", "ghcr.io", "a/b_c__d.e---f", "ghcr.io/a/b_c__d.e---f"),
        ("Upper/x", "Upper", "x", "Upper/x"),
        ("Example.COM/x", "Example.COM", "x", "Example.COM/x"),
        ("xn--7o8h.com/x", "xn--7o8h.com", "x", "xn--7o8h.com/x"),
        ("a_b.c/x", "", "a_b.c/x", "a_b.c/x"),
        ("1234", "docker.io", "library/1234", "1234"),
        ("a.b", "docker.io", "library/a.b", "a.b"),
    ];
    for (text, domain, path, familiar) in cases {
        let reference = Reference::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!((reference.domain(), reference.path()), (domain, path), "{text}");
        assert_eq!(reference.familiar_name(), familiar);
        assert_eq!(reference.familiar(), familiar);
        assert_eq!((reference.tag(), reference.digest()), (None, None));
        assert_eq!(Reference::parse(&reference.familiar()).unwrap().path(), path);
        assert_eq!(Reference::parse(&reference.canonical()).unwrap(), reference);
    }
}

#[test]
fn tags_and_digests_are_split_off() {
    let reference = Reference::parse("host:80").unwrap();
    assert_eq!((reference.path(), reference.tag()), ("library/host", Some("80")), "no slash, so no port");
    let reference = Reference::parse("host:80/x:V1.2_3-4").unwrap();
    assert_eq!((reference.domain(), reference.tag()), ("host:80", Some("V1.2_3-4")));
    assert_eq!(reference.familiar(), "host:80/x:V1.2_3-4");
    let both = Reference::parse(&format!("x:1@{DIGEST}")).unwrap();
    assert_eq!((both.tag(), both.digest()), (Some("1"), Some(DIGEST.parse().unwrap())));
    assert_eq!(both.familiar(), format!("x:1@{DIGEST}"));
    assert_eq!(both.canonical(), format!("docker.io/library/x:1@{DIGEST}"));
    let pinned = Reference::parse(&format!("x@{DIGEST}")).unwrap();
    assert_eq!(Reference::parse("x:1").unwrap().with_digest(DIGEST.parse().unwrap()), pinned);
    assert_eq!(pinned.clone().with_default_tag(), pinned);
    assert_eq!(Reference::parse("x").unwrap().with_default_tag().to_string(), "x:latest");
    assert_eq!(Reference::parse("x:1").unwrap().with_default_tag().to_string(), "x:1");
    Reference::parse(&format!("x:{}", "t".repeat(128))).unwrap();
    Reference::parse(&format!("{}/x", "a/".repeat(126).trim_end_matches('/'))).unwrap();
}

#[test]
fn what_breaks_the_grammar_is_refused() {
    let texts = [
        "",
        " ",
        ":",
        "@",
        "/",
        "a/",
        "/a",
        "a//b",
        ":tag",
        "x:",
        "x:-tag",
        "x:.tag",
        "x:a:b",
        "x:a/b",
        "-x",
        "x-",
        "_x",
        "x_",
        "a..b",
        "a___b",
        "a._b",
        "a b",
        "a\nb",
        "x\n",
        "é",
        "x:é",
        "../x",
        "./x",
        "http://x/y",
        "a.b:/x",
        "a.b:x/y",
        "[::1]",
        "[::g]/x",
        "[]/x",
        "[::1/x",
        "[::1]x/y",
        "[fe80::1%eth0]/x",
        "-a.b/x",
        "a-.b/x",
        "a..b/x",
        "x@",
        "::1/x",
    ];
    for text in texts {
        assert!(Reference::parse(text).is_err(), "{text:?}");
    }
    let long = format!("x:{}", "t".repeat(129));
    assert!(matches!(Reference::parse(&long), Err(ReferenceError::Format { .. })));
}

#[test]
fn refusals_say_why() {
    let hex = &DIGEST[7..];
    let upper = format!("x@{}", DIGEST.to_uppercase());
    let cases = [
        ("Ubuntu".to_owned(), "invalid reference format: repository name (library/Ubuntu) must be lowercase"),
        ("a/B:x".to_owned(), "invalid reference format: repository name (a/B) must be lowercase"),
        ("docker.io/A/b".to_owned(), "invalid reference format: repository name (A/b) must be lowercase"),
        (hex.to_owned(), &format!("invalid repository name ({hex}), cannot specify 64-byte hexadecimal strings")),
        (
            "sha256:abcdef".to_owned(),
            "refusing to create an ambiguous tag using digest algorithm as name: \"sha256:abcdef\"",
        ),
        (
            "docker.io/library/sha256".to_owned(),
            "refusing to create an ambiguous tag using digest algorithm as name: \"docker.io/library/sha256\"",
        ),
        (upper.clone(), &format!("invalid digest in reference {upper:?}")),
        (
            "x@md5:d41d8cd98f00b204e9800998ecf8427e".to_owned(),
            "invalid digest in reference \"x@md5:d41d8cd98f00b204e9800998ecf8427e\"",
        ),
        ("a".repeat(256), "repository name must not be more than 255 characters, this one has 264"),
        ("a b".to_owned(), "invalid reference format: \"a b\""),
    ];
    for (text, expected) in cases {
        let message = Reference::parse(&text).unwrap_err().to_string();
        assert_eq!(message, expected, "{text}");
    }
    Reference::parse(&format!("{hex}:tag")).unwrap();
    Reference::parse("user/sha256").unwrap();
}

proptest::proptest! {
    #[test]
    fn a_canonical_reference_reads_back(text in "[a-zB:/@._\\-\\[\\]0]{0,12}") {
        if let Ok(reference) = Reference::parse(&text) {
            proptest::prop_assert_eq!(Reference::parse(&reference.canonical()).unwrap(), reference);
        }
    }
}

/// The answers of docker's own parser; see `testdata/references/README.md`.
const TABLE: &str = include_str!("../../../testdata/references/table.jsonl");

/// Why our parser may differ from that of dockerd 20.10 for this text; `None` if it must not.
fn meant(text: &str, path: &str, domain: &str) -> Option<&'static str> {
    let first = text.split_once('/').map_or("", |(first, _)| first);
    match () {
        () if text.contains('[') => Some("IPv6 addresses are newer"),
        () if first.chars().any(char::is_uppercase) => Some("a domain in upper case is newer"),
        () if path.len() <= 255 && domain.len() + 1 + path.len() > 255 => Some("the newer one counts the path alone"),
        () if text.contains("@sha384:") || text.contains("@sha512:") => Some("digests are SHA-256 here"),
        () if matches!(text.split(':').next(), Some("sha256" | "docker.io/library/sha256")) => {
            Some("refused here, and by docker when it is stored")
        }
        () => None,
    }
}

#[test]
fn says_what_docker_says() {
    let mut differences = Vec::new();
    let (mut taken, mut different) = (0, 0);
    for line in TABLE.lines() {
        let answer: serde_json::Value = serde_json::from_str(line).unwrap();
        let of = |key: &str| answer.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
        let theirs = if of("Error").is_empty() {
            Some(["Domain", "Path", "Tag", "Digest", "Familiar", "Canonical"].map(|key| of(key).to_owned()))
        } else {
            None
        };
        let ours = Reference::parse(of("Text")).ok().map(|reference| {
            let digest = reference.digest().map(|digest| digest.to_string()).unwrap_or_default();
            let tag = reference.tag().unwrap_or_default().to_owned();
            [
                reference.domain().to_owned(),
                reference.path().to_owned(),
                tag,
                digest,
                reference.familiar(),
                reference.canonical(),
            ]
        });
        taken += usize::from(theirs.is_some());
        if theirs != ours {
            let known = ours.as_ref().or(theirs.as_ref()).unwrap();
            if meant(of("Text"), &known[1], &known[0]).is_none() {
                differences.push(format!("{:?}: docker {theirs:?} {}, ours {ours:?}", of("Text"), of("Error")));
            }
            different += 1;
        }
    }
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
    assert!(taken > 150 && different < 40, "{taken} taken, {different} different as meant");
}
