//! Plans what a check says would mend a finding, where nothing has to be proven first, and makes sure that no finding
//! but a note is passed over: each has a step that mends it, or advice that says what helps.

use std::collections::HashSet;

use super::RepairPlanner;
use crate::catalog::Subject;
use crate::check::{Cause, Finding, Place, Repair, Severity, records};
use crate::driver::{HomeEntries, LayerPart, Restacking};
use crate::repair::error::RepairError;
use crate::repair::mending::{Advice, Mending};

impl RepairPlanner<'_> {
    /// Adds the steps and the unmended damage that only a check of the records has found.
    pub(super) fn plan_findings(&mut self) -> Result<(), RepairError> {
        // What only the planning before needed goes before a check takes as much again.
        self.home = HomeEntries::default();
        self.chains.clear();
        let findings = records(self.view)?.findings;
        // A finding about a mount counts as a finding about its container.
        let known = self.steps.iter().map(|step| &step.subject);
        let mut known: HashSet<Subject> =
            known.chain(self.unmended.values().map(|left| &left.subject)).map(about_container).collect();
        known.extend(self.steps.iter().filter_map(|step| match step.mending {
            Mending::RenameRecord { from, .. } => Some(Subject::Layer(from)),
            _ => None,
        }));
        for finding in findings {
            // Of two layers that share a directory, one record is mended or dropped. That settles the finding about the other layer.
            let parted =
                matches!(&finding.cause, Cause::DirectoryShared { with } if known.contains(&Subject::Layer(*with)));
            if !self.is_chosen_finding(&finding) || parted {
                continue;
            }
            let Some(subject) = subject_of(&finding.place) else { continue };
            if let Some(mending) = mending_of(finding.repair.as_ref()) {
                if !self.is_planned(&mending) {
                    self.is_mended(&subject);
                    self.step(subject, finding.cause.to_string(), mending);
                }
                continue;
            }
            // What is reported about an image covers the layers of that image.
            let images = finding.affected.images.iter().filter(|_| matches!(finding.place, Place::Layer(_)));
            let said = known.contains(&about_container(&subject))
                || images.into_iter().any(|image| known.contains(&Subject::Image(*image)));
            if finding.severity != Severity::Note && !said {
                self.cannot(subject, finding.cause.to_string(), advice_on(&finding));
            }
        }
        Ok(())
    }

    fn is_chosen_finding(&self, finding: &Finding) -> bool {
        self.chosen.as_ref().is_none_or(|(_, images)| finding.affected.images.iter().any(|id| images.contains(id)))
    }
}

/// The step that carries out a repair which needs no further proof.
fn mending_of(repair: Option<&Repair>) -> Option<Mending> {
    Some(match repair? {
        Repair::CreateWork { directory } => Mending::Restack(Restacking::missing(directory, LayerPart::Work)?),
        Repair::MarkCommitted { directory } => Mending::Restack(Restacking::missing(directory, LayerPart::Committed)?),
        Repair::DropImageTime { image } => Mending::ForgetImageTime { image: *image },
        Repair::RestoreMount { container, mount_id, init_id, parent } => Mending::RestoreMount {
            container: container.clone(),
            mount_id: mount_id.parse().ok()?,
            init_id: init_id.parse().ok()?,
            parent: *parent,
        },
        _ => return None,
    })
}

fn advice_on(finding: &Finding) -> Advice {
    match (&finding.repair, &finding.place) {
        (Some(Repair::MoveBuildCache), _) => Advice::MoveBuildCache,
        (Some(Repair::PruneBuildCache), _) | (_, Place::BuildCache) => Advice::PruneBuildCache,
        (Some(Repair::Collect | Repair::TrimPool), _) => Advice::CollectLater,
        (Some(repair), _) if repair.needs_source() => Advice::NameSource,
        (_, Place::Image(_)) => Advice::RemoveImage,
        (_, Place::Container(_)) => Advice::RemoveContainer,
        _ => Advice::LookAtFile,
    }
}

/// What a finding is about; `None` for what only takes up room, which garbage collection removes.
fn subject_of(place: &Place) -> Option<Subject> {
    Some(match place {
        Place::References => Subject::References,
        Place::Image(id) => Subject::Image(*id),
        Place::Layer(id) => Subject::Layer(*id),
        Place::Container(id) => Subject::Container(id.clone()),
        Place::Mount(name) => Subject::Mount(name.clone()),
        Place::Volume(name) => Subject::Volume(name.clone()),
        Place::BuildCache => Subject::BuildCache,
        Place::Blob(_)
        | Place::Lease(_)
        | Place::Pool
        | Place::Device(_)
        | Place::Directory(_)
        | Place::Link(_)
        | Place::Record(_)
        | Place::File(_) => return None,
    })
}

/// The container of a mount in place of the mount.
pub(super) fn about_container(subject: &Subject) -> Subject {
    let container = match subject {
        Subject::Mount(name) => name.parse().ok().map(Subject::Container),
        _ => None,
    };
    container.unwrap_or_else(|| subject.clone())
}
