//! Making a container: what dockerd does with a request (moby v20.10.24 `daemon/create.go`, `daemon/container.go`).

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use runtime::Runtime;
use rustix::io::Errno;
use snapshot::catalog::{Catalog, Resolved};
use snapshot::driver::MountGuard;
use snapshot::edit::{NewContainer, Transaction, WriteOptions};
use snapshot::ids::{CacheId, ContainerId};
use snapshot::platform::Platform;
use snapshot::root::DataRoot;
use snapshot::schema::config::ImageConfig;
use snapshot::schema::container::{ContainerFiles, open_own};
use snapshot::schema::containerfile::{
    ConfigFile, EndpointSettings, Given, HostConfig, MountPointFile, NetworkSettings, Preset, StateFile,
};
use snapshot::schema::gojson::StrSlice;
use snapshot::schema::runconfig::RunConfig;
use snapshot::schema::time::Time;
use snapshot::schema::volume;

use crate::mounts::{MountPoints, clean};
use crate::namespace::own_mounts;
use crate::settle::settle;
use crate::volume_options::mount_volume;
use crate::{ContainerError, inside, limits, names};

/// How long a command waits for another one that writes to the store.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A request for a container: the config and the host config as docker's client sends them.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The name; `None` for one that is drawn.
    pub name: Option<String>,
    /// `Config`, with the image as it was typed.
    pub config: RunConfig,
    /// `HostConfig`
    pub host: HostConfig,
    /// The platform that the image must be for.
    pub platform: Option<Platform>,
    /// Nothing counts that the image's config says: only its files.
    pub bare: bool,
    /// The runtime that is to start it, which must be there; nothing for any.
    pub runtime: String,
}

/// Opens a root to change its containers, and reads what it says of them, and of the images that are named.
pub(crate) fn open(
    root: &Path,
    driver: Option<&'static str>,
    images: &[&str],
) -> Result<(Transaction, Catalog), ContainerError> {
    // Fails if there is no root: this must not make one.
    DataRoot::find(root, driver)?;
    let options = WriteOptions { driver, ..WriteOptions::default() };
    let mut transaction = Transaction::begin_waiting(root, options, PATIENCE)?;
    let read = || Catalog::read_containers(&DataRoot::find(root, driver)?, images);
    let mut catalog = read()?;
    if settle(&mut transaction, &catalog)? {
        catalog = read()?;
    }
    Ok((transaction, catalog))
}

/// Makes a container. This thread has a mount namespace of its own from then on, so that the layers which are mounted
/// meanwhile do not stay mounted if the process is killed: no command writes to a root with a mount in it.
///
/// # Errors
/// [`ContainerError`]; nothing is left of it then.
pub fn create(root: &Path, driver: Option<&'static str>, request: Request) -> Result<ContainerId, ContainerError> {
    // Before any directory is opened: nothing can be mounted at one of another namespace. Whoever may not do this may not mount
    // either, and with some drivers need not.
    let _ = own_mounts();
    let (mut transaction, catalog) = open(root, driver, &[&request.config.image])?;
    let Request { name, mut config, mut host, platform, bare, runtime } = request;
    let Resolved::Image(image) = catalog.resolve(&config.image) else {
        return Err(ContainerError::NoImage(config.image));
    };
    let bytes =
        transaction.root().images().config(image)?.ok_or_else(|| ContainerError::NoImage(config.image.clone()))?;
    let parsed = ImageConfig::parse(&bytes).map_err(|error| ContainerError::Invalid(error.to_string()))?;
    if let Some(wanted) = platform {
        let image = config.image.clone();
        wanted
            .takes(&parsed)
            .map_err(|found| ContainerError::Platform { image, platforms: Box::new([wanted.clone(), found]) })?;
    }
    let fields = parsed.fields;
    merge(&mut config, &fields.config.filter(|_| !bare).unwrap_or_default())?;
    let id: ContainerId = CacheId::random().as_str().parse().expect("64 digits are a name");
    let is_named = name.is_some();
    let name = names::choose(&catalog, name.as_deref(), &id)?;
    complete(&mut config, &mut host, &id)?;
    Runtime::find(&runtime, Path::new("/"))?;
    for mode in [&host.pid_mode, &host.ipc_mode] {
        if let Some(other) = mode.strip_prefix("container:") {
            names::find(&catalog, other)?;
        }
    }
    let from = volumes_from(&transaction, &catalog, &host)?;
    let root_path = transaction.root().dir().path().to_path_buf();
    let mounts = MountPoints::collect(&root_path, &catalog, &config, &host, from)?;
    let layer = catalog.images().get(&image).and_then(|image| layerfs::ChainId::chain(&image.diff_ids).last().copied());
    let new = NewContainer { id: id.clone(), layer, volumes: mounts.new.clone() };
    transaction.add_container(&new, |mounted| {
        make_working_directory(mounted, &config)?;
        copy_up(&root_path, mounted, &mounts)?;
        make_sources(&mounts)?;
        Ok::<_, ContainerError>(files(
            &id,
            &name,
            is_named,
            &image.to_string(),
            config,
            host,
            mounts,
            driver_of(&catalog),
        ))
    })?;
    Ok(id)
}

