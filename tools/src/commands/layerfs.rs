//! `layerfs`: docker's grammar, offline.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::arguments;
use crate::commands::{builder, buildx, container, image, inspect, login, registry, search, store, system, volume};
use crate::exit::UsageError;
use crate::generate::Generate;
use crate::manual::Manual;
use crate::storage_options;

pub(crate) const NAME: &str = "layerfs";

/// Docker's image and layer storage, without a daemon
#[derive(Debug, Parser)]
#[command(name = NAME, version, max_term_width = 100, args_override_self = true, arg_required_else_help = true)]
pub(super) struct Cli {
    /// Docker data-root
    #[arg(long, global = true, value_name = "DATA_ROOT", default_value = "/var/lib/docker", help_heading = STORE)]
    root: PathBuf,

    /// Storage driver to use; if given, a root that may belong to containerd's image store is written, too [default: the root's]
    #[arg(long, global = true, value_name = "DRIVER", help_heading = STORE)]
    storage_driver: Option<String>,

    /// Image store to read, where the data-root has several [default: the one that dockerd uses]
    #[arg(long, global = true, value_enum, value_name = "STORE", conflicts_with = "storage_driver", help_heading = STORE)]
    store: Option<store::Store>,

    /// Options of the storage driver devicemapper as dockerd takes them, such as dm.thinpooldev=NAME; before the command
    #[arg(long, value_name = "KEY=VALUE", help_heading = STORE)]
    storage_opt: Vec<String>,

    /// Namespace of containerd's store to read; DATA_ROOT may be a containerd's own root [default: moby, or the only one with images]
    #[arg(long, global = true, value_name = "NAMESPACE", conflicts_with_all = ["storage_driver", "store"], help_heading = STORE)]
    namespace: Option<String>,

    /// Print the manual page, or a shell's completions
    #[arg(long, value_name = "WHAT")]
    generate: Option<Generate>,

    #[command(subcommand)]
    command: Option<Command>,
}

/// The flags that every command has.
const STORE: &str = "Data-root";

const MANUAL: Manual = Manual {
    name: NAME,
    examples: &[
        ("layerfs image ls", "the images of /var/lib/docker, as docker lists them"),
        ("layerfs --root /mnt/disk/var/lib/docker container ls -a", "the containers on the disk of another machine"),
        ("layerfs image inspect --format '{{.RootFS.Layers}}' app:1", "the layers of an image"),
        (
            "layerfs image save --all --format oci --directory layout",
            "all images as an OCI layout, for containerd and podman",
        ),
        ("layerfs system repair --from app.tar --apply", "mend what is damaged, with content from an archive"),
        ("layerfs system check --deep", "whether each file of each layer is what it was"),
        ("layerfs system owner /var/lib/docker/overlay2/3f2a...", "whose directory this is, and why it is kept"),
    ],
    more: (
        "Short forms",
        &[
            ("build", "layerfs image build"),
            ("images", "layerfs image ls"),
            ("history", "layerfs image history"),
            ("load", "layerfs image load"),
            ("pull, push", "layerfs image pull, push"),
            ("save", "layerfs image save"),
            ("import", "layerfs image import"),
            ("commit", "layerfs container commit"),
            ("cp", "layerfs container cp"),
            ("diff", "layerfs container diff"),
            ("export", "layerfs container export"),
            ("ps", "layerfs container ls"),
            ("run", "layerfs container run"),
            ("create, start, restart", "layerfs container create, start, restart"),
            ("attach, exec, logs, top", "layerfs container attach, exec, logs, top"),
            ("stop, kill, wait", "layerfs container stop, kill, wait"),
            ("rename, rm", "layerfs container rename, rm"),
            ("rmi, tag", "layerfs image rm, tag"),
            ("info", "layerfs system info"),
        ],
    ),
    statuses: &[
        (0, "done"),
        (1, "the request failed, or something that it asks for is damaged"),
        (2, "usage"),
        (
            125,
            "of run: the container could not be made or started, of build: the value of a flag is wrong; else run, start --attach, attach, exec and a build whose RUN fails end as the command does",
        ),
        (126, "of run and exec: the command cannot be executed"),
        (127, "of run and exec: the command was not found"),
        (130, "interrupted"),
    ],
    see_also: &["layer-unpack", "layer-run", "image-du", "image-gc"],
    report: "",
};

