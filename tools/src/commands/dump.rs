//! What each level of the parser makes of a layer: for finding out in which level a bug is.

use std::process::ExitCode;

use anyhow::{Context, bail};
use images::source::Opened;
use tarsplit::frame::{Frame, Framer};

use crate::output::say;

/// The level to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Level {
    /// Every event of the framer.
    Frames,
    /// Every member with its resolved metadata.
    Members,
    /// One line for each member.
    Entries,
}

pub(crate) fn dump(opened: Opened, level: Level) -> anyhow::Result<ExitCode> {
    let Opened::LayerTar(blob) = opened else { bail!("--dump takes the plain tar of one layer, in a file") };
    let mut framer = Framer::new();
    let mut at = 0;
    loop {
        let position = framer.position();
        let (taken, frame) = framer.next(&blob[at..]).context("the layer's tar")?;
        let Some(frame) = frame else { break };
        at += taken;
        match (level, frame) {
            (Level::Frames, Frame::Raw(bytes)) => say(&format!("{position} raw {}", bytes.len()))?,
            (Level::Frames, Frame::Body(bytes)) => say(&format!("{position} body {}", bytes.len()))?,
            (Level::Frames, Frame::End) => say(&format!("{position} end"))?,
            (Level::Frames, Frame::Member(member)) => {
                say(&format!("{position} member {}", member.name.escape_ascii()))?;
            }
            (Level::Members, Frame::Member(member)) => say(&format!("{member:?}"))?,
            (Level::Entries, Frame::Member(member)) => {
                let kind = char::from(member.kind.typeflag());
                let (mode, uid, gid, size) = (member.mode, member.uid, member.gid, member.size);
                say(&format!("{kind} {mode:04o} {uid}:{gid} {size} {}", member.name.escape_ascii()))?;
            }
            _ => {}
        }
    }
    framer.finish().context("the layer's tar")?;
    Ok(ExitCode::SUCCESS)
}
