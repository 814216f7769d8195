//! A plan: everything that a policy removes, in order, and everything that stays.

use std::path::Path;

use super::item::{GcItem, Spared, Thing};
use super::planner::GcPlanner;
use super::policy::Policy;
use crate::driver::HomeLayout;
use crate::edit::{Edit, KeptRemains, Remains, Summary};
use crate::error::StoreError;
use crate::liveness::Doubt;
use crate::reference::Reference;
use crate::view::View;

/// What is removed and what stays, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GcPlan {
    /// What is removed, in this order.
    pub(super) items: Vec<GcItem>,
    /// What was looked at and stays.
    pub(super) spared: Vec<Spared>,
    /// Why it cannot be told who needs what. If there is any such reason, nothing is removed.
    pub(super) doubts: Vec<Doubt>,
    /// How much the policy's target asks to be freed, and how much the plan frees; `None` without a target.
    pub(super) goal: Option<Goal>,
    /// Whether files may share blocks on this file system, so that less may be freed than the plan says.
    pub(super) may_share_blocks: bool,
    /// How many entries could not be read when they were measured; they count as 0 bytes.
    pub(super) unread: u64,
    /// Patterns to keep that match no image, which may be misspelt.
    pub(super) unused_patterns: Vec<String>,
    /// Labels to keep that no image has.
    pub(super) unused_labels: Vec<String>,
}

/// A target, and how far the plan reaches it, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goal {
    /// What is to be freed.
    pub wanted: u64,
    /// What the plan frees.
    pub freed: u64,
}

impl Goal {
    /// Whether the plan frees enough.
    #[must_use]
    pub fn is_reached(self) -> bool {
        self.freed >= self.wanted
    }
}

impl GcPlan {
    /// Makes a plan from a view that was read with [`Needs::REMOVAL`](crate::view::Needs::REMOVAL) or more. Nothing is
    /// written.
    ///
    /// # Errors
    /// [`StoreError::Io`] where a directory cannot be listed, or where this process has no descriptors or memory left.
    /// A single thing that cannot be read is kept.
    pub fn make(view: &View, policy: &Policy) -> Result<Self, StoreError> {
        let plan = GcPlanner::new(view, policy).plan()?;
        view.root.dir.check_shortage()?;
        Ok(plan)
    }

    /// What is removed, in this order.
    #[must_use]
    pub fn items(&self) -> &[GcItem] {
        &self.items
    }

    /// What was looked at and stays.
    #[must_use]
    pub fn spared(&self) -> &[Spared] {
        &self.spared
    }

    /// Why it cannot be told who needs what. If there is any such reason, nothing is removed.
    #[must_use]
    pub fn doubts(&self) -> &[Doubt] {
        &self.doubts
    }

    /// How much the policy's target asks to be freed, and how much the plan frees; `None` without a target.
    #[must_use]
    pub fn goal(&self) -> Option<Goal> {
        self.goal
    }

    /// Whether files may share blocks on this file system, so that less may be freed than the plan says.
    #[must_use]
    pub fn may_share_blocks(&self) -> bool {
        self.may_share_blocks
    }

    /// How many entries could not be read when they were measured; they count as 0 bytes.
    #[must_use]
    pub fn unread(&self) -> u64 {
        self.unread
    }

    /// Patterns to keep that match no image, which may be misspelt.
    #[must_use]
    pub fn unused_patterns(&self) -> &[String] {
        &self.unused_patterns
    }

    /// The plan's items that are left of interrupted changes, without the rest of the plan.
    #[must_use]
    pub fn into_begun(self) -> Vec<GcItem> {
        let is_begun = |item: &GcItem| {
            matches!(item.thing, Thing::Change(_) | Thing::Remains(Remains::Registration(_) | Remains::Removal(_)))
        };
        self.items.into_iter().filter(is_begun).collect()
    }

    /// Puts first the items that an earlier plan [had](GcPlan::into_begun) and that are gone already: beginning a
    /// transaction has finished those changes or taken them back.
    pub fn include_finished(&mut self, mut begun: Vec<GcItem>) {
        begun.retain(|item| !self.items.iter().any(|now| now.thing == item.thing));
        self.items.splice(0..0, begun);
    }

    /// Takes out what a transaction has kept, so that the plan says what is gone. Returns the kept remains that were
    /// items of the plan. A link that was to go with its directory is no item of its own, so it is not returned.
    pub fn leave_out_kept<'s>(&mut self, summary: &'s Summary) -> Vec<&'s KeptRemains> {
        let is_planned = |kept: &&KeptRemains| {
            self.items.iter().any(|item| matches!(&item.thing, Thing::Remains(remains) if *remains == kept.remains))
        };
        let kept: Vec<&KeptRemains> = summary.kept_remains.iter().filter(is_planned).collect();
        self.items.retain(|item| match &item.thing {
            Thing::Layer { chain_id, .. } => !summary.kept.iter().any(|kept| kept.chain_id == *chain_id),
            Thing::Remains(remains) => !kept.iter().any(|kept| kept.remains == *remains),
            Thing::Image { .. } | Thing::Change(_) | Thing::Odd(_) => true,
        });
        kept
    }

    /// Labels to keep that no image has, which may be misspelt.
    #[must_use]
    pub fn unused_labels(&self) -> &[String] {
        &self.unused_labels
    }

    /// Bytes that the file system gets back.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(|item| item.bytes).sum()
    }

    /// The edits that carry it out, for a transaction on the same store.
    #[must_use]
    pub fn edits(&self) -> Vec<Edit> {
        let mut edits = Vec::new();
        for item in &self.items {
            match &item.thing {
                Thing::Image { id, names } => {
                    let names = names.iter().filter_map(|name| Reference::parse(name).ok());
                    edits.extend(names.map(|reference| Edit::Untag { reference }));
                    edits.push(Edit::RemoveImage { image: *id });
                }
                Thing::Layer { chain_id, .. } => edits.push(Edit::RemoveLayer { chain_id: *chain_id }),
                Thing::Remains(remains) => edits.push(Edit::Clear { remains: remains.clone() }),
                Thing::Change(_) | Thing::Odd(_) => {}
            }
            // The driver removes a layer's own short name. Other short names that lead to its directory lead to nothing
            // afterwards, so they are cleared as links.
            let links = item.paths.iter().filter_map(|path| link_name(path));
            edits.extend(links.map(|name| Edit::Clear { remains: Remains::Link(name) }));
        }
        edits
    }
}

/// The short name whose link is at this path; `None` if the path is no link's.
fn link_name(path: &Path) -> Option<String> {
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    let [driver, links, name] = parts.as_slice() else { return None };
    let layout = HomeLayout::of_driver(driver)?;
    (layout.links == Some(*links)).then(|| (*name).to_owned())
}
