//! The files that appear in a container's `/etc`.

use std::fs;
use std::path::{Path, PathBuf};

use runtime::NetworkFiles;
use snapshot::schema::container::ContainerFiles;
use snapshot::schema::containerfile::HostConfig;

use crate::ContainerError;
use crate::mounts::source;

/// Writes them into a directory, with the digest of one of them, as dockerd does at each start. What the user has mounted at such a place
/// is the file there (moby v20.10.24 `container/container.go: TrySetNetworkMount`).
pub(crate) fn write(dir: &Path, root: &Path, files: &ContainerFiles) -> Result<NetworkFiles, ContainerError> {
    let write = |name: &str, text: &[u8]| -> Result<PathBuf, ContainerError> {
        let path = dir.join(name);
        fs::write(&path, text).map_err(ContainerError::io("writing", &path))?;
        Ok(path)
    };
    let host = &files.host;
    let resolv = resolv_conf(host);
    let is_host = host.network_mode == "host";
    let hosts = if is_host { fs::read("/etc/hosts").unwrap_or_default() } else { hosts(host).into_bytes() };
    let name = files.config.config.as_ref().map(|config| config.hostname.clone()).unwrap_or_default();
    write("resolv.conf.hash", layerfs::Digest::hash(&resolv).to_string().as_bytes())?;
    let points = &files.config.mount_points;
    let mounted = |at: &str| points.get(at)?.as_ref().filter(|point| point.kind != "tmpfs");
    let file = |at: &str, own: PathBuf| Some(mounted(at).map_or(own, |point| source(root, point)));
    Ok(NetworkFiles {
        hosts: file("/etc/hosts", write("hosts", &hosts)?),
        resolv_conf: file("/etc/resolv.conf", write("resolv.conf", &resolv)?),
        hostname: file("/etc/hostname", write("hostname", format!("{name}\n").as_bytes())?),
    })
}

/// `/etc/hosts` of a container without a network.
fn hosts(host: &HostConfig) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    for entry in host.extra_hosts.iter().flatten() {
        if let Some((name, address)) = entry.split_once(':') {
            text.push_str(&format!("{address}\t{name}\n"));
        }
    }
    text
}

/// `/etc/resolv.conf`: the host's, or what `--dns` and its like say.
fn resolv_conf(host: &HostConfig) -> Vec<u8> {
    let own = fs::read("/etc/resolv.conf").unwrap_or_default();
    let given = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let (servers, search, options) = (given(&host.dns), given(&host.dns_search), given(&host.dns_options));
    if servers.is_empty() && search.is_empty() && options.is_empty() {
        return own;
    }
    let of_host = |key: &str| -> Vec<String> {
        let text = String::from_utf8_lossy(&own).into_owned();
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix(key).map(|rest| rest.trim().to_owned()));
        lines.flat_map(|rest| rest.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
    };
    let or_host = |given: Vec<String>, key: &str| if given.is_empty() { of_host(key) } else { given };
    let mut text = String::new();
    let search = or_host(search, "search ");
    if !search.is_empty() && search != ["."] {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    for server in or_host(servers, "nameserver ") {
        text.push_str(&format!("nameserver {server}\n"));
    }
    let options = or_host(options, "options ");
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    text.into_bytes()
}
