//! What docker's client makes of the flags of `create` and `run`.

use std::collections::BTreeMap;

use containers::Request;
use containers::ports::{exposed, published};
use images::source::Platform;
use snapshot::schema::containerfile::{HostConfig, Ulimit};
use snapshot::schema::gojson::{Empty, StrSlice};
use snapshot::schema::runconfig::{HealthConfig, RunConfig};

use super::CreateFlags;
use super::checks::is_own_parameter;
use super::values::{
    bytes, device, domain, duration, environment, has_source, invalid, label, lines_of, mount, nano_cpus, pairs, read,
    some, ulimit, without_repeats,
};

impl CreateFlags {
    pub(crate) fn image(&self) -> &str {
        &self.image
    }

    /// Whether a daemon would start the container again when it ends.
    pub(crate) fn is_restarted(&self) -> bool {
        !matches!(self.restart.as_str(), "" | "no")
    }

    /// The platform that is wanted. docker's client reads it later than all other flags, when it has begun to make the container.
    pub(crate) fn wanted_platform(&self) -> anyhow::Result<Option<Platform>> {
        let platform = self.platform.as_deref().filter(|text| !text.is_empty()).map(build::parse_platform).transpose();
        platform.map_err(|reason| anyhow::anyhow!("error parsing specified platform: {reason}"))
    }

    /// What docker's client asks the daemon for, but for the [platform](Self::wanted_platform).
    pub(crate) fn request(&self, detach: bool, is_run: bool) -> anyhow::Result<Request> {
        self.unsupported.refuse()?;
        self.check()?;
        Ok(Request {
            platform: None,
            name: self.name.clone().filter(|name| !name.is_empty()),
            config: self.config(detach, is_run)?,
            host: self.host()?,
            bare: false,
            runtime: self.runtime.clone(),
        })
    }

    fn config(&self, detach: bool, is_run: bool) -> anyhow::Result<RunConfig> {
        let attached = |name: &str| self.attach.iter().any(|stream| stream.eq_ignore_ascii_case(name));
        let given = !self.attach.is_empty();
        let env = environment(&self.env_file, &self.env)?;
        let mut labels = lines_of(&self.label_file, |_| None)?;
        for text in &self.label {
            labels.push(label(text)?);
        }
        let volumes: BTreeMap<String, Empty> =
            self.volume.iter().filter(|text| !has_source(text)).map(|text| (text.clone(), Empty)).collect();
        let mut ports: BTreeMap<String, Empty> = BTreeMap::new();
        for text in &self.expose {
            ports.extend(exposed(text).map_err(anyhow::Error::msg)?.into_iter().map(|port| (port, Empty)));
        }
        for text in &self.publish {
            ports.extend(published(text).map_err(anyhow::Error::msg)?.into_iter().map(|(port, _)| (port, Empty)));
        }
        let stdin = self.interactive && !detach;
        let mut config = RunConfig {
            hostname: self.hostname.clone(),
            domainname: self.domainname.clone(),
            user: self.user.clone(),
            attach_stdin: if given { attached("stdin") } else { stdin },
            attach_stdout: if given { attached("stdout") } else { !detach },
            attach_stderr: if given { attached("stderr") } else { !detach },
            exposed_ports: (!ports.is_empty()).then_some(ports),
            tty: self.tty,
            open_stdin: self.interactive,
            stdin_once: if given { self.interactive && attached("stdin") } else { stdin },
            env: (!env.is_empty()).then_some(env),
            cmd: StrSlice((!self.command.is_empty()).then(|| self.command.clone())),
            image: self.image.clone(),
            volumes: (!volumes.is_empty()).then_some(volumes),
            working_dir: self.workdir.clone(),
            entrypoint: StrSlice(self.entrypoint.clone().map(|program| vec![program])),
            mac_address: self.mac_address.clone(),
            labels: Some(pairs(&labels)),
            stop_signal: self.stop_signal.clone(),
            stop_timeout: self.stop_timeout,
            ..RunConfig::default()
        };
        let _ = is_run;
        config.healthcheck = self.health()?;
        Ok(config)
    }

