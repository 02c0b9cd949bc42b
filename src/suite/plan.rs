//! Plans the cells: tests x kernels x machines, filtered, in a fixed order. Pure.

mod conflicts;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use glob::Pattern;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::manifest::{BootWay, Combination, MatrixSpec, Test, TestSpec, nearest};
use super::report::Shard;
use crate::arch::Arch;
use crate::format::measure::hex;
use crate::qemu::device::{disk::DiskRequest, files::Support, net::NetRequest};

/// Planned cells and their targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The manifest.
    pub(crate) spec: TestSpec,
    /// Cells of this shard, in the manifest's order.
    pub cells: Vec<Cell>,
    /// Targets of the cells.
    pub(crate) targets: Vec<Target>,
    /// Shard; `None` for the whole matrix.
    pub(crate) shard: Option<Shard>,
    /// Digest of the ids of all shards' cells.
    pub digest: String,
    /// Number of cells of all shards.
    pub(crate) total_cells: usize,
    /// Exact packages of kernels that are fetched, by kernel and architecture (see `lock`).
    pub(crate) pins: BTreeMap<(usize, Arch), String>,
}

/// One run of one test with one kernel on one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// `TEST/KERNEL/MACHINE`, followed by `#N` if the test is repeated.
    pub id: String,
    /// Index of the test in the manifest.
    pub(crate) test: usize,
    /// The kernel.
    pub(crate) kernel: usize,
    /// The machine.
    pub(crate) machine: usize,
    /// Repetition, from 1; `None` if the test is not repeated.
    pub(crate) repetition: Option<u32>,
    /// Index of its target.
    pub(crate) target: usize,
    /// Position among the cells of all shards, in the manifest's order.
    pub(crate) place: usize,
}

/// Everything that guests are built from, apart from the test. Cells of one target are restored from one snapshot and
/// may share guests.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    /// The kernel.
    pub(crate) kernel: usize,
    /// The machine.
    pub(crate) machine: usize,
    /// Whether its guests boot or are restored.
    pub(crate) boot: BootWay,
    /// Root directory of programs, libraries and modules.
    pub(crate) sysroot: PathBuf,
    /// Library directories searched first.
    pub(crate) lib_path: Vec<PathBuf>,
    /// True if the guest contains busybox.
    pub(crate) busybox: bool,
    /// Disks.
    pub(crate) disks: Vec<DiskRequest>,
    /// Network interface.
    pub(crate) net: Option<NetRequest>,
    /// Support of its machine for directories of the host.
    pub(crate) files: Support,
    /// Additional arguments for the kernel command line.
    pub(crate) boot_args: Vec<String>,
}

/// Cell filter. A cell must match every list that is not empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Substrings or patterns of test names; one must match.
    pub tests: Vec<String>,
    /// Substrings or patterns of test names; none may match.
    pub skip_tests: Vec<String>,
    /// Tags; the cell must have one of them.
    pub tags: Vec<String>,
    /// Tags that the cell must not have.
    pub skip_tags: Vec<String>,
    /// Kernel names; one must match.
    pub kernels: Vec<String>,
    /// Machine names; one must match.
    pub machines: Vec<String>,
    /// Substrings of cell ids; one must match.
    pub ids: Vec<String>,
    /// Complete cell ids; one must match.
    pub only: Vec<String>,
}

/// Planning error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Unknown name.
    #[error("unknown {kind} {name:?}{}", suggestion.as_ref().map(|name| format!("; did you mean {name:?}?")).unwrap_or_default())]
    Unknown {
        /// Kind of object that the name should refer to.
        kind: &'static str,
        /// Unknown name.
        name: String,
        /// Most similar known name.
        suggestion: Option<String>,
    },
    /// Invalid pattern.
    #[error("invalid pattern {pattern:?}: {reason}")]
    Pattern {
        /// Invalid pattern.
        pattern: String,
        /// Fault.
        reason: &'static str,
    },
    /// No cell matches the filter.
    #[error("no cell selected: none of the manifest's {0} cells matches")]
    NoMatch(usize),
    /// The manifest excludes all cells.
    #[error("the manifest excludes all of its cells")]
    AllExcluded,
    /// Cells that cannot run at the same time.
    #[error("cells {} and {} {what}: {fix}", cells[0], cells[1])]
    Conflict {
        /// The cells.
        cells: [String; 2],
        /// Conflicting use, as a verb phrase.
        what: String,
        /// One line of advice.
        fix: &'static str,
    },
}

