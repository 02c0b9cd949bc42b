//! The kernel's random numbers: guests that were restored from one image of memory must not share them.

use crate::protocol::frame::SEED;
use crate::syscall::Result;
use crate::syscall::file::{READ_WRITE, open};
use crate::syscall::random;

/// Mixes the seed in, and makes everything that is drawn from now on depend on it (`drivers/char/random.c`: a new key for
/// the generator, and with it for what each processor and the vDSO keep in store).
pub fn renew(seed: &[u8; SEED]) -> Result<()> {
    let pool = open(c"/dev/urandom", READ_WRITE)?;
    random::add(&pool, seed)?;
    random::reseed(&pool)
}
