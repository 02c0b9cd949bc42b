//! The network interface: `--net user|none|ARGS` and `--publish HOST:GUEST`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use super::option::{is_property, split};
use crate::qemu::machine_type::VirtioBus;

/// Address of the guest in QEMU's user-mode network.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// Its netmask.
const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
/// Its gateway: the host.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// Its name server.
pub(crate) const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

/// Properties of the user-mode network that bootling sets, or relies on.
const FIXED: [&str; 6] = ["net", "host", "dhcpstart", "dns", "ipv4", "hostfwd"];

/// Backends of QEMU's `-netdev` (`qapi/net.json`, `NetClientDriver`) on Linux, except `user` and `nic`.
const BACKENDS: [&str; 13] = [
    "socket",
    "stream",
    "dgram",
    "tap",
    "bridge",
    "hubport",
    "l2tpv3",
    "vde",
    "netmap",
    "af-xdp",
    "passt",
    "vhost-user",
    "vhost-vdpa",
];

/// `--net`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Backend {
    /// QEMU's user-mode network, with further options.
    User(Vec<String>),
    /// Any other backend, as for QEMU's `-netdev`.
    Other(Vec<String>),
}

/// Value of `--net`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NetRequest {
    /// The backend; `None`: no network.
    pub backend: Option<Backend>,
    /// MAC address of the interface.
    pub mac: Option<String>,
    /// Published ports.
    pub publish: Vec<Publish>,
}

/// Protocol of a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A port of the guest that is reachable on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Publish {
    /// Address on the host; port 0: a free port, chosen before QEMU starts.
    pub host: SocketAddr,
    /// Port in the guest.
    pub guest: u16,
    /// Protocol.
    pub protocol: Protocol,
}

/// A network interface with all its properties determined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Net {
    /// The backend.
    pub backend: Backend,
    /// MAC address.
    pub mac: Option<String>,
    /// Published ports.
    pub publish: Vec<Publish>,
    /// Bus of virtio devices.
    pub(crate) virtio: VirtioBus,
}

impl FromStr for NetRequest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = split(text);
        let kind = parts.remove(0);
        // A command after `--net` would otherwise be taken for a backend.
        if !["user", "none"].contains(&kind.as_str()) && !BACKENDS.contains(&kind.as_str()) {
            let known = BACKENDS.join(", ");
            return Err(format!("no network backend {kind:?}: expected user, none, or one of QEMU's -netdev: {known}"));
        }
        let mut mac = None;
        let mut options = Vec::new();
        for part in parts {
            match part.split_once('=') {
                Some(("mac", value)) => mac = Some(address(value)?),
                Some(("id", _)) => return Err("id is set by bootling".to_owned()),
                Some((name, _)) if kind == "user" && FIXED.contains(&name) => {
                    return Err(format!("{name} is set by bootling; --publish forwards ports"));
                }
                Some((name, value)) if is_property(name) && !value.is_empty() => options.push(part),
                Some(_) | None => {
                    return Err(format!("invalid property {part:?}: expected NAME=VALUE, as for QEMU's -netdev"));
                }
            }
        }
        let backend = match kind.as_str() {
            "none" if options.is_empty() && mac.is_none() => None,
            "none" => return Err("none has no properties".to_owned()),
            "user" => Some(Backend::User(options)),
            _ => {
                options.insert(0, kind);
                Some(Backend::Other(options))
            }
        };
        Ok(Self { backend, mac, publish: Vec::new() })
    }
}

impl NetRequest {
    /// Returns the interface with published ports, which imply a user-mode network.
    pub fn with_ports(net: Option<Self>, publish: &[Publish]) -> Option<Self> {
        match net {
            Some(mut net) => {
                net.publish.extend_from_slice(publish);
                Some(net)
            }
            None if publish.is_empty() => None,
            None => Some(Self { backend: Some(Backend::User(Vec::new())), mac: None, publish: publish.to_vec() }),
        }
    }

    /// Returns false if ports are published by another backend than the user-mode network.
    pub(crate) fn can_publish(&self) -> bool {
        self.publish.is_empty() || matches!(self.backend, Some(Backend::User(_)))
    }
}

impl fmt::Display for NetRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = match &self.backend {
            None => vec!["none".to_owned()],
            Some(backend) => backend.words(),
        };
        words.extend(self.mac.as_ref().map(|mac| format!("mac={mac}")));
        let escaped: Vec<String> = words.iter().map(|word| word.replace(',', ",,")).collect();
        f.write_str(&escaped.join(","))
    }
}

/// Checks a MAC address.
fn address(text: &str) -> Result<String, String> {
    let is_byte = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bytes: Vec<&str> = text.split(':').collect();
    if bytes.len() == 6 && bytes.iter().all(|part| is_byte(part)) {
        Ok(text.to_owned())
    } else {
        Err(format!("invalid MAC address {text:?}: expected six bytes such as 52:54:00:12:34:57"))
    }
}

