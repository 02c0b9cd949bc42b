//! Tests of valid manifests, and golden texts of the errors of invalid ones.

mod devices;

use std::fs;
use std::path::Path;
use std::time::Duration;

use expect_test::{Expect, expect};

use super::{BootWay, Ending, Isolate, KernelSpec, Origin, Protocol, STARTER, TestSpec};
use crate::guest::health::Policy;
use crate::{qemu::spec::FirmwareRef, root::spec::RunWhat};

fn parse(text: &str) -> Result<TestSpec, super::ManifestError> {
    TestSpec::parse(text, Origin { file: "bootling.toml", folder: Path::new("dir"), kernels: &[] })
}

#[track_caller]
fn errors(text: &str, expected: &Expect) {
    expected.assert_eq(&format!("{}\n", parse(text).expect_err("invalid")));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a manifest with all keys")]
fn every_key_is_read_and_defaults_apply_to_each_test() {
    let text = r#"
        name = "all"
        [defaults]
        timeout = "60s"
        memory = "512M"
        tags = ["all"]
        env = { A = "1" }
        reject = ["BAD"]
        [kernels]
        stable = "linux.deb"
        next = { kernel = "../linux", append = "quiet", tags = ["slow"] }
        [machines.q35]
        [machines.old]
        machine = "pc"
        cpu = "qemu64"
        memory = 256
        smp = 2
        devices = ["virtio-rng-pci"]
        qemu-args = ["-d", "guest_errors"]
        firmware = "uefi"
        accel = "tcg"
        firmware-vars = "vars.fd"
        qemu = "./qemu"
        append = ["a", "b"]
        base-kmod = "dm_mod"
        [[test]]
        name = "boots"
        command = ["./t", "x"]
        with = ["strace", "bin/tool"]
        copy = ["a=/b", "c", "d=e"]
        kmod = ["loop max_loop=4", "./my.ko"]
        env = { B = "x=y" }
        stdin = "text"
        cwd = "/tmp"
        timeout = 2.5
        boot-timeout = "1m"
        signal = "SEGV"
        expect = "^ok$"
        expect-stderr = "^err$"
        reject-console = ["WARN"]
        health = "warn"
        health-allow = ["x"]
        boot = "cold"
        isolate = "none"
        tags = ["own"]
        kernels = "stable"
        machines = ["old"]
        retries = 2
        repeat = 3
        parse = "ktap"
        [[test]]
        name = "line"
        run = "true"
        outcome = "panic"
        [matrix]
        machines = ["q35"]
        exclude = [{ kernel = "next", machine = "old" }]
        include = [{ test = "line", kernel = ["next"], machine = "old" }]
    "#;
    let spec = parse(text).expect("a manifest");
    assert_eq!(spec.kernels[0].kernel.as_deref(), Some("linux.deb"));
    assert_eq!(
        (&spec.kernels[1].append[..], &spec.kernels[1].tags[..]),
        (&["quiet".to_owned()][..], &["slow".to_owned()][..])
    );
    let [q35, old] = &spec.machines[..] else { panic!("{:?}", spec.machines) };
    assert_eq!((q35.boot.memory_mib, old.boot.memory_mib), (Some(512), Some(256)));
    assert_eq!(old.boot.qemu_args, ["-device", "virtio-rng-pci", "-d", "guest_errors"]);
    assert_eq!(
        (&old.boot.firmware, old.boot.smp.as_deref()),
        (&FirmwareRef::Uefi { secure: false }, Some("2".as_ref()))
    );
    assert_eq!(old.boot.qemu.as_deref(), Some(Path::new("dir/./qemu")));
    assert_eq!(old.boot.firmware_vars.as_deref(), Some(Path::new("dir/vars.fd")));
    assert_eq!((old.base_modules.len(), old.boot.append.len()), (1, 2));
    let [boots, line] = &spec.tests[..] else { panic!("{:?}", spec.tests) };
    assert_eq!(boots.command.what, RunWhat::Command(vec!["dir/./t".into(), "x".into()]));
    assert_eq!(boots.command.binaries, ["strace", "dir/bin/tool"]);
    let copies: Vec<_> =
        boots.command.copies.iter().map(|copy| (copy.source.to_str(), copy.destination.clone())).collect();
    assert_eq!(copies, [(Some("dir/a"), Some("/b".into())), (Some("dir/c"), None), (Some("dir/d=e"), None)]);
    assert_eq!(
        (boots.command.modules[0].params.to_str(), boots.command.modules[1].name.to_str()),
        (Some("max_loop=4"), Some("dir/./my.ko"))
    );
    let own = |name: &str, value: &str| (name.into(), value.into());
    assert_eq!(boots.command.env, [own("A", "1"), own("B", "x=y")]);
    assert_eq!(
        (boots.command.timeout, line.command.timeout),
        (Some(Duration::from_millis(2500)), Some(Duration::from_secs(60)))
    );
    assert_eq!((&boots.ending, &line.ending), (&Ending::Signal(11), &Ending::Outcome("panic".to_owned())));
    assert_eq!((boots.health.policy, line.health.policy), (Policy::Warn, Policy::Warn));
    assert_eq!((boots.boot, boots.isolate, boots.protocol), (BootWay::Cold, Isolate::Nothing, Some(Protocol::Ktap)));
    assert_eq!((boots.retries, boots.repeat, line.repeat), (2, 3, 1));
    assert_eq!((&boots.tags[..], &line.tags[..]), (&["all".to_owned(), "own".to_owned()][..], &["all".to_owned()][..]));
    assert_eq!((boots.stdout.reject.len(), boots.stdout.expect.len(), line.console.reject.len()), (1, 1, 0));
    assert_eq!(spec.matrix.include[0].kernels, Some(vec!["next".to_owned()]));
}

#[test]
fn an_unhealthy_kernel_fails_a_test_unless_the_test_expects_the_kernel_to_end() {
    let health =
        |key: &str| parse(&format!("[[test]]\nname='t'\nrun='x'\n{key}\n")).expect("one").tests[0].health.policy;
    assert_eq!(health(""), Policy::Fail);
    assert_eq!(health("outcome='panic'"), Policy::Warn);
    assert_eq!(health("outcome='panic'\nhealth='fail'"), Policy::Fail);
}

#[test]
fn a_pattern_makes_a_test_for_each_file_in_the_files_directory() {
    let folder = tempfile::tempdir().expect("a directory");
    for file in ["t/b.sh", "t/a.sh", "t/net/c d.sh", "t/lib.txt", "t/x.sh/y"] {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, "#!/bin/sh\n").expect("a file");
    }
    let parse = |keys: &str| {
        let text = format!("[[test]]\n{keys}\n");
        TestSpec::parse(&text, Origin { file: "m", folder: folder.path(), kernels: &[] })
    };
    let tests = |keys: &str| -> Vec<(String, String, String)> {
        let spec = parse(keys).expect("a manifest");
        let real = fs::canonicalize(folder.path()).expect("a directory").display().to_string();
        let own =
            |path: &Path| path.display().to_string().replace(&real, "").replace(&*folder.path().to_string_lossy(), "");
        let named = spec.tests.into_iter().map(|test| {
            let RunWhat::Command(words) = test.command.what else { panic!("no command") };
            (test.name, own(Path::new(&words[0])), own(&test.command.cwd.expect("a directory")))
        });
        named.collect()
    };
    let test = |name: &str, file: &str, cwd: &str| (name.to_owned(), file.to_owned(), cwd.to_owned());
    assert_eq!(tests("glob = 't/*.sh'"), [test("a.sh", "/t/a.sh", "/t"), test("b.sh", "/t/b.sh", "/t")]);
    let nested = "name = 'n'\nglob = 't/*/*.sh'\ncwd = '/tmp'";
    assert_eq!(tests(nested), [test("n-net-c_d.sh", "/t/net/c d.sh", "/tmp")]);
    assert_eq!(tests("glob = './t/a.sh'"), [test("a.sh", "/t/a.sh", "/t")]);
    let error = |keys: &str| parse(keys).expect_err("an error").diagnostics[0].message.clone();
    assert!(error("glob = 't/*.py'").contains("glob: no file matches \"t/*.py\""));
    assert!(error("glob = 't/*.sh'\nrun = 'x'").contains("\"run\" and \"glob\" are mutually exclusive"));
    let twice = "glob = 't/*.sh'\n[[test]]\nglob = 't/a*'";
    assert!(error(twice).contains("duplicate test \"a.sh\""), "{}", error(twice));
}

