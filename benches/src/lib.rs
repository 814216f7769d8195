//! Benchmarks live in `benches/`, one target for each layer of the design; [`peers`] runs whole programs in turn.
#![forbid(unsafe_code)]

pub mod peers;
