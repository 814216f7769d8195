//! One archive through this program and through dockerd: imported into an empty root, and loaded into another.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::dockerd::Dockerd;
use super::root::{self, RootContents};
use super::{live, saved};

/// The two roots of an archive.
#[derive(Debug)]
pub struct Roots {
    /// The root that was imported into.
    pub ours: PathBuf,
    /// The root of the daemon that loaded.
    pub dockers: PathBuf,
    /// What our import printed, and the time it took.
    pub import: (String, Duration),
    /// What `docker load` printed, and the time it took.
    pub load: (String, Duration),
    /// A second before both, in seconds since 1970.
    since: i64,
    daemon: Dockerd,
    dir: TempDir,
}

impl Roots {
    /// Imports and loads.
    pub fn make(archive: &Path) -> Self {
        // Both roots hold the archive unpacked, both daemons save it, and docker unpacks it before it reads it.
        let dir = super::scratch_for(8 * std::fs::metadata(archive).unwrap().len() + super::USUAL_ROOM);
        let (ours, dockers) = (super::empty_root(&dir, "ours"), super::empty_root(&dir, "dockers"));
        let since = super::now() - 1;
        let start = Instant::now();
        let import = (super::import(archive, &ours), start.elapsed());
        let daemon = Dockerd::start(&dockers);
        let start = Instant::now();
        let load = (daemon.load(archive), start.elapsed());
        Self { ours, dockers, import, load, since, daemon, dir }
    }

    /// Compares what is on disk. To be called before anything is mounted, since the kernel leaves marks.
    pub fn on_disk(&self) -> Vec<String> {
        let (ours, dockers) = (RootContents::read(&self.ours), RootContents::read(&self.dockers));
        assert!(!dockers.layers.is_empty(), "dockerd has loaded nothing");
        root::differences(&ours, &dockers, self.since)
    }

    /// Compares what daemons say and save, and what is left when all is removed.
    pub fn in_use(self, archive: &Path) -> Vec<String> {
        let mut report = Vec::new();
        let dockers = self.ask(&self.daemon, &self.dockers);
        let daemon = Dockerd::start(&self.ours);
        let before = super::listing(&self.ours);
        let again = daemon.load(archive);
        if again != self.load.0 {
            report.push(format!("loading it again says {again:?}, the first time it was {:?}", self.load.0));
        }
        report.extend(super::changes(&before, &super::listing(&self.ours)));
        let ours = self.ask(&daemon, &self.ours);
        report.extend(live::differences(&ours.0, &dockers.0));
        for (ours, dockers) in ours.1.iter().zip(&dockers.1) {
            let (layers, wrong) = saved::check_layers(ours);
            assert!(layers > 0, "{} has layers", ours.display());
            report.extend(wrong);
            report.extend(saved::differences(ours, dockers));
        }
        daemon.remove_everything();
        report.extend(live::leftovers(&self.ours));
        daemon.stop();
        report.extend(live::leftovers(&self.ours));
        report
    }

    /// A daemon's report on its root, and its images as it saves them: each by id, and each with all of its tags.
    fn ask(&self, daemon: &Dockerd, root: &Path) -> (live::DaemonWords, Vec<PathBuf>) {
        let report = live::report(daemon, root);
        let mut archives = Vec::new();
        for id in daemon.images() {
            let tags = daemon.ok(&["inspect", "--format", "{{range .RepoTags}}{{println .}}{{end}}", &id]);
            let mut tags: Vec<&str> = tags.split_whitespace().collect();
            tags.sort_unstable();
            for names in [vec![id.as_str()], tags].iter().filter(|names| !names.is_empty()) {
                let file = format!("{}-{}.tar", root.file_name().unwrap().display(), archives.len());
                archives.push(self.dir.path().join(file));
                saved::save(daemon, names, archives.last().unwrap());
            }
        }
        (report, archives)
    }
}

/// Every comparison for one archive.
pub fn check(archive: &Path) {
    let roots = Roots::make(archive);
    let mut report = roots.on_disk();
    report.extend(roots.in_use(archive));
    super::assert_none(&archive.display().to_string(), &report);
}
