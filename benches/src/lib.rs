//! Benchmarks live in `benches/`, one target for each layer of the design; [`peers`] runs whole programs in turn, on images
//! that [`corpus`] makes.
#![forbid(unsafe_code)]

pub mod corpus;
pub mod peers;
