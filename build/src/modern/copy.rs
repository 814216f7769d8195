//! `COPY` and `ADD`.

use images::tree::{Tree, read_for, read_tree};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Builder;
use super::apply::{How, apply};
use super::cache::{self, Keys};
use super::chmod::Chmod;
use super::download::{is_git, is_url};
use super::fingerprint::fingerprint;
use super::graph::From;
use super::pick::{Pick, pick};
use super::stage::Built;
use super::texts::Texts;
use crate::copy::CopyError;
use crate::expand::{expand_modern, expand_text};
use crate::ignore::Patterns;
use crate::instruction::Transfer;
use crate::parser::Heredoc;
use crate::source::{Picked, SourceTree};
use crate::transfer::{absolute, read_accounts};
use crate::untar::Bodies;
use crate::upper::{Owner, Upper};
use crate::{BuildError, owner};

/// A `COPY` or `ADD`, with its variables expanded.
pub(super) struct Order {
    is_add: bool,
    pub(super) sources: Vec<String>,
    /// Where it goes, from the root; with a slash at the end, or not.
    dest: String,
    chown: String,
    chmod: String,
    link: bool,
    parents: bool,
    exclude: Vec<String>,
    /// Whether archives of the context are unpacked, and those that were fetched.
    pub(super) unpack: bool,
    pub(super) unpack_urls: bool,
    /// The entry of the history.
    pub(super) text: String,
    /// The name in the progress.
    pub(super) line: String,
}

/// What was picked from a tree.
pub(super) struct Chosen<'p, 's> {
    pub(super) picks: Vec<Pick>,
    pub(super) from: &'p SourceTree<'s>,
    /// Whether archives are unpacked.
    pub(super) unpack: bool,
    /// What the layer depends on besides the names and contents of the files.
    pub(super) also: Option<Value>,
}

impl<'p, 's> Chosen<'p, 's> {
    fn new(picks: Vec<Pick>, from: &'p SourceTree<'s>, order: &Order) -> Self {
        Self { picks, from, unpack: order.unpack, also: None }
    }
}

impl Builder<'_, '_> {
    /// Copies what a `COPY` or `ADD` names.
    pub(super) fn transfer(
        &mut self,
        built: &mut Built,
        is_add: bool,
        transfer: &Transfer,
        line: &str,
    ) -> Result<(), BuildError> {
        let order = self.order(built, is_add, transfer, line)?;
        let (files, texts) = (transfer.from.is_empty(), !transfer.heredocs.is_empty());
        if texts {
            return self.copy_texts(built, &order, &transfer.heredocs);
        }
        if files && order.sources.iter().any(|source| is_add && is_url(source)) {
            return self.add_urls(built, &order, &transfer.checksum);
        }
        if files {
            return self.copy(built, &order, &self.shared.context, None);
        }
        let (image, layers) = match self.shared.needed.from(&transfer.from, self.number)? {
            From::Stage(number) => {
                let stage = self.shared.together.wait_for(number)?;
                (stage.image, stage.layers)
            }
            From::Context(name) => {
                let source = self.named(&name)?;
                return self.copy(built, &order, &source, None);
            }
            From::Image(name) => {
                let platform = self.shared.platform.clone();
                let id = self.shared.find_image(&name, platform.as_ref())?;
                (Some(id), self.shared.store.moment().config(id)?.1)
            }
        };
        let moment = self.shared.store.moment();
        let nothing = Picked::default();
        let stored;
        let source = match image {
            None => SourceTree::image(Tree::empty(), &nothing),
            Some(id) => {
                // The tree is read only if the layer is not in the cache.
                let key = order_key(built, &order, &json!(["stage", layers]), self.latest());
                let text = order.text.clone();
                if self.take_cached(built, &key, &text) {
                    let number = self.begin(&order.line)?;
                    return self.cached(number);
                }
                stored = moment.layers(id)?;
                SourceTree::image(read_tree(&stored, None)?, &stored)
            }
        };
        self.copy(built, &order, &source, Some(json!(["stage", layers])))
    }

