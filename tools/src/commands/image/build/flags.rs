//! The flags of `build` (docker/cli v20.10.24 `cli/command/image/build.go`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use build::Options;

use crate::commands::image::change::new_name;
use crate::exit::UsageError;
use crate::registries::SourceFlags;
use crate::unsupported::unsupported;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory with the files, or `-` for a tar of them or a Dockerfile on standard input
    #[arg(value_name = "PATH|-")]
    pub(super) context: String,

    /// Add a line to /etc/hosts of commands: NAME:IP
    #[arg(long, value_name = "NAME:IP")]
    add_host: Vec<String>,

    /// A build argument: NAME=VALUE, or NAME for the value of the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,

    /// Build as docker's classic builder does, which is the only way here
    #[arg(long)]
    classic: bool,

    /// The Dockerfile, or `-` for standard input [default: PATH/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    pub(super) file: Option<String>,

    /// Always remove the containers of commands, even if they fail
    #[arg(long)]
    force_rm: bool,

    /// Write the id of the image to a file
    #[arg(long, value_name = "FILE")]
    pub(super) iidfile: Option<PathBuf>,

    /// A label of the image: NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,

    /// The network of commands: none or host
    #[arg(long, value_name = "NETWORK", default_value = "default", hide_default_value = true)]
    network: String,

    /// Run every step, even one that was built before
    #[arg(long)]
    no_cache: bool,

    /// Image to fetch of a base that has several, unless FROM says another platform [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,

    /// Fetch every base image, even one that is there
    #[arg(long)]
    pull: bool,

    /// Print only the id of the image
    #[arg(short, long)]
    pub(super) quiet: bool,

    /// Remove the containers of commands when they have succeeded
    #[arg(long, default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true,
          action = clap::ArgAction::Set, value_parser = crate::flags::parse_bool)]
    rm: bool,

    /// Runtime of commands: auto, builtin, or a program's name or path
    #[arg(long, default_value = "auto")]
    runtime: String,

    /// Size of /dev/shm of commands
    #[arg(long, value_name = "BYTES")]
    shm_size: Option<String>,

    /// A name of the image
    #[arg(short, long, value_name = "NAME[:TAG]")]
    tag: Vec<String>,

    /// Stop after the stage of this name
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,

    /// Do not wait until the data is on the disk
    #[arg(long)]
    no_sync: bool,

    #[command(flatten)]
    pub(super) registry: SourceFlags,

    #[command(flatten)]
    unsupported: Unsupported,
}

unsupported! {
    struct Unsupported;
    switches: compress disable_content_trust squash stream;
    values: cache_from cgroup_parent cpu_period cpu_quota cpu_shares cpuset_cpus cpuset_mems isolation memory memory_swap
        output progress secret security_opt ssh ulimit
}

impl Args {
    /// Refuses a flag of docker's by its name.
    pub(super) fn refuse_unsupported(&self) -> Result<(), UsageError> {
        self.unsupported.refuse()
    }

    /// What is built. An error is docker's message about a value.
    pub(super) fn options(&self) -> Result<Options, String> {
        let tag = |text: &String| {
            new_name(text).map_err(|reason| {
                format!("invalid argument {} for \"-t, --tag\" flag: {reason}", docker_format::quoted(text))
            })
        };
        let network = match self.network.as_str() {
            "default" | "" | "none" => "none",
            other => other,
        };
        let argument = |text: &String| match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (text.clone(), std::env::var(text).ok()),
        };
        let label = |text: &String| {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            (key.to_owned(), value.to_owned())
        };
        let size = |text: &String| {
            let invalid = || {
                format!(
                    "invalid argument {} for \"--shm-size\" flag: invalid size: {}",
                    docker_format::quoted(text),
                    docker_format::quoted(text)
                )
            };
            docker_format::size::ram_in_bytes(text).ok_or_else(invalid)
        };
        // The classic builder is the only one here, so the flag changes nothing.
        let _ = self.classic;
        Ok(Options {
            tags: self.tag.iter().map(tag).collect::<Result<_, _>>()?,
            arguments: self.build_arg.iter().map(argument).collect::<BTreeMap<_, _>>(),
            labels: self.label.iter().map(label).collect(),
            target: self.target.clone().filter(|target| !target.is_empty()),
            cache: !self.no_cache,
            remove: self.rm,
            remove_failed: self.force_rm,
            network: network.to_owned(),
            hosts: self.add_host.clone(),
            shm_size: self.shm_size.as_ref().map(size).transpose()?.unwrap_or_default(),
            runtime: self.runtime.clone(),
            platform: self.platform.clone().filter(|platform| !platform.is_empty()),
            pull: self.pull,
            sync: !self.no_sync,
        })
    }
}
