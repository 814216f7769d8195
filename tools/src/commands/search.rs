//! `layerfs search`: `docker search`.

use std::process::ExitCode;

use docker_format::listing::Row;
use docker_format::{ellipsis, presets};
use registry::{CredentialStore, SearchResult};

use crate::exit::UsageError;
use crate::registries::RegistryFlags;
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
    /// Reads the filters. The errors are dockerd's words (moby v20.10.24 `daemon/images/image_search.go`).
    fn parse(filters: &[String]) -> anyhow::Result<Self> {
        let mut wanted = Self::default();
        for text in filters {
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| UsageError(format!("--filter: bad format of filter (expected name=value): {text}")))?;
            let (name, value) = (name.trim().to_lowercase(), value.trim());
            let truth = || match value {
                "true" => Ok(Some(true)),
                "false" => Ok(Some(false)),
                _ => Err(anyhow::anyhow!("Invalid filter '{name}=[{value}]'")),
            };
            match name.as_str() {
                "stars" => {
                    wanted.stars = value.parse().map_err(|_| anyhow::anyhow!("Invalid filter 'stars={value}'"))?;
                }
                "is-official" => wanted.official = truth()?,
                "is-automated" => wanted.automated = truth()?,
                _ => anyhow::bail!("Invalid filter '{name}'"),
            }
        }
        Ok(wanted)
    }

    fn takes(&self, result: &SearchResult) -> bool {
        result.star_count >= self.stars
            && self.official.is_none_or(|official| official == result.is_official)
            && self.automated.is_none_or(|automated| automated == result.is_automated)
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let wanted = Wanted::parse(&args.filter)?;
    anyhow::ensure!((1..=100).contains(&args.limit), "Limit {} is outside the range of [1, 100]", args.limit);
    let interrupted = signals::interrupted()?;
    let (domain, term) = registry::search_host(&args.term);
    let credentials = CredentialStore::of_user().map_or(None, |store| store.find(domain));
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
    }
}
