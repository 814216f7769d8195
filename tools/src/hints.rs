//! What the user can do about an error. Libraries say what is wrong and name no flag or program; the hints here do.

use std::io::ErrorKind;
use std::path::Path;

use build::{BuildError, UntarError};
use containers::ContainerError;
use images::copy::CopyError;
use images::export::ExportError;
use images::load::{EndsInside, ImportError};
use images::mend::OpenError;
use images::migrate::MigrateError;
use images::rescue::RescueError;
use images::save::{SaveError, SelectError};
use images::source::{ArchiveError, NameError, SelectionError};
use images::tree::TreeError;
use layerfs::apply::ApplyError;
use layerfs::compress::DecompressError;
use layerfs::delete::Obstacle;
use registry::RegistryError;
use runtime::RuntimeError;
use snapshot::StoreError;
use snapshot::driver::PoolTrouble;
use snapshot::repair::RepairError;
use snapshot::root::Refusal;
use snapshot::schema::config::InvalidConfig;

use crate::damage::DamagedImage;
use crate::registries::registry_error;

/// How to get at the images in the store of the system's containerd, which this program does not read.
pub(crate) const IN_CONTAINERD: &str = "while the daemon runs, `ctr -a /run/containerd/containerd.sock -n moby images ls` lists them, and `docker save` writes them to a file that \
     `layer-unpack FILE --root DATA_ROOT` reads";

/// What to do instead of a command that does not know containerd's store.
const NOT_FROM_CONTAINERD: &str = "`layerfs system migrate --to overlay2 --into DATA_ROOT IMAGE` puts images into a root with a storage driver, where \
     it can be done";

/// What to do about an archive of which a part is missing or unreadable.
const NOT_WHOLE: &str = "copy or save it again, since it is not whole";

/// What to do about an archive that cannot be understood.
const DAMAGED: &str = "copy or save it again, since it is damaged";

/// What to do about an archive of a kind that is not known here.
const KNOWN_KIND: &str = "`skopeo copy SOURCE docker-archive:FILE` writes an archive that is known here";

/// What to do about an archive that is as its maker wrote it, and that nobody takes.
const REFUSED: &str = "dockerd refuses it, too: the program that made it has to make it anew";

/// What to do about a layer of a store of which something is lost.
const FROM_ARCHIVE: &str = "`layerfs system repair --from ARCHIVE` takes the layer from an archive that has it";

/// What to do about an archive with content that does not have the digest it must have.
const CHANGED: &str = "copy or save the archive again, since it was changed after it was made";

/// What to do about images for other platforms than the one that was asked for.
const OTHER_PLATFORM: &str = "--platform OS/ARCH takes one of another platform";

/// What to do about something that is no image.
const MAKER_READS: &str = "the program that made what is in it can read it";

/// What to do about a registry that wants to know who asks.
const LOGIN: &str = "`layerfs login REGISTRY` keeps a user name and password for it";

/// What to do about a runtime that is not there.
const NO_RUNTIME: &str = "install it, or leave --runtime out";

/// What to do about something in a store that is damaged.
const REPAIR: &str = "`layerfs system check` says what is damaged, and `layerfs system repair` what would mend it";

/// An error with all its causes, and with what to do next, if anything is known to help.
pub(crate) fn with_hint(error: &anyhow::Error) -> String {
    let hint = error.chain().find_map(of_cause).map_or_else(String::new, |hint| format!("; {hint}"));
    format!("{error:#}{hint}")
}

