//! `[[test]]`: what is run, with what, and what is to come of it.

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

/// Most tries and repetitions: more is a slip of the finger.
const MOST: u32 = 10_000;

/// A test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// What it is called.
    pub name: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// A command or a line for the guest's shell.
    pub what: RunWhat,
    /// Further programs.
    pub binaries: Vec<OsString>,
    /// Files.
    pub copies: Vec<Copy>,
    /// Modules.
    pub modules: Vec<ModuleRequest>,
    /// Variables of its environment.
    pub env: Vec<(String, String)>,
    /// What it reads.
    pub stdin: String,
    /// The guest's directory that it starts in.
    pub cwd: Option<PathBuf>,
    /// Where programs, libraries and modules come from.
    pub sysroot: PathBuf,
    /// Directories that libraries are looked for in first.
    pub lib_path: Vec<PathBuf>,
    /// Whether busybox is there.
    pub busybox: bool,
    /// Longest time for all of it.
    pub timeout: Option<Duration>,
    /// Longest time to pid 1's first word.
    pub boot_timeout: Option<Duration>,
    /// Longest time without a sign of life.
    pub idle_timeout: Option<Duration>,
    /// How it is to end.
    pub ending: Ending,
    /// The status by which it says that there was nothing for it to test here.
    pub skip_status: Option<u8>,
    /// What it is to write to its standard output.
    pub stdout: Patterns,
    /// What the console is to say.
    pub console: Patterns,
    /// What the kernel's health does to it.
    pub health: HealthSpec,
    /// Whether its guest boots.
    pub boot: BootWay,
    /// Whether its guest is its own.
    pub isolate: Isolate,
    /// How often it is tried again.
    pub retries: u32,
    /// How often it is run.
    pub repeat: u32,
    /// What its output speaks; `None`: its first line tells.
    pub protocol: Option<Protocol>,
    /// The kernels it is for; `None`: those of the matrix.
    pub kernels: Option<Vec<String>>,
    /// The machines; the same.
    pub machines: Option<Vec<String>>,
}

/// Regular expressions for lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns {
    /// Each must match some line.
    pub expect: Vec<String>,
    /// None may match any.
    pub reject: Vec<String>,
}

impl Patterns {
    /// Whether anybody has to look.
    pub fn is_empty(&self) -> bool {
        self.expect.is_empty() && self.reject.is_empty()
    }
}

/// How a guest comes to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BootWay {
    /// Restored from a snapshot where that can be.
    #[default]
    Warm,
    /// Booted.
    Cold,
}

/// Who else may be in the guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isolate {
    /// Nobody: a pristine guest for each.
    #[default]
    Vm,
    /// Other tests that say so, one after another.
    Nothing,
}

/// What a test's standard output says of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TAP
    Tap,
    /// KTAP, the kernel's
    Ktap,
    /// Nothing, whatever it looks like.
    Plain,
}

/// What a test, or `[defaults]`, says; what was not said is empty.
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

/// All of them, each with the defaults behind it.
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
            None => keys.sheet().wrong(keys.place(), "a test needs a name"),
            Some(Said { value, at }) => {
                name::check(keys.sheet(), value, at);
                if !names.insert(value.clone()) {
                    keys.sheet().wrong(at, format!("there is a test {value:?} already"));
                }
            }
        }
        let what = what(&mut keys, folder);
        let own = settings(&mut keys, known, folder);
        // One that is wrong is there all the same: others may speak of it.
        let name = name.map(|said| said.value).unwrap_or_default();
        let test = meant(name, what.unwrap_or(RunWhat::Shell), own, &defaults);
        if let (Ending::Status(wanted), Some(skips)) = (&test.ending, test.skip_status)
            && *wanted == skips
        {
            let at = keys.key(if keys.has("skip-status") { "skip-status" } else { "status" });
            keys.sheet().wrong(&at, format!("status {skips} cannot say both that it passed and that it was skipped"));
        }
        tests.push(test);
        keys.done();
    }
    tests
}

