//! The plots: SVG, drawn without axes of a library, so that nothing overlaps.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use bench_figures::Spread;

use super::record::Results;
use super::rows::{GoalForm, On, Row, Sync, Workload, contenders};
use super::tables;
use super::verdict::{costs, verdicts};

/// A picture for the report.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Name of the file.
    pub file: String,
    /// What it shows: for those who do not see it.
    pub title: String,
    /// The picture.
    pub svg: String,
}

/// One bar: a figure with its spread, and what is written next to it.
struct Bar {
    label: String,
    value: Spread,
    text: String,
    colour: RGBColor,
}

const WIDTH: u32 = 900;
const LEFT: i32 = 300;
/// Room behind the bars, where the figures stand in a column: next to the bars they would meet the line.
const RIGHT: i32 = 210;
const MARGIN: i32 = 24;
const TOP: i32 = 72;
const LINE: i32 = 34;
/// Sizes of the letters; what comes out is a fifth smaller.
const SMALL: i32 = 17;
const LABEL: i32 = 18;
const HEADING: i32 = 21;
const INK: RGBColor = RGBColor(0x22, 0x2b, 0x38);
const FAINT: RGBColor = RGBColor(0x9a, 0xa5, 0xb1);
const OURS: RGBColor = RGBColor(0x1f, 0x6f, 0xb2);
const THEIRS: RGBColor = RGBColor(0xb9, 0xc7, 0xd6);
const SHORT: RGBColor = RGBColor(0xd9, 0x7a, 0x4a);
/// Stages, each its own; told apart by lightness as well.
const STAGES: [RGBColor; 10] = [
    RGBColor(0x1f, 0x4e, 0x79),
    RGBColor(0xf2, 0xa6, 0x5a),
    RGBColor(0x5b, 0xa3, 0xcf),
    RGBColor(0x8c, 0x56, 0x7b),
    RGBColor(0x9f, 0xd3, 0xa0),
    RGBColor(0xc8, 0x55, 0x3d),
    RGBColor(0xd6, 0xde, 0xe6),
    RGBColor(0x3b, 0x7d, 0x5c),
    RGBColor(0xe7, 0xd4, 0x66),
    RGBColor(0x6b, 0x70, 0x80),
];

/// All pictures for which there are figures.
///
/// # Errors
///
/// If something cannot be drawn.
pub fn draw(results: &[Results]) -> Result<Vec<Picture>> {
    let mut pictures = Vec::new();
    pictures.extend(goals(results)?);
    for workload in Workload::ALL {
        pictures.extend(times(results, workload)?);
    }
    pictures.extend(stages(results)?);
    Ok(pictures)
}

/// How far beyond each goal we are, in the first place that was measured.
fn goals(results: &[Results]) -> Result<Option<Picture>> {
    let all = verdicts(results);
    let Some(first) = all.first().map(|verdict| (verdict.on, verdict.sync)) else { return Ok(None) };
    let bars: Vec<Bar> = all
        .iter()
        // A time in milliseconds is no ratio: it would dwarf the others.
        .filter(|verdict| (verdict.on, verdict.sync) == first && verdict.goal.row != Row::Warm)
        .map(|verdict| {
            let goal = verdict.goal;
            let against = tables::comparison(verdict);
            let beyond =
                |ratio: f64| if goal.form == GoalForm::TimesAsFast { ratio / goal.must } else { goal.must / ratio };
            let (one, other) = (beyond(verdict.ratio.min), beyond(verdict.ratio.max));
            let median = beyond(verdict.ratio.median);
            let must = tables::figure(goal.form, goal.must);
            Bar {
                label: format!(
                    "{}: {}",
                    tables::row_name(goal.row),
                    against.replace("; ours with 1 thread", ", 1 thread")
                ),
                value: Spread { median, min: one.min(other), max: one.max(other), count: verdict.ratio.count },
                text: format!("{} (must {must})", tables::figure(goal.form, verdict.ratio.median)),
                colour: if verdict.reached() { OURS } else { SHORT },
            }
        })
        .collect();
    let title = format!("Goals on {}: beyond the line is reached", tables::place(first));
    Ok(Some(Picture { file: "goals.svg".to_owned(), svg: bar_chart(&title, "must", &bars)?, title }))
}

/// Everybody's time divided by ours, round by round.
fn times(results: &[Results], workload: Workload) -> Result<Option<Picture>> {
    let rows = [Row::Image, Row::ImageGzip, Row::LayerGzip, Row::LayerZstd, Row::Small];
    let peers = contenders(&rows, workload);
    let bars_at = |at: (On, Sync)| -> Vec<Bar> {
        let bar = |peer: &super::rows::Peer| {
            let share = tables::share(results, workload, *peer, at)?;
            let value = Spread { median: 1.0 / share.median, min: 1.0 / share.max, max: 1.0 / share.min, ..share };
            let seconds = super::verdict::spread(results, workload, *peer, at, |one| one.wall)?.median;
            let text = format!("{:.2}  ({})", value.median, super::stats::Seconds(seconds));
            Some(Bar {
                label: peer.label().to_owned(),
                value,
                text,
                colour: if peer.is_ours() { OURS } else { THEIRS },
            })
        };
        let mut bars: Vec<Bar> = peers.iter().filter_map(bar).collect();
        bars.sort_by(|a, b| a.value.median.total_cmp(&b.value.median));
        bars
    };
    let Some((at, bars)) = tables::places().map(|at| (at, bars_at(at))).find(|(_, bars)| bars.len() > 1) else {
        return Ok(None);
    };
    let title = format!("{} on {}: time, layer-unpack with 2 threads = 1", workload.title(), tables::place(at));
    Ok(Some(Picture { file: format!("{}.svg", tables::id(workload)), svg: bar_chart(&title, "1", &bars)?, title }))
}