/// What to do about one error of a chain. A transparent error stands for another one, which the chain does not list, so
/// that the inner error is looked for here.
fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    let import = || cause.downcast_ref().and_then(of_import);
    let save = || cause.downcast_ref().and_then(of_save);
    let registry = || registry_error(cause).and_then(of_registry);
    let repair = || match cause.downcast_ref()? {
        RepairError::Store(store) => of_store(store),
        _ => None,
    };
    let migrate = || match cause.downcast_ref()? {
        MigrateError::Store(store) => of_store(store),
        MigrateError::Save(save) => of_save(save),
        MigrateError::Select(SelectError::Damaged { .. }) => Some(REPAIR.into()),
        _ => None,
    };
    let rescue = || match cause.downcast_ref()? {
        RescueError::Store(store) => of_store(store),
        RescueError::Save(save) => of_save(save),
        RescueError::Import(import) => of_import(import),
        RescueError::Tree(tree) => of_tree(tree),
        _ => None,
    };
    let open = || match cause.downcast_ref()? {
        OpenError::Archive(archive) => of_archive(archive),
        OpenError::Decompress { .. } => Some(NOT_WHOLE.into()),
        OpenError::Neither { .. } => {
            Some("`docker save -o FILE IMAGE` makes an archive that has what is damaged here".into())
        }
        _ => None,
    };
    let container = || cause.downcast_ref().and_then(of_container);
    let build = || match cause.downcast_ref()? {
        BuildError::Container(container) => of_container(container),
        BuildError::Store(store) => of_store(store),
        BuildError::Tree(tree) => of_tree(tree),
        BuildError::Import(import) => of_import(import),
        BuildError::Copy(build::CopyError::Untar { source, .. }) => of_untar(source),
        _ => None,
    };
    let untar = || cause.downcast_ref().and_then(of_untar);
    let copy = || match cause.downcast_ref()? {
        CopyError::Tree(tree) => of_tree(tree),
        _ => None,
    };
    let runtime = || match cause.downcast_ref()? {
        RuntimeError::NotFound(_) => Some(NO_RUNTIME.into()),
        _ => None,
    };
    let damaged = || cause.is::<DamagedImage>().then(|| REPAIR.into());
    let damaged_tar = || cause.is::<tarsplit::TarError>().then(|| DAMAGED.into());
    let refused = || match cause.downcast_ref()? {
        ApplyError::Name(_)
        | ApplyError::Whiteout(_)
        | ApplyError::Escape { .. }
        | ApplyError::PathTooLong { .. }
        | ApplyError::UnhandledType { .. }
        | ApplyError::HardLinkTarget { .. } => Some(REFUSED.into()),
        ApplyError::OpaqueFile => {
            Some("dockerd takes it, and it hides nothing there: a layer made without this entry is unpacked".into())
        }
        ApplyError::HardLink { errno, .. } if errno.raw_os_error() == nix::libc::ENOENT => Some(REFUSED.into()),
        ApplyError::System { errno, .. }
            if matches!(errno.raw_os_error(), nix::libc::ENOTDIR | nix::libc::ENAMETOOLONG) =>
        {
            Some(REFUSED.into())
        }
        // What the header says is a directory cannot have a second name, whoever asks for it.
        ApplyError::System { call: "link", errno } if is_root() && errno.raw_os_error() == nix::libc::EPERM => {
            Some(REFUSED.into())
        }
        ApplyError::Owner { .. } | ApplyError::DeviceNumber { .. } => {
            Some("no file can have it: the program that made the layer has to make it anew".into())
        }
        ApplyError::OwnerNotMapped { .. } => Some("/etc/subuid and /etc/subgid say which ids a user has".into()),
        ApplyError::Xattr { errno, .. } => match errno.raw_os_error() {
            nix::libc::EOPNOTSUPP => Some("the file system there does not keep such attributes".into()),
            // A value that the kernel takes for none of its kind, or that is longer than any may be.
            nix::libc::EINVAL | nix::libc::E2BIG => Some(REFUSED.into()),
            nix::libc::ENOSPC | nix::libc::ERANGE => Some(
                "the file system there has no room for attributes as long; XFS and btrfs have more than ext4".into(),
            ),
            _ => None,
        },
        _ => None,
    };
    let selected = || match cause.downcast_ref()? {
        SelectError::Damaged { .. } => Some(REPAIR.into()),
        _ => None,
    };
    let selection = || cause.downcast_ref().and_then(of_selection);
    let tree = || match cause.downcast_ref() {
        Some(ExportError::Tree(tree)) => of_tree(tree),
        _ => cause.downcast_ref().and_then(of_tree),
    };
    let archive = || cause.downcast_ref().and_then(of_archive);
    let store = || cause.downcast_ref().and_then(of_store);
    // An error that is the source of another one is stored in a box.
    let boxed = || cause.downcast_ref::<Box<StoreError>>().and_then(|store| of_store(store));
    let io = || cause.downcast_ref().and_then(of_io);
    import()
        .or_else(save)
        .or_else(registry)
        .or_else(repair)
        .or_else(migrate)
        .or_else(rescue)
        .or_else(open)
        .or_else(container)
        .or_else(build)
        .or_else(untar)
        .or_else(copy)
        .or_else(runtime)
        .or_else(tree)
        .or_else(archive)
        .or_else(store)
        .or_else(boxed)
        .or_else(damaged)
        .or_else(damaged_tar)
        .or_else(refused)
        .or_else(selected)
        .or_else(selection)
        .or_else(io)
}

