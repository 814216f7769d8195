use super::*;

/// Gives one byte at a time.
struct Slow<'b>(&'b [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(1);
        self.0.read(&mut buffer[..most])
    }
}

fn place(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

fn names(context: &Context) -> Vec<String> {
    let mut walk = context.tree.walk_below(Tree::ROOT, b"");
    let mut names = Vec::new();
    while let Some((path, _)) = walk.next() {
        names.push(String::from_utf8_lossy(path).into_owned());
    }
    names
}

fn open(dir: &tempfile::TempDir, dockerfile: Option<&str>) -> Result<Context, ContextError> {
    Context::open(dir.path().to_str().unwrap(), dockerfile, io::empty(), Way::Classic)
}

/// The length was measured with docker 20.10.24.
#[test]
fn a_directory_is_sent_as_a_tar_of_this_length() {
    let dir = place(&[("a.txt", "hi\n"), ("d/f", "x\n"), ("Dockerfile", "FROM x\n")]);
    let context = open(&dir, None).unwrap();
    assert_eq!(
        (context.sent, names(&context)),
        (4608, ["Dockerfile", "a.txt", "d", "d/f"].map(str::to_owned).to_vec())
    );
}

#[test]
fn what_is_excluded_is_hidden() {
    let dir = place(&[
        (".dockerignore", "*\n!d/keep\n"),
        ("Dockerfile", "FROM x"),
        ("d/keep", ""),
        ("d/other", ""),
        ("e/f", ""),
    ]);
    assert_eq!(names(&open(&dir, None).unwrap()), ["d", "d/keep"]);
    std::fs::write(dir.path().join(".dockerignore"), "[").unwrap();
    let error = open(&dir, None).unwrap_err().to_string();
    assert_eq!(error, "error checking context: syntax error in pattern");
}

#[test]
fn a_dockerfile_may_be_elsewhere() {
    let (dir, other) = (place(&[("a", "")]), place(&[("My.file", "FROM y")]));
    let file = other.path().join("My.file");
    let context = open(&dir, file.to_str()).unwrap();
    assert_eq!((context.dockerfile.as_slice(), names(&context)), (&b"FROM y"[..], vec!["a".to_owned()]));
    assert!(matches!(open(&dir, None), Err(ContextError::NoDockerfile(_))));
    let input = Context::open(dir.path().to_str().unwrap(), Some("-"), &b"FROM z"[..], Way::Classic).unwrap();
    assert_eq!(input.dockerfile, b"FROM z");
    assert!(matches!(Context::open("-", Some("-"), io::empty(), Way::Classic), Err(ContextError::BothFromInput)));
    assert!(matches!(Context::open("https://x/y", None, io::empty(), Way::Classic), Err(ContextError::Remote)));
    assert!(matches!(Context::open("no/such", None, io::empty(), Way::Classic), Err(ContextError::NotFound(_))));
}

#[test]
fn standard_input_is_a_tar_or_a_dockerfile() {
    let context = Context::open("-", None, &b"FROM x\n"[..], Way::Classic).unwrap();
    assert_eq!((context.sent, names(&context)), (2048, Vec::new()));
    let mut tar = Vec::new();
    for (name, text) in [("./Dockerfile", "FROM x\n"), ("./d/f", "file")] {
        let (name, size, mtime) = (name.as_bytes(), text.len() as u64, PaxTime::default());
        let xattrs = &[];
        let member = NewMember {
            typeflag: b'0',
            name,
            linkname: b"",
            mode: 0o644,
            uid: 7,
            gid: 8,
            size,
            mtime,
            device: (0, 0),
            xattrs,
        };
        member.write(&mut tar);
        tar.extend_from_slice(text.as_bytes());
        tar.extend_from_slice(padding(size));
    }
    tar.extend_from_slice(&END);
    let context = Context::open("-", None, tar.as_slice(), Way::Classic).unwrap();
    assert_eq!(
        (context.sent, names(&context)),
        (tar.len() as u64, ["Dockerfile", "d", "d/f"].map(str::to_owned).to_vec())
    );
    let source = context.source();
    let mut text = String::new();
    let (path, id) = source.tree.find(b"d/f", true).unwrap();
    source.tree.open(source.layers, &path, id).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "file");
    assert!(matches!(Context::open("-", Some("Other"), tar.as_slice(), Way::Classic), Err(ContextError::NotInTar(_))));
    // A pipe may give few bytes at a time.
    let slow = Context::open("-", None, Slow(&tar), Way::Classic).unwrap();
    assert_eq!((slow.sent, &slow.dockerfile, names(&slow)), (context.sent, &context.dockerfile, names(&context)));
    assert_eq!(Context::open("-", None, Slow(b"FROM x\n"), Way::Classic).unwrap().dockerfile, b"FROM x\n");
}