fn driver_of(catalog: &Catalog) -> String {
    catalog.driver().to_owned()
}

/// Checks the settings of a container, and completes them.
pub(crate) fn complete(config: &mut RunConfig, host: &mut HostConfig, id: &ContainerId) -> Result<(), ContainerError> {
    check(config, host)?;
    fill_host(host);
    if config.hostname.is_empty() {
        config.hostname = if host.network_mode == "host" { own_name() } else { id.short().to_owned() };
    }
    Ok(())
}

/// Makes the directory that a container's command works in.
pub(crate) fn make_working_directory(mounted: &MountGuard, config: &RunConfig) -> Result<(), ContainerError> {
    let destination = clean(&config.working_dir);
    if destination.is_empty() || destination == "/" {
        return Ok(());
    }
    let made = inside::make(mounted.dir(), destination.as_bytes());
    made.map(drop).map_err(|errno| match errno {
        Errno::NOTDIR | Errno::EXIST => {
            ContainerError::Invalid(format!("Cannot mkdir: {destination} is not a directory"))
        }
        errno => ContainerError::io("making", &destination)(errno),
    })
}

/// The files of a container that was never started.
#[allow(clippy::too_many_arguments, reason = "the parts of a container")]
pub(crate) fn files(
    id: &ContainerId,
    name: &str,
    is_named: bool,
    image: &str,
    config: RunConfig,
    host: HostConfig,
    mounts: MountPoints,
    driver: String,
) -> ContainerFiles {
    let entrypoint = config.entrypoint.0.clone().unwrap_or_default();
    let mut words = entrypoint.into_iter().chain(config.cmd.0.clone().unwrap_or_default());
    let path = words.next().unwrap_or_default();
    let network = host.network_mode.clone();
    let network = if network == "default" { "bridge".to_owned() } else { network };
    let settings = NetworkSettings {
        networks: Some([(network, Some(EndpointSettings::default()))].into()),
        is_anonymous_endpoint: !is_named,
        ..NetworkSettings::default()
    };
    let security = host.security_opt.clone().unwrap_or_default();
    let option = |name: &str| {
        let value =
            |text: &String| text.strip_prefix(name).and_then(|rest| rest.strip_prefix(['=', ':'])).map(str::to_owned);
        security.iter().find_map(value).unwrap_or_default()
    };
    let config = ConfigFile {
        state: Preset(Some(StateFile::default())),
        id: Given(Some(id.to_string())),
        created: Time::from(Timestamp::now()),
        path,
        args: words.collect(),
        config: Some(config),
        image: image.to_owned(),
        network_settings: Some(settings),
        name: name.to_owned(),
        driver,
        os: "linux".into(),
        mount_points: mounts.points,
        seccomp_profile: option("seccomp"),
        no_new_privileges: security.iter().rev().find_map(|text| no_new_privileges(text)).unwrap_or(false),
        ..ConfigFile::default()
    };
    ContainerFiles { config, host }
}

