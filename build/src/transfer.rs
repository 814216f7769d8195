//! `COPY` and `ADD` (moby v20.10.24 `builder/dockerfile/copy.go, dispatchers.go`).

use std::io::Read;
use std::rc::Rc;

use images::tree::{LayersOfStore, Tree, read_for, read_tree};
use snapshot::ids::ImageId;

use crate::copy::{How, brings_names, copy, hash_of, pick};
use crate::dispatch::{now, text};
use crate::execute::Builder;
use crate::expand::expand;
use crate::instruction::Transfer;
use crate::source::{Picked, SourceTree};
use crate::state::State;
use crate::untar::Bodies;
use crate::upper::Upper;
use crate::{BuildError, owner};

/// Bytes of `/etc/passwd` and `/etc/group` that are read.
const LONGEST: u64 = 16 << 20;

impl Builder<'_> {
    pub(crate) fn transfer(
        &mut self,
        state: &mut State,
        name: &'static str,
        transfer: &Transfer,
        env: &[String],
    ) -> Result<(), BuildError> {
        if !transfer.chmod.is_empty() {
            return Err(BuildError::NeedsBuildKit("chmod".into()));
        }
        let word = |word: &String| expand(word, self.escape, env);
        let chown = word(&transfer.chown)?;
        let mut paths = transfer.paths.iter().map(word).collect::<Result<Vec<_>, _>>()?;
        let dest = paths.pop().unwrap_or_default();
        let from = if transfer.from.is_empty() { None } else { Some(self.from(&transfer.from)?) };
        match from {
            None => {
                let context = Rc::clone(&self.context);
                self.copy(state, name, &paths, &dest, &chown, &context, false)
            }
            Some(image) => {
                let moment = self.store.moment();
                let nothing = Picked::default();
                let layers;
                let source = match image {
                    None => SourceTree::image(Tree::empty(), &nothing),
                    Some(id) => {
                        layers = moment.layers(id)?;
                        SourceTree::image(read_tree(&layers, None)?, &layers)
                    }
                };
                self.copy(state, name, &paths, &dest, &chown, &source, true)
            }
        }
    }

    /// The image that `--from` means: a stage by name or number, or an image.
    fn from(&mut self, text: &str) -> Result<Option<ImageId>, BuildError> {
        let wrong = |reason: String| format!("invalid from flag value {text}: {reason}");
        self.find_from(text).map_err(|error| match error {
            BuildError::Invalid(reason) => BuildError::Invalid(wrong(reason)),
            BuildError::NoBase(reason) => BuildError::NoBase(wrong(reason)),
            other => other,
        })
    }

    fn find_from(&mut self, text: &str) -> Result<Option<ImageId>, BuildError> {
        let platform = self.platform.clone();
        let stage = match (self.stage(text), text.parse::<i64>()) {
            (Some(stage), _) => stage,
            (None, Ok(number)) => {
                let outside = || BuildError::Invalid("index out of bounds".into());
                let at = usize::try_from(number).map_err(|_| outside())?;
                if at == self.stages.len() {
                    return Err(BuildError::Invalid("refers to current build stage".into()));
                }
                self.stages.get(at).ok_or_else(outside)?
            }
            (None, Err(_)) => return self.base(text, platform.as_ref()).map(Some),
        };
        let image = stage.image;
        self.expect_platform(image, platform.as_ref())?;
        Ok(image)
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of an instruction")]
    fn copy(
        &mut self,
        state: &mut State,
        name: &'static str,
        sources: &[String],
        dest: &str,
        chown: &str,
        from: &SourceTree<'_>,
        keeps_owner: bool,
    ) -> Result<(), BuildError> {
        let items = pick(sources, name, from).map_err(|error| BuildError::Sources(name, error))?;
        if items.len() > 1 && !dest.ends_with('/') {
            return Err(BuildError::Invalid(format!(
                "When using {name} with more than one source file, the destination must be a directory and end with a /"
            )));
        }
        let flag = if chown.is_empty() { String::new() } else { format!("--chown={chown}") };
        let comment = format!("{name} {flag}{} in {dest} ", hash_of(&items));
        let made_with = state.commented(&comment, false);
        if self.is_cached(state, &made_with)? {
            return Ok(());
        }
        let platform = self.platform.clone();
        self.expect_platform(state.image, platform.as_ref()).map_err(|error| match (error, state.image) {
            (BuildError::Invalid(reason), Some(image)) => BuildError::Invalid(format!(
                "failed to get destination image {}: {reason}",
                docker_format::quoted(&image.to_string())
            )),
            (error, _) => error,
        })?;
        let target = absolute(&state.run.working_dir, dest);
        let owner = if chown.is_empty() { (0, 0) } else { self.owner(state.image, chown)? };
        let how = How { owner: Some(owner).filter(|_| !keeps_owner || !chown.is_empty()), unpack: name == "ADD" };
        let mut wanted = vec![target.clone().into_bytes()];
        let last = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
        wanted.extend(items.iter().map(|item| format!("{target}/{}", last(&item.path)).into_bytes()));
        let wanted: Vec<&[u8]> = wanted.iter().map(Vec::as_slice).collect();
        let bodies =
            if how.unpack { Some(Bodies::new().map_err(BuildError::io("making a temporary file"))?) } else { None };
        let mut upper = Upper::new(self.read_base(state.image, &wanted)?, now());
        let failed = BuildError::Copy;
        // What is in a directory counts only if more than one name comes into it.
        let is_known = upper.follow(b"", target.as_bytes()).is_ok_and(|target| upper.is_directory(&target));
        if let Some(image) = state.image.filter(|_| is_known) {
            let several = items.iter().map(|item| brings_names(item, from, how)).collect::<Result<Vec<_>, _>>();
            if several.map_err(failed)?.contains(&true) {
                upper = Upper::new(read_tree(&self.store.moment().layers(image)?, None)?, now());
            }
        }
        for item in &items {
            copy(item, from, &target, how, &mut upper, bodies.as_ref()).map_err(failed)?;
        }
        self.add(state, "", made_with, Some(&upper))
    }

    /// The owner that `--chown` means in an image.
    fn owner(&mut self, image: Option<ImageId>, text: &str) -> Result<(i64, i64), BuildError> {
        let texts = match image {
            Some(image) => {
                let moment = self.store.moment();
                read_accounts(&moment.layers(image)?)?
            }
            None => Default::default(),
        };
        let found = owner::parse(text, &texts[0], &texts[1]);
        found.map_err(|reason| {
            BuildError::Invalid(format!("unable to convert uid/gid chown string to host mapping: {reason}"))
        })
    }
}

/// `/etc/passwd` and `/etc/group` of an image; empty where it has none.
pub(crate) fn read_accounts(layers: &LayersOfStore<'_>) -> Result<[String; 2], BuildError> {
    const FILES: [&[u8]; 2] = [b"etc/passwd", b"etc/group"];
    let mut texts = [String::new(), String::new()];
    let tree = read_for(layers, &FILES)?;
    for (file, text) in FILES.iter().zip(&mut texts) {
        let Ok((path, id)) = tree.find(file, true) else { continue };
        let mut bytes = Vec::new();
        let reader = tree.open(layers, &path, id)?;
        let read = reader.take(LONGEST).read_to_end(&mut bytes);
        read.map_err(BuildError::io("reading the users and groups of the image"))?;
        *text = String::from_utf8_lossy(&bytes).into_owned();
    }
    Ok(texts)
}

/// Where a copy goes, from the root; a slash at the end stays.
pub(crate) fn absolute(dir: &str, dest: &str) -> String {
    if dest.starts_with('/') {
        return dest.to_owned();
    }
    let joined = text(layerfs::path::absolute(format!("/{dir}/{dest}").as_bytes()));
    if dest.ends_with('/') && !joined.ends_with('/') { joined + "/" } else { joined }
}
