//! Shell commands that repeat a cell, with the manifest and without it.

use std::ffi::OsString;

use super::guest::kernel_ref;
use super::manifest::{BootWay, TestHealth};
use super::plan::{Cell, Plan};
use crate::guest::health::Policy;
use crate::qemu::argv::shell_line;
use crate::{
    initrd::spec::RunWhat,
    qemu::spec::{Accel, FirmwareRef},
    root::request::{KernelRef, ModuleRequest},
};

/// Returns `bootling test MANIFEST --only ID`. `words` are the arguments before `--only`.
pub fn test_command(words: &[OsString], id: &str) -> String {
    let words: Vec<OsString> = words.iter().cloned().chain(["--only".into(), id.into()]).collect();
    shell_line(&words).to_string_lossy().into_owned()
}

/// Returns a `bootling run` command for the same cell, from the current directory. It does not check patterns; the
/// reader must.
pub fn run_command(plan: &Plan, cell: &Cell) -> String {
    let mut words: Vec<OsString> = ["bootling".into(), "run".into()].to_vec();
    kernel_words(plan, cell, &mut words);
    machine_words(plan, cell, &mut words);
    test_words(plan, cell, &mut words);
    let line = shell_line(&words).to_string_lossy().into_owned();
    match plan.test(cell).stdin.as_str() {
        "" => line,
        stdin => format!("printf %s {} | {line}", shell_line(&[stdin.into()]).to_string_lossy()),
    }
}

fn push(words: &mut Vec<OsString>, option: &str, value: impl Into<OsString>) {
    words.extend([option.into(), value.into()]);
}

fn kernel_words(plan: &Plan, cell: &Cell, words: &mut Vec<OsString>) {
    let kernel = &plan.spec.kernels[cell.kernel];
    if let Some(KernelRef::Named(name)) = kernel_ref(kernel, &plan.spec.folder) {
        push(words, "--kernel", name);
    }
    let machine = &plan.spec.machines[cell.machine].boot;
    for append in machine.append.iter().cloned().chain(kernel.append.iter().map(OsString::from)) {
        push(words, "--append", append);
    }
}

fn machine_words(plan: &Plan, cell: &Cell, words: &mut Vec<OsString>) {
    let machine = &plan.spec.machines[cell.machine];
    let boot = &machine.boot;
    match boot.accel {
        Accel::Auto => {}
        Accel::Kvm => push(words, "--accel", "kvm"),
        Accel::Tcg => push(words, "--accel", "tcg"),
    }
    let named = [("--machine", &boot.machine), ("--cpu", &boot.cpu), ("--smp", &boot.smp)];
    for (option, value) in named {
        if let Some(value) = value {
            push(words, option, value);
        }
    }
    if let Some(qemu) = &boot.qemu {
        push(words, "--qemu", qemu);
    }
    if let Some(mib) = boot.memory_mib {
        push(words, "--memory", mib.to_string());
    }
    match &boot.firmware {
        FirmwareRef::Direct => {}
        FirmwareRef::Bios => push(words, "--firmware", "bios"),
        FirmwareRef::Uefi { secure: false } => push(words, "--firmware", "uefi"),
        FirmwareRef::Uefi { secure: true } => push(words, "--firmware", "uefi-secure"),
        FirmwareRef::File(path) => push(words, "--firmware", path),
    }
    if boot.fast_boot {
        words.push("--fast-boot".into());
    }
    for argument in &boot.qemu_args {
        let mut word = OsString::from("--qemu-arg=");
        word.push(argument);
        words.push(word);
    }
    modules("--base-kmod", &machine.base_modules, words);
}

fn test_words(plan: &Plan, cell: &Cell, words: &mut Vec<OsString>) {
    let test = plan.test(cell);
    match test.boot {
        BootWay::Warm => words.push("--warm".into()),
        BootWay::Cold => {}
    }
    if test.sysroot != *"/" {
        push(words, "--sysroot", &test.sysroot);
    }
    if !test.busybox {
        words.push("--no-busybox".into());
    }
    for directory in &test.lib_path {
        push(words, "--lib-path", directory);
    }
    for program in &test.binaries {
        push(words, "--with", program);
    }
    for copy in &test.copies {
        let mut word = copy.source.clone().into_os_string();
        if let Some(destination) = &copy.destination {
            word.push("=");
            word.push(destination);
        }
        push(words, "--copy", word);
    }
    modules("--kmod", &test.modules, words);
    for (name, value) in &test.env {
        push(words, "--env", format!("{name}={value}"));
    }
    if let Some(limit) = test.timeout {
        push(words, "--timeout", format!("{}ms", limit.as_millis()));
    }
    if let Some(limit) = test.idle_timeout {
        push(words, "--idle-timeout", format!("{}ms", limit.as_millis()));
    }
    health_words(&test.health, words);
    let entered = test.cwd.as_ref().map(|directory| {
        let directory = shell_line(&[directory.clone().into_os_string()]);
        format!("cd {} && ", directory.to_string_lossy())
    });
    match (&test.what, entered) {
        (RunWhat::Command(command), None) => {
            words.push("--".into());
            words.extend(command.iter().cloned());
        }
        (RunWhat::Command(command), Some(enter)) => {
            if let Some(program) = command.first() {
                push(words, "--with", program);
            }
            push(words, "--run", format!("{enter}{}", shell_line(command).to_string_lossy()));
        }
        (RunWhat::Line(line), enter) => {
            push(words, "--run", format!("{}{}", enter.unwrap_or_default(), line.to_string_lossy()));
        }
        (RunWhat::Shell, _) => {}
    }
}

fn health_words(health: &TestHealth, words: &mut Vec<OsString>) {
    let policy = match health.policy {
        Policy::Fail => "fail",
        Policy::Warn => "warn",
        Policy::Ignore => "ignore",
    };
    push(words, "--health", policy);
    for pattern in &health.allow {
        push(words, "--health-allow", pattern.as_str());
    }
    for kind in &health.deny {
        push(words, "--health-deny", kind.name());
    }
}

fn modules(option: &str, modules: &[ModuleRequest], words: &mut Vec<OsString>) {
    for ModuleRequest { name, params } in modules {
        let mut word = name.clone();
        if !params.is_empty() {
            word.push(" ");
            word.push(params);
        }
        push(words, option, word);
    }
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
            env = { A = "1" }
            timeout = 2
            [[test]]
            name = "two"
            run = "cat; exit 3"
            stdin = "in"
            cwd = "/tmp"
            boot = "cold"
        "#;
        let plan = Plan::new(spec(text), &Filter::default(), None).expect("a plan");
        let lines: Vec<String> = plan.cells.iter().map(|cell| run_command(&plan, cell)).collect();
        assert_eq!(
            lines[0],
            "bootling run --kernel ./linux.deb --append 'a b' --accel tcg --machine pc --smp 2 --memory 512 \
             --firmware uefi --qemu-arg=-device --qemu-arg=virtio-rng-pci --warm --with strace --copy x=/y \
             --kmod 'loop max_loop=4' --env A=1 --timeout 2000ms --health fail -- ./t 'it'\\''s'"
        );
        assert!(lines[1].starts_with("printf %s in | bootling run"), "{}", lines[1]);
        assert!(lines[1].ends_with("--run 'cd /tmp && cat; exit 3'"), "{}", lines[1]);
        let words = ["bootling", "test", "a b.toml"].map(Into::into);
        assert_eq!(test_command(&words, "one/k/m#2"), "bootling test 'a b.toml' --only 'one/k/m#2'");
    }
}