/// A cell in `bootling test --list --json`. Fields may be added, never removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedCell {
    /// Cell id.
    pub id: String,
    /// Test name.
    pub(crate) test: String,
    /// Kernel name.
    pub(crate) kernel: String,
    /// Machine name.
    pub(crate) machine: String,
    /// Repetition, from 1; `None` if the test is not repeated.
    pub(crate) repetition: Option<u32>,
    /// Tags.
    pub tags: Vec<String>,
}

impl Plan {
    /// Plans the cells of a manifest that match a filter: all of them, or those of a shard.
    pub fn new(spec: TestSpec, filter: &Filter, shard: Option<Shard>) -> Result<Self, PlanError> {
        let (all, targets) = cells(&spec);
        let count = all.len();
        let filter = ResolvedFilter::new(filter, &spec, &all)?;
        let cells = all.into_iter().filter(|cell| filter.matches(&spec, cell));
        let cells: Vec<Cell> = cells.enumerate().map(|(place, cell)| Cell { place, ..cell }).collect();
        match (count, cells.len()) {
            (0, _) => return Err(PlanError::AllExcluded),
            (_, 0) => return Err(PlanError::NoMatch(count)),
            _ => {}
        }
        let (digest, total_cells) = (digest(&cells), cells.len());
        let cells = match shard {
            None => cells,
            Some(shard) => shard_cells(cells, shard),
        };
        conflicts::check(&cells, &targets)?;
        Ok(Self { spec, cells, targets, shard, digest, total_cells, pins: BTreeMap::new() })
    }

    /// Returns the architecture of a kernel's guests on a machine, if one of them states it.
    pub(crate) fn arch(&self, kernel: usize, machine: usize) -> Option<Arch> {
        self.spec.machines[machine].boot.arch.or(self.spec.kernels[kernel].arch)
    }

    /// Returns a cell's test.
    pub(crate) fn test(&self, cell: &Cell) -> &Test {
        &self.spec.tests[cell.test]
    }

    /// Returns a cell's tags: those of its test, kernel and machine, without duplicates.
    pub(crate) fn tags(&self, cell: &Cell) -> Vec<String> {
        let mut tags: Vec<String> = tags(&self.spec, cell).cloned().collect();
        tags.sort();
        tags.dedup();
        tags
    }

    /// Returns the cells as they are listed for users.
    pub fn list(&self) -> impl Iterator<Item = ListedCell> {
        self.cells.iter().map(|cell| ListedCell {
            id: cell.id.clone(),
            test: self.test(cell).name.clone(),
            kernel: self.spec.kernels[cell.kernel].name.clone(),
            machine: self.spec.machines[cell.machine].name.clone(),
            repetition: cell.repetition,
            tags: self.tags(cell),
        })
    }

    /// Returns the names of a target's kernel and machine.
    pub fn target_names(&self, target: usize) -> (&str, &str) {
        let Target { kernel, machine, .. } = self.targets[target];
        (&self.spec.kernels[kernel].name, &self.spec.machines[machine].name)
    }
}

fn tags<'a>(spec: &'a TestSpec, cell: &Cell) -> impl Iterator<Item = &'a String> {
    let (kernel, machine) = (&spec.kernels[cell.kernel], &spec.machines[cell.machine]);
    spec.tests[cell.test].tags.iter().chain(&kernel.tags).chain(&machine.tags)
}

