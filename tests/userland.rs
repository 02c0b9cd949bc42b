//! The userland of the host and of small artificial roots: resolved facts, and the unpacked image run with `chroot`.
//!
//! `chroot` requires root, and some tests require gcc: without them, the tests are skipped with a note.

#![expect(clippy::print_stderr, reason = "prints skipped tests")]

#[path = "support/scene.rs"]
mod scene;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bootling::arch::Arch;
use bootling::format::archive_path::ArchivePath;
use bootling::root::directory::Root;
use bootling::root::fact::{Content, Node, Why};
use bootling::root::request::Copy;
use bootling::root::spec::{InitrdSpec, RunWhat};
use bootling::root::{Userland, UserlandError, userland};
use scene::{scene, script};

fn host() -> Arch {
    Arch::host().expect("a known host architecture")
}

fn resolve(spec: &InitrdSpec) -> Result<Userland, UserlandError> {
    let root = Root::new(&spec.root).expect("a root");
    userland::resolve(&root, spec, host())
}

fn without_busybox(root: &Path) -> InitrdSpec {
    let run = RunWhat::Command(vec!["/bin/p".into()]);
    InitrdSpec { root: root.to_path_buf(), busybox: false, run, ..InitrdSpec::default() }
}

fn message(error: &dyn std::error::Error) -> String {
    let source = error.source().map(message);
    source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// Returns the strong facts by path, and checks that no path has two of them.
fn by_path(userland: &Userland) -> BTreeMap<String, &Node> {
    let mut map = BTreeMap::new();
    for fact in userland
        .facts
        .iter()
        .filter(|fact| fact.why.gives_way())
        .chain(userland.facts.iter().filter(|fact| !fact.why.gives_way()))
    {
        let weak = map.insert(fact.path.to_string(), (&fact.node, fact.why.gives_way()));
        assert!(weak.is_none_or(|(_, weak)| weak), "{} has two entries", fact.path);
    }
    map.into_iter().map(|(path, (node, _))| (path, node)).collect()
}

fn why<'a>(userland: &'a Userland, path: &str) -> Option<&'a Why> {
    userland.facts.iter().find(|fact| fact.path == ArchivePath::new(path)).map(|fact| &fact.why)
}

/// Creates the files of an image below `to`, except device nodes.
fn unpack_image(userland: &Userland, to: &Path) {
    let place = |path: &str| to.join(path.trim_start_matches('/'));
    let map = by_path(userland);
    for (path, node) in &map {
        let at = place(path);
        fs::create_dir_all(at.parent().expect("a parent")).expect("directories");
        match node {
            Node::Dir { .. } => fs::create_dir_all(&at).expect("a directory"),
            Node::Symlink { target } => symlink(OsStr::from_bytes(target), &at).expect("a link"),
            Node::File { mode, content, .. } => {
                match content {
                    Content::Host { path, .. } => drop(fs::copy(path, &at).expect("a copy")),
                    Content::Bytes(bytes) => fs::write(&at, bytes).expect("a file"),
                    Content::Static(bytes) => fs::write(&at, bytes).expect("a file"),
                }
                fs::set_permissions(&at, fs::Permissions::from_mode(u32::from(*mode))).expect("a mode");
            }
            Node::Char { .. } | Node::Block { .. } | Node::Fifo { .. } | Node::Socket { .. } => {}
        }
    }
}

fn enter(root: &Path, command: &[&str]) -> Output {
    let mut chroot = Command::new("chroot");
    chroot
        .arg(root)
        .args(command)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    chroot.output().expect("chroot runs")
}

fn can_enter() -> bool {
    let yes = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    if !yes {
        assert!(std::env::var_os("REQUIRE_ORACLES").is_none(), "chroot needs root");
        eprintln!("skipped: chroot needs root");
    }
    yes
}

#[test]
fn applets_equal_the_list_of_busybox_except_for_a_modprobe_of_pid_1() {
    let listed = Command::new("busybox").arg("--list").output().expect("busybox runs").stdout;
    let mut listed: Vec<&[u8]> = listed.split(|byte| *byte == b'\n').filter(|name| !name.is_empty()).collect();
    listed.retain(|name| *name != b"busybox");
    listed.sort_unstable();
    assert!(listed.len() > 100, "a full busybox");
    for autoload in [false, true] {
        let userland = resolve(&InitrdSpec { autoload, ..InitrdSpec::default() }).expect("busybox is installed");
        listed.retain(|name| !(autoload && *name == b"modprobe"));
        let applets = userland.facts.iter().filter(|fact| fact.why == Why::Applet);
        let mut found: Vec<&[u8]> = applets.map(|fact| fact.path.file_name().as_bytes()).collect();
        found.sort_unstable();
        assert_eq!(found, listed, "autoload: {autoload}");
    }
}

