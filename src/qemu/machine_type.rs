//! QEMU machine types: one table with what each type implies. A type needs a row only if it differs from the
//! default one.

use std::ffi::OsStr;

/// Transport between the host and pid 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A virtio-serial port on PCI.
    VirtioPci,
    /// A virtio-serial port on virtio-mmio (microvm).
    VirtioMmio,
    /// The second serial port.
    Com2,
    /// No channel: a foreign initrd, observed only through its console.
    None,
}

impl Transport {
    /// Name in `--json`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::VirtioPci => "virtio-serial-pci",
            Self::VirtioMmio => "virtio-serial-mmio",
            Self::Com2 => "com2",
            Self::None => "none",
        }
    }
}

/// Properties of a machine type.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MachineType {
    /// Name, or alias of the newest version.
    pub(crate) name: &'static str,
    /// Start of the full names of versioned types: `pc-q35` for `pc-q35-7.2`.
    pub(crate) full_name: Option<&'static str>,
    /// Bus of virtio devices, if it has one.
    pub(crate) virtio: Option<VirtioBus>,
    /// Number of serial ports that `-serial` can connect.
    pub(crate) serial_ports: u8,
    /// True if it starts with a BIOS by default or with `-bios`. OVMF also requires PCI.
    pub(crate) has_bios: bool,
    /// Device with the property `disable_s3`, which firmware in SMM requires (EDK2 `OvmfPkg/README`).
    pub(crate) power_device: Option<&'static str>,
    /// Driver of its IDE or AHCI controller on PCI, if it has one.
    pub(crate) ide_driver: Option<&'static str>,
    /// Firmware ROM that QEMU loads by itself.
    pub(crate) rom: &'static str,
}

/// Bus of virtio devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VirtioBus {
    /// PCI.
    Pci,
    /// virtio-mmio.
    Mmio,
}

/// Row of unknown machine types.
const DEFAULT: MachineType = MachineType {
    name: "",
    full_name: None,
    virtio: Some(VirtioBus::Pci),
    serial_ports: 2,
    has_bios: true,
    power_device: Some("ICH9-LPC"),
    ide_driver: Some("ahci"),
    rom: "bios-256k.bin",
};

/// Known machine types.
const MACHINE_TYPES: &[MachineType] = &[
    MachineType { name: "q35", full_name: Some("pc-q35"), ..DEFAULT },
    MachineType {
        name: "pc",
        full_name: Some("pc-i440fx"),
        power_device: Some("PIIX4_PM"),
        ide_driver: Some("ata_piix"),
        ..DEFAULT
    },
    MachineType { name: "isapc", virtio: None, power_device: None, ide_driver: None, rom: "bios.bin", ..DEFAULT },
    MachineType {
        name: "microvm",
        virtio: Some(VirtioBus::Mmio),
        serial_ports: 1,
        has_bios: false,
        power_device: None,
        ide_driver: None,
        rom: "bios-microvm.bin",
        ..DEFAULT
    },
    // A second PL011 requires QEMU 9.1.
    MachineType {
        name: "virt",
        full_name: Some("virt"),
        serial_ports: 1,
        has_bios: false,
        power_device: None,
        ide_driver: None,
        rom: "efi-virtio.rom",
        ..DEFAULT
    },
];

/// ROMs for any type.
const OPTION_ROMS: [&str; 7] = [
    "pvh.bin",
    "linuxboot.bin",
    "linuxboot_dma.bin",
    "multiboot.bin",
    "multiboot_dma.bin",
    "kvmvapic.bin",
    "vgabios-stdvga.bin",
];

/// Machine properties that name no host resource (QEMU `hw/core/machine.c`, `hw/i386/`).
const SAFE_PROPERTIES: [&str; 22] = [
    "acpi",
    "dump-guest-core",
    "graphics",
    "hpet",
    "i8042",
    "ioapic2",
    "isa-serial",
    "kernel-irqchip",
    "max-ram-below-4g",
    "mem-merge",
    "nvdimm",
    "pcie",
    "pic",
    "pit",
    "rtc",
    "sata",
    "smbus",
    "smm",
    "suppress-vmdesc",
    "usb",
    "vmport",
    "x-option-roms",
];

impl MachineType {
    /// Returns the row of a `-machine` value.
    pub(crate) fn of(machine: &OsStr) -> &'static Self {
        let text = machine.to_string_lossy();
        let name = type_name(&text);
        let is_version = |prefix: &str| name.strip_prefix(prefix).is_some_and(|version| version.starts_with('-'));
        let mut rows = MACHINE_TYPES.iter();
        rows.find(|row| row.name == name || row.full_name.is_some_and(is_version)).unwrap_or(&DEFAULT)
    }

    /// Returns true if it has PCI.
    pub(crate) fn has_pci(&self) -> bool {
        self.virtio == Some(VirtioBus::Pci)
    }

    /// Returns the fastest channel to a guest that has, or has no, driver for virtio-serial.
    pub(crate) fn transport(&self, has_driver: bool) -> Transport {
        match self.virtio {
            Some(_) if !has_driver && self.serial_ports > 1 => Transport::Com2,
            Some(VirtioBus::Pci) => Transport::VirtioPci,
            Some(VirtioBus::Mmio) => Transport::VirtioMmio,
            None => Transport::Com2,
        }
    }
}

