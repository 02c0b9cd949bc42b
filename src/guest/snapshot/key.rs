//! The key of a snapshot: a digest of everything that it depends on. Only a snapshot with the same key is restored.
//!
//! The command line represents the machine (CPU model, memory, accelerator, kernel arguments, devices). Files that it
//! names, and files that QEMU opens without an option (its program, its ROMs), are represented by their identity, which
//! changes with every write.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::cache::{Cache, Key, Stamp};
use crate::format::protocol;
use crate::qemu::argv::{Chardevs, Connections, Payload, Ram, Warm, argv};
use crate::qemu::device::disk::DiskSource;
use crate::qemu::firmware::{Files, Firmware};
use crate::qemu::machine::{Accelerator, Machine};
use crate::qemu::machine_type::roms;
use crate::qemu::named;

/// Version; raised when snapshots are made, stored or restored in another way.
const KIND: &str = "warm base 1";
/// Ingredients of a key, without the base's initrd, for a machine that boots this kernel and has a window of this size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ingredients(pub(in crate::guest) Vec<Vec<u8>>);

/// Returns the digest of the ingredients and the base's initrd.
pub(crate) fn key(ingredients: &Ingredients, base: &OwnedFd) -> io::Result<Key> {
    let base = contents(base)?;
    let parts: Vec<&[u8]> = ingredients.0.iter().chain([&base]).map(Vec::as_slice).collect();
    Ok(Key::of(KIND, &parts))
}

/// Collects the ingredients.
pub(crate) fn ingredients(machine: &Machine, kernel: &Path, window_mib: u64, cache: &Cache) -> Ingredients {
    let machine = &Machine { devices: machine.devices.as_seen_by_guest(), ..machine.clone() };
    let words = symbolic(machine, kernel, window_mib);
    let mut parts: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    // Capacities are not on the command line. The contents of a disk do not count: partitions are read again.
    parts.extend(machine.devices.disks.iter().map(|disk| match (&disk.request.source, disk.bytes) {
        (DiskSource::Image { path, .. }, None) => stamped(path),
        (_, bytes) => bytes.unwrap_or_default().to_le_bytes().to_vec(),
    }));
    parts.push(machine.qemu.facts.version.clone().into_bytes());
    parts.push(protocol::VERSION.to_le_bytes().to_vec());
    let mut files = vec![machine.qemu.path.clone(), kernel.to_owned()];
    let directories = machine.qemu.data(cache);
    files.extend(directories.iter().flat_map(|directory| roms().map(|rom| directory.join(rom))));
    files.extend(firmware_files(&machine.firmware));
    files.extend(named(&words));
    if !machine.extra.is_empty() {
        // File names in arguments may be relative.
        parts.push(std::env::current_dir().unwrap_or_default().into_os_string().into_encoded_bytes());
    }
    parts.extend(files.iter().map(|path| stamped(path)));
    match machine.accelerator {
        Accelerator::Tcg => {}
        // The guest sees this processor, as far as this host kernel exposes it.
        Accelerator::Kvm => parts.extend([processor(), host_kernel()]),
    }
    // After a power failure a file's identity may be on disk without its contents: snapshots are not synced. A snapshot
    // is therefore valid only until the host reboots.
    parts.push(fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default());
    Ingredients(parts)
}

/// Returns the command line with names in place of descriptors, which differ between runs.
fn symbolic(machine: &Machine, kernel: &Path, window_mib: u64) -> Vec<OsString> {
    let warm = Warm { window: "window".into(), window_mib, ram: Ram::Shared("ram".into()) };
    let payload =
        Payload::Linux { kernel: kernel.as_os_str().to_owned(), initrd: OsString::from("base"), warm: Some(warm) };
    let flash = machine.firmware.writable().map(|_| "flash".into());
    let disks = vec![OsString::from("disk"); machine.devices.disks.len()];
    let files = machine.devices.files.then_some(-1);
    let chardevs = Chardevs::Inherited { channel: -1, files, monitor: -1 };
    argv(machine, &Connections { payload, flash, disks, chardevs })
}

fn firmware_files(firmware: &Firmware) -> Vec<PathBuf> {
    match firmware {
        Firmware::Direct => Vec::new(),
        Firmware::Bios(path) => path.iter().cloned().collect(),
        Firmware::Uefi(uefi) => match &uefi.files {
            Files::Split { code, vars } => vec![code.path.clone(), vars.path.clone()],
            Files::Combined(image) | Files::Stateless(image) => vec![image.path.clone()],
            Files::Rom(path) => vec![path.clone()],
        },
    }
}

