//! `layerfs buildx du` and `buildx prune`: what `docker buildx` shows of a cache, for that of `image build` (docker/buildx v0.29
//! `commands/du.go`, `commands/prune.go`). `buildx build` is `image build`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use docker_format::filter::Filters;
use docker_format::listing::{ListingKind, Row};
use docker_format::template::{Field, List, MissingKey, Struct, Template, Value};
use docker_format::{ago, size};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use snapshot::catalog::Catalog;
use snapshot::root::DataRoot;
use snapshot::schema::buildkit::CacheRecord;

use super::builder::{self, Room, Wanted};
use crate::exit::UsageError;
use crate::own_cache::{OwnCache, measure};
use crate::{output, pruning};

#[derive(Debug, clap::Args)]
pub(crate) struct DuArgs {
    /// Only records that have this: id=REGEX, type=TYPE, description~=REGEX, parents=ID
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,

    /// `table TEMPLATE`, `pretty`, `json`, or a Go template
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,

    /// All that is known of each record: --format=pretty
    #[arg(long)]
    verbose: bool,
}

// Its group would have the name of that which is flattened into it.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct PruneArgs {
    #[command(flatten)]
    prune: builder::PruneArgs,

    /// All that is known of each record
    #[arg(long)]
    verbose: bool,
}

/// The fields of a row (docker/buildx v0.29 `commands/du.go: diskusageContext`).
const RECORDS: ListingKind = ListingKind {
    go_type: "commands.diskusageContext",
    fields: &[
        ("ID", Some("ID")),
        ("Parents", Some("PARENTS")),
        ("CreatedAt", Some("CREATED AT")),
        ("Mutable", Some("MUTABLE")),
        ("Reclaimable", Some("RECLAIMABLE")),
        ("Shared", Some("SHARED")),
        ("Size", Some("SIZE")),
        ("Description", Some("DESCRIPTION")),
        ("UsageCount", Some("USAGE COUNT")),
        ("LastUsedAt", Some("LAST ACCESSED")),
        ("Type", Some("TYPE")),
    ],
};

/// The columns that are shown where no others are asked for.
const TABLE: &str = r"table {{.ID}}\t{{.Reclaimable}}\t{{.Size}}\t{{.LastUsedAt}}";

