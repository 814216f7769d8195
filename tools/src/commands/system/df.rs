//! `layerfs system df`: `docker system df`, offline.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;
use snapshot::catalog::Volume;
use snapshot::driver::AnyDriver;
use snapshot::schema::buildkit::{BuildCache, CacheRecord};
use snapshot::usage::{build_cache, df, sizes};
use snapshot::view::{Needs, View};

use crate::commands::container::list::measure;
use crate::commands::container::row::{self as container, Sizes, Style};
use crate::commands::image::{seconds, shown_id, tag};
use crate::commands::layerfs::NAME;
use crate::commands::volume::mountpoint;
use crate::exit::until_the_end;
use crate::own_cache::{self, OwnCache};
use crate::{damage, output};
use docker_format::listing::{ListingKind, Row};
use docker_format::template::{Field, List, MissingKey, Struct, Template, Value};
use docker_format::{ago, presets, size};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show each image, container, volume and record of the build cache
    #[arg(short, long)]
    verbose: bool,

    /// `table`, `table TEMPLATE`, `raw`, `json`, or a Go template
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,
}

/// What the tables are made from.
struct Tables {
    view: View,
    cache: BuildCache,
    own: OwnCache,
    now: Timestamp,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let view = View::read(root, driver, Needs::DISK_USAGE)?;
    let cache = build_cache(&view);
    let unknown = cache.as_ref().err().map(|error| format!("the build cache is not known: {error}"));
    let own = OwnCache::read(view.catalog(), |name| own_cache::measure(view.root(), name));
    let mut cache = cache.unwrap_or_default();
    cache.records.extend(own.records.iter().cloned());
    let usage = until_the_end(Tables { view, cache, own, now: Timestamp::now() });
    let text = match (args.verbose, args.format.as_str()) {
        (true, "" | "table") => usage.tables()?,
        (true, format) => usage.document(format)?,
        (false, format) => presets::DISK_USAGE.render(&presets::disk_usage(format), &usage.summary())?,
    };
    output::raw(&text)?;
    damage::report(NAME, &usage.view);
    damage::report_elsewhere(NAME, &usage.view);
    if let Some(wasted) = wasted(&usage.view) {
        output::complain(NAME, &wasted);
    }
    if let Some(unknown) = &unknown {
        output::complain(NAME, unknown);
    }
    let complete = unknown.is_none() && !usage.view.catalog().images_elsewhere();
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the file of a pool has allocated and the pool does not use. A pool that is active, or not in files, is not looked at.
fn wasted(view: &View) -> Option<String> {
    /// Bytes that are not worth a word.
    const LITTLE: u64 = 16 << 20;
    let AnyDriver::DeviceMapper(mapper) = view.root().driver()? else { return None };
    let file = mapper.pool().ok()?.data_file().ok()?;
    let wasted = file.allocated.saturating_sub(file.used);
    (wasted >= LITTLE).then(|| {
        format!(
            "the pool's file has {} allocated, and {} of it are not in use: `layerfs system trim` gives them back",
            size::size(file.allocated),
            size::size(wasted)
        )
    })
}

/// The names of the four kinds in a template.
const KINDS: [(&str, ListingKind); 4] = [
    ("Images", presets::DISK_USAGE_IMAGES),
    ("Containers", presets::CONTAINERS),
    ("Volumes", presets::VOLUMES),
    ("BuildCache", presets::BUILD_CACHE),
];

impl Tables {
    fn summary(&self) -> Vec<Row> {
        let catalog = self.view.catalog();
        let cache = self.cache.summary();
        let written = catalog.live_containers();
        let written =
            written.filter_map(|one| Some((one.id.clone(), sizes::measure_container(&self.view, one).written?)));
        let written = written.collect();
        let volumes = df::volumes(catalog, |name| sizes::measure_volume(self.view.root().dir(), name));
        let rows = [
            ("Images", self.own.taken_out(df::images(&self.view, &written))),
            ("Containers", df::containers(catalog, |one| written.get(&one.id).copied())),
            ("Local Volumes", self.own.taken_out_of_volumes(volumes)),
        ];
        // This program does not read the store of the system's containerd.
        let known = |kind: &str| !catalog.images_elsewhere() || kind != "Images";
        let mut shown: Vec<Row> = rows
            .into_iter()
            .filter(|(kind, _)| known(kind))
            .map(|(kind, row)| {
                let reclaimable = size::human_size(row.reclaimable as f64, 4);
                let percent = row.percent().map(|percent| format!(" ({percent}%)")).unwrap_or_default();
                summary(kind, row.total, row.active, row.size, reclaimable + &percent)
            })
            .collect();
        if catalog.images_elsewhere() {
            return shown;
        }
        let bytes = i64::try_from(cache.size).unwrap_or(i64::MAX);
        shown.push(summary("Build Cache", cache.total, cache.active, bytes, size::size4(cache.size)));
        shown
    }

    /// The rows of each kind. A document has whole ids, tables do not.
    fn rows(&self, whole: bool) -> [Vec<Row>; 4] {
        [self.images(whole), self.containers(whole), self.volumes(), self.records(whole)]
    }

    /// The tables, each under its title.
    fn tables(&self) -> anyhow::Result<String> {
        let catalog = self.view.catalog();
        let [images, others @ ..] = self.rows(false);
        let cache = format!("Build cache usage: {}", size::size4(self.cache.summary().size));
        let titles = ["Containers space usage:", "Local Volumes space usage:", &cache];
        let mut text = String::from("Images space usage:\n\n");
        text += &presets::DISK_USAGE_IMAGES
            .render(presets::disk_usage_images(catalog.in_containerd().is_some()), &images)?;
        for ((title, (kind, template)), rows) in titles.iter().zip(presets::DISK_USAGE_TABLES).zip(others) {
            text += &format!("\n{title}\n\n{}", kind.render(template, &rows)?);
        }
        // The client 20.10.24 prints an empty line after the table of the build cache, if there is one.
        if !self.cache.records.is_empty() {
            text.push('\n');
        }
        Ok(text)
    }

