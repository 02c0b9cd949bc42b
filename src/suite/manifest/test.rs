//! `[[test]]`: a command, its guest and its expected result.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ending::{self, Ending};
use super::files;
use super::name::{self, KnownNames};
use super::pattern::{Pattern, Patterns};
use super::program_path;
use super::table::{Located, Table};
use crate::guest::Command;
use crate::guest::health::{Kind, Policy, Rules};
use crate::qemu::device::files::{RootRequest, ShareRequest};
use crate::qemu::device::{disk::DiskRequest, net::NetRequest, net::Publish};
use crate::root::fetch::package::beside;
use crate::{
    root::request::{Copy, ModuleRequest},
    root::spec::RunWhat,
};

/// Limit of retries and repetitions; a larger number is a typing error.
const MAX_RUNS: u32 = 10_000;

/// A test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// Name.
    pub(crate) name: String,
    /// Tags.
    pub(crate) tags: Vec<String>,
    /// A program with arguments, or a line for the guest's shell; and what it needs in the guest.
    pub(crate) command: Command,
    /// Root directory of programs, libraries and modules.
    pub(crate) sysroot: PathBuf,
    /// Library directories searched first.
    pub(crate) lib_path: Vec<PathBuf>,
    /// True if the guest contains busybox.
    pub(crate) busybox: bool,
    /// Disks of its guest.
    pub(crate) disks: Vec<DiskRequest>,
    /// Network interface of its guest, without the ports.
    pub(crate) net: Option<NetRequest>,
    /// Published ports of its guest.
    pub(crate) publish: Vec<Publish>,
    /// Time limit until pid 1 starts.
    pub(crate) boot_timeout: Option<Duration>,
    /// Expected end.
    pub(crate) ending: Ending,
    /// Exit status that reports that there is nothing to test.
    pub(crate) skip_status: Option<u8>,
    /// Patterns for standard output.
    pub(crate) stdout: Patterns,
    /// Patterns for standard error.
    pub(crate) stderr: Patterns,
    /// Patterns for the console.
    pub(crate) console: Patterns,
    /// Health policy.
    pub(crate) health: TestHealth,
    /// Whether its guest is restored or booted.
    pub(crate) boot: BootWay,
    /// Whether it may share its guest.
    pub(crate) isolate: Isolate,
    /// Maximum number of retries.
    pub(crate) retries: u32,
    /// Number of repetitions.
    pub(crate) repeat: u32,
    /// Format of its output; `None` if the output decides.
    pub(crate) protocol: Option<Protocol>,
    /// `KUnit` suites whose results the kernel's log must contain; `None` if the test is not one of `KUnit`.
    pub(crate) kunit: Option<Vec<String>>,
    /// Additional arguments for the kernel command line, after those of the machine and the kernel.
    pub(crate) boot_args: Vec<String>,
    /// Options that the kernel's configuration must contain, without `CONFIG_`; otherwise the test is skipped.
    pub(crate) needs_config: Vec<String>,
    /// Kernels that it runs on; `None` for those of the matrix.
    pub(crate) kernels: Option<Vec<String>>,
    /// Machines that it runs on; `None` for those of the matrix.
    pub(crate) machines: Option<Vec<String>>,
}

/// Effect of kernel health on a test.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TestHealth {
    /// Effect of findings.
    pub(crate) policy: Policy,
    /// Findings with a matching line are ignored.
    pub(crate) allow: Vec<Pattern>,
    /// Kinds that fail the test although they normally do not.
    pub(crate) deny: Vec<Kind>,
    /// Kinds that fail the test under any policy, and end it.
    pub(crate) fail_on: Vec<Kind>,
}

/// Way to start a guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BootWay {
    /// Restored from a snapshot if possible.
    #[default]
    Warm,
    /// Booted.
    Cold,
}

/// Isolation of a test.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isolate {
    /// A separate guest.
    #[default]
    Vm,
    /// A guest shared with other such tests, which run one after another.
    Nothing,
}

/// Format of a test's standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TAP.
    Tap,
    /// KTAP, the kernel's dialect.
    Ktap,
    /// Not parsed.
    Plain,
}