    fn health(&self) -> anyhow::Result<Option<HealthConfig>> {
        if self.no_healthcheck {
            let times = [&self.health_interval, &self.health_timeout, &self.health_start_period];
            if !self.health_cmd.is_empty() || self.health_retries != 0 || times.iter().any(|time| *time != "0s") {
                anyhow::bail!("--no-healthcheck conflicts with --health-* options");
            }
            return Ok(Some(HealthConfig { test: Some(vec!["NONE".into()]), ..HealthConfig::default() }));
        }
        let health = HealthConfig {
            test: (!self.health_cmd.is_empty()).then(|| vec!["CMD-SHELL".to_owned(), self.health_cmd.clone()]),
            interval: duration("--health-interval", &self.health_interval)?,
            timeout: duration("--health-timeout", &self.health_timeout)?,
            start_period: duration("--health-start-period", &self.health_start_period)?,
            retries: self.health_retries,
        };
        Ok((health != HealthConfig::default()).then_some(health))
    }

    fn host(&self) -> anyhow::Result<HostConfig> {
        let mut host = HostConfig {
            binds: some(&without_repeats(self.volume.iter().filter(|text| has_source(text)))),
            network_mode: self.network.clone().unwrap_or_else(|| "none".into()),
            auto_remove: self.rm,
            volume_driver: self.volume_driver.clone(),
            volumes_from: some(&self.volumes_from),
            cap_add: StrSlice(some(&self.cap_add)),
            cap_drop: StrSlice(some(&self.cap_drop)),
            cgroupns_mode: self.cgroupns.clone(),
            dns: Some(self.dns.clone()),
            dns_options: Some(self.dns_option.clone()),
            dns_search: Some(self.dns_search.iter().map(|text| domain(text)).collect::<anyhow::Result<_>>()?),
            extra_hosts: some(&self.add_host),
            group_add: some(&self.group_add),
            ipc_mode: self.ipc.clone(),
            oom_score_adj: self.oom_score_adj,
            pid_mode: self.pid.clone(),
            privileged: self.privileged,
            publish_all_ports: self.publish_all,
            readonly_rootfs: self.read_only,
            uts_mode: self.uts.clone(),
            cpu_shares: self.cpu_shares,
            cgroup_parent: self.cgroup_parent.clone(),
            blkio_weight: self.blkio_weight,
            blkio_weight_device: Some(Vec::new()),
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            device_cgroup_rules: some(&self.device_cgroup_rule),
            pids_limit: self.pids_limit.filter(|limit| *limit != 0),
            memory_swappiness: (self.memory_swappiness != -1).then_some(self.memory_swappiness),
            init: self.init.then_some(true),
            ..HostConfig::default()
        };
        host.log_config.kind.clone_from(&self.log_driver);
        host.log_config.config = Some(pairs(&self.log_opt));
        if self.log_driver == "none" && !self.log_opt.is_empty() {
            anyhow::bail!("invalid logging opts for driver none");
        }
        if self.oom_kill_disable {
            host.oom_kill_disable = Some(true);
        }
        if let Some(text) = &self.cpus {
            host.nano_cpus = nano_cpus(text).map_err(|why| invalid("--cpus", text, why))?;
        }
        if let Some(text) = &self.memory {
            host.memory = bytes("-m, --memory", text)?;
        }
        if let Some(text) = &self.memory_reservation {
            host.memory_reservation = bytes("--memory-reservation", text)?;
        }
        match self.memory_swap.as_deref() {
            Some("-1") => host.memory_swap = -1,
            Some(text) => host.memory_swap = bytes("--memory-swap", text)?,
            None => {}
        }
        if let Some(text) = &self.shm_size {
            host.shm_size = bytes("--shm-size", text)?;
        }
        host.port_bindings = Some(BTreeMap::new());
        for text in &self.publish {
            for (port, binding) in published(text).map_err(anyhow::Error::msg)? {
                let bindings = host.port_bindings.get_or_insert_default();
                bindings.entry(port).or_default().get_or_insert_default().push(binding);
            }
        }
        self.restart_policy(&mut host)?;
        self.security(&mut host)?;
        for text in &self.add_host {
            let address = text.split_once(':').filter(|(name, _)| !name.is_empty()).map(|(_, address)| address);
            if address.is_none_or(|address| address != "host-gateway" && address.parse::<std::net::IpAddr>().is_err()) {
                let why = match address {
                    None => format!("bad format for add-host: {text:?}"),
                    Some(address) => format!("invalid IP address in add-host: {address:?}"),
                };
                return Err(invalid("--add-host", text, why));
            }
        }
        for text in &self.dns {
            if text.trim().parse::<std::net::IpAddr>().is_err() {
                return Err(invalid("--dns", text, format!("{text} is not an ip address")));
            }
        }
        if !self.tmpfs.is_empty() {
            let pair = |text: &String| {
                let (path, options) = text.split_once(':').unwrap_or((text, ""));
                (path.to_owned(), options.to_owned())
            };
            host.tmpfs = Some(self.tmpfs.iter().map(pair).collect());
        }
        if !self.sysctl.is_empty() {
            for text in &self.sysctl {
                if !is_own_parameter(text) {
                    return Err(invalid("--sysctl", text, format!("sysctl '{text}' is not whitelisted")));
                }
            }
            host.sysctls = Some(pairs(&self.sysctl));
        }
        host.devices = Some(self.device.iter().map(|text| device(text)).collect::<anyhow::Result<_>>()?);
        if !self.ulimit.is_empty() {
            let mut limits: BTreeMap<String, Ulimit> = BTreeMap::new();
            for text in &self.ulimit {
                let limit = ulimit(text)?;
                limits.insert(limit.name.clone(), limit);
            }
            host.ulimits = Some(limits.into_values().map(Some).collect());
        }
        if !self.mount.is_empty() {
            host.mounts = Some(self.mount.iter().map(|text| mount(text)).collect::<anyhow::Result<_>>()?);
        }
        Ok(host)
    }

