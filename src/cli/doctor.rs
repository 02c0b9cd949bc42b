//! `bootling doctor`: checks what works on the host, and prints what to install.

mod kernel;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write;
use std::time::Instant;

use anstyle::{AnsiColor, Style};
use anyhow::Context;
use clap::Args;
use serde::Serialize;

use bootling::arch::Arch;
use bootling::cache::Cache;
use bootling::qemu::firmware;
use bootling::qemu::kvm;
use bootling::qemu::program::Qemu;
use bootling::root::{directory::Root, userland, userland_error::UserlandError};
use bootling::{qemu::spec::FirmwareRef, root::request::KernelRef, root::spec::InitrdSpec};

/// Check what works on the host, and print what to install
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Check a kernel instead of the host: list the configuration options that guests need, whether the kernel has
    /// them, and the consequence of each missing one. KERNEL is an image file, a build tree, a .deb package or an
    /// installed release.
    #[arg(long, short, value_name = "KERNEL")]
    kernel: Option<OsString>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Result of one check.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    works: bool,
    /// True if `bootling run` requires it.
    needed: bool,
    /// Details; for a failure, the reason and the fix.
    detail: String,
}

impl Finding {
    fn new(what: &'static str, needed: bool, result: Result<String, impl Display>) -> Self {
        match result {
            Ok(detail) => Self { what, works: true, needed, detail },
            Err(error) => Self { what, works: false, needed, detail: error.to_string() },
        }
    }
}

/// Runs the verb. Returns 0 if everything required works.
pub(crate) fn run(args: &DoctorArgs) -> anyhow::Result<u8> {
    let code = |works| if works { 0 } else { bootling::guest::verdict::code::COULD_NOT_TEST };
    if let Some(name) = &args.kernel {
        let report = kernel::check(name)?;
        let mut out = super::output::stdout();
        if args.json {
            serde_json::to_writer_pretty(&mut out, &report)?;
            writeln!(out)?;
        } else {
            kernel::print(&mut out, &report)?;
        }
        out.flush().context("failed to write to standard output")?;
        return Ok(code(report.usable));
    }
    let findings = check_all()?;
    let healthy = findings.iter().all(|finding| finding.works || !finding.needed);
    let mut out = super::output::stdout();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &findings)?;
        writeln!(out)?;
    } else {
        for finding in &findings {
            print(&mut out, finding)?;
        }
    }
    out.flush().context("failed to write to standard output")?;
    Ok(code(healthy))
}

fn check_all() -> anyhow::Result<Vec<Finding>> {
    let arch = Arch::host().unwrap_or(Arch::X86_64);
    let root = Root::new("/")?;
    let cache = Cache::open();
    let qemu = Qemu::find(None, arch, cache.as_ref().ok());
    let start = Instant::now();
    let kvm = kvm::probe(kvm::LONG_PATIENCE)
        .map(|()| format!("runs guest code at hardware speed (probed in {:?})", start.elapsed()));
    let uefi = match &qemu {
        Ok(qemu) => uefi(arch, qemu),
        Err(_) => Err("not checked without QEMU".to_owned()),
    };
    let pid1 = bootling::initrd::pid1::image(arch).map(|image| format!("{} bytes, for {arch} guests", image.len()));
    let mut findings = vec![
        Finding::new("pid 1", true, pid1.ok_or_else(|| format!("not built in for {arch}"))),
        Finding::new("QEMU", true, qemu.map(|qemu| format!("{} {}", qemu.path.display(), qemu.facts.version))),
        Finding::new("UEFI", false, uefi),
        Finding::new("KVM", false, kvm.map_err(|why| format!("{why}; guests run with TCG, which is slower"))),
        Finding::new("busybox", true, busybox(&root, arch)),
    ];
    match &cache {
        Ok(cache) => {
            let writable = match cache.unwritable() {
                None => Ok(cache.directory().display().to_string()),
                Some(error) => {
                    Err(format!("{}; nothing is kept for later runs", super::output::one_line(&error.into())))
                }
            };
            findings.push(Finding::new("cache", false, writable));
            let found = bootling::root::kernel::find(&root, &KernelRef::Newest, None, cache, &mut |_| {});
            let found = found.map(|kernel| kernel.origin).map_err(|error| format!("{error:#}"));
            findings.push(Finding::new("kernel", false, found));
        }
        Err(error) => findings.push(Finding::new("cache", true, Err::<String, _>(error))),
    }
    Ok(findings)
}

/// Returns the path of the firmware for `--firmware uefi`.
fn uefi(arch: Arch, qemu: &Qemu) -> Result<String, String> {
    let found = firmware::find(&FirmwareRef::Uefi { secure: false }, None, arch, arch.default_machine().as_ref(), qemu);
    let found = found.map_err(|error| error.to_string())?;
    Ok(found.path().map(|path| path.display().to_string()).unwrap_or_default())
}

/// Returns the path of busybox.
fn busybox(root: &Root, arch: Arch) -> Result<String, UserlandError> {
    let users = userland::resolve(root, &InitrdSpec::default(), arch)?;
    let found = users.facts.iter().find(|fact| fact.path.file_name() == "busybox");
    Ok(found.map_or_else(String::new, |fact| fact.path.to_string()))
}

fn print(out: &mut impl Write, finding: &Finding) -> std::io::Result<()> {
    let (word, color) = match (finding.works, finding.needed) {
        (true, _) => ("ok", AnsiColor::Green),
        (false, true) => ("missing", AnsiColor::Red),
        (false, false) => ("without", AnsiColor::Yellow),
    };
    let style = Style::new().bold().fg_color(Some(color.into()));
    writeln!(out, "{style}{word:<8}{style:#}{:<8}  {}", finding.what, finding.detail)
}
