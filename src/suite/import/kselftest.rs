//! The kernel's selftests: an installed tree (`make -C tools/testing/selftests install`) with its `kselftest-list.txt`.
//!
//! Tests run as `kselftest/runner.sh` of the tree runs them: `./TEST` in the directory of the collection, with the time
//! limit of its `settings`, with status 4 for a skip. The options in its `config` are required of the kernel.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::{ImportError, quoted, read, shell, test_name};

/// List of the tests of an installed tree.
pub const LIST: &str = "kselftest-list.txt";
/// Exit status of a skipped test.
const SKIP_STATUS: u8 = 4;
/// Time limit of a collection whose settings state none, seconds.
const DEFAULT_TIMEOUT: u64 = 45;
/// Time in addition to a test's own limit, for the start of its guest, seconds.
const START: u64 = 15;
/// Script of a collection that runs its files that are not executable.
const RUNNER: &str = "ksft_runner.sh";

/// A collection: a directory of tests.
#[derive(Debug)]
struct Collection {
    /// Directory, absolute.
    directory: PathBuf,
    /// Time limit of a test, seconds; `None` if it is unlimited.
    timeout: Option<u64>,
    /// Kernel options, `NAME=y`.
    options: Vec<String>,
    /// Programs that scripts may run.
    programs: Vec<PathBuf>,
    has_runner: bool,
}

/// Kind of a file, as far as it decides how it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// An executable ELF file.
    Program,
    /// An executable script.
    Script,
    /// A file that is not executable, with the interpreter of its first line, if it has one.
    Plain(Option<String>),
    Missing,
}

/// Returns the manifest of an installed tree: a `[[test]]` table for each line of its list. `variable` looks up
/// environment variables, for `KSELFTEST_TEST_ARGS`.
pub fn manifest(tree: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, ImportError> {
    let tree = std::path::absolute(tree).unwrap_or_else(|_| tree.to_owned());
    let path = tree.join(LIST);
    let list = read(&path)?.ok_or_else(|| ImportError::NoSuite {
        directory: tree.clone(),
        kind: "an installed kselftest tree",
        expected: LIST,
    })?;
    let mut collections: HashMap<&str, Collection> = HashMap::new();
    let mut manifest = String::new();
    for (at, line) in list.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let refuse = |rule: &str| ImportError::Line {
            path: path.clone(),
            line: at + 1,
            rule: format!("{rule}, found {line:?}"),
        };
        let (name, test) = line.split_once(':').ok_or_else(|| refuse("expected COLLECTION:TEST"))?;
        let is_inside =
            |path: &str| !path.starts_with('/') && !path.split('/').any(|part| part == ".." || part.is_empty());
        if !is_inside(name) || !is_inside(test) {
            return Err(refuse("expected relative paths"));
        }
        let collection = match collections.get(name) {
            Some(collection) => collection,
            None => collections.entry(name).or_insert(Collection::read(&tree, name)?),
        };
        collection.write(&mut manifest, name, test, variable);
    }
    if manifest.is_empty() { Err(ImportError::Empty(path)) } else { Ok(manifest) }
}

impl Collection {
    fn read(tree: &Path, name: &str) -> Result<Self, ImportError> {
        let directory = tree.join(name);
        // Tests of a missing collection are reported as missing files.
        let files = WalkDir::new(&directory).into_iter().filter_map(|entry| Some(entry.ok()?.into_path()));
        let mut programs: Vec<PathBuf> = files.filter(|path| kind(path) == Kind::Program).collect();
        programs.sort();
        let options = read(&directory.join("config"))?.map(|text| options(&text)).unwrap_or_default();
        let timeout = timeout(&read(&directory.join("settings"))?.unwrap_or_default());
        Ok(Self { timeout, options, programs, has_runner: directory.join(RUNNER).is_file(), directory })
    }

