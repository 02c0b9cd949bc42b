//! `[[test]]`: what a test runs, with which settings, and its expected result.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regex::Regex;

use super::ending::{self, Ending};
use super::keys::{Keys, Said};
use super::name::{self, Known};
use super::{below, named};
use crate::guest::health::{HealthSpec, Kind, Policy};
use crate::{
    initrd::spec::RunWhat,
    root::request::{Copy, ModuleRequest},
};

/// Limit on retries and repetitions; a larger number is probably a typo.
const MOST: u32 = 10_000;

/// A test of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// Test name.
    pub name: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Command, or line for the guest's shell.
    pub what: RunWhat,
    /// Additional programs.
    pub binaries: Vec<OsString>,
    /// Files to copy.
    pub copies: Vec<Copy>,
    /// Modules to load.
    pub modules: Vec<ModuleRequest>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// Standard input.
    pub stdin: String,
    /// Working directory in the guest.
    pub cwd: Option<PathBuf>,
    /// Root of the programs, libraries and modules.
    pub sysroot: PathBuf,
    /// Directories searched first for libraries.
    pub lib_path: Vec<PathBuf>,
    /// True if busybox is included.
    pub busybox: bool,
    /// Time limit for the whole test.
    pub timeout: Option<Duration>,
    /// Time limit until the first message of pid 1.
    pub boot_timeout: Option<Duration>,
    /// Time limit without any sign of activity.
    pub idle_timeout: Option<Duration>,
    /// Expected ending.
    pub ending: Ending,
    /// Exit status that marks the test as skipped.
    pub skip_status: Option<u8>,
    /// Patterns for the standard output.
    pub stdout: Patterns,
    /// Patterns for the console output.
    pub console: Patterns,
    /// Effect of kernel health findings.
    pub health: HealthSpec,
    /// Warm or cold boot.
    pub boot: BootWay,
    /// Isolation from other tests.
    pub isolate: Isolate,
    /// Maximum number of retries.
    pub retries: u32,
    /// Number of runs.
    pub repeat: u32,
    /// Protocol of the standard output; `None`: detected from the first line.
    pub protocol: Option<Protocol>,
    /// Kernels to run on; `None`: those of the matrix.
    pub kernels: Option<Vec<String>>,
    /// Machines to run on; `None`: those of the matrix.
    pub machines: Option<Vec<String>>,
}

/// Regular expressions that are matched against lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns {
    /// Each must match at least one line.
    pub expect: Vec<String>,
    /// None may match any line.
    pub reject: Vec<String>,
}

impl Patterns {
    /// Returns true if there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.expect.is_empty() && self.reject.is_empty()
    }
}

/// How a guest is started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BootWay {
    /// Restored from a snapshot if possible.
    #[default]
    Warm,
    /// Booted.
    Cold,
}

/// Isolation of a test's guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isolate {
    /// A fresh guest for each test.
    #[default]
    Vm,
    /// A guest that may be shared, one test after another, with other tests of this setting.
    Nothing,
}

/// Protocol in which a test's standard output reports subtests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TAP.
    Tap,
    /// KTAP, the kernel's variant.
    Ktap,
    /// None, whatever the output looks like.
    Plain,
}

/// Settings of a test, or of `[defaults]`; unset ones are empty.
#[derive(Debug, Clone, Default)]
struct Settings {
    tags: Vec<String>,
    binaries: Vec<OsString>,
    copies: Vec<Copy>,
    modules: Vec<ModuleRequest>,
    env: Vec<(String, String)>,
    stdin: Option<String>,
    cwd: Option<PathBuf>,
    sysroot: Option<PathBuf>,
    lib_path: Vec<PathBuf>,
    busybox: Option<bool>,
    timeout: Option<Duration>,
    boot_timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    ending: Option<Ending>,
    skip_status: Option<u8>,
    stdout: Patterns,
    console: Patterns,
    health: Option<Policy>,
    health_allow: Vec<String>,
    health_deny: Vec<Kind>,
    boot: Option<BootWay>,
    isolate: Option<Isolate>,
    retries: Option<u32>,
    repeat: Option<u32>,
    protocol: Option<Protocol>,
    kernels: Option<Vec<String>>,
    machines: Option<Vec<String>>,
}

/// Reads all tests and merges each with the defaults.
pub(super) fn read_all(
    keys: &mut Keys<'_, '_>,
    defaults: Option<&mut Keys<'_, '_>>,
    known: &Known,
    folder: &Path,
) -> Vec<Test> {
    let defaults = defaults.map(|keys| settings(keys, known, folder)).unwrap_or_default();
    let mut tests: Vec<Test> = Vec::new();
    let mut names = HashSet::new();
    for mut keys in keys.tables("test") {
        let name = keys.text("name");
        match &name {
            None if keys.has("name") => {}
            None => keys.sheet().wrong(keys.place(), "missing test name"),
            Some(Said { value, at }) => {
                name::check(keys.sheet(), value, at);
                if !names.insert(value.clone()) {
                    keys.sheet().wrong(at, format!("duplicate test {value:?}"));
                }
            }
        }
        let what = what(&mut keys, folder);
        let own = settings(&mut keys, known, folder);
        // Keep an invalid test, since other tables may refer to it.
        let name = name.map(|said| said.value).unwrap_or_default();
        let test = meant(name, what.unwrap_or(RunWhat::Shell), own, &defaults);
        if let (Ending::Status(wanted), Some(skips)) = (&test.ending, test.skip_status)
            && *wanted == skips
        {
            let at = keys.key(if keys.has("skip-status") { "skip-status" } else { "status" });
            keys.sheet().wrong(&at, format!("status {skips} cannot mean both passed and skipped"));
        }
        tests.push(test);
        keys.done();
    }
    tests
}

