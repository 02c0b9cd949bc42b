//! `KUnit` tests of kernels: a test for each module with suites, loaded in a guest, and for each built-in suite.
//!
//! Built-in suites run when the kernel boots. Each test boots a guest of its own with `kunit.filter_glob`, so that no suite
//! runs in the guests of the others. A guest with `kunit.action=list` lists them. See
//! `Documentation/dev-tools/kunit/run_manual.rst`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::{ImportError, quoted, test_name};
use crate::cache::Cache;
use crate::guest::verdict::Outcome;
use crate::guest::{Builder, Command, RunSpec};
use crate::qemu::spec::{Accel, BootSpec};
use crate::root::directory::Root;
use crate::root::kernel::{self, Kernel};
use crate::root::modules::kunit::{self, KUNIT, KunitModule};
use crate::root::request::KernelRef;
use crate::suite::guest::named_kernel;
use crate::suite::manifest::{KernelSpec, Overrides};
use crate::suite::tap_parser;

/// Time limit of the guest that lists the built-in suites.
const LIST_LIMIT: Duration = Duration::from_secs(300);
/// The results have this level, `KERN_INFO`.
const LOG_LEVEL: &str = "loglevel=7";
/// Runs the suites whatever `CONFIG_KUNIT_DEFAULT_ENABLED` says.
const ENABLE: &str = "kunit.enable=1";
/// Tag of all tests.
const TAG: &str = "kunit";
/// Test of `KUnit` itself, and a pattern for the faults that it causes on purpose (`CONFIG_KUNIT_FAULT_TEST`).
const FAULTS: (&str, &str) = ("kunit_test", "kunit_test_null_dereference");

/// Way of running the suites of a test.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    /// The module is loaded into a kernel without built-in suites. True if `KUnit` must be enabled first.
    Module { enables: bool },
    /// The module is loaded into a kernel whose built-in suites are filtered by this pattern.
    BesideBuiltin { filter: String },
    /// The suite is built in.
    Builtin,
}

/// A test of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KunitTest {
    name: String,
    how: How,
    suites: Vec<String>,
}

/// Suites and kernels of each test, by its name and how its suites are run.
type Tests<'a> = BTreeMap<(String, How), (Vec<String>, Vec<&'a str>)>;

/// Returns the manifest of the `KUnit` tests of `kernels`, whose relative paths start at `folder`: a `[[test]]` table for
/// each test. `note` is called for each step that takes noticeably long.
pub fn manifest(
    kernels: &[KernelSpec],
    folder: &Path,
    overrides: &Overrides,
    note: &mut dyn FnMut(&str),
) -> Result<String, ImportError> {
    let cache = Cache::open()?;
    let root =
        Root::new("/").map_err(|error| ImportError::Io { path: "/".into(), source: std::io::Error::other(error) })?;
    let mut tests: Tests<'_> = BTreeMap::new();
    for spec in kernels {
        let wanted = named_kernel(spec, folder).unwrap_or(KernelRef::Newest);
        let kernel = kernel::find(&root, &wanted, None, &cache, note)?;
        for test in tests_of(spec, folder, &kernel, overrides, &cache, note)? {
            let (suites, names) = tests.entry((test.name, test.how)).or_default();
            if names.is_empty() {
                *suites = test.suites;
            } else {
                // A suite that only some of the kernels have cannot be required of all.
                suites.retain(|suite| test.suites.contains(suite));
            }
            names.push(&spec.name);
        }
    }
    Ok(write(&tests, kernels.len()))
}

/// Writes the tables of the tests. A name that occurs several times is followed by a kernel's.
fn write(tests: &Tests<'_>, all_kernels: usize) -> String {
    let mut manifest = String::new();
    let mut previous = None;
    for ((name, how), (suites, kernels)) in tests {
        let is_again = previous == Some(name);
        previous = Some(name);
        let suffix = kernels.first().filter(|_| is_again).map(|kernel| format!(":{kernel}")).unwrap_or_default();
        table(&mut manifest, &format!("{name}{suffix}"), how, suites);
        if kernels.len() < all_kernels {
            let _ = writeln!(manifest, "kernels = {}", array(kernels.iter()));
        }
    }
    manifest
}

