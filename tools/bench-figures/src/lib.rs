//! What every measurement needs: the machine it was made on, and the spread of its figures.
//!
//! `layer-unpack --bench` and the comparison with other programs in `benches/` say both in the same words.
//!
//! ```
//! use bench_figures::Spread;
//!
//! let seconds = Spread::from_figures([1.75, 1.5, 2.5]).expect("there are figures");
//! assert_eq!((seconds.min, seconds.median, seconds.max), (1.5, 1.75, 2.5));
//! ```
#![forbid(unsafe_code)]

mod machine;
mod spread;

pub use machine::{Machine, file_system};
pub use spread::Spread;
