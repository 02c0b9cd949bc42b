//! Sockets between local processes. Each message is one packet.

use super::file::{CLOSE_ON_EXEC, Fd, NONBLOCKING};
use super::{Errno, Result, arch, done};

const AF_UNIX: u16 = 1;
const SOCK_SEQPACKET: usize = 5;

/// `struct sockaddr_un`.
#[repr(C)]
struct Address {
    family: u16,
    path: [u8; 108],
}

impl Address {
    fn new(path: &[u8]) -> Result<Self> {
        let mut address = Self { family: AF_UNIX, path: [0; 108] };
        // The last byte stays a NUL.
        if path.len() >= address.path.len() {
            return Err(Errno::INVAL);
        }
        for (to, from) in address.path.iter_mut().zip(path) {
            *to = *from;
        }
        Ok(address)
    }
}

fn socket(flags: usize) -> Result<Fd> {
    // SAFETY: no memory is involved.
    let socket = unsafe { arch::call(arch::SOCKET, AF_UNIX as usize, SOCK_SEQPACKET | CLOSE_ON_EXEC | flags, 0, 0, 0) };
    socket.map(Fd::from_number)
}

/// Creates a socket at a path, and accepts connections: see [`accept`].
pub fn listen(path: &[u8]) -> Result<Fd> {
    const BACKLOG: usize = 64;
    let socket = socket(NONBLOCKING)?;
    let address = Address::new(path)?;
    // SAFETY: the kernel reads a struct sockaddr_un; the second call involves no memory.
    unsafe {
        arch::call(arch::BIND, socket.number(), &raw const address as usize, size_of::<Address>(), 0, 0)?;
        arch::call(arch::LISTEN, socket.number(), BACKLOG, 0, 0, 0)?;
    }
    Ok(socket)
}

/// Accepts a connection; does not block.
pub fn accept(listener: &Fd) -> Result<Fd> {
    // SAFETY: no address is requested.
    let accepted = unsafe { arch::call(arch::ACCEPT4, listener.number(), 0, 0, CLOSE_ON_EXEC | NONBLOCKING, 0) };
    accepted.map(Fd::from_number)
}

/// Connects to a socket at a path; blocks.
pub fn connect(path: &[u8]) -> Result<Fd> {
    let socket = socket(0)?;
    let address = Address::new(path)?;
    // SAFETY: the kernel reads a struct sockaddr_un.
    done(unsafe {
        arch::call(arch::CONNECT, socket.number(), &raw const address as usize, size_of::<Address>(), 0, 0)
    })?;
    Ok(socket)
}