/// Returns all cells of a manifest, and their targets.
fn cells(spec: &TestSpec) -> (Vec<Cell>, Vec<Target>) {
    let (mut cells, mut targets) = (Vec::new(), Vec::new());
    let mut indexes: HashMap<Target, usize> = HashMap::new();
    for (at, test) in spec.tests.iter().enumerate() {
        for (kernel, kernel_spec) in spec.kernels.iter().enumerate() {
            for (machine, machine_spec) in spec.machines.iter().enumerate() {
                if differ(kernel_spec.arch, machine_spec.boot.arch)
                    || !is_combined(spec, test, &kernel_spec.name, &machine_spec.name)
                {
                    continue;
                }
                let target = Target {
                    kernel,
                    machine,
                    boot: test.boot,
                    sysroot: test.sysroot.clone(),
                    lib_path: test.lib_path.clone(),
                    busybox: test.busybox,
                    disks: test.disks.clone(),
                    net: test.network(),
                    files: test.command.needs_files(),
                    boot_args: test.boot_args.clone(),
                };
                let target = *indexes.entry(target).or_insert_with_key(|target| {
                    targets.push(target.clone());
                    targets.len() - 1
                });
                let id = format!("{}/{}/{}", test.name, kernel_spec.name, machine_spec.name);
                let cell = |id, repetition| Cell { id, test: at, kernel, machine, repetition, target, place: 0 };
                if test.repeat == 1 {
                    cells.push(cell(id, None));
                } else {
                    cells.extend((1..=test.repeat).map(|number| cell(format!("{id}#{number}"), Some(number))));
                }
            }
        }
    }
    (cells, targets)
}

/// Returns true if a kernel and a machine are of different architectures.
fn differ(kernel: Option<Arch>, machine: Option<Arch>) -> bool {
    matches!((kernel, machine), (Some(kernel), Some(machine)) if kernel != machine)
}

/// Returns true if a test runs with a kernel on a machine.
fn is_combined(spec: &TestSpec, test: &Test, kernel: &String, machine: &String) -> bool {
    let contains = |names: Option<&Vec<String>>, name| names.is_none_or(|names| names.contains(name));
    let MatrixSpec { kernels, machines, exclude, include } = &spec.matrix;
    let kernels = test.kernels.as_ref().or(kernels.as_ref());
    let machines = test.machines.as_ref().or(machines.as_ref());
    let excludes = |combination: &Combination| {
        contains(combination.tests.as_ref(), &test.name)
            && contains(combination.kernels.as_ref(), kernel)
            && contains(combination.machines.as_ref(), machine)
    };
    let includes = |combination: &Combination| {
        contains(combination.tests.as_ref(), &test.name)
            && contains(combination.kernels.as_ref().or(kernels), kernel)
            && contains(combination.machines.as_ref().or(machines), machine)
    };
    let is_selected = contains(kernels, kernel) && contains(machines, machine);
    is_selected && !exclude.iter().any(excludes) || include.iter().any(includes)
}

/// A filter whose names are known, with compiled patterns.
struct ResolvedFilter<'a> {
    filter: &'a Filter,
    tests: Vec<Pattern>,
    skip_tests: Vec<Pattern>,
}

impl<'a> ResolvedFilter<'a> {
    fn new(filter: &'a Filter, spec: &TestSpec, cells: &[Cell]) -> Result<Self, PlanError> {
        check_names("kernel", &filter.kernels, spec.kernels.iter().map(|kernel| &kernel.name))?;
        check_names("machine", &filter.machines, spec.machines.iter().map(|machine| &machine.name))?;
        let tests = spec.tests.iter().flat_map(|test| &test.tags);
        let kernels = spec.kernels.iter().flat_map(|kernel| &kernel.tags);
        let machines = spec.machines.iter().flat_map(|machine| &machine.tags);
        check_names("tag", &filter.tags, tests.chain(kernels).chain(machines))?;
        check_names("cell", &filter.only, cells.iter().map(|cell| &cell.id))?;
        let pattern = |text: &String| {
            // Without wildcards, the text may be anywhere in the name.
            let is_pattern = text.contains(['*', '?', '[']);
            let pattern = if is_pattern { text.clone() } else { format!("*{}*", Pattern::escape(text)) };
            Pattern::new(&pattern).map_err(|error| PlanError::Pattern { pattern: text.clone(), reason: error.msg })
        };
        let patterns = |texts: &[String]| texts.iter().map(pattern).collect::<Result<_, _>>();
        Ok(Self { filter, tests: patterns(&filter.tests)?, skip_tests: patterns(&filter.skip_tests)? })
    }

