//! The platform of a base image, as `FROM --platform` names it (containerd 1.4 `platforms/platforms.go, database.go, compare.go`, as
//! vendored in moby v20.10.24).

use images::source::Platform;

/// What Go knows as operating systems.
const SYSTEMS: [&str; 16] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];

/// What Go knows as processors.
const PROCESSORS: [&str; 23] = [
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "ppc64",
    "ppc64le",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

/// Reads a platform; one word is a system or a processor.
///
/// # Errors
/// dockerd's message.
pub fn parse(text: &str) -> Result<Platform, String> {
    let quoted = docker_format::quoted(text);
    if text.contains('*') {
        return Err(format!("{quoted}: wildcards not yet supported: invalid argument"));
    }
    let parts: Vec<&str> = text.split('/').collect();
    let is_valid =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if let Some(part) = parts.iter().find(|part| !is_valid(part)) {
        return Err(format!(
            "{} is an invalid component of {quoted}: platform specifier component must match \"^[A-Za-z0-9_-]+$\": invalid argument",
            docker_format::quoted(part)
        ));
    }
    let system = |text: &str| match text.to_ascii_lowercase() {
        text if text == "macos" => "darwin".to_owned(),
        text => text,
    };
    match parts[..] {
        [word] => {
            let platform = Platform::new("linux", word, None);
            if SYSTEMS.contains(&system(word).as_str()) {
                return Ok(Platform { os: system(word), ..Platform::host() });
            }
            if PROCESSORS.contains(&platform.architecture.as_str()) {
                return Ok(platform);
            }
            Err(format!("{quoted}: unknown operating system or architecture: invalid argument"))
        }
        [os, architecture] => Ok(Platform::new(&system(os), architecture, None)),
        [os, architecture, variant] => Ok(Platform::new(&system(os), architecture, Some(variant))),
        _ => Err(format!("{quoted}: cannot parse platform specifier: invalid argument")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts are those of dockerd 20.10.24.
    #[test]
    fn platforms_are_read_as_dockerd_reads_them() {
        for (text, expected) in [
            ("linux/arm64", "linux/arm64"),
            ("linux/x86_64", "linux/amd64"),
            ("macOS/amd64", "darwin/amd64"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("s390x", "linux/s390x"),
            ("aarch64", "linux/arm64"),
            ("foo/bar", "foo/bar"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), expected, "{text}");
        }
        assert_eq!(parse("windows").unwrap().os, "windows");
        let component = "platform specifier component must match \"^[A-Za-z0-9_-]+$\": invalid argument";
        for (text, expected) in [
            ("", format!("\"\" is an invalid component of \"\": {component}")),
            ("linux/a@b", format!("\"a@b\" is an invalid component of \"linux/a@b\": {component}")),
            ("linux/arm/", format!("\"\" is an invalid component of \"linux/arm/\": {component}")),
            ("nonsense", "\"nonsense\": unknown operating system or architecture: invalid argument".into()),
            ("a/b/c/d", "\"a/b/c/d\": cannot parse platform specifier: invalid argument".into()),
        ] {
            assert_eq!(parse(text), Err(expected), "{text}");
        }
    }
}
