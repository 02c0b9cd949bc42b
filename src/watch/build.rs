//! Build command that starts a round, repeated until it has used the newest sources.
//!
//! Files that the build writes are not sources, even if git does not ignore them. Which process wrote a file is unknown. But
//! a build that has just built everything writes nothing, and a build that writes a file on every run writes it again.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::snapshot::Snapshot;
use super::sources::Sources;
use crate::guest::Inputs;
use crate::process::shell::{self, Built};
use crate::process::signals::Signals;

/// Limit on consecutive builds if sources change during each of them.
const MAX_RUNS: usize = 3;

/// A build command and the files that it writes, as far as known.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    line: OsString,
    products: BTreeSet<PathBuf>,
}

/// Exit status of the last run; the sources before it and the products after it; a path that every run changed.
pub(crate) type BuildResult = (Built, Snapshot, Option<PathBuf>);

impl Build {
    /// Creates a build from a command for `sh -c` in the current directory.
    pub(crate) fn new(line: OsString) -> Self {
        Self { line, products: BTreeSet::new() }
    }

    /// Removes paths from the known products, because another process wrote them.
    pub(crate) fn forget_products(&mut self, paths: &[PathBuf]) {
        self.products.retain(|path| !paths.contains(path));
    }

    /// Builds, again if sources changed meanwhile that are not known products. `inputs` are those of the last round.
    pub(crate) fn run(&mut self, sources: &Sources, inputs: &Inputs, signals: &mut Signals) -> io::Result<BuildResult> {
        // A path that becomes a product in this call may be a source that the user saved repeatedly: a change of it starts
        // another round, unless the limit was reached, since such rounds would not end.
        let known = self.products.clone();
        let mut suspects = BTreeSet::new();
        let mut runs = 0;
        loop {
            runs += 1;
            let mut found = Snapshot::of_sources(sources);
            let mut used = Snapshot::of_inputs(inputs);
            let build = shell::Build { line: &self.line, directory: Path::new("."), limit: None, kept: None };
            let status = build.run(signals)?;
            let changed: BTreeSet<PathBuf> = found.changed().into_keys().collect();
            if runs > 1 {
                // The build wrote what two consecutive runs changed, and everything if the second run had nothing to do.
                let was_idle = changed.is_empty() && !inputs.read.is_empty() && used.changed().is_empty();
                self.products.extend(suspects.into_iter().filter(|path| was_idle || changed.contains(path)));
            }
            suspects = changed.difference(&self.products).cloned().collect();
            if suspects.is_empty() || runs == MAX_RUNS || matches!(status, Built::Interrupted(_)) {
                self.products.extend(suspects.iter().cloned());
                for path in changed.iter().filter(|path| runs == MAX_RUNS || known.contains(*path)) {
                    found.refresh(path);
                }
                return Ok((status, found, suspects.into_iter().next()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Build, Built, Inputs, MAX_RUNS, Signals, Snapshot, Sources};
    use std::fs;
    use std::path::{Path, PathBuf};

    /// Runs `line` in `dir`, with its file `out` as the only input. Also returns the number of runs, counted in the file
    /// `.runs`.
    fn run(dir: &Path, line: &str, build: &mut Build) -> (Built, usize, Snapshot, Option<PathBuf>) {
        build.line = format!("cd {} && echo >>.runs; {line}", dir.display()).into();
        let inputs = Inputs { read: [dir.join("out")].into(), ..Inputs::default() };
        let mut signals = Signals::catch().expect("signals");
        fs::write(dir.join(".runs"), "").expect("written");
        let result = build.run(&Sources::new([dir.to_owned()]), &inputs, &mut signals);
        let (status, sources, always_changed) = result.expect("the build runs");
        let runs = fs::read_to_string(dir.join(".runs")).expect("a count").lines().count();
        (status, runs, sources, always_changed)
    }

    #[test]
    fn products_are_detected_once_and_start_no_build() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("main.c"), "1").expect("written");
        let line = "test out -nt main.c || { cp main.c main.o && cp main.o out; }";
        let mut build = Build::new("".into());
        let (status, runs, mut sources, _) = run(dir.path(), line, &mut build);
        assert_eq!((status, runs), (Built::Done, 2));
        assert!(sources.changed().is_empty());
        crate::watch::stamp::wait_for_tick();
        fs::write(dir.path().join("main.c"), "2").expect("written");
        let (status, runs, mut sources, _) = run(dir.path(), line, &mut build);
        assert_eq!((status, runs), (Built::Done, 1));
        assert!(sources.changed().is_empty());
        assert_eq!(fs::read(dir.path().join("out")).expect("built"), b"2");
    }

    #[test]
    fn a_source_saved_during_the_build_is_built_and_stays_a_source() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join(".ignore"), "out\n").expect("written");
        fs::write(dir.path().join("main.c"), "1").expect("written");
        // A source is saved during the first run.
        let line = "cp main.c out; test -e .saved || { echo 2 >main.c; touch .saved; }";
        let mut build = Build::new("".into());
        let (status, runs, mut sources, _) = run(dir.path(), line, &mut build);
        assert_eq!((status, runs), (Built::Done, 2));
        assert_eq!(fs::read(dir.path().join("out")).expect("built"), b"2\n");
        assert!(!build.products.contains(&dir.path().join("main.c")));
        assert!(sources.changed().is_empty());
    }

    #[test]
    fn a_build_that_always_writes_sources_ends() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut build = Build::new("".into());
        let (_, runs, ..) = run(dir.path(), "date +%N >version.h", &mut build);
        assert_eq!(runs, 2);
        let (_, runs, ..) = run(dir.path(), "date +%N >version.h", &mut build);
        assert_eq!(runs, 1);
        let (_, runs, mut sources, always_changed) = run(dir.path(), "mktemp log.XXXXXX >/dev/null", &mut build);
        assert_eq!(runs, MAX_RUNS);
        assert!(always_changed.is_some());
        assert!(sources.changed().is_empty());
    }

    #[test]
    fn a_failed_build_reports_its_status() {
        let dir = tempfile::tempdir().expect("a directory");
        let (status, ..) = run(dir.path(), "exit 3", &mut Build::new("".into()));
        assert_eq!(status, Built::Failed("exit 3".to_owned()));
    }

    #[test]
    fn a_product_that_another_process_writes_is_a_source_again() {
        let mut build = Build::new("".into());
        build.products.extend(["a.o", "b.o"].map(PathBuf::from));
        build.forget_products(&[PathBuf::from("a.o")]);
        assert!(build.products.iter().eq([Path::new("b.o")]));
    }
}