    fn matches(&self, spec: &TestSpec, cell: &Cell) -> bool {
        let Filter { tags: required, skip_tags, kernels, machines, ids, only, .. } = self.filter;
        let name = &spec.tests[cell.test].name;
        (self.tests.is_empty() || self.tests.iter().any(|pattern| pattern.matches(name)))
            && !self.skip_tests.iter().any(|pattern| pattern.matches(name))
            && (required.is_empty() || tags(spec, cell).any(|tag| required.contains(tag)))
            && !tags(spec, cell).any(|tag| skip_tags.contains(tag))
            && (kernels.is_empty() || kernels.contains(&spec.kernels[cell.kernel].name))
            && (machines.is_empty() || machines.contains(&spec.machines[cell.machine].name))
            && (ids.is_empty() || ids.iter().any(|part| cell.id.contains(part)))
            && (only.is_empty() || only.contains(&cell.id))
    }
}

/// Checks that all names are known.
fn check_names<'a>(
    kind: &'static str,
    names: &[String],
    known: impl Iterator<Item = &'a String> + Clone,
) -> Result<(), PlanError> {
    let Some(name) = names.iter().find(|name| !known.clone().any(|known| known == *name)) else { return Ok(()) };
    let suggestion = nearest(name, known.map(String::as_str)).map(str::to_owned);
    Err(PlanError::Unknown { kind, name: name.clone(), suggestion })
}

fn digest(cells: &[Cell]) -> String {
    let mut hash = Sha256::new();
    for cell in cells {
        hash.update(&cell.id);
        hash.update("\n");
    }
    hex(&hash.finalize()[..16])
}

/// Returns the cells of a shard. All shards have the same size.
///
/// Cells of one kernel and machine stay together, so that each shard makes as few snapshots as possible. Among those,
/// the order is pseudo-random but fixed, since neighboring tests in a manifest tend to be slow together.
fn shard_cells(cells: Vec<Cell>, shard: Shard) -> Vec<Cell> {
    let mut order: Vec<usize> = (0..cells.len()).collect();
    order.sort_by_cached_key(|at| {
        let Cell { kernel, machine, id, .. } = &cells[*at];
        (*kernel, *machine, Sha256::digest(id).to_vec())
    });
    let (index, total) = (shard.index.max(1) as usize - 1, shard.total.max(1) as usize);
    let (from, to) = (cells.len() * index / total, cells.len() * (index + 1) / total);
    let selected: HashSet<usize> = order.into_iter().take(to).skip(from).collect();
    cells.into_iter().enumerate().filter(|(at, _)| selected.contains(at)).map(|(_, cell)| cell).collect()
}

#[cfg(test)]
mod tests {
    use super::{Cell, Filter, Plan, PlanError};
    use crate::suite::report::Shard;
    use crate::suite::tests::fixtures::spec;
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    const TWO: &str = r#"
        [kernels]
        a = "a.deb"
        b = { kernel = "b.deb", tags = ["slow"] }
        [machines.pc]
        [machines.q35]
        [[test]]
        name = "one"
        run = "x"
        tags = ["quick"]
        [[test]]
        name = "two"
        run = "x"
        repeat = 2
        kernels = ["a"]
        [matrix]
        machines = ["q35"]
        exclude = [{ test = "one", kernel = "b" }]
        include = [{ test = "one", kernel = "b", machine = "pc" }]
    "#;

    fn ids(plan: &Plan) -> Vec<&str> {
        plan.cells.iter().map(|cell| cell.id.as_str()).collect()
    }

    fn planned(filter: &Filter) -> Result<Vec<String>, String> {
        let plan = Plan::new(spec(TWO), filter, None).map_err(|error| error.to_string())?;
        Ok(ids(&plan).into_iter().map(str::to_owned).collect())
    }

    #[test]
    fn cells_are_in_the_manifests_order_with_exclusions_and_inclusions() {
        let all = planned(&Filter::default()).expect("cells");
        assert_eq!(all, ["one/a/q35", "one/b/pc", "two/a/q35#1", "two/a/q35#2"]);
    }