fn of_save(error: &SaveError) -> Option<String> {
    match error {
        SaveError::Store(store) => of_store(store),
        SaveError::Archive(archive) => of_archive(archive),
        SaveError::Select(SelectError::Damaged { .. }) => Some(REPAIR.into()),
        SaveError::Layer { .. } | SaveError::Missing { .. } | SaveError::Differs { .. } => Some(FROM_ARCHIVE.into()),
        _ => None,
    }
}

fn of_container(error: &ContainerError) -> Option<String> {
    match error {
        ContainerError::Store(store) => of_store(store),
        ContainerError::Damaged { .. } => Some(REPAIR.into()),
        ContainerError::Runtime(RuntimeError::NotFound(_)) => Some(NO_RUNTIME.into()),
        _ => None,
    }
}

fn of_tree(error: &TreeError) -> Option<String> {
    match error {
        TreeError::Store(store) => of_store(store),
        TreeError::Archive(archive) => of_archive(archive),
        TreeError::Missing { .. } | TreeError::Journal { .. } => Some(FROM_ARCHIVE.into()),
        TreeError::Member { .. } => Some(REFUSED.into()),
        _ => None,
    }
}

fn of_untar(error: &UntarError) -> Option<String> {
    match error {
        UntarError::Read(error) => of_io(error),
        UntarError::Tar(_) => Some(DAMAGED.into()),
        _ => None,
    }
}

fn of_archive(error: &ArchiveError) -> Option<String> {
    match error {
        ArchiveError::Open { source, .. } if source.kind() == ErrorKind::NotFound => {
            Some("`docker save -o FILE IMAGE` makes an archive, and `layerfs image pull` fetches an image from a registry".into())
        }
        ArchiveError::Open { source, .. } => of_io(source),
        ArchiveError::Empty { .. }
        | ArchiveError::Truncated { .. }
        | ArchiveError::Name(NameError::Missing { .. }) => Some(NOT_WHOLE.into()),
        ArchiveError::Tar { .. }
        | ArchiveError::Json { .. }
        | ArchiveError::Field { .. }
        | ArchiveError::NullManifest => Some(DAMAGED.into()),
        ArchiveError::NotATar { .. } | ArchiveError::NotALayer { .. } => {
            Some("an archive is what `docker save`, skopeo or podman has written, plain or compressed".into())
        }
        ArchiveError::Name(_) => Some("whatever has written this archive must write it without such names".into()),
        ArchiveError::NotAnImageArchive { .. } => Some(
            "`layerfs image import FILE NAME` makes an image of the tar of a root file system; what a docker before 1.10 has \
             saved, a dockerd can load and save again"
                .into(),
        ),
        ArchiveError::Digest { .. } | ArchiveError::Size { .. } => Some(CHANGED.into()),
        ArchiveError::ForeignLayer { .. } => {
            Some("`docker pull` fetches it; skopeo or `docker save` on that machine then writes an archive that has it".into())
        }
        ArchiveError::NoImage { other_platforms: true, .. } => {
            Some(OTHER_PLATFORM.into())
        }
        ArchiveError::NoImage { .. } => Some(MAKER_READS.into()),
        ArchiveError::Version { .. } => Some(KNOWN_KIND.into()),
        ArchiveError::LayerKind { media_type, .. } if media_type.ends_with("encrypted") => {
            Some("`skopeo copy --decryption-key KEY` writes an archive that is not encrypted".into())
        }
        ArchiveError::LayerKind { .. } => Some(KNOWN_KIND.into()),
        _ => None,
    }
}

