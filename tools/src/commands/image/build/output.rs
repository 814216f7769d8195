//! `build --output`: what becomes of the image besides, or in the place of, being stored under its names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use images::copy::{CopyDestination, CopySource, extract};
use images::export::{export, export_to_file};
use images::load::Silent;
use images::output::NewFile;
use images::save::{self, SaveDestination, SaveForm, SaveOptions, SavePlan};
use images::tree::{LayersOfStore, read_tree};
use layerfs::compress::encode::Encoding;
use snapshot::ids::ImageId;
use snapshot::reference::Reference;
use snapshot::root::DataRoot;
use snapshot::view::{Needs, View};

use crate::output;

/// One `--output`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    /// The image gets its names in the store.
    Store,
    /// An archive of the image; without a path on standard output.
    Archive(SaveForm, Option<PathBuf>),
    /// The files as a tar; without a path on standard output.
    Tar(Option<PathBuf>),
    /// The files, in a directory.
    Files(PathBuf),
}

impl Output {
    /// Reads the value of the flag: `type=docker|image|oci|tar|local` with `dest=PATH`, or a directory, or `-` for a tar.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text == "-" {
            return Ok(Self::Tar(None));
        }
        if !text.contains('=') {
            return Ok(Self::Files(text.into()));
        }
        let (mut kind, mut dest) = (String::new(), None);
        for field in text.split(',') {
            let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid value {field}"))?;
            match key.to_lowercase().as_str() {
                "type" => value.clone_into(&mut kind),
                "dest" => dest = Some(PathBuf::from(value)).filter(|dest| dest.as_os_str() != "-"),
                _ => return Err(format!("--output: {key} is not known; type and dest are")),
            }
        }
        match (kind.as_str(), dest) {
            ("image", None) | ("docker", None) => Ok(Self::Store),
            ("docker", dest) => Ok(Self::Archive(SaveForm::Docker, dest)),
            ("oci", dest) => Ok(Self::Archive(SaveForm::Oci, dest)),
            ("tar", dest) => Ok(Self::Tar(dest)),
            ("local", Some(dest)) => Ok(Self::Files(dest)),
            ("local", None) => Err("dest is required for local exporter".into()),
            (kind, _) => Err(format!(
                "--output: type {} is not known; docker, image, oci, tar and local are",
                docker_format::quoted(kind)
            )),
        }
    }

    /// Whether it goes to standard output.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self, Self::Archive(_, None) | Self::Tar(None))
    }

    /// Writes an image, which is in the store, where it shall go; in an archive it has these names.
    pub(super) fn write(
        &self,
        root: &Path,
        driver: Option<&str>,
        image: ImageId,
        names: &[Reference],
        interrupted: &AtomicBool,
    ) -> anyhow::Result<()> {
        if *self == Self::Store {
            return Ok(());
        }
        let root = DataRoot::find(root, driver)?;
        let view = View::read_root(root, Needs::RECORDS)?;
        if let Self::Archive(form, dest) = self {
            let names: BTreeSet<Reference> = names.iter().cloned().collect();
            let plan = SavePlan::new(view.catalog(), &BTreeMap::from([(image, names)]), &BTreeSet::default());
            let options = SaveOptions {
                form: *form,
                encoding: Encoding::None,
                skip_damaged: false,
                threads: layerfs::pool::processors().get(),
                interrupted,
                observer: &Silent,
            };
            match dest {
                Some(file) => save::save(view.root(), &plan, SaveDestination::File(file.clone()), &options)?,
                None => save::save(view.root(), &plan, SaveDestination::Stream(&mut output::binary()?), &options)?,
            };
            return Ok(());
        }
        let known = view.catalog().images().get(&image);
        let known = known.ok_or_else(|| anyhow::anyhow!("No such image: {image}"))?;
        let layers = LayersOfStore::new(view.root(), view.catalog(), known)?;
        match self {
            Self::Tar(Some(file)) => {
                let file = NewFile::create(file.clone())?;
                export_to_file(&layers, file.file(), interrupted, &Silent)?;
                file.finish()?;
            }
            Self::Files(dir) => {
                std::fs::create_dir_all(dir)?;
                let tree = read_tree(&layers, None)?;
                let source = CopySource::find(&tree, b"/.", false)?;
                let destination = CopyDestination::new(dir, &tree, &source)?;
                extract(&tree, &layers, &source, &destination, interrupted)?;
            }
            _ => drop(export(&layers, output::binary()?, interrupted, &Silent)?),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read() {
        let path = |text: &str| Some(PathBuf::from(text));
        for (text, expected) in [
            ("type=docker", Output::Store),
            ("type=docker,dest=a.tar", Output::Archive(SaveForm::Docker, path("a.tar"))),
            ("type=oci,dest=-", Output::Archive(SaveForm::Oci, None)),
            ("type=tar,dest=t", Output::Tar(path("t"))),
            ("-", Output::Tar(None)),
            ("dir", Output::Files("dir".into())),
            ("type=local,dest=dir", Output::Files("dir".into())),
        ] {
            assert_eq!(Output::parse(text).as_ref(), Ok(&expected), "{text}");
        }
        for wrong in ["type=local", "type=registry", "type=oci,compression=zstd", "type=oci,x"] {
            assert!(Output::parse(wrong).is_err(), "{wrong}");
        }
    }
}
