//! The QEMU command line: a pure function of the machine and its wires.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::machine::{Machine, Transport, is_microvm};
use crate::proto::job::PORT_NAME;

/// Where the machine's ends lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wires {
    /// The kernel image, as QEMU opens it.
    pub kernel: OsString,
    /// The initrd, as QEMU opens it; already quoted words are not expected.
    pub initrd: OsString,
    /// Console, channel and monitor.
    pub ends: Ends,
}

/// Console, channel and monitor of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// Sockets that QEMU inherits: this is how bootling runs it.
    Sockets {
        /// The console.
        console: RawFd,
        /// The control channel.
        channel: RawFd,
        /// The monitor.
        monitor: RawFd,
    },
    /// The console on QEMU's own standard input and output: this is what a person pastes.
    Stdio,
}

/// The whole command line, program first.
pub fn argv(machine: &Machine, wires: &Wires) -> Vec<OsString> {
    let mut line = Line(vec![machine.qemu.path.clone().into_os_string()]);
    line.option("-machine", &machine.machine);
    line.option("-accel", machine.accelerator.name());
    line.option("-cpu", &machine.cpu);
    if let Some(smp) = &machine.smp {
        line.option("-smp", smp);
    }
    line.option("-m", format!("{}M", machine.memory_mib));
    line.words(["-nodefaults", "-no-user-config", "-no-reboot"]);
    line.option("-display", "none");
    let has_own_sandbox = machine.extra.iter().any(|word| word == "-sandbox");
    if machine.qemu.facts.sandbox && !has_own_sandbox && matches!(wires.ends, Ends::Sockets { .. }) {
        line.option("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    }
    match wires.ends {
        Ends::Sockets { console, channel, monitor } => {
            line.option("-chardev", format!("socket,id=console,fd={console}"));
            line.option("-serial", "chardev:console");
            line.channel(machine, channel);
            line.option("-chardev", format!("socket,id=monitor,fd={monitor}"));
            line.option("-mon", "chardev=monitor,mode=control");
        }
        Ends::Stdio => line.option("-serial", "mon:stdio"),
    }
    line.option("-kernel", &wires.kernel);
    line.option("-initrd", &wires.initrd);
    line.option("-append", &machine.command_line);
    line.0.extend(machine.extra.iter().cloned());
    line.0
}

/// A command line being written.
struct Line(Vec<OsString>);

impl Line {
    fn option(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.0.push(name.into());
        self.0.push(value.as_ref().to_owned());
    }

    fn words<const N: usize>(&mut self, words: [&str; N]) {
        self.0.extend(words.map(OsString::from));
    }

    fn channel(&mut self, machine: &Machine, fd: RawFd) {
        let controller = match machine.transport {
            Transport::None => return,
            Transport::Com2 => {
                self.option("-chardev", format!("socket,id=channel,fd={fd}"));
                self.option("-serial", "chardev:channel");
                return;
            }
            Transport::VirtioPci => "virtio-serial-pci",
            Transport::VirtioMmio => "virtio-serial-device",
        };
        if is_microvm(&machine.machine) {
            // Linux wants virtio 1.0 of a virtio-mmio console; QEMU's default is the legacy interface.
            self.option("-global", "virtio-mmio.force-legacy=false");
        }
        self.option("-device", format!("{controller},id=ports,max_ports=2"));
        self.option("-chardev", format!("socket,id=channel,fd={fd}"));
        self.option("-device", format!("virtserialport,bus=ports.0,chardev=channel,name={PORT_NAME}"));
    }
}

/// A command line as a shell reads it back, words quoted where they must be.
pub fn shell_line(words: &[OsString]) -> OsString {
    let quoted: Vec<Vec<u8>> = words.iter().map(|word| quote(word.as_bytes())).collect();
    OsString::from_vec(quoted.join(&b' '))
}

fn quote(word: &[u8]) -> Vec<u8> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./=:,+@%".contains(byte);
    if !word.is_empty() && word.iter().all(plain) {
        return word.to_vec();
    }
    let mut quoted = vec![b'\''];
    for byte in word {
        match byte {
            b'\'' => quoted.extend(b"'\\''"),
            other => quoted.push(*other),
        }
    }
    quoted.push(b'\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::{Ends, Wires, argv, shell_line};
    use crate::boot::machine::{Accelerator, Machine, Transport};
    use crate::boot::qemu::{Qemu, QemuFacts};
    use expect_test::expect;
    use std::ffi::OsString;

    fn machine(transport: Transport) -> Machine {
        Machine {
            qemu: Qemu {
                path: "/usr/bin/qemu-system-x86_64".into(),
                facts: QemuFacts { version: "7.2.22".to_owned(), sandbox: true },
            },
            accelerator: Accelerator::Tcg,
            no_kvm: None,
            machine: "q35".into(),
            cpu: "max".into(),
            smp: None,
            memory_mib: 1024,
            command_line: "console=ttyS0 panic=-1 quiet".into(),
            extra: vec!["-trace".into(), "ich9*".into()],
            transport,
        }
    }

    fn pretty(transport: Transport, ends: Ends) -> String {
        let wires = Wires { kernel: "/k/vmlinux".into(), initrd: "/proc/self/fd/9".into(), ends };
        shell_line(&argv(&machine(transport), &wires)).to_string_lossy().replace(" -", "\n-")
    }

    const SOCKETS: Ends = Ends::Sockets { console: 3, channel: 4, monitor: 5 };

    #[test]
    fn a_run_over_virtio() {
        expect![[r"
            /usr/bin/qemu-system-x86_64
            -machine q35
            -accel tcg
            -cpu max
            -m 1024M
            -nodefaults
            -no-user-config
            -no-reboot
            -display none
            -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
            -chardev socket,id=console,fd=3
            -serial chardev:console
            -device virtio-serial-pci,id=ports,max_ports=2
            -chardev socket,id=channel,fd=4
            -device virtserialport,bus=ports.0,chardev=channel,name=bootling.0
            -chardev socket,id=monitor,fd=5
            -mon chardev=monitor,mode=control
            -kernel /k/vmlinux
            -initrd /proc/self/fd/9
            -append 'console=ttyS0 panic=-1 quiet'
            -trace 'ich9*'"]]
        .assert_eq(&pretty(Transport::VirtioPci, SOCKETS));
    }

    #[test]
    fn a_run_over_the_second_serial_port() {
        let line = pretty(Transport::Com2, SOCKETS);
        assert!(
            line.contains("-serial chardev:console\n-chardev socket,id=channel,fd=4\n-serial chardev:channel"),
            "{line}"
        );
    }

    #[test]
    fn a_line_to_paste_has_its_console_on_the_terminal() {
        let line = pretty(Transport::VirtioPci, Ends::Stdio);
        assert!(line.contains("-serial mon:stdio") && !line.contains("fd=") && !line.contains("-sandbox"), "{line}");
    }

    #[test]
    fn a_shell_reads_back_what_was_meant() {
        let words = ["plain", "", "it's", "a b", "$HOME", "ü"].map(OsString::from);
        let line = shell_line(&words);
        let script = format!("printf '%s\\0' {}", line.to_string_lossy());
        let output = std::process::Command::new("sh").args(["-c", &script]).output().expect("sh runs");
        assert_eq!(output.stdout, b"plain\0\0it's\0a b\0$HOME\0\xc3\xbc\0");
    }
}
