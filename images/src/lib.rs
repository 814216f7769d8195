//! What goes in and out of a store.
//!
//! [`source`] says which images an archive, a layout or a pipe has and where the bytes of a layer come from; [`load`] imports
//! them into a data-root; [`unpack`] puts one image into plain directories; [`measure`] says what is in an archive; [`save`]
//! writes them into an archive again; [`mend`] gives a store back what it has lost.

pub mod change;
pub mod export;
pub mod load;
pub mod make;
pub mod measure;
pub mod mend;
pub mod output;
pub mod save;
pub mod source;
pub mod tree;
pub mod unpack;