/// Writes the table of a test.
fn table(manifest: &mut String, name: &str, how: &How, suites: &[String]) {
    let module = name.split(':').next().unwrap_or(name);
    // Writing to a string cannot fail.
    let _ = writeln!(manifest, "\n[[test]]\nname = {}\nrun = \"true\"", quoted(&test_name(name)));
    // Not every module with suites depends on `KUnit`.
    let modules: &[&str] = match how {
        How::Module { enables: true } => &["kunit enable=1", module],
        How::Module { enables: false } => &[KUNIT, module],
        How::BesideBuiltin { .. } => &[module],
        How::Builtin => &[],
    };
    if !modules.is_empty() {
        let _ = writeln!(manifest, "kmod = {}", array(modules.iter()));
    }
    let filter = match how {
        How::Module { .. } => None,
        How::BesideBuiltin { filter } => Some(filter.as_str()),
        How::Builtin => suites.first().map(String::as_str),
    };
    let arguments = match filter {
        None => array([LOG_LEVEL].iter()),
        Some(filter) => array([LOG_LEVEL.to_owned(), ENABLE.to_owned(), filter_argument(filter)].iter()),
    };
    let _ = writeln!(manifest, "boot-args = {arguments}");
    if filter.is_some() {
        // A snapshot would be used only once.
        let _ = writeln!(manifest, "boot = \"cold\"");
    }
    if module == FAULTS.0 {
        let _ = writeln!(manifest, "health-allow = {}", quoted(FAULTS.1));
    }
    let _ = writeln!(manifest, "kunit = {}\ntags = [{}]", array(suites.iter()), quoted(TAG));
}

/// Returns a parameter of the kernel's command line, which quotes values that contain blanks.
fn filter_argument(filter: &str) -> String {
    let value = if filter.contains(char::is_whitespace) { format!("\"{filter}\"") } else { filter.to_owned() };
    format!("kunit.filter_glob={value}")
}

fn array(texts: impl Iterator<Item = impl AsRef<str>>) -> String {
    format!("[{}]", texts.map(|text| quoted(text.as_ref())).collect::<Vec<_>>().join(", "))
}

/// Returns the tests of a kernel.
fn tests_of(
    spec: &KernelSpec,
    folder: &Path,
    kernel: &Kernel,
    overrides: &Overrides,
    cache: &Cache,
    note: &mut dyn FnMut(&str),
) -> Result<Vec<KunitTest>, ImportError> {
    let no_tests = |why, advice| Err(ImportError::NoKunit { kernel: kernel.origin.clone(), why, advice });
    let config = kernel.config.as_ref();
    if config.is_some_and(|config| !config.is_enabled("KUNIT")) {
        return no_tests(
            "CONFIG_KUNIT is not set",
            "set CONFIG_KUNIT=m and tests such as CONFIG_KUNIT_ALL_TESTS=m, and build the kernel again",
        );
    }
    let found = kunit::find(kernel, cache)?;
    // Without a configuration, a kernel without the module may have it built in.
    let is_builtin = match config {
        Some(config) => config.is_builtin("KUNIT"),
        None => !found.is_module,
    };
    let enables = config.is_some_and(|config| config.is_unset("KUNIT_DEFAULT_ENABLED"));
    let builtin = if is_builtin {
        note(&format!("listing the built-in KUnit suites of {}", kernel.origin));
        list(spec, folder, kernel, overrides)?
    } else {
        Vec::new()
    };
    let module = |KunitModule { name, suites }: KunitModule| KunitTest {
        how: if is_builtin { How::BesideBuiltin { filter: common_pattern(&suites) } } else { How::Module { enables } },
        name,
        suites,
    };
    let suite = |suite: String| KunitTest { name: format!("builtin:{suite}"), how: How::Builtin, suites: vec![suite] };
    let tests: Vec<KunitTest> = found.modules.into_iter().map(module).chain(builtin.into_iter().map(suite)).collect();
    if tests.is_empty() {
        return no_tests(
            "neither modules nor built-in suites",
            "set tests such as CONFIG_KUNIT_ALL_TESTS=m, and build the kernel and its modules",
        );
    }
    Ok(tests)
}

/// Returns a pattern that matches all of these suites, and as few others as possible.
fn common_pattern(suites: &[String]) -> String {
    match suites {
        [] => "*".to_owned(),
        [one] => one.clone(),
        [first, others @ ..] => {
            let is_common = |end: &usize| others.iter().all(|other| other.starts_with(&first[..*end]));
            let ends = first.char_indices().map(|(at, _)| at).chain([first.len()]);
            let end = ends.take_while(is_common).last().unwrap_or(0);
            format!("{}*", &first[..end])
        }
    }
}

