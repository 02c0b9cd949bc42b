//! Builds the guest's pid 1 from `stubs/init` and passes its path to `src/initrd/pid1.rs`.
//!
//! pid 1 is a separate program (no libc, no allocation, another panic strategy), so it is compiled by one call of rustc
//! instead of being a member of the workspace. It requires only the target that the tool is built for; for the other
//! architectures `tools/build-pid1` writes it to `assets/`.

use std::env;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Architectures that `stubs/init/src/syscall` supports.
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

fn main() -> Result<(), Box<dyn Error>> {
    let mut cargo = std::io::stdout();
    for watched in ["build.rs", "stubs/init", "src/format/protocol"] {
        writeln!(cargo, "cargo::rerun-if-changed={watched}")?;
    }
    let target = env::var("TARGET")?;
    let own = target.split('-').next().filter(|_| target.contains("-linux-") && !target.ends_with("x32"));
    for arch in ARCHITECTURES {
        let mut path = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("assets").join(format!("pid1-{arch}"));
        writeln!(cargo, "cargo::rerun-if-changed={}", path.display())?;
        if own == Some(arch) {
            path = Path::new(&env::var("OUT_DIR")?).join(format!("pid1-{arch}"));
            compile(&target, &path)?;
        }
        writeln!(cargo, "cargo::rustc-env=BOOTLING_PID1_{}={}", arch.to_uppercase(), path.display())?;
    }
    Ok(())
}

fn compile(target: &str, out: &Path) -> Result<(), Box<dyn Error>> {
    let mut rustc = Command::new(env::var_os("RUSTC").ok_or("RUSTC is not set")?);
    rustc.args(["--crate-name", "init", "--crate-type", "bin", "--edition", "2024", "--target", target]);
    for option in [
        "panic=abort",
        "opt-level=s",
        "lto=fat",
        "codegen-units=1",
        "overflow-checks=off",
        "debug-assertions=off",
        "strip=symbols",
        "force-unwind-tables=no",
        // No dynamic loader relocates the program, and the kernel loads it as linked.
        "relocation-model=static",
        "target-feature=+crt-static",
        "link-arg=-nostartfiles",
        "link-arg=-nostdlib",
        "link-arg=-static",
        "link-arg=-no-pie",
        // Saves one page per segment, and omits all notes.
        "link-arg=-Wl,-z,noseparate-code,-z,norelro,--build-id=none,--no-eh-frame-hdr",
    ] {
        rustc.args(["-C", option]);
    }
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        rustc.arg("-C").arg(format!("linker={}", linker.display()));
    }
    rustc.arg("-o").arg(out).arg("stubs/init/src/main.rs");
    let status = rustc.status().map_err(|error| format!("failed to run rustc for stubs/init: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("failed to compile stubs/init: rustc: {status}").into()) }
}
