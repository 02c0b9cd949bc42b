//! Errors from opening an image.

use std::io;

use super::content::Content;
use super::foreign::ForeignError;
use super::qcow2::Qcow2Error;
use crate::format::vhd::FooterFault;

/// Error from opening an image. Each variant names the image as the user did.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The image is missing, not accessible, or cannot be read.
    #[error("failed to open {name}")]
    Open {
        /// Image file.
        name: String,
        /// Error from the operating system.
        source: io::Error,
    },
    /// The path is a directory, a pipe, or a terminal.
    #[error("failed to open {name}: neither a file nor a block device")]
    NotADisk {
        /// Image file.
        name: String,
    },
    /// The container format is not supported.
    #[error("failed to open {name}: it is {}{content}, which is not supported", article(content))]
    Foreign {
        /// Image file.
        name: String,
        /// Format of the image.
        content: Content,
    },
    /// The image refers to another file.
    #[error("failed to open {name}: it refers to another file ({what}), which would be read with your permissions")]
    References {
        /// Image file.
        name: String,
        /// The reference.
        what: &'static str,
    },
    /// The program that reads the format failed.
    #[error("failed to open {name}: it is {}{content}", article(content))]
    Through {
        /// Image file.
        name: String,
        /// Format of the image.
        content: Content,
        /// Cause.
        source: ForeignError,
    },
    /// The image is compressed; [`super::stream`] handles it.
    #[error("failed to open {name}: the image is compressed ({content})")]
    Compressed {
        /// Image file.
        name: String,
        /// Compression format.
        content: Content,
    },
    /// The compressed file does not contain a raw disk.
    #[error(
        "failed to open {name}: {outer} file contains {}{content}, only a raw disk can be rewritten as a stream",
        article(content)
    )]
    Inside {
        /// Image file.
        name: String,
        /// Compression format.
        outer: Content,
        /// Format of the decompressed content.
        content: Content,
    },
    /// The image is in use.
    #[error("failed to open {name}: {who}")]
    InUse {
        /// Image file.
        name: String,
        /// User of the image, and kind of use.
        who: String,
    },
    /// The qcow2 image is invalid or cannot be opened safely.
    #[error("failed to open {name} (qcow2): {fault}")]
    Qcow2 {
        /// Image file.
        name: String,
        /// The fault.
        fault: Qcow2Error,
    },
    /// The VHD footer is invalid.
    #[error("failed to open {name}: at byte {offset}: {fault}")]
    Vhd {
        /// Image file.
        name: String,
        /// Byte offset of the footer.
        offset: u64,
        /// The fault.
        fault: FooterFault,
    },
    /// The disk size in the VHD footer exceeds the file.
    #[error("failed to open {name}: VHD footer declares {disk} bytes, file contains {there}")]
    VhdSize {
        /// Image file.
        name: String,
        /// Disk size in the footer, in bytes.
        disk: u64,
        /// Bytes in front of the footer.
        there: u64,
    },
}

impl ImageError {
    /// Returns advice for the user, if there is any.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Foreign { name, .. } => Some(format!("convert it: qemu-img convert -O qcow2 {name} {name}.qcow2")),
            Self::References { .. } => Some("--allow-backing opens it".into()),
            Self::Through { source: ForeignError::NoProgram, .. } => {
                Some("install it (Debian: qemu-utils), or convert the image on a host that has qemu-img".into())
            }
            Self::Through { name, .. } => Some(format!("`qemu-img info {name}` and `qemu-img check {name}` say more")),
            Self::Inside { .. } => Some("decompress it first".into()),
            Self::InUse { .. } => Some(
                "shut down the guest or unmount the image; --force overrides, except to write a qcow2 image in use"
                    .into(),
            ),
            Self::Qcow2 { name, fault: Qcow2Error::Header(fault) } => fault.advice(name),
            Self::Qcow2 { fault: Qcow2Error::Overlay { .. }, .. } => {
                Some("--allow-backing opens it read-only; its content then becomes part of the disk".into())
            }
            Self::Qcow2 { fault: Qcow2Error::Bitmaps, .. } => Some("--force writes anyway".into()),
            Self::Vhd { .. } | Self::VhdSize { .. } => Some("--format raw treats the whole file as the disk".into()),
            Self::Open { .. } | Self::NotADisk { .. } | Self::Compressed { .. } | Self::Qcow2 { .. } => None,
        }
    }
}

fn article(content: &Content) -> &'static str {
    match content {
        Content::Foreign(name) if name.starts_with("qcow") => "",
        Content::Foreign(_) | Content::Raw | Content::Qcow2 | Content::Vhd | Content::Compressed(_) => "a ",
    }
}
