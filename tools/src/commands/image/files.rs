//! `layerfs image files`: what is in an image, and which layer put it there.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use images::tree::{HiddenName, Node, NodeKind, Tree, read_tree};
use serde::Serialize;

use super::content::{Content, ContentFlags, JsonPath, short_step, shown};
use crate::exit::UsageError;
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image, by name or id
    #[arg(required_unless_present = "archive")]
    image: Option<String>,

    /// Only what is at this path and below it
    path: Option<OsString>,

    /// Show mode, owner, size, time, and the layer that put it there with the step that made the layer
    #[arg(short, long)]
    long: bool,

    /// Show also what layers have taken away, or given to something else
    #[arg(long)]
    deleted: bool,

    /// Report as JSON, an object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    from: ContentFlags,
}

/// Columns of a step.
const STEP: usize = 30;

/// Lines are written together until they have this many bytes.
const TOGETHER: usize = 64 << 10;

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let image = args.image.as_deref();
    let (image, path) = match image {
        Some(text) if args.from.is_path(text.as_ref()) => {
            if let Some(path) = &args.path {
                return Err(UsageError(format!("two paths: {text} and {}", path.display())).into());
            }
            (None, Some(OsStr::new(text)))
        }
        image => (image, args.path.as_deref()),
    };
    args.from.open(image, root, driver, |content| list(args, path, content))
}

fn list(args: &Args, path: Option<&OsStr>, content: &Content<'_>) -> anyhow::Result<ExitCode> {
    let mut removed = Vec::new();
    let tree = read_tree(content.layers, args.deleted.then_some(&mut removed))?;
    let given = path.map_or(&b""[..], OsStrExt::as_bytes);
    let (path, id) = match tree.find(given, false) {
        Ok(found) => found,
        // The path may be among those that layers have taken away.
        Err(_) if args.deleted && removed.iter().any(|removed| is_below(&removed.path, given)) => {
            (given.to_vec(), Tree::ROOT)
        }
        Err(error) => bail!("{}: {error}", shown(given.strip_prefix(b"/").unwrap_or(given))),
    };
    let mut lines = Lines { text: String::new() };
    let is_there = tree.find(given, false).is_ok();
    if is_there && !path.is_empty() {
        lines.add(&line(args, content, &tree, &path, tree.node(id))?)?;
    }
    let mut walk = tree.walk_below(id, &path);
    while let Some((path, id)) = walk.next().filter(|_| is_there) {
        lines.add(&line(args, content, &tree, path, tree.node(id))?)?;
    }
    for removed in removed.iter().filter(|removed| is_below(&removed.path, &path)) {
        lines.add(&removed_line(args, content, removed)?)?;
    }
    lines.send()?;
    Ok(ExitCode::SUCCESS)
}

