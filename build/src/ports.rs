//! The ports of `EXPOSE` (docker/go-connections v0.4.0 `nat/nat.go: ParsePortSpec`).

/// The ports that a word means: `80`, `80/udp`, `80-82`, and of `8080:80` the part behind.
///
/// # Errors
/// The reason, in docker's words.
pub(crate) fn parse(text: &str) -> Result<Vec<String>, String> {
    let (ports, protocol) = text
        .rsplit_once('/')
        .map_or((text, "tcp"), |(ports, protocol)| (ports, if protocol.is_empty() { "tcp" } else { protocol }));
    let container = ports.rsplit(':').next().unwrap_or_default();
    if container.is_empty() {
        return Err(format!("No port specified: {text}<empty>"));
    }
    let invalid = || format!("Invalid containerPort: {container}");
    let (first, last) = container.split_once('-').unwrap_or((container, container));
    let number = |text: &str| text.parse::<u16>().map_err(|_| invalid());
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(invalid());
    }
    let lower = protocol.to_lowercase();
    if !matches!(lower.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("Invalid proto: {protocol}"));
    }
    Ok((first..=last).map(|port| format!("{port}/{lower}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Measured with docker 20.10.24.
    #[test]
    fn ports_are_read_as_docker_reads_them() {
        for (text, expected) in [
            ("80", Ok(vec!["80/tcp"])),
            ("443/UDP", Ok(vec!["443/udp"])),
            ("8000-8001", Ok(vec!["8000/tcp", "8001/tcp"])),
            ("80:90", Ok(vec!["90/tcp"])),
            ("abc", Err("Invalid containerPort: abc")),
            ("2-1", Err("Invalid containerPort: 2-1")),
            ("80/foo", Err("Invalid proto: foo")),
        ] {
            let found = parse(text);
            let found = found.as_ref().map(|ports| ports.iter().map(String::as_str).collect()).map_err(String::as_str);
            assert_eq!(found, expected, "{text}");
        }
    }
}
