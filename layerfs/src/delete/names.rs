//! Names, all in one piece of memory, because a directory may have a million.

/// A stack of names.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Each name, followed by its length in one byte: no file system has names longer than 255.
    bytes: Vec<u8>,
    count: usize,
}

impl Names {
    pub(super) fn push(&mut self, name: &[u8]) {
        let length = u8::try_from(name.len()).expect("NAME_MAX is 255 on every Linux file system");
        self.bytes.extend_from_slice(name);
        self.bytes.push(length);
        self.count += 1;
    }

    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        let length = self.bytes.pop()?;
        self.count -= 1;
        Some(self.bytes.split_off(self.bytes.len() - usize::from(length)))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// How much memory they take up.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }
}