#[test]
fn a_busybox_image_contains_little_besides_busybox() {
    let userland = resolve(&InitrdSpec::default()).expect("busybox is installed");
    let bytes = |node: &Node| if let Node::File { content, .. } = node { content.len() } else { 0 };
    let total: u64 = userland.facts.iter().map(|fact| bytes(&fact.node)).sum();
    let busybox = fs::metadata("/usr/bin/busybox").or_else(|_| fs::metadata("/bin/busybox")).expect("busybox").len();
    assert!(total <= busybox + 1024, "{total} bytes for a busybox of {busybox}");
    let map = by_path(&userland);
    assert_eq!(map.get("/dev/console"), Some(&&Node::Char { mode: 0o600, major: 5, minor: 1 }));
    assert_eq!(map.get("/dev/null"), Some(&&Node::Char { mode: 0o666, major: 1, minor: 3 }));
    assert_eq!(map.get("/tmp"), Some(&&Node::Dir { mode: 0o1777 }));
    assert_eq!(userland.command, None);
}

#[test]
fn the_same_spec_gives_the_same_facts() {
    let spec = InitrdSpec { binaries: vec!["env".into(), "ldd".into()], ..InitrdSpec::default() };
    assert_eq!(resolve(&spec).expect("resolves"), resolve(&spec).expect("resolves"));
}

#[test]
fn programs_of_the_host_run_with_the_files_found_for_them() {
    if !can_enter() {
        return;
    }
    let spec = InitrdSpec { binaries: vec!["date".into(), "ldd".into(), "expr".into()], ..InitrdSpec::default() };
    let userland = resolve(&spec).expect("resolves");
    let image = tempfile::tempdir().expect("a temporary directory");
    unpack_image(&userland, image.path());
    for (command, output) in [
        (["date", "-u", "-d", "@0", "+%Y"].as_slice(), "1970\n"),
        (&["sh", "-c", "echo $((6*7)) | wc -c"], "3\n"),
        (&["/bin/sh", "-c", "readlink /usr/bin/wc"], "busybox\n"),
        (&["expr", "6", "*", "7"], "42\n"),
        (&["whoami"], "root\n"),
    ] {
        let got = enter(image.path(), command);
        let errors = String::from_utf8_lossy(&got.stderr);
        assert_eq!(String::from_utf8_lossy(&got.stdout), output, "{command:?}: {errors}");
    }
    // The host's program, not the applet of the same name.
    let version = enter(image.path(), &["date", "--version"]).stdout;
    assert!(String::from_utf8_lossy(&version).contains("coreutils"), "the host's date");
}

