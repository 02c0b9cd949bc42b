//! What a snapshot depends on, as one digest: nothing that is not the same in all of it is ever restored.
//!
//! The command line stands for the machine (CPU model, memory, accelerator, kernel arguments, devices); files that it names,
//! and those that QEMU takes by itself (its program, its ROMs), count by their stamps, which move with every write.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::boot::argv::{Ends, Payload, Ram, Warm, Wires, argv};
use crate::boot::firmware::{Files, Firmware};
use crate::boot::machine::{Accelerator, Machine};
use crate::cache::{Cache, Key, Stamp};
use crate::proto;

/// Raised whenever snapshots are made, kept or restored in another way.
const KIND: &str = "warm base 1";
/// ROMs that a PC may be given without being asked for (`hw/i386`, `pc-bios/`).
const ROMS: [&str; 10] = [
    "bios-256k.bin",
    "bios.bin",
    "bios-microvm.bin",
    "pvh.bin",
    "linuxboot.bin",
    "linuxboot_dma.bin",
    "multiboot.bin",
    "multiboot_dma.bin",
    "kvmvapic.bin",
    "vgabios-stdvga.bin",
];

/// The digest for a machine that boots this kernel with this base image and has a window of this size.
pub fn key(machine: &Machine, kernel: &Path, base: &OwnedFd, window_mib: u64, cache: &Cache) -> io::Result<Key> {
    let words = symbolic(machine, kernel, window_mib);
    let mut parts: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    parts.push(machine.qemu.facts.version.clone().into_bytes());
    parts.push(proto::VERSION.to_le_bytes().to_vec());
    let mut files = vec![machine.qemu.path.clone(), kernel.to_owned()];
    files.extend(machine.qemu.data(cache).iter().flat_map(|directory| ROMS.map(|rom| directory.join(rom))));
    files.extend(firmware_files(&machine.firmware));
    files.extend(words.iter().flat_map(named));
    parts.extend(files.iter().map(|path| stamped(path)));
    match machine.accelerator {
        Accelerator::Tcg => {}
        // The guest has seen this processor, by the grace of this kernel.
        Accelerator::Kvm => parts.extend([processor(), host_kernel()]),
    }
    parts.push(contents(base)?);
    Ok(Key::of(KIND, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>()))
}

/// The command line with names in place of descriptors, which differ from run to run.
fn symbolic(machine: &Machine, kernel: &Path, window_mib: u64) -> Vec<OsString> {
    let warm = Warm { window: "window".into(), window_mib, ram: Ram::Shared("ram".into()) };
    let payload =
        Payload::Linux { kernel: kernel.as_os_str().to_owned(), initrd: OsString::from("base"), warm: Some(warm) };
    let flash = machine.firmware.writable().map(|_| "flash".into());
    argv(machine, &Wires { payload, flash, ends: Ends::Wired { channel: -1, monitor: -1 } })
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

/// Files that a word names: as a whole, or as the value of one of its properties.
fn named(word: &OsString) -> Vec<PathBuf> {
    let values = word.as_bytes().split(|byte| *byte == b',').map(|property| {
        let value = property.iter().position(|byte| *byte == b'=').map_or(property, |at| &property[at + 1..]);
        PathBuf::from(std::ffi::OsStr::from_bytes(value))
    });
    values.filter(|path| path.components().count() > 1 && path.is_file()).collect()
}

/// A path and what is there, links followed.
fn stamped(path: &Path) -> Vec<u8> {
    let stamp = fs::metadata(path).map_or_else(|_| "missing".to_owned(), |metadata| Stamp::of(&metadata).to_string());
    [path.as_os_str().as_bytes(), b"\0", stamp.as_bytes()].concat()
}

/// The lines about the first processor that name it and what it can do; its speed, which changes, is none of them.
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

fn contents(file: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut file = fs::File::from(file.try_clone()?);
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(bytes)
}
