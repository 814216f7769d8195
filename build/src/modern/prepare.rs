//! What `--mount` gives a command: directories and files that are made for it, and volumes that stay.

use std::fs::File;
use std::io::BufRead;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use images::copy::CopySource;
use images::export::{ExportForm, Exporter};
use images::tree::{Tree, read_tree};
use layerfs::apply::{Ownership, Target, WhiteoutMode};
use layerfs::{Source, Unpacking};
use rustix::fs::{Mode, OFlags};
use serde_json::{Value, json};
use snapshot::schema::containerfile::{HostConfig, ServiceMount};

use super::Builder;
use super::fingerprint::fingerprint;
use super::graph::From;
use super::pick::pick;
use super::run::{Secret, pipes};
use super::stage::name_of;
use crate::BuildError;
use crate::instruction::mount::{Kind, Mount};
use crate::parser::Heredoc;
use crate::source::{Picked, SourceTree};

/// What a mounted tree is called in its temporary directory.
const NAME: &[u8] = b"x";

impl Builder<'_, '_> {
    /// What a layer depends on of a mount.
    pub(super) fn mount_key(&mut self, mount: &Mount) -> Result<Value, BuildError> {
        let kind = format!("{:?}", mount.kind);
        let content = match mount.kind {
            Kind::Bind => self.with_source(mount, |from, layers| match layers {
                Some(layers) => Ok(json!([mount.source, layers])),
                None => {
                    let found = pick(&[source_of(mount)], from, false)?;
                    let one = &found[0];
                    Ok(json!(fingerprint(from, &one.path, one.id, &|_| true)?))
                }
            })?,
            _ => json!(mount.id),
        };
        Ok(json!([kind, mount.target, mount.writable, mount.mode, mount.uid, mount.gid, mount.env, content]))
    }

