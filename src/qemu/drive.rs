//! Disk image as a drive of the machine: its format for QEMU, and its bus in the guest.
//!
//! QEMU never detects a format itself: a guest could write another format's signature to a raw disk and make QEMU open
//! the files that it names. Refuses images that refer to other files (backing files, external data, descriptors) unless
//! this is allowed, because QEMU would read them with the user's permissions.

use std::fs::File;
use std::io;

use crate::disk::container::content::Content;
use crate::disk::container::references;
use crate::format::SectorSize;
use crate::format::compression::Compression;
use crate::format::iso9660::is_iso;

/// Bus of a drive in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    /// virtio-blk on PCI.
    Virtio,
    /// A disk on the machine's built-in IDE or AHCI controller.
    Ide,
    /// A disk on virtio-scsi.
    Scsi,
    /// An NVMe namespace.
    Nvme,
    /// A USB stick on xHCI.
    Usb,
    /// A DVD on the machine's built-in IDE or AHCI controller.
    Cd,
}

/// Image formats, with QEMU's names (`block/`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Raw bytes of the disk.
    Raw,
    /// qcow2.
    Qcow2,
    /// VMDK, monolithic sparse.
    Vmdk,
    /// VHD, fixed or dynamic.
    Vpc,
    /// VHDX.
    Vhdx,
    /// VirtualBox VDI.
    Vdi,
}

/// Drive configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drive {
    /// Image format.
    pub format: Format,
    /// Bus in the guest.
    pub bus: Bus,
    /// Logical sector size.
    pub(crate) sector: SectorSize,
}

/// Type of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Image {
    /// An image that QEMU opens.
    Drive {
        /// Image format.
        format: Format,
        /// True if it contains an ISO 9660 file system.
        iso: bool,
    },
    /// A compressed image that must be unpacked first.
    Compressed(Compression),
}

/// Error: an image that cannot be a drive.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The image cannot be read.
    #[error("failed to read the image: {0}")]
    Unreadable(#[from] io::Error),
    /// Unsupported format.
    #[error("{0} images are not supported; convert it with qemu-img convert -O qcow2")]
    Foreign(&'static str),
    /// The image refers to another file.
    #[error("the image refers to another file ({0}), which QEMU would open with your permissions")]
    Names(&'static str),
    /// IDE disks and DVDs have a fixed sector size.
    #[error("{0} does not support 4096-byte sectors; use --disk virtio, scsi, nvme or usb")]
    SectorSize(&'static str),
}

impl Format {
    /// All formats.
    pub(crate) const ALL: [Self; 6] = [Self::Raw, Self::Qcow2, Self::Vmdk, Self::Vpc, Self::Vhdx, Self::Vdi];

    /// QEMU's name of the format.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vpc => "vpc",
            Self::Vhdx => "vhdx",
            Self::Vdi => "vdi",
        }
    }
}

impl Bus {
    /// Name in `--json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Virtio => "virtio",
            Self::Ide => "ide",
            Self::Scsi => "scsi",
            Self::Nvme => "nvme",
            Self::Usb => "usb",
            Self::Cd => "cd",
        }
    }
}

impl Drive {
    /// Creates a drive; fails if the bus does not support the sector size.
    pub(crate) fn new(format: Format, bus: Bus, sector: SectorSize) -> Result<Self, DriveError> {
        match (bus, sector) {
            (Bus::Ide, SectorSize::S4096) => Err(DriveError::SectorSize("an IDE disk")),
            (Bus::Cd, SectorSize::S4096) => Err(DriveError::SectorSize("a DVD")),
            (Bus::Virtio | Bus::Scsi | Bus::Nvme | Bus::Usb, SectorSize::S4096) | (_, SectorSize::S512) => {
                Ok(Self { format, bus, sector })
            }
        }
    }

    /// Returns the value of QEMU's `-drive` for the image `file`, whose commas must be escaped. The image is not
    /// written to.
    pub(crate) fn drive_option(self, file: &str) -> String {
        let keep = match self.bus {
            Bus::Cd => "media=cdrom,readonly=on",
            Bus::Virtio | Bus::Ide | Bus::Scsi | Bus::Nvme | Bus::Usb => "snapshot=on",
        };
        format!("if=none,id=drive,format={},{keep},file={file}", self.format.name())
    }

    /// Returns the values of QEMU's `-device` options, controllers first.
    pub(crate) fn devices(self) -> Vec<String> {
        let (controller, device) = match self.bus {
            Bus::Virtio => (None, "virtio-blk-pci"),
            Bus::Ide => (None, "ide-hd"),
            Bus::Cd => (None, "ide-cd"),
            Bus::Scsi => (Some("virtio-scsi-pci,id=scsi"), "scsi-hd,bus=scsi.0"),
            Bus::Nvme => (None, "nvme,serial=bootling"),
            Bus::Usb => (Some("qemu-xhci,id=usb"), "usb-storage,bus=usb.0"),
        };
        let sectors = match self.sector {
            SectorSize::S512 => "",
            SectorSize::S4096 => ",logical_block_size=4096,physical_block_size=4096",
        };
        let mut devices: Vec<String> = controller.into_iter().map(str::to_owned).collect();
        devices.push(format!("{device},drive=drive,bootindex=0{sectors}"));
        devices
    }
}