/// Boots a guest that lists the built-in suites.
fn list(spec: &KernelSpec, folder: &Path, kernel: &Kernel, overrides: &Overrides) -> Result<Vec<String>, ImportError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| ImportError::Io { path, source }
    };
    let console = tempfile::NamedTempFile::new().map_err(io(&std::env::temp_dir()))?;
    let arguments = spec.append.iter().map(String::as_str).chain([LOG_LEVEL, ENABLE, "kunit.action=list"]);
    let boot = BootSpec {
        append: arguments.map(OsString::from).collect(),
        accel: overrides.accel.unwrap_or(Accel::Auto),
        qemu: overrides.qemu.clone(),
        ..BootSpec::default()
    };
    let wanted = named_kernel(spec, folder);
    let builder = Builder::of(RunSpec { kernel: wanted, boot, ..RunSpec::default() }).cold().timeout(LIST_LIMIT);
    let output = builder.interruptible().console(console.path()).run_with(&Command::shell("true"))?;
    let failed = |why| ImportError::List { kernel: kernel.origin.clone(), why };
    match output.outcome {
        Outcome::Exited { status: 0 } => {}
        Outcome::Interrupted { signal } => return Err(ImportError::Interrupted(signal)),
        ref other => return Err(failed(other.sentence().unwrap_or_else(|| other.name().to_owned()))),
    }
    let log = std::fs::read(console.path()).map_err(io(console.path()))?;
    Ok(tap_parser::kunit::listed(&String::from_utf8_lossy(&log).replace('\r', "")))
}

#[cfg(test)]
mod tests {
    use super::{How, common_pattern, write};
    use crate::suite::manifest::{Origin, TestSpec};
    use expect_test::expect;
    use std::collections::BTreeMap;
    use std::path::Path;

    #[test]
    fn each_module_and_each_builtin_suite_is_a_test() {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let beside = How::BesideBuiltin { filter: "hash".to_owned() };
        let tests = [
            ("bits", How::Module { enables: true }, vec!["bits-test"], vec!["a"]),
            ("bits", beside, vec!["hash"], vec!["b"]),
            ("builtin:API tests", How::Builtin, vec!["API tests"], vec!["b"]),
            ("kunit_test", How::Module { enables: false }, vec![], vec!["a", "b"]),
        ];
        let tests: BTreeMap<_, _> = tests
            .into_iter()
            .map(|(name, how, suites, kernels)| ((name.to_owned(), how), (owned(&suites), kernels)))
            .collect();
        let text = write(&tests, 2);
        expect![[r#"

            [[test]]
            name = "bits"
            run = "true"
            kmod = ["kunit enable=1", "bits"]
            boot-args = ["loglevel=7"]
            kunit = ["bits-test"]
            tags = ["kunit"]
            kernels = ["a"]

            [[test]]
            name = "bits:b"
            run = "true"
            kmod = ["bits"]
            boot-args = ["loglevel=7", "kunit.enable=1", "kunit.filter_glob=hash"]
            boot = "cold"
            kunit = ["hash"]
            tags = ["kunit"]
            kernels = ["b"]

            [[test]]
            name = "builtin:API_tests"
            run = "true"
            boot-args = ["loglevel=7", "kunit.enable=1", 'kunit.filter_glob="API tests"']
            boot = "cold"
            kunit = ["API tests"]
            tags = ["kunit"]
            kernels = ["b"]

            [[test]]
            name = "kunit_test"
            run = "true"
            kmod = ["kunit", "kunit_test"]
            boot-args = ["loglevel=7"]
            health-allow = "kunit_test_null_dereference"
            kunit = []
            tags = ["kunit"]
        "#]]
        .assert_eq(&text);
        let text = format!("[kernels]\na = \"a\"\nb = \"b\"\n{text}");
        let spec = TestSpec::parse(&text, Origin { file: "x", folder: Path::new(""), kernels: &[] });
        assert_eq!(spec.expect("a valid manifest").tests.len(), 4);
    }

    #[test]
    fn a_pattern_covers_all_suites_of_a_module() {
        let pattern =
            |suites: &[&str]| common_pattern(&suites.iter().map(|suite| (*suite).to_owned()).collect::<Vec<_>>());
        assert_eq!(pattern(&["one"]), "one");
        assert_eq!(pattern(&["list-kunit", "list", "list-\u{fc}"]), "list*");
        assert_eq!(pattern(&["\u{fc}a", "\u{fc}b"]), "\u{fc}*");
        assert_eq!([pattern(&["a", "b"]), pattern(&[])], ["*", "*"]);
    }
}
