//! Disks: `--disk SIZE|FILE[,ro|rw][,KEY=VALUE...]`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::option::{is_property, split};
use crate::format::SectorSize;
use crate::qemu::drive::Format;
use crate::qemu::machine_type::VirtioBus;

/// Longest serial number of virtio-blk, ATA and NVMe.
const SERIAL: usize = 20;
/// Maximum size of a scratch disk: that of a file on ext4.
const LARGEST: u64 = 16 << 40;
/// Properties that bootling sets.
const OWN: [&str; 7] = ["drive", "id", "driver", "nsid", "file", "share-rw", "bootindex"];

/// Bus of a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum DiskBus {
    /// virtio-blk.
    #[default]
    Virtio,
    /// An NVMe namespace. Disks with the same serial number are namespaces of one controller.
    Nvme,
    /// A disk on virtio-scsi.
    Scsi,
    /// A disk on the machine's IDE or AHCI controller.
    Ide,
}

impl DiskBus {
    /// All buses.
    pub(crate) const ALL: [Self; 4] = [Self::Virtio, Self::Nvme, Self::Scsi, Self::Ide];

    /// Name of the option's value, of links in the guest, and in `--json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Virtio => "virtio",
            Self::Nvme => "nvme",
            Self::Scsi => "scsi",
            Self::Ide => "ide",
        }
    }
}

/// Content of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DiskSource {
    /// An empty disk of this size in bytes, which is deleted when the guest ends.
    Scratch(u64),
    /// An image.
    Image {
        /// The file.
        path: PathBuf,
        /// Handling of the guest's writes.
        writes: Writes,
    },
}

/// Handling of the guest's writes to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Writes {
    /// They go to a temporary overlay.
    Discarded,
    /// The guest sees a read-only disk.
    Refused,
    /// They go to the image.
    Kept,
}

/// A disk as the user requested it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DiskRequest {
    /// Content.
    pub source: DiskSource,
    /// Bus.
    pub bus: DiskBus,
    /// Format of an image; `None`: detected.
    pub format: Option<Format>,
    /// Serial number; `None`: `disk0` for the first disk, and so on.
    pub serial: Option<String>,
    /// Logical sector size.
    pub sector: SectorSize,
    /// Further properties of QEMU's device.
    pub properties: Vec<(String, String)>,
    /// The request as typed, for messages.
    typed: String,
}

/// A disk with all its properties determined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The request.
    pub request: DiskRequest,
    /// Serial number.
    pub serial: String,
    /// Format.
    pub format: Format,
    /// NVMe namespace; 0 on other buses.
    pub(crate) namespace: u32,
    /// Capacity in bytes; `None` if only QEMU can determine it.
    pub bytes: Option<u64>,
    /// Bus of virtio devices.
    pub(crate) virtio: VirtioBus,
}

impl fmt::Display for DiskRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.typed)
    }
}