/// What the image says, where the user says nothing (moby v20.10.24 `image/image.go`, `daemon/commit.go: merge`).
pub(crate) fn merge(config: &mut RunConfig, image: &RunConfig) -> Result<(), ContainerError> {
    if config.user.is_empty() {
        config.user.clone_from(&image.user);
    }
    if let Some(ports) = &image.exposed_ports {
        let own = config.exposed_ports.get_or_insert_default();
        for port in ports.keys() {
            own.entry(port.clone()).or_default();
        }
    }
    let key = |text: &str| text.split('=').next().unwrap_or_default().to_owned();
    match &mut config.env {
        Some(own) if !own.is_empty() => {
            let known: HashSet<String> = own.iter().map(|text| key(text)).collect();
            let more = image.env.iter().flatten().filter(|text| !known.contains(&key(text))).cloned();
            own.extend(more);
        }
        env => env.clone_from(&image.env),
    }
    if let Some(labels) = &image.labels {
        let own = config.labels.get_or_insert_default();
        for (name, value) in labels {
            own.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    config.labels.get_or_insert_default();
    if config.entrypoint.0.as_ref().is_none_or(Vec::is_empty) {
        if config.cmd.0.as_ref().is_none_or(Vec::is_empty) {
            config.cmd = image.cmd.clone();
        }
        if config.entrypoint.0.is_none() {
            config.entrypoint = image.entrypoint.clone();
        }
    }
    // `--entrypoint ""` is a list of one empty text, and means none.
    if config.entrypoint.0.as_ref().is_some_and(|words| words.len() == 1 && words[0].is_empty()) {
        config.entrypoint = StrSlice(None);
    }
    if let Some(test) = &image.healthcheck {
        match &mut config.healthcheck {
            None => config.healthcheck = Some(test.clone()),
            Some(own) => {
                if own.test.as_ref().is_none_or(Vec::is_empty) {
                    own.test.clone_from(&test.test);
                }
                for (own, image) in [
                    (&mut own.interval, test.interval),
                    (&mut own.timeout, test.timeout),
                    (&mut own.start_period, test.start_period),
                    (&mut own.retries, test.retries),
                ] {
                    if *own == 0 {
                        *own = image;
                    }
                }
            }
        }
    }
    if config.working_dir.is_empty() {
        config.working_dir.clone_from(&image.working_dir);
    }
    if let Some(volumes) = &image.volumes {
        let own = config.volumes.get_or_insert_default();
        for volume in volumes.keys() {
            own.entry(volume.clone()).or_default();
        }
    }
    if config.stop_signal.is_empty() {
        config.stop_signal.clone_from(&image.stop_signal);
    }
    let is_empty = |words: &StrSlice| words.0.as_ref().is_none_or(Vec::is_empty);
    if is_empty(&config.entrypoint) && is_empty(&config.cmd) {
        return Err(ContainerError::Invalid("No command specified".into()));
    }
    Ok(())
}

/// What a security option says of new privileges, its value as Go's `strconv.ParseBool` reads it.
fn no_new_privileges(option: &str) -> Option<bool> {
    let value = option.strip_prefix("no-new-privileges")?;
    match value.strip_prefix(['=', ':']) {
        None if value.is_empty() => Some(true),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Some(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Some(false),
        _ => None,
    }
}

/// dockerd's checks of a request (`daemon/container.go: verifyContainerSettings`, `daemon/daemon_unix.go`).
fn check(config: &RunConfig, host: &HostConfig) -> Result<(), ContainerError> {
    let invalid = |message: String| Err(ContainerError::Invalid(message));
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        ));
    }
    // dockerd takes any number, also of no signal.
    let is_signal =
        |text: &str| runtime::signal_number(text).is_some() || text.parse::<i32>().is_ok_and(|number| number != 0);
    if !config.stop_signal.is_empty() && !is_signal(&config.stop_signal) {
        return invalid(format!("Invalid signal: {}", config.stop_signal));
    }
    if let Some(entry) = config.env.iter().flatten().find(|entry| entry.starts_with('=') || entry.is_empty()) {
        return invalid(format!("invalid environment variable: {entry}"));
    }
    match host.network_mode.as_str() {
        "" | "none" | "host" => {}
        other => return invalid(format!("network {other} not found")),
    }
    let policy = &host.restart_policy;
    match policy.name.as_str() {
        "always" | "unless-stopped" | "no" if policy.maximum_retry_count != 0 => {
            return invalid(format!("maximum retry count cannot be used with restart policy '{}'", policy.name));
        }
        "on-failure" if policy.maximum_retry_count < 0 => {
            return invalid("maximum retry count cannot be negative".into());
        }
        "" | "no" | "always" | "unless-stopped" | "on-failure" => {}
        other => return invalid(format!("invalid restart policy '{other}'")),
    }
    limits::check(config, host)?;
    if !matches!(host.log_config.kind.as_str(), "" | "json-file" | "none") {
        let driver = &host.log_config.kind;
        return invalid(format!("error looking up logging plugin {driver}: plugin {driver:?} not found"));
    }
    for text in host.security_opt.iter().flatten() {
        let name = text.split(['=', ':']).next().unwrap_or_default();
        if !matches!(name, "seccomp" | "apparmor" | "label" | "no-new-privileges") {
            return invalid(format!("invalid --security-opt 2: {text:?}"));
        }
        if name == "no-new-privileges" && no_new_privileges(text).is_none() {
            return invalid(format!("invalid --security-opt 2: {text:?}"));
        }
    }
    let mut settings = runtime::Settings::new("x", "/nowhere", vec!["x".into()]);
    settings.cap_add = host.cap_add.0.clone().unwrap_or_default();
    settings.cap_drop = host.cap_drop.0.clone().unwrap_or_default();
    match runtime::spec::make(&settings) {
        Err(error @ runtime::spec::SpecError::UnknownCapability { .. }) => Err(error.into()),
        _ => Ok(()),
    }
}