    fn order(&mut self, built: &Built, is_add: bool, transfer: &Transfer, line: &str) -> Result<Order, BuildError> {
        let word = |word: &String| expand_modern(word, self.shared.escape, &built.env).map_err(BuildError::from);
        let name = if is_add { "ADD" } else { "COPY" };
        let (chown, chmod) = (word(&transfer.chown)?, word(&transfer.chmod)?);
        // BuildKit 28.5 expands no variables in them.
        let exclude = transfer.exclude.clone();
        let is_text = |path: &String| !transfer.heredocs.is_empty() && Heredoc::announced(path).is_some();
        let expanded = |path: &String| if is_text(path) { Ok(path.clone()) } else { word(path) };
        let mut paths = transfer.paths.iter().map(expanded).collect::<Result<Vec<_>, _>>()?;
        let mut text = name.to_owned();
        for (flag, value) in [("chown", &chown), ("chmod", &chmod)] {
            if !value.is_empty() {
                text += &format!(" --{flag}={value}");
            }
        }
        let dest = paths.pop().unwrap_or_default();
        let sources: Vec<String> = paths.into_iter().filter(|path| !is_text(path)).collect();
        let texts = transfer.heredocs.iter().map(|heredoc| format!("<<{}", heredoc.name));
        let shown: Vec<String> = sources.iter().cloned().chain(texts).chain([dest.clone()]).collect();
        text += &format!(" {} # buildkit", shown.join(" "));
        if !is_add && sources.iter().any(|source| is_url(source)) {
            return Err(BuildError::Invalid(CopyError::Url.to_string()));
        }
        if let Some(url) = sources.iter().find(|source| is_add && is_git(source)) {
            return Err(BuildError::Sources(name, CopyError::Git(url.clone())));
        }
        if !transfer.checksum.is_empty() && sources.len() != 1 {
            return Err(BuildError::Invalid("checksum can't be specified for multiple sources".into()));
        }
        if !transfer.checksum.is_empty() && !is_url(&sources[0]) {
            return Err(BuildError::Invalid("checksum requires HTTP(S) or Git sources".into()));
        }
        let dest = if dest == "." || dest.ends_with("/.") { format!("{dest}/") } else { dest };
        let mut dest = absolute(&built.run.working_dir, &dest);
        if transfer.parents && !dest.ends_with('/') {
            dest.push('/');
        }
        Ok(Order {
            is_add,
            sources,
            dest,
            chown,
            chmod,
            link: transfer.link,
            parents: transfer.parents,
            exclude,
            unpack: transfer.unpack.unwrap_or(is_add),
            unpack_urls: transfer.unpack.unwrap_or(false),
            text,
            line: self.step_name(line),
        })
    }

    /// Copies texts that stand in the Dockerfile, and files of the context beside them.
    fn copy_texts(&mut self, built: &mut Built, order: &Order, heredocs: &[Heredoc]) -> Result<(), BuildError> {
        let mut texts = Texts(Vec::new());
        let mut names = Vec::new();
        for heredoc in heredocs {
            let text = heredoc.content();
            let text = if heredoc.expand { expand_text(&text, &built.env)? } else { text };
            texts.0.push(text.into_bytes());
            names.push(heredoc.name.clone());
        }
        let tree = texts.tree_of(&names, Timestamp::now().as_second());
        let source = SourceTree::image(tree, &texts);
        let context = &self.shared.context;
        let picks = [
            Chosen::new(pick(&names, &source, false)?, &source, order),
            Chosen::new(pick(&order.sources, context, false)?, context, order),
        ];
        self.copy_picks(built, order, &picks, None, None)
    }

    fn copy(
        &mut self,
        built: &mut Built,
        order: &Order,
        from: &SourceTree<'_>,
        stage: Option<Value>,
    ) -> Result<(), BuildError> {
        let picks = pick(&order.sources, from, order.parents)?;
        self.copy_picks(built, order, &[Chosen::new(picks, from, order)], stage, None)
    }

    /// Copies all files of a tree to the root of a stage. `line` is the name in the progress.
    pub(super) fn copy_whole(
        &mut self,
        built: &mut Built,
        from: &SourceTree<'_>,
        line: &str,
    ) -> Result<(), BuildError> {
        let order = Order {
            is_add: false,
            sources: vec!["/".into()],
            dest: "/".into(),
            chown: String::new(),
            chmod: String::new(),
            link: false,
            parents: false,
            exclude: Vec::new(),
            unpack: false,
            unpack_urls: false,
            text: line.to_owned(),
            line: line.to_owned(),
        };
        self.copy(built, &order, from, None)
    }

