//! Ioctls of the kernel's random generator (`include/uapi/linux/random.h`).

use super::file::Fd;
use super::{Result, arch, done};
use crate::protocol::frame::SEED;

const RNDADDENTROPY: usize = 0x4008_5203;
const RNDRESEEDCRNG: usize = 0x5207;

/// `struct rand_pool_info` with room for a seed.
#[repr(C)]
struct Pool {
    bits: i32,
    bytes: i32,
    seed: [u8; SEED],
}

/// Mixes a seed into the pool and credits all of its bits as entropy.
pub fn add(device: &Fd, seed: &[u8; SEED]) -> Result<()> {
    let pool = Pool { bits: SEED as i32 * 8, bytes: SEED as i32, seed: *seed };
    // SAFETY: the kernel reads a struct rand_pool_info and the bytes after it.
    done(unsafe { arch::call(arch::IOCTL, device.number(), RNDADDENTROPY, &raw const pool as usize, 0, 0) })
}

/// Reseeds the generator from the pool immediately.
pub fn reseed(device: &Fd) -> Result<()> {
    // SAFETY: no memory is involved.
    done(unsafe { arch::call(arch::IOCTL, device.number(), RNDRESEEDCRNG, 0, 0, 0) })
}
