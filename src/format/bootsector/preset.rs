//! Messages that are ready-made: each names the setting to change, not only what is wrong.

use super::Message;

/// A ready-made message, by the place where it will be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preset {
    /// A PC, or a virtual machine of any kind.
    #[default]
    Standard,
    /// libvirt, virt-manager, or QEMU itself.
    Libvirt,
    /// Proxmox VE.
    Proxmox,
    /// Amazon EC2, where the serial console is all that is seen.
    Ec2,
    /// Oracle `VirtualBox`.
    VirtualBox,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Standard, Self::Libvirt, Self::Proxmox, Self::Ec2, Self::VirtualBox];

    /// As it is called on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Libvirt => "libvirt",
            Self::Proxmox => "proxmox",
            Self::Ec2 => "ec2",
            Self::VirtualBox => "virtualbox",
        }
    }

    /// Its text, as a file given by the user would have it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Standard => include_str!("../../../assets/messages/standard.txt"),
            Self::Libvirt => include_str!("../../../assets/messages/libvirt.txt"),
            Self::Proxmox => include_str!("../../../assets/messages/proxmox.txt"),
            Self::Ec2 => include_str!("../../../assets/messages/ec2.txt"),
            Self::VirtualBox => include_str!("../../../assets/messages/virtualbox.txt"),
        }
    }

    /// The message.
    ///
    /// # Panics
    ///
    /// Never: a test parses every text.
    pub fn message(self) -> Message {
        Message::parse(self.text().as_bytes()).expect("a test parses every one")
    }
}

#[cfg(test)]
mod tests {
    use super::Preset;
    use crate::format::bootsector::{Then, boot_code};

    #[test]
    fn every_one_fits_whatever_comes_after_it() {
        for preset in Preset::ALL {
            assert_eq!(preset.message().text(), preset.text(), "{} is written as it is shown", preset.name());
            assert_eq!(preset.message().beyond_ascii(), None, "{} is read on serial consoles, too", preset.name());
            for then in Then::ALL {
                let left = preset.message().fits(then).unwrap_or_else(|error| panic!("{}: {error}", preset.name()));
                let code = boot_code(&preset.message(), then).expect("it fits");
                assert!(code[code.len() - left..].iter().all(|byte| *byte == 0));
            }
        }
    }
}