#[derive(Debug, Subcommand)]
enum Command {
    /// Manage images
    #[command(subcommand)]
    Image(Image),

    /// Manage containers
    #[command(subcommand)]
    Container(Container),

    /// Manage volumes
    #[command(subcommand)]
    Volume(Volume),

    /// Manage the cache of builds
    #[command(subcommand)]
    Builder(Builder),

    /// Build images and look after the cache, with the words of docker's plugin
    #[command(subcommand)]
    Buildx(Buildx),

    /// Show everything about containers, images and volumes
    Inspect(inspect::Args),

    #[command(hide = true)]
    Build(Box<image::build::Args>),
    #[command(hide = true)]
    Images(image::list::Args),
    #[command(hide = true)]
    History(image::history::Args),
    #[command(hide = true)]
    Load(image::load::Args),
    #[command(hide = true)]
    Pull(image::pull::Args),
    #[command(hide = true)]
    Push(image::push::Args),
    #[command(hide = true)]
    Save(image::save::Args),
    #[command(hide = true)]
    Rmi(image::rm::Args),
    #[command(hide = true)]
    Tag(image::tag::Args),
    #[command(hide = true)]
    Commit(container::commit::Args),
    #[command(hide = true)]
    Cp(container::cp::Args),
    #[command(hide = true)]
    Import(image::import::Args),
    #[command(hide = true)]
    Diff(container::diff::Args),
    #[command(hide = true)]
    Export(container::export::Args),
    #[command(hide = true)]
    Ps(container::list::Args),
    #[command(hide = true, disable_help_flag = true)]
    Run(Box<container::run::Args>),
    #[command(hide = true, disable_help_flag = true)]
    Create(Box<container::create::Args>),
    #[command(hide = true)]
    Start(container::start::Args),
    #[command(hide = true)]
    Restart(container::start::RestartArgs),
    #[command(hide = true)]
    Attach(container::start::AttachArgs),
    #[command(hide = true)]
    Stop(container::verbs::StopArgs),
    #[command(hide = true)]
    Kill(container::verbs::KillArgs),
    #[command(hide = true)]
    Wait(container::verbs::WaitArgs),
    #[command(hide = true)]
    Rename(container::verbs::RenameArgs),
    #[command(hide = true)]
    Rm(container::verbs::RmArgs),
    #[command(hide = true)]
    Top(container::verbs::TopArgs),
    #[command(hide = true)]
    Logs(container::logs::Args),
    #[command(hide = true)]
    Exec(container::exec::Args),
    #[command(hide = true)]
    Info(system::info::Args),

    /// Give a registry a user name and a password, and keep them for later
    Login(login::Args),

    /// Forget the user name and password for a registry
    Logout(login::LogoutArgs),

    /// Look for images in a registry
    Search(search::Args),

    /// Work with registries alone, without a data-root
    #[command(subcommand)]
    Registry(Registry),

    /// Show what the data-root takes up, and who owns what in it
    #[command(subcommand)]
    System(System),

    /// Show the version of this program
    Version(system::version::Args),
}

