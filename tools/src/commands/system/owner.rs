//! `layerfs system owner`: whose a directory, a file, a link or an id is, and why it is kept.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use layerfs::ChainId;
use serde::Serialize;
use snapshot::catalog::{Catalog, Container};
use snapshot::containerd::owner::{StoredItem, StoredVerdict};
use snapshot::ids::{ImageId, MountName};
use snapshot::liveness::lookup::{StoreItem, find_item, find_record};
use snapshot::liveness::{Claim, EntryVerdict, OwnedEntry};
use snapshot::view::{Needs, View};

use crate::commands::layerfs::NAME;
use crate::exit::until_the_end;
use crate::output;
use docker_format::size;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A path below the data-root, a cache id, a link id, a chain id, an image, a container or a volume
    #[arg(required = true, value_name = "PATH|ID|LINK")]
    subjects: Vec<String>,

    /// Report as JSON
    #[arg(long)]
    json: bool,
}

/// What is known of one subject. Its JSON form has the same fields.
#[derive(Debug, Default, Serialize)]
struct Answer {
    /// The text that the user gave.
    asked: String,
    /// What the subject is, in a few words.
    what: String,
    /// The entry of the driver's home to which the subject belongs.
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<PathBuf>,
    /// The part of the entry that the user asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    below: Option<PathBuf>,
    /// `live`, `orphan`, `unknown` or `service`.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    /// The reasons for the verdict.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    why: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<LayerAnswer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<ImageAnswer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers: Vec<ContainerAnswer>,
}

#[derive(Debug, Serialize)]
struct LayerAnswer {
    chain_id: ChainId,
    #[serde(skip_serializing_if = "Option::is_none")]
    diff_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
}

#[derive(Debug, Serialize)]
struct ImageAnswer {
    id: ImageId,
    names: Vec<String>,
    /// The layer's place in the image, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<usize>,
    layers: usize,
    /// The command that made the layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
}

#[derive(Debug, Serialize)]
struct ContainerAnswer {
    id: String,
    name: String,
    /// What the subject is to the image or container.
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let mut view = until_the_end(View::read(root, driver, Needs::STEPS)?);
    // Who needs what of the driver's home takes as long to find out as all the rest, and images and containers do not need it.
    let records = args.subjects.iter().map(|asked| find_record(view.root(), view.catalog(), asked));
    if records.collect::<Result<Vec<_>, _>>()?.iter().any(Option::is_none) {
        view.add_liveness()?;
    }
    let (mut answers, mut missing) = (Vec::new(), false);
    for asked in &args.subjects {
        match find_item(view.root(), view.catalog(), view.liveness(), asked)? {
            Some(target) => answers.push(Asker { view: &view, catalog: view.catalog() }.answer(asked, target)),
            None => {
                missing = true;
                output::complain(
                    NAME,
                    &format!(
                        "{asked}: {} has no directory, layer, image, container or volume of this name",
                        view.root().dir().path().display()
                    ),
                );
            }
        }
    }
    if args.json {
        output::json(&answers)?;
    } else {
        for (number, answer) in answers.iter().enumerate() {
            if number > 0 {
                output::say("")?;
            }
            print(answer)?;
        }
    }
    Ok(if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What answers are made from.
struct Asker<'a> {
    view: &'a View,
    catalog: &'a Catalog,
}

impl Asker<'_> {
    fn answer(&self, asked: &str, target: StoreItem) -> Answer {
        let mut answer = Answer { asked: asked.to_owned(), ..Answer::default() };
        match target {
            StoreItem::Entry { name, below } => self.entry(&mut answer, &name, below),
            StoreItem::Link { id, entry: Some(name) } => {
                self.entry(&mut answer, &name, PathBuf::new());
                answer.what = format!("link {id} to {}", answer.what);
            }
            StoreItem::Link { id, entry: None } => {
                answer.what = format!("link {id}, which leads nowhere");
                answer.verdict = Some("orphan");
            }
            StoreItem::Layer(chain) => {
                self.layer(&mut answer, chain);
                answer.what = "a layer's record".into();
                if let Some(layer) = self.catalog.layer(chain) {
                    let name = layer.cache_id.to_string();
                    if let Some(entry) = self.view.liveness().entry(&name) {
                        self.judge(&mut answer, entry);
                        answer.entry = self.path_of(&name);
                    }
                }
            }
            StoreItem::Image(id) => {
                answer.what = "an image".into();
                answer.images.push(self.image(id, None));
                for container in self.catalog.containers_of(id) {
                    answer.containers.push(named(container, "made from it"));
                }
            }
            StoreItem::Container(id) => {
                answer.what = "a container".into();
                self.container(&mut answer, &id.into(), "itself");
            }
            StoreItem::Volume(name) => {
                answer.what = format!("local volume {name}");
                let uses =
                    |container: &&Container| container.mount_points.iter().any(|point| name == point.name.as_str());
                for container in self.catalog.containers().iter().filter(uses) {
                    answer.containers.push(named(container, "has it mounted"));
                }
            }
            StoreItem::Stored(item) => self.stored(&mut answer, &item),
            StoreItem::Other { whose, .. } => answer.what = whose.to_owned(),
        }
        answer
    }