    fn restart_policy(&self, host: &mut HostConfig) -> anyhow::Result<()> {
        let (name, most) =
            self.restart.split_once(':').map_or((&*self.restart, None), |(name, most)| (name, Some(most)));
        name.clone_into(&mut host.restart_policy.name);
        if let Some(most) = most {
            if most.contains(':') {
                anyhow::bail!("invalid restart policy format");
            }
            host.restart_policy.maximum_retry_count =
                most.parse().map_err(|_| anyhow::anyhow!("maximum retry count must be an integer"))?;
        }
        if self.rm && !matches!(host.restart_policy.name.as_str(), "no" | "") {
            anyhow::bail!("Conflicting options: --restart and --rm");
        }
        Ok(())
    }

    fn security(&self, host: &mut HostConfig) -> anyhow::Result<()> {
        let mut options = Vec::new();
        for text in &self.security_opt {
            let parts = text.split_once('=').or_else(|| text.split_once(':'));
            if parts.is_none() && text != "no-new-privileges" {
                anyhow::bail!("Invalid --security-opt: {text:?}");
            }
            match parts.unwrap_or((text, "")) {
                ("systempaths", "unconfined") => {
                    (host.masked_paths, host.readonly_paths) = (Some(Vec::new()), Some(Vec::new()));
                }
                ("seccomp", file) if file != "unconfined" => {
                    let bytes = read(std::path::Path::new(file))
                        .map_err(|why| anyhow::anyhow!("opening seccomp profile ({file}) failed: {why}"))?;
                    let profile: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| {
                        anyhow::anyhow!("compacting json for seccomp profile ({file}) failed: {error}")
                    })?;
                    options.push(format!("seccomp={profile}"));
                }
                _ => options.push(text.clone()),
            }
        }
        if !self.security_opt.is_empty() {
            host.security_opt = Some(options);
        }
        Ok(())
    }
}