/// `command` or `run`.
fn what(keys: &mut Keys<'_, '_>, folder: &Path) -> Option<RunWhat> {
    let (has_command, has_run) = (keys.has("command"), keys.has("run"));
    let at = keys.key("command");
    let command = keys.texts("command");
    let run = keys.text("run");
    match (has_command, has_run) {
        (true, true) => keys.sheet().wrong(&at, "a test has a command or a line to run, not both"),
        (false, false) => {
            keys.sheet().wrong(keys.place(), "a test needs `command = [\"...\"]`, or `run = \"a line for the shell\"`");
        }
        (true, false) | (false, true) => {}
    }
    if let Some(line) = run {
        return Some(RunWhat::Line(line.value.into()));
    }
    let mut words = command?.into_iter().map(|said| said.value);
    let Some(program) = words.next().filter(|program| !program.is_empty()) else {
        keys.sheet().wrong(&at, "a command begins with a program");
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

/// Single values are the test's own where it has them; lists add to those of the defaults.
fn meant(name: String, what: RunWhat, own: Settings, defaults: &Settings) -> Test {
    fn all<T: Clone>(defaults: &[T], own: &[T]) -> Vec<T> {
        [defaults, own].concat()
    }
    let both = |of: fn(&Settings) -> &Patterns| Patterns {
        expect: all(&of(defaults).expect, &of(&own).expect),
        reject: all(&of(defaults).reject, &of(&own).reject),
    };
    let ending = own.ending.clone().or(defaults.ending.clone()).unwrap_or_default();
    // Whoever waits for a panic is not told that the kernel is not well.
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

/// `NAME PARAM=VALUE...`, as `--kmod` has it.
pub(super) fn modules(keys: &mut Keys<'_, '_>, key: &'static str, folder: &Path) -> Vec<ModuleRequest> {
    let sheet = keys.sheet();
    let mut modules = Vec::new();
    for Said { value, at } in keys.texts(key).unwrap_or_default() {
        let text = value.trim();
        let (name, params) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        if name.is_empty() {
            sheet.wrong(&at, "a module has a name");
        }
        modules.push(ModuleRequest { name: named(folder, name.to_owned()).into(), params: params.trim().into() });
    }
    modules
}

/// `SRC` or `SRC=DST`, where DST is a path from the root: split at the last `=/`. Without a folder sources are a sysroot's.
fn copies(keys: &mut Keys<'_, '_>, folder: Option<&Path>) -> Vec<Copy> {
    let sheet = keys.sheet();
    let mut copies = Vec::new();
    for Said { value, at } in keys.texts("copy").unwrap_or_default() {
        let (source, destination) = match value.rfind("=/") {
            Some(sign) => (&value[..sign], Some(PathBuf::from(&value[sign + 1..]))),
            None => (value.as_str(), None),
        };
        if source.is_empty() {
            sheet.wrong(&at, "no source is named: \"SRC\", or \"SRC=/DST\"");
        }
        let source = folder.map_or_else(|| PathBuf::from(source), |folder| below(folder, source));
        copies.push(Copy { source, destination });
    }
    copies
}

/// `env = { NAME = "VALUE" }`
fn env(keys: &mut Keys<'_, '_>) -> Vec<(String, String)> {
    let Some(table) = keys.table("env") else { return Vec::new() };
    let mut settings = Vec::new();
    for (Said { value: name, at }, value) in table.entries() {
        if name.is_empty() || name.contains(['=', '\0']) {
            table.sheet().wrong(&at, "a variable's name is not empty and holds no '='");
        }
        match value.get_ref().as_str() {
            Some(text) => settings.push((name, text.to_owned())),
            None => table.sheet().wrong(&value.span(), format!("{name:?} takes a string")),
        }
    }
    settings
}

/// Kinds of findings.
fn kinds(keys: &mut Keys<'_, '_>, key: &'static str) -> Vec<Kind> {
    let sheet = keys.sheet();
    let texts = keys.texts(key).unwrap_or_default().into_iter();
    texts.filter_map(|Said { value, at }| value.parse().map_err(|what: String| sheet.wrong(&at, what)).ok()).collect()
}

/// Regular expressions that are some.
fn patterns(keys: &mut Keys<'_, '_>, key: &'static str) -> Vec<String> {
    let sheet = keys.sheet();
    let texts = keys.texts(key).unwrap_or_default().into_iter();
    texts
        .map(|Said { value, at }| {
            if let Err(error) = Regex::new(&value) {
                let said = error.to_string();
                let why = said.lines().last().unwrap_or_default().trim_start_matches("error: ");
                sheet.wrong(&at, format!("{key}: {value:?} is no regular expression: {why}"));
            }
            value
        })
        .collect()
}
