//! QEMU command line: a pure function of the machine and its I/O connections.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::device::Devices;
use super::drive::Drive;
use super::firmware::{Files, Firmware, Image};
use super::machine::{Display, Machine};
use super::machine_type::MachineType;
use super::machine_type::Transport;
use crate::format::protocol::files;
use crate::format::protocol::job::PORT_NAME;

/// Boot payload of a machine, as file names or open files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Payload<T> {
    /// A kernel and its initrd.
    Linux {
        /// Kernel image.
        kernel: T,
        /// Initrd.
        initrd: T,
        /// Additional memory of a guest that receives its commands later.
        warm: Option<Warm<T>>,
    },
    /// A disk image.
    Disk {
        /// Disk image.
        image: T,
        /// Drive configuration.
        drive: Drive,
    },
}

/// Memory of a guest that receives its commands later: the window (see `format::protocol::window`), and the backing of
/// its RAM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warm<T> {
    /// Window memory.
    pub(crate) window: T,
    /// Window size in MiB.
    pub(crate) window_mib: u64,
    /// Guest RAM.
    pub(crate) ram: Ram<T>,
}

/// Backing of the guest RAM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ram<T> {
    /// Anonymous memory of QEMU.
    Anonymous,
    /// A shared file that receives the guest's writes, to be saved.
    Shared(T),
    /// The initial content is in a file, which is not modified; the device state is read from a pipe.
    Restored {
        /// RAM file.
        ram: T,
        /// State pipe. QEMU receives its descriptor number in a QMP command.
        state: T,
    },
}

impl<T> Payload<T> {
    /// Returns the same payload with `f` applied to each part.
    pub(crate) fn map<U>(&self, f: impl Fn(&T) -> U) -> Payload<U> {
        match self {
            Self::Linux { kernel, initrd, warm } => {
                let warm = warm.as_ref().map(|warm| Warm {
                    window: f(&warm.window),
                    window_mib: warm.window_mib,
                    ram: match &warm.ram {
                        Ram::Anonymous => Ram::Anonymous,
                        Ram::Shared(ram) => Ram::Shared(f(ram)),
                        Ram::Restored { ram, state } => Ram::Restored { ram: f(ram), state: f(state) },
                    },
                });
                Payload::Linux { kernel: f(kernel), initrd: f(initrd), warm }
            }
            Self::Disk { image, drive } => Payload::Disk { image: f(image), drive: *drive },
        }
    }

    /// Returns the window and the RAM of a guest that receives its commands later.
    fn warm(&self) -> Option<&Warm<T>> {
        match self {
            Self::Linux { warm, .. } => warm.as_ref(),
            Self::Disk { .. } => None,
        }
    }

    /// Iterates over the parts of the payload.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &T> {
        match self {
            Self::Linux { kernel, initrd, warm } => {
                let (ram, state) = match warm.as_ref().map(|warm| &warm.ram) {
                    None | Some(Ram::Anonymous) => (None, None),
                    Some(Ram::Shared(ram)) => (Some(ram), None),
                    Some(Ram::Restored { ram, state }) => (Some(ram), Some(state)),
                };
                let window = warm.as_ref().map(|warm| &warm.window);
                [Some(kernel), Some(initrd), window, ram, state].into_iter().flatten()
            }
            Self::Disk { image, .. } => [Some(image), None, None, None, None].into_iter().flatten(),
        }
    }
}

/// I/O connections of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connections {
    /// Payload, as paths that QEMU opens. Commas must not be escaped yet.
    pub(crate) payload: Payload<OsString>,
    /// Path of the guest's writable copy of the flash image; `None`: QEMU discards writes.
    pub(crate) flash: Option<OsString>,
    /// The disks of the machine, as paths that QEMU opens.
    pub(crate) disks: Vec<OsString>,
    /// Console, channel and monitor.
    pub(crate) chardevs: Chardevs,
}

/// Console, channel and monitor of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chardevs {
    /// Console on QEMU's standard input and output (pipes), channel and monitor on inherited sockets, for a QEMU that
    /// bootling runs.
    Inherited {
        /// Control channel.
        channel: RawFd,
        /// Port for directories of the host, if the machine has it.
        files: Option<RawFd>,
        /// Monitor.
        monitor: RawFd,
    },
    /// Console and monitor on QEMU's standard input and output, for a command line that the user pastes.
    Stdio,
}

