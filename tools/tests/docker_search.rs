//! `layerfs search` against `docker search` at a server that answers as Docker Hub does.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use serde_json::json;
use testkit::dockerd::Dockerd;
use testkit::fault_registry::{Asked, FaultRegistry, Reply};
use testkit::registry::layerfs_anonymous;
use testkit::run::{Input, run};

fn hub() -> FaultRegistry {
    let result = |name: &str, description: &str, stars: u32, official: bool| {
        json!({
            "name": name, "description": description, "star_count": stars, "is_official": official,
            "is_automated": !official,
        })
    };
    let results = json!({"num_results": 3, "query": "app", "results": [
        result("app", "The app.", 120, true),
        result("team/app", "A description that is long enough to be cut by whoever shows it in a table, on\ntwo lines", 7, false),
        result("other/app", "", 0, false),
    ]});
    FaultRegistry::start(move |asked: &Asked| match asked.path.split('?').next().unwrap() {
        "/v1/_ping" => Reply::new(200, b"{\"standalone\":false}"),
        "/v1/search" if asked.path.contains("q=broken") => Reply::new(200, b"<html>"),
        "/v1/search" if asked.path.contains("q=none") => Reply::new(200, b"{\"results\":[]}"),
        "/v1/search" => Reply::new(200, results.to_string().as_bytes()).with("Content-Type", "application/json"),
        _ => Reply::new(404, b""),
    })
}

#[test]
fn docker_search_shows_what_docker_shows() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let hub = hub();
    let root = testkit::empty_root(&dir, "root");
    let daemon = Dockerd::start(&root);
    let term = format!("{}/app", hub.host);
    let none = format!("{}/none", hub.host);
    let broken = format!("{}/broken", hub.host);
    for arguments in [
        vec![term.as_str()],
        vec!["--no-trunc", &term],
        vec!["--filter", "is-official=true", &term],
        vec!["--filter", "is-automated=true", "--filter", "stars=3", &term],
        vec!["--format", "{{.Name}}: {{.StarCount}} {{.IsOfficial}}", &term],
        vec!["--format", "table {{.Name}}\t{{.Description}}", &term],
        vec!["--format", "{{json .}}", &term],
        vec!["--limit", "3", &none],
        vec!["--limit", "0", &term],
        vec!["--limit", "101", &term],
        vec!["--filter", "foo=1", &term],
        vec!["--filter", "is-official=1", &term],
        vec!["--filter", "stars=x", &term],
        vec!["--filter", "stars=100", "--filter", "stars=3", &term],
        vec!["--filter", "stars=-1", &term],
        vec!["--filter", "", &term],
        vec!["--filter", "is-official=true", "--filter", "IS-OFFICIAL = true", &term],
        vec![&broken],
    ] {
        let theirs = run(daemon.client(&[&["search"], &arguments[..]].concat()), Input::Nothing);
        let mine = layerfs_anonymous(&root, &[&["search"], &arguments[..]].concat());
        assert_eq!(
            (mine.code, &mine.stdout),
            (theirs.code, &theirs.stdout),
            "{arguments:?}: {} {}",
            mine.stderr,
            theirs.stderr
        );
        if mine.code != Some(0) && arguments != [&broken] {
            let said = theirs.stderr.trim().trim_start_matches("Error response from daemon: ");
            assert_eq!(mine.stderr.trim().trim_start_matches("layerfs: "), said, "{arguments:?}");
        }
    }
    let asked = hub.asked();
    let search = asked.iter().rfind(|asked| asked.path.contains("/v1/search")).unwrap();
    assert_eq!(search.headers.get("x-docker-token").map(String::as_str), Some("true"));
}