    /// Writes the table of a test.
    fn write(&self, manifest: &mut String, name: &str, test: &str, variable: &dyn Fn(&str) -> Option<String>) {
        let path = self.directory.join(test);
        let directory = path.parent().unwrap_or(&self.directory);
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let program = format!("./{file}");
        let kind = kind(&path);
        let (command, with) = match &kind {
            Kind::Plain(_) if self.has_runner => {
                (vec!["./ksft_runner.sh", &program], vec![self.directory.join(RUNNER)])
            }
            Kind::Plain(Some(interpreter)) => (vec![interpreter.as_str(), &program], vec![PathBuf::from(interpreter)]),
            Kind::Plain(None) | Kind::Missing => (vec![program.as_str()], Vec::new()),
            Kind::Program | Kind::Script => (vec![program.as_str()], vec![path.clone()]),
        };
        // Scripts run other programs of their collection.
        let others: &[PathBuf] = if kind == Kind::Program { &[] } else { &self.programs };
        let mut with: Vec<String> = with.iter().chain(others).map(|path| path.to_string_lossy().into_owned()).collect();
        with.dedup();
        let arguments = variable(&arguments_variable(&file)).map(|words| format!(" {words}")).unwrap_or_default();
        let array = |texts: &[String]| texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ");
        // Writing to a string cannot fail.
        let _ =
            writeln!(manifest, "\n[[test]]\nname = {}", quoted(&format!("{}:{}", test_name(name), test_name(test))));
        let _ = writeln!(manifest, "run = {}", quoted(&format!("exec {}{arguments}", shell(&command))));
        let _ = writeln!(manifest, "cwd = {}", quoted(&directory.to_string_lossy()));
        // A share of the tree could replace this copy of the collection.
        let _ = writeln!(manifest, "copy = {}", quoted(&self.directory.to_string_lossy()));
        if !with.is_empty() {
            let _ = writeln!(manifest, "with = [{}]", array(&with));
        }
        if !self.options.is_empty() {
            let _ = writeln!(manifest, "needs-config = [{}]", array(&self.options));
        }
        if let Some(seconds) = self.timeout {
            let _ = writeln!(manifest, "timeout = {}", seconds.saturating_add(START));
        }
        let _ = writeln!(manifest, "skip-status = {SKIP_STATUS}\ntags = [{}]", quoted(&test_name(name)));
    }
}

/// Returns the time limit in a collection's settings.
fn timeout(settings: &str) -> Option<u64> {
    let lines = settings.lines().filter(|line| !line.starts_with('#'));
    let value = lines.filter_map(|line| line.split_once('=')).rfind(|(field, _)| *field == "timeout");
    let seconds = value.map_or(DEFAULT_TIMEOUT, |(_, value)| value.trim().parse().unwrap_or(DEFAULT_TIMEOUT));
    Some(seconds).filter(|seconds| *seconds > 0)
}

/// Returns the options of a configuration fragment that must be enabled.
fn options(fragment: &str) -> Vec<String> {
    let option = |line: &str| {
        let (name, value) = line.trim().strip_prefix("CONFIG_")?.split_once('=')?;
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        (is_name && matches!(value, "y" | "m")).then(|| name.to_owned())
    };
    let mut options: Vec<String> = fragment.lines().filter_map(option).collect();
    options.sort();
    options.dedup();
    options
}

/// Returns the variable with additional arguments of a test, as `kselftest/runner.sh` names it.
fn arguments_variable(file: &str) -> String {
    let letters = file.chars().filter(|letter| !letter.is_whitespace() && !letter.is_control());
    let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' };
    format!("KSELFTEST_{}_ARGS", letters.map(letter).collect::<String>())
}