    /// Something of containerd's store.
    fn stored(&self, answer: &mut Answer, item: &StoredItem) {
        let owner = self.view.owner_in_containerd(item);
        (answer.entry, answer.below) = (owner.place, owner.below);
        if let Some(chain) = owner.layer {
            self.layer(answer, chain);
        }
        for id in owner.images {
            if answer.images.iter().all(|image| image.id != id) {
                answer.images.push(self.image(id, None));
            }
        }
        for (id, role) in &owner.containers {
            let known = self.catalog.containers().iter().find(|container| container.id.as_str() == id);
            answer.containers.push(known.map_or_else(
                || ContainerAnswer {
                    id: id.clone(),
                    name: String::new(),
                    role,
                    damage: Some("there is no such container".into()),
                },
                |container| named(container, role),
            ));
        }
        answer.what = owner.what;
        answer.verdict = Some(match owner.verdict {
            StoredVerdict::Live => "live",
            StoredVerdict::Orphan => "orphan",
            StoredVerdict::Unknown => "unknown",
            StoredVerdict::Service => "service",
        });
        answer.why = owner.why;
    }

    fn path_of(&self, name: &str) -> Option<PathBuf> {
        Some(self.view.root().home()?.join(name))
    }

    fn entry(&self, answer: &mut Answer, name: &str, below: PathBuf) {
        let Some(entry) = self.view.liveness().entry(name) else { return };
        answer.entry = self.path_of(name);
        answer.below = Some(below).filter(|below| !below.as_os_str().is_empty());
        answer.what = what(entry, self.view.liveness().verdict_on(entry)).to_owned();
        self.judge(answer, entry);
        for claim in &entry.claims {
            match claim {
                Claim::Layer(chain) => self.layer(answer, *chain),
                Claim::Mount(id) => self.mount(answer, id),
                Claim::Init(id) => self.container(answer, id, "its init layer"),
                _ => {}
            }
        }
    }

    fn judge(&self, answer: &mut Answer, entry: &OwnedEntry) {
        let verdict = self.view.liveness().verdict_on(entry);
        answer.verdict = Some(match verdict {
            EntryVerdict::Live(_) => "live",
            EntryVerdict::Service => "service",
            EntryVerdict::Orphan => "orphan",
            EntryVerdict::Unknown(_) => "unknown",
        });
        let known = std::mem::replace(&mut answer.why, entry.claims.iter().map(ToString::to_string).collect());
        match verdict {
            EntryVerdict::Orphan => {
                answer.why.push("no layer, container, build cache, deletion or mount claims it".into());
            }
            EntryVerdict::Unknown(doubts) => {
                answer.why.push("nothing that could be read claims it, but not all could be read:".into());
                answer.why.extend(doubts.iter().map(ToString::to_string));
            }
            EntryVerdict::Live(_) | EntryVerdict::Service => {}
        }
        answer.why.extend(known);
        if let Some(set) = &entry.unfinished {
            answer.why.push(format!("it is named by the unfinished registration layerdb/tmp/{set}"));
        }
    }

    fn layer(&self, answer: &mut Answer, chain: ChainId) {
        let record = self.catalog.layer(chain);
        answer.layer = Some(LayerAnswer {
            chain_id: chain,
            diff_id: record.map(|record| record.diff_id.to_string()),
            cache_id: record.map(|record| record.cache_id.to_string()),
            size: record.map(|record| record.size),
            damage: self.catalog.layers().get(&chain).and_then(|layer| layer.as_ref().err()).map(ToString::to_string),
        });
        for used in self.catalog.uses(chain) {
            let mut image = self.image(used.image.id, Some(used.place + 1));
            image.created_by = used.command().map(str::to_owned);
            answer.images.push(image);
        }
        if answer.images.is_empty() {
            answer.why.push("no image has it: dockerd keeps it, and counts it nowhere".into());
        }
        let holds = |container: &&Container| {
            let mount = container.mount.as_ref();
            mount
                .and_then(|mount| mount.parent)
                .is_some_and(|top| self.catalog.chain(top).any(|layer| layer.chain_id == chain))
        };
        for container in self.catalog.containers().iter().filter(holds) {
            answer.containers.push(named(container, "stands on it"));
        }
    }

