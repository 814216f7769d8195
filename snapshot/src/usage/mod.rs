//! Where the bytes of a data-root are.

pub mod walk;