/// Returns the files that the arguments name, as a whole or as a property's value. Files that QEMU writes to are left
/// out.
fn named(words: &[OsString]) -> Vec<PathBuf> {
    let outputs = |word: &OsString| matches!(word.as_bytes(), b"-D" | b"--D" | b"-trace" | b"--trace");
    let read = words.iter().enumerate().filter(|(at, _)| *at == 0 || !outputs(&words[at - 1])).map(|(_, word)| word);
    named::files(read)
}

/// Returns a path and the identity of its file; links are followed.
fn stamped(path: &Path) -> Vec<u8> {
    let stamp = fs::metadata(path).map_or_else(|_| "missing".to_owned(), |metadata| Stamp::of(&metadata).to_string());
    [path.as_os_str().as_bytes(), b"\0", stamp.as_bytes()].concat()
}

/// Returns the lines of `/proc/cpuinfo` that identify the first processor and its features, without its frequency.
fn processor() -> Vec<u8> {
    const TELLING: [&str; 7] = ["vendor_id", "cpu family", "model", "model name", "stepping", "microcode", "flags"];
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let first = text.split("\n\n").next().unwrap_or_default();
    let telling = |line: &&str| line.split(':').next().is_some_and(|name| TELLING.contains(&name.trim()));
    first.lines().filter(telling).flat_map(|line| [line, "\n"]).collect::<String>().into_bytes()
}

fn host_kernel() -> Vec<u8> {
    let name = rustix::system::uname();
    [name.release().to_bytes(), b" ", name.version().to_bytes()].concat()
}

