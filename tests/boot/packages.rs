//! Kernels and roots that are packages: fetched on first use with the host's apt, here a stand-in without a network.

use std::fs;

use crate::support::apt::AptHost;
use crate::support::program::scratch;
use crate::support::{Kernel, Program};

#[test]
fn a_kernel_is_fetched_on_first_use_and_then_comes_from_the_cache() {
    let Some(package) = Kernel::Cloud612.or_skip("a_kernel_is_fetched_on_first_use") else { return };
    let host = AptHost::new();
    let (name, version) = host.publish(&package);
    host.publish_meta("linux-image-cloud-amd64", &name);
    let run = |kernel: &str| host.program().args(["run", "--arch", "x86_64", "--kernel", kernel, "--", "uname", "-r"]);
    let done = run("debian:cloud").done().exits(0);
    assert!(name.contains(done.text().trim()), "{}", done.text());
    done.says("fetching debian:cloud for x86_64 with apt, once");
    let calls = host.calls();
    assert!(calls.len() == 3 && calls.iter().any(|call| call.ends_with(&format!("download {name}"))), "{calls:?}");
    assert!(host.is_clean(), "files are left behind");
    host.disconnect(true);
    let done = run("debian:cloud").done().exits(0);
    assert!(!done.stderr.contains("fetching"), "{}", done.stderr);
    assert_eq!(host.calls(), Vec::<String>::new());
    // An exact version is another request.
    let done = run(&format!("debian:{name}={version}")).done().exits(125);
    done.says("which is not in the cache").says("Temporary failure resolving").says("advice: ");
    assert!(host.is_clean(), "files are left behind");
}

#[test]
fn a_kernel_that_cannot_be_fetched_is_one_error_that_says_why() {
    let host = AptHost::new();
    let run = |kernel: &str| host.program().args(["run", "--kernel", kernel, "--", "true"]).done().exits(125);
    run("debian:vax").says("failed to look up package linux-image-vax-");
    run("debian:../x").says("invalid package name \"../x\"");
    run("debian:cloud=6.12").says("expected linux-image-NAME=VERSION");
    let package = "linux-image-6.1.0-1-amd64";
    run(&format!("debian:{package}=6.1.1-1")).says(&format!("{package} 6.1.1-1 is neither in the cache nor"));
    host.disconnect(true);
    run("debian:").says("which is not in the cache: W: Failed to fetch");
    let done = Program::new().env("PATH", "/nonexistent").env("BOOTLING_CACHE_DIR", "/nonexistent/cache");
    let done = done.args(["run", "--kernel", "debian:", "--", "/bin/true"]).done().exits(125);
    done.says("failed to run apt-get: packages are fetched with Debian's apt").says("pass a kernel file");
    assert!(host.is_clean(), "files are left behind");
}

#[test]
fn a_root_that_cannot_be_fetched_is_one_error_that_says_why() {
    let Some(kernel) = Kernel::Cloud612.or_skip("a_root_that_cannot_be_fetched") else { return };
    let host = AptHost::new();
    host.disconnect(true);
    let run = || host.program().args(["run", "--kernel"]).arg(&kernel);
    let done = run().args(["--sysroot", "debian:iproute2", "--", "ip"]).done().exits(125);
    done.says("lists for busybox-static, iproute2, which is not in the cache: W: Failed to fetch");
    run().args(["--sysroot", "debian:-o", "--", "ip"]).done().exits(125).says("invalid package name \"-o\"");
    let kernel = ["run", "--arch", "aarch64", "--kernel", "debian:", "--", "true"];
    let done = host.program().args(kernel).done().exits(125);
    done.says("no --sysroot: programs come from Debian's bash, busybox-static, coreutils for aarch64");
}

/// A test that prints the release of its kernel.
const MANIFEST: &str = r#"
    kernels = { debian = "debian:cloud" }
    [[test]]
    name = "boots"
    command = ["uname", "-r"]
    expect = "^6\\.12\\."
"#;

#[test]
fn a_matrix_is_repeated_with_the_packages_in_its_lock() {
    let Some(package) = Kernel::Cloud612.or_skip("a_matrix_is_repeated_with_the_packages_in_its_lock") else { return };
    let host = AptHost::new();
    let (name, version) = host.publish(&package);
    host.publish_meta("linux-image-cloud-amd64", &name);
    let dir = scratch();
    fs::write(dir.path().join("bootling.toml"), MANIFEST.trim()).expect("written");
    let lock = dir.path().join("bootling.lock");
    let test = |options: &[&str]| {
        let program = host.program().current_dir(dir.path()).args(["test", "--boot", "cold"]);
        program.args(options).done()
    };
    // Without the entry, a locked matrix is refused before anything is fetched.
    let missing = "kernel debian:cloud for x86_64 is not in bootling.lock, which --locked does not change";
    test(&["--locked"]).exits(125).says(missing).says("commit the lock");
    assert!(!lock.exists() && host.calls().is_empty());
    test(&[]).exits(0).says("fetching debian:cloud for x86_64 with apt, once");
    let locked = fs::read_to_string(&lock).expect("a lock");
    for line in [format!("package = \"{name}\""), format!("package-version = \"{version}\"")] {
        assert!(locked.contains(&line), "{locked}");
    }
    host.calls();
    host.disconnect(true);
    test(&["--locked"]).exits(0);
    assert_eq!(host.calls(), Vec::<String>::new());
    assert_eq!(fs::read_to_string(&lock).expect("a lock"), locked);
    // The archive moves on, and the cache is gone.
    host.disconnect(false);
    host.withdraw_all();
    host.clear_cache();
    host.publish_as(&package, "linux-image-9.9-cloud-amd64", "9.9-1");
    host.publish_meta("linux-image-cloud-amd64", "linux-image-9.9-cloud-amd64");
    let done = test(&[]).exits(125);
    let done = done.says(&format!("{name} {version} is neither in the cache nor in the package sources, which have"));
    done.says("linux-image-9.9-cloud-amd64 9.9-1").says("--update-lock");
    assert_eq!(fs::read_to_string(&lock).expect("a lock"), locked);
    // A package of the same version with other contents.
    host.publish(&package);
    fs::write(&lock, locked.replace("sha256 = \"", "sha256 = \"0")).expect("written");
    test(&[]).exits(125).says("invalid entry of debian:cloud for x86_64");
    let start = locked.find("sha256 = \"").expect("a digest") + 10;
    let other = format!("{}{}{}", &locked[..start], "0".repeat(64), &locked[start + 64..]);
    fs::write(&lock, &other).expect("written");
    test(&[]).exits(125).says("has SHA-256").says(&"0".repeat(64));
    assert_eq!(fs::read_to_string(&lock).expect("a lock"), other);
    host.withdraw_all();
    host.publish(&package);
    host.publish_meta("linux-image-cloud-amd64", &name);
    test(&["--update-lock"]).exits(0);
    assert_eq!(fs::read_to_string(&lock).expect("a lock"), locked);
    assert!(host.is_clean(), "files are left behind");
}