fn kind(path: &Path) -> Kind {
    let Ok(metadata) = fs::metadata(path) else { return Kind::Missing };
    if !metadata.is_file() {
        return Kind::Missing;
    }
    let mut start = [0; 128];
    let read = File::open(path).and_then(|mut file| file.read(&mut start)).unwrap_or(0);
    let start = &start[..read];
    match metadata.permissions().mode() & 0o111 != 0 {
        true if start.starts_with(b"\x7fELF") => Kind::Program,
        true => Kind::Script,
        false => Kind::Plain(start.strip_prefix(b"#!").and_then(|line| {
            let line = line.split(|byte| *byte == b'\n').next()?;
            let word = line.split(|byte| *byte == b' ').find(|word| !word.is_empty())?;
            Path::new(std::ffi::OsStr::from_bytes(word)).to_str().map(str::to_owned)
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::{LIST, arguments_variable, manifest, options, timeout};
    use crate::suite::import::ImportError;
    use crate::suite::manifest::{Origin, TestSpec};
    use crate::suite::plan::{Filter, Plan};
    use expect_test::expect;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    /// Creates an installed tree of files with these modes and contents.
    fn tree(files: &[(&str, u32, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, mode, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(&path, text).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).expect("a mode");
        }
        dir
    }

    fn text(dir: &Path) -> Result<String, ImportError> {
        let variable = |name: &str| (name == "KSELFTEST_RUN_SH_ARGS").then(|| "-a '1 2'".to_owned());
        manifest(dir, &variable).map(|text| text.replace(&*dir.to_string_lossy(), "/T"))
    }

    #[test]
    fn a_list_becomes_a_manifest_that_runs_tests_as_the_kernel_does() {
        let dir = tree(&[
            (LIST, 0o644, "net/sub:run.sh\nnet/sub:check\ntimers:plain.py\ntimers:odd name\n"),
            ("net/sub/run.sh", 0o755, "#!/bin/sh\n"),
            ("net/sub/check", 0o755, "\x7fELF"),
            ("net/sub/deep/helper", 0o755, "\x7fELF"),
            ("net/sub/config", 0o644, "CONFIG_NET=y\nCONFIG_VETH=m\n# CONFIG_X is not set\nCONFIG_HZ=100\n"),
            ("timers/plain.py", 0o644, "#! /usr/bin/python3 -E\n"),
            ("timers/settings", 0o644, "# timeout=3\ntimeout=0\n"),
        ]);
        let text = text(dir.path()).expect("a manifest");
        expect![[r#"

            [[test]]
            name = "net.sub:run.sh"
            run = "exec ./run.sh -a '1 2'"
            cwd = "/T/net/sub"
            copy = "/T/net/sub"
            with = ["/T/net/sub/run.sh", "/T/net/sub/check", "/T/net/sub/deep/helper"]
            needs-config = ["NET", "VETH"]
            timeout = 60
            skip-status = 4
            tags = ["net.sub"]

            [[test]]
            name = "net.sub:check"
            run = "exec ./check"
            cwd = "/T/net/sub"
            copy = "/T/net/sub"
            with = ["/T/net/sub/check"]
            needs-config = ["NET", "VETH"]
            timeout = 60
            skip-status = 4
            tags = ["net.sub"]

            [[test]]
            name = "timers:plain.py"
            run = "exec /usr/bin/python3 ./plain.py"
            cwd = "/T/timers"
            copy = "/T/timers"
            with = ["/usr/bin/python3"]
            skip-status = 4
            tags = ["timers"]

            [[test]]
            name = "timers:odd_name"
            run = "exec './odd name'"
            cwd = "/T/timers"
            copy = "/T/timers"
            skip-status = 4
            tags = ["timers"]
        "#]]
        .assert_eq(&text);
        let spec = TestSpec::parse(&text, Origin { file: "x", folder: Path::new(""), kernels: &[] });
        assert_eq!(spec.expect("a valid manifest").tests.len(), 4);
    }

    #[test]
    fn a_directory_without_a_list_and_invalid_lines_are_refused() {
        let error = |files: &[(&str, u32, &str)]| {
            let dir = tree(files);
            let error = text(dir.path()).expect_err("refused").to_string();
            error.replace(&*dir.path().to_string_lossy(), "/T")
        };
        assert_eq!(error(&[]), "/T is not an installed kselftest tree: kselftest-list.txt not found");
        assert_eq!(error(&[(LIST, 0o644, "\n")]), "/T/kselftest-list.txt lists no tests");
        let invalid = error(&[(LIST, 0o644, "a:b\ntimers\n")]);
        assert_eq!(invalid, "/T/kselftest-list.txt:2: expected COLLECTION:TEST, found \"timers\"");
        let outside = error(&[(LIST, 0o644, "..:passwd\n")]);
        assert_eq!(outside, "/T/kselftest-list.txt:1: expected relative paths, found \"..:passwd\"");
    }

    #[test]
    fn settings_fragments_and_variables_are_read_as_the_runner_reads_them() {
        assert_eq!([timeout(""), timeout("timeout=180\n"), timeout("timeout=0")], [Some(45), Some(180), None]);
        assert_eq!(timeout("timeout=x\n"), Some(45));
        assert_eq!(options("CONFIG_B=y\nCONFIG_A=m\nCONFIG_B=y\nX=y\nCONFIG_=y\n"), ["A", "B"]);
        assert_eq!(arguments_variable("cpu-on-off-test.sh"), "KSELFTEST_CPU_ON_OFF_TEST_SH_ARGS");
    }

    #[test]
    fn five_thousand_tests_are_planned() {
        let lines: Vec<String> = (0..5_000).map(|number| format!("c{}:t{number}", number / 50)).collect();
        let list = lines.join("\n");
        let dir = tree(&[(LIST, 0o644, &list)]);
        let text = text(dir.path()).expect("a manifest");
        let spec = TestSpec::parse(&text, Origin { file: "x", folder: Path::new(""), kernels: &[] }).expect("valid");
        assert_eq!(Plan::new(spec, &Filter::default(), None).expect("a plan").cells.len(), 5_000);
    }
}
