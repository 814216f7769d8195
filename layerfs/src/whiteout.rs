//! Whiteout names: `.wh.NAME` hides `NAME` of the layers below, `.wh..wh..opq` hides all they have in its directory.
//!
//! Rules: OCI image-spec `layer.md`, "Whiteouts"; names refused as in go-archive 0.3.3 (`archive_linux.go`).

use tarsplit::names::shown;

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What the last component of a member's path says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marker<'n> {
    /// Not a whiteout.
    None,
    /// Hides this name of the layers below.
    Whiteout(&'n [u8]),
    /// Hides everything that the layers below have in the directory.
    Opaque,
}

/// A whiteout of nothing, of the directory itself or of its parent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid whiteout \"{}\"", shown(.name))]
pub struct InvalidWhiteout {
    name: Vec<u8>,
}

impl<'n> Marker<'n> {
    /// Reads the last component of a path.
    ///
    /// # Errors
    /// [`InvalidWhiteout`] for `.wh.`, `.wh..` and `.wh...`.
    pub(crate) fn parse(base: &'n [u8]) -> Result<Self, InvalidWhiteout> {
        match base.strip_prefix(PREFIX) {
            None => Ok(Self::None),
            Some(_) if base == OPAQUE => Ok(Self::Opaque),
            Some(b"" | b"." | b"..") => Err(InvalidWhiteout { name: base.to_vec() }),
            Some(hidden) => Ok(Self::Whiteout(hidden)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers() {
        assert_eq!(Marker::parse(b"a.wh.b"), Ok(Marker::None));
        assert_eq!(Marker::parse(b".wh.a"), Ok(Marker::Whiteout(b"a")));
        assert_eq!(Marker::parse(b".wh..wh..opq"), Ok(Marker::Opaque));
        assert_eq!(Marker::parse(b".wh..wh.plnk"), Ok(Marker::Whiteout(b".wh.plnk")));
        for bad in [&b".wh."[..], b".wh..", b".wh..."] {
            assert!(Marker::parse(bad).is_err());
        }
    }
}
