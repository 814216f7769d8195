//! An archive that ends too early.

use tarsplit::frame::{Frame, Framer};

/// What is to be expected of a cut archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutOutcome {
    /// Only what nobody needs is missing.
    Whole,
    /// It must be refused.
    Refused,
}

/// What may be said of an archive that was refused.
pub const WORDS: &[&str] = &[
    "truncated: entry|unexpected end of|ends inside this file|not in the archive|neither manifest.json|neither a tar|is empty",
];

/// A place to cut, and what must come of it.
#[derive(Debug)]
pub struct Cut {
    /// The length that is left.
    pub at: usize,
    /// What must come of it.
    pub outcome: CutOutcome,
}

/// Where to cut `archive`: at every block, or every `every`th one in a sample, and in the middle of some.
pub fn cuts(archive: &[u8], every: usize) -> Vec<Cut> {
    let members = members(archive);
    let every = if super::full_sweep() { 1 } else { every };
    let at = (0..archive.len()).step_by(512 * every).flat_map(|at| [at, at + 1, at + 300]);
    let mut at: Vec<usize> = at.chain(members.iter().flat_map(|member| [member.end, member.end + 1])).collect();
    at.retain(|&at| at < archive.len());
    at.sort_unstable();
    at.dedup();
    at.into_iter().map(|at| Cut { at, outcome: outcome(&members, at) }).collect()
}

/// A member from its first header to the end of its content.
struct Member {
    name: String,
    start: usize,
    body: usize,
    end: usize,
}

impl Member {
    fn next(&self) -> usize {
        self.end.next_multiple_of(512)
    }
}

/// Finds the members with the project's own parser: where they are in a whole archive is not in question.
fn members(archive: &[u8]) -> Vec<Member> {
    let (mut framer, mut at, mut members) = (Framer::new(), 0, Vec::<Member>::new());
    while let (taken, Some(frame)) = framer.next(&archive[at..]).unwrap() {
        at += taken;
        if let Frame::Member(member) = frame {
            let name = String::from_utf8(member.name).unwrap();
            let start = members.last().map_or(0, Member::next);
            members.push(Member { name, start, body: at, end: at + usize::try_from(member.stored).unwrap() });
        }
    }
    members
}

/// Where to cut the tar of a layer, which needs no end, and what is to be expected.
pub fn layer_cuts(layer: &[u8]) -> Vec<Cut> {
    let members = members(layer);
    // A cut between an extension and the header that it belongs to may be refused or not.
    let clear = |at: &usize| !members.iter().any(|member| member.start + 512 <= *at && *at < member.body);
    let at = (1..layer.len()).filter(|at| [0, 1, 40, 300, 511].contains(&(at % 512))).filter(clear);
    let last = members.last().unwrap().next();
    let outcome = |at: usize| {
        let inside = members.iter().any(|member| member.start < at && at < member.end);
        if inside || (at > last && !at.is_multiple_of(512)) { CutOutcome::Refused } else { CutOutcome::Whole }
    };
    at.map(|at| Cut { at, outcome: outcome(at) }).collect()
}

fn outcome(members: &[Member], at: usize) -> CutOutcome {
    let needed = |member: &&Member| {
        let name = member.name.trim_start_matches("./");
        let legacy = ["VERSION", "json", "repositories", "oci-layout"];
        !name.ends_with('/') && !legacy.contains(&name.rsplit('/').next().unwrap())
    };
    let all = members.iter().filter(needed).all(|member| member.end <= at);
    // Inside a member, or inside the zeros at the end.
    let last = members.last().unwrap().next();
    let inside = members.iter().any(|member| member.start < at && at < member.end);
    let inside = inside || (at > last && at < last + 1024 && !at.is_multiple_of(512));
    if all && !inside { CutOutcome::Whole } else { CutOutcome::Refused }
}