    #[test]
    fn a_cell_must_match_all_filters() {
        let some = |text: &str| vec![text.to_owned()];
        let none = Filter::default;
        let cases = [
            (Filter { tests: some("on"), ..none() }, &["one/a/q35", "one/b/pc"][..]),
            (Filter { tests: some("t*"), ..none() }, &["two/a/q35#1", "two/a/q35#2"]),
            (Filter { tags: some("slow"), ..none() }, &["one/b/pc"]),
            (Filter { tags: some("quick"), skip_tags: some("slow"), ..none() }, &["one/a/q35"]),
            (Filter { kernels: some("b"), ..none() }, &["one/b/pc"]),
            (Filter { machines: some("pc"), ..none() }, &["one/b/pc"]),
            (Filter { ids: some("q35#2"), ..none() }, &["two/a/q35#2"]),
            (Filter { only: some("one/a/q35"), ..none() }, &["one/a/q35"]),
        ];
        for (filter, expected) in cases {
            assert_eq!(planned(&filter).expect("cells"), expected, "{filter:?}");
        }
        let wrong = [
            (Filter { kernels: some("c"), ..none() }, "unknown kernel \"c\"; did you mean \"a\"?"),
            (Filter { tags: some("quik"), ..none() }, "unknown tag \"quik\"; did you mean \"quick\"?"),
            (Filter { only: some("one/a/pc"), ..none() }, "unknown cell \"one/a/pc\""),
            (Filter { tests: some("[a"), ..none() }, "invalid pattern \"[a\": "),
            (Filter { ids: some("x"), ..none() }, "none of the manifest's 4 cells matches"),
        ];
        for (filter, expected) in wrong {
            let error = planned(&filter).expect_err("nothing");
            assert!(error.contains(expected), "{error}");
        }
        let nothing =
            TWO.replace("{ test = \"one\", kernel = \"b\" }", "{ machine = \"q35\" }").replace("include", "#");
        assert_eq!(Plan::new(spec(&nothing), &none(), None), Err(PlanError::AllExcluded));
    }

    #[test]
    fn shards_have_equal_sizes_and_contain_every_cell_once() {
        let mut text = String::from("[kernels]\na = 'a'\nb = 'b'\n");
        for number in 0..25 {
            write!(text, "[[test]]\nname = 't{number}'\nrun = 'x'\n").expect("memory");
        }
        let whole = Plan::new(spec(&text), &Filter::default(), None).expect("a plan");
        for total in 1..=7 {
            let shards: Vec<Plan> = (1..=total)
                .map(|index| Plan::new(spec(&text), &Filter::default(), Some(Shard { index, total })).expect("a plan"))
                .collect();
            let sizes: BTreeSet<usize> = shards.iter().map(|plan| plan.cells.len()).collect();
            assert!(sizes.last().expect("some") - sizes.first().expect("some") <= 1, "{sizes:?}");
            let all: BTreeSet<&str> = shards.iter().flat_map(ids).collect();
            assert_eq!(all, ids(&whole).into_iter().collect());
            for plan in &shards {
                assert_eq!((&plan.digest, plan.total_cells), (&whole.digest, 50));
                let order: Vec<&Cell> = whole.cells.iter().filter(|cell| plan.cells.contains(cell)).collect();
                assert_eq!(order, plan.cells.iter().collect::<Vec<_>>());
            }
        }
        // Two kernels, two shards: each shard has one kernel and makes one snapshot.
        let first = Plan::new(spec(&text), &Filter::default(), Some(Shard { index: 1, total: 2 })).expect("a plan");
        assert!(first.cells.iter().all(|cell| cell.kernel == 0));
    }

    #[test]
    fn ten_thousand_cells_are_planned() {
        let mut text = String::new();
        for number in 0..10 {
            write!(text, "[kernels.k{number}]\nkernel = 'x'\n[machines.m{number}]\n").expect("memory");
        }
        for number in 0..100 {
            write!(text, "[[test]]\nname = 't{number}'\nrun = 'x'\ntags = ['a', 'b']\n").expect("memory");
        }
        // `make bench` measures the time; if it were quadratic in the number of cells, this would take minutes.
        let plan = Plan::new(spec(&text), &Filter::default(), Some(Shard { index: 1, total: 1 })).expect("a plan");
        assert_eq!(plan.cells.len(), 10_000);
    }
}