impl TestHealth {
    /// Returns the rules that apply the policy.
    pub(crate) fn rules(&self) -> Rules {
        let allow = self.allow.iter().map(|pattern| (**pattern).clone()).collect();
        Rules { policy: self.policy, allow, deny: self.deny.clone(), fail_on: self.fail_on.clone() }
    }
}

/// Reads all tests; `defaults` apply to each.
pub(super) fn read_all(
    keys: &mut Table<'_, '_>,
    defaults: Option<&mut Table<'_, '_>>,
    known: &KnownNames,
    folder: &Path,
) -> Vec<Test> {
    let mut base = Test::default();
    if let Some(defaults) = defaults {
        base.overlay(defaults, known, folder);
    }
    let mut names = HashSet::new();
    let read = |mut keys: Table<'_, '_>| {
        let document = keys.document();
        let mut test = base.clone();
        let mut claim = |name: &str, span: &Range<usize>| {
            name::check(document, name, span);
            if !names.insert(name.to_owned()) {
                document.error(span, format!("duplicate test {name:?}"));
            }
        };
        let has_files = keys.has("glob");
        match keys.located_text("name") {
            None if keys.has("name") || has_files => {}
            None => document.error(keys.span(), "missing test name"),
            Some(Located { value, span }) => {
                if !has_files {
                    claim(&value, &span);
                }
                test.name = value;
            }
        }
        // An invalid test is kept, since other tables may refer to it.
        test.command.what = what(&mut keys, folder).unwrap_or(RunWhat::Shell);
        test.overlay(&mut keys, known, folder);
        if matches!(test.ending, Ending::Outcome(_)) && !keys.has("health") {
            // A test that expects a panic does not fail because of the panic's finding.
            test.health.policy = Policy::Warn;
        }
        if let (Ending::Status(expected), Some(skip)) = (&test.ending, test.skip_status)
            && *expected == skip
        {
            let span = keys.key_span(if keys.has("skip-status") { "skip-status" } else { "status" });
            document.error(&span, format!("status {skip} cannot mean both passed and skipped"));
        }
        if test.network().is_some_and(|net| !net.can_publish()) {
            let span = keys.key_span(if keys.has("publish") { "publish" } else { "net" });
            document.error(&span, "publish: only net = \"user\" publishes ports");
        }
        let files = files::read(&mut keys, &test.sysroot, folder);
        let span = keys.key_span("glob");
        keys.finish();
        let Some(files) = files else { return vec![test] };
        let tests = files.named(&test.name).map(|file| {
            claim(&file.name, &span);
            let mut test = test.clone();
            test.command.what = file.command();
            test.command.cwd.get_or_insert_with(|| file.directory());
            Test { name: file.name, ..test }
        });
        tests.collect()
    };
    keys.tables("test").into_iter().flat_map(read).collect()
}

/// Reads `command` or `run`. Returns `None` if the test has `glob` instead.
fn what(keys: &mut Table<'_, '_>, folder: &Path) -> Option<RunWhat> {
    let document = keys.document();
    let span = keys.key_span("command");
    let given: Vec<&str> = ["command", "run", "glob"].into_iter().filter(|key| keys.has(key)).collect();
    let command = keys.located_texts("command");
    let run = keys.text("run");
    match given[..] {
        [] => {
            let message = "a test needs `command = [\"...\"]`, `run = \"a line for the shell\"` or `glob = \"*.sh\"`";
            document.error(keys.span(), message);
        }
        [_] => {}
        [one, other, ..] => {
            document.error(&keys.key_span(one), format!("{one:?} and {other:?} are mutually exclusive"));
        }
    }
    if let Some(line) = run {
        return Some(RunWhat::Line(line.into()));
    }
    let mut words = command?.into_iter().map(|word| word.value);
    let Some(program) = words.next().filter(|program| !program.is_empty()) else {
        document.error(&span, "empty command");
        return None;
    };
    Some(RunWhat::Command(std::iter::once(program_path(folder, program)).chain(words).map(Into::into).collect()))
}

/// Replaces a setting by a value, if there is one.
fn set<T>(setting: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *setting = value;
    }
}

