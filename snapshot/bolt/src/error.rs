//! What can be wrong with a bbolt database.

/// A damaged database, or one of a kind not known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("page {page} of the database {problem}")]
pub struct BoltError {
    /// The number of the page.
    pub page: u64,
    /// What is wrong with it.
    pub problem: PageProblem,
}

/// What is wrong with a page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PageProblem {
    /// Neither of the first two pages is valid.
    #[error("and the next are no valid metadata of bbolt: the file is damaged, or of another kind")]
    NoMeta,
    /// A newer file format.
    #[error("is of format {found}; only format 2 is known")]
    Version {
        /// The version in the file.
        found: u32,
    },
    /// Not among the pages in use, or not in the file.
    #[error("is not in the file, which may be cut short")]
    Beyond,
    /// The page there is another one.
    #[error("is another one, {found}")]
    OtherPage {
        /// The number it bears.
        found: u64,
    },
    /// A page and those that belong to it are longer than any that bbolt would write.
    #[error("is too long: {found} bytes")]
    Long {
        /// How many.
        found: usize,
    },
    /// The file cannot be read.
    #[error("cannot be read: {kind}")]
    Unreadable {
        /// What the system says.
        kind: std::io::ErrorKind,
    },
    /// Referred to from two places: a loop, or two buckets in one.
    #[error("is used in two places")]
    UsedTwice,
    /// Too far from the root.
    #[error("is too deep below its bucket")]
    Deep,
    /// Not of a kind that belongs there.
    #[error("is not of a kind that holds keys: {found:#x}")]
    Kind {
        /// The page's flags.
        found: u16,
    },
    /// No room for the header.
    #[error("ends within its header")]
    Short,
    /// No room for so many elements.
    #[error("has no room for {found} elements")]
    Count {
        /// How many it claims.
        found: usize,
    },
    /// A key or value that is not in the page, or that overlaps another.
    #[error("has a key or value outside of its place, element {index}")]
    Element {
        /// Which one.
        index: usize,
    },
    /// A key that does not come after the one before.
    #[error("has keys out of order, element {index}")]
    Order {
        /// Which one.
        index: usize,
    },
}
