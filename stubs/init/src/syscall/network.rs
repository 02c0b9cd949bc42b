//! Ioctls of network interfaces.

use super::file::{CLOSE_ON_EXEC, Fd};
use super::terminal::ioctl;
use super::{Result, arch, done};

const SIOCADDRT: usize = 0x890b;
const SIOCSIFFLAGS: usize = 0x8914;
const SIOCSIFADDR: usize = 0x8916;
const SIOCSIFNETMASK: usize = 0x891c;
const AF_INET: u8 = 2;

/// `struct sockaddr_in`.
type SocketAddress = [u8; 16];

/// A network interface.
pub struct Interface {
    socket: Fd,
    name: [u8; 16],
}

/// `struct ifreq`: a name, then a union of 24 bytes.
#[repr(C, align(8))]
struct Request {
    name: [u8; 16],
    value: [u8; 24],
}

/// `struct rtentry` of a 64-bit kernel (include/uapi/linux/route.h).
#[repr(C)]
#[derive(Default)]
struct Route {
    pad1: u64,
    destination: SocketAddress,
    gateway: SocketAddress,
    netmask: SocketAddress,
    flags: u16,
    pad2: u16,
    pad3: u64,
    pad4: u64,
    metric: u16,
    device: u64,
    rest: [u64; 3],
}

impl Interface {
    /// Opens a socket to configure an interface.
    pub fn open(name: &[u8]) -> Result<Self> {
        const SOCK_DGRAM: usize = 2;
        // SAFETY: no memory is involved.
        let socket = unsafe { arch::call(arch::SOCKET, usize::from(AF_INET), SOCK_DGRAM | CLOSE_ON_EXEC, 0, 0, 0) }?;
        let mut full = [0; 16];
        // The last byte stays a NUL.
        for (to, from) in full.iter_mut().zip(name.iter().take(15)) {
            *to = *from;
        }
        Ok(Self { socket: Fd::from_number(socket), name: full })
    }

    /// Brings it up.
    pub fn up(&self) -> Result<()> {
        const IFF_UP_RUNNING: u8 = 0x41;
        self.set(SIOCSIFFLAGS, &[IFF_UP_RUNNING])
    }

    pub fn set_address(&self, address: [u8; 4]) -> Result<()> {
        self.set(SIOCSIFADDR, &socket_address(address))
    }

    pub fn set_netmask(&self, mask: [u8; 4]) -> Result<()> {
        self.set(SIOCSIFNETMASK, &socket_address(mask))
    }

    /// Adds a default route through this gateway.
    pub fn add_default_route(&self, gateway: [u8; 4]) -> Result<()> {
        const RTF_UP_GATEWAY: u16 = 3;
        let any = socket_address([0; 4]);
        let gateway = socket_address(gateway);
        let route =
            Route { destination: any, gateway, netmask: any, flags: RTF_UP_GATEWAY, ..Route::default() };
        // SAFETY: the kernel reads a struct rtentry, whose pointer to a device name is null.
        done(unsafe { ioctl(&self.socket, SIOCADDRT, core::ptr::from_ref(&route) as usize) })
    }

    fn set(&self, request: usize, value: &[u8]) -> Result<()> {
        let mut argument = Request { name: self.name, value: [0; 24] };
        for (to, from) in argument.value.iter_mut().zip(value) {
            *to = *from;
        }
        // SAFETY: the kernel reads a struct ifreq.
        done(unsafe { ioctl(&self.socket, request, core::ptr::from_ref(&argument) as usize) })
    }
}

fn socket_address([a, b, c, d]: [u8; 4]) -> SocketAddress {
    [AF_INET, 0, 0, 0, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0]
}
