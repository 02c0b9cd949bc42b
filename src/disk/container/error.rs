//! Why an image cannot be opened.

use std::io;

use super::content::Content;
use super::qcow2::Qcow2Error;
use crate::format::vhd::FooterFault;

/// Why an image cannot be opened. Each names the image as the user did.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It is not there, or not for us, or gone in the middle.
    #[error("opening {name}")]
    Open {
        /// The image.
        name: String,
        /// What the host said.
        source: io::Error,
    },
    /// A directory, a pipe, a terminal.
    #[error("opening {name}: it is neither a file nor a block device")]
    NotADisk {
        /// The image.
        name: String,
    },
    /// A container that cannot be looked into.
    #[error("opening {name}: it is {}{content}, which cannot be read here", article(content))]
    Foreign {
        /// The image.
        name: String,
        /// What it is.
        content: Content,
    },
    /// A compressed file; its disk is in the stream ([`super::stream`]).
    #[error("opening {name}: it is compressed ({content})")]
    Compressed {
        /// The image.
        name: String,
        /// By what.
        content: Content,
    },
    /// A compressed file with something other than a raw disk in it.
    #[error(
        "opening {name}: in it ({outer}) is {}{content}, and only a raw disk can be rewritten as a stream",
        article(content)
    )]
    Inside {
        /// The image.
        name: String,
        /// How it is compressed.
        outer: Content,
        /// What is in it.
        content: Content,
    },
    /// Somebody uses it.
    #[error("opening {name}: {who}")]
    InUse {
        /// The image.
        name: String,
        /// Who, and how.
        who: String,
    },
    /// A qcow2 image with something wrong.
    #[error("opening {name} (qcow2): {fault}")]
    Qcow2 {
        /// The image.
        name: String,
        /// What is wrong.
        fault: Qcow2Error,
    },
    /// A VHD with something wrong.
    #[error("opening {name}, at byte {offset}: {fault}")]
    Vhd {
        /// The image.
        name: String,
        /// Where its footer stands.
        offset: u64,
        /// What is wrong.
        fault: FooterFault,
    },
    /// A VHD whose footer does not belong to it.
    #[error("opening {name}: its footer tells of a disk of {disk} bytes, but {there} are there")]
    VhdSize {
        /// The image.
        name: String,
        /// Bytes of the disk, as the footer says.
        disk: u64,
        /// Bytes before the footer.
        there: u64,
    },
}

impl ImageError {
    /// What the user might do about it, where there is something.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Foreign { name, .. } => {
                Some(format!("make another of it: qemu-img convert -O qcow2 {name} {name}.qcow2"))
            }
            Self::Inside { .. } => Some("unpack it first".into()),
            Self::InUse { .. } => Some(
                "shut it down or unmount it first; --force insists, but never on writing a qcow2 image in use".into(),
            ),
            Self::Qcow2 { name, fault: Qcow2Error::Header(fault) } => fault.advice(name),
            Self::Qcow2 { fault: Qcow2Error::Overlay { .. }, .. } => Some(
                "--allow-backing opens it, for reading; its content is then part of what is seen and written".into(),
            ),
            Self::Qcow2 { fault: Qcow2Error::Bitmaps, .. } => Some("--force writes all the same".into()),
            Self::Vhd { .. } | Self::VhdSize { .. } => Some("--format raw takes all of it for the disk's bytes".into()),
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