/// What dockerd fills in (`daemon/daemon_unix.go: adaptContainerSettings`).
fn fill_host(host: &mut HostConfig) {
    let set = |text: &mut String, value: &str| {
        if text.is_empty() {
            value.clone_into(text);
        }
    };
    set(&mut host.network_mode, "none");
    set(&mut host.log_config.kind, "json-file");
    host.log_config.config.get_or_insert_default();
    set(&mut host.restart_policy.name, "no");
    set(&mut host.ipc_mode, "private");
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    set(&mut host.cgroupns_mode, if unified && !host.privileged { "private" } else { "host" });
    set(&mut host.runtime, "runc");
    if host.shm_size == 0 {
        host.shm_size = 64 << 20;
    }
    if host.memory > 0 && host.memory_swap == 0 {
        host.memory_swap = host.memory.saturating_mul(2);
    }
    host.oom_kill_disable.get_or_insert(false);
    let texts = |paths: &[&str]| Some(paths.iter().map(|path| (*path).to_owned()).collect());
    if !host.privileged {
        if host.masked_paths.is_none() {
            host.masked_paths = texts(&runtime::spec::MASKED);
        }
        if host.readonly_paths.is_none() {
            host.readonly_paths = texts(&runtime::spec::READONLY);
        }
    }
    if host.privileged || host.pid_mode == "host" || host.ipc_mode == "host" {
        let options = host.security_opt.get_or_insert_default();
        if !options.iter().any(|option| option.starts_with("label")) {
            options.push("label=disable".into());
        }
    }
}

fn own_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The mount points of other containers.
fn volumes_from(
    transaction: &Transaction,
    catalog: &Catalog,
    host: &HostConfig,
) -> Result<Vec<(MountPointFile, bool)>, ContainerError> {
    let mut all = Vec::new();
    for text in host.volumes_from.iter().flatten() {
        let (name, mode) = text.split_once(':').unwrap_or((text, "rw"));
        let invalid = |why: &str| Err(ContainerError::Invalid(why.to_owned()));
        if text.is_empty() {
            return invalid("volumes-from specification cannot be an empty string");
        }
        if !matches!(mode, "rw" | "ro" | "z" | "Z") {
            return invalid(&format!("invalid mode: {mode}"));
        }
        if name.is_empty() {
            return invalid("invalid name or ID supplied: \"\"");
        }
        let other = names::find(catalog, name)?;
        let files = read(transaction.root().dir(), &other.id)?;
        let points = files.config.mount_points.into_values().flatten();
        all.extend(points.map(|point| (point, mode != "ro")));
    }
    Ok(all)
}

/// Reads the files of a container.
pub(crate) fn read(root: &snapshot::dir::Dir, id: &ContainerId) -> Result<ContainerFiles, ContainerError> {
    let own = open_own(root, id)?.ok_or_else(|| ContainerError::NoContainer(id.to_string()))?;
    ContainerFiles::read(&own).map_err(|fault| ContainerError::Invalid(format!("container {id}: {fault}")))
}

/// Fills empty volumes with what the image has at their places.
fn copy_up(root: &Path, mounted: &MountGuard, mounts: &MountPoints) -> Result<(), ContainerError> {
    for (destination, name) in &mounts.filled {
        let found = inside::open(mounted.dir(), destination.as_bytes());
        if found.as_ref().err() == Some(&Errno::NOENT) {
            continue;
        }
        // One with options is mounted for as long as it is filled.
        let _mounted = mount_volume(root, name)?;
        let data = volume::content_path(root, name);
        let to = std::fs::File::open(&data).map_err(ContainerError::io("opening", &data))?;
        if std::fs::read_dir(&data).map_err(ContainerError::io("reading", &data))?.next().is_some() {
            continue;
        }
        let from = match found {
            Ok(from) => from,
            Err(Errno::NOTDIR) => {
                let source = mounted.path().join(destination.trim_start_matches('/'));
                return Err(ContainerError::Invalid(format!("source {} is not directory", source.display())));
            }
            Err(errno) => return Err(ContainerError::io("opening", destination)(errno)),
        };
        layerfs::copy_tree(&from, &to).map_err(ContainerError::io("copying to", &data))?;
    }
    Ok(())
}

/// Makes the directories of the host that `-v` names and that do not exist.
fn make_sources(mounts: &MountPoints) -> Result<(), ContainerError> {
    for point in mounts.points.values().flatten() {
        if point.kind == "bind" && !point.skip_mountpoint_creation {
            std::fs::create_dir_all(&point.source)
                .map_err(|error| match error.kind() {
                    std::io::ErrorKind::AlreadyExists => None,
                    _ => Some(ContainerError::io("making", &point.source)(error)),
                })
                .or_else(|error| error.map_or(Ok(()), Err))?;
        }
    }
    Ok(())
}
