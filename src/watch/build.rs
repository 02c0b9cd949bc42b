//! The build that a round begins with: a line for the shell, run until it has seen the newest sources.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::products::Products;
use super::snapshot::Snapshot;
use super::sources::Sources;
use crate::guest::Inputs;
use crate::process::shell::{self, Built};
use crate::process::signals::Signals;

/// Builds in a row for changes that came while one ran.
const MOST: usize = 3;

/// A build.
#[derive(Debug, Clone)]
pub struct Build {
    line: OsString,
}

/// A build's end, and what it was made from.
#[derive(Debug)]
pub struct Made {
    /// How it ended.
    pub built: Built,
    /// The sources as the last run of it found them, and its own products as it left them.
    pub sources: Snapshot,
    /// Paths that every run of it changed; nobody knows that somebody else did not.
    pub restless: Vec<PathBuf>,
}

impl Build {
    /// A line for `sh -c`, in the current directory.
    pub fn new(line: OsString) -> Self {
        Self { line }
    }

    /// Builds; once more where sources changed meanwhile that the build itself did not write, as far as can be told.
    /// `inputs` are those of the last round.
    pub fn make(
        &self,
        sources: &Sources,
        inputs: &Inputs,
        products: &mut Products,
        signals: &mut Signals,
    ) -> io::Result<Made> {
        // What is learned here may be a source after all that was saved again and again: it has another round coming. What
        // changes with every build would have rounds without end: that is told instead.
        let known = products.clone();
        let mut suspects = BTreeSet::new();
        let mut runs = 0;
        loop {
            runs += 1;
            let mut found = Snapshot::of_sources(sources);
            let mut used = Snapshot::of_inputs(inputs);
            let built = self.run(signals)?;
            let changed: BTreeSet<PathBuf> = found.changed(true).into_keys().collect();
            if runs > 1 {
                // What two builds in a row have written is theirs; so is all of it where the second had nothing to do.
                let idle = changed.is_empty() && !inputs.read.is_empty() && used.changed(false).is_empty();
                let own = suspects.iter().filter(|path| idle || changed.contains(*path));
                products.learn(own.cloned());
            }
            suspects = changed.iter().filter(|path| !products.contains(path)).cloned().collect();
            let last = runs == MOST || matches!(built, Built::Interrupted(_));
            if suspects.is_empty() || last {
                products.learn(suspects.iter().cloned());
                for path in changed.iter().filter(|path| runs == MOST || known.contains(path)) {
                    found.renew(path);
                }
                return Ok(Made { built, sources: found, restless: suspects.into_iter().collect() });
            }
        }
    }

    fn run(&self, signals: &mut Signals) -> io::Result<Built> {
        shell::Build { line: &self.line, directory: Path::new("."), limit: None, kept: None }.run(signals)
    }
}

#[cfg(test)]
mod tests {
    use super::{Build, Built, Inputs, Products, Signals, Sources};
    use std::fs;
    use std::path::Path;

    /// Builds by `line` in `dir`, the input being its file `out`; says how often it ran by the file `.runs`.
    fn make(dir: &Path, line: &str, products: &mut Products) -> (Built, usize, super::Made) {
        let line = format!("cd {} && echo >>.runs; {line}", dir.display());
        let inputs = Inputs { read: [dir.join("out")].into(), ..Inputs::default() };
        let mut signals = Signals::catch().expect("signals");
        fs::write(dir.join(".runs"), "").expect("written");
        let made = Build::new(line.into()).make(&Sources::new([dir.to_owned()]), &inputs, products, &mut signals);
        let made = made.expect("it runs");
        let runs = fs::read_to_string(dir.join(".runs")).expect("it ran").lines().count();
        (made.built.clone(), runs, made)
    }

    #[test]
    fn products_are_learned_once_and_never_build_again() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("main.c"), "1").expect("written");
        let line = "test out -nt main.c || { cp main.c main.o && cp main.o out; }";
        let mut products = Products::default();
        let (built, runs, mut made) = make(dir.path(), line, &mut products);
        assert_eq!((built, runs), (Built::Done, 2));
        assert!(made.sources.changed(true).is_empty());
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(dir.path().join("main.c"), "2").expect("written");
        let (built, runs, mut made) = make(dir.path(), line, &mut products);
        assert_eq!((built, runs), (Built::Done, 1));
        assert!(made.sources.changed(true).is_empty());
        assert_eq!(fs::read(dir.path().join("out")).expect("built"), b"2");
    }

    #[test]
    fn a_source_saved_during_the_build_is_built_and_stays_a_source() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join(".ignore"), "out\n").expect("written");
        fs::write(dir.path().join("main.c"), "1").expect("written");
        // The first run is overtaken by a save.
        let line = "cp main.c out; test -e .saved || { sleep 0.05; echo 2 >main.c; touch .saved; }";
        let mut products = Products::default();
        let (built, runs, mut made) = make(dir.path(), line, &mut products);
        assert_eq!((built, runs), (Built::Done, 2));
        assert_eq!(fs::read(dir.path().join("out")).expect("built"), b"2\n");
        assert!(!products.contains(&dir.path().join("main.c")));
        assert!(made.sources.changed(true).is_empty());
    }

    #[test]
    fn a_build_that_always_writes_among_its_sources_comes_to_an_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut products = Products::default();
        let (_, runs, _) = make(dir.path(), "date +%N >version.h", &mut products);
        assert_eq!(runs, 2);
        let (_, runs, _) = make(dir.path(), "date +%N >version.h", &mut products);
        assert_eq!(runs, 1);
        let (_, runs, mut made) = make(dir.path(), "mktemp log.XXXXXX >/dev/null", &mut products);
        assert_eq!(runs, super::MOST);
        assert!(!made.restless.is_empty());
        assert!(made.sources.changed(true).is_empty());
    }

    #[test]
    fn a_build_that_fails_says_how() {
        let dir = tempfile::tempdir().expect("a directory");
        let (built, ..) = make(dir.path(), "exit 3", &mut Products::default());
        assert_eq!(built, Built::Failed("exit 3".to_owned()));
    }
}
