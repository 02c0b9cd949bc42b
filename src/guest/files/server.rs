//! The file server of one command: a thread that answers the requests of the guest's kernel until the command has ended.
//!
//! Requests come from an untrusted guest. Their length is bounded, an invalid one ends the service with a note, and so does
//! a panic. If a file system of the host hangs, only this thread waits for it.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;
use std::{fmt, fs::File};

use fuse_backend_rs::api::server::Server;
use fuse_backend_rs::transport::{FuseBuf, FuseDevWriter, Reader};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::inodes::Budget;
use super::shares::Share;
use super::tree::Tree;
use crate::format::protocol::files::{GREETING, HEADER, Header, MAGIC, MAX_MESSAGE};

/// Descriptors that bootling keeps for itself.
const RESERVED: u64 = 128;
/// Time limit for a request that is being served when the command has ended.
const PATIENCE: Duration = Duration::from_secs(1);
/// Size of one read, bytes.
const CHUNK: usize = 128 * 1024;

/// A running server. Stopped on drop.
pub(crate) struct FileServer {
    /// Closed to stop the thread.
    stop: Option<OwnedFd>,
    notes: Receiver<String>,
}

impl fmt::Debug for FileServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileServer").finish_non_exhaustive()
    }
}

impl FileServer {
    /// Serves these directories to the guest at the other end of `stream`.
    pub(crate) fn start(stream: &UnixStream, shares: &[Share]) -> io::Result<Self> {
        let stream = stream.try_clone()?;
        let budget = Arc::new(Budget::new(raise_limit().saturating_sub(RESERVED)));
        let serve = |share: &Share| {
            let directory = share.directory.try_clone()?;
            Tree::new(directory, share.writable, share.guest.is_none(), &budget).map(Server::new)
        };
        let trees = shares.iter().map(serve).collect::<io::Result<Vec<_>>>()?;
        let (stopped, stop) = pipe_with(PipeFlags::CLOEXEC)?;
        let (sender, notes) = channel();
        let replies = File::from(memfd_create("files", MemfdFlags::CLOEXEC)?);
        let connection = Connection { stream, stopped, trees, replies };
        thread::Builder::new().name("files".to_owned()).spawn(move || {
            // The connection is closed before the end is reported.
            let note = {
                let mut connection = connection;
                match connection.serve() {
                    Ok(()) => None,
                    Err(Fault::Io(error)) => Some(format!("the service of --share and --root has ended: {error}")),
                    Err(Fault::Guest(what)) => {
                        Some(format!("the service of --share and --root has ended: the guest sent {what}"))
                    }
                }
            };
            // The receiver may have been dropped.
            let _ = note.map(|note| sender.send(note));
        })?;
        Ok(Self { stop: Some(stop), notes })
    }

    /// Stops the server. Returns a note if it had to end before.
    pub(crate) fn finish(mut self) -> Option<String> {
        self.stop = None;
        match self.notes.recv_timeout(PATIENCE) {
            Ok(note) => Some(note),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                Some("a request of --share or --root still waits for a file system of the host".to_owned())
            }
        }
    }
}

/// Raises the limit of open files to what is allowed. Returns it.
fn raise_limit() -> u64 {
    const DEFAULT: u64 = 1024;
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(_) => limit.current.unwrap_or(DEFAULT),
    }
}