/// Reads `command` or `run`.
fn what(keys: &mut Keys<'_, '_>, folder: &Path) -> Option<RunWhat> {
    let (has_command, has_run) = (keys.has("command"), keys.has("run"));
    let at = keys.key("command");
    let command = keys.texts("command");
    let run = keys.text("run");
    match (has_command, has_run) {
        (true, true) => keys.sheet().wrong(&at, "a test takes either `command` or `run`, not both"),
        (false, false) => {
            keys.sheet().wrong(keys.place(), "missing `command = [\"...\"]` or `run = \"a line for the shell\"`");
        }
        (true, false) | (false, true) => {}
    }
    if let Some(line) = run {
        return Some(RunWhat::Line(line.value.into()));
    }
    let mut words = command?.into_iter().map(|said| said.value);
    let Some(program) = words.next().filter(|program| !program.is_empty()) else {
        keys.sheet().wrong(&at, "empty command: the first element must be a program");
        return None;
    };
    Some(RunWhat::Command(std::iter::once(named(folder, program)).chain(words).map(OsString::from).collect()))
}

fn settings(keys: &mut Keys<'_, '_>, known: &Known, folder: &Path) -> Settings {
    const POLICIES: [(&str, Policy); 3] = [("fail", Policy::Fail), ("warn", Policy::Warn), ("ignore", Policy::Ignore)];
    const BOOTS: [(&str, BootWay); 2] = [("warm", BootWay::Warm), ("cold", BootWay::Cold)];
    const ISOLATES: [(&str, Isolate); 2] = [("vm", Isolate::Vm), ("none", Isolate::Nothing)];
    const PROTOCOLS: [(&str, Protocol); 3] =
        [("tap", Protocol::Tap), ("ktap", Protocol::Ktap), ("none", Protocol::Plain)];
    let sysroot = keys.text("sysroot").map(|said| below(folder, &said.value));
    let path = |said: Said<String>| below(folder, &said.value);
    Settings {
        tags: name::tags(keys),
        binaries: keys.words("with").into_iter().map(|name| named(folder, name).into()).collect(),
        copies: copies(keys, sysroot.is_none().then_some(folder)),
        modules: modules(keys, "kmod", folder),
        env: env(keys),
        stdin: keys.text("stdin").map(|said| said.value),
        cwd: keys.text("cwd").map(|said| said.value.into()),
        sysroot,
        lib_path: keys.texts("lib-path").unwrap_or_default().into_iter().map(path).collect(),
        busybox: keys.flag("busybox"),
        timeout: keys.limit("timeout"),
        boot_timeout: keys.limit("boot-timeout"),
        idle_timeout: keys.limit("idle-timeout"),
        ending: ending::read(keys),
        skip_status: keys.number("skip-status", 1, 255).and_then(|status| u8::try_from(status).ok()),
        stdout: Patterns { expect: patterns(keys, "expect"), reject: patterns(keys, "reject") },
        console: Patterns { expect: patterns(keys, "expect-console"), reject: patterns(keys, "reject-console") },
        health: keys.one_of("health", &POLICIES),
        health_allow: patterns(keys, "health-allow"),
        health_deny: kinds(keys, "health-deny"),
        boot: keys.one_of("boot", &BOOTS),
        isolate: keys.one_of("isolate", &ISOLATES),
        retries: keys.number("retries", 0, MOST),
        repeat: keys.number("repeat", 1, MOST),
        protocol: keys.one_of("parse", &PROTOCOLS),
        kernels: name::names(keys, "kernels", "kernel", &known.kernels),
        machines: name::names(keys, "machines", "machine", &known.machines),
    }
}

