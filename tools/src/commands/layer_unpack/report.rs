//! What a benchmark found. Its JSON form is what `--bench --json` prints, on one line unless a person reads it:
//!
//! ```text
//! archive, archive_raw?     as it was named; archive_raw is base64, for a name that is not UTF-8
//! archive_bytes             of the file, or of all files of a directory
//! format, compression       docker-archive, oci or layer; null, gzip, bzip2, xz or zstd: of the whole, not of layers in it
//! target                    root, layers or rootfs
//! file_system, synced       that was written to; whether runs waited until it was on the disk
//! layers, entries, tar_bytes, longest_layer_bytes   what each run unpacked; bytes are of the uncompressed tars
//! machine                   {cpu, cores, memory_bytes, kernel, sha_instructions, layerfs}
//! runs                      one for each number of threads, in the order given:
//!   threads
//!   samples                 seconds of each counted run, in the order of the runs
//!   wall_seconds            {median, min, max}
//!   megabytes_per_second    {median, min, max}, of tar_bytes, in millions
//!   entries_per_second      {median, min, max}
//!   cpu_seconds             {user, system}, medians
//!   peak_rss_anon_bytes     anonymous memory of the process in the warm-up, what earlier runs left it included
//!   metered_wall_seconds    of one more run, with clocks in it; what follows is from that
//!   stages                  [{stage, wall_seconds, cpu_seconds, bytes}]: decode hash journal create write metadata sync other
//!   waits                   [{stage, seconds}]: wait-input wait-hash wait-work, and alone: threads that were not there yet, or not any more
//!   bytes_copied            moved by this program: read, decoded, passed on between readers, written into files
//!   bound_seconds           cpu_seconds of all stages, divided by the threads, or by the processors if they are fewer
//!   above_bound             wall_seconds.median / bound_seconds
//!   bottleneck              a sentence
//! ```
//!
//! Times are in seconds; all threads' times are added up in stages and waits. So the times of all stages and waits of a
//! run are together its threads times `metered_wall_seconds`.

use layerfs::meter::{Cost, UnpackStage};
use serde::Serialize;

use super::bottleneck::Metered;
use super::figures::{rates, ratio, spread};
use super::measure::Sample;
use bench_figures::{Machine, Spread};

/// The whole report.
#[derive(Debug, Serialize)]
pub(super) struct BenchReport {
    pub(super) archive: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) archive_raw: Option<String>,
    pub(super) archive_bytes: u64,
    pub(super) format: &'static str,
    pub(super) compression: Option<String>,
    pub(super) target: &'static str,
    pub(super) file_system: String,
    pub(super) synced: bool,
    #[serde(flatten)]
    pub(super) content: Content,
    pub(super) machine: Machine,
    pub(super) runs: Vec<Run>,
}

/// What each run unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Content {
    pub(super) layers: usize,
    pub(super) entries: u64,
    pub(super) tar_bytes: u64,
    pub(super) longest_layer_bytes: u64,
}

impl Content {
    /// The content of layers that have so many bytes and entries each.
    pub(super) fn of_layers(layers: impl Iterator<Item = (u64, u64)>) -> Self {
        let none = Self { layers: 0, entries: 0, tar_bytes: 0, longest_layer_bytes: 0 };
        layers.fold(none, |sum, (bytes, entries)| Self {
            layers: sum.layers + 1,
            entries: sum.entries + entries,
            tar_bytes: sum.tar_bytes + bytes,
            longest_layer_bytes: sum.longest_layer_bytes.max(bytes),
        })
    }
}

/// Processor time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Cpu {
    pub(super) user: f64,
    pub(super) system: f64,
}

/// What one stage cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct StageCost {
    pub(super) stage: &'static str,
    pub(super) wall_seconds: f64,
    pub(super) cpu_seconds: f64,
    pub(super) bytes: u64,
}

/// The time that threads waited.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Wait {
    pub(super) stage: &'static str,
    pub(super) seconds: f64,
}

