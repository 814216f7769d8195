//! The tables of the report.

use std::fmt::Write;

use bench_figures::Spread;

use super::record::{Absence, Measurement, Results};
use super::rows::{GoalForm, MEMORY_MUST, On, Peer, Row, Sync, Workload, contenders};
use super::stats::Seconds;
use super::verdict::{Verdict, above, costs, rounds, spread, verdicts};

/// The name of a workload in file names and in the JSON.
pub fn id(workload: Workload) -> String {
    serde_json::to_value(workload).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// All places in the order of the report.
pub fn places() -> impl Iterator<Item = (On, Sync)> {
    [On::Tmpfs, On::Ext4, On::Xfs].into_iter().flat_map(|on| on.variants().iter().map(move |sync| (on, *sync)))
}

/// What a place is called.
pub fn place((on, sync): (On, Sync)) -> String {
    match sync {
        Sync::Unsynced => on.name().to_owned(),
        Sync::Synced => format!("{}, synced", on.name()),
    }
}

/// Bytes in units of a thousand.
pub fn bytes(bytes: u64) -> String {
    match bytes as f64 {
        bytes if bytes < 1e6 => format!("{:.1} kB", bytes / 1e3),
        bytes if bytes < 1e9 => format!("{:.1} MB", bytes / 1e6),
        bytes => format!("{:.2} GB", bytes / 1e9),
    }
}

/// Text for a cell: a pipe would end it.
pub fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}

/// What a goal compares.
pub fn comparison(verdict: &Verdict) -> String {
    let goal = verdict.goal;
    match (goal.row, goal.ours) {
        (Row::Cpu, _) => "GNU tar + SHA-256".to_owned(),
        (Row::Scaling, _) => "1 thread".to_owned(),
        (_, Peer::LayerUnpackOneThread) => format!("{}; ours with 1 thread", goal.against[0].label()),
        (Row::Warm, _) => "the image is there already".to_owned(),
        _ => goal.against.iter().map(|peer| peer.label()).collect::<Vec<_>>().join(" + "),
    }
}

/// What a row is called.
pub fn row_name(row: Row) -> &'static str {
    match row {
        Row::Image => "image",
        Row::ImageGzip => "gzip image",
        Row::LayerGzip => "gzip layer",
        Row::LayerZstd => "zstd layer",
        Row::Small => "small files",
        Row::Cpu => "CPU",
        Row::Scaling => "scaling",
        Row::Memory => "memory",
        Row::Warm => "warm import",
    }
}

/// A figure of a goal in the goal's unit.
pub fn figure(form: GoalForm, figure: f64) -> String {
    match form {
        GoalForm::TimesAsFast if figure < 3.0 => format!("{figure:.2}x"),
        GoalForm::TimesAsFast => format!("{figure:.1}x"),
        GoalForm::ShareOfTime | GoalForm::ShareOfCpu => format!("{figure:.2}"),
        GoalForm::Seconds => Seconds(figure).to_string(),
    }
}

/// The goals: one table for each place, the memory with the first.
pub fn goals(results: &[Results]) -> String {
    let mut text = String::from(
        "`13x` says how many times as fast we are: at least that. `0.68` says which part of their time, or CPU time, we \
         need: at\nmost that. The bound is what the stages, or the hardware, are thought to allow.\n\n",
    );
    let all = verdicts(results);
    for at in places() {
        let here: Vec<&Verdict> = all.iter().filter(|verdict| (verdict.on, verdict.sync) == at).collect();
        let memory = if at.0 == On::Tmpfs { memory_goal(results) } else { None };
        if here.is_empty() && memory.is_none() {
            continue;
        }
        let _ = writeln!(text, "On {}:\n", place(at));
        text += "| row | against | theirs | ours | ratio | spread | must | bound | reached |\n";
        text += "|---|---|---:|---:|---:|---:|---:|---:|---|\n";
        for verdict in here {
            text += &goal(verdict);
        }
        text += &memory.unwrap_or_default();
        text.push('\n');
    }
    text
}