#[derive(Debug, Subcommand)]
enum Image {
    /// Build an image from a Dockerfile, as BuildKit does or docker's classic builder
    Build(Box<image::build::Args>),
    /// List images
    #[command(visible_alias = "list")]
    Ls(image::list::Args),
    /// Show everything about images
    Inspect(image::inspect::Args),
    /// Show the steps by which an image was made
    History(image::history::Args),
    /// Load images from a tar archive or standard input
    Load(image::load::Args),
    /// Fetch images from a registry
    Pull(image::pull::Args),
    /// Send images to a registry
    Push(image::push::Args),
    /// Save images to a tar archive, a directory or standard output
    Save(image::save::Args),
    /// List the files of an image, and which layer put them there
    Files(image::files::Args),
    /// Show what is different between two images, and in which layers
    Diff(image::diff::Args),
    /// Write all files of an image as a tar, as a container of it would see them
    Export(image::export::Args),
    /// Write files of an image to standard output
    Cat(image::cat::Args),
    /// Copy files and directories of an image to the host, or write them as a tar
    Cp(image::cp::Args),
    /// Make an image of a tar of files
    Import(image::import::Args),
    /// Make an image of what `layer-run --keep` has kept
    Commit(image::commit::Args),
    /// Make one layer of the layers of an image, or of those above one of them
    Flatten(image::flatten::Args),
    /// List the tags that a repository has at its registry
    Tags(image::tags::Args),
    /// Give an image a name
    Tag(image::tag::Args),
    /// Remove images and names of images
    #[command(visible_alias = "remove")]
    Rm(image::rm::Args),
    /// Remove images that nobody uses
    Prune(image::prune::Args),
    /// Show the layers as they stand on each other, with their images and containers
    Tree(image::tree::Args),
}

#[derive(Debug, Subcommand)]
enum Container {
    /// List containers, as far as the disk tells of them
    #[command(visible_aliases = ["ps", "list"])]
    Ls(container::list::Args),
    /// Make an image of what a container has written
    Commit(container::commit::Args),
    /// Copy files and directories of a container to the host, or write them as a tar
    Cp(container::cp::Args),
    /// Show what containers have added, changed and deleted
    Diff(container::diff::Args),
    /// Write all files of a container as a tar
    Export(container::export::Args),
    /// Show everything about containers, as far as the disk tells of them
    Inspect(container::inspect::Args),
    /// Make a container
    #[command(disable_help_flag = true)]
    Create(Box<container::create::Args>),
    /// Make a container and start it
    #[command(disable_help_flag = true)]
    Run(Box<container::run::Args>),
    /// Start containers
    Start(container::start::Args),
    /// Stop containers and start them again
    Restart(container::start::RestartArgs),
    /// Show what a running container writes, and pass input and signals on
    Attach(container::start::AttachArgs),
    /// Run a command in a running container
    Exec(container::exec::Args),
    /// Stop containers: their stop signal, and after a while a kill
    Stop(container::verbs::StopArgs),
    /// Send a signal to containers
    Kill(container::verbs::KillArgs),
    /// Wait for the end of containers, and print their exit codes
    Wait(container::verbs::WaitArgs),
    /// Give a container another name
    Rename(container::verbs::RenameArgs),
    /// Remove containers
    #[command(visible_alias = "remove")]
    Rm(container::verbs::RmArgs),
    /// Remove all containers that do not run
    Prune(container::verbs::PruneArgs),
    /// Show the processes of a container
    Top(container::verbs::TopArgs),
    /// Show what a container has written
    Logs(container::logs::Args),
}

#[derive(Debug, Subcommand)]
enum Volume {
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(volume::list::Args),
    /// Show everything about volumes
    Inspect(volume::inspect::Args),
    /// Make a volume
    Create(Box<volume::change::CreateArgs>),
    /// Remove volumes
    #[command(visible_alias = "remove")]
    Rm(volume::change::RmArgs),
    /// Remove all volumes that no container uses
    Prune(volume::change::PruneArgs),
}

#[derive(Debug, Subcommand)]
enum Registry {
    /// Copy an image from a registry, a layout or an archive to another, as it is
    ///
    /// Nothing is unpacked. What the target has is not copied, within one registry blobs are mounted, and the rest is sent while
    /// it arrives. With --all, the index and the images for all platforms are copied with the same digests.
    Copy(registry::copy::Args),
}