impl Default for Test {
    /// Returns the test before any key is read.
    fn default() -> Self {
        Self {
            name: String::new(),
            tags: Vec::new(),
            command: Command::shell(""),
            sysroot: "/".into(),
            lib_path: Vec::new(),
            busybox: true,
            disks: Vec::new(),
            net: None,
            publish: Vec::new(),
            boot_timeout: None,
            ending: Ending::default(),
            skip_status: None,
            stdout: Patterns::default(),
            stderr: Patterns::default(),
            console: Patterns::default(),
            health: TestHealth { policy: Policy::Fail, ..TestHealth::default() },
            boot: BootWay::default(),
            isolate: Isolate::default(),
            retries: 0,
            repeat: 1,
            protocol: None,
            kunit: None,
            boot_args: Vec::new(),
            needs_config: Vec::new(),
            kernels: None,
            machines: None,
        }
    }
}

impl Test {
    /// Returns the network interface of its guest.
    pub(crate) fn network(&self) -> Option<NetRequest> {
        NetRequest::with_ports(self.net.clone(), &self.publish)
    }

    /// Reads a table: single values replace the present ones, lists are appended.
    fn overlay(&mut self, keys: &mut Table<'_, '_>, known: &KnownNames, folder: &Path) {
        const POLICIES: [(&str, Policy); 3] =
            [("fail", Policy::Fail), ("warn", Policy::Warn), ("ignore", Policy::Ignore)];
        const BOOT_WAYS: [(&str, BootWay); 2] = [("warm", BootWay::Warm), ("cold", BootWay::Cold)];
        const ISOLATES: [(&str, Isolate); 2] = [("vm", Isolate::Vm), ("none", Isolate::Nothing)];
        const PROTOCOLS: [(&str, Protocol); 3] =
            [("tap", Protocol::Tap), ("ktap", Protocol::Ktap), ("none", Protocol::Plain)];
        let path = |text: String| folder.join(text);
        self.tags.extend(name::tags(keys));
        let command = &mut self.command;
        command.binaries.extend(keys.texts("with").into_iter().map(|name| program_path(folder, name).into()));
        // With a sysroot, sources are relative to it.
        let sources = if keys.has("sysroot") { Path::new("") } else { folder };
        command.copies.extend(keys.parsed_texts("copy", |text| copy(text, sources)));
        command.modules.extend(modules(keys, "kmod", folder));
        command.shares.extend(keys.parsed_texts("share", |text| share(text, folder)));
        set(&mut command.root, keys.parsed("root", |text| root(text, folder)).map(Some));
        command.env.extend(env(keys));
        set(&mut command.stdin, keys.text("stdin").map(String::into_bytes));
        set(&mut command.autoload, keys.flag("autoload").map(Some));
        set(&mut command.user, keys.text("user").map(Some));
        set(&mut command.hostname, keys.text("hostname").map(Some));
        set(&mut command.cwd, keys.text("cwd").map(|directory| Some(directory.into())));
        set(&mut command.timeout, keys.time_limit("timeout").map(Some));
        set(&mut command.idle, keys.time_limit("idle-timeout").map(Some));
        set(&mut command.hang_report, keys.time_or_none("hang-report"));
        set(&mut self.sysroot, keys.text("sysroot").map(|text| beside(folder, text)));
        self.lib_path.extend(keys.texts("lib-path").into_iter().map(path));
        set(&mut self.busybox, keys.flag("busybox"));
        self.disks.extend(keys.parsed_texts("disks", |text| Ok(text.parse::<DiskRequest>()?.below(folder))));
        set(&mut self.net, keys.parsed("net", str::parse::<NetRequest>).map(Some));
        self.publish.extend(keys.parsed_texts("publish", str::parse::<Publish>));
        set(&mut self.boot_timeout, keys.time_limit("boot-timeout").map(Some));
        set(&mut self.ending, ending::read(keys));
        set(&mut self.skip_status, keys.number("skip-status", 1..=255).map(|status| u8::try_from(status).ok()));
        self.stdout.expect.extend(keys.parsed_texts("expect", Pattern::parse));
        self.stdout.reject.extend(keys.parsed_texts("reject", Pattern::parse));
        self.stderr.expect.extend(keys.parsed_texts("expect-stderr", Pattern::parse));
        self.stderr.reject.extend(keys.parsed_texts("reject-stderr", Pattern::parse));
        self.console.expect.extend(keys.parsed_texts("expect-console", Pattern::parse));
        self.console.reject.extend(keys.parsed_texts("reject-console", Pattern::parse));
        set(&mut self.health.policy, keys.one_of("health", &POLICIES));
        self.health.allow.extend(keys.parsed_texts("health-allow", Pattern::parse));
        self.health.deny.extend(keys.parsed_texts("health-deny", str::parse::<Kind>));
        self.health.fail_on.extend(keys.parsed_texts("fail-on", str::parse::<Kind>));
        set(&mut self.boot, keys.one_of("boot", &BOOT_WAYS));
        set(&mut self.isolate, keys.one_of("isolate", &ISOLATES));
        set(&mut self.retries, keys.number("retries", 0..=MAX_RUNS));
        set(&mut self.repeat, keys.number("repeat", 1..=MAX_RUNS));
        set(&mut self.protocol, keys.one_of("parse", &PROTOCOLS).map(Some));
        if keys.has("kunit") {
            self.kunit.get_or_insert_default().extend(keys.texts("kunit"));
        }
        self.boot_args.extend(keys.texts("boot-args"));
        self.needs_config.extend(keys.parsed_texts("needs-config", option));
        set(&mut self.kernels, name::names(keys, "kernels", "kernel", &known.kernels).map(Some));
        set(&mut self.machines, name::names(keys, "machines", "machine", &known.machines).map(Some));
    }
}