fn is_below(path: &[u8], dir: &[u8]) -> bool {
    let dir = dir.strip_prefix(b"/").unwrap_or(dir);
    dir.is_empty() || path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Lines that are written together.
struct Lines {
    text: String,
}

impl Lines {
    fn add(&mut self, line: &str) -> anyhow::Result<()> {
        self.text += line;
        self.text.push('\n');
        if self.text.len() > TOGETHER { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> anyhow::Result<()> {
        output::page(&std::mem::take(&mut self.text))?;
        Ok(())
    }
}

#[derive(Serialize)]
struct Line<'l> {
    #[serde(flatten)]
    path: JsonPath,
    kind: &'static str,
    mode: u32,
    uid: i64,
    gid: i64,
    size: u64,
    mtime: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    links: usize,
    layer: Option<layerfs::DiffId>,
    step: Option<&'l String>,
}

#[derive(Serialize)]
struct RemovedLine {
    #[serde(flatten)]
    path: JsonPath,
    kind: &'static str,
    size: u64,
    layer: layerfs::DiffId,
    removed_by: layerfs::DiffId,
}

fn line(args: &Args, content: &Content<'_>, tree: &Tree, path: &[u8], node: &Node) -> anyhow::Result<String> {
    let (letter, kind) = kind(node);
    let target = match &node.kind {
        NodeKind::Symlink { target } => Some(target),
        _ => None,
    };
    if args.json {
        let line = Line {
            path: JsonPath::new(path),
            kind,
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            size: node.size(),
            mtime: node.mtime.seconds,
            target: target.map(|target| String::from_utf8_lossy(target).into_owned()),
            links: node.names,
            layer: content.diff_ids.get(node.layer).copied(),
            step: content.steps.get(node.layer).and_then(Option::as_ref),
        };
        return Ok(serde_json::to_string(&line)?);
    }
    let _ = tree;
    if !args.long {
        return Ok(shown(path));
    }
    let leads = target.map_or_else(String::new, |target| {
        let target = match std::str::from_utf8(target) {
            Ok(text) => output::escape(text),
            Err(_) => target.escape_ascii().to_string(),
        };
        format!(" -> {target}")
    });
    let owner = format!("{}:{}", node.uid, node.gid);
    let size = match node.kind {
        NodeKind::CharDevice(major, minor) | NodeKind::BlockDevice(major, minor) => format!("{major}, {minor}"),
        _ => node.size().to_string(),
    };
    let time = jiff::Timestamp::from_second(node.mtime.seconds)
        .map_or_else(|_| node.mtime.seconds.to_string(), |time| time.strftime("%Y-%m-%d %H:%M").to_string());
    let (layer, step) = layer(content, node.layer);
    Ok(format!(
        "{letter}{} {owner:>9} {size:>10} {time} {layer} {step:STEP$} {}{leads}",
        permissions(node.mode),
        shown(path)
    ))
}

fn layer(content: &Content<'_>, number: usize) -> (String, String) {
    let id = content.diff_ids.get(number).map_or_else(String::new, |diff_id| diff_id.0.short());
    (id, output::escape(&short_step(content.steps.get(number).and_then(Option::as_ref), STEP)))
}

fn removed_line(args: &Args, content: &Content<'_>, removed: &HiddenName) -> anyhow::Result<String> {
    if args.json {
        let line = RemovedLine {
            path: JsonPath::new(&removed.path),
            kind: "deleted",
            size: removed.size,
            layer: content.diff_ids[removed.from],
            removed_by: content.diff_ids[removed.by],
        };
        return Ok(serde_json::to_string(&line)?);
    }
    let path = shown(&removed.path);
    if !args.long {
        return Ok(format!("{path} (deleted)"));
    }
    let ((from, _), (by, step)) = (layer(content, removed.from), layer(content, removed.by));
    Ok(format!("deleted    {:>9} {:>10} {:16} {by} {step:STEP$} {path} (of {from})", "", removed.size, ""))
}

/// The type of a node: the letter of `ls`, and a word for programs.
fn kind(node: &Node) -> (char, &'static str) {
    match node.kind {
        NodeKind::Directory { .. } => ('d', "directory"),
        NodeKind::File { .. } => ('-', "file"),
        NodeKind::Symlink { .. } => ('l', "symlink"),
        NodeKind::CharDevice(..) => ('c', "character device"),
        NodeKind::BlockDevice(..) => ('b', "block device"),
        NodeKind::Fifo => ('p', "pipe"),
        NodeKind::Whiteout => ('w', "whiteout"),
    }
}

/// Permissions as `ls -l` shows them.
fn permissions(mode: u32) -> String {
    let triple = |shift: u32, special: u32, letter: char| {
        let bits = mode >> shift;
        let execute = match (bits & 1 != 0, mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        };
        [if bits & 4 != 0 { 'r' } else { '-' }, if bits & 2 != 0 { 'w' } else { '-' }, execute]
    };
    [triple(6, 0o4000, 's'), triple(3, 0o2000, 's'), triple(0, 0o1000, 't')].concat().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The right-hand sides are what `ls -l` of coreutils prints.
    #[test]
    fn permissions_are_those_of_ls() {
        for (mode, shown) in [
            (0o755, "rwxr-xr-x"),
            (0o4755, "rwsr-xr-x"),
            (0o2644, "rw-r-Sr--"),
            (0o1777, "rwxrwxrwt"),
            (0o1000, "--------T"),
        ] {
            assert_eq!(permissions(mode), shown);
        }
    }
}