fn of_registry(error: &RegistryError) -> Option<String> {
    match error {
        RegistryError::Layer(save) => of_save(save),
        RegistryError::Store(store) => of_store(store),
        RegistryError::Image(archive) => of_archive(archive),
        RegistryError::Unauthorized { .. } | RegistryError::Denied { .. } => Some(LOGIN.into()),
        RegistryError::Untrusted { is_plain: true, .. } => Some(
            "`insecure-registries` of /etc/docker/daemon.json, or --tls-verify=false, allows plain HTTP to this host".into(),
        ),
        RegistryError::Untrusted { .. } => Some(
            "/etc/docker/certs.d/HOST/ca.crt is where the certificate of its authority belongs; --tls-verify=false asks for none"
                .into(),
        ),
        RegistryError::Helper { .. } => Some(
            "credsStore or credHelpers in docker's config.json names this helper; without one the password is kept in that file".into(),
        ),
        RegistryError::NoPlatform { .. } => Some(OTHER_PLATFORM.into()),
        RegistryError::NotOne { of, source: SelectionError::SeveralImages { .. } } => {
            Some(format!("{of}:NAME chooses one"))
        }
        RegistryError::Compressed { .. } => Some("gunzip, unzstd, unxz or bunzip2 makes it one that is not".into()),
        RegistryError::MediaType { media_type } if media_type.contains(".distribution.manifest.v1+") => {
            Some("pushed again by a docker of today, it has a manifest that is known here".into())
        }
        RegistryError::MediaType { .. } => Some(MAKER_READS.into()),
        _ => None,
    }
}

fn of_selection(error: &SelectionError) -> Option<String> {
    match error {
        SelectionError::SeveralImages { .. } => Some("--image chooses one".into()),
        SelectionError::Ambiguous { .. } => Some("--image with more of an id chooses one".into()),
        SelectionError::NameForSeveral { .. } => Some("--image chooses the one to give it to".into()),
        _ => None,
    }
}

fn of_import(error: &ImportError) -> Option<String> {
    match error {
        ImportError::Space { .. } => Some("--no-preflight tries all the same".into()),
        ImportError::DiffId { .. } => Some(CHANGED.into()),
        ImportError::Config { source: InvalidConfig::Os { .. }, .. } => {
            Some("dockerd on Linux refuses it, too: such an image needs a dockerd on that system".into())
        }
        ImportError::Config { .. } | ImportError::LayerCount { .. } => Some(REFUSED.into()),
        ImportError::Selection(selection) => of_selection(selection),
        ImportError::Name(_) => {
            Some("layer-unpack --root DATA_ROOT --tag NAME[:TAG] imports the image under another name".into())
        }
        ImportError::NeedsRoot { .. } => Some("--rootless does it in a user namespace".into()),
        ImportError::Store(store) => of_store(store),
        ImportError::Archive(archive) => of_archive(archive),
        _ => None,
    }
}

