//! Benchmarks live in `benches/`, one target for each layer of the design; `peers.sh` runs whole programs in turn.
//!
//! [`corpus`] makes the images they run on.
#![forbid(unsafe_code)]

pub mod corpus;