/// One goal.
fn goal(verdict: &Verdict) -> String {
    let form = verdict.goal.form;
    let ratio = verdict.ratio;
    format!(
        "| {} | {} | {} | {} | **{}** | {} to {} | {} | {} | {} |\n",
        row_name(verdict.goal.row),
        escaped(&comparison(verdict)),
        verdict.theirs.map_or_else(String::new, |theirs| Seconds(theirs.median).to_string()),
        Seconds(verdict.ours.median),
        figure(form, ratio.median),
        figure(form, ratio.min),
        figure(form, ratio.max),
        figure(form, verdict.goal.must),
        verdict.goal.bound,
        reached(verdict)
    )
}

/// The last column: with the rounds that disagree.
fn reached(verdict: &Verdict) -> String {
    let (reached, all) = (verdict.rounds_reached, verdict.ratio.count);
    match (verdict.reached(), reached) {
        (true, _) if reached == all => "yes".to_owned(),
        (false, 0) => "**no**".to_owned(),
        (true, _) => format!("yes, in {reached} of {all} rounds"),
        (false, _) => format!("**no**, in {reached} of {all} rounds"),
    }
}

fn memory_goal(results: &[Results]) -> Option<String> {
    let peak = results.iter().flat_map(|results| &results.memory).map(|memory| memory.rss_anon).max()?;
    let reached = if peak <= MEMORY_MUST { "yes" } else { "**no**" };
    let (peak, must) = (bytes(peak), MEMORY_MUST / 1_000_000);
    Some(format!("| memory | peak over all inputs | | | **{peak}** | | {must} MB | | {reached} |\n"))
}

/// The tables of one workload; nothing if it was not measured.
pub fn workload(results: &[Results], workload: Workload) -> Option<String> {
    let rows =
        [Row::Image, Row::ImageGzip, Row::LayerGzip, Row::LayerZstd, Row::Small, Row::Cpu, Row::Scaling, Row::Warm];
    let wall = |one: &Measurement| one.wall;
    let peers = contenders(&rows, workload);
    let measured: Vec<(On, Sync)> =
        places().filter(|at| peers.iter().any(|peer| spread(results, workload, *peer, *at, wall).is_some())).collect();
    let first = *measured.first()?;
    let mut text = format!("On {}:\n\n", place(first));
    text += "| | median | spread | CPU | largest process | our time / theirs |\n|---|---:|---:|---:|---:|---:|\n";
    for peer in &peers {
        text += &peer_line(results, workload, *peer, first).unwrap_or_default();
    }
    text.push('\n');
    if let Some(others) = measured.get(1..).filter(|others| !others.is_empty()) {
        let names: Vec<String> = others.iter().map(|at| place(*at)).collect();
        let _ = writeln!(text, "| | {} |\n|---|{}", names.join(" | "), "---:|".repeat(names.len()));
        for peer in &peers {
            let times: Vec<_> = others.iter().map(|at| spread(results, workload, *peer, *at, wall)).collect();
            if times.iter().any(Option::is_some) {
                let cells: Vec<String> = times.into_iter().map(|time| time.map_or_else(String::new, cell)).collect();
                let _ = writeln!(text, "| {} | {} |", escaped(peer.label()), cells.join(" | "));
            }
        }
        text.push('\n');
    }
    text += &stages(results, workload);
    text += &notes(results, workload);
    Some(text)
}

fn cell(time: Spread) -> String {
    format!("{} ({} to {})", Seconds(time.median), Seconds(time.min), Seconds(time.max))
}

/// One peer in one place.
fn peer_line(results: &[Results], workload: Workload, peer: Peer, at: (On, Sync)) -> Option<String> {
    let wall = spread(results, workload, peer, at, |one| one.wall)?;
    let cpu = spread(results, workload, peer, at, Measurement::cpu)?;
    let rss = spread(results, workload, peer, at, |one| one.max_rss as f64)?;
    let ratio = if peer.is_ours() || peer == Peer::Sha256 { None } else { share(results, workload, peer, at) };
    Some(format!(
        "| {} | {} | {} to {} | {} | {} | {} |\n",
        escaped(peer.label()),
        Seconds(wall.median),
        Seconds(wall.min),
        Seconds(wall.max),
        Seconds(cpu.median),
        bytes((rss.max * 1024.0) as u64),
        ratio.map_or_else(String::new, |ratio| format!("{:.2} ({:.2} to {:.2})", ratio.median, ratio.min, ratio.max)),
    ))
}

