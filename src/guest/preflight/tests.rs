//! Tests of the preflight check against configurations.

use super::report::{Report, State};
use super::{Requests, check};
use crate::arch::Arch;
use crate::format::compression::Compression;
use crate::guest::listener::Notes;
use crate::guest::{RunSpec, VmError};
use crate::qemu::machine_type::Transport;
use crate::qemu::spec::BootSpec;
use crate::root::kernel::{Config, ImageKind, Kernel};
use crate::root::request::ModuleRequest;
use crate::root::spec::InitrdSpec;

/// Options of a small kernel that runs guests: the fragments that differ from `make tinyconfig`.
const MINIMAL: [&str; 20] = [
    "64BIT=y",
    "X86_64=y",
    "PRINTK=y",
    "TTY=y",
    "SERIAL_8250=y",
    "SERIAL_8250_CONSOLE=y",
    "BINFMT_ELF=y",
    "BLK_DEV_INITRD=y",
    "RD_GZIP=y",
    "PROC_FS=y",
    "SYSFS=y",
    "PCI=y",
    "VIRTIO_MENU=y",
    "VIRTIO_PCI=y",
    "VIRTIO_CONSOLE=m",
    "UNIX98_PTYS=y",
    "MODULES=y",
    "SMP=y",
    "PVH=y",
    "KALLSYMS=y",
];

/// The small kernel without these options. As in a `.config`, only options with a prompt are listed as unset.
fn kernel(without: &[&str]) -> Kernel {
    let line = |option: &&str| {
        let name = option.split('=').next().unwrap_or_default();
        if without.contains(&name) { format!("# CONFIG_{name} is not set\n") } else { format!("CONFIG_{option}\n") }
    };
    let more = without.iter().filter_map(|name| name.strip_prefix('+')).map(|name| format!("CONFIG_{name}=y\n"));
    let text = MINIMAL.iter().map(line).chain(more).collect();
    Kernel {
        image: "/nowhere".into(),
        kind: ImageKind::BzImage,
        arch: Arch::X86_64,
        release: None,
        modules: None,
        config: Some(Config::new(text, "linux/.config")),
        origin: "linux".to_owned(),
    }
}

/// The result of a check: the error or the notes, one line each.
fn checked(kernel: &Kernel, spec: &RunSpec, requests: &Requests) -> Vec<String> {
    let mut notes = Notes::default();
    match check(kernel, spec, requests, &mut notes) {
        Ok(()) => notes.0,
        Err(error @ VmError::Preflight { .. }) => vec![error.to_string()],
        Err(other) => panic!("{other}"),
    }
}

/// The result for the machine of a run with this channel.
fn on(transport: Transport, without: &[&str]) -> Vec<String> {
    let spec = RunSpec::default();
    checked(&kernel(without), &spec, &Requests::of_machine(&spec, transport))
}

const VIRTIO: Transport = Transport::VirtioPci;
const NOTHING: [&str; 0] = [];

#[test]
fn a_kernel_that_runs_guests_is_accepted_without_a_note() {
    assert_eq!(on(VIRTIO, &[]), NOTHING);
    // These work without the option, so they are not refused.
    for option in ["SERIAL_8250", "MODULES", "SMP", "PVH", "KALLSYMS", "UNIX98_PTYS", "RD_GZIP"] {
        let refused: Vec<_> = on(VIRTIO, &[option]).into_iter().filter(|line| line.starts_with("kernel ")).collect();
        assert_eq!(refused, NOTHING, "{option}");
    }
    assert_eq!(on(Transport::Com2, &["VIRTIO_PCI", "VIRTIO_CONSOLE", "SYSFS", "PCI"]), NOTHING);
}

#[test]
fn a_missing_option_that_every_run_needs_is_named_with_its_file() {
    assert_eq!(
        on(VIRTIO, &["BLK_DEV_INITRD"]),
        [
            "kernel linux cannot run this guest: linux/.config lacks CONFIG_BLK_DEV_INITRD=y: the kernel cannot unpack an initrd"
        ]
    );
    assert_eq!(
        on(Transport::Com2, &["SERIAL_8250", "VIRTIO_PCI", "VIRTIO_MENU"]),
        ["kernel linux cannot run this guest: linux/.config lacks CONFIG_SERIAL_8250=y, or CONFIG_VIRTIO_MENU=y, \
            CONFIG_VIRTIO_PCI=y and CONFIG_VIRTIO_CONSOLE=y: pid 1 cannot report to the host"]
    );
    assert_eq!(
        on(Transport::Com2, &["TTY", "SERIAL_8250", "VIRTIO_CONSOLE"]),
        ["kernel linux cannot run this guest: linux/.config lacks CONFIG_TTY=y and CONFIG_SERIAL_8250=y, or \
            CONFIG_TTY=y and CONFIG_VIRTIO_CONSOLE=y: pid 1 cannot report to the host"]
    );
    assert_eq!(
        on(Transport::VirtioMmio, &[]),
        [
            "kernel linux cannot run this guest: linux/.config lacks CONFIG_VIRTIO_MMIO=y: pid 1 cannot report to the host"
        ]
    );
}

#[test]
fn a_driver_that_is_a_module_counts_only_if_there_are_modules() {
    assert_eq!(on(VIRTIO, &["SERIAL_8250"]).len(), 0);
    let refused = on(Transport::Com2, &["SERIAL_8250"]);
    assert!(refused[0].contains("CONFIG_SERIAL_8250=y, or CONFIG_VIRTIO_CONSOLE=y: "), "{refused:?}");
}

