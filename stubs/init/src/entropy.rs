//! Reseeds the kernel's random generator: guests restored from one snapshot must not share random numbers.

use crate::protocol::frame::SEED;
use crate::syscall::Result;
use crate::syscall::file::{READ_WRITE, open};
use crate::syscall::random;

/// Mixes the seed into the pool and forces a reseed (`drivers/char/random.c`: a new generator key also invalidates the
/// per-CPU and vDSO state).
pub fn renew(seed: &[u8; SEED]) -> Result<()> {
    let pool = open(c"/dev/urandom", READ_WRITE)?;
    random::add(&pool, seed)?;
    random::reseed(&pool)
}