/// Our time with two threads divided by a peer's, round by round.
pub fn share(results: &[Results], workload: Workload, peer: Peer, (on, sync): (On, Sync)) -> Option<Spread> {
    let ours = rounds(results, workload, Peer::LayerUnpack, on, sync);
    let theirs = rounds(results, workload, peer, on, sync);
    Spread::from_figures(ours.iter().filter_map(|(round, one)| Some(one.wall / theirs.get(round)?.wall)))
}

/// Stage costs, their sum, and how far above it we are.
fn stages(results: &[Results], workload: Workload) -> String {
    let Some((_, _, run)) = costs(results).into_iter().find(|(found, ..)| *found == workload) else {
        return String::new();
    };
    let sum = run.cpu();
    let mut text = String::from("What the stages cost, with one thread:\n\n");
    text += "| stage | CPU | of all | rate |\n|---|---:|---:|---:|\n";
    for stage in &run.stages {
        let rate = stage.bytes as f64 / stage.cpu_seconds;
        let rate =
            if stage.bytes > 0 && rate.is_finite() { format!("{}/s", bytes(rate as u64)) } else { String::new() };
        let share = 100.0 * stage.cpu_seconds / sum;
        let _ = writeln!(text, "| {} | {} | {share:.0} % | {rate} |", stage.stage, Seconds(stage.cpu_seconds));
    }
    let _ = writeln!(text, "| all | {} | 100 % | |\n", Seconds(sum));
    for above in above(results, workload) {
        let plural = if above.threads == 1 { "" } else { "s" };
        let _ = writeln!(
            text,
            "{} thread{plural}: {} / {} = {} at the least; measured {}, **{:.2}** times that.",
            above.threads,
            Seconds(above.stages),
            above.threads,
            Seconds(above.bound),
            Seconds(above.measured),
            above.ratio()
        );
    }
    text.push('\n');
    text
}

/// Who is missing and why, and whether all left as many files.
fn notes(results: &[Results], workload: Workload) -> String {
    let mut lines: Vec<String> = Vec::new();
    for absent in results.iter().flat_map(|results| &results.absent).filter(|absent| absent.workload == workload) {
        let (kind, peer) = (absent.kind, absent.peer.label());
        let line = match kind {
            Absence::Skipped => format!("- skipped, {peer}: {}", absent.reason),
            Absence::Failed => format!("- failed, {peer} on {}: {}", place((absent.on, absent.sync)), absent.reason),
        };
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    for (results, on) in results.iter().flat_map(|results| [On::Tmpfs, On::Ext4, On::Xfs].map(|on| (results, on))) {
        let counts: Vec<_> =
            results.counts.iter().filter(|count| (count.workload, count.on) == (workload, on)).collect();
        if counts.windows(2).any(|pair| pair[0].files != pair[1].files) {
            let each: Vec<String> =
                counts.iter().map(|count| format!("{} {}", count.peer.label(), count.files)).collect();
            lines.push(format!("- **numbers of files differ** on {}: {}", on.name(), each.join(", ")));
        } else if let (Some(count), On::Tmpfs) = (counts.first(), on) {
            let names: Vec<&str> = counts.iter().map(|count| count.peer.label()).collect();
            lines.push(format!("- files: {}, counted after {}", count.files, names.join("; ")));
        }
    }
    if lines.is_empty() { String::new() } else { lines.join("\n") + "\n\n" }
}

/// Peaks of anonymous memory.
pub fn memory(results: &[Results]) -> String {
    let peaks: Vec<_> = results.iter().flat_map(|results| &results.memory).collect();
    if peaks.is_empty() {
        return String::new();
    }
    let mut text =
        String::from("### Memory\n\nPeak of `RssAnon`, looked at every 2 ms in a run that is not timed:\n\n");
    text += "| input | peak |\n|---|---:|\n";
    for peak in peaks {
        let _ = writeln!(text, "| `{}` | {} |", peak.input, bytes(peak.rss_anon));
    }
    text
}