#[test]
fn the_starter_is_a_valid_manifest() {
    let spec = parse(STARTER).expect("a manifest");
    assert_eq!((spec.tests.len(), spec.machines.len(), spec.kernels.len()), (4, 2, 1));
}

#[test]
fn kernels_of_the_command_line_are_added_to_the_manifest() {
    let typed = |name: &str| KernelSpec {
        name: name.to_owned(),
        kernel: Some("x.deb".to_owned()),
        is_typed: true,
        ..KernelSpec::default()
    };
    let kernels = [typed("a"), typed("new")];
    let text = "[kernels]\na = 'a.deb'\n[[test]]\nname = 't'\nrun = 'x'\nkernels = ['new']\n";
    let spec = TestSpec::parse(text, Origin { file: "m", folder: Path::new(""), kernels: &kernels }).expect("one");
    let named: Vec<_> = spec.kernels.iter().map(|kernel| (&kernel.name[..], kernel.kernel.as_deref())).collect();
    assert_eq!(named, [("a", Some("x.deb")), ("new", Some("x.deb"))]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a manifest with every error, and all messages")]
fn all_errors_are_reported_with_their_positions() {
    let text = r#"
name = 5
[defaults]
timeout = "soon"
heath = "fail"
[kernels]
"so so" = "x"
[machines.old]
memory = "lots"
acel = "tcg"
[[test]]
name = "boots"
command = ["true"]
run = "true"
timout = "5s"
status = 256
health = "fial"
expect = ["("]
machines = ["odl"]
[[test]]
name = "boots"
[[test]]
run = "x"
status = 0
signal = "SEGVV"
	outcome = "panick"
[matrix]
exclude = [{ kernel = "so so", test = "boot" }, {}]
"#;
    errors(
        text,
        &expect![[r#"
        bootling.toml:2:8: name: expected a string, found an integer
         2 | name = 5
           |        ^
        bootling.toml:4:11: timeout: invalid time "soon": expected seconds, or a number with ms, s, m or h
         4 | timeout = "soon"
           |           ^^^^^^
        bootling.toml:5:1: unknown key "heath"; did you mean "health"?
         5 | heath = "fail"
           | ^^^^^
        bootling.toml:7:1: invalid name "so so": names contain letters, digits, '.', '_', '+', ':' and '-', start with a letter or digit, and have at most 100 characters
         7 | "so so" = "x"
           | ^^^^^^^
        bootling.toml:9:10: memory: invalid size "lots": expected a number of MiB, or a number with suffix K, M, G or T
         9 | memory = "lots"
           |          ^^^^^^
        bootling.toml:10:1: unknown key "acel"; did you mean "accel"?
         10 | acel = "tcg"
            | ^^^^
        bootling.toml:13:1: "command" and "run" are mutually exclusive
         13 | command = ["true"]
            | ^^^^^^^
        bootling.toml:15:1: unknown key "timout"; did you mean "timeout"?
         15 | timout = "5s"
            | ^^^^^^
        bootling.toml:16:10: status: expected a number from 0 to 255
         16 | status = 256
            |          ^^^
        bootling.toml:17:10: health: expected one of "fail", "warn", "ignore", found "fial"; did you mean "fail"?
         17 | health = "fial"
            |          ^^^^^^
        bootling.toml:18:11: expect: invalid regular expression "(": unclosed group
         18 | expect = ["("]
            |           ^^^
        bootling.toml:19:13: unknown machine "odl"; did you mean "old"?
         19 | machines = ["odl"]
            |             ^^^^^
        bootling.toml:20:1: a test needs `command = ["..."]`, `run = "a line for the shell"` or `glob = "*.sh"`
         20 | [[test]]
            | ^^^^^^^^
        bootling.toml:21:8: duplicate test "boots"
         21 | name = "boots"
            |        ^^^^^^^
        bootling.toml:22:1: missing test name
         22 | [[test]]
            | ^^^^^^^^
        bootling.toml:25:1: "status" and "signal" are mutually exclusive
         25 | signal = "SEGVV"
            | ^^^^^^
        bootling.toml:25:10: unknown signal "SEGVV": expected a name such as "SEGV", or a number
         25 | signal = "SEGVV"
            |          ^^^^^^^
        bootling.toml:26:12: outcome: expected one of panic, reset, timed-out, went-away, watchdog, powered-off, qemu-died, not-executed, unhealthy, kernel-crashed, found "panick"; did you mean "panic"?
         26 | 	outcome = "panick"
            | 	          ^^^^^^^^
        bootling.toml:28:39: unknown test "boot"; did you mean "boots"?
         28 | exclude = [{ kernel = "so so", test = "boot" }, {}]
            |                                       ^^^^^^
        bootling.toml:28:49: an entry of "exclude" needs "test", "kernel" or "machine"
         28 | exclude = [{ kernel = "so so", test = "boot" }, {}]
            |                                                 ^^
    "#]],
    );
}

#[test]
fn empty_selections_and_ambiguous_statuses_are_errors() {
    errors(
        "[[test]]\nname = 'a'\nrun = 'x'\nkernels = []\n[[test]]\nname = 'b'\nrun = 'x'\nstatus = 4\nskip-status = 4\n",
        &expect![[r#"
            bootling.toml:4:1: "kernels" is empty; omit it to select every kernel
             4 | kernels = []
               | ^^^^^^^
            bootling.toml:9:1: status 4 cannot mean both passed and skipped
             9 | skip-status = 4
               | ^^^^^^^^^^^
        "#]],
    );
    errors(
        "[defaults]\nskip-status = 4\n[[test]]\nname = 'a'\nrun = 'x'\nstatus = 4\n",
        &expect![[r"
            bootling.toml:6:1: status 4 cannot mean both passed and skipped
             6 | status = 4
               | ^^^^^^
        "]],
    );
}

#[test]
fn syntax_errors_are_reported_with_their_positions() {
    errors(
        "[[test]]\nname = \"x\n",
        &expect![[r#"
        bootling.toml:2:10: invalid basic string, expected `"`
         2 | name = "x
           |          ^
    "#]],
    );
    errors(
        "[kernels]\na = 'x'\na = 'y'\n",
        &expect![[r"
        bootling.toml:3:1: duplicate key
         3 | a = 'y'
           | ^
    "]],
    );
    errors(
        "name = \"x\"\n",
        &expect![[r#"
        bootling.toml:1:1: no tests: expected at least one [[test]] table
         1 | name = "x"
           | ^
    "#]],
    );
}

#[test]
fn every_key_is_documented_and_the_example_is_a_valid_manifest() {
    let docs = include_str!("../../../docs/testing.md");
    let sources = [
        include_str!("test.rs"),
        include_str!("ending.rs"),
        include_str!("files.rs"),
        include_str!("kernel.rs"),
        include_str!("machine.rs"),
        include_str!("matrix.rs"),
        include_str!("mod.rs"),
        include_str!("name.rs"),
    ];
    let call = regex::Regex::new(r#"\((?:&mut keys, |keys, )?"([a-z-]+)""#).expect("a pattern");
    let keys: Vec<&str> = sources
        .into_iter()
        .flat_map(|source| call.captures_iter(source))
        .filter_map(|found| Some(found.get(1)?.as_str()))
        .filter(|key| {
            !["auto", "kvm", "tcg", "fail", "warn", "ignore", "vm", "none", "cold", "tap", "ktap"].contains(key)
        })
        .collect();
    assert!(keys.len() > 45, "{keys:?}");
    for key in keys {
        assert!(
            docs.contains(&format!("`{key}`"))
                || docs.contains(&format!("`[[{key}]]`"))
                || docs.contains(&format!("`[{key}]`")),
            "{key}"
        );
    }
    let example = docs.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    assert_eq!(parse(example).expect("a manifest").tests.len(), 2);
}

proptest::proptest! {
    #[test]
    fn no_text_causes_a_panic(text in "(\\[\\[?(test|kernels|machines\\.[a-z])\\]?\\]\n|[a-z]{1,7} = [\"{\\[0-9a-z ü\t]{0,9}\n|.{0,9}\n){0,12}") {
        if let Err(error) = parse(&text) {
            proptest::prop_assert!(!error.to_string().is_empty());
        }
    }
}