/// Parses the name of a kernel option, with `CONFIG_` or without.
fn option(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("CONFIG_").unwrap_or(text);
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name
        .then(|| name.to_owned())
        .ok_or_else(|| format!("expected the name of an option such as \"VETH\", found {text:?}"))
}

/// Reads modules: `NAME PARAM=VALUE...`, as for `--kmod`.
pub(super) fn modules(keys: &mut Table<'_, '_>, key: &'static str, folder: &Path) -> Vec<ModuleRequest> {
    keys.parsed_texts(key, |text| {
        let text = text.trim();
        let (name, params) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        if name.is_empty() {
            return Err("missing module name".to_owned());
        }
        Ok(ModuleRequest { name: program_path(folder, name.to_owned()).into(), params: params.trim().into() })
    })
}

/// Parses `SRC` or `SRC=DST`, where DST is an absolute path: the text is split at the last `=/`.
fn copy(text: &str, folder: &Path) -> Result<Copy, String> {
    let (source, destination) = match text.rfind("=/") {
        Some(sign) => (&text[..sign], Some(PathBuf::from(&text[sign + 1..]))),
        None => (text, None),
    };
    if source.is_empty() {
        return Err("missing source: expected \"SRC\" or \"SRC=/DST\"".to_owned());
    }
    Ok(Copy { source: folder.join(source), destination })
}

/// Parses `DIR[=GUESTPATH][:ro|:rw]`, as for `--share`.
fn share(text: &str, folder: &Path) -> Result<ShareRequest, String> {
    let mut share = ShareRequest::parse(OsStr::new(text))?;
    share.directory = folder.join(share.directory);
    Ok(share)
}

/// Parses a directory or `host`, as for `--root`.
fn root(text: &str, folder: &Path) -> Result<RootRequest, String> {
    let mut root = RootRequest::parse(OsStr::new(text))?;
    root.directory = folder.join(root.directory);
    Ok(root)
}

/// Reads `env = { NAME = "VALUE" }`.
fn env(keys: &mut Table<'_, '_>) -> Vec<(OsString, OsString)> {
    let Some(table) = keys.table("env") else { return Vec::new() };
    let document = table.document();
    let variables = table.entries().into_iter().filter_map(|(Located { value: name, span }, value)| {
        if name.is_empty() || name.contains(['=', '\0']) {
            document.error(&span, format!("env: invalid variable name {name:?}"));
        }
        let text = value.get_ref().as_str();
        if text.is_none() {
            document.error(&value.span(), format!("env: expected a string for {name:?}"));
        }
        Some((name.into(), text?.into()))
    });
    variables.collect()
}
