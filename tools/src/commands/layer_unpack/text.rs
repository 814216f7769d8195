//! The report of a benchmark as a person reads it.

use super::figures::{ratio, scaling};
use super::report::{BenchReport, Run, StageCost};
use bench_figures::Spread;
use docker_format::size::size;

/// The lines of the report.
pub(super) fn lines(report: &BenchReport) -> Vec<String> {
    let mut lines = head(report);
    if report.runs.len() > 1 {
        lines.push(String::new());
        lines.extend(table(&report.runs));
    }
    for run in &report.runs {
        lines.push(String::new());
        lines.extend(details(run, report.content.tar_bytes));
    }
    lines
}

/// What was measured, where, and on what.
fn head(report: &BenchReport) -> Vec<String> {
    let content = &report.content;
    let compression = report.compression.as_ref().map(|name| format!(", {name}")).unwrap_or_default();
    let layers = if content.layers == 1 { "1 layer".into() } else { format!("{} layers", content.layers) };
    let synced = if report.synced { "synced" } else { "not synced" };
    let machine = &report.machine;
    let sha = if machine.sha_instructions { "with" } else { "without" };
    let runs = report.runs.first().map_or(0, |run| run.samples.len());
    let runs = if runs == 1 { "1 run".into() } else { format!("{runs} runs") };
    vec![
        format!("archive  {}: {}{compression}, {}", report.archive, report.format, size(report.archive_bytes)),
        format!("         {layers}, {} entries, {} of tar", content.entries, size(content.tar_bytes)),
        format!("target   {} on {}, {synced}", report.target, report.file_system),
        format!("machine  {}, {} cores, {sha} SHA instructions", machine.cpu, machine.cores),
        format!(
            "         {} of memory, Linux {}, layerfs {}",
            size(machine.memory_bytes),
            machine.kernel,
            machine.layerfs
        ),
        format!("runs     {runs} for each number of threads, after one that does not count"),
    ]
}

/// How the speed grows with the threads.
fn table(runs: &[Run]) -> Vec<String> {
    let title = "threads     median        min        max     MB/s  entries/s  speed-up  efficiency";
    let first = runs.first().map_or((1, 0.0), |run| (run.threads, run.wall_seconds.median));
    let row = |run: &Run| {
        let Spread { median, min, max, .. } = run.wall_seconds;
        let (faster, efficiency) = scaling(first, (run.threads, median));
        format!(
            "{:>7} {:>10} {:>10} {:>10} {:>8} {:>10} {faster:>9.2} {:>9.0} %",
            run.threads,
            seconds(median),
            seconds(min),
            seconds(max),
            rate(run.megabytes_per_second.median),
            rate(run.entries_per_second.median),
            100.0 * efficiency
        )
    };
    std::iter::once(title.to_owned()).chain(runs.iter().map(row)).collect()
}

/// Everything that is known of the runs with one number of threads.
fn details(run: &Run, tar_bytes: u64) -> Vec<String> {
    let threads = if run.threads == 1 { "1 thread".into() } else { format!("{} threads", run.threads) };
    let Spread { median, min, max, .. } = run.wall_seconds;
    let range = |Spread { median, min, max, .. }: Spread| format!("{} ({} to {})", rate(median), rate(min), rate(max));
    let cpu = run.cpu_seconds;
    let copied = ratio(run.bytes_copied as f64, tar_bytes as f64);
    let metered = ratio(run.metered_wall_seconds, median);
    let all: f64 = run.stages.iter().map(|stage| stage.cpu_seconds).sum();
    let thread_time = run.threads as f64 * run.metered_wall_seconds;
    let wait = |name: &str, time: f64| format!("{name} {} ({:.0} %)", seconds(time), 100.0 * ratio(time, thread_time));
    let waits: Vec<String> = run.waits.iter().map(|found| wait(found.stage, found.seconds)).collect();
    let mut lines = vec![
        format!("{threads}: {} ({} to {})", seconds(median), seconds(min), seconds(max)),
        format!("  speed    {} MB/s, {} entries/s", range(run.megabytes_per_second), range(run.entries_per_second)),
        format!("  CPU      {} user, {} system", seconds(cpu.user), seconds(cpu.system)),
        format!("  memory   {} at most, anonymous", size(run.peak_rss_anon_bytes)),
        format!("  copied   {}, {copied:.2} times the tar", size(run.bytes_copied)),
        format!(
            "  bound    {} with all threads busy; the median is {:.2} times that",
            seconds(run.bound_seconds),
            run.above_bound
        ),
        format!("  metered  {}, {metered:.2} times the median", seconds(run.metered_wall_seconds)),
        "    stage          wall        CPU  of CPU     bytes     MB/s".to_owned(),
    ];
    let costly = run.stages.iter().filter(|cost| cost.wall_seconds > 0.0);
    lines.extend(costly.map(|cost| stage(cost, all)));
    lines.push(format!("  waits    {}", waits.join(", ")));
    lines.push(format!("  limit    {}", run.bottleneck));
    lines
}

fn stage(cost: &StageCost, all: f64) -> String {
    let share = 100.0 * ratio(cost.cpu_seconds, all);
    let start = format!(
        "    {:<8} {:>10} {:>10} {share:>5.0} %",
        cost.stage,
        seconds(cost.wall_seconds),
        seconds(cost.cpu_seconds)
    );
    if cost.bytes == 0 {
        return start;
    }
    let speed = ratio(cost.bytes as f64 / 1e6, cost.cpu_seconds);
    format!("{start} {:>9} {:>8}", size(cost.bytes), rate(speed))
}

/// A time with as many digits as are significant.
fn seconds(seconds: f64) -> String {
    match seconds {
        0.1.. => format!("{seconds:.2} s"),
        _ => format!("{:.2} ms", 1000.0 * seconds),
    }
}

/// An amount per second, with as many digits as are significant.
fn rate(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_decimals_that_count() {
        assert_eq!((rate(3.12), rate(99.96), rate(1234.5)), ("3.1".into(), "100.0".into(), "1234".into()));
        for (time, text) in [(12.345, "12.35 s"), (0.1, "0.10 s"), (0.0123, "12.30 ms"), (0.0, "0.00 ms")] {
            assert_eq!(seconds(time), text);
        }
    }
}
