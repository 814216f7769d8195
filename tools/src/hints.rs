//! What the user can do about an error. Libraries say what is wrong and name no flag or program; the hints here do.

use std::io::ErrorKind;

use images::load::ImportError;
use images::save::SaveError;
use images::source::SelectionError;
use layerfs::delete::Obstacle;
use snapshot::StoreError;
use snapshot::root::Refusal;

/// How to get at the images in containerd's store, which this program does not read.
pub(crate) const IN_CONTAINERD: &str = "while the daemon runs, `ctr -a SOCKET -n moby images ls` lists them (SOCKET is /run/containerd/containerd.sock, or \
     /run/docker/containerd/containerd.sock of a containerd that dockerd has started itself), and `docker save` writes them to a file that \
     `layer-unpack FILE --root DATA_ROOT` reads";

/// What to do next, if anything is known to help.
pub(crate) fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        let import = cause.downcast_ref::<ImportError>().and_then(of_import);
        let save = || match cause.downcast_ref() {
            Some(SaveError::Store(store)) => of_store(store),
            _ => None,
        };
        let store = || cause.downcast_ref::<StoreError>().and_then(of_store);
        // An error that is the source of another one is stored in a box.
        let boxed = || cause.downcast_ref::<Box<StoreError>>().and_then(|store| of_store(store));
        let io = || cause.downcast_ref::<std::io::Error>().and_then(of_io);
        import.or_else(save).or_else(store).or_else(boxed).or_else(io)
    })
}

fn of_import(error: &ImportError) -> Option<String> {
    match error {
        ImportError::Space { .. } => Some("--no-preflight tries all the same".into()),
        ImportError::Selection(SelectionError::SeveralImages { .. }) => Some("--image chooses one".into()),
        ImportError::Selection(SelectionError::NameForSeveral { .. }) => {
            Some("--image chooses the one to give it to".into())
        }
        ImportError::Name(_) => {
            Some("layer-unpack --root DATA_ROOT --tag NAME[:TAG] imports the image under another name".into())
        }
        ImportError::NeedsRoot { .. } => Some("--rootless does it in a user namespace".into()),
        ImportError::Store(store) => of_store(store),
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