pub(crate) fn du(args: &DuArgs, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    if args.verbose && !args.format.is_empty() {
        anyhow::bail!("--format and --verbose cannot be used together");
    }
    let now = Timestamp::now();
    let filters = filters(&args.filter)?;
    let refused = "failed to call diskusage: failed to parse diskusage filters";
    let wanted = Wanted::parse_any(&filters, Room::default(), now, refused).map_err(anyhow::Error::msg)?;
    let data_root = DataRoot::find(root, driver)?;
    let own = OwnCache::read(&Catalog::read(&data_root)?, |name| measure(&data_root, name));
    let mut records: Vec<CacheRecord> = own.records.into_iter().filter(|record| wanted.selects(record)).collect();
    records.sort_by_key(|record| (builder::size(record), record.id.clone()));
    let format = if args.verbose { "pretty" } else { args.format.as_str() };
    let text = match format {
        "pretty" => records.iter().map(|record| pretty(record, now)).collect(),
        "" | "table" => RECORDS.render(TABLE, &rows(&records, now, true))?,
        "json" => documents(&records, now)?,
        format => RECORDS.render(format, &rows(&records, now, format.starts_with("table")))?,
    };
    output::raw(&text)?;
    if filters.names().next().is_none() && matches!(format, "" | "table" | "pretty") {
        output::raw(&totals(&records))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn prune(args: &PruneArgs, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let room = args.prune.room.room()?;
    let now = Timestamp::now();
    let filters = filters(&args.prune.filter)?;
    let refused = "failed to parse prune filters";
    let wanted = Wanted::parse_any(&filters, room, now, refused).map_err(anyhow::Error::msg)?;
    if !args.prune.force && !pruning::confirms(builder::warning(args.prune.all))? {
        return Ok(ExitCode::SUCCESS);
    }
    builder::remove(&wanted, root, driver, |removed, reclaimed| {
        if args.verbose {
            for record in removed {
                let mut lines: Vec<Vec<String>> = details(record, now).iter().map(|line| line.to_vec()).collect();
                lines.iter_mut().filter(|line| line[1].is_empty()).for_each(|line| line.truncate(1));
                output::raw(&(tabbed(&lines) + "\n"))?;
            }
        } else if !removed.is_empty() {
            // The header is aligned with the first row, and each other row alone.
            let header = ["ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED"].map(str::to_owned).to_vec();
            let mut rows = removed.iter().map(|record| row_of_prune(record, now).to_vec());
            let first: Vec<Vec<String>> = [Some(header), rows.next()].into_iter().flatten().collect();
            output::raw(&tabbed(&first))?;
            rows.try_for_each(|row| output::raw(&tabbed(&[row])))?;
        }
        output::raw(&format!("Total:\t{}\n", size::size4(reclaimed)))?;
        Ok(ExitCode::SUCCESS)
    })
}

/// `--filter`, whose names keep their case and signs.
fn filters(texts: &[String]) -> Result<Filters, UsageError> {
    let wrong = |text: &String, error| {
        let quoted = docker_format::quoted(text);
        UsageError(format!("invalid argument {quoted} for \"--filter\" flag: {error}"))
    };
    for text in texts {
        Filters::parse(&[text]).map_err(|error| wrong(text, error))?;
    }
    Filters::parse(texts).map_err(|error| wrong(&texts[0], error))
}

/// A row of `prune`.
fn row_of_prune(record: &CacheRecord, now: Timestamp) -> [String; 4] {
    let size = size::size4(builder::size(record));
    [format!("{:40}", marked_id(record)), format!("{:5}", "true"), format!("{size:10}"), last_used(record, now)]
}

/// Lines whose columns stand below each other by tabs (Go's `text/tabwriter` with cells of 8).
fn tabbed(lines: &[Vec<String>]) -> String {
    let stop = |width: usize| (width + 1).div_ceil(8) * 8;
    let columns = lines.iter().map(|line| line.len().saturating_sub(1)).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = lines.iter().filter(|line| column + 1 < line.len());
        cells.map(|line| stop(line[column].len())).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        for (column, cell) in line.iter().enumerate() {
            text += cell;
            if column + 1 < line.len() {
                text += &"\t".repeat((widths[column] - cell.len()).div_ceil(8));
            }
        }
        text.push('\n');
    }
    text
}

/// The id; that of a writable record has a mark.
fn marked_id(record: &CacheRecord) -> String {
    record.id.clone() + if record.mutable { "*" } else { "" }
}

fn last_used(record: &CacheRecord, now: Timestamp) -> String {
    let since = |time: Timestamp| ago::human_duration((now - time).total(jiff::Unit::Second).unwrap_or(0.0)) + " ago";
    record.last_used.map(since).unwrap_or_default()
}

fn created(record: &CacheRecord) -> String {
    record.created.map(|time| ago::go_time(time, &TimeZone::UTC)).unwrap_or_default()
}

fn parents(record: &CacheRecord) -> Vec<String> {
    record.parent.iter().cloned().collect()
}

/// The rows for a template; in a table, ids and sizes have marks.
fn rows(records: &[CacheRecord], now: Timestamp, marks: bool) -> Vec<Row> {
    let row = |record: &CacheRecord| {
        let size = size::size4(builder::size(record));
        Row::from([
            ("ID", if marks { marked_id(record) } else { record.id.clone() }),
            ("Parents", format!("[{}]", parents(record).join(" "))),
            ("CreatedAt", created(record)),
            ("Mutable", record.mutable.to_string()),
            ("Reclaimable", "true".to_owned()),
            ("Shared", record.shared.to_string()),
            ("Size", if marks && record.shared { size + "*" } else { size }),
            ("Description", record.description.clone()),
            ("UsageCount", record.usage_count.to_string()),
            ("LastUsedAt", last_used(record, now)),
            ("Type", record.kind.clone()),
        ])
    };
    records.iter().map(row).collect()
}

/// A record a line, as JSON.
fn documents(records: &[CacheRecord], now: Timestamp) -> anyhow::Result<String> {
    let template = Template::parse("{{json .}}")?;
    let mut lines = String::new();
    for record in records {
        let list = match parents(record) {
            none if none.is_empty() => Value::NilList("[]string"),
            some => {
                let items: Vec<Value> = some.iter().map(|parent| Value::text(parent)).collect();
                Value::List(Arc::new(List { capacity: items.len(), items, go_type: "[]string" }))
            }
        };
        let fields = [
            ("CreatedAt", Value::text(&created(record))),
            ("Description", Value::text(&record.description)),
            ("ID", Value::text(&record.id)),
            ("LastUsedAt", Value::text(&last_used(record, now))),
            ("Mutable", Value::Bool(record.mutable)),
            ("Parents", list),
            ("Reclaimable", Value::Bool(true)),
            ("Shared", Value::Bool(record.shared)),
            ("Size", Value::text(&size::size4(builder::size(record)))),
            ("Type", Value::text(&record.kind)),
            ("UsageCount", Value::Int(i64::try_from(record.usage_count).unwrap_or(i64::MAX), "int")),
        ];
        let fields = fields.into_iter().map(|(name, value)| Field { name, key: name, omit_empty: false, value });
        let object = Struct { go_type: RECORDS.go_type, pointer: true, row: true, fields: fields.collect() };
        lines += &template.execute(&Value::Struct(Arc::new(object)), MissingKey::Nothing)?;
        lines.push('\n');
    }
    Ok(lines)
}

/// A record in lines of its own: names and values. The parents follow their name, as names without values.
fn details(record: &CacheRecord, now: Timestamp) -> Vec<[String; 2]> {
    let mut lines = vec![["ID:".to_owned(), record.id.clone()]];
    let parents = parents(record);
    lines.extend((!parents.is_empty()).then(|| ["Parents:".to_owned(), String::new()]));
    lines.extend(parents.iter().map(|parent| [format!(" - {parent}"), String::new()]));
    let fields = [
        ("Created at:", created(record)),
        ("Mutable:", record.mutable.to_string()),
        ("Reclaimable:", "true".to_owned()),
        ("Shared:", record.shared.to_string()),
        ("Size:", size::size4(builder::size(record))),
        ("Description:", record.description.clone()),
        ("Usage count:", record.usage_count.to_string()),
        ("Last used:", last_used(record, now)),
        ("Type:", record.kind.clone()),
    ];
    lines.extend(
        fields.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| [name.to_owned(), value]),
    );
    lines
}

/// A record as `du --verbose` shows it.
fn pretty(record: &CacheRecord, now: Timestamp) -> String {
    let line = |[name, value]: [String; 2]| if value.is_empty() { name + "\n" } else { format!("{name:14}{value}\n") };
    details(record, now).into_iter().map(line).collect::<String>() + "\n"
}

/// The lines below the records.
fn totals(records: &[CacheRecord]) -> String {
    let sum = |shared: Option<bool>| {
        let counted = records.iter().filter(|record| shared.is_none_or(|shared| record.shared == shared));
        size::size4(counted.map(builder::size).fold(0, u64::saturating_add))
    };
    let mut text = String::new();
    if records.iter().any(|record| record.shared) {
        text += &format!("Shared:\t\t{}\nPrivate:\t{}\n", sum(Some(true)), sum(Some(false)));
    }
    text + &format!("Reclaimable:\t{}\nTotal:\t\t{}\n", sum(None), sum(None))
}
