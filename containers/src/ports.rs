//! How ports are written, in `--expose`, `-p` and `EXPOSE`: docker/go-connections v0.4.0 `nat`, in its words.

use std::net::IpAddr;

use snapshot::schema::containerfile::PortBinding;

/// Ports from the first one to the last one, and the text that is of no use otherwise.
fn range(text: &str) -> Result<(u16, u16), String> {
    if text.is_empty() {
        return Err("Empty string specified for ports.".into());
    }
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let why = if is_number { "value out of range" } else { "invalid syntax" };
        text.parse().ok().filter(|_| is_number).ok_or_else(|| format!("strconv.ParseUint: parsing {text:?}: {why}"))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if last < first {
        return Err(format!("Invalid range specified for the Port: {text}"));
    }
    Ok((first, last))
}

/// A port, or ports, and the protocol.
fn with_protocol(text: &str) -> (&str, &str) {
    let mut parts = text.split('/');
    let ports = parts.next().unwrap_or_default();
    (ports, parts.next().filter(|protocol| !protocol.is_empty()).unwrap_or("tcp"))
}

/// The ports of `--expose`, with their protocol (docker/cli v20.10.24 `cli/command/container/opts.go: parse`).
///
/// # Errors
/// The reason, in docker's words.
pub fn exposed(text: &str) -> Result<Vec<String>, String> {
    if text.contains(':') {
        return Err(format!("invalid port format for --expose: {text}"));
    }
    let (ports, protocol) = with_protocol(text);
    let (first, last) =
        range(ports).map_err(|why| format!("invalid range format for --expose: {text}, error: {why}"))?;
    Ok((first..=last).map(|number| format!("{number}/{protocol}")).collect())
}

/// The ports of `-p` and of `EXPOSE`, with where each is published (`nat/nat.go: ParsePortSpec`).
///
/// # Errors
/// The reason, in docker's words.
pub fn published(text: &str) -> Result<Vec<(String, PortBinding)>, String> {
    let mut parts = text.rsplitn(3, ':');
    let (inner, protocol) = with_protocol(parts.next().unwrap_or_default());
    let outer = parts.next().unwrap_or_default();
    let raw = parts.next().unwrap_or_default();
    let address = raw.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(raw);
    if address == raw && raw.contains(':') {
        return Err(format!("Invalid ip address {raw}: address {raw}:: too many colons in address"));
    }
    if !address.is_empty() && address.parse::<IpAddr>().is_err() {
        return Err(format!("Invalid ip address: {address}"));
    }
    if inner.is_empty() {
        return Err(format!("No port specified: {text}<empty>"));
    }
    let (first, last) = range(inner).map_err(|_| format!("Invalid containerPort: {inner}"))?;
    let host = (!outer.is_empty()).then(|| range(outer)).transpose();
    let host = host.map_err(|_| format!("Invalid hostPort: {outer}"))?;
    if let Some((host_first, host_last)) = host
        && last - first != host_last - host_first
        && last != first
    {
        return Err(format!("Invalid ranges specified for container and host Ports: {inner} and {outer}"));
    }
    let protocol = protocol.to_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("Invalid proto: {protocol}"));
    }
    let binding = |number: u16| {
        let port = match host {
            None => String::new(),
            Some((host_first, host_last)) if first == last && host_first != host_last => outer.to_owned(),
            Some((host_first, _)) => (host_first + (number - first)).to_string(),
        };
        (format!("{number}/{protocol}"), PortBinding { ip: address.to_owned(), port })
    };
    Ok((first..=last).map(binding).collect())
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
            let found = published(text);
            let found = found.as_ref().map(|ports| ports.iter().map(|(port, _)| port.as_str()).collect());
            let found = found.map_err(String::as_str);
            assert_eq!(found, expected, "{text}");
        }
    }
}