impl FromStr for DiskRequest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = split(text).into_iter();
        let first = parts.next().filter(|first| !first.is_empty());
        let first = first.ok_or("missing size or file: expected SIZE, such as 64M, or FILE")?;
        let size = size(&first)?;
        let mut request = Self {
            source: DiskSource::Scratch(size.unwrap_or_default()),
            bus: DiskBus::default(),
            format: None,
            serial: None,
            sector: SectorSize::S512,
            properties: Vec::new(),
            typed: text.to_owned(),
        };
        let mut writes = None;
        for part in parts {
            match part.split_once('=') {
                Some((name, value)) => request.set(name, value)?,
                None if matches!(part.as_str(), "ro" | "rw") && writes.is_none() => writes = Some(part),
                None => {
                    return Err(format!("{part:?}: expected ro, rw or KEY=VALUE (a comma in a file name is doubled)"));
                }
            }
        }
        let writes = match writes.as_deref() {
            Some("ro") => Writes::Refused,
            Some(_) => Writes::Kept,
            None => Writes::Discarded,
        };
        match size {
            None => request.source = DiskSource::Image { path: first.into(), writes },
            Some(_) if writes != Writes::Discarded || request.format.is_some() => {
                return Err(format!(
                    "{first} is the size of a scratch disk, which has no ro, rw or format; a file of this name is ./{first}"
                ));
            }
            Some(bytes) if bytes % request.sector.length() as u64 != 0 => {
                return Err(format!(
                    "{bytes} bytes are not a multiple of the sector size, {}",
                    request.sector.length()
                ));
            }
            Some(_) => {}
        }
        if request.bus == DiskBus::Ide && writes == Writes::Refused {
            return Err("an IDE disk cannot be read-only: use bus=virtio or scsi, or omit ro (the file is not changed without rw)".to_owned());
        }
        if request.bus == DiskBus::Ide && request.sector == SectorSize::S4096 {
            return Err("an IDE disk has sectors of 512 bytes: use bus=virtio, nvme or scsi".to_owned());
        }
        Ok(request)
    }
}

impl DiskRequest {
    /// Returns the request with a relative image path below `folder`.
    pub(crate) fn below(mut self, folder: &Path) -> Self {
        if let DiskSource::Image { path, .. } = &mut self.source {
            let escaped = |path: &Path| path.to_string_lossy().replace(',', ",,");
            let options = self.typed.get(escaped(path).len()..).unwrap_or_default().to_owned();
            *path = folder.join(&*path);
            self.typed = escaped(path) + &options;
        }
        self
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "bus" => {
                let bus = DiskBus::ALL.into_iter().find(|bus| bus.name() == value);
                self.bus = bus.ok_or_else(|| format!("no bus {value:?}: expected virtio, nvme, scsi or ide"))?;
            }
            "format" => {
                let format = Format::ALL.into_iter().find(|format| format.name() == value);
                let formats = Format::ALL.map(Format::name).join(", ");
                self.format = Some(format.ok_or_else(|| format!("no format {value:?}: expected one of {formats}"))?);
            }
            "serial" => {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
                if value.is_empty() || value.len() > SERIAL || !value.bytes().all(plain) || value.starts_with('.') {
                    return Err(format!(
                        "invalid serial number {value:?}: expected 1 to {SERIAL} letters, digits, '.', '_' and '-'"
                    ));
                }
                self.serial = Some(value.to_owned());
            }
            "sector" => {
                self.sector = match value {
                    "512" => SectorSize::S512,
                    "4096" => SectorSize::S4096,
                    _ => return Err(format!("invalid sector size {value:?}: expected 512 or 4096")),
                };
            }
            own if OWN.contains(&own) => return Err(format!("{own} is set by bootling")),
            name if !is_property(name) || value.is_empty() => {
                return Err(format!("invalid property \"{name}={value}\": expected NAME=VALUE, as for QEMU's -device"));
            }
            name => self.properties.push((name.to_owned(), value.to_owned())),
        }
        Ok(())
    }
}

