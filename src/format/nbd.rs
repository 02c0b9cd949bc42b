//! Read-only client of the NBD protocol (`doc/proto.md` of the nbd project).
//!
//! Implements the fixed newstyle handshake with `NBD_OPT_GO`, and simple replies. The server is a child process that parses
//! an untrusted image, so sizes and replies are checked, and reads are limited.

use std::io::{self, Read, Write};

const SERVER: u64 = 0x4e42_444d_4147_4943; // "NBDMAGIC"
const OPTION: u64 = 0x4948_4156_454F_5054; // "IHAVEOPT"
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;
/// `NBD_FLAG_C_FIXED_NEWSTYLE` and `NBD_FLAG_C_NO_ZEROES`.
const CLIENT_FLAGS: u32 = 3;
const OPT_GO: u32 = 7;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const INFO_EXPORT: u16 = 0;
const CMD_READ: u16 = 0;
const CMD_DISCONNECT: u16 = 2;
/// Maximum length of a reply to an option, and number of replies.
const LONGEST_REPLY: u32 = 4096;
const MOST_REPLIES: usize = 16;
/// Maximum bytes per request; servers support at least 32 MiB.
const PIECE: usize = 1 << 20;

/// Open export.
#[derive(Debug)]
pub struct Export<S> {
    stream: S,
    size: u64,
    cookie: u64,
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

fn u64_from(stream: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

fn u32_from(stream: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

impl<S: Read + Write> Export<S> {
    /// Opens the export `name` of the server at the other end of `stream`.
    pub fn open(mut stream: S, name: &str) -> io::Result<Self> {
        if (u64_from(&mut stream)?, u64_from(&mut stream)?) != (SERVER, OPTION) {
            return Err(invalid("not an NBD server of the newstyle protocol"));
        }
        let mut flags = [0; 2];
        stream.read_exact(&mut flags)?;
        let length = u32::try_from(name.len()).map_err(|_| invalid("long export name"))?;
        let mut hello = CLIENT_FLAGS.to_be_bytes().to_vec();
        hello.extend(OPTION.to_be_bytes());
        hello.extend(OPT_GO.to_be_bytes());
        hello.extend((length + 6).to_be_bytes());
        hello.extend(length.to_be_bytes());
        hello.extend(name.as_bytes());
        // No information requests.
        hello.extend(0_u16.to_be_bytes());
        stream.write_all(&hello)?;
        let mut size = None;
        for _ in 0..MOST_REPLIES {
            if u64_from(&mut stream)? != OPTION_REPLY || u32_from(&mut stream)? != OPT_GO {
                return Err(invalid("invalid reply of the NBD server"));
            }
            let (kind, length) = (u32_from(&mut stream)?, u32_from(&mut stream)?);
            if length > LONGEST_REPLY {
                return Err(invalid(format!("reply of {length} bytes of the NBD server")));
            }
            let mut data = vec![0; length as usize];
            stream.read_exact(&mut data)?;
            match kind {
                REP_INFO => match data.split_first_chunk() {
                    Some((id, rest)) if u16::from_be_bytes(*id) == INFO_EXPORT => {
                        size = rest.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
                    }
                    Some(_) | None => {}
                },
                REP_ACK => {
                    let size = size.ok_or_else(|| invalid("the NBD server did not declare a size"))?;
                    return Ok(Self { stream, size, cookie: 0 });
                }
                other => return Err(invalid(format!("the NBD server refused the export (reply {other:#x})"))),
            }
        }
        Err(invalid("too many replies of the NBD server"))
    }

    /// Returns the size of the export in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Reads the bytes at `offset`, which must be within the export.
    pub fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut at = offset;
        for piece in buffer.chunks_mut(PIECE) {
            self.request(CMD_READ, at, piece.len() as u32)?;
            if u32_from(&mut self.stream)? != REPLY {
                return Err(invalid("invalid reply of the NBD server"));
            }
            let (error, cookie) = (u32_from(&mut self.stream)?, u64_from(&mut self.stream)?);
            if cookie != self.cookie {
                return Err(invalid("reply of the NBD server to another request"));
            }
            if error != 0 {
                return Err(io::Error::from_raw_os_error(i32::try_from(error).unwrap_or(libc::EIO)));
            }
            self.stream.read_exact(piece)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn request(&mut self, command: u16, offset: u64, length: u32) -> io::Result<()> {
        self.cookie += 1;
        let mut bytes = REQUEST.to_be_bytes().to_vec();
        bytes.extend(0_u16.to_be_bytes());
        bytes.extend(command.to_be_bytes());
        bytes.extend(self.cookie.to_be_bytes());
        bytes.extend(offset.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        self.stream.write_all(&bytes)
    }

    /// Tells the server that nothing more is read.
    pub fn disconnect(&mut self) {
        drop(self.request(CMD_DISCONNECT, 0, 0));
    }
}

#[cfg(test)]
mod tests {
    use super::{Export, OPT_GO, OPTION, OPTION_REPLY, REP_ACK, REP_INFO, REPLY, SERVER};
    use std::io::{self, Cursor, Read, Write};

    /// A server whose replies are recorded.
    struct Recorded(Cursor<Vec<u8>>);

    impl Read for Recorded {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Recorded {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn reply(kind: u32, data: &[u8]) -> Vec<u8> {
        let head = [&OPTION_REPLY.to_be_bytes()[..], &OPT_GO.to_be_bytes(), &kind.to_be_bytes()].concat();
        [&head[..], &(data.len() as u32).to_be_bytes(), data].concat()
    }

    fn server(replies: &[Vec<u8>]) -> Recorded {
        let greeting = [&SERVER.to_be_bytes()[..], &OPTION.to_be_bytes(), &[0, 3]].concat();
        Recorded(Cursor::new([greeting, replies.concat()].concat()))
    }

    fn export_info(size: u64) -> Vec<u8> {
        reply(REP_INFO, &[&[0, 0][..], &size.to_be_bytes(), &[0, 3]].concat())
    }

    #[test]
    fn an_export_is_opened_and_read() {
        let data = [&REPLY.to_be_bytes()[..], &[0; 4], &1_u64.to_be_bytes(), b"abcd"].concat();
        let mut export = Export::open(server(&[export_info(9), reply(REP_ACK, &[]), data]), "disk").expect("opened");
        assert_eq!(export.size(), 9);
        let mut four = [0; 4];
        export.read_at(&mut four, 5).expect("read");
        assert_eq!(&four, b"abcd");
        export.read_at(&mut four, 0).expect_err("the server has gone");
    }

    #[test]
    fn hostile_servers_are_refused() {
        assert!(Export::open(Recorded(Cursor::new(vec![0; 100])), "x").is_err());
        assert!(Export::open(server(&[reply(REP_ACK, &[])]), "x").is_err(), "no size");
        assert!(Export::open(server(&[reply(0x8000_0006, b"unknown")]), "x").is_err());
        let mut long = reply(REP_INFO, &[]);
        long[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(Export::open(server(&[long]), "x").is_err());
        let wrong = [&REPLY.to_be_bytes()[..], &[0; 4], &7_u64.to_be_bytes(), b"abcd"].concat();
        let mut export = Export::open(server(&[export_info(9), reply(REP_ACK, &[]), wrong]), "x").expect("opened");
        export.read_at(&mut [0; 4], 0).expect_err("another cookie");
    }
}