#[derive(Debug, Subcommand)]
enum Builder {
    /// Build an image from a Dockerfile
    Build(Box<image::build::Args>),
    /// Remove what the cache has and no image stands on
    Prune(builder::PruneArgs),
}

#[derive(Debug, Subcommand)]
enum Buildx {
    /// Build an image from a Dockerfile: `layerfs image build`
    #[command(visible_alias = "b")]
    Build(Box<image::build::Args>),
    /// Show the records of the cache
    Du(buildx::DuArgs),
    /// Remove what the cache has and no image stands on
    Prune(buildx::PruneArgs),
}

#[derive(Debug, Subcommand)]
enum System {
    /// Show what images, containers, volumes and the build cache take up
    Df(system::df::Args),
    /// Show how many containers and images there are, the storage driver and the data-root
    Info(system::info::Args),
    /// Say whose a directory, a file, a link or an id is, and why it is kept
    Owner(system::owner::Args),
    /// Show the thin pool of the storage driver devicemapper: its devices, and who uses them
    ///
    /// The pool is read without the kernel's device mapper, so it must not be active. `layerfs image save --all`,
    /// `image export`, `container export` and all other commands that read work on such a data-root as well. Exit status: 0
    /// no damage, 1 damage, 2 usage.
    Pool(system::pool::Args),
    /// Give back to the disk what the pool of devicemapper in files has allocated and does not use
    ///
    /// The file systems of layers give back to the pool what they do not use, and the pool's file gives back what no device
    /// has. No container may run. Exit status: 0 done, 1 the request failed, 2 usage.
    Trim(system::trim::Args),
    /// Copy all images and containers of a damaged or dead store into a directory
    ///
    /// DIR/images becomes an OCI layout with docker's manifest, for `layerfs image load` into a new data-root, `docker load`,
    /// podman and containerd. DIR/containers has the files of each container as a tar, and what inspect says of it. Nothing of
    /// the store is changed. What cannot be read is left out and named; the exit status is 1 then.
    Rescue(system::rescue::Args),
    /// Mend a damaged store: say how, and do it with --apply
    ///
    /// Exit status: 0 nothing is damaged or all of it was mended, 1 something is left to be done or it failed, 2 usage, 130
    /// interrupted: the step that was begun was finished. What is replaced is kept until its replacement is complete and
    /// proven by the layer's digest. Files of a layer's directory that are not the layer's are removed.
    Repair(system::repair::Args),
    /// Move images and containers of the storage driver overlay2 into containerd's image store, and back
    ///
    /// The old store is not touched: both are in the data-root, and dockerd's configuration says which of them it uses. Layers are
    /// in containerd's store twice, as files and as tars; with --link, the default, the files are those of the old store. Image ids
    /// change, because containerd's are digests of manifests. Volumes stay where they are. Exit status: 0 done, 1 failed, 2 usage,
    /// 130 interrupted; nothing was changed then.
    Migrate(system::migrate::Args),
    /// Say what is wrong with the data-root, whom it affects, and what would mend it
    ///
    /// Exit status: 0 no damage, 1 damage, or there is no such data-root, 2 not everything could be checked, 130 interrupted.
    Check(system::check::Args),
}

