//! File-descriptor-relative system calls, one idea a file.

pub(crate) mod beneath;
pub(crate) mod in_root;
pub(crate) mod node;
pub(crate) mod remove;
pub(crate) mod umask;
