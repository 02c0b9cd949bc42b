//! Errors of disks and network interfaces.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::qemu::drive::{DriveError, Format};
use crate::root::modules::error::ModuleError;

/// Failure to add a device to a machine.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The machine type lacks the bus.
    #[error("invalid --disk {disk}: machine type {machine} has no bus for {bus} disks")]
    Bus {
        /// The request.
        disk: String,
        /// The bus.
        bus: &'static str,
        /// The machine type.
        machine: String,
    },
    /// The machine type has no bus for a network interface.
    #[error("invalid --net: machine type {0} has no virtio bus")]
    NetBus(String),
    /// Two disks have one serial number.
    #[error("invalid --disk {disk}: another disk has serial number {serial}, too")]
    Serial {
        /// The request.
        disk: String,
        /// The serial number.
        serial: String,
    },
    /// The image cannot be opened.
    #[error("failed to open {} for --disk {disk}", path.display())]
    Open {
        /// The request.
        disk: String,
        /// The image.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Neither a file nor a block device.
    #[error("invalid --disk {disk}: {} is neither a file nor a block device", path.display())]
    Kind {
        /// The request.
        disk: String,
        /// The path.
        path: PathBuf,
    },
    /// An image without contents, or with an incomplete sector.
    #[error("invalid --disk {disk}: {} has {bytes} bytes, expected a multiple of {sector}", path.display())]
    Size {
        /// The request.
        disk: String,
        /// The image.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The sector size.
        sector: usize,
    },
    /// A compressed image.
    #[error("invalid --disk {disk}: the image is compressed ({compression})")]
    Compressed {
        /// The request.
        disk: String,
        /// The compression.
        compression: String,
    },
    /// The image has another format.
    #[error("invalid --disk {disk}: expected format {}, found {}", expected.name(), found.name())]
    Format {
        /// The request.
        disk: String,
        /// The requested format.
        expected: Format,
        /// The detected format.
        found: Format,
    },
    /// QEMU cannot attach the image, or must not.
    #[error("invalid --disk {disk}")]
    Image {
        /// The request.
        disk: String,
        /// The cause.
        source: DriveError,
    },
    /// Another program, or another disk of the guest, uses the image.
    #[error("invalid --disk {disk}: {} is in use by {user}", path.display())]
    InUse {
        /// The request.
        disk: String,
        /// The image.
        path: PathBuf,
        /// The user.
        user: &'static str,
    },
    /// A scratch disk in a command line that is printed.
    #[error("--print-command does not support scratch disks: --disk {0}")]
    Unnamed(String),
    /// The kernel has no driver.
    #[error("kernel without driver {driver} for {option}")]
    Driver {
        /// The option.
        option: String,
        /// The driver.
        driver: &'static str,
        /// The cause.
        source: Box<ModuleError>,
    },
    /// A port of the host is taken.
    #[error("invalid --publish {publish}: failed to listen on {address}")]
    Port {
        /// The request.
        publish: String,
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// QEMU has no user-mode network.
    #[error("--net user requires libslirp, which {} was built without", .0.display())]
    NoSlirp(PathBuf),
    /// Ports can only be published from a user-mode network.
    #[error("invalid --publish {0}: only --net user publishes ports")]
    NotUser(String),
}

impl DeviceError {
    /// One line of advice, if there is some.
    pub(crate) const fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Bus { .. } => Some("use bus=virtio, or --machine q35"),
            Self::NetBus(_) => Some("use --machine q35"),
            Self::Serial { .. } => Some(
                "give each disk its own serial=NAME; only NVMe disks may share one, as namespaces of one controller",
            ),
            Self::Open { .. } => Some("give an existing image that you may access, or a size such as 64M"),
            Self::Kind { .. } => Some("give an image file, or --copy for the files in a directory"),
            Self::Size { .. } => Some("truncate -s +1M FILE makes a file larger"),
            Self::Compressed { .. } => Some("decompress it first (zstd -d, gunzip, unxz) and use the result"),
            Self::Format { .. } => Some("omit format=, or convert it with qemu-img convert"),
            Self::Image { source: DriveError::Names(_), .. } => {
                Some("qemu-img convert -O qcow2 creates a single image that refers to no other file")
            }
            Self::InUse { .. } => Some("end that use, or give a copy of the image"),
            Self::Unnamed(_) => Some("give an image: truncate -s 64M disk.img"),
            Self::Driver { .. } => Some("use another bus=, or a kernel with this driver"),
            Self::Port { .. } => Some("publish another port of the host, or end the program that uses it"),
            Self::NoSlirp(_) => Some("use another QEMU (--qemu PATH), or another backend, such as --net socket,..."),
            Self::NotUser(_) => Some("use --net user, or omit --publish"),
            Self::Image { .. } => None,
        }
    }
}