/// Reason for the end of the service.
enum Fault {
    Io(io::Error),
    /// The guest sent this.
    Guest(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<rustix::io::Errno> for Fault {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// The thread's data.
struct Connection {
    stream: UnixStream,
    /// Readable when the server has to stop.
    stopped: OwnedFd,
    trees: Vec<Server<Tree>>,
    /// Receives each reply: the crate writes to a file.
    replies: File,
}

impl Connection {
    /// Serves requests until the guest is gone, or the server is stopped.
    fn serve(&mut self) -> Result<(), Fault> {
        let mut received: Vec<u8> = Vec::with_capacity(HEADER + MAX_MESSAGE + CHUNK);
        let mut is_synchronized = false;
        let mut out = vec![0; HEADER + MAX_MESSAGE];
        let mut scratch = vec![0; MAX_MESSAGE];
        let mut chunk = vec![0; CHUNK];
        loop {
            let mut at = 0;
            if is_synchronized {
                while let Some((header, end)) = next(&received[at..])? {
                    let (start, end) = (at + HEADER, at + end);
                    at = end;
                    let len = self.answer(header, &mut received[start..end], &mut scratch, &mut out)?;
                    if let Some(reply) = len.map(|len| &out[..len])
                        && !self.send(reply)?
                    {
                        return Ok(());
                    }
                }
            } else if let Some(start) = received.windows(MAGIC.len()).position(|window| window == MAGIC) {
                at = start;
                if let Some(greeting) = received.get(start..start + GREETING).map(<[u8]>::to_vec) {
                    is_synchronized = true;
                    received.drain(..start + GREETING);
                    if !self.send(&greeting)? {
                        return Ok(());
                    }
                    continue;
                }
            } else {
                at = received.len().saturating_sub(MAGIC.len() - 1);
            }
            received.drain(..at);
            if !self.wait(PollFlags::IN)? {
                return Ok(());
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(len) => received.extend_from_slice(&chunk[..len]),
                Err(error) if is_temporary(&error) => {}
                // QEMU is gone.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Answers a request. Returns the length of the reply in `out`, if there is one.
    fn answer(
        &mut self,
        header: Header,
        message: &mut [u8],
        scratch: &mut [u8],
        out: &mut [u8],
    ) -> Result<Option<usize>, Fault> {
        let invalid = |what: &str| Fault::Guest(format!("an invalid request: {what}"));
        let server = self.trees.get(usize::from(header.share)).ok_or_else(|| invalid("no such share"))?;
        if message.first_chunk().is_none_or(|len| u32::from_le_bytes(*len) != header.len) {
            return Err(invalid("two lengths"));
        }
        self.replies.seek(SeekFrom::Start(0))?;
        let file = self.replies.as_raw_fd();
        let handled = catch_unwind(AssertUnwindSafe(|| {
            let reader = Reader::<()>::from_fuse_buffer(FuseBuf::new(message)).map_err(|error| error.to_string())?;
            let writer = FuseDevWriter::<()>::new(file, scratch).map_err(|error| error.to_string())?;
            server.handle_message(reader, writer.into(), None, None).map_err(|error| error.to_string())
        }));
        let len = match handled {
            Ok(Ok(len)) => len,
            Ok(Err(why)) => return Err(invalid(&why)),
            Err(_) => return Err(invalid("it caused a panic")),
        };
        if len == 0 {
            return Ok(None);
        }
        let whole = out.get_mut(..HEADER + len).ok_or_else(|| invalid("too long a reply"))?;
        let (place, reply) = whole.split_at_mut(HEADER);
        self.replies.read_exact_at(reply, 0)?;
        let len = u32::try_from(len).map_err(|_| invalid("too long a reply"))?;
        place.copy_from_slice(&Header { share: header.share, len }.encode());
        Ok(Some(whole.len()))
    }

    /// Sends all bytes. Returns false if the guest is gone, or the server is stopped.
    fn send(&mut self, mut bytes: &[u8]) -> Result<bool, Fault> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(len) => bytes = &bytes[len..],
                Err(error) if is_temporary(&error) => {
                    if !self.wait(PollFlags::OUT)? {
                        return Ok(false);
                    }
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Waits for the guest. Returns false if the server is stopped.
    fn wait(&self, flags: PollFlags) -> Result<bool, Fault> {
        loop {
            let mut fds =
                [PollFd::new(&self.stream, flags), PollFd::from_borrowed_fd(self.stopped.as_fd(), PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) => return Ok(fds[1].revents().is_empty()),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Returns the header and the end of the first message; `None` if it is incomplete.
fn next(bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
    let Some(header) = bytes.first_chunk() else { return Ok(None) };
    let header = Header::decode(*header).ok_or_else(|| Fault::Guest("an invalid header".to_owned()))?;
    let end = HEADER + header.len as usize;
    Ok((bytes.len() >= end).then_some((header, end)))
}

#[cfg(test)]
mod tests {
    use super::FileServer;
    use crate::format::protocol::files::{GREETING, HEADER, Header, greeting};
    use crate::guest::files::shares::{Share, find};
    use crate::qemu::device::files::{FilesRequest, ShareRequest};
    use proptest::collection::vec;
    use proptest::prelude::{Strategy, any, prop_oneof, proptest};
    use std::fs;
    use std::io::{Read, Write};
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixStream;
    use std::path::Path;

    /// `FUSE_LOOKUP`, `FUSE_INIT`, `FUSE_READLINK`.
    const LOOKUP: u32 = 1;
    const READLINK: u32 = 5;
    const INIT: u32 = 26;

    fn shares(directory: &Path, mode: &str) -> Vec<Share> {
        let typed = format!("{}=/x{mode}", directory.display());
        let share = ShareRequest::parse(typed.as_ref()).expect("a share");
        find(&FilesRequest { shares: vec![share], ..FilesRequest::default() }).expect("found")
    }

    /// A request with its header.
    fn request(opcode: u32, node: u64, body: &[u8]) -> Vec<u8> {
        let len = u32::try_from(40 + body.len()).expect("short");
        let mut bytes = Header { share: 0, len }.encode().to_vec();
        bytes.extend(len.to_le_bytes());
        bytes.extend(opcode.to_le_bytes());
        bytes.extend(7_u64.to_le_bytes());
        bytes.extend(node.to_le_bytes());
        bytes.extend([0; 16]);
        bytes.extend(body);
        bytes
    }

    /// The first request of a kernel of protocol 7.31, with all options that need no second word.
    fn init() -> Vec<u8> {
        let body: Vec<u8> = [7_u32, 31, 0, u32::MAX >> 2].iter().flat_map(|word| word.to_le_bytes()).collect();
        request(INIT, 0, &body)
    }

    /// A connected server, after the greeting.
    fn connected(shares: &[Share]) -> (FileServer, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("a socket");
        let server = FileServer::start(&ours, shares).expect("a server");
        theirs.write_all(b"left over").and_then(|()| theirs.write_all(&greeting(5))).expect("sent");
        let mut answer = [0; GREETING];
        theirs.read_exact(&mut answer).expect("a greeting");
        assert_eq!(answer, greeting(5));
        (server, theirs)
    }

    /// Sends a request; returns the error number and the body of the reply.
    fn ask(stream: &mut UnixStream, request: &[u8]) -> (i32, Vec<u8>) {
        stream.write_all(request).expect("sent");
        let mut header = [0; HEADER];
        stream.read_exact(&mut header).expect("a header");
        let header = Header::decode(header).expect("a valid header");
        let mut reply = vec![0; header.len as usize];
        stream.read_exact(&mut reply).expect("a reply");
        let errno = i32::from_le_bytes(*reply[4..].first_chunk().expect("a reply has a header"));
        (-errno, reply.split_off(16))
    }

    fn node(body: &[u8]) -> u64 {
        u64::from_le_bytes(*body.first_chunk().expect("an entry"))
    }

    #[test]
    fn names_and_links_do_not_lead_out_of_the_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        let inside = dir.path().join("inside");
        fs::create_dir_all(inside.join("sub")).expect("created");
        fs::write(dir.path().join("secret"), "secret").expect("written");
        symlink("..", inside.join("up")).expect("linked");
        let (server, mut stream) = connected(&shares(&inside, ""));
        assert_eq!(ask(&mut stream, &init()).0, 0);
        let (errno, sub) = ask(&mut stream, &request(LOOKUP, 1, b"sub\0"));
        assert_eq!(errno, 0);
        for (parent, name) in
            [(1, &b"..\0"[..]), (node(&sub), b"..\0"), (1, b"../secret\0"), (1, b".\0"), (1, b"up/secret\0")]
        {
            assert_eq!(ask(&mut stream, &request(LOOKUP, parent, name)).0, libc::EINVAL, "{name:?}");
        }
        // The link itself: not a directory in which names could be looked up.
        let (errno, up) = ask(&mut stream, &request(LOOKUP, 1, b"up\0"));
        assert_eq!((errno, ask(&mut stream, &request(READLINK, node(&up), b"")).1), (0, b"..".to_vec()));
        assert_eq!(ask(&mut stream, &request(LOOKUP, node(&up), b"secret\0")).0, libc::ENOTDIR);
        // A directory that moves out of the share takes no one with it.
        fs::rename(inside.join("sub"), dir.path().join("moved")).expect("moved");
        assert_eq!(ask(&mut stream, &request(LOOKUP, node(&sub), b"..\0")).0, libc::EINVAL);
        drop(stream);
        assert_eq!(server.finish(), None);
    }

    #[test]
    fn an_invalid_request_ends_the_service_with_a_note() {
        let dir = tempfile::tempdir().expect("a directory");
        for invalid in
            [&[0xff; 64][..], &Header { share: 3, len: 16 }.encode().repeat(4), &request(LOOKUP, 1, b"no end")]
        {
            let (server, mut stream) = connected(&shares(dir.path(), ":rw"));
            stream.write_all(invalid).expect("sent");
            assert_eq!(stream.read(&mut [0; 64]).expect("closed"), 0, "{invalid:?}");
            let note = server.finish().expect("a note");
            assert!(note.contains("the guest sent an invalid"), "{note}");
        }
    }

    fn bodies() -> impl Strategy<Value = Vec<u8>> {
        let names = prop_oneof!["a", "b", "link", "\\.\\.", "secret", "\\.\\./secret", "sub"];
        let word = prop_oneof![0_u64..8, any::<u64>(), (0_u32..12).prop_map(|bit| 1 << bit)];
        (vec(word, 0..6), vec(names, 0..3)).prop_map(|(words, names)| {
            let words = words.into_iter().flat_map(u64::to_le_bytes);
            words.chain(names.into_iter().flat_map(|name| name.into_bytes().into_iter().chain([0]))).collect()
        })
    }

    proptest! {
        #[test]
        fn no_requests_change_anything_outside_or_cause_a_panic(requests in vec((1_u32..53, 0_u64..6, bodies()), 1..40), writable in any::<bool>()) {
            let dir = tempfile::tempdir().expect("a directory");
            let inside = dir.path().join("inside");
            fs::create_dir_all(inside.join("sub")).expect("created");
            fs::write(dir.path().join("secret"), "secret").expect("written");
            fs::write(inside.join("a"), "data").expect("written");
            symlink(dir.path().join("secret"), inside.join("link")).expect("linked");
            let (server, mut stream) = connected(&shares(&inside, if writable { ":rw" } else { "" }));
            assert_eq!(ask(&mut stream, &init()).0, 0);
            let mut all = Vec::new();
            for (opcode, node, body) in &requests {
                all.extend(request(*opcode, *node, body));
            }
            // The server may end the connection.
            let _ = stream.write_all(&all).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
            let mut replies = Vec::new();
            let _ = stream.read_to_end(&mut replies);
            let note = server.finish().unwrap_or_default();
            assert!(!note.contains("panic"), "{note}");
            assert_eq!(fs::read_to_string(dir.path().join("secret")).expect("kept"), "secret");
            let outside = fs::read_dir(dir.path()).expect("listed").count();
            assert_eq!(outside, 2);
            if !writable {
                assert_eq!(fs::read_to_string(inside.join("a")).expect("kept"), "data");
                assert_eq!(fs::read_dir(&inside).expect("listed").count(), 3);
            }
        }
    }
}
