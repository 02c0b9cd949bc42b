//! Memory that is never freed, and the memory functions that compiled code calls.

use super::file::Fd;
use super::{Result, arch};
use core::cell::{Cell, UnsafeCell};

const PROT_READ: usize = 1;
const PROT_WRITE: usize = 2;
const MAP_PRIVATE: usize = 2;
const MAP_ANONYMOUS: usize = 0x20;

/// Memory for typical jobs, available without a system call. It is bss: not part of the program file, and free until
/// touched.
const ROOM: usize = 1024 * 1024;
const ALIGNMENT: usize = 16;

#[repr(align(4096))]
struct Arena {
    bytes: UnsafeCell<[u8; ROOM]>,
    used: Cell<usize>,
}

// SAFETY: there is one thread. The child that shares this memory runs only while the parent is stopped.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena { bytes: UnsafeCell::new([0; ROOM]), used: Cell::new(0) };

/// Allocates zeroed memory.
pub fn allocate(len: usize) -> Result<&'static mut [u8]> {
    let start = ARENA.used.get();
    // `start` is at most ROOM, so neither the difference nor the sum overflows.
    if len <= ROOM - start {
        ARENA.used.set((start + len).next_multiple_of(ALIGNMENT).min(ROOM));
        // SAFETY: these bytes are in the arena, are zero, and are returned once.
        return Ok(unsafe { core::slice::from_raw_parts_mut(ARENA.bytes.get().cast::<u8>().add(start), len) });
    }
    // SAFETY: a new anonymous mapping is zeroed, private, and never unmapped.
    unsafe {
        let at = arch::call(arch::MMAP, 0, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, usize::MAX)?;
        Ok(core::slice::from_raw_parts_mut(at as *mut u8, len))
    }
}

/// Maps `len` bytes of device memory read-only. The host writes it only at times defined by the protocol.
pub fn map_shared(file: &Fd, len: usize) -> Result<&'static [u8]> {
    const MAP_SHARED: usize = 1;
    // SAFETY: a new mapping, which is never unmapped. It is read only while the host does not write it.
    unsafe {
        let at = arch::call(arch::MMAP, 0, len, PROT_READ, MAP_SHARED, file.number())?;
        Ok(core::slice::from_raw_parts(at as *const u8, len))
    }
}

/// Like [`allocate`], for `count` numbers.
pub fn allocate_numbers(count: usize) -> Result<&'static mut [u32]> {
    let bytes = allocate(count.saturating_mul(size_of::<u32>()))?;
    // SAFETY: the memory is sufficiently aligned and has no other reference.
    unsafe { Ok(core::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), count)) }
}

/// Like [`allocate`], for a NULL-terminated list of `count` C strings.
pub fn allocate_pointers(count: usize) -> Result<&'static mut [*const u8]> {
    let bytes = allocate(count.saturating_add(1).saturating_mul(size_of::<*const u8>()))?;
    // SAFETY: the memory is sufficiently aligned; zeroes are null pointers; the bytes have no other reference.
    unsafe { Ok(core::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), count + 1)) }
}

// The compiler calls these by name. `#![no_builtins]` prevents it from compiling their loops into calls of themselves.
// Word loops, not `rep movsb`, since TCG executes the latter byte by byte.

/// # Safety
/// See C's `memcpy`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    // SAFETY: both ranges are `len` bytes long, as the caller guarantees.
    unsafe { copy_forwards(to, from, len) };
    to
}

/// # Safety
/// See C's `memmove`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    // SAFETY: both ranges are `len` bytes long, as the caller guarantees; the direction suits their overlap.
    unsafe {
        if (to as usize).wrapping_sub(from as usize) >= len {
            copy_forwards(to, from, len);
        } else {
            let mut left = len;
            while left > 0 {
                left -= 1;
                to.add(left).write(from.add(left).read());
            }
        }
    }
    to
}

/// # Safety
/// Both must be `len` bytes long; `to` may overlap `from` only if it starts at a lower address.
unsafe fn copy_forwards(to: *mut u8, from: *const u8, len: usize) {
    let mut at = 0;
    // SAFETY: `at` stays below `len`. A word is read before it is written, and the written bytes precede the bytes that
    // are read next, so overlap is harmless.
    unsafe {
        while len - at >= 8 {
            let word = from.add(at).cast::<u64>().read_unaligned();
            to.add(at).cast::<u64>().write_unaligned(word);
            at += 8;
        }
        while at < len {
            to.add(at).write(from.add(at).read());
            at += 1;
        }
    }
}

/// # Safety
/// See C's `memset`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
    let word = u64::from(byte as u8) * 0x0101_0101_0101_0101;
    let mut at = 0;
    // SAFETY: `at` stays below `len`.
    unsafe {
        while len - at >= 8 {
            to.add(at).cast::<u64>().write_unaligned(word);
            at += 8;
        }
        while at < len {
            to.add(at).write(byte as u8);
            at += 1;
        }
    }
    to
}

/// # Safety
/// See C's `memcmp`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    let mut at = 0;
    while at < len {
        // SAFETY: `at` stays below `len`.
        let (x, y) = unsafe { (a.add(at).read(), b.add(at).read()) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
        at += 1;
    }
    0
}

/// # Safety
/// See C's `bcmp`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    // SAFETY: the same contract.
    unsafe { memcmp(a, b, len) }
}

/// # Safety
/// See C's `strlen`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut len = 0;
    // SAFETY: a NUL ends the text, as the caller guarantees.
    while unsafe { text.add(len).read() } != 0 {
        len += 1;
    }
    len
}