#[test]
fn an_option_without_which_less_works_is_a_note() {
    assert_eq!(
        on(VIRTIO, &["SERIAL_8250_CONSOLE", "SERIAL_8250"]),
        ["no serial console: a panic cannot be told from a reset (linux/.config lacks CONFIG_SERIAL_8250=y and \
            CONFIG_SERIAL_8250_CONSOLE=y)"]
    );
    assert_eq!(
        on(VIRTIO, &["PRINTK"]),
        [
            "no kernel messages: a panic cannot be told from a reset, and the kernel's health is unknown (linux/.config lacks \
            CONFIG_PRINTK=y)"
        ]
    );
    assert!(on(VIRTIO, &["+CMDLINE_OVERRIDE"])[0].ends_with("(linux/.config lacks CONFIG_CMDLINE_OVERRIDE=n)"));
    assert_eq!(on(VIRTIO, &["PROC_FS"]).len(), 1);
    let two = RunSpec { boot: BootSpec { smp: Some("2".into()), ..BootSpec::default() }, ..RunSpec::default() };
    let notes = checked(&kernel(&["SMP"]), &two, &Requests::of_machine(&two, VIRTIO));
    assert_eq!(notes, ["the kernel uses a single CPU (linux/.config lacks CONFIG_SMP=y)"]);
}

#[test]
fn options_of_a_run_have_needs_of_their_own() {
    let tty = RunSpec { boot: BootSpec { tty: true, ..BootSpec::default() }, ..RunSpec::default() };
    assert_eq!(
        checked(&kernel(&["UNIX98_PTYS"]), &tty, &Requests::of_command(&tty)),
        [
            "kernel linux cannot run this guest: linux/.config lacks CONFIG_UNIX98_PTYS=y: pid 1 cannot create a terminal for \
            the command"
        ]
    );
    let with = |name: &str| {
        let modules = vec![ModuleRequest { name: name.into(), params: "".into() }];
        let spec = RunSpec { initrd: InitrdSpec { modules, ..InitrdSpec::default() }, ..RunSpec::default() };
        checked(&kernel(&["MODULES"]), &spec, &Requests::of_command(&spec)).len()
    };
    // A name may be built in; the lookup of the module reports that it is missing.
    assert_eq!((with("dummy"), with("./dummy.ko"), with("dummy.ko")), (0, 1, 1));
    let spec = RunSpec::default();
    let initrd =
        |compressions: &[Compression]| checked(&kernel(&[]), &spec, &Requests::of_initrd(compressions.iter().copied()));
    assert_eq!(initrd(&[Compression::None, Compression::Gzip]), NOTHING);
    assert_eq!(
        initrd(&[Compression::Gzip, Compression::Zstd]),
        [
            "kernel linux cannot run this guest: linux/.config lacks CONFIG_RD_ZSTD=y: the kernel cannot unpack an initrd \
            compressed with zstd"
        ]
    );
}

#[test]
fn without_a_complete_configuration_or_with_no_preflight_nothing_is_checked() {
    let spec = RunSpec::default();
    let requests = Requests::of_machine(&spec, VIRTIO);
    let lacking = kernel(&["BLK_DEV_INITRD"]);
    let none = Kernel { config: None, ..lacking.clone() };
    let minimal = Kernel { config: Some(Config::new("CONFIG_PVH=y\n".to_owned(), "defconfig")), ..lacking.clone() };
    assert_eq!((checked(&none, &spec, &requests), checked(&minimal, &spec, &requests)), (vec![], vec![]));
    let off = RunSpec { boot: BootSpec { preflight: false, ..BootSpec::default() }, ..RunSpec::default() };
    assert_eq!(checked(&lacking, &off, &requests), NOTHING);
    let report = Report::with(&none, true);
    assert!(report.usable && report.needs.iter().all(|row| row.state == State::Unknown && row.set.is_none()));
}

#[test]
fn the_report_has_the_whole_table() {
    let report = Report::with(&kernel(&["BLK_DEV_INITRD", "SERIAL_8250", "RD_GZIP"]), true);
    let missing = report.needs.iter().filter(|row| row.state == State::Missing);
    let missing: Vec<_> = missing.map(|row| (row.by.as_str(), row.set.as_deref().unwrap_or_default())).collect();
    assert_eq!(missing[..2], [("initrd", "CONFIG_BLK_DEV_INITRD=y"), ("channel (-M microvm)", "CONFIG_VIRTIO_MMIO=y")]);
    assert!(missing.contains(&("--initrd FILE.gz", "CONFIG_RD_GZIP=y")));
    assert!(!report.usable && report.configuration.as_deref() == Some("linux/.config"));
    let channel = report.needs.iter().find(|row| row.by == "channel").expect("a row");
    assert_eq!(channel.options, "CONFIG_SYSFS, CONFIG_VIRTIO_PCI and CONFIG_VIRTIO_CONSOLE, or CONFIG_SERIAL_8250");
    // Without gzip, only runs with such an initrd fail.
    assert!(Report::with(&kernel(&["RD_GZIP"]), true).usable);
    let text = serde_json::to_string(&report).expect("JSON");
    assert_eq!(serde_json::from_str::<Report>(&text).expect("read"), report);
}