/// Runs the command with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    // Containers start this program once more, to stay with them.
    if let Some(done) = containers::enter() {
        return if done { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    match MANUAL.parse(arguments::plain(&Cli::command(), std::env::args_os())) {
        Ok(cli) => crate::run(NAME, || run(cli)),
        Err(code) => code,
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Some(what) = cli.generate {
        return what.print::<Cli>(&MANUAL);
    }
    storage_options::choose(&cli.storage_opt)?;
    let namespaced =
        cli.namespace.as_ref().map(|namespace| format!("{namespace}/{}", store::Store::Containerd.driver()));
    let driver = cli.store.map(store::Store::driver).or(namespaced.as_deref()).or(cli.storage_driver.as_deref());
    let Some(command) = cli.command else {
        return Err(UsageError("no command; --help lists them".into()).into());
    };
    match command {
        Command::Image(Image::Build(args)) | Command::Build(args) => image::build::run(&args, &cli.root, driver),
        Command::Image(Image::Ls(args)) | Command::Images(args) => image::list::run(&args, &cli.root, driver),
        Command::Image(Image::Inspect(args)) => image::inspect::run(&args, &cli.root, driver),
        Command::Image(Image::History(args)) | Command::History(args) => image::history::run(&args, &cli.root, driver),
        Command::Image(Image::Load(args)) | Command::Load(args) => image::load::run(args, &cli.root, driver),
        Command::Image(Image::Save(args)) | Command::Save(args) => image::save::run(args, &cli.root, driver),
        Command::Image(Image::Files(args)) => image::files::run(&args, &cli.root, driver),
        Command::Image(Image::Diff(args)) => image::diff::run(&args, &cli.root, driver),
        Command::Image(Image::Export(args)) => image::export::run(&args, &cli.root, driver),
        Command::Container(Container::Diff(args)) | Command::Diff(args) => {
            container::diff::run(&args, &cli.root, driver)
        }
        Command::Container(Container::Export(args)) | Command::Export(args) => {
            container::export::run(&args, &cli.root, driver)
        }
        Command::Image(Image::Cat(args)) => image::cat::run(&args, &cli.root, driver),
        Command::Image(Image::Cp(args)) => image::cp::run(&args, &cli.root, driver),
        Command::Container(Container::Cp(args)) | Command::Cp(args) => container::cp::run(&args, &cli.root, driver),
        Command::Image(Image::Import(args)) | Command::Import(args) => image::import::run(&args, &cli.root, driver),
        Command::Container(Container::Commit(args)) | Command::Commit(args) => {
            container::commit::run(&args, &cli.root, driver)
        }
        Command::Image(Image::Commit(args)) => image::commit::run(&args, &cli.root, driver),
        Command::Image(Image::Flatten(args)) => image::flatten::run(&args, &cli.root, driver),
        Command::Image(Image::Pull(args)) | Command::Pull(args) => image::pull::run(&args, &cli.root, driver),
        Command::Image(Image::Push(args)) | Command::Push(args) => image::push::run(&args, &cli.root, driver),
        Command::Image(Image::Tags(args)) => image::tags::run(&args),
        Command::Image(Image::Tag(args)) | Command::Tag(args) => image::tag::run(&args, &cli.root, driver),
        Command::Image(Image::Rm(args)) | Command::Rmi(args) => image::rm::run(&args, &cli.root, driver),
        Command::Image(Image::Prune(args)) => image::prune::run(&args, &cli.root, driver),
        Command::Image(Image::Tree(args)) => image::tree::run(&args, &cli.root, driver),
        Command::Container(Container::Ls(args)) | Command::Ps(args) => container::list::run(&args, &cli.root, driver),
        Command::Container(Container::Inspect(args)) => container::inspect::run(&args, &cli.root, driver),
        Command::Container(Container::Create(args)) | Command::Create(args) => {
            container::create::run(&args, &cli.root, driver)
        }
        Command::Container(Container::Run(args)) | Command::Run(args) => container::run::run(&args, &cli.root, driver),
        Command::Container(Container::Start(args)) | Command::Start(args) => {
            container::start::run(&args, &cli.root, driver)
        }
        Command::Container(Container::Restart(args)) | Command::Restart(args) => {
            container::start::restart(&args, &cli.root, driver)
        }
        Command::Container(Container::Attach(args)) | Command::Attach(args) => {
            container::start::attach(&args, &cli.root, driver)
        }
        Command::Container(Container::Exec(args)) | Command::Exec(args) => {
            container::exec::run(&args, &cli.root, driver)
        }
        Command::Container(Container::Stop(args)) | Command::Stop(args) => {
            container::verbs::stop(&args, &cli.root, driver)
        }
        Command::Container(Container::Kill(args)) | Command::Kill(args) => {
            container::verbs::kill(&args, &cli.root, driver)
        }
        Command::Container(Container::Wait(args)) | Command::Wait(args) => {
            container::verbs::wait(&args, &cli.root, driver)
        }
        Command::Container(Container::Rename(args)) | Command::Rename(args) => {
            container::verbs::rename(&args, &cli.root, driver)
        }
        Command::Container(Container::Rm(args)) | Command::Rm(args) => container::verbs::rm(&args, &cli.root, driver),
        Command::Container(Container::Top(args)) | Command::Top(args) => {
            container::verbs::top(&args, &cli.root, driver)
        }
        Command::Container(Container::Logs(args)) | Command::Logs(args) => {
            container::logs::run(&args, &cli.root, driver)
        }
        Command::Container(Container::Prune(args)) => container::verbs::prune(&args, &cli.root, driver),
        Command::Builder(Builder::Build(args)) | Command::Buildx(Buildx::Build(args)) => {
            image::build::run(&args, &cli.root, driver)
        }
        Command::Buildx(Buildx::Du(args)) => buildx::du(&args, &cli.root, driver),
        Command::Buildx(Buildx::Prune(args)) => buildx::prune(&args, &cli.root, driver),
        Command::Builder(Builder::Prune(args)) => builder::prune(&args, &cli.root, driver),
        Command::Volume(Volume::Create(args)) => volume::change::create(&args, &cli.root, driver),
        Command::Volume(Volume::Rm(args)) => volume::change::rm(&args, &cli.root, driver),
        Command::Volume(Volume::Prune(args)) => volume::change::prune(&args, &cli.root, driver),
        Command::Volume(Volume::Ls(args)) => volume::list::run(&args, &cli.root, driver),
        Command::Volume(Volume::Inspect(args)) => volume::inspect::run(&args, &cli.root, driver),
        Command::Search(args) => search::run(&args),
        Command::Registry(Registry::Copy(args)) => registry::copy::run(&args),
        Command::Login(args) => login::run(args),
        Command::Logout(args) => login::logout(&args),
        Command::Inspect(args) => inspect::run(&args, &cli.root, driver),
        Command::System(System::Info(args)) | Command::Info(args) => system::info::run(&args, &cli.root, driver),
        Command::Version(args) => system::version::run(&args),
        Command::System(System::Df(args)) => system::df::run(&args, &cli.root, driver),
        Command::System(System::Migrate(args)) => system::migrate::run(&args, &cli.root),
        Command::System(System::Check(args)) => system::check::run(&args, &cli.root, driver),
        Command::System(System::Pool(args)) => system::pool::run(&args, &cli.root, driver),
        Command::System(System::Trim(args)) => system::trim::run(&args, &cli.root, driver),
        Command::System(System::Rescue(args)) => system::rescue::run(&args, &cli.root, driver),
        Command::System(System::Owner(args)) => system::owner::run(&args, &cli.root, driver),
        Command::System(System::Repair(args)) => system::repair::run(&args, &cli.root, driver),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Short forms have no line of their own among the commands, so the help lists them apart, and no others.
    #[test]
    fn all_short_forms_are_listed() {
        let command = Cli::command();
        let hidden = command.get_subcommands().filter(|sub| sub.is_hide_set());
        let mut hidden: Vec<&str> = hidden.map(clap::Command::get_name).collect();
        let mut listed: Vec<&str> = MANUAL.more.1.iter().flat_map(|(short, _)| short.split(", ")).collect();
        hidden.sort_unstable();
        listed.sort_unstable();
        assert_eq!(hidden, listed);
    }
}