fn of_store(error: &StoreError) -> Option<String> {
    match error {
        StoreError::Refused { refusal: Refusal::ContainerdStore, .. } => {
            Some(
                "only its daemon takes something away from such a store, or builds in it; `layerfs system migrate --to overlay2 --into DATA_ROOT IMAGE` puts images into a root with \
                 a storage driver, which is written; --storage-driver overlay2 writes to this one all the same"
                    .into(),
            )
        }
        StoreError::Refused { refusal: Refusal::ContainerdHolds { .. }, .. } => {
            Some("an empty data-root takes the images here; while its daemon runs, `docker load` adds them to this one".into())
        }
        StoreError::ThinPool { trouble, .. } => of_pool(trouble),
        StoreError::Undeletable(error) => match error.obstacle {
            Some(Obstacle::Immutable) => Some("`chattr -i` takes that attribute away".into()),
            Some(Obstacle::AppendOnly) => Some("`chattr -a` takes that attribute away".into()),
            Some(Obstacle::Mounted) => Some("unmount it, then do it again".into()),
            _ => None,
        },
        StoreError::NoRoot { .. } => Some("--root names the data-root, which `docker info` shows".into()),
        StoreError::InContainerd { .. } => Some(IN_CONTAINERD.into()),
        StoreError::OnlyListed { .. } => Some(NOT_FROM_CONTAINERD.into()),
        StoreError::DamagedLayer { .. } => {
            Some("`layerfs system repair --from ARCHIVE --apply` puts the archive's layer in its place".into())
        }
        StoreError::SeveralDrivers { .. } => Some("--storage-driver chooses one".into()),
        StoreError::Invalid { .. } | StoreError::Database { .. } => Some(REPAIR.into()),
        StoreError::Io { path, source, .. } => of_symlink(path, source).or_else(|| of_io(source)),
        _ => None,
    }
}

fn of_pool(trouble: &PoolTrouble) -> Option<String> {
    match trouble {
        PoolTrouble::Full { .. } => Some(
            "remove what is not needed, or make it larger, also while it is in use: `layerfs system pool grow --data-size SIZE`, or \
             `lvextend` where LVM has made it"
                .into(),
        ),
        PoolTrouble::ReadOnly { metadata, .. } if metadata.free() == 0 => {
            Some("stop what uses it; `layerfs system pool grow --metadata-size SIZE` then makes room".into())
        }
        PoolTrouble::Failed => Some(
            "stop what uses it, so that the kernel lets it go, and try again; if its metadata was full, `layerfs system pool \
             grow --metadata-size SIZE` makes room first"
                .into(),
        ),
        PoolTrouble::NeedsCheck | PoolTrouble::ReadOnly { .. } => Some(
            "stop what uses it; `thin_check --clear-needs-check-flag METADATA` checks it, and lets it be written again".into(),
        ),
        PoolTrouble::BlockSize { .. } => Some("leave dm.blocksize out".into()),
        PoolTrouble::Short { .. } => Some("`layerfs system rescue DIR` copies what can still be read".into()),
        _ => None,
    }
}

/// What a store's own symlink is told apart by: dockerd follows it, and the system names it like a file that is in the way.
fn of_symlink(path: &Path, error: &std::io::Error) -> Option<String> {
    let is_named_so = error.kind() == ErrorKind::NotADirectory || error.raw_os_error() == Some(nix::libc::ELOOP);
    // One that leads somewhere: the others are told from what the system says.
    let leads = || path.exists() && std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    let told =
        "it is a symlink, and only the directories of a data-root itself may be elsewhere: put it back in its place";
    (is_named_so && leads()).then(|| told.into())
}

fn of_io(error: &std::io::Error) -> Option<String> {
    if let Some(inner) = error.get_ref()
        && inner.is::<DecompressError>()
    {
        return Some(DAMAGED.into());
    }
    if let Some(inner) = error.get_ref()
        && inner.is::<EndsInside>()
    {
        return Some(NOT_WHOLE.into());
    }
    match error.kind() {
        ErrorKind::IsADirectory => Some("it is a directory where a file is needed".into()),
        ErrorKind::PermissionDenied if !is_root() => Some("run as root".into()),
        ErrorKind::ReadOnlyFilesystem => Some("it is mounted read-only".into()),
        ErrorKind::NotADirectory => {
            Some("a part of this path, or its end, is a file where a directory is needed".into())
        }
        // "Too many levels of symbolic links" is what the system says of a single link, too.
        _ if error.raw_os_error() == Some(nix::libc::ELOOP) => {
            Some("a symlink of this path leads back to itself, or is one where a directory is needed".into())
        }
        _ => None,
    }
}

fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}
