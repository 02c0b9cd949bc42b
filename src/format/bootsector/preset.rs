//! Predefined messages; each names the setting to change.

use super::Message;

/// Predefined message, by the environment of the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preset {
    /// A PC or any virtual machine.
    #[default]
    Standard,
    /// libvirt, virt-manager, or plain QEMU.
    Libvirt,
    /// Proxmox VE.
    Proxmox,
    /// Amazon EC2, where only the serial console is visible.
    Ec2,
    /// Oracle `VirtualBox`.
    VirtualBox,
}

impl Preset {
    /// All presets.
    pub const ALL: [Self; 5] = [Self::Standard, Self::Libvirt, Self::Proxmox, Self::Ec2, Self::VirtualBox];

    /// Returns the name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Libvirt => "libvirt",
            Self::Proxmox => "proxmox",
            Self::Ec2 => "ec2",
            Self::VirtualBox => "virtualbox",
        }
    }

    /// Returns the text, in the format of a message file.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Standard => include_str!("../../../assets/messages/standard.txt"),
            Self::Libvirt => include_str!("../../../assets/messages/libvirt.txt"),
            Self::Proxmox => include_str!("../../../assets/messages/proxmox.txt"),
            Self::Ec2 => include_str!("../../../assets/messages/ec2.txt"),
            Self::VirtualBox => include_str!("../../../assets/messages/virtualbox.txt"),
        }
    }

    /// Returns the parsed message.
    ///
    /// # Panics
    ///
    /// Never: a test parses every preset.
    pub fn message(self) -> Message {
        Message::parse(self.text().as_bytes()).expect("a test parses every preset")
    }
}

#[cfg(test)]
mod tests {
    use super::Preset;
    use crate::format::bootsector::{Then, boot_code};

    #[test]
    fn every_preset_fits_with_every_action() {
        for preset in Preset::ALL {
            assert_eq!(preset.message().text(), preset.text(), "{} is shown as written", preset.name());
            assert_eq!(preset.message().beyond_ascii(), None, "{} is readable on serial consoles", preset.name());
            for then in Then::ALL {
                let left = preset.message().fits(then).unwrap_or_else(|error| panic!("{}: {error}", preset.name()));
                let code = boot_code(&preset.message(), then).expect("it fits");
                assert!(code[code.len() - left..].iter().all(|byte| *byte == 0));
            }
        }
    }
}
