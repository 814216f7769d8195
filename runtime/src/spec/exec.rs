//! One more process in a container: the container's own, but for what somebody wants otherwise (moby v20.10.24 `daemon/exec.go`,
//! `daemon/exec_linux.go`).

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxCapabilities, LinuxCapabilitiesBuilder, Process, Spec, User};

use super::SpecError;
use crate::accounts::Accounts;
use crate::capability;

/// What somebody wants of one more process in a container, in the terms of `docker exec`.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Exec {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=value`; a name without a value is removed.
    pub env: Vec<String>,
    /// The working directory; empty for the container's.
    pub cwd: String,
    /// `name`, `uid`, `name:group`, ...; resolved in the files of the container. Empty for the container's.
    pub user: String,
    /// Whether it has all capabilities.
    pub privileged: bool,
    /// Whether it has a terminal.
    pub tty: bool,
}

/// The process that is run in a container of this specification, whose root is seen at `root`.
///
/// # Errors
/// [`SpecError`] for a user or a group that the container does not know.
pub fn exec(spec: &Spec, root: &Path, wanted: &Exec) -> Result<Process, SpecError> {
    let mut process = spec.process().clone().unwrap_or_default();
    let mut env = process.env().clone().unwrap_or_default();
    if wanted.tty && !env.iter().any(|entry| name(entry) == "TERM") {
        env.push("TERM=xterm".into());
    }
    super::replace(&mut env, &wanted.env);
    process.set_args(Some(wanted.args.clone())).set_env(Some(env)).set_terminal(Some(wanted.tty));
    if !wanted.cwd.is_empty() {
        process.set_cwd(PathBuf::from(&wanted.cwd));
    }
    if !wanted.user.is_empty() {
        let identity = Accounts::read(root).identity(&wanted.user, &[])?;
        let mut user = User::default();
        user.set_uid(identity.uid).set_gid(identity.gid).set_additional_gids(Some(identity.groups));
        process.set_user(user);
    }
    if wanted.privileged {
        let all = super::fit::fit(&capability::tweak(&[], &[], true)?.into())?;
        process.set_capabilities(Some(with_all(all)));
    }
    Ok(process)
}

fn name(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

fn with_all(all: oci_spec::runtime::Capabilities) -> LinuxCapabilities {
    let none = oci_spec::runtime::Capabilities::default();
    LinuxCapabilitiesBuilder::default()
        .bounding(all.clone())
        .permitted(all.clone())
        .effective(all)
        .inheritable(none.clone())
        .ambient(none)
        .build()
        .expect("each of the five sets is given")
}