/// Horizontal bars from zero, with the spread as a whisker and a line at one.
fn bar_chart(title: &str, line: &str, bars: &[Bar]) -> Result<String> {
    let height = TOP + LINE * i32::try_from(bars.len())? + 24;
    let longest = bars.iter().map(|bar| bar.value.max).fold(1.0, f64::max);
    let scale = f64::from(WIDTH as i32 - LEFT - RIGHT) / longest;
    let x = |value: f64| LEFT + (value * scale).round() as i32;
    canvas(height, title, |area| {
        let ends = [(x(1.0), TOP - 4), (x(1.0), height - 18)];
        area.draw(&PathElement::new(ends, FAINT.stroke_width(1)))?;
        write(area, line, (x(1.0), TOP - 14), HPos::Center, SMALL)?;
        for (number, bar) in bars.iter().enumerate() {
            let middle = TOP + LINE * i32::try_from(number)? + LINE / 2;
            write(area, &bar.label, (LEFT - 12, middle), HPos::Right, LABEL)?;
            area.draw(&Rectangle::new([(LEFT, middle - 10), (x(bar.value.median), middle + 10)], bar.colour.filled()))?;
            let (low, high) = (x(bar.value.min), x(bar.value.max));
            for line in [
                [(low, middle), (high, middle)],
                [(low, middle - 5), (low, middle + 5)],
                [(high, middle - 5), (high, middle + 5)],
            ] {
                area.draw(&PathElement::new(line, INK.stroke_width(1)))?;
            }
            write(area, &bar.text, (WIDTH as i32 - MARGIN, middle), HPos::Right, SMALL)?;
        }
        Ok(())
    })
}

/// One bar for each workload, made of its stages, with our time with one thread as a mark.
fn stages(results: &[Results]) -> Result<Option<Picture>> {
    let runs: Vec<_> = costs(results).into_iter().map(|(workload, _, run)| (workload, run)).collect();
    let mut names: Vec<&str> = Vec::new();
    for stage in runs.iter().flat_map(|(_, run)| &run.stages) {
        if !names.contains(&stage.stage.as_str()) {
            names.push(&stage.stage);
        }
    }
    if names.is_empty() {
        return Ok(None);
    }
    let colour = |name: &str| STAGES[names.iter().position(|other| *other == name).unwrap_or(0) % STAGES.len()];
    let longest = runs.iter().map(|(_, run)| run.cpu()).fold(f64::MIN_POSITIVE, f64::max);
    let scale = f64::from(WIDTH as i32 - LEFT - RIGHT) / longest;
    let title = "CPU time of the stages, one thread";
    let legend = TOP + LINE * i32::try_from(runs.len())? + 20;
    let columns = 4;
    let height = legend + 26 * i32::try_from(names.len().div_ceil(columns))? + 14;
    let svg = canvas(height, title, |area| {
        for (number, (workload, run)) in runs.iter().enumerate() {
            let middle = TOP + LINE * i32::try_from(number)? + LINE / 2;
            write(area, workload.title(), (LEFT - 12, middle), HPos::Right, LABEL)?;
            let mut before = 0.0;
            for stage in &run.stages {
                let ends = [before, before + stage.cpu_seconds].map(|at| LEFT + (at * scale).round() as i32);
                area.draw(&Rectangle::new(
                    [(ends[0], middle - 11), (ends[1], middle + 11)],
                    colour(&stage.stage).filled(),
                ))?;
                before += stage.cpu_seconds;
            }
            let end = LEFT + (before * scale).round() as i32;
            write(area, &super::stats::Seconds(before).to_string(), (end + 10, middle), HPos::Left, SMALL)?;
        }
        for (number, name) in names.iter().enumerate() {
            let column = i32::try_from(number % columns)?;
            let (x, y) = (40 + column * 210, legend + 26 * i32::try_from(number / columns)? + 8);
            area.draw(&Rectangle::new([(x, y - 7), (x + 14, y + 7)], colour(name).filled()))?;
            write(area, name, (x + 22, y), HPos::Left, SMALL)?;
        }
        Ok(())
    })?;
    Ok(Some(Picture { file: "stages.svg".to_owned(), title: title.to_owned(), svg }))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// A white sheet with a title.
fn canvas(height: i32, title: &str, draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height.unsigned_abs())).into_drawing_area();
        area.fill(&WHITE)?;
        write(&area, title, (MARGIN, 24), HPos::Left, HEADING)?;
        let line = [(MARGIN, 42), (WIDTH as i32 - MARGIN, 42)];
        area.draw(&PathElement::new(line, FAINT.stroke_width(1)))?;
        draw(&area)?;
        area.present()?;
    }
    Ok(svg)
}

/// Text whose middle is at the given height.
fn write(area: &Area<'_>, text: &str, at: (i32, i32), anchor: HPos, size: i32) -> Result<()> {
    let style = ("sans-serif", size).into_font().color(&INK).pos(Pos::new(anchor, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style))?;
    Ok(())
}
