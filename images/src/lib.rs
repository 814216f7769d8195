//! What goes in and out of a store: archives and layouts, load, unpack.

pub mod load;
pub mod source;
pub mod unpack;
