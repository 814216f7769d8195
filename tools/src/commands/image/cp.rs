//! `layerfs image cp`: files and directories out of an image, as `docker cp` copies them out of a container.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use images::copy::{CopyDestination, CopyError, CopySource, extract};
use images::export::{ExportForm, Exporter};
use images::tree::{Layers, Tree, read_tree};

use super::content::ContentFlags;
use super::export::lost;
use crate::{output, signals};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image, by name or id, and what to copy; behind a directory `/.` means what is in it
    #[arg(value_name = "IMAGE:PATH")]
    source: OsString,

    /// Where to, or `-` for a tar on standard output
    #[arg(value_name = "DEST|-")]
    destination: OsString,

    /// If PATH is a symlink, copy what it leads to
    #[arg(short = 'L', long)]
    follow_link: bool,

    #[command(flatten)]
    from: ContentFlags,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let copy = Copy::check(&args.source, &args.destination, args.follow_link)?;
    let source = args.source.as_bytes();
    let Some((image, path)) = split_image(source) else {
        bail!("must specify an image and a path as the source: IMAGE:PATH");
    };
    let image = OsStr::from_bytes(image).to_str().ok_or_else(|| anyhow!("invalid reference format"))?;
    args.from.open(Some(image), root, driver, |content| {
        let tree = read_tree(content.layers, None)?;
        copy.run(&tree, content.layers, path, &format!("image:path: {image}")).map(|()| ExitCode::SUCCESS)
    })
}

/// Names of images have colons, too: the path begins behind the first one that a slash follows, else behind the last one.
fn split_image(source: &[u8]) -> Option<(&[u8], &[u8])> {
    let absolute = source.windows(2).position(|pair| pair == b":/");
    let colon = absolute.or_else(|| source.iter().rposition(|&byte| byte == b':'))?;
    (colon > 0).then(|| (&source[..colon], &source[colon + 1..]))
}

/// A copy whose arguments were checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copy<'a> {
    destination: &'a OsStr,
    follow_link: bool,
}

impl<'a> Copy<'a> {
    /// What docker's client checks before it asks for anything.
    pub(crate) fn check(source: &OsStr, destination: &'a OsStr, follow_link: bool) -> anyhow::Result<Self> {
        if source.is_empty() {
            bail!("source can not be empty");
        }
        if destination.is_empty() {
            bail!("destination can not be empty");
        }
        Ok(Self { destination, follow_link })
    }

    /// Copies `path` of a tree.
    pub(crate) fn run(&self, tree: &Tree, layers: &dyn Layers, path: &[u8], owner: &str) -> anyhow::Result<()> {
        self.check_destination()?;
        let source = CopySource::find(tree, path, self.follow_link).map_err(|error| match error {
            // The words of docker's client.
            CopyError::NoSource { path } => {
                anyhow!("No such {owner}:{}", output::escape(&String::from_utf8_lossy(&path)))
            }
            other => other.into(),
        })?;
        let interrupted = signals::interrupted()?;
        if self.destination == "-" {
            let mut exporter = Exporter::new(output::binary()?, ExportForm::Seen, &interrupted);
            source.write_tar(&mut exporter, tree, layers).map_err(lost)?;
            exporter.finish().map_err(lost)?;
        } else {
            let destination = CopyDestination::new(Path::new(self.destination), tree, &source)?;
            extract(tree, layers, &source, &destination, &interrupted)?;
        }
        Ok(())
    }

    /// Whether anything can be written there.
    pub(crate) fn check_destination(&self) -> anyhow::Result<()> {
        if self.destination != "-" {
            return Ok(CopyDestination::check(Path::new(self.destination))?);
        }
        if std::io::stdout().is_terminal() {
            bail!("cowardly refusing to write a tar to a terminal. Use a directory or redirect");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_may_have_colons() {
        for (given, image, path) in [
            ("app:/etc", "app", "/etc"),
            ("app:1:/etc/a:b", "app:1", "/etc/a:b"),
            ("localhost:5000/app:1:/x:/y", "localhost:5000/app:1", "/x:/y"),
            ("app:1:etc", "app:1", "etc"),
            ("sha256:00:/", "sha256:00", "/"),
        ] {
            assert_eq!(split_image(given.as_bytes()), Some((image.as_bytes(), path.as_bytes())), "{given}");
        }
        assert_eq!(split_image(b"/etc/passwd"), None);
        assert_eq!(split_image(b":/etc/passwd"), None);
    }
}
