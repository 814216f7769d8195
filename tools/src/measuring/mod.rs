//! What `layer-unpack --bench` and the comparison with other programs both need: the machine, and spreads of figures.

pub(crate) mod machine;
mod spread;

pub use machine::Machine;
pub use spread::Spread;