/// Builds the complete command line, starting with the program.
pub(crate) fn argv(machine: &Machine, connections: &Connections) -> Vec<OsString> {
    let mut line = Line(vec![machine.qemu.path.clone().into_os_string()]);
    let warm = connections.payload.warm();
    line.machine(machine, warm.is_some_and(|warm| warm.ram != Ram::Anonymous));
    line.option("-accel", machine.accelerator.name());
    line.option("-cpu", &machine.cpu);
    if let Some(smp) = &machine.smp {
        line.option("-smp", smp);
    }
    line.option("-m", format!("{}M", machine.memory_mib));
    line.words(["-nodefaults", "-no-user-config"]);
    match connections.payload {
        Payload::Linux { .. } => line.words(["-no-reboot"]),
        // Systems may reboot during startup; bootling counts the reboots. A stopped machine must remain available for
        // QMP queries.
        Payload::Disk { .. } if matches!(connections.chardevs, Chardevs::Inherited { .. }) => {
            line.words(["-no-shutdown"]);
        }
        Payload::Disk { .. } => {}
    }
    line.option("-display", "none");
    let has_own_sandbox = machine.extra.iter().any(|word| word == "-sandbox");
    if machine.qemu.facts.sandbox && !has_own_sandbox && matches!(connections.chardevs, Chardevs::Inherited { .. }) {
        line.option("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    }
    line.firmware(machine, connections.flash.as_deref());
    match connections.chardevs {
        Chardevs::Inherited { channel, files, monitor } => {
            line.option("-chardev", "stdio,id=console,signal=off");
            line.option("-serial", "chardev:console");
            line.channel(machine, channel, files);
            line.option("-chardev", format!("socket,id=monitor,fd={monitor}"));
            line.option("-mon", "chardev=monitor,mode=control");
        }
        Chardevs::Stdio => line.option("-serial", "mon:stdio"),
    }
    if let Some(warm) = warm {
        line.warm(warm, machine.memory_mib);
    }
    match &connections.payload {
        Payload::Linux { kernel, initrd, .. } => {
            line.option("-kernel", kernel);
            line.option("-initrd", initrd);
            line.option("-append", &machine.command_line);
        }
        Payload::Disk { image, drive } => line.drive(*drive, image),
    }
    line.devices(&machine.devices, &connections.disks);
    line.0.extend(machine.extra.iter().cloned());
    line.0
}

/// Command line under construction.
struct Line(Vec<OsString>);

impl Line {
    fn option(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.0.push(name.into());
        self.0.push(value.as_ref().to_owned());
    }

    fn words<const N: usize>(&mut self, words: [&str; N]) {
        self.0.extend(words.map(OsString::from));
    }

    fn drive(&mut self, drive: Drive, image: &OsStr) {
        let mut option = OsString::from(drive.drive_option(""));
        option.push(in_option(image));
        self.option("-drive", option);
        for device in drive.devices() {
            self.option("-device", device);
        }
    }

    fn devices(&mut self, devices: &Devices, files: &[OsString]) {
        for (number, (disk, file)) in devices.disks.iter().zip(files).enumerate() {
            let mut option = OsString::from(disk.drive_option(number));
            option.push(in_option(file));
            self.option("-drive", option);
            for device in disk.devices(number, &devices.disks[..number]) {
                self.option("-device", device);
            }
        }
        if let Some(net) = &devices.net {
            self.option("-netdev", net.netdev());
            self.option("-device", net.device());
        }
    }

    fn machine(&mut self, machine: &Machine, has_own_memory: bool) {
        let mut name = machine.machine.clone();
        if has_own_memory {
            name.push(",memory-backend=ram");
        }
        if machine.display == Display::Mirrored {
            name.push(",graphics=off");
        }
        self.option("-machine", name);
        match machine.display {
            Display::None => {}
            Display::Vga | Display::Mirrored => self.option("-vga", "std"),
        }
    }

    fn warm(&mut self, warm: &Warm<OsString>, memory_mib: u64) {
        let memory = |id: &str, mib: u64, share: &str, path: &OsStr| {
            let mut option = OsString::from(format!("memory-backend-file,id={id},size={mib}M,share={share},mem-path="));
            option.push(in_option(path));
            option
        };
        let mut share_window = "on";
        match &warm.ram {
            Ram::Anonymous => {}
            Ram::Shared(ram) => self.option("-object", memory("ram", memory_mib, "on", ram)),
            Ram::Restored { ram, .. } => {
                self.option("-object", memory("ram", memory_mib, "off", ram));
                // QMP commands follow: the command line cannot express that only device state is restored.
                self.option("-incoming", "defer");
                // Shared memory is skipped when a machine is saved, and must be mapped at its previous address before
                // any device is restored (`migration/ram.c`, "Mismatched GPAs"). A PCI region has no address at that
                // point. For private memory the skipped content is not required.
                share_window = "off";
            }
        }
        self.option("-object", memory("window", warm.window_mib, share_window, &warm.window));
        // `master`: without it, the machine could not be saved (`hw/misc/ivshmem.c`).
        self.option("-device", "ivshmem-plain,memdev=window,master=on");
    }

    fn firmware(&mut self, machine: &Machine, own: Option<&OsStr>) {
        let uefi = match &machine.firmware {
            Firmware::Direct | Firmware::Bios(None) => return,
            Firmware::Bios(Some(path)) => return self.option("-bios", path),
            Firmware::Uefi(uefi) => uefi,
        };
        match &uefi.files {
            Files::Rom(path) => self.option("-bios", path),
            Files::Stateless(code) => self.flash(0, code, &Flash::ReadOnly),
            Files::Combined(all) => self.flash(0, all, &Flash::of(own)),
            Files::Split { code, vars } => {
                self.flash(0, code, &Flash::ReadOnly);
                self.flash(1, vars, &Flash::of(own));
            }
        }
        if uefi.smm {
            // Only code in SMM may write the variables; OVMF then cannot resume from S3 (EDK2 `OvmfPkg/README`).
            self.option("-global", "driver=cfi.pflash01,property=secure,value=on");
            if let Some(device) = MachineType::of(&machine.machine).power_device {
                self.option("-global", format!("{device}.disable_s3=1"));
            }
        }
    }

    fn flash(&mut self, unit: u8, image: &Image, how: &Flash<'_>) {
        let (file, mode) = match how {
            Flash::ReadOnly => (image.path.as_os_str(), "readonly=on"),
            Flash::Discarded => (image.path.as_os_str(), "snapshot=on"),
            Flash::Writable(own) => (*own, "readonly=off"),
        };
        let mut value = OsString::from(format!("if=pflash,unit={unit},format={},{mode},file=", image.format.name()));
        value.push(in_option(file));
        self.option("-drive", value);
    }

    fn channel(&mut self, machine: &Machine, fd: RawFd, files: Option<RawFd>) {
        let controller = match machine.transport {
            Transport::None => return,
            Transport::Com2 => {
                self.option("-chardev", format!("socket,id=channel,fd={fd}"));
                self.option("-serial", "chardev:channel");
                return;
            }
            Transport::VirtioPci => "virtio-serial-pci",
            Transport::VirtioMmio => {
                // Linux requires virtio 1.0 for a virtio-mmio console; QEMU's default is the legacy interface.
                self.option("-global", "virtio-mmio.force-legacy=false");
                "virtio-serial-device"
            }
        };
        // Port 0 is reserved for consoles.
        let count = if files.is_some() { 3 } else { 2 };
        self.option("-device", format!("{controller},id=ports,max_ports={count}"));
        self.option("-chardev", format!("socket,id=channel,fd={fd}"));
        self.option("-device", format!("virtserialport,bus=ports.0,chardev=channel,name={PORT_NAME}"));
        if let Some(fd) = files {
            self.option("-chardev", format!("socket,id=files,fd={fd}"));
            self.option("-device", format!("virtserialport,bus=ports.0,chardev=files,name={}", files::PORT_NAME));
        }
    }
}

/// Handling of guest writes to a flash image.
enum Flash<'a> {
    /// Writes are refused.
    ReadOnly,
    /// Writes are discarded.
    Discarded,
    /// Writes go to this file.
    Writable(&'a OsStr),
}

impl<'a> Flash<'a> {
    fn of(own: Option<&'a OsStr>) -> Self {
        own.map_or(Self::Discarded, Self::Writable)
    }
}

/// Escapes a value inside a QEMU option, in which a comma separates properties (`util/keyval.c`).
fn in_option(value: &OsStr) -> OsString {
    let doubled = value.as_bytes().iter().flat_map(|byte| std::iter::repeat_n(*byte, 1 + usize::from(*byte == b',')));
    OsString::from_vec(doubled.collect())
}

/// Formats a command line for a shell, with arguments quoted as necessary.
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
    use super::{Chardevs, Connections, Payload, Ram, Warm, argv, shell_line};
    use crate::arch::Arch;
    use crate::format::SectorSize;
    use crate::qemu::device::Devices;
    use crate::qemu::drive::{self, Drive};
    use crate::qemu::firmware::{Files, Firmware, Format, Image, Uefi};
    use crate::qemu::machine::{Accelerator, Display, Machine};
    use crate::qemu::machine_type::Transport;
    use crate::qemu::program::{Qemu, QemuFacts};
    use expect_test::expect;
    use std::ffi::OsString;

    fn machine(transport: Transport) -> Machine {
        Machine {
            arch: Arch::X86_64,
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
            firmware: Firmware::Direct,
            display: Display::None,
            command_line: "console=ttyS0 panic=-1 quiet".into(),
            devices: Devices::default(),
            extra: vec!["-trace".into(), "ich9*".into()],
            transport,
        }
    }

    fn pretty(transport: Transport, chardevs: Chardevs) -> String {
        lines(&machine(transport), None, chardevs)
    }

    fn lines(machine: &Machine, flash: Option<&str>, chardevs: Chardevs) -> String {
        let payload = Payload::Linux { kernel: "/k/vmlinux".into(), initrd: "/proc/self/fd/9".into(), warm: None };
        let connections = Connections { payload, flash: flash.map(OsString::from), disks: Vec::new(), chardevs };
        shell_line(&argv(machine, &connections)).to_string_lossy().replace(" -", "\n-")
    }

    /// Lines that the firmware adds.
    fn firmware_lines(firmware: Firmware, flash: Option<&str>) -> String {
        let plain = pretty(Transport::VirtioPci, INHERITED);
        let machine = Machine { firmware, ..machine(Transport::VirtioPci) };
        let all = lines(&machine, flash, INHERITED);
        all.lines().filter(|line| !plain.lines().any(|known| known == *line)).collect::<Vec<_>>().join("\n")
    }

    fn uefi(files: Files, smm: bool) -> Firmware {
        Firmware::Uefi(Uefi { files, smm })
    }

    fn image(path: &str, format: Format) -> Image {
        Image { path: path.into(), format }
    }

    const INHERITED: Chardevs = Chardevs::Inherited { channel: 4, files: None, monitor: 5 };

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
            -chardev stdio,id=console,signal=off
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
        .assert_eq(&pretty(Transport::VirtioPci, INHERITED));
    }

    #[test]
    fn directories_of_the_host_have_a_port_of_their_own() {
        let line = pretty(Transport::VirtioPci, Chardevs::Inherited { channel: 4, files: Some(6), monitor: 5 });
        expect![[r"
            -device virtio-serial-pci,id=ports,max_ports=3
            -chardev socket,id=channel,fd=4
            -device virtserialport,bus=ports.0,chardev=channel,name=bootling.0
            -chardev socket,id=files,fd=6
            -device virtserialport,bus=ports.0,chardev=files,name=bootling.files"]]
        .assert_eq(&line.lines().skip(12).take(5).collect::<Vec<_>>().join("\n"));
    }

    /// Lines that a waiting guest adds.
    fn warm_lines(ram: Ram<OsString>) -> String {
        let plain = pretty(Transport::VirtioPci, INHERITED);
        let warm = Some(Warm { window: "/proc/self/fd/11".into(), window_mib: 256, ram });
        let payload = Payload::Linux { kernel: "/k/vmlinux".into(), initrd: "/proc/self/fd/9".into(), warm };
        let connections = Connections { payload, flash: None, disks: Vec::new(), chardevs: INHERITED };
        let all =
            shell_line(&argv(&machine(Transport::VirtioPci), &connections)).to_string_lossy().replace(" -", "\n-");
        all.lines().filter(|line| !plain.lines().any(|known| known == *line)).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_waiting_guest_has_a_window_and_its_memory_in_a_file() {
        expect![[r"
            -object memory-backend-file,id=window,size=256M,share=on,mem-path=/proc/self/fd/11
            -device ivshmem-plain,memdev=window,master=on"]]
        .assert_eq(&warm_lines(Ram::Anonymous));
        expect![[r"
            -machine q35,memory-backend=ram
            -object memory-backend-file,id=ram,size=1024M,share=on,mem-path=/proc/self/fd/12
            -object memory-backend-file,id=window,size=256M,share=on,mem-path=/proc/self/fd/11
            -device ivshmem-plain,memdev=window,master=on"]]
        .assert_eq(&warm_lines(Ram::Shared("/proc/self/fd/12".into())));
        expect![[r"
            -machine q35,memory-backend=ram
            -object memory-backend-file,id=ram,size=1024M,share=off,mem-path=/proc/self/fd/12
            -incoming defer
            -object memory-backend-file,id=window,size=256M,share=off,mem-path=/proc/self/fd/11
            -device ivshmem-plain,memdev=window,master=on"]]
        .assert_eq(&warm_lines(Ram::Restored { ram: "/proc/self/fd/12".into(), state: "/proc/self/fd/13".into() }));
    }

    #[test]
    fn a_run_over_the_second_serial_port() {
        let line = pretty(Transport::Com2, INHERITED);
        assert!(
            line.contains("-serial chardev:console\n-chardev socket,id=channel,fd=4\n-serial chardev:channel"),
            "{line}"
        );
    }

    #[test]
    fn a_line_to_paste_has_its_console_on_the_terminal() {
        let line = pretty(Transport::VirtioPci, Chardevs::Stdio);
        assert!(line.contains("-serial mon:stdio") && !line.contains("fd=") && !line.contains("-sandbox"), "{line}");
    }

    #[test]
    fn firmware_code_is_read_only_and_the_guest_gets_its_own_copy_of_the_variables() {
        let split =
            || Files::Split { code: image("/o/a,b.fd", Format::Raw), vars: image("/o/vars.qcow2", Format::Qcow2) };
        expect![[r"
            -drive if=pflash,unit=0,format=raw,readonly=on,file=/o/a,,b.fd
            -drive if=pflash,unit=1,format=qcow2,readonly=off,file=/proc/self/fd/8
            -global driver=cfi.pflash01,property=secure,value=on
            -global ICH9-LPC.disable_s3=1"]]
        .assert_eq(&firmware_lines(uefi(split(), true), Some("/proc/self/fd/8")));
        expect![[r"
            -drive if=pflash,unit=0,format=raw,readonly=on,file=/o/a,,b.fd
            -drive if=pflash,unit=1,format=qcow2,snapshot=on,file=/o/vars.qcow2"]]
        .assert_eq(&firmware_lines(uefi(split(), false), None));
        let stateless = uefi(Files::Stateless(image("/o/s.fd", Format::Raw)), false);
        expect!["-drive if=pflash,unit=0,format=raw,readonly=on,file=/o/s.fd"]
            .assert_eq(&firmware_lines(stateless, None));
        let combined = uefi(Files::Combined(image("/o/c.fd", Format::Raw)), false);
        expect!["-drive if=pflash,unit=0,format=raw,readonly=off,file=/proc/self/fd/8"]
            .assert_eq(&firmware_lines(combined, Some("/proc/self/fd/8")));
        expect!["-bios /o/rom.fd"].assert_eq(&firmware_lines(uefi(Files::Rom("/o/rom.fd".into()), false), None));
        expect!["-bios /o/bios.bin"].assert_eq(&firmware_lines(Firmware::Bios(Some("/o/bios.bin".into())), None));
        expect![""].assert_eq(&firmware_lines(Firmware::Bios(None), None));
    }

    #[test]
    fn a_disk_is_never_written_and_the_machine_stays_after_a_shutdown() {
        let machine =
            Machine { firmware: Firmware::Bios(None), display: Display::Mirrored, ..machine(Transport::None) };
        let drive = Drive::new(drive::Format::Qcow2, drive::Bus::Virtio, SectorSize::S4096).expect("a drive");
        let command_line = |image: &str, chardevs| {
            let connections = Connections {
                payload: Payload::Disk { image: image.into(), drive },
                flash: None,
                disks: Vec::new(),
                chardevs,
            };
            shell_line(&argv(&machine, &connections)).to_string_lossy().replace(" -", "\n-")
        };
        expect![[r"
            /usr/bin/qemu-system-x86_64
            -machine q35,graphics=off
            -vga std
            -accel tcg
            -cpu max
            -m 1024M
            -nodefaults
            -no-user-config
            -no-shutdown
            -display none
            -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
            -chardev stdio,id=console,signal=off
            -serial chardev:console
            -chardev socket,id=monitor,fd=5
            -mon chardev=monitor,mode=control
            -drive if=none,id=drive,format=qcow2,snapshot=on,file=/proc/self/fd/9
            -device virtio-blk-pci,drive=drive,bootindex=0,logical_block_size=4096,physical_block_size=4096
            -trace 'ich9*'"]]
        .assert_eq(&command_line("/proc/self/fd/9", INHERITED));
        let to_paste = command_line("/a,b c.qcow2", Chardevs::Stdio);
        assert!(to_paste.contains("file=/a,,b c.qcow2'") && !to_paste.contains("-no-shutdown"), "{to_paste}");
    }

    #[test]
    fn a_shell_reads_back_the_original_arguments() {
        let words = ["plain", "", "it's", "a b", "$HOME", "ü"].map(OsString::from);
        let line = shell_line(&words);
        let script = format!("printf '%s\\0' {}", line.to_string_lossy());
        let output = std::process::Command::new("sh").args(["-c", &script]).output().expect("sh runs");
        assert_eq!(output.stdout, b"plain\0\0it's\0a b\0$HOME\0\xc3\xbc\0");
    }
}