/// Merges settings: a single value of the test overrides the default; lists are appended to those of the defaults.
fn meant(name: String, what: RunWhat, own: Settings, defaults: &Settings) -> Test {
    fn all<T: Clone>(defaults: &[T], own: &[T]) -> Vec<T> {
        [defaults, own].concat()
    }
    let both = |of: fn(&Settings) -> &Patterns| Patterns {
        expect: all(&of(defaults).expect, &of(&own).expect),
        reject: all(&of(defaults).reject, &of(&own).reject),
    };
    let ending = own.ending.clone().or(defaults.ending.clone()).unwrap_or_default();
    // A test that expects a panic does not fail because of kernel health findings by default.
    let policy = match &ending {
        Ending::Outcome(_) => own.health.unwrap_or(Policy::Warn),
        Ending::Status(_) | Ending::Signal(_) => own.health.or(defaults.health).unwrap_or(Policy::Fail),
    };
    let health = HealthSpec {
        policy,
        allow: all(&defaults.health_allow, &own.health_allow),
        deny: all(&defaults.health_deny, &own.health_deny),
    };
    Test {
        name,
        what,
        health,
        stdout: both(|settings| &settings.stdout),
        console: both(|settings| &settings.console),
        tags: all(&defaults.tags, &own.tags),
        binaries: all(&defaults.binaries, &own.binaries),
        copies: all(&defaults.copies, &own.copies),
        modules: all(&defaults.modules, &own.modules),
        env: all(&defaults.env, &own.env),
        stdin: own.stdin.or(defaults.stdin.clone()).unwrap_or_default(),
        cwd: own.cwd.or(defaults.cwd.clone()),
        sysroot: own.sysroot.or(defaults.sysroot.clone()).unwrap_or_else(|| "/".into()),
        lib_path: all(&defaults.lib_path, &own.lib_path),
        busybox: own.busybox.or(defaults.busybox).unwrap_or(true),
        timeout: own.timeout.or(defaults.timeout),
        boot_timeout: own.boot_timeout.or(defaults.boot_timeout),
        idle_timeout: own.idle_timeout.or(defaults.idle_timeout),
        ending,
        skip_status: own.skip_status.or(defaults.skip_status),
        boot: own.boot.or(defaults.boot).unwrap_or_default(),
        isolate: own.isolate.or(defaults.isolate).unwrap_or_default(),
        retries: own.retries.or(defaults.retries).unwrap_or(0),
        repeat: own.repeat.or(defaults.repeat).unwrap_or(1),
        protocol: own.protocol.or(defaults.protocol),
        kernels: own.kernels.or(defaults.kernels.clone()),
        machines: own.machines.or(defaults.machines.clone()),
    }
}

/// Reads modules in the format of `--kmod`: `NAME PARAM=VALUE...`.
pub(super) fn modules(keys: &mut Keys<'_, '_>, key: &'static str, folder: &Path) -> Vec<ModuleRequest> {
    let sheet = keys.sheet();
    let mut modules = Vec::new();
    for Said { value, at } in keys.texts(key).unwrap_or_default() {
        let text = value.trim();
        let (name, params) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        if name.is_empty() {
            sheet.wrong(&at, "missing module name");
        }
        modules.push(ModuleRequest { name: named(folder, name.to_owned()).into(), params: params.trim().into() });
    }
    modules
}

/// Reads `SRC` or `SRC=DST`, where DST is an absolute path: split at the last `=/`. Without a folder, sources are paths
/// in a sysroot.
fn copies(keys: &mut Keys<'_, '_>, folder: Option<&Path>) -> Vec<Copy> {
    let sheet = keys.sheet();
    let mut copies = Vec::new();
    for Said { value, at } in keys.texts("copy").unwrap_or_default() {
        let (source, destination) = match value.rfind("=/") {
            Some(sign) => (&value[..sign], Some(PathBuf::from(&value[sign + 1..]))),
            None => (value.as_str(), None),
        };
        if source.is_empty() {
            sheet.wrong(&at, "missing source: expected \"SRC\" or \"SRC=/DST\"");
        }
        let source = folder.map_or_else(|| PathBuf::from(source), |folder| below(folder, source));
        copies.push(Copy { source, destination });
    }
    copies
}

/// Reads `env = { NAME = "VALUE" }`.
fn env(keys: &mut Keys<'_, '_>) -> Vec<(String, String)> {
    let Some(table) = keys.table("env") else { return Vec::new() };
    let mut settings = Vec::new();
    for (Said { value: name, at }, value) in table.entries() {
        if name.is_empty() || name.contains(['=', '\0']) {
            table.sheet().wrong(&at, "invalid variable name: it must not be empty or contain '='");
        }
        match value.get_ref().as_str() {
            Some(text) => settings.push((name, text.to_owned())),
            None => table.sheet().wrong(&value.span(), format!("{name:?} takes a string")),
        }
    }
    settings
}

/// Reads kinds of findings.
fn kinds(keys: &mut Keys<'_, '_>, key: &'static str) -> Vec<Kind> {
    let sheet = keys.sheet();
    let texts = keys.texts(key).unwrap_or_default().into_iter();
    texts.filter_map(|Said { value, at }| value.parse().map_err(|what: String| sheet.wrong(&at, what)).ok()).collect()
}

/// Reads regular expressions, and reports invalid ones.
fn patterns(keys: &mut Keys<'_, '_>, key: &'static str) -> Vec<String> {
    let sheet = keys.sheet();
    let texts = keys.texts(key).unwrap_or_default().into_iter();
    texts
        .map(|Said { value, at }| {
            if let Err(error) = Regex::new(&value) {
                let said = error.to_string();
                let why = said.lines().last().unwrap_or_default().trim_start_matches("error: ");
                sheet.wrong(&at, format!("{key}: invalid regular expression {value:?}: {why}"));
            }
            value
        })
        .collect()
}
