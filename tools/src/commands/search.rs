//! `layerfs search`: `docker search`.

use std::process::ExitCode;

use docker_format::filter::{self, FilterError, Filters};
use docker_format::listing::Row;
use docker_format::{ellipsis, presets};
use registry::SearchResult;

use crate::exit::UsageError;
use crate::registries::{RegistryFlags, credential_store};
use crate::{output, signals};

/// Columns of a description.
const DESCRIPTION: usize = 45;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to look for; `HOST/TERM` asks that registry instead of Docker Hub
    #[arg(value_name = "TERM")]
    term: String,

    /// Only those that: stars=NUMBER, is-official=BOOL, is-automated=BOOL
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,

    /// `table TEMPLATE`, `json`, or a Go template for each row
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,

    /// Most results, from 1 to 100
    #[arg(long, value_name = "N", default_value_t = 25)]
    limit: i64,

    /// Do not cut descriptions short
    #[arg(long)]
    no_trunc: bool,

    #[command(flatten)]
    registry: RegistryFlags,
}

/// What a result must be like.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    stars: u64,
    official: Option<bool>,
    automated: Option<bool>,
}

impl Wanted {
    /// Reads the filters as dockerd does: of several numbers of stars the greatest counts (moby v20.10.24
    /// `daemon/images/image_search.go`).
    fn parse(filters: &[String]) -> anyhow::Result<Self> {
        let filters = Filters::parse(filters).map_err(|error| UsageError(format!("--filter: {error}")))?;
        filters.check(filter::Command::Search)?;
        let (automated, official) = (truth(&filters, "is-automated")?, truth(&filters, "is-official")?);
        let mut stars = 0;
        for value in filters.get("stars") {
            let least: i64 = value.parse().map_err(|_| anyhow::anyhow!("Invalid filter 'stars={value}'"))?;
            stars = stars.max(u64::try_from(least).unwrap_or(0));
        }
        Ok(Self { stars, official, automated })
    }

    fn takes(&self, result: &SearchResult) -> bool {
        result.star_count >= self.stars
            && self.official.is_none_or(|official| official == result.is_official)
            && self.automated.is_none_or(|automated| automated == result.is_automated)
    }
}

/// A filter that is `true` or `false`, and not both.
fn truth(filters: &Filters, name: &'static str) -> Result<Option<bool>, FilterError> {
    match filters.get(name) {
        [] => Ok(None),
        [value] if value == "true" => Ok(Some(true)),
        [value] if value == "false" => Ok(Some(false)),
        values => Err(FilterError::Value { name, values: values.to_vec() }),
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let wanted = Wanted::parse(&args.filter)?;
    anyhow::ensure!((1..=100).contains(&args.limit), "Limit {} is outside the range of [1, 100]", args.limit);
    let interrupted = signals::interrupted()?;
    let (domain, term) = registry::search_host(&args.term);
    let credentials = credential_store().find(domain);
    let client = args.registry.client_with(registry::search_address(domain), credentials, &interrupted)?;
    let found = client.search(term, args.limit.unsigned_abs())?;
    let rows: Vec<Row> = found.iter().filter(|result| wanted.takes(result)).map(|result| row(result, args)).collect();
    output::raw(&presets::SEARCH.render(&presets::search(&args.format), &rows)?)?;
    Ok(ExitCode::SUCCESS)
}

fn row(result: &SearchResult, args: &Args) -> Row {
    // docker leaves tabs in, which break its table.
    let description = result.description.replace(['\n', '\r', '\t'], " ");
    let description = if args.no_trunc { description } else { ellipsis(&description, DESCRIPTION) };
    // As JSON, docker's client shows truth values by their names.
    let as_json = args.format == "json" || args.format.replace(' ', "").contains("{{json.}}");
    let shown = |is: bool| match (as_json, is) {
        (true, is) => is.to_string(),
        (false, true) => "[OK]".to_owned(),
        (false, false) => String::new(),
    };
    Row::from([
        ("Name", output::name(&result.name).into_owned()),
        ("Description", output::name(&description).into_owned()),
        ("StarCount", result.star_count.to_string()),
        ("IsOfficial", shown(result.is_official)),
        ("IsAutomated", shown(result.is_automated)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_with_dockerds_words() {
        let parse = |text: &str| Wanted::parse(&[text.to_owned()]).map_err(|error| error.to_string());
        assert_eq!(parse("stars=3").unwrap(), Wanted { stars: 3, ..Wanted::default() });
        assert_eq!(parse("is-official=true").unwrap(), Wanted { official: Some(true), ..Wanted::default() });
        assert_eq!(parse("foo=1").unwrap_err(), "Invalid filter 'foo'");
        assert_eq!(parse("is-official=1").unwrap_err(), "Invalid filter 'is-official=[1]'");
        assert_eq!(parse("stars=x").unwrap_err(), "Invalid filter 'stars=x'");
        assert_eq!(parse(" Stars = 3 ").unwrap(), parse("stars=3").unwrap());
        assert_eq!(parse("").unwrap(), Wanted::default());
    }
}