    /// All four kinds through one template.
    fn document(&self, format: &str) -> anyhow::Result<String> {
        let fields = KINDS.into_iter().zip(self.rows(true)).map(|((name, kind), rows)| {
            let items: Vec<Value> = rows.iter().map(|row| kind.value(row)).collect();
            let capacity = items.len();
            Field {
                name,
                key: name,
                omit_empty: false,
                value: Value::List(Arc::new(List { items, go_type: kind.go_type, capacity })),
            }
        });
        let fields = fields.collect();
        let context = Struct { go_type: "formatter.diskUsageContext", pointer: true, row: false, fields };
        let format = if format == "json" { "{{json .}}" } else { format };
        let text = format.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
        let parse = |error| anyhow::anyhow!("template parsing error: {error}");
        let template = Template::parse(&text).map_err(parse)?;
        Ok(template.execute(&Value::Struct(Arc::new(context)), MissingKey::Nothing)?)
    }

    /// The images, each with its first tag only.
    fn images(&self, whole: bool) -> Vec<Row> {
        let sizes = df::image_sizes(self.view.catalog());
        let mut images: Vec<_> =
            sizes.iter().filter_map(|(id, sizes)| Some((self.view.catalog().images().get(id)?, sizes))).collect();
        images.retain(|(image, _)| !self.own.lists(image.id));
        images.sort_by_key(|(image, _)| (std::cmp::Reverse(seconds(image)), image.id));
        let row = |(image, sizes): (&snapshot::catalog::Image, &df::ImageSize)| {
            let names = self.view.catalog().names_of(image.id);
            let tag = names.into_iter().find_map(tag);
            let (repository, tag) = tag.unwrap_or(("<none>", "<none>"));
            let created = seconds(image);
            Row::from([
                ("ID", shown_id(image.id, whole)),
                ("Repository", repository.to_owned()),
                ("Tag", tag.to_owned()),
                ("Digest", String::new()),
                ("CreatedSince", ago::ago_or_nothing(created, self.now)),
                ("CreatedAt", ago::created_at(created)),
                ("Size", size::size(sizes.size)),
                ("Containers", sizes.containers.to_string()),
                ("VirtualSize", size::size4(sizes.size)),
                ("SharedSize", size::size4(sizes.shared)),
                ("UniqueSize", size::human_size(sizes.unique() as f64, 4)),
            ])
        };
        images.into_iter().map(row).collect()
    }

    fn containers(&self, whole: bool) -> Vec<Row> {
        let mut containers: Vec<_> = self.view.catalog().live_containers().collect();
        containers.sort_by_key(|one| std::cmp::Reverse(one.created.moment().unwrap_or(Timestamp::MIN)));
        let style = Style { whole, now: self.now };
        let row = |one| {
            let sizes = Sizes { with_image: 0, ..measure(&self.view, one) };
            container::row(self.view.catalog(), one, sizes, style)
        };
        containers.into_iter().map(row).collect()
    }

    fn volumes(&self) -> Vec<Row> {
        let links = df::volume_links(self.view.catalog());
        let row = |volume: &Volume| {
            Row::from([
                ("Name", output::name(&volume.name).into_owned()),
                ("Driver", "local".to_owned()),
                ("Scope", "local".to_owned()),
                ("Mountpoint", mountpoint(self.view.catalog(), volume)),
                ("Labels", container::joined(&volume.labels)),
                ("Links", links.get(volume.name.as_str()).copied().unwrap_or_default().to_string()),
                ("Size", size::size4(sizes::measure_volume(self.view.root().dir(), &volume.name))),
            ])
        };
        let listed = |volume: &&Volume| !volume.has_options && !self.own.kept.volumes.contains(&volume.name);
        self.view.catalog().volumes().iter().filter(listed).map(row).collect()
    }

    fn records(&self, whole: bool) -> Vec<Row> {
        let at =
            |time: Option<Timestamp>| time.map(|time| ago::go_time(time, &jiff::tz::TimeZone::UTC)).unwrap_or_default();
        let since = |time: Option<Timestamp>| {
            time.map(|time| ago::human_duration((self.now - time).total(jiff::Unit::Second).unwrap_or(0.0)) + " ago")
        };
        let id = |id: &str| id.chars().take(if whole { usize::MAX } else { 12 }).collect::<String>();
        let row = |record: &CacheRecord| {
            Row::from([
                ("ID", id(&record.id)),
                ("Parent", id(record.parent.as_deref().unwrap_or_default())),
                ("CacheType", record.kind.clone()),
                ("Description", record.description.clone()),
                ("Size", size::size(record.size.known().unwrap_or_default())),
                ("CreatedAt", at(record.created)),
                ("CreatedSince", since(record.created).unwrap_or_default()),
                ("LastUsedAt", at(record.last_used)),
                ("LastUsedSince", since(record.last_used).unwrap_or_default()),
                ("UsageCount", record.usage_count.to_string()),
                ("InUse", "false".to_owned()),
                ("Shared", record.shared.to_string()),
            ])
        };
        self.cache.records.iter().map(row).collect()
    }
}

fn summary(kind: &str, total: usize, active: usize, bytes: i64, reclaimable: String) -> Row {
    Row::from([
        ("Type", kind.to_owned()),
        ("TotalCount", total.to_string()),
        ("Active", active.to_string()),
        ("Size", size::human_size(bytes as f64, 4)),
        ("Reclaimable", reclaimable),
    ])
}
