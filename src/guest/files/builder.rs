//! Directories of the host in the guests of a [`Builder`].

use crate::guest::Builder;
use crate::qemu::device::files::{RootRequest, ShareRequest, Support};

impl Builder {
    /// Shares a directory of the host with all commands.
    #[must_use]
    pub fn share(mut self, share: ShareRequest) -> Self {
        self.spec.boot.files.shares.push(share);
        self
    }

    /// Uses a directory of the host as the root of all commands, copy-on-write: their programs come from there, and nothing is
    /// written back. Changes last until the end of a command.
    #[must_use]
    pub fn root(mut self, root: RootRequest) -> Self {
        self.spec.boot.files.root = Some(root);
        self
    }

    /// Prepares the machine for commands with directories of the host ([`Command::share`](crate::Command::share),
    /// [`Command::root`](crate::Command::root)).
    #[must_use]
    pub fn host_files(mut self, support: Support) -> Self {
        self.spec.boot.files.support = support;
        self
    }
}
