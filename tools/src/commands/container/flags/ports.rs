//! How ports are written: docker/go-connections v0.4.0 `nat`, in its words.

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

/// The ports of `--expose`, with their protocol.
pub(super) fn exposed(text: &str) -> anyhow::Result<Vec<String>> {
    if text.contains(':') {
        anyhow::bail!("invalid port format for --expose: {text}");
    }
    let (ports, protocol) = with_protocol(text);
    let (first, last) =
        range(ports).map_err(|why| anyhow::anyhow!("invalid range format for --expose: {text}, error: {why}"))?;
    Ok((first..=last).map(|number| format!("{number}/{protocol}")).collect())
}

/// The ports of `-p`, with where each is published.
pub(super) fn published(text: &str) -> anyhow::Result<Vec<(String, PortBinding)>> {
    let mut parts = text.rsplitn(3, ':');
    let (inner, protocol) = with_protocol(parts.next().unwrap_or_default());
    let outer = parts.next().unwrap_or_default();
    let raw = parts.next().unwrap_or_default();
    let address = raw.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(raw);
    if address == raw && raw.contains(':') {
        anyhow::bail!("Invalid ip address {raw}: address {raw}:: too many colons in address");
    }
    if !address.is_empty() && address.parse::<IpAddr>().is_err() {
        anyhow::bail!("Invalid ip address: {address}");
    }
    if inner.is_empty() {
        anyhow::bail!("No port specified: {text}<empty>");
    }
    let (first, last) = range(inner).map_err(|_| anyhow::anyhow!("Invalid containerPort: {inner}"))?;
    let host = (!outer.is_empty()).then(|| range(outer)).transpose();
    let host = host.map_err(|_| anyhow::anyhow!("Invalid hostPort: {outer}"))?;
    if let Some((host_first, host_last)) = host
        && last - first != host_last - host_first
        && last != first
    {
        anyhow::bail!("Invalid ranges specified for container and host Ports: {inner} and {outer}");
    }
    let protocol = protocol.to_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        anyhow::bail!("Invalid proto: {protocol}");
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
