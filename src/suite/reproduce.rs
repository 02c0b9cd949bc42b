//! Shell commands that repeat a cell, with the manifest and without it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::guest::kernel_ref;
use super::manifest::BootWay;
use super::plan::{Cell, Plan};
use crate::guest::health::Policy;
use crate::qemu::argv::shell_line;
use crate::{
    qemu::spec::{Accel, BootSpec, FirmwareRef},
    root::request::{Copy, KernelRef, ModuleRequest},
    root::spec::RunWhat,
};

/// Returns `bootling test MANIFEST --only ID`. `command_line` are the arguments before `--only`.
pub(crate) fn test_command(command_line: &[OsString], id: &str) -> String {
    quoted(&[command_line, &["--only".into(), id.into()]].concat())
}

/// Returns a `bootling run` command for the same cell, from the current directory. It does not check patterns; the
/// reader must.
pub fn run_command(plan: &Plan, cell: &Cell) -> String {
    let mut line = Arguments(vec!["bootling".into(), "run".into()]);
    let (kernel, machine) = (&plan.spec.kernels[cell.kernel], &plan.spec.machines[cell.machine]);
    if let Some(KernelRef::Named(name)) = kernel_ref(plan, cell.kernel, cell.machine) {
        line.option("--kernel", [name]);
    }
    line.option("--arch", plan.arch(cell.kernel, cell.machine).map(|arch| arch.to_string()));
    line.option("--append", &machine.boot.append);
    line.option("--append", &kernel.append);
    line.option("--append", &plan.test(cell).boot_args);
    line.machine(&machine.boot);
    line.option("--base-kmod", machine.base_modules.iter().map(module));
    line.test(plan, cell);
    let line = quoted(&line.0);
    match &plan.test(cell).command.stdin[..] {
        [] => line,
        stdin => format!("printf %s {} | {line}", quoted(&[OsStr::from_bytes(stdin).to_owned()])),
    }
}

fn quoted(words: &[OsString]) -> String {
    shell_line(words).to_string_lossy().into_owned()
}

/// Arguments of `bootling run`.
struct Arguments(Vec<OsString>);

impl Arguments {
    /// Appends an option for each value.
    fn option(&mut self, name: &str, values: impl IntoIterator<Item = impl Into<OsString>>) {
        values.into_iter().for_each(|value| self.0.extend([name.into(), value.into()]));
    }

    fn flag(&mut self, name: &str, is_set: bool) {
        self.0.extend(is_set.then(|| name.into()));
    }

    fn machine(&mut self, boot: &BootSpec) {
        let accelerator = match boot.accel {
            Accel::Auto => None,
            Accel::Kvm => Some("kvm"),
            Accel::Tcg => Some("tcg"),
        };
        let firmware = match &boot.firmware {
            FirmwareRef::Direct => None,
            FirmwareRef::Bios => Some("bios".as_ref()),
            FirmwareRef::Uefi { secure: false } => Some("uefi".as_ref()),
            FirmwareRef::Uefi { secure: true } => Some("uefi-secure".as_ref()),
            FirmwareRef::File(path) => Some(path.as_os_str()),
        };
        self.option("--accel", accelerator);
        self.option("--machine", &boot.machine);
        self.option("--cpu", &boot.cpu);
        self.option("--smp", &boot.smp);
        self.option("--qemu", &boot.qemu);
        self.option("--memory", boot.memory_mib.map(|mib| mib.to_string()));
        self.option("--firmware", firmware);
        self.option("--firmware-vars", &boot.firmware_vars);
        self.flag("--fast-boot", boot.fast_boot);
        self.flag("--no-preflight", !boot.preflight);
        self.0.extend(boot.qemu_args.iter().map(|argument| joined("--qemu-arg", "=", argument)));
    }