/// Parses a size in bytes: `4096`, `64M`, `1G`; `None` if the text is a file name.
fn size(text: &str) -> Result<Option<u64>, String> {
    let (digits, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let shift = match unit.to_ascii_uppercase().as_str() {
        _ if digits.is_empty() => return Ok(None),
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Ok(None),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    match bytes {
        Some(bytes @ 1..=LARGEST) => Ok(Some(bytes)),
        Some(_) | None => Err(format!("invalid size {text}: expected 1 byte to 16T, such as 64M or 1G")),
    }
}

/// Returns each request with its serial number and NVMe namespace.
pub(crate) fn identities(requests: &[DiskRequest]) -> impl Iterator<Item = (&DiskRequest, String, u32)> {
    let serial = |(at, request): (usize, &DiskRequest)| request.serial.clone().unwrap_or_else(|| format!("disk{at}"));
    requests.iter().enumerate().map(move |(at, request)| {
        let own = serial((at, request));
        let is_twin = |other: &(usize, &DiskRequest)| other.1.bus == request.bus && serial(*other) == own;
        let before = requests.iter().enumerate().take(at).filter(is_twin).count();
        let namespace =
            if request.bus == DiskBus::Nvme { u32::try_from(before).unwrap_or(u32::MAX - 1) + 1 } else { 0 };
        (request, own, namespace)
    })
}

impl Disk {
    /// Returns true if the guest's writes change a file.
    pub(crate) fn is_writable_image(&self) -> bool {
        matches!(self.request.source, DiskSource::Image { writes: Writes::Kept, .. })
    }

    /// Returns the name of its link in the guest, below `/dev/disk/by-id`.
    pub(crate) fn link(&self) -> String {
        let suffix = if self.namespace > 1 { format!("-ns{}", self.namespace) } else { String::new() };
        format!("{}-{}{suffix}", self.request.bus.name(), self.serial)
    }

    /// Returns the value of QEMU's `-drive`, up to the name of the file.
    pub(crate) fn drive_option(&self, number: usize) -> String {
        let how = match &self.request.source {
            DiskSource::Scratch(_) => "cache=unsafe",
            DiskSource::Image { writes: Writes::Discarded, .. } => "snapshot=on",
            DiskSource::Image { writes: Writes::Refused, .. } => "readonly=on",
            DiskSource::Image { writes: Writes::Kept, .. } => "cache=writeback",
        };
        // If the host's disk is full, the guest gets an I/O error, and its machine does not stop.
        let errors = if self.request.bus == DiskBus::Nvme { "" } else { ",werror=report,rerror=report" };
        format!("if=none,id=disk{number},format={},{how},discard=unmap{errors},file=", self.format.name())
    }

    /// Returns the values of QEMU's `-device` options; a controller precedes the first of its disks.
    pub(crate) fn devices(&self, number: usize, before: &[Self]) -> Vec<String> {
        let on = |pci: &str, mmio: &str| match self.virtio {
            VirtioBus::Pci => pci.to_owned(),
            VirtioBus::Mmio => mmio.to_owned(),
        };
        let serial = &self.serial;
        let (controller, device) = match self.request.bus {
            DiskBus::Virtio => (None, format!("{},serial={serial}", on("virtio-blk-pci", "virtio-blk-device"))),
            DiskBus::Ide => (None, format!("ide-hd,serial={serial}")),
            DiskBus::Scsi => {
                let is_first = before.iter().all(|other| other.request.bus != DiskBus::Scsi);
                let controller = on("virtio-scsi-pci,id=scsi", "virtio-scsi-device,id=scsi");
                (is_first.then_some(controller), format!("scsi-hd,bus=scsi.0,serial={serial}"))
            }
            DiskBus::Nvme => {
                let controller = format!("nvme,id=nvme-{serial},serial={serial}");
                let device = format!("nvme-ns,bus=nvme-{serial},nsid={}", self.namespace);
                ((self.namespace == 1).then_some(controller), device)
            }
        };
        let mut device = format!("{device},drive=disk{number}");
        if self.request.sector == SectorSize::S4096 {
            device.push_str(",logical_block_size=4096,physical_block_size=4096");
        }
        for (name, value) in &self.request.properties {
            device.extend([",", name, "=", &value.replace(',', ",,")]);
        }
        controller.into_iter().chain([device]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{DiskBus, DiskRequest, DiskSource, Writes};
    use crate::format::SectorSize;
    use expect_test::expect;

    #[test]
    fn sizes_files_and_properties_are_parsed() {
        let read = |text: &str| text.parse::<DiskRequest>().expect(text);
        assert_eq!(read("64M").source, DiskSource::Scratch(64 << 20));
        assert_eq!(read("1g,bus=nvme,sector=4096").sector, SectorSize::S4096);
        let image = |path: &str, writes| DiskSource::Image { path: path.into(), writes };
        assert_eq!(read("64Mx").source, image("64Mx", Writes::Discarded));
        assert_eq!(read("./64M,rw").source, image("./64M", Writes::Kept));
        assert_eq!(read("a,,b.img,ro,serial=x").source, image("a,b.img", Writes::Refused));
        let zoned = read("1G,bus=nvme,zoned=true,zoned.zone_size=4M");
        assert_eq!(zoned.bus, DiskBus::Nvme);
        assert_eq!(zoned.properties[1], ("zoned.zone_size".to_owned(), "4M".to_owned()));
        assert_eq!(zoned.to_string(), "1G,bus=nvme,zoned=true,zoned.zone_size=4M");
    }

    #[test]
    fn images_may_be_relative_to_a_directory() {
        let below = |text: &str| text.parse::<DiskRequest>().expect(text).below("d,".as_ref()).to_string();
        assert_eq!(below("a,,b.img,ro,serial=x"), "d,,/a,,b.img,ro,serial=x");
        assert_eq!(below("/a.img"), "/a.img");
        assert_eq!(below("64M,bus=scsi"), "64M,bus=scsi");
    }

    #[test]
    fn mistakes_name_the_value_and_the_alternatives() {
        let mut errors = String::new();
        for text in [
            "",
            "0",
            "0M",
            "99999T",
            "64M,ro",
            "64M,format=raw",
            "1000",
            "64M,bus=usb",
            "x,format=vhs",
            "64M,serial=",
            "64M,serial=a b",
            "64M,sector=520",
            "64M,sector=4096,bus=ide",
            "x,bus=ide,ro",
            "64M,drive=x",
            "64M,=x",
            "64M,a=",
            "64M,nonsense",
            "x,ro,rw",
        ] {
            let error = text.parse::<DiskRequest>().expect_err(text);
            errors.extend([text, ": ", &error, "\n"]);
        }
        expect![[r#"
            : missing size or file: expected SIZE, such as 64M, or FILE
            0: invalid size 0: expected 1 byte to 16T, such as 64M or 1G
            0M: invalid size 0M: expected 1 byte to 16T, such as 64M or 1G
            99999T: invalid size 99999T: expected 1 byte to 16T, such as 64M or 1G
            64M,ro: 64M is the size of a scratch disk, which has no ro, rw or format; a file of this name is ./64M
            64M,format=raw: 64M is the size of a scratch disk, which has no ro, rw or format; a file of this name is ./64M
            1000: 1000 bytes are not a multiple of the sector size, 512
            64M,bus=usb: no bus "usb": expected virtio, nvme, scsi or ide
            x,format=vhs: no format "vhs": expected one of raw, qcow2, vmdk, vpc, vhdx, vdi
            64M,serial=: invalid serial number "": expected 1 to 20 letters, digits, '.', '_' and '-'
            64M,serial=a b: invalid serial number "a b": expected 1 to 20 letters, digits, '.', '_' and '-'
            64M,sector=520: invalid sector size "520": expected 512 or 4096
            64M,sector=4096,bus=ide: an IDE disk has sectors of 512 bytes: use bus=virtio, nvme or scsi
            x,bus=ide,ro: an IDE disk cannot be read-only: use bus=virtio or scsi, or omit ro (the file is not changed without rw)
            64M,drive=x: drive is set by bootling
            64M,=x: invalid property "=x": expected NAME=VALUE, as for QEMU's -device
            64M,a=: invalid property "a=": expected NAME=VALUE, as for QEMU's -device
            64M,nonsense: "nonsense": expected ro, rw or KEY=VALUE (a comma in a file name is doubled)
            x,ro,rw: "rw": expected ro, rw or KEY=VALUE (a comma in a file name is doubled)
        "#]].assert_eq(&errors);
    }
}
