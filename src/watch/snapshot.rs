//! States of many paths at one time, compared with their current states.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::sources::Sources;
use super::stamp::{Role, Stamp};
use crate::guest::Inputs;

/// Paths and their states when they were used.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    stamps: BTreeMap<PathBuf, (Role, Stamp)>,
    sources: Sources,
    /// Directories in which new sources may appear.
    source_directories: BTreeSet<PathBuf>,
}

/// Changed paths and their current states.
pub(crate) type Changed = BTreeMap<PathBuf, Stamp>;

impl Snapshot {
    /// Returns the current states of a round's inputs.
    pub(crate) fn of_inputs(inputs: &Inputs) -> Self {
        Self::default().with_inputs(inputs, Duration::MAX)
    }

    /// Replaces the inputs by those of a round that started at `start`. Sources and known inputs keep their states, the
    /// states of other inputs are read now. They count as changed if they were written during the round, because the
    /// round may have read them before that.
    #[must_use]
    pub(crate) fn with_inputs(mut self, inputs: &Inputs, start: Duration) -> Self {
        let mut known = std::mem::take(&mut self.stamps);
        let listed = inputs.listed.iter().map(|path| (path, Role::Listed));
        let others = inputs.looked_at().filter(|path| !inputs.listed.contains(*path)).map(|path| (path, Role::Input));
        for (path, role) in listed.chain(others) {
            let stamp = match known.remove(path) {
                Some((known_role, stamp)) if known_role == role || known_role == Role::Source => (known_role, stamp),
                Some(_) | None => match Stamp::of(path, role) {
                    stamp if stamp.changed() >= Some(start) => (role, Stamp::Unknown),
                    stamp => (role, stamp),
                },
            };
            self.stamps.insert(path.clone(), stamp);
        }
        self.stamps.extend(known.into_iter().filter(|(_, (role, _))| *role == Role::Source));
        self
    }

    /// Returns the current states of a build's sources.
    pub(crate) fn of_sources(sources: &Sources) -> Self {
        let walked = sources.walk();
        let stamps = walked.files.into_iter().map(|path| {
            let stamp = Stamp::of(&path, Role::Source);
            (path, (Role::Source, stamp))
        });
        Self { stamps: stamps.collect(), sources: sources.clone(), source_directories: walked.directories }
    }

    /// Replaces the state of `path` by its current state.
    pub(crate) fn refresh(&mut self, path: &Path) {
        let role = self.stamps.get(path).map_or(Role::Source, |(role, _)| *role);
        self.stamps.insert(path.to_owned(), (role, Stamp::of(path, role)));
    }

    /// Returns all changed paths and new sources.
    pub(crate) fn changed(&mut self) -> Changed {
        let walked = self.sources.walk();
        self.source_directories = walked.directories;
        let new = walked.files.iter().filter(|path| !self.stamps.contains_key(*path));
        self.changed_among(self.stamps.keys().chain(new))
    }

    /// Returns the changed ones among `paths`.
    pub(crate) fn changed_among<'a>(&self, paths: impl Iterator<Item = &'a PathBuf>) -> Changed {
        let new = (Role::Source, Stamp::Missing);
        let changed = paths.filter_map(|path| {
            let (role, stamp) = self.stamps.get(path).unwrap_or(&new);
            let now = Stamp::of(path, *role);
            (now != *stamp).then(|| (path.clone(), now))
        });
        changed.collect()
    }

    /// Returns true if a changed input looks incomplete.
    pub(crate) fn is_incomplete(&self, path: &Path, now: &Stamp) -> bool {
        match self.stamps.get(path) {
            None | Some((Role::Source, _)) => false,
            Some((Role::Input | Role::Listed, _)) => now.is_incomplete(path),
        }
    }

    /// Returns the directories in which changes become visible: for a missing directory, the nearest existing one above it.
    pub(crate) fn directories(&self) -> BTreeSet<PathBuf> {
        let parents: HashSet<&Path> = self.stamps.keys().filter_map(|path| path.parent()).collect();
        let listed = self.stamps.iter().filter(|(_, (role, _))| *role == Role::Listed).map(|(path, _)| path.as_path());
        let mut found = self.source_directories.clone();
        for directory in parents.into_iter().chain(listed) {
            let existing = directory.ancestors().find(|directory| found.contains(*directory) || directory.is_dir());
            found.extend(existing.map(Path::to_owned));
        }
        found
    }

    /// Returns the number of paths.
    pub(crate) fn len(&self) -> usize {
        self.stamps.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::stamp::{now, wait_for_tick};
    use super::{Inputs, Snapshot, Sources, Stamp};
    use std::fs;
    use std::path::PathBuf;
    use std::time::Duration;

    fn inputs<const N: usize>(paths: [&PathBuf; N]) -> Inputs {
        Inputs { read: paths.into_iter().cloned().collect(), ..Inputs::default() }
    }

    #[test]
    fn a_missing_path_that_appears_has_changed_and_files_next_to_inputs_have_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let [read, missed] = ["read", "missed"].map(|name| dir.path().join(name));
        fs::write(&read, "x").expect("written");
        let inputs = inputs([&dir.path().to_owned(), &read, &missed]);
        let mut snapshot = Snapshot::of_inputs(&inputs);
        fs::write(dir.path().join("other"), "").expect("written");
        assert!(snapshot.changed().is_empty());
        fs::write(&missed, "").expect("written");
        assert!(snapshot.changed().keys().eq([&missed]));
        snapshot.refresh(&missed);
        assert!(snapshot.changed().is_empty());
    }

    #[test]
    fn a_file_written_while_a_round_reads_it_counts_as_changed() {
        let dir = tempfile::tempdir().expect("a directory");
        let [known, new, late] = ["known", "new", "late"].map(|name| dir.path().join(name));
        for path in [&known, &new] {
            fs::write(path, "x").expect("written");
        }
        let before = Snapshot::of_inputs(&inputs([&known]));
        wait_for_tick();
        let start = now();
        for path in [&known, &late] {
            fs::write(path, "yy").expect("written");
        }
        let mut used = before.with_inputs(&inputs([&known, &new, &late]), start);
        let changed = used.changed();
        assert_eq!(changed.keys().collect::<Vec<_>>(), [&known, &late]);
        assert!(changed.values().all(|stamp| *stamp != Stamp::Unknown));
    }

    #[test]
    fn a_listed_directory_changes_with_its_names_and_new_sources_are_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().to_owned();
        let inputs = Inputs { listed: [path.clone()].into(), ..inputs([&path]) };
        let mut all = Snapshot::of_sources(&Sources::new([path.clone()])).with_inputs(&inputs, Duration::MAX);
        let new = path.join("new");
        fs::write(&new, "").expect("written");
        assert!(all.changed().keys().eq([&path, &new]));
    }

    #[test]
    fn a_missing_directory_is_awaited_in_the_nearest_one_above() {
        let dir = tempfile::tempdir().expect("a directory");
        let snapshot = Snapshot::of_inputs(&inputs([&dir.path().join("a/b/c"), &dir.path().join("file")]));
        assert!(snapshot.directories().iter().eq([dir.path()]));
        fs::create_dir_all(dir.path().join("a/b")).expect("directories");
        assert!(snapshot.directories().iter().eq([dir.path(), &dir.path().join("a/b")]));
    }
}