impl FromStr for Publish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || {
            "expected HOST:GUEST, HOST:GUEST/udp or ADDRESS:HOST:GUEST, such as 8080:80, with ports from 1 to 65535; \
             HOST may be 0 for a free port"
                .to_owned()
        };
        let (ports, protocol) = match text.rsplit_once('/') {
            None => (text, Protocol::Tcp),
            Some((ports, "tcp")) => (ports, Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some(_) => return Err(invalid()),
        };
        let port = |text: &str| text.parse::<u16>().ok().filter(|_| !text.starts_with('+'));
        let (host, guest) = ports.rsplit_once(':').ok_or_else(invalid)?;
        let (host, host_port) = match host.rsplit_once(':') {
            None => (IpAddr::V4(Ipv4Addr::LOCALHOST), host),
            Some((host, port)) => (host.parse::<Ipv4Addr>().map_err(|_| invalid())?.into(), port),
        };
        let host = SocketAddr::new(host, port(host_port).ok_or_else(invalid)?);
        let guest = port(guest).filter(|port| *port > 0).ok_or_else(invalid)?;
        Ok(Self { host, guest, protocol })
    }
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, guest, protocol } = self;
        let suffix = if *protocol == Protocol::Udp { "/udp" } else { "" };
        write!(f, "{host}:{guest}{suffix}")
    }
}

impl Backend {
    /// Returns the backend and its options.
    fn words(&self) -> Vec<String> {
        match self {
            Self::User(options) => [&["user".to_owned()], &options[..]].concat(),
            Self::Other(options) => options.clone(),
        }
    }
}

impl Publish {
    /// Returns true if both cannot be published at the same time.
    pub(crate) fn collides(&self, other: &Self) -> bool {
        let is_everywhere = |publish: &Self| publish.host.ip().is_unspecified();
        self.protocol == other.protocol
            && self.host.port() == other.host.port()
            && self.host.port() != 0
            && (self.host.ip() == other.host.ip() || is_everywhere(self) || is_everywhere(other))
    }
}

impl Protocol {
    /// Name in QEMU's options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl Net {
    /// Returns the same interface without published ports.
    pub(crate) fn without_ports(self) -> Self {
        Self { publish: Vec::new(), ..self }
    }

    /// Returns the backend as text.
    pub fn backend_text(&self) -> String {
        self.backend.words().join(",")
    }

    /// Returns the value of QEMU's `-netdev`.
    pub(crate) fn netdev(&self) -> String {
        let words = self.backend.words();
        let escaped: Vec<String> = words.iter().map(|word| word.replace(',', ",,")).collect();
        let forwards = self
            .publish
            .iter()
            .map(|Publish { host, guest, protocol }| format!(",hostfwd={}:{host}-:{guest}", protocol.name()));
        escaped.join(",") + ",id=net" + &forwards.collect::<String>()
    }

    /// Returns the value of QEMU's `-device`.
    pub(crate) fn device(&self) -> String {
        // Without the ROM for network boot, which takes time to load.
        let device = match self.virtio {
            VirtioBus::Pci => "virtio-net-pci,romfile=",
            VirtioBus::Mmio => "virtio-net-device",
        };
        let mac = self.mac.as_ref().map(|mac| format!(",mac={mac}")).unwrap_or_default();
        format!("{device},netdev=net{mac}")
    }
}

/// Returns the configuration of the interface for pid 1: address, netmask and gateway, or nothing to bring it up only.
pub(crate) fn record(backend: &Backend) -> Vec<u8> {
    match backend {
        Backend::User(_) => [ADDRESS, NETMASK, GATEWAY].iter().flat_map(Ipv4Addr::octets).collect(),
        Backend::Other(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Backend, NetRequest, Publish};

    #[test]
    fn ports_are_published_on_the_loopback_address_by_default() {
        for (text, shown) in [
            ("8080:80", "127.0.0.1:8080:80"),
            ("53:53/udp", "127.0.0.1:53:53/udp"),
            ("0.0.0.0:2222:22/tcp", "0.0.0.0:2222:22"),
            ("0:80", "127.0.0.1:0:80"),
        ] {
            assert_eq!(text.parse::<Publish>().expect(text).to_string(), shown);
        }
        for text in ["", "80", "80:0", "x:80", "80:65536", "80:80/sctp", "host:80:80", "1.2.3:80:80", "+1:2"] {
            let error = text.parse::<Publish>().expect_err(text);
            assert!(error.contains("such as 8080:80"), "{text}: {error}");
        }
    }

    #[test]
    fn ports_collide_on_overlapping_addresses_only() {
        let port = |text: &str| text.parse::<Publish>().expect(text);
        for (one, other, collide) in [
            ("8080:80", "8080:81", true),
            ("8080:80", "0.0.0.0:8080:80", true),
            ("127.0.0.2:8080:80", "8080:80", false),
            ("8080:80", "8080:80/udp", false),
            ("0:80", "0:80", false),
        ] {
            assert_eq!(port(one).collides(&port(other)), collide, "{one} {other}");
        }
    }

    #[test]
    fn backends_and_their_properties_are_parsed() {
        let read = |text: &str| text.parse::<NetRequest>();
        assert_eq!(read("user").expect("a request").backend, Some(Backend::User(Vec::new())));
        assert_eq!(read("none").expect("a request").backend, None);
        let other = read("socket,listen=:1234,mac=52:54:00:12:34:57").expect("a request");
        assert_eq!(other.backend, Some(Backend::Other(vec!["socket".to_owned(), "listen=:1234".to_owned()])));
        assert_eq!(other.mac.as_deref(), Some("52:54:00:12:34:57"));
        for text in ["user,restrict=on", "none", "socket,connect=127.0.0.1:1,mac=52:54:00:12:34:57"] {
            assert_eq!(read(text).expect("a request").to_string(), text);
        }
        let command = read("ls").expect_err("a command");
        assert!(command.starts_with("no network backend \"ls\": expected user, none, or one of"), "{command}");
        for text in ["", "-x", "user,id=a", "user,=b", "user,a=", "user,mac=1", "none,a=b", "user,restrict"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
