//! What the user can do about an error. Libraries say what is wrong and name no flag or program; the hints here do.

use std::io::ErrorKind;

use images::export::ExportError;
use images::load::ImportError;
use images::mend::OpenError;
use images::save::SaveError;
use images::source::{ArchiveError, SelectionError};
use images::tree::TreeError;
use layerfs::delete::Obstacle;
use snapshot::StoreError;
use snapshot::repair::RepairError;
use snapshot::root::Refusal;

/// How to get at the images in containerd's store, which this program does not read.
pub(crate) const IN_CONTAINERD: &str = "while the daemon runs, `ctr -a SOCKET -n moby images ls` lists them (SOCKET is /run/containerd/containerd.sock, or \
     /run/docker/containerd/containerd.sock of a containerd that dockerd has started itself), and `docker save` writes them to a file that \
     `layer-unpack FILE --root DATA_ROOT` reads";

/// What to do next, if anything is known to help.
pub(crate) fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(of_cause)
}

/// What to do about one error of a chain. An error that passes another one on as it is, is not followed by that one in the
/// chain, so that the inner one is asked for here.
fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    let import = || cause.downcast_ref().and_then(of_import);
    let save = || match cause.downcast_ref()? {
        SaveError::Store(store) => of_store(store),
        SaveError::Archive(archive) => of_archive(archive),
        SaveError::Layer { .. } | SaveError::Missing { .. } | SaveError::Differs { .. } => {
            Some("`layerfs system repair --from ARCHIVE` takes the layer from an archive that has it".into())
        }
        _ => None,
    };
    let repair = || match cause.downcast_ref()? {
        RepairError::Store(store) => of_store(store),
        _ => None,
    };
    let open = || match cause.downcast_ref()? {
        OpenError::Archive(archive) => of_archive(archive),
        _ => None,
    };
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
        .or_else(repair)
        .or_else(open)
        .or_else(tree)
        .or_else(archive)
        .or_else(store)
        .or_else(boxed)
        .or_else(io)
}

fn of_tree(error: &TreeError) -> Option<String> {
    match error {
        TreeError::Store(store) => of_store(store),
        TreeError::Archive(archive) => of_archive(archive),
        _ => None,
    }
}

fn of_archive(error: &ArchiveError) -> Option<String> {
    match error {
        ArchiveError::Open { source, .. } if source.kind() == ErrorKind::NotFound => {
            Some("`docker save -o FILE IMAGE` makes an archive; images are not fetched from a registry".into())
        }
        ArchiveError::Empty { .. } | ArchiveError::Truncated { .. } => {
            Some("copy or save it again, since it is not whole".into())
        }
        ArchiveError::NotAnImageArchive { .. } => {
            Some("`layerfs image import FILE NAME` makes an image of the tar of a root file system".into())
        }
        ArchiveError::Digest { .. } | ArchiveError::Size { .. } => {
            Some("copy or save the archive again, since it was changed after it was made".into())
        }
        _ => None,
    }
}

fn of_import(error: &ImportError) -> Option<String> {
    match error {
        ImportError::Space { .. } => Some("--no-preflight tries all the same".into()),
        ImportError::DiffId { .. } => {
            Some("copy or save the archive again, since it was changed after it was made".into())
        }
        ImportError::Selection(SelectionError::SeveralImages { .. }) => Some("--image chooses one".into()),
        ImportError::Selection(SelectionError::NameForSeveral { .. }) => {
            Some("--image chooses the one to give it to".into())
        }
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
            Some("--storage-driver overlay2 writes it all the same".into())
        }
        StoreError::Undeletable(error) => match error.obstacle {
            Some(Obstacle::Immutable) => Some("chattr -i takes that away".into()),
            Some(Obstacle::AppendOnly) => Some("chattr -a takes that away".into()),
            Some(Obstacle::Mounted) => Some("umount, then do it again".into()),
            _ => None,
        },
        StoreError::NoRoot { .. } => Some("--root names the data-root, which `docker info` shows".into()),
        StoreError::InContainerd { .. } => Some(IN_CONTAINERD.into()),
        StoreError::DamagedLayer { .. } => {
            Some("`layerfs system repair --from ARCHIVE --apply` puts the archive's layer in its place".into())
        }
        StoreError::SeveralDrivers { .. } => Some("--storage-driver chooses one".into()),
        _ => None,
    }
}

fn of_io(error: &std::io::Error) -> Option<String> {
    match error.kind() {
        ErrorKind::PermissionDenied if !nix::unistd::Uid::effective().is_root() => Some("run as root".into()),
        ErrorKind::ReadOnlyFilesystem => Some("it is mounted read-only".into()),
        _ => None,
    }
}
