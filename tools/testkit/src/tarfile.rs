//! A tar writer that writes whatever it is told, sense or nonsense.

/// One member.
#[derive(Debug, Clone)]
pub struct TarMember {
    typeflag: u8,
    name: Vec<u8>,
    link: Vec<u8>,
    mode: u32,
    owner: (u32, u32),
    mtime: u64,
    device: (u32, u32),
    content: Vec<u8>,
    records: Vec<(String, Vec<u8>)>,
}

/// The time of members that are given none.
pub const MTIME: u64 = 1_700_000_000;

const BLOCK: usize = 512;

fn member(typeflag: u8, name: impl AsRef<[u8]>, mode: u32) -> TarMember {
    TarMember {
        typeflag,
        name: name.as_ref().to_vec(),
        link: Vec::new(),
        mode,
        owner: (0, 0),
        mtime: MTIME,
        device: (0, 0),
        content: Vec::new(),
        records: Vec::new(),
    }
}

/// A regular file.
pub fn file(name: impl AsRef<[u8]>, content: impl Into<Vec<u8>>) -> TarMember {
    TarMember { content: content.into(), ..member(b'0', name, 0o644) }
}

/// A directory; its name ends with a slash.
pub fn dir(name: impl AsRef<[u8]>) -> TarMember {
    member(b'5', name, 0o755)
}

/// A symlink.
pub fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> TarMember {
    TarMember { link: target.as_ref().to_vec(), ..member(b'2', name, 0o777) }
}

/// A hard link.
pub fn hard_link(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> TarMember {
    TarMember { link: target.as_ref().to_vec(), ..member(b'1', name, 0o644) }
}

/// A character device.
pub fn char_device(name: impl AsRef<[u8]>, device: (u32, u32)) -> TarMember {
    TarMember { device, ..member(b'3', name, 0o666) }
}

/// A block device.
pub fn block_device(name: impl AsRef<[u8]>, device: (u32, u32)) -> TarMember {
    TarMember { device, ..member(b'4', name, 0o660) }
}

/// A named pipe.
pub fn fifo(name: impl AsRef<[u8]>) -> TarMember {
    member(b'6', name, 0o644)
}

impl TarMember {
    /// The same with these permissions.
    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// The same with this owner.
    pub fn owner(self, uid: u32, gid: u32) -> Self {
        Self { owner: (uid, gid), ..self }
    }

    /// The same with this time, in seconds since 1970.
    pub fn mtime(self, mtime: u64) -> Self {
        Self { mtime, ..self }
    }

    /// Adds a PAX record.
    pub fn record(mut self, key: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        self.records.push((key.into(), value.as_ref().to_vec()));
        self
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut records = self.records.clone();
        if self.name.len() > 100 {
            records.push(("path".into(), self.name.clone()));
        }
        if self.link.len() > 100 {
            records.push(("linkpath".into(), self.link.clone()));
        }
        if !records.is_empty() {
            let body = records.iter().flat_map(|(key, value)| record(key, value)).collect();
            Self { content: body, ..member(b'x', "PaxHeaders/0", 0o644) }.write_plain(out);
        }
        self.write_plain(out);
    }

    fn write_plain(&self, out: &mut Vec<u8>) {
        let mut header = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name[..self.name.len().min(100)]);
        put(100, &octal(self.mode.into(), 7));
        put(108, &octal(self.owner.0.into(), 7));
        put(116, &octal(self.owner.1.into(), 7));
        put(124, &octal(self.content.len() as u64, 11));
        put(136, &octal(self.mtime, 11));
        put(148, b"        ");
        put(156, &[self.typeflag]);
        put(157, &self.link[..self.link.len().min(100)]);
        put(257, b"ustar\x0000");
        put(329, &octal(self.device.0.into(), 7));
        put(337, &octal(self.device.1.into(), 7));
        let sum = header.iter().map(|&byte| u64::from(byte)).sum();
        header[148..154].copy_from_slice(&octal(sum, 6));
        header[154] = 0;
        out.extend_from_slice(&header);
        out.extend_from_slice(&self.content);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
}

fn octal(number: u64, digits: usize) -> Vec<u8> {
    let text = format!("{number:0digits$o}");
    assert_eq!(text.len(), digits, "{number} does not fit");
    text.into_bytes()
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let mut length = rest.len() + 1;
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    [length.to_string().as_bytes(), &rest].concat()
}

/// A tar of these members without its end.
pub fn open_tar<'m>(members: impl IntoIterator<Item = &'m TarMember>) -> Vec<u8> {
    let mut out = Vec::new();
    members.into_iter().for_each(|member| member.write(&mut out));
    out
}

/// A whole tar.
pub fn tar<'m>(members: impl IntoIterator<Item = &'m TarMember>) -> Vec<u8> {
    let mut out = open_tar(members);
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

/// A tar of files that hold their own names; a name that ends in a slash is a directory.
#[must_use]
pub fn tar_of_names(names: &[&str]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for name in names {
        let mut header = tar::Header::new_ustar();
        header.set_mode(if name.ends_with('/') { 0o755 } else { 0o644 });
        header.set_entry_type(if name.ends_with('/') { tar::EntryType::Directory } else { tar::EntryType::Regular });
        let content = if name.ends_with('/') || name.contains(".wh.") { "" } else { name };
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}