#[test]
fn the_loader_reads_the_generated_cache_for_a_library_outside_the_default_directories() {
    let gcc = Command::new("gcc").arg("--version").output().is_ok_and(|output| output.status.success());
    if !gcc || !can_enter() {
        eprintln!("skipped: needs gcc and root");
        return;
    }
    let system = tempfile::tempdir().expect("a temporary directory");
    let at = |path: &str| system.path().join(path);
    for dir in ["etc", "opt/off", "bin"] {
        fs::create_dir_all(at(dir)).expect("directories");
    }
    fs::write(at("etc/ld.so.conf"), "/opt/off\n").expect("a file");
    let mut flags = Vec::new();
    for number in 1..=12 {
        let source = at(&format!("f{number}.c"));
        fs::write(&source, format!("int f{number}(void) {{ return {number}; }}\n")).expect("a file");
        let library = at(&format!("opt/off/libf.so.{number}"));
        compile(
            &[OsStr::new("-shared"), OsStr::new(&format!("-Wl,-soname,libf.so.{number}")), source.as_os_str()],
            &library,
        );
        flags.push(library.into_os_string());
    }
    let calls: Vec<String> = (1..=12).map(|number| format!("f{number}()")).collect();
    let declarations: Vec<String> = calls.iter().map(|call| format!("int {call};")).collect();
    let main = format!("{} int main(void) {{ return {}; }}\n", declarations.join(" "), calls.join("+"));
    fs::write(at("p.c"), main).expect("a file");
    let source = at("p.c").into_os_string();
    let words: Vec<&OsStr> = [source.as_os_str()].into_iter().chain(flags.iter().map(OsString::as_os_str)).collect();
    compile(&words, &at("bin/p"));
    // The C library of the host, at the path that its loader expects.
    let host_spec =
        InitrdSpec { busybox: false, run: RunWhat::Command(vec!["/bin/true".into()]), ..InitrdSpec::default() };
    let mut libc = resolve(&host_spec).expect("resolves");
    libc.facts.retain(|fact| fact.path.to_string().contains("lib"));
    unpack_image(&libc, system.path());

    let userland = resolve(&without_busybox(system.path())).expect("resolves");
    let image = tempfile::tempdir().expect("a temporary directory");
    unpack_image(&userland, image.path());
    assert!(matches!(why(&userland, "/etc/ld.so.cache"), Some(Why::Config { .. })));
    let output = enter(image.path(), &["/bin/p"]);
    assert_eq!(output.status.code(), Some(78), "{}", String::from_utf8_lossy(&output.stderr));
    fs::remove_file(image.path().join("etc/ld.so.cache")).expect("the cache");
    assert_eq!(enter(image.path(), &["/bin/p"]).status.code(), Some(127), "must fail without the cache");
}

