//! What the kernel's generator of random numbers can be told (`include/uapi/linux/random.h`).

use super::file::Fd;
use super::{Result, arch, done};
use crate::protocol::frame::SEED;

const RNDADDENTROPY: usize = 0x4008_5203;
const RNDRESEEDCRNG: usize = 0x5207;

/// `struct rand_pool_info`, and as many words behind it as we ever have.
#[repr(C)]
struct Pool {
    bits: i32,
    bytes: i32,
    seed: [u8; SEED],
}

/// Mixes a seed into the pool, every bit of which counts as random.
pub fn add(device: &Fd, seed: &[u8; SEED]) -> Result<()> {
    let pool = Pool { bits: SEED as i32 * 8, bytes: SEED as i32, seed: *seed };
    // SAFETY: the kernel reads a struct rand_pool_info and the bytes it speaks of.
    done(unsafe { arch::call(arch::IOCTL, device.number(), RNDADDENTROPY, &raw const pool as usize, 0, 0) })
}

/// Draws a new key from the pool at once.
pub fn reseed(device: &Fd) -> Result<()> {
    // SAFETY: no memory is involved.
    done(unsafe { arch::call(arch::IOCTL, device.number(), RNDRESEEDCRNG, 0, 0, 0) })
}