/// All runs with one number of threads.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) threads: usize,
    pub(super) samples: Vec<f64>,
    pub(super) wall_seconds: Spread,
    pub(super) megabytes_per_second: Spread,
    pub(super) entries_per_second: Spread,
    pub(super) cpu_seconds: Cpu,
    pub(super) peak_rss_anon_bytes: u64,
    pub(super) metered_wall_seconds: f64,
    pub(super) stages: Vec<StageCost>,
    pub(super) waits: Vec<Wait>,
    pub(super) bytes_copied: u64,
    pub(super) bound_seconds: f64,
    pub(super) above_bound: f64,
    pub(super) bottleneck: String,
}

impl Run {
    /// Computes the figures from what was measured.
    pub(super) fn new(samples: &[Sample], content: Content, peak_rss_anon_bytes: u64, metered: &Metered<'_>) -> Self {
        let walls: Vec<f64> = samples.iter().map(|sample| sample.wall).collect();
        let wall_seconds = spread(walls.iter().copied());
        let bound_seconds = metered.costs.bound(metered.threads, metered.processors);
        let waits = metered.costs.waits().map(|(stage, cost)| (stage.name(), cost.wall.as_secs_f64()));
        let waits = waits.chain([("alone", metered.alone())]);
        Self {
            threads: metered.threads,
            wall_seconds,
            megabytes_per_second: rates(content.tar_bytes as f64 / 1e6, &walls),
            entries_per_second: rates(content.entries as f64, &walls),
            samples: walls,
            cpu_seconds: Cpu {
                user: spread(samples.iter().map(|sample| sample.user)).median,
                system: spread(samples.iter().map(|sample| sample.system)).median,
            },
            peak_rss_anon_bytes,
            metered_wall_seconds: metered.wall,
            stages: metered.costs.work().map(StageCost::new).collect(),
            waits: waits.map(|(stage, seconds)| Wait { stage, seconds }).collect(),
            bytes_copied: metered.costs.copied(),
            bound_seconds,
            above_bound: ratio(wall_seconds.median, bound_seconds),
            bottleneck: metered.bottleneck(),
        }
    }
}

impl StageCost {
    fn new((stage, cost): (UnpackStage, Cost)) -> Self {
        let (wall_seconds, cpu_seconds) = (cost.wall.as_secs_f64(), cost.cpu.as_secs_f64());
        Self { stage: stage.name(), wall_seconds, cpu_seconds, bytes: cost.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::costs;
    use super::*;

    #[test]
    fn figures_follow_from_what_was_measured() {
        let content = Content::of_layers([(3_000_000, 20), (9_000_000, 40)].into_iter());
        assert_eq!((content.layers, content.entries), (2, 60));
        assert_eq!((content.tar_bytes, content.longest_layer_bytes), (12_000_000, 9_000_000));
        // Two threads: one second of work each, one waits for 0.5 seconds, and one is not there for as long.
        let costs =
            costs(&[(UnpackStage::Hash, 600, 600), (UnpackStage::Write, 1400, 1400), (UnpackStage::Idle, 500, 0)]);
        let metered = Metered {
            threads: 2,
            processors: 2,
            wall: 1.5,
            costs: &costs,
            one_stream: false,
            tar_bytes: content.tar_bytes,
            longest: content.longest_layer_bytes,
        };
        let sample = |wall, user| Sample { wall, user, system: 0.5 };
        let run = Run::new(&[sample(1.2, 1.0), sample(1.5, 3.0), sample(1.0, 2.0)], content, 77, &metered);
        assert_eq!(run.samples, [1.2, 1.5, 1.0]);
        assert_eq!(run.wall_seconds, Spread { median: 1.2, min: 1.0, max: 1.5, count: 3 });
        assert_eq!(run.megabytes_per_second, Spread { median: 10.0, min: 8.0, max: 12.0, count: 3 });
        assert_eq!(run.entries_per_second, Spread { median: 50.0, min: 40.0, max: 60.0, count: 3 });
        assert_eq!(run.cpu_seconds, Cpu { user: 2.0, system: 0.5 });
        assert_eq!((run.bound_seconds, run.above_bound), (1.0, 1.2));
        assert_eq!((run.bytes_copied, run.peak_rss_anon_bytes), (15, 77));
        let names: Vec<&str> = run.stages.iter().map(|cost| cost.stage).collect();
        assert_eq!(names, ["hash", "write"]);
        let wait = |stage, seconds| Wait { stage, seconds };
        assert_eq!(run.waits, [wait("wait-work", 0.5), wait("alone", 0.5)]);
    }
}