    fn image(&self, id: ImageId, layer: Option<usize>) -> ImageAnswer {
        ImageAnswer {
            id,
            names: self.catalog.names_of(id).into_iter().map(str::to_owned).collect(),
            layer,
            layers: self.catalog.images().get(&id).map_or(0, |image| image.chain.len()),
            created_by: None,
            damage: self.catalog.damaged_images().get(&id).map(ToString::to_string),
        }
    }

    fn mount(&self, answer: &mut Answer, name: &MountName) {
        let known = self.catalog.container_of_mount(name.as_str());
        if known.is_some_and(|container| container.id.as_str() != name.as_str()) {
            answer.what = "an image that a container has mounted".into();
            self.container(answer, name, "has it mounted");
        } else {
            self.container(answer, name, "its writable layer");
        }
    }

    fn container(&self, answer: &mut Answer, mount: &MountName, role: &'static str) {
        let known = self.catalog.container_of_mount(mount.as_str());
        answer.containers.push(known.map_or_else(
            || ContainerAnswer {
                id: mount.to_string(),
                name: String::new(),
                role,
                damage: Some("there is no such container: a build's, or what is left of one".into()),
            },
            |container| named(container, role),
        ));
        if let Some(image) = known.and_then(|container| container.image) {
            answer.images.push(self.image(image, None));
        }
    }
}

fn named(container: &Container, role: &'static str) -> ContainerAnswer {
    let damage = container.damage.as_ref().map(ToString::to_string);
    ContainerAnswer { id: container.id.to_string(), name: container.name.clone(), role, damage }
}

/// What an entry is, in a few words.
fn what(entry: &OwnedEntry, verdict: EntryVerdict<'_>) -> &'static str {
    match (verdict, entry.claims.first()) {
        (_, Some(Claim::Layer(_))) => "a layer's directory",
        (_, Some(Claim::Mount(_))) => "a container's writable layer",
        (_, Some(Claim::Init(_))) => "a container's init layer",
        (_, Some(Claim::BuildKit(_))) => "build cache",
        (_, Some(Claim::Removing(_))) => "a layer that is being removed",
        (_, Some(Claim::Lost(_))) => "a container's writable layer that has lost its record",
        (_, Some(Claim::Below(_) | Claim::Mounted(_))) => "a directory in use that has no record",
        (EntryVerdict::Service, None) => "the driver's own",
        (EntryVerdict::Orphan, None) => "a directory without an owner",
        (_, None) => "a directory whose owner is not known",
    }
}

fn print(answer: &Answer) -> anyhow::Result<()> {
    output::say(&format!("{}: {}", answer.asked, answer.what))?;
    let line = |key: &str, text: &str| output::say(&format!("  {key:<11}{text}"));
    if let Some(entry) = &answer.entry {
        line(if entry.is_file() { "file" } else { "directory" }, &entry.display().to_string())?;
    }
    if let Some(layer) = &answer.layer {
        let size = layer.size.map(|size| format!("  {}", size::size(size))).unwrap_or_default();
        line("layer", &format!("{}{size}", layer.chain_id))?;
        if let Some(diff_id) = &layer.diff_id {
            line("diff id", diff_id)?;
        }
        if let Some(damage) = &layer.damage {
            line("damaged", damage)?;
        }
    }
    for image in &answer.images {
        let names = if image.names.is_empty() { "<none>".to_owned() } else { image.names.join(", ") };
        let place = image.layer.map(|layer| format!("  layer {layer} of {}", image.layers)).unwrap_or_default();
        line("image", &format!("{names}  {}{place}", image.id))?;
        if let Some(step) = &image.created_by {
            line("made by", step)?;
        }
        if let Some(damage) = &image.damage {
            line("damaged", damage)?;
        }
    }
    for container in &answer.containers {
        let short = container.id.get(..12).unwrap_or(&container.id);
        let name = if container.name.is_empty() { short.to_owned() } else { format!("{} ({short})", container.name) };
        line("container", &format!("{name}: {}", container.role))?;
        if let Some(damage) = &container.damage {
            line("damaged", damage)?;
        }
    }
    if let Some(verdict) = answer.verdict {
        line(verdict, answer.why.first().map_or("", String::as_str))?;
        for why in answer.why.iter().skip(1) {
            line("", why)?;
        }
    }
    Ok(())
}
