//! Many paths at one moment, and what of them has changed since.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::sources::Sources;
use super::stamp::{Look, Moment, Stamp};
use crate::guest::Inputs;

/// Paths, and what they were like when they were used.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    stamps: BTreeMap<PathBuf, (Look, Stamp)>,
    sources: Sources,
    /// Directories in which new sources may appear.
    pub(super) directories: BTreeSet<PathBuf>,
    /// Whether there are others than before.
    moved: bool,
    /// Sources that were found since.
    new: BTreeSet<PathBuf>,
}

/// Paths that are not what they were, and what they are now.
pub type Changed = BTreeMap<PathBuf, Stamp>;

impl Snapshot {
    /// What a round was made from, as it is now.
    pub fn of_inputs(inputs: &Inputs) -> Self {
        let stamps = looks(inputs).map(|(path, look)| (path.to_owned(), (look, Stamp::of(path, look))));
        Self { stamps: stamps.collect(), ..Self::default() }
    }

    /// What a build is made from, as it is now.
    pub fn of_sources(sources: &Sources) -> Self {
        let walked = sources.walk();
        let stamp = |path: PathBuf| {
            let stamp = Stamp::of(&path, Look::Source);
            (path, (Look::Source, stamp))
        };
        Self {
            stamps: walked.files.into_iter().map(stamp).collect(),
            sources: sources.clone(),
            directories: walked.directories,
            ..Self::default()
        }
    }

    /// The inputs of a round that began at `start`, when those known by then were as in `self`.
    ///
    /// Others are looked at now, after they were read: one that was written since the start may have been read before
    /// that.
    #[must_use]
    pub fn used(self, inputs: &Inputs, start: Moment) -> Self {
        let mut known = self.stamps;
        let stamps = looks(inputs).map(|(path, look)| {
            let stamp = match known.remove(path) {
                Some((as_then, stamp)) if as_then == look => stamp,
                Some(_) | None => match Stamp::of(path, look) {
                    stamp if stamp.is_since(start) => Stamp::Unknown,
                    stamp => stamp,
                },
            };
            (path.to_owned(), (look, stamp))
        });
        Self { stamps: stamps.collect(), ..Self::default() }
    }

    /// With the paths of another, too. Where both have one, the other's stamp stands.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.stamps.extend(other.stamps);
        self.directories.extend(other.directories);
        if self.sources.is_empty() {
            self.sources = other.sources;
        }
        self
    }

    /// Takes the stamp of `path` anew, from now.
    pub fn renew(&mut self, path: &Path) {
        let look = self.stamps.get(path).map_or(Look::Source, |(look, _)| *look);
        self.new.remove(path);
        self.stamps.insert(path.to_owned(), (look, Stamp::of(path, look)));
    }

    /// What has changed. Sources that are new are found where `anew` tells to walk through all of them again.
    pub fn changed(&mut self, anew: bool) -> Changed {
        if anew && !self.sources.is_empty() {
            let walked = self.sources.walk();
            self.new = walked.files.into_iter().filter(|path| !self.stamps.contains_key(path)).collect();
            self.moved |= walked.directories != self.directories;
            self.directories = walked.directories;
        }
        let known = self.stamps.iter().filter_map(|(path, (look, stamp))| {
            let now = Stamp::of(path, *look);
            (now != *stamp).then(|| (path.clone(), now))
        });
        let new = self.new.iter().map(|path| (path.clone(), Stamp::of(path, Look::Source)));
        known.chain(new.filter(|(_, stamp)| *stamp != Stamp::Missing)).collect()
    }

    /// Whether the last walks came by other directories than those before them; told once.
    pub(super) fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Whether a changed path looks like something in the making.
    pub(super) fn is_unfinished(&self, path: &Path, now: &Stamp) -> bool {
        match self.stamps.get(path) {
            None | Some((Look::Source, _)) => false,
            Some((Look::Itself | Look::Names, _)) => now.is_unfinished(path),
        }
    }

    /// Every path, and whether it is there.
    pub fn paths(&self) -> impl Iterator<Item = (&Path, Look, bool)> {
        self.stamps.iter().map(|(path, (look, stamp))| (path.as_path(), *look, *stamp != Stamp::Missing))
    }

    /// How many paths there are.
    pub fn len(&self) -> usize {
        self.stamps.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.stamps.is_empty()
    }
}

/// Each path once, with what of it matters.
fn looks(inputs: &Inputs) -> impl Iterator<Item = (&Path, Look)> {
    let itself = inputs.looked_at().filter(|path| !inputs.listed.contains(*path));
    let itself = itself.map(|path| (path.as_path(), Look::Itself));
    itself.chain(inputs.listed.iter().map(|path| (path.as_path(), Look::Names)))
}

#[cfg(test)]
mod tests {
    use super::{Inputs, Moment, Snapshot, Sources, Stamp};
    use std::fs;
    use std::path::PathBuf;
    use std::thread::sleep;
    use std::time::Duration;

    fn inputs<const N: usize>(paths: [&PathBuf; N]) -> Inputs {
        Inputs { read: paths.into_iter().cloned().collect(), ..Inputs::default() }
    }

    #[test]
    fn what_was_missed_and_is_there_now_has_changed_and_what_stands_beside_has_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let [read, missed] = ["read", "missed"].map(|name| dir.path().join(name));
        fs::write(&read, "x").expect("written");
        let inputs = inputs([&dir.path().to_owned(), &read, &missed]);
        let mut snapshot = Snapshot::of_inputs(&inputs);
        fs::write(dir.path().join("other"), "").expect("written");
        assert!(snapshot.changed(true).is_empty());
        fs::write(&missed, "").expect("written");
        assert!(snapshot.changed(true).keys().eq([&missed]));
        snapshot.renew(&missed);
        assert!(snapshot.changed(true).is_empty());
    }

    #[test]
    fn what_was_written_while_a_round_read_it_counts_as_changed() {
        let dir = tempfile::tempdir().expect("a directory");
        let [known, new, late] = ["known", "new", "late"].map(|name| dir.path().join(name));
        for path in [&known, &new] {
            fs::write(path, "x").expect("written");
        }
        sleep(Duration::from_millis(20));
        let before = Snapshot::of_inputs(&inputs([&known]));
        let start = Moment::now();
        for path in [&known, &late] {
            fs::write(path, "yy").expect("written");
        }
        let mut used = before.used(&inputs([&known, &new, &late]), start);
        let changed = used.changed(false);
        assert_eq!(changed.keys().collect::<Vec<_>>(), [&known, &late]);
        assert!(changed.values().all(|stamp| *stamp != Stamp::Unknown));
    }

    #[test]
    fn a_listed_directory_changes_with_its_names_and_new_sources_are_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().to_owned();
        let listed = Snapshot::of_inputs(&Inputs { listed: [path.clone()].into(), ..inputs([&path]) });
        let mut all = listed.and(Snapshot::of_sources(&Sources::new([path.clone()])));
        let new = path.join("new");
        fs::write(&new, "").expect("written");
        assert!(all.changed(false).keys().eq([&path]));
        assert!(all.changed(true).keys().eq([&path, &new]));
    }
}
