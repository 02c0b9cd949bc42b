//! `[machines]`: the machines that kernels run on.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::keys::{Keys, Said};
use super::{DEFAULT, case, name, named};
use crate::{
    qemu::spec::{Accel, BootSpec, FirmwareRef},
    root::request::ModuleRequest,
};

/// A machine of the manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineSpec {
    /// Machine name.
    pub name: String,
    /// Boot options; `append` excludes the kernel's own arguments.
    pub boot: BootSpec,
    /// Modules that are loaded before any test.
    pub base_modules: Vec<ModuleRequest>,
    /// Tags, which all its cells inherit.
    pub tags: Vec<String>,
}

/// Settings of a machine, or of `[defaults]`; unset ones are empty.
#[derive(Debug, Clone, Default)]
struct Settings {
    machine: Option<String>,
    cpu: Option<String>,
    memory_mib: Option<u64>,
    smp: Option<String>,
    firmware: Option<FirmwareRef>,
    qemu: Option<String>,
    accel: Option<Accel>,
    fast_boot: Option<bool>,
    devices: Vec<String>,
    qemu_args: Vec<String>,
    append: Vec<String>,
    base_modules: Vec<ModuleRequest>,
}

/// Reads all machines and merges each with the defaults.
pub(super) fn read_all(
    table: Option<Keys<'_, '_>>,
    defaults: Option<&mut Keys<'_, '_>>,
    folder: &Path,
) -> Vec<MachineSpec> {
    let defaults = defaults.map(|keys| settings(keys, folder)).unwrap_or_default();
    let mut machines = Vec::new();
    if let Some(table) = table {
        for (Said { value: name, at }, value) in table.entries() {
            name::check(table.sheet(), &name, &at);
            let DeValue::Table(inner) = value.get_ref() else {
                table.sheet().wrong(&value.span(), "a machine must be a table, such as { cpu = \"qemu64\", smp = 2 }");
                continue;
            };
            let mut keys = Keys::new(table.sheet(), inner, at);
            let tags = name::tags(&mut keys);
            machines.push(meant(name, tags, &settings(&mut keys, folder), &defaults));
            keys.done();
        }
    }
    if machines.is_empty() {
        machines.push(meant(DEFAULT.to_owned(), Vec::new(), &Settings::default(), &defaults));
    }
    machines
}

fn settings(keys: &mut Keys<'_, '_>, folder: &Path) -> Settings {
    const ACCELS: [(&str, Accel); 3] = [("auto", Accel::Auto), ("kvm", Accel::Kvm), ("tcg", Accel::Tcg)];
    Settings {
        machine: keys.text("machine").map(|said| said.value),
        cpu: keys.text("cpu").map(|said| said.value),
        memory_mib: keys.memory_mib("memory"),
        smp: keys.number_or_text("smp").map(|said| said.value),
        firmware: keys.read("firmware", |text| firmware(text, folder)),
        qemu: keys.text("qemu").map(|said| named(folder, said.value)),
        accel: keys.one_of("accel", &ACCELS),
        fast_boot: keys.flag("fast-boot"),
        devices: keys.words("devices"),
        qemu_args: keys.words("qemu-args"),
        append: keys.words("append"),
        base_modules: case::modules(keys, "base-kmod", folder),
    }
}

/// Parses a firmware in the format of `--firmware`.
fn firmware(text: &str, folder: &Path) -> Result<FirmwareRef, String> {
    FirmwareRef::read(text).map(|firmware| match firmware {
        FirmwareRef::File(path) => FirmwareRef::File(folder.join(path)),
        FirmwareRef::Direct | FirmwareRef::Bios | FirmwareRef::Uefi { .. } => firmware,
    })
}

/// Merges settings: a single value of the machine overrides the default; lists are appended to those of the defaults.
fn meant(name: String, tags: Vec<String>, own: &Settings, defaults: &Settings) -> MachineSpec {
    let all = |of: fn(&Settings) -> &Vec<String>| of(defaults).iter().chain(of(own)).map(OsString::from);
    let devices = all(|settings| &settings.devices).flat_map(|device| ["-device".into(), device]);
    let boot = BootSpec {
        qemu: own.qemu.as_ref().or(defaults.qemu.as_ref()).map(PathBuf::from),
        accel: own.accel.or(defaults.accel).unwrap_or(Accel::Auto),
        machine: own.machine.as_ref().or(defaults.machine.as_ref()).map(OsString::from),
        cpu: own.cpu.as_ref().or(defaults.cpu.as_ref()).map(OsString::from),
        smp: own.smp.as_ref().or(defaults.smp.as_ref()).map(OsString::from),
        memory_mib: own.memory_mib.or(defaults.memory_mib),
        append: all(|settings| &settings.append).collect(),
        fast_boot: own.fast_boot.or(defaults.fast_boot).unwrap_or(false),
        firmware: own.firmware.as_ref().or(defaults.firmware.as_ref()).cloned().unwrap_or(FirmwareRef::Direct),
        qemu_args: devices.chain(all(|settings| &settings.qemu_args)).collect(),
        ..BootSpec::default()
    };
    let base_modules = [&defaults.base_modules[..], &own.base_modules].concat();
    MachineSpec { name, boot, base_modules, tags }
}