fn compile(words: &[&OsStr], to: &Path) {
    let output = Command::new("gcc").args(words).arg("-o").arg(to).output().expect("gcc runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn spec(scene: &tempfile::TempDir, binaries: &[&str]) -> InitrdSpec {
    let binaries = binaries.iter().map(OsString::from).collect();
    InitrdSpec { root: scene.path().to_path_buf(), binaries, ..InitrdSpec::default() }
}

fn copy(scene: &tempfile::TempDir, source: &str, destination: Option<&str>) -> InitrdSpec {
    let copy = Copy { source: PathBuf::from(source), destination: destination.map(PathBuf::from) };
    InitrdSpec { copies: vec![copy], ..spec(scene, &[]) }
}

#[test]
fn scripts_add_their_interpreters_and_busybox_serves_as_sh() {
    let scene = scene();
    script(&scene, "usr/bin/a", "#!/usr/bin/b -x\n");
    script(&scene, "usr/bin/b", "#!/bin/sh\n");
    script(&scene, "usr/bin/c", "#!/usr/bin/env -S tool --flag\n");
    script(&scene, "opt/tools/tool", "#!/bin/ash\n");
    symlink("../../opt/tools/tool", scene.path().join("usr/bin/tool")).expect("a link");
    let userland = resolve(&spec(&scene, &["a", "c"])).expect("resolves");
    let map = by_path(&userland);
    assert_eq!(why(&userland, "/usr/bin/b"), Some(&Why::Interpreter { of: ArchivePath::new("/usr/bin/a") }));
    assert_eq!(map.get("/usr/bin/sh"), Some(&&Node::Symlink { target: b"busybox".to_vec() }));
    assert!(map.contains_key("/opt/tools/tool"), "the program behind env");
    assert_eq!(map.get("/usr/bin/tool"), Some(&&Node::Symlink { target: b"../../opt/tools/tool".to_vec() }));
    if can_enter() {
        let image = tempfile::tempdir().expect("a temporary directory");
        unpack_image(&userland, image.path());
        script(&scene, "usr/bin/b", "#!/bin/sh\necho $1\n");
        unpack_image(&resolve(&spec(&scene, &["a"])).expect("resolves"), &image.path().join("second"));
        let output = enter(&image.path().join("second"), &["a"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "-x\n", "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn scripts_with_missing_or_endless_interpreters_are_refused() {
    let scene = scene();
    script(&scene, "usr/bin/gone", "#!/bin/bash\n");
    script(&scene, "usr/bin/env-gone", "#!/usr/bin/env python9\n");
    script(&scene, "usr/bin/loop", "#!/usr/bin/loop\n");
    script(&scene, "usr/bin/s0", "#!/bin/busybox echo\n");
    for number in 1..=5 {
        script(&scene, &format!("usr/bin/s{number}"), &format!("#!/usr/bin/s{}\n", number - 1));
    }
    let fails = |name: &str| message(&resolve(&spec(&scene, &[name])).expect_err("refused"));
    assert_eq!(
        fails("gone"),
        "interpreter /bin/bash of script /usr/bin/gone not found: no such file, and not a busybox applet"
    );
    assert!(fails("env-gone").starts_with("interpreter python9 of script /usr/bin/env-gone not found: not in "));
    assert_eq!(
        fails("s5"),
        "failed to resolve the interpreters of /usr/bin/s5: the kernel supports at most 5 nested scripts"
    );
    resolve(&spec(&scene, &["s4"])).expect("five nested scripts");
    assert!(resolve(&spec(&scene, &["s4", "s5"])).is_err(), "independent of earlier scripts");
    assert!(fails("loop").starts_with("failed to resolve the interpreters of /usr/bin/loop"));
}

#[test]
fn commands_are_called_by_a_name_that_the_guest_finds() {
    let scene = scene();
    script(&scene, "usr/bin/named", "#!/bin/sh\n");
    script(&scene, "opt/tools/own", "#!/bin/sh\n");
    let command = |words: &[&str]| {
        let run = RunWhat::Command(words.iter().map(OsString::from).collect());
        resolve(&InitrdSpec { run, ..spec(&scene, &[]) })
    };
    let called = |words: &[&str]| command(words).expect("resolves").command.expect("a command");
    assert_eq!(called(&["named", "a b"]), ["named", "a b"]);
    assert_eq!(called(&["wc", "-c"]), ["wc", "-c"], "an applet");
    assert_eq!(called(&["/opt/tools/own"]), ["/opt/tools/own"]);
    let own = command(&["/opt/tools/own"]).expect("resolves");
    assert_eq!(why(&own, "/usr/bin/own"), Some(&Why::OnPath { program: ArchivePath::new("/opt/tools/own") }));
    let error = message(&command(&["nothing"]).expect_err("refused"));
    assert!(error.starts_with("program nothing not found in PATH: not in "), "{error}");
    assert!(error.ends_with(", and not a busybox applet"), "{error}");
    let line = InitrdSpec { run: RunWhat::Line("a | b".into()), ..spec(&scene, &[]) };
    assert_eq!(resolve(&line).expect("resolves").command.expect("a command"), ["/bin/sh", "-c", "a | b"]);
}

#[test]
fn programs_that_cannot_run_are_refused_with_the_reason() {
    let scene = scene();
    let mut arm = fs::read("/usr/bin/busybox").expect("busybox");
    arm[18..20].copy_from_slice(&183u16.to_le_bytes());
    fs::write(scene.path().join("usr/bin/arm"), arm).expect("a file");
    script(&scene, "usr/bin/arm-script", "#!/usr/bin/arm\n");
    fs::set_permissions(scene.path().join("usr/bin/arm"), fs::Permissions::from_mode(0o755)).expect("a mode");
    script(&scene, "usr/bin/plain", "echo\n");
    script(&scene, "usr/bin/short", "\x7fELF\u{2}\u{1}\u{1}");
    fs::write(scene.path().join("usr/bin/quiet"), "#!/bin/sh\n").expect("a file");
    let fails = |name: &str| message(&resolve(&spec(&scene, &[name])).expect_err("refused"));
    assert!(fails("arm").ends_with("arm: built for aarch64, but the guest is x86_64") || host() != Arch::X86_64);
    assert!(fails("arm-script").contains("built for aarch64"));
    assert!(fails("plain").ends_with("plain: neither an ELF file nor a script with a #! line"));
    assert!(fails("short").contains("at offset 0x0"));
    assert!(fails("/usr/bin/quiet").ends_with("not executable (see chmod)"));
    assert!(fails("/usr/bin/nothing").ends_with("usr/bin/nothing: no such file"));
    assert!(fails("/etc").ends_with("not a regular file"));
    let empty = tempfile::tempdir().expect("a temporary directory");
    let error = message(&resolve(&spec(&empty, &[])).expect_err("refused"));
    assert!(error.contains("apt-get install busybox-static, or --no-busybox"), "{error}");
}

#[test]
fn trees_are_copied_whole() {
    let scene = scene();
    let skel = scene.path().join("etc/skel");
    fs::write(skel.join(".profile"), "x").expect("a file");
    fs::write(skel.join(OsStr::from_bytes(b".config/na\xffme")), "y").expect("a file");
    fs::set_permissions(skel.join(".profile"), fs::Permissions::from_mode(0o4711)).expect("a mode");
    fs::hard_link(skel.join(".profile"), skel.join("twin")).expect("a hard link");
    symlink("gone/away", skel.join("dangling")).expect("a link");
    drop(std::os::unix::net::UnixListener::bind(skel.join("socket")).expect("a socket"));
    assert!(Command::new("mkfifo").arg(skel.join("fifo")).status().expect("mkfifo runs").success());
    let userland = resolve(&copy(&scene, "/etc/skel", Some("/new"))).expect("resolves");
    let map = by_path(&userland);
    let at = |path: &str| *map.get(path).unwrap_or_else(|| panic!("{path} is missing"));
    assert_eq!(at("/new/dangling"), &Node::Symlink { target: b"gone/away".to_vec() });
    assert!(matches!(at("/new/fifo"), Node::Fifo { .. }) && matches!(at("/new/socket"), Node::Socket { .. }));
    let (Node::File { mode, hardlink, .. }, Node::File { hardlink: twin, .. }) = (at("/new/.profile"), at("/new/twin"))
    else {
        panic!("files");
    };
    assert_eq!((*mode, hardlink), (0o4711, twin));
    assert!(hardlink.is_some());
    let name =
        userland.facts.iter().find(|fact| fact.path.as_bytes() == b"new/.config/na\xffme").expect("the odd name");
    assert!(matches!(name.node, Node::File { hardlink: None, .. }));
}

#[test]
fn copies_go_to_their_destination_and_missing_sources_are_errors() {
    let scene = scene();
    fs::write(scene.path().join("srv/a.conf"), "a").expect("a file");
    fs::write(scene.path().join("srv/b.conf"), "b").expect("a file");
    symlink("../srv/a.conf", scene.path().join("etc/link")).expect("a link");
    symlink("nowhere", scene.path().join("etc/dangling")).expect("a link");
    let paths = |source: &str, destination: Option<&str>| -> Vec<String> {
        let userland = resolve(&copy(&scene, source, destination)).expect("resolves");
        let asked = userland.facts.iter().filter(|fact| matches!(fact.why, Why::Asked(_) | Why::LinkTo { .. }));
        asked.map(|fact| fact.path.to_string()).collect()
    };
    assert_eq!(paths("/srv/*.conf", None), ["/srv/a.conf", "/srv/b.conf"]);
    assert_eq!(paths("/srv/*.conf", Some("/x")), ["/x/a.conf", "/x/b.conf"]);
    assert_eq!(paths("/srv/a.conf", Some("/x")), ["/x"]);
    assert_eq!(paths("/srv/a.conf", Some("/x/")), ["/x/a.conf"]);
    assert_eq!(paths("/srv", Some("/x/")), ["/x/srv", "/x/srv/a.conf", "/x/srv/b.conf"]);
    assert_eq!(paths("/etc/link", None), ["/etc/link", "/srv/a.conf"]);
    assert_eq!(paths("/etc/link", Some("/x")), ["/x"]);
    assert_eq!(paths("/etc/dangling", None), ["/etc/dangling"]);
    let fails = |source: &str| message(&resolve(&copy(&scene, source, None)).expect_err("refused"));
    assert_eq!(fails("/srv/*.none"), "no file matches --copy /srv/*.none");
    assert!(fails("/srv/none").ends_with("srv/none: no such file or directory"));
    assert!(fails("/srv/[").contains("no file matches") || fails("/srv/[").contains("pattern"));
}

#[test]
fn copied_mount_points_replace_the_default_ones() {
    let scene = scene();
    fs::create_dir(scene.path().join("tmp")).expect("a directory");
    fs::set_permissions(scene.path().join("tmp"), fs::Permissions::from_mode(0o700)).expect("a mode");
    let userland = resolve(&copy(&scene, "/tmp", None)).expect("resolves");
    assert_eq!(by_path(&userland).get("/tmp"), Some(&&Node::Dir { mode: 0o700 }));
}

#[test]
fn a_copied_passwd_replaces_the_default() {
    let scene = scene();
    fs::write(scene.path().join("etc/passwd"), "me:x:0:0::/:/bin/sh\n").expect("a file");
    let userland = resolve(&copy(&scene, "/etc/passwd", None)).expect("resolves");
    assert!(matches!(by_path(&userland).get("/etc/passwd"), Some(Node::File { content: Content::Host { .. }, .. })));
}