    fn test(&mut self, plan: &Plan, cell: &Cell) {
        let test = plan.test(cell);
        let command = &test.command;
        let policy = match test.health.policy {
            Policy::Fail => "fail",
            Policy::Warn => "warn",
            Policy::Ignore => "ignore",
        };
        self.flag("--warm", test.boot == BootWay::Warm);
        self.option("--sysroot", Some(&test.sysroot).filter(|root| root.as_os_str() != "/"));
        self.flag("--no-busybox", !test.busybox);
        self.option("--lib-path", &test.lib_path);
        self.option("--with", &command.binaries);
        self.option("--copy", command.copies.iter().map(copy));
        self.option("--kmod", command.modules.iter().map(module));
        self.flag("--no-autoload", command.autoload == Some(false));
        self.option("--env", command.env.iter().map(|(name, value)| joined(name, "=", value)));
        self.option("--disk", test.disks.iter().map(ToString::to_string));
        self.option("--net", test.net.iter().map(ToString::to_string));
        self.option("--publish", test.publish.iter().map(ToString::to_string));
        self.option("--user", &command.user);
        self.option("--hostname", &command.hostname);
        self.option("--root", command.root.as_ref().map(ToString::to_string));
        self.option("--share", command.shares.iter().map(ToString::to_string));
        self.option("--timeout", command.timeout.map(|limit| format!("{}ms", limit.as_millis())));
        self.option("--idle-timeout", command.idle.map(|limit| format!("{}ms", limit.as_millis())));
        self.option("--hang-report", command.hang_report.word());
        self.option("--health", [policy]);
        self.option("--health-allow", test.health.allow.iter().map(|pattern| pattern.as_str()));
        self.option("--health-deny", test.health.deny.iter().map(|kind| kind.name()));
        self.option("--fail-on", test.health.fail_on.iter().map(|kind| kind.name()));
        let enter = command.cwd.as_ref().map(|directory| format!("cd {} && ", quoted(&[directory.into()])));
        match (&command.what, enter) {
            (RunWhat::Command(words), None) => {
                self.0.push("--".into());
                self.0.extend(words.iter().cloned());
            }
            (RunWhat::Command(words), Some(enter)) => {
                self.option("--with", words.first());
                self.option("--run", [format!("{enter}{}", quoted(words))]);
            }
            (RunWhat::Line(line), enter) => self.option("--run", [joined(enter.unwrap_or_default(), "", line)]),
            (RunWhat::Shell, _) => {}
        }
    }
}

fn joined(before: impl AsRef<OsStr>, separator: &str, after: impl AsRef<OsStr>) -> OsString {
    [before.as_ref(), separator.as_ref(), after.as_ref()].into_iter().collect()
}

fn copy(copy: &Copy) -> OsString {
    match &copy.destination {
        None => copy.source.clone().into(),
        Some(destination) => joined(&copy.source, "=", destination),
    }
}

fn module(module: &ModuleRequest) -> OsString {
    if module.params.is_empty() { module.name.clone() } else { joined(&module.name, " ", &module.params) }
}

#[cfg(test)]
mod tests {
    use super::{run_command, test_command};
    use crate::suite::plan::{Filter, Plan};
    use crate::suite::tests::fixtures::spec;

    #[test]
    fn a_cell_is_repeated_by_one_command() {
        let text = r#"
            [kernels]
            k = { kernel = "./linux.deb", append = "a b" }
            [machines]
            m = { machine = "pc", smp = 2, memory = "512M", devices = "virtio-rng-pci", firmware = "uefi", accel = "tcg" }
            [[test]]
            name = "one"
            command = ["./t", "it's"]
            with = "strace"
            copy = "x=/y"
            kmod = "loop max_loop=4"
            autoload = false
            env = { A = "1" }
            timeout = 2
            [[test]]
            name = "two"
            run = "cat; exit 3"
            stdin = "in"
            cwd = "/tmp"
            boot = "cold"
            disks = ["64M,bus=scsi", "disk.img"]
            net = "user,restrict=on"
            publish = "0:80"
            user = "nobody"
            boot-args = ["one=1", "two"]
        "#;
        let plan = Plan::new(spec(text), &Filter::default(), None).expect("a plan");
        let lines: Vec<String> = plan.cells.iter().map(|cell| run_command(&plan, cell)).collect();
        assert_eq!(
            lines[0],
            "bootling run --kernel ./linux.deb --append 'a b' --accel tcg --machine pc --smp 2 --memory 512 \
             --firmware uefi --qemu-arg=-device --qemu-arg=virtio-rng-pci --warm --with strace --copy x=/y \
             --kmod 'loop max_loop=4' --no-autoload --env A=1 --timeout 2000ms --health fail -- ./t 'it'\\''s'"
        );
        assert!(lines[1].starts_with("printf %s in | bootling run"), "{}", lines[1]);
        let devices =
            "--disk 64M,bus=scsi --disk disk.img --net user,restrict=on --publish 127.0.0.1:0:80 --user nobody";
        assert!(lines[1].contains(devices), "{}", lines[1]);
        assert!(lines[1].contains(" --append 'a b' --append one=1 --append two "), "{}", lines[1]);
        assert!(lines[1].ends_with("--run 'cd /tmp && cat; exit 3'"), "{}", lines[1]);
        let words = ["bootling", "test", "a b.toml"].map(Into::into);
        assert_eq!(test_command(&words, "one/k/m#2"), "bootling test 'a b.toml' --only 'one/k/m#2'");
    }
}
