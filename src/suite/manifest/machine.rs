//! `[machines]`: virtual machines.

use std::ffi::OsString;
use std::path::Path;

use toml::de::DeValue;

use super::table::Table;
use super::{DEFAULT, name, program_path, test};
use crate::arch::Arch;
use crate::{
    qemu::spec::{Accel, BootSpec, FirmwareRef},
    root::request::ModuleRequest,
};

/// A machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MachineSpec {
    /// Name.
    pub(crate) name: String,
    /// Machine options; `append` does not include the kernel's arguments.
    pub(crate) boot: BootSpec,
    /// Modules that are loaded before the tests.
    pub(crate) base_modules: Vec<ModuleRequest>,
    /// Tags of all cells of this machine.
    pub(crate) tags: Vec<String>,
}

/// Keys of a machine on top of the defaults.
#[derive(Debug, Clone, Default)]
struct Settings {
    boot: BootSpec,
    devices: Vec<OsString>,
    base_modules: Vec<ModuleRequest>,
}

/// Reads all machines.
pub(super) fn read_all(
    table: Option<Table<'_, '_>>,
    defaults: Option<&mut Table<'_, '_>>,
    folder: &Path,
) -> Vec<MachineSpec> {
    let defaults = defaults.map(|keys| Settings::default().overlay(keys, folder)).unwrap_or_default();
    let mut machines = table.map(|table| read_table(&table, &defaults, folder)).unwrap_or_default();
    if machines.is_empty() {
        machines.push(defaults.into_machine(DEFAULT.to_owned(), Vec::new()));
    }
    machines
}

fn read_table(table: &Table<'_, '_>, defaults: &Settings, folder: &Path) -> Vec<MachineSpec> {
    let document = table.document();
    let entries = table.entries().into_iter();
    let machines = entries.filter_map(|(key, value)| {
        name::check(document, &key.value, &key.span);
        let DeValue::Table(inner) = value.get_ref() else {
            document.error(&value.span(), "invalid machine: expected a table, such as { cpu = \"qemu64\", smp = 2 }");
            return None;
        };
        let mut keys = Table::new(document, inner, key.span);
        let tags = name::tags(&mut keys);
        let machine = defaults.clone().overlay(&mut keys, folder).into_machine(key.value, tags);
        keys.finish();
        Some(machine)
    });
    machines.collect()
}

impl Settings {
    /// Reads a table: single values replace the present ones, lists are appended.
    fn overlay(mut self, keys: &mut Table<'_, '_>, folder: &Path) -> Self {
        const ACCELERATORS: [(&str, Accel); 3] = [("auto", Accel::Auto), ("kvm", Accel::Kvm), ("tcg", Accel::Tcg)];
        let boot = &mut self.boot;
        boot.arch = keys.parsed("arch", Arch::for_guests).or(boot.arch);
        boot.machine = keys.text("machine").map(Into::into).or(boot.machine.take());
        boot.cpu = keys.text("cpu").map(Into::into).or(boot.cpu.take());
        boot.memory_mib = keys.memory_mib("memory").or(boot.memory_mib);
        boot.smp = keys.number_or_text("smp").map(|smp| smp.value.into()).or(boot.smp.take());
        boot.qemu = keys.text("qemu").map(|qemu| program_path(folder, qemu).into()).or(boot.qemu.take());
        boot.accel = keys.one_of("accel", &ACCELERATORS).unwrap_or(boot.accel);
        boot.fast_boot = keys.flag("fast-boot").unwrap_or(boot.fast_boot);
        boot.preflight = keys.flag("preflight").unwrap_or(boot.preflight);
        if let Some(firmware) = keys.parsed("firmware", FirmwareRef::read) {
            boot.firmware = match firmware {
                FirmwareRef::File(path) => FirmwareRef::File(folder.join(path)),
                FirmwareRef::Direct | FirmwareRef::Bios | FirmwareRef::Uefi { .. } => firmware,
            };
        }
        let vars = keys.text("firmware-vars").map(|path| folder.join(path));
        boot.firmware_vars = vars.or(boot.firmware_vars.take());
        boot.append.extend(keys.texts("append").into_iter().map(Into::into));
        boot.qemu_args.extend(keys.texts("qemu-args").into_iter().map(Into::into));
        self.devices.extend(keys.texts("devices").into_iter().map(Into::into));
        self.base_modules.extend(test::modules(keys, "base-kmod", folder));
        self
    }

    fn into_machine(self, name: String, tags: Vec<String>) -> MachineSpec {
        let Self { mut boot, devices, base_modules } = self;
        let devices = devices.into_iter().flat_map(|device| ["-device".into(), device]);
        boot.qemu_args = devices.chain(boot.qemu_args).collect();
        MachineSpec { name, boot, base_modules, tags }
    }
}