/// Detects the type of an image. `may_name` allows references to other files.
pub(crate) fn identify(file: &File, len: u64, may_name: bool) -> Result<Image, DriveError> {
    let content = Content::detect(file, len)?;
    let format = match content {
        Content::Compressed(compression) => return Ok(Image::Compressed(compression)),
        Content::Raw => Format::Raw,
        Content::Vhd | Content::Foreign("dynamic VHD") => Format::Vpc,
        Content::Qcow2 => Format::Qcow2,
        Content::Foreign("VMDK") => Format::Vmdk,
        Content::Foreign("VHDX") => Format::Vhdx,
        Content::Foreign("VDI") => Format::Vdi,
        Content::Foreign(name) => return Err(DriveError::Foreign(name)),
    };
    match references::of(file, content)? {
        Some(what) if !may_name => Err(DriveError::Names(what)),
        Some(_) | None => Ok(Image::Drive { format, iso: format == Format::Raw && is_iso(file) }),
    }
}

#[cfg(test)]
mod tests {
    use super::{Bus, Drive, DriveError, Format, Image, identify};
    use crate::format::SectorSize;
    use expect_test::expect;
    use std::io::Write;

    fn detect(bytes: &[u8]) -> Result<Image, DriveError> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        identify(&file, bytes.len() as u64, false)
    }

    fn padded(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; 64 << 10];
        for (at, part) in parts {
            bytes[*at..at + part.len()].copy_from_slice(part);
        }
        bytes
    }

    #[test]
    fn the_image_type_is_detected_by_content() {
        let drive = |format, iso| Image::Drive { format, iso };
        let qcow2: (usize, &[u8]) = (0, b"QFI\xfb\0\0\0\x03");
        let vmdk: (usize, &[u8]) = (0, b"KDMV\x01\0\0\0\0\0\0\0\x01");
        for (parts, image) in [
            (&[][..], drive(Format::Raw, false)),
            (&[(32769, &b"CD001"[..])], drive(Format::Raw, true)),
            (&[qcow2, (32769, b"CD001")], drive(Format::Qcow2, false)),
            (&[vmdk], drive(Format::Vmdk, false)),
            (&[(0, b"vhdxfile")], drive(Format::Vhdx, false)),
            (&[(0, b"conectix")], drive(Format::Vpc, false)),
            (&[(65024, b"conectix")], drive(Format::Vpc, false)),
            (&[(64, b"\x7f\x10\xda\xbe")], drive(Format::Vdi, false)),
        ] {
            assert_eq!(detect(&padded(parts)).expect("a drive"), image, "{parts:?}");
        }
        assert!(matches!(detect(b"\x1f\x8b"), Ok(Image::Compressed(_))));
        assert!(matches!(detect(&padded(&[(0, b"QED\0")])), Err(DriveError::Foreign("QED"))));
        assert!(matches!(detect(b""), Ok(Image::Drive { format: Format::Raw, iso: false })));
    }

    #[test]
    fn references_to_other_files_are_refused() {
        let qcow2: (usize, &[u8]) = (0, b"QFI\xfb\0\0\0\x03");
        let vmdk: (usize, &[u8]) = (0, b"KDMV\x01\0\0\0\0\0\0\0\x01");
        for parts in [
            &[qcow2, (14, &b"\x02"[..])][..],
            &[qcow2, (79, b"\x04")],
            &[vmdk, (600, b"PARENTFILENAMEHINT=\"/etc/passwd\"")],
            &[vmdk, (28, b"\x04"), (2048, b"parentFileNameHint=x")],
            &[(0, b"KDMV\x01\0\0\0")],
            &[(0, b"# Disk DescriptorFile\nRW 1 FLAT \"/etc/passwd\" 0")],
            &[(0, b"COWD")],
        ] {
            assert!(matches!(detect(&padded(parts)), Err(DriveError::Names(_))), "{parts:?}");
        }
        let far = padded(&[vmdk, (28, &[0xff; 8])]);
        assert!(detect(&far).is_ok(), "a descriptor beyond the end of the file refers to nothing");
    }

    #[test]
    fn every_bus_has_its_devices() {
        let mut options = String::new();
        for bus in [Bus::Virtio, Bus::Ide, Bus::Scsi, Bus::Nvme, Bus::Usb, Bus::Cd] {
            let drive = Drive::new(Format::Raw, bus, SectorSize::S512).expect("a drive");
            options.extend([drive.drive_option("/f"), "\n".to_owned(), drive.devices().join("\n"), "\n".to_owned()]);
        }
        expect![[r"
            if=none,id=drive,format=raw,snapshot=on,file=/f
            virtio-blk-pci,drive=drive,bootindex=0
            if=none,id=drive,format=raw,snapshot=on,file=/f
            ide-hd,drive=drive,bootindex=0
            if=none,id=drive,format=raw,snapshot=on,file=/f
            virtio-scsi-pci,id=scsi
            scsi-hd,bus=scsi.0,drive=drive,bootindex=0
            if=none,id=drive,format=raw,snapshot=on,file=/f
            nvme,serial=bootling,drive=drive,bootindex=0
            if=none,id=drive,format=raw,snapshot=on,file=/f
            qemu-xhci,id=usb
            usb-storage,bus=usb.0,drive=drive,bootindex=0
            if=none,id=drive,format=raw,media=cdrom,readonly=on,file=/f
            ide-cd,drive=drive,bootindex=0
        "]]
        .assert_eq(&options);
        let large = Drive::new(Format::Qcow2, Bus::Nvme, SectorSize::S4096).expect("a drive");
        assert!(large.devices()[0].ends_with(",logical_block_size=4096,physical_block_size=4096"));
        for bus in [Bus::Ide, Bus::Cd] {
            assert!(matches!(Drive::new(Format::Raw, bus, SectorSize::S4096), Err(DriveError::SectorSize(_))));
        }
    }
}
