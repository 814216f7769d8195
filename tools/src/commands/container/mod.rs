//! `layerfs container`: `docker container`, offline.

pub(crate) mod commit;
pub(crate) mod content;
pub(crate) mod cp;
pub(crate) mod create;
pub(crate) mod diff;
pub(crate) mod document;
pub(crate) mod exec;
pub(crate) mod export;
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "the comments on flags are help text, with brackets as in `HOST[:CONTAINER]`"
)]
mod flags;
pub(crate) mod inspect;
mod keys;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod row;
pub(crate) mod run;
mod selection;
mod session;
pub(crate) mod start;
pub(crate) mod verbs;

pub(crate) use flags::pairs;
