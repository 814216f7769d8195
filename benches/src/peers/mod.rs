//! Whole programs against each other: `layer-unpack` and what else stores or unpacks the same archive.
//!
//! `peers run` measures, and writes one JSON file that is kept. `peers render` makes tables and plots from such
//! files, and nothing else: what BENCHMARKS.md says can be traced to a line of the JSON.
//!
//! * What is compared: [`rows`] holds the rows and their goals, [`contender`] the command lines.
//! * How: [`run`] goes through the rounds; [`measure`] times one job, in a process of its own; [`scratch`] makes a
//!   fresh file system for each; [`daemon`] starts and ends private daemons; [`inputs`] brings the archives,
//!   which [`provide`] makes.
//! * What comes out: [`record`] is the JSON; [`stats`] and [`verdict`] do the arithmetic, [`markdown`], [`splice`]
//!   and [`plots`] put it on paper.

pub mod command_line;
pub mod contender;

pub mod count;
pub mod crates;
pub mod daemon;
pub mod inputs;
pub mod interrupt;
pub mod machine;
pub mod markdown;
pub mod measure;
pub mod memory;
pub mod plots;
pub mod provide;
pub mod record;
pub mod rows;
pub mod run;
pub mod scratch;
pub mod sha;
pub mod splice;
pub mod stages;
pub mod stats;
pub mod tables;
pub mod verdict;
