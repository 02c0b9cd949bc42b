//! Ioctls of terminals and of disks.

use super::file::{CLOSE_ON_EXEC, Fd, NO_TERMINAL, READ_WRITE};
use super::{Result, arch, done};

const TCGETS: usize = 0x5401;
const TCSETS: usize = 0x5402;
const TCSBRK: usize = 0x5409;
const TIOCSCTTY: usize = 0x540e;
const TIOCSWINSZ: usize = 0x5414;
const FIONREAD: usize = 0x541b;
const TIOCSPTLCK: usize = 0x4004_5431;
const TIOCGPTPEER: usize = 0x5441;
const BLKRRPART: usize = 0x125f;

/// `struct termios` of the kernel (include/uapi/asm-generic/termbits.h).
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Termios {
    input: u32,
    output: u32,
    control: u32,
    local: u32,
    line: u8,
    characters: [u8; 19],
}

impl Termios {
    /// Raw mode: bytes pass unchanged and immediately; modem control lines are ignored.
    pub fn raw() -> Self {
        const B115200: u32 = 0o1_0002;
        const CS8: u32 = 0o60;
        const CREAD: u32 = 0o200;
        const CLOCAL: u32 = 0o4000;
        const VMIN: usize = 6;
        let mut characters = [0; 19];
        if let Some(least) = characters.get_mut(VMIN) {
            *least = 1;
        }
        Self { control: B115200 | CS8 | CREAD | CLOCAL, characters, ..Self::default() }
    }

    /// Returns the end-of-file character.
    pub fn end_of_file(&self) -> u8 {
        const VEOF: usize = 4;
        self.characters.get(VEOF).copied().unwrap_or(4)
    }
}

/// # Safety
/// `argument` must be what the request expects.
pub(super) unsafe fn ioctl(file: &Fd, request: usize, argument: usize) -> Result<usize> {
    // SAFETY: guaranteed by the caller.
    unsafe { arch::call(arch::IOCTL, file.number(), request, argument, 0, 0) }
}

pub fn termios(terminal: &Fd) -> Result<Termios> {
    let mut termios = Termios::default();
    // SAFETY: the kernel fills a struct termios.
    unsafe { ioctl(terminal, TCGETS, &raw mut termios as usize) }?;
    Ok(termios)
}

pub fn set_termios(terminal: &Fd, termios: &Termios) -> Result<()> {
    // SAFETY: the kernel reads a struct termios.
    done(unsafe { ioctl(terminal, TCSETS, core::ptr::from_ref(termios) as usize) })
}

/// Waits until all written data has been transmitted.
pub fn drain(terminal: &Fd) -> Result<()> {
    // SAFETY: the argument is a number.
    done(unsafe { ioctl(terminal, TCSBRK, 1) })
}

/// Makes it the controlling terminal of the calling session leader, even if another session has it.
pub fn control(terminal: &Fd) -> Result<()> {
    // SAFETY: the argument is a number.
    done(unsafe { ioctl(terminal, TIOCSCTTY, 1) })
}

pub fn set_size(terminal: &Fd, rows: u16, columns: u16) -> Result<()> {
    let size = [rows, columns, 0, 0];
    // SAFETY: struct winsize is four shorts.
    done(unsafe { ioctl(terminal, TIOCSWINSZ, size.as_ptr() as usize) })
}

/// Returns the number of bytes available to read.
pub fn waiting(file: &Fd) -> Result<usize> {
    let mut bytes = 0_u32;
    // SAFETY: the kernel writes one int.
    unsafe { ioctl(file, FIONREAD, &raw mut bytes as usize) }?;
    Ok(bytes as usize)
}

/// Opens the peer of a pseudo-terminal.
pub fn peer(master: &Fd) -> Result<Fd> {
    let locked = 0_u32;
    // SAFETY: the first request reads one int, the second takes open flags (Linux 4.13).
    unsafe {
        ioctl(master, TIOCSPTLCK, &raw const locked as usize)?;
        ioctl(master, TIOCGPTPEER, READ_WRITE | NO_TERMINAL | CLOSE_ON_EXEC).map(Fd::from_number)
    }
}

/// Reads the partition table of an open disk again.
pub fn read_partitions(disk: &Fd) -> Result<()> {
    // SAFETY: there is no argument.
    done(unsafe { ioctl(disk, BLKRRPART, 0) })
}