    /// Calls `work` with the tree that a mount is from, and the layers of its stage, if it is not the context.
    pub(super) fn with_source<T>(
        &mut self,
        mount: &Mount,
        work: impl FnOnce(&SourceTree<'_>, Option<Value>) -> Result<T, BuildError>,
    ) -> Result<T, BuildError> {
        if mount.from.is_empty() {
            return work(&self.shared.context, None);
        }
        let image = match self.shared.needed.from(&mount.from, self.number)? {
            From::Stage(number) => self.shared.together.wait_for(number)?.image,
            From::Context(name) => return work(&self.named(&name)?, None),
            From::Image(name) => {
                let platform = self.shared.platform.clone();
                Some(self.shared.find_image(&name, platform.as_ref())?)
            }
        };
        let moment = self.shared.store.moment();
        let nothing = Picked::default();
        let Some(image) = image else { return work(&SourceTree::image(Tree::empty(), &nothing), Some(Value::Null)) };
        let layers = moment.layers(image)?;
        let names = json!(moment.config(image)?.1);
        work(&SourceTree::image(read_tree(&layers, None)?, &layers), Some(names))
    }

    /// Makes what a command shall see, and says so in its container's settings. Returns the locks of its caches.
    pub(super) fn prepare_mounts(
        &mut self,
        mounts: &[Mount],
        script: Option<&Heredoc>,
        dir: &Path,
        host: &mut HostConfig,
        env: &mut Vec<String>,
    ) -> Result<Vec<File>, BuildError> {
        let mut all = Vec::new();
        let (caches, locks) = self.caches(mounts, dir)?;
        let mut caches = caches.into_iter();
        for (number, mount) in mounts.iter().enumerate() {
            let place = dir.join(number.to_string());
            std::fs::DirBuilder::new().mode(0o755).create(&place).map_err(BuildError::io("making a mount"))?;
            match mount.kind {
                Kind::Tmpfs => {
                    let size = if mount.size > 0 { format!("size={}", mount.size) } else { String::new() };
                    host.tmpfs.get_or_insert_default().insert(mount.target.clone(), size);
                }
                Kind::Bind => {
                    self.lay_out(mount, &place)?;
                    all.push(bind(&place.join("x"), &mount.target, !mount.writable));
                }
                Kind::Cache => all.extend(caches.next()),
                Kind::Secret => all.extend(self.secret(mount, &place, env)?),
                Kind::Ssh => all.extend(self.agent(mount, number, env)?),
            }
        }
        if let Some(script) = script {
            let place = dir.join("pipes");
            std::fs::DirBuilder::new().mode(0o755).create(&place).map_err(BuildError::io("making a mount"))?;
            write(&place.join(&script.name), script.content().as_bytes(), 0o755)?;
            all.push(bind(&place, &pipes(), true));
        }
        host.mounts = Some(all).filter(|all| !all.is_empty());
        Ok(locks)
    }

    /// Copies what a mount shows to `place`/x, so that a command can neither follow a link out of it nor change it.
    pub(super) fn lay_out(&mut self, mount: &Mount, place: &Path) -> Result<(), BuildError> {
        let interrupted = self.shared.place.interrupted;
        self.with_source(mount, |from, _| {
            let found = pick(&[source_of(mount)], from, false)?;
            let one = &found[0];
            let source =
                CopySource { path: one.path.clone(), id: one.id, name: NAME.to_vec(), name_in_tar: NAME.to_vec() };
            let write = |out: images::pipe::LayerWriter| {
                let mut exporter = Exporter::new(out, ExportForm::Exact, interrupted);
                source.write_tar(&mut exporter, &from.tree, from.layers)?;
                exporter.finish().map(drop)
            };
            let unpacked = images::pipe::piped(write, |reader| unpack(reader, place));
            unpacked.map_err(BuildError::io("starting to copy files for a mount"))?
        })
    }

    /// A secret, as a file or as a variable. One that was not given is left out, unless it is required.
    fn secret(
        &mut self,
        mount: &Mount,
        place: &Path,
        env: &mut Vec<String>,
    ) -> Result<Option<ServiceMount>, BuildError> {
        let missing = || BuildError::Invalid(format!("secret {}: not found", mount.id));
        let value = match self.shared.options.secrets.get(&mount.id) {
            None if mount.required => return Err(missing()),
            None => return Ok(None),
            Some(Secret::File(path)) => {
                std::fs::read(path).map_err(|error| BuildError::Invalid(format!("secret {}: {error}", mount.id)))?
            }
            Some(Secret::Env(name)) => match std::env::var_os(name) {
                None if mount.required => return Err(missing()),
                None => return Ok(None),
                Some(value) => std::os::unix::ffi::OsStringExt::into_vec(value),
            },
        };
        if !mount.env.is_empty() {
            env.retain(|entry| name_of(entry) != mount.env);
            env.push(format!("{}={}", mount.env, String::from_utf8_lossy(&value)));
        }
        if mount.target.is_empty() {
            return Ok(None);
        }
        let file = place.join("x");
        write(&file, &value, mount.mode.unwrap_or(0o400))?;
        let owner = std::os::unix::fs::chown(&file, Some(mount.uid), Some(mount.gid));
        owner.map_err(BuildError::io("giving a secret its owner"))?;
        Ok(Some(bind(&file, &mount.target, true)))
    }

    /// The socket of an SSH agent.
    fn agent(
        &mut self,
        mount: &Mount,
        number: usize,
        env: &mut Vec<String>,
    ) -> Result<Option<ServiceMount>, BuildError> {
        let Some(socket) = self.shared.options.agents.get(&mount.id) else {
            let missing = || BuildError::Invalid(format!("unset ssh forward key {}", mount.id));
            return if mount.required { Err(missing()) } else { Ok(None) };
        };
        let usual = || format!("/run/buildkit/ssh_agent.{number}");
        let target = Some(mount.target.clone()).filter(|target| !target.is_empty()).unwrap_or_else(usual);
        env.push(format!("SSH_AUTH_SOCK={target}"));
        Ok(Some(bind(socket, &target, false)))
    }
}

/// Where in its tree the source of a mount is.
fn source_of(mount: &Mount) -> String {
    if mount.source.is_empty() { "/".into() } else { mount.source.clone() }
}

fn bind(source: &Path, target: &str, read_only: bool) -> ServiceMount {
    ServiceMount {
        kind: "bind".into(),
        source: source.display().to_string(),
        target: target.to_owned(),
        read_only,
        ..ServiceMount::default()
    }
}

fn write(path: &PathBuf, bytes: &[u8], mode: u32) -> Result<(), BuildError> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| {
        std::io::Write::write_all(&mut file, bytes)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))
    });
    written.map_err(BuildError::io("writing a file for a mount"))
}

/// Unpacks a tar into a directory, with its owners.
fn unpack(reader: Box<dyn BufRead + Send>, place: &Path) -> Result<(), BuildError> {
    let open = |path: &Path| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty());
        opened.map_err(|errno| BuildError::io("opening a directory for a mount")(errno.into()))
    };
    let scratch = place.with_extension("scratch");
    std::fs::create_dir(&scratch).map_err(BuildError::io("making a directory for a mount"))?;
    let target = Target {
        root: open(place)?,
        scratch: open(&scratch)?,
        whiteouts: WhiteoutMode::Record,
        ownership: Ownership::Layer,
        defer_directories: false,
    };
    let failed =
        |error: layerfs::UnpackError| BuildError::io("copying files for a mount")(std::io::Error::other(error));
    let unpacking = Unpacking::begin(Source::Plain(Box::new(reader)), target, None).map_err(failed)?;
    unpacking.run(1).map_err(failed)?;
    Ok(())
}