    /// Copies what was picked, unless the cache has the layer. `stage` says where it is from, if that is no file of the context, and
    /// `begun` is the step's number, if it was begun.
    pub(super) fn copy_picks<'s>(
        &mut self,
        built: &mut Built,
        order: &Order,
        all: &[Chosen<'_, 's>],
        stage: Option<Value>,
        begun: Option<usize>,
    ) -> Result<(), BuildError> {
        let number = match begun {
            Some(number) => number,
            None => self.begin(&order.line)?,
        };
        let excluded = Patterns::of_flags(&order.exclude).map_err(|error| BuildError::Invalid(error.to_string()))?;
        let mut contents = Vec::new();
        for Chosen { picks, from, also, .. } in all {
            contents.extend(also.clone());
            for pick in picks {
                let print = fingerprint(from, &pick.path, pick.id, &|below| pick.takes(below, &excluded))?;
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let included = pick.included.as_ref().map(|included| included.text.clone());
                contents.push(json!([text(&pick.name), included, print]));
            }
        }
        let content = order_key(built, order, &json!(contents), self.latest());
        let key = stage.map(|stage| order_key(built, order, &stage, self.latest())).unwrap_or_default();
        let keys = Keys { key, content };
        if self.take_cached(built, &keys.content, &order.text) {
            return self.cached(number);
        }
        let now = Timestamp::now().as_second();
        let bodies = if all.iter().any(|chosen| chosen.unpack) {
            Some(Bodies::new().map_err(BuildError::io("making a temporary file"))?)
        } else {
            None
        };
        let owner = if order.chown.is_empty() { None } else { Some(self.owner_of(built, &order.chown)?) };
        let chmod = match order.chmod.as_str() {
            "" => None,
            text => Some(Chmod::parse(text).map_err(BuildError::Invalid)?),
        };
        let mut upper = Upper::new(Tree::empty(), now);
        let moment = self.shared.store.moment();
        if let Some(image) = built.image {
            let mut wanted = vec![order.dest.as_bytes().to_vec()];
            let names = all.iter().flat_map(|chosen| &chosen.picks).map(|pick| &pick.name);
            wanted.extend(names.map(|name| [order.dest.as_bytes(), b"/", name.as_slice()].concat()));
            let wanted: Vec<&[u8]> = wanted.iter().map(Vec::as_slice).collect();
            let layers = moment.layers(image)?;
            upper = Upper::new(read_for(&layers, &wanted)?, now);
            // What is in a directory counts only if more than one name comes into it.
            let is_known = upper.follow(b"", order.dest.as_bytes()).is_ok_and(|target| upper.is_directory(&target));
            if is_known {
                upper = Upper::new(read_tree(&layers, None)?, now);
            }
        }
        let how = How { owner, chmod, excluded, now };
        // Shorter lives for what the layer borrows.
        let mut upper: Upper<'_> = upper;
        for Chosen { picks, from, unpack, .. } in all {
            let bodies = bodies.as_ref().filter(|_| *unpack);
            for pick in picks {
                apply(pick, from, &order.dest, &how, bodies, &mut upper)?;
            }
        }
        self.add_upper(built, &keys, &order.text, upper)?;
        self.done(number)
    }

    /// The owner that a text means in a stage.
    pub(super) fn owner_of(&mut self, built: &Built, text: &str) -> Result<Owner, BuildError> {
        let texts = match built.image {
            Some(image) => {
                let moment = self.shared.store.moment();
                read_accounts(&moment.layers(image)?)?
            }
            None => Default::default(),
        };
        Ok(owner::parse_modern(text, &texts[0], &texts[1]))
    }
}

/// The key of a `COPY` of these contents onto a stage.
pub(super) fn order_key(built: &Built, order: &Order, contents: &Value, latest: Option<i64>) -> String {
    /// By what rules files are copied: layers from before are not those of today.
    const RULES: u32 = 3;
    let below = if order.link { json!("link") } else { json!("on") };
    // The layers below count always: a record has them, too.
    let parts = [
        below,
        json!(order.is_add),
        json!(order.sources),
        json!(order.dest),
        json!(order.chown),
        json!(order.chmod),
        json!(order.parents),
        json!(order.exclude),
        // Says what is unpacked: layers from before zstd was are not those of today.
        if order.unpack { json!("with zstd") } else { json!(false) },
        contents.clone(),
        json!(latest),
        json!(RULES),
    ];
    cache::key(&built.layers, &parts)
}
