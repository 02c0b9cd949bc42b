//! Finds and reads the modules for requests, in a thread, so that the guest's output continues to flow.

use std::error::Error;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::event::{EventfdFlags, eventfd};

use crate::format::protocol::modules::{MAX_MODULES, Weight};
use crate::guest::error::with_causes;
use crate::root::directory::Root;
use crate::root::fact::{Content, Node};
use crate::root::kernel::Kernel;
use crate::root::modules::{self, ModuleError, ModuleLoad, Need, tables::ModuleTables};
use crate::root::request::ModuleRequest;

/// Maximum total size of the modules of one request.
const MAX_TOTAL: u64 = 256 << 20;

/// Parameters for modules that create devices of a link type, requested by that type: otherwise `ip link add dummy0`
/// would fail, because the module has created a dummy0 itself. Distributions set the same (systemd,
/// `modprobe.d/systemd.conf`).
const LINK_PARAMETERS: [(&[u8], &str); 3] =
    [(b"rtnl-link-dummy", "numdummies=0"), (b"rtnl-link-bond", "max_bonds=0"), (b"rtnl-link-ifb", "numifbs=0")];

/// The modules of a kernel.
#[derive(Debug, Clone)]
pub(crate) struct ModuleSource {
    /// Root that the kernel belongs to.
    pub(crate) root: PathBuf,
    /// The kernel.
    pub(crate) kernel: Arc<Kernel>,
    /// The tables of its modules.
    pub(crate) tables: Arc<ModuleTables>,
}

/// A module with the contents of its file.
#[derive(Debug, Clone)]
pub(super) struct Provided {
    /// Name, with `_` for `-`.
    pub(super) name: String,
    /// Parameters.
    pub(super) parameters: Vec<u8>,
    /// Consequence of a failure.
    pub(super) weight: Weight,
    /// The file, decompressed.
    pub(super) bytes: Arc<[u8]>,
}

/// Result of a request.
#[derive(Debug)]
pub(super) enum Resolution {
    /// Modules in load order; none if the request is built in.
    Found {
        /// The modules.
        modules: Vec<Provided>,
        /// Notes for the user.
        notes: Vec<String>,
    },
    /// No such module. `near`: similar names, as text.
    NotFound {
        /// `similar: a, b`, or empty.
        near: String,
    },
    /// An error on the host.
    Failed {
        /// The error.
        why: String,
    },
}

type Asked = (u32, Vec<u8>, Vec<u8>);
type Resolved = (u32, Vec<u8>, Resolution);

/// The thread that resolves requests.
#[derive(Debug)]
pub(super) struct Provider {
    requests: Sender<Asked>,
    results: Receiver<Resolved>,
    /// Readable while there are results.
    ready: OwnedFd,
}

impl Provider {
    /// Starts the thread, which ends with the provider.
    pub(super) fn start(source: ModuleSource) -> io::Result<Self> {
        let ready = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let wake = ready.try_clone()?;
        let (requests, asked) = channel::<Asked>();
        let (answers, results) = channel::<Resolved>();
        std::thread::Builder::new().name("modules".to_owned()).spawn(move || {
            for (id, name, parameters) in asked {
                let resolution = source.resolve(&name, &parameters);
                // The session may be over.
                if answers.send((id, name, resolution)).is_err()
                    || rustix::io::write(&wake, &1_u64.to_ne_bytes()).is_err()
                {
                    return;
                }
            }
        })?;
        Ok(Self { requests, results, ready })
    }

    /// Requests a module by its name or alias.
    pub(super) fn request(&self, id: u32, name: &[u8], parameters: &[u8]) -> io::Result<()> {
        let gone = |_| io::Error::other("the thread that reads modules has ended");
        self.requests.send((id, name.to_vec(), parameters.to_vec())).map_err(gone)
    }

    /// Returns the descriptor that becomes readable when there are results.
    pub(super) fn ready(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    /// Returns the new results.
    pub(super) fn resolved(&self) -> Vec<Resolved> {
        let mut count = [0; 8];
        // Another call may have read it already.
        let _ = rustix::io::read(&self.ready, &mut count);
        self.results.try_iter().collect()
    }
}

impl ModuleSource {
    /// Finds and reads the modules of a request.
    fn resolve(&self, name: &[u8], parameters: &[u8]) -> Resolution {
        let request = ModuleRequest {
            name: OsStr::from_bytes(name).to_owned(),
            params: match LINK_PARAMETERS.iter().find(|(link, _)| *link == name && parameters.is_empty()) {
                Some((_, parameters)) => parameters.into(),
                None => OsStr::from_bytes(parameters).to_owned(),
            },
        };
        let failed = |error: &dyn Error| Resolution::Failed { why: with_causes(error) };
        let root = match Root::new(&self.root) {
            Ok(root) => root,
            Err(error) => return failed(&error),
        };
        let found = match modules::on_demand(&root, &self.kernel, &self.tables, &request) {
            Ok(found) => found,
            Err(ModuleError::Missing { near, .. }) if near.is_empty() => {
                return Resolution::NotFound { near: String::new() };
            }
            Err(ModuleError::Missing { near, .. }) => {
                return Resolution::NotFound { near: format!("similar: {}", near.join(", ")) };
            }
            Err(error) => return failed(&error),
        };
        let mut total = 0;
        let mut modules = Vec::new();
        for ModuleLoad { name, path, params, need } in found.loads {
            let fact = found.facts.iter().find(|fact| fact.path == path);
            let Some(Node::File { content, .. }) = fact.map(|fact| &fact.node) else { continue };
            total += content.len();
            if total > MAX_TOTAL || modules.len() == MAX_MODULES {
                return Resolution::Failed { why: "too many or too large modules".to_owned() };
            }
            match read(content) {
                Ok(bytes) => {
                    let parameters = params.into_encoded_bytes();
                    modules.push(Provided { name, parameters, weight: weight(need), bytes });
                }
                Err(error) => return failed(&error),
            }
        }
        Resolution::Found { modules, notes: found.notes }
    }
}

fn read(content: &Content) -> io::Result<Arc<[u8]>> {
    Ok(match content {
        Content::Bytes(bytes) => Arc::clone(bytes),
        Content::Static(bytes) => (*bytes).into(),
        Content::Host { path, .. } => std::fs::read(path)?.into(),
    })
}

const fn weight(need: Need) -> Weight {
    match need {
        Need::Channel | Need::Soft => Weight::Soft,
        Need::Alternative => Weight::Alternative,
        Need::LastAlternative => Weight::LastAlternative,
        Need::Required => Weight::Required,
    }
}