/// Reads a whole file, independent of other readers' offsets.
fn contents(file: &OwnedFd) -> io::Result<Vec<u8>> {
    let file = fs::File::from(file.try_clone()?);
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{ingredients, key};
    use crate::arch::Arch;
    use crate::cache::{Cache, Key};
    use crate::qemu::device::Devices;
    use crate::qemu::firmware::{Files, Firmware, Format, Image, Uefi};
    use crate::qemu::machine::{Accelerator, Display, Machine};
    use crate::qemu::machine_type::Transport;
    use crate::qemu::program::{Qemu, QemuFacts};
    use std::fs;
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    /// Files and values that a key depends on, in a directory.
    struct Scene {
        dir: tempfile::TempDir,
        machine: Machine,
        base: Vec<u8>,
        window_mib: u64,
    }

    impl Scene {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let at = |name: &str| dir.path().join(name);
            fs::create_dir(at("share")).expect("the directory is ours");
            for name in [
                "vmlinuz",
                "code.fd",
                "vars.fd",
                "bios.fd",
                "acpi.bin",
                "share/bios-256k.bin",
                "share/linuxboot_dma.bin",
            ] {
                fs::write(at(name), name).expect("the directory is ours");
            }
            // Prints its ROM directory, as `qemu -L help` does.
            fs::write(at("text"), format!("#!/bin/sh\necho {}\n", at("share").display()))
                .expect("the directory is ours");
            fs::set_permissions(at("text"), fs::Permissions::from_mode(0o755)).expect("the directory is ours");
            // Written by another process: a file that a thread of this process has open for writing cannot be executed
            // (ETXTBSY).
            let copied = std::process::Command::new("cp").args([at("text"), at("qemu")]).status();
            assert!(copied.expect("cp runs").success());
            let machine = Machine {
                arch: Arch::X86_64,
                qemu: Qemu { path: at("qemu"), facts: QemuFacts { version: "7.2.22".to_owned(), sandbox: true } },
                accelerator: Accelerator::Tcg,
                no_kvm: None,
                machine: "q35".into(),
                cpu: "max".into(),
                smp: None,
                memory_mib: 1024,
                firmware: Firmware::Direct,
                display: Display::None,
                command_line: "console=ttyS0 panic=-1".into(),
                devices: Devices::default(),
                extra: vec!["-acpitable".into(), format!("sig=SSDT,file={}", at("acpi.bin").display()).into()],
                transport: Transport::VirtioPci,
            };
            Self { dir, machine, base: b"pid 1".to_vec(), window_mib: 256 }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn key(&self) -> Key {
            let cache = Cache::at(self.at("cache"), 1 << 30).expect("a cache");
            let mut base = tempfile::tempfile().expect("a file");
            base.write_all(&self.base).expect("written");
            let ingredients = ingredients(&self.machine, &self.at("vmlinuz"), self.window_mib, &cache);
            key(&ingredients, &OwnedFd::from(base)).expect("a key")
        }

        fn uefi(&self) -> Firmware {
            let image = |name: &str| Image { path: self.at(name), format: Format::Raw };
            Firmware::Uefi(Uefi { files: Files::Split { code: image("code.fd"), vars: image("vars.fd") }, smm: false })
        }
    }

    #[test]
    fn the_same_ingredients_have_the_same_key() {
        let ingredients = Scene::new();
        assert_eq!(ingredients.key(), ingredients.key());
        // The kernel's name in reports does not count.
        let mut other = ingredients;
        let before = other.key();
        other.machine.no_kvm = Some("no /dev/kvm".to_owned());
        assert_eq!(before, other.key());
    }

    /// A change of one ingredient.
    type Change = fn(&mut Scene);

    #[test]
    fn a_change_of_each_ingredient_changes_the_key() {
        let changes: [(&str, Change); 16] = [
            ("the command line", |of| of.machine.command_line.push(" quiet")),
            ("the machine", |of| of.machine.machine = "pc".into()),
            ("the processor", |of| of.machine.cpu = "qemu64".into()),
            ("the number of processors", |of| of.machine.smp = Some("2".into())),
            ("the memory", |of| of.machine.memory_mib = 512),
            ("the accelerator", |of| of.machine.accelerator = Accelerator::Kvm),
            ("the channel", |of| of.machine.transport = Transport::Com2),
            ("a device", |of| of.machine.extra.extend(["-device".into(), "i6300esb".into()])),
            ("the version of QEMU", |of| of.machine.qemu.facts.version = "10.0.0".to_owned()),
            ("whether there is a sandbox", |of| of.machine.qemu.facts.sandbox = false),
            ("the program", |of| {
                fs::copy(of.at("qemu"), of.at("qemu2")).expect("copied");
                of.machine.qemu.path = of.at("qemu2");
            }),
            ("the firmware", |of| of.machine.firmware = Firmware::Bios(Some(of.at("bios.fd")))),
            ("the kind of firmware", |of| of.machine.firmware = of.uefi()),
            ("pid 1 and its modules", |of| of.base.push(b'x')),
            ("the window", |of| of.window_mib = 512),
            ("a ROM that appears", |of| fs::write(of.at("share/kvmvapic.bin"), "rom").expect("written")),
        ];
        for (what, change) in changes {
            // In one directory, so that only the change differs.
            let mut ingredients = Scene::new();
            let before = ingredients.key();
            change(&mut ingredients);
            assert_ne!(before, ingredients.key(), "{what}");
        }
    }

    #[test]
    fn a_write_to_each_file_changes_the_key() {
        let mut ingredients = Scene::new();
        let files: [(&str, Option<Firmware>); 8] = [
            ("vmlinuz", None),
            ("qemu", None),
            ("share/bios-256k.bin", None),
            ("share/linuxboot_dma.bin", None),
            ("acpi.bin", None),
            ("bios.fd", Some(Firmware::Bios(Some(ingredients.at("bios.fd"))))),
            ("code.fd", Some(ingredients.uefi())),
            ("vars.fd", Some(ingredients.uefi())),
        ];
        for (name, firmware) in files {
            ingredients.machine.firmware = firmware.unwrap_or(Firmware::Direct);
            let before = ingredients.key();
            let path = ingredients.at(name);
            let (bytes, mode) = (fs::read(&path).expect("there"), fs::metadata(&path).expect("there").permissions());
            // With the same length and date: the inode's change time differs.
            let times = fs::metadata(&path).and_then(|metadata| metadata.modified()).expect("there");
            fs::write(&path, bytes.iter().rev().copied().collect::<Vec<u8>>()).expect("written");
            let file = fs::File::options().write(true).open(&path).expect("there");
            file.set_modified(times).expect("it is ours");
            assert_ne!(before, ingredients.key(), "{name} was written to");
            // Replaced by a file with the same bytes: an unnecessary new key is harmless.
            fs::write(ingredients.at("new"), &bytes).expect("written");
            fs::set_permissions(ingredients.at("new"), mode).expect("it is ours");
            let written = ingredients.key();
            fs::rename(ingredients.at("new"), &path).expect("renamed");
            assert_ne!(written, ingredients.key(), "{name} was replaced");
            assert_ne!(before, ingredients.key(), "{name} was replaced");
        }
    }
}