/// Returns the ROMs that QEMU may load by itself (`hw/i386`, `pc-bios/`).
pub(crate) fn roms() -> impl Iterator<Item = &'static str> {
    let is_new = |(at, row): &(usize, &MachineType)| MACHINE_TYPES[..*at].iter().all(|before| before.rom != row.rom);
    MACHINE_TYPES.iter().enumerate().filter(is_new).map(|(_, row)| row.rom).chain(OPTION_ROMS)
}

/// Returns the type in a `-machine` value, which is the first word or the property `type`.
fn type_name(machine: &str) -> &str {
    let first = machine.split(',').next().unwrap_or_default();
    machine.split(',').find_map(|word| word.strip_prefix("type=")).unwrap_or(first)
}

/// Resolves a `-machine` value to its full name, as this version of QEMU (`7.2.22`) does: firmware descriptors use full
/// names, command lines use aliases.
pub(crate) fn full_name(machine: &OsStr, version: &str) -> String {
    let (text, row) = (machine.to_string_lossy(), MachineType::of(machine));
    let mut numbers = version.split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    match (type_name(&text), row.full_name) {
        (name, Some(prefix)) if name == row.name => format!("{prefix}-{major}.{minor}"),
        (name, _) => name.to_owned(),
    }
}

/// Returns true for a machine type with properties that name no host resource.
pub(crate) fn is_safe(machine: &str, is_word: impl Fn(&str) -> bool) -> bool {
    let mut words = machine.split(',');
    words.next().is_some_and(&is_word)
        && words.all(|word| {
            let (name, value) = word.split_once('=').unwrap_or((word, "on"));
            SAFE_PROPERTIES.contains(&name) && is_word(value)
        })
}

#[cfg(test)]
mod tests {
    use super::{MachineType, Transport, VirtioBus, full_name, roms};
    use std::ffi::OsStr;

    #[test]
    fn aliases_resolve_to_the_full_names_in_descriptors() {
        for (machine, name) in [
            ("q35", "pc-q35-7.2"),
            ("virt", "virt-7.2"),
            ("q35,smm=off", "pc-q35-7.2"),
            ("smm=off,type=pc", "pc-i440fx-7.2"),
            ("pc-q35-6.0,usb=on", "pc-q35-6.0"),
            ("microvm", "microvm"),
            ("", ""),
        ] {
            assert_eq!(full_name(OsStr::new(machine), "7.2.22"), name, "{machine}");
        }
        assert_eq!(full_name(OsStr::new("q35"), "?"), "pc-q35-?.");
    }

    #[test]
    fn each_spelling_of_a_type_has_its_row() {
        for (machine, name) in [
            ("q35,smm=off", "q35"),
            ("pc-q35-7.2", "q35"),
            ("virt-7.2,gic-version=3", "virt"),
            ("pc-i440fx-2.1,usb=on", "pc"),
            ("usb=off,type=isapc", "isapc"),
            ("microvm", "microvm"),
            ("microvm,rtc=on", "microvm"),
            ("microvmx", ""),
            ("pc-q35", ""),
            ("x-remote", ""),
            ("", ""),
        ] {
            assert_eq!(MachineType::of(OsStr::new(machine)).name, name, "{machine}");
        }
    }

    #[test]
    fn the_channel_depends_on_the_buses_and_on_the_guests_drivers() {
        for (machine, has_driver, transport) in [
            ("q35", true, Transport::VirtioPci),
            ("q35", false, Transport::Com2),
            ("virt", false, Transport::VirtioPci),
            ("unknown", true, Transport::VirtioPci),
            ("isapc", true, Transport::Com2),
            ("isapc", false, Transport::Com2),
            // A single serial port, which is the console.
            ("microvm", true, Transport::VirtioMmio),
            ("microvm", false, Transport::VirtioMmio),
        ] {
            let row = MachineType::of(OsStr::new(machine));
            assert_eq!(row.transport(has_driver), transport, "{machine} {has_driver}");
            assert_eq!(row.has_pci(), row.virtio == Some(VirtioBus::Pci));
        }
    }

    #[test]
    fn each_rom_is_listed_once() {
        let roms: Vec<_> = roms().collect();
        assert_eq!(roms[..4], ["bios-256k.bin", "bios.bin", "bios-microvm.bin", "efi-virtio.rom"]);
        assert_eq!(roms.len(), 11);
    }
}
