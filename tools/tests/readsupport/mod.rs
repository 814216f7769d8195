//! Shared by the tests of what layerfs reads: command lines of docker, how they are asked, how answers are compared.

mod ages;
pub(crate) mod ask;
pub(crate) mod canonical;
pub(crate) mod table;
pub(crate) mod table_inspect;
pub(crate) mod table_ls;
