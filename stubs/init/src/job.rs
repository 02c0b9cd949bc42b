//! The parsed job: NUL-terminated strings, and lists for `execve`.

use crate::file;
use crate::path::Path;
use crate::protocol::job::{PATH, Records, Tag, records};
use crate::syscall::memory::{allocate, allocate_numbers, allocate_pointers};
use crate::syscall::{Errno, Result};
use core::ffi::CStr;

/// A NULL-terminated list of C strings.
#[derive(Default)]
pub struct Words {
    pointers: &'static mut [*const u8],
    first: Option<&'static CStr>,
    len: usize,
}

impl Words {
    fn push(&mut self, word: &'static CStr) {
        self.first.get_or_insert(word);
        if let Some(slot) = self.pointers.get_mut(self.len) {
            *slot = word.as_ptr().cast();
            self.len += 1;
        }
    }

    /// Returns the list including the null pointer.
    pub fn list(&self) -> &[*const u8] {
        self.pointers.get(..=self.len).unwrap_or_default()
    }

    pub fn first(&self) -> Option<&'static CStr> {
        self.first
    }
}

/// A module to load.
#[derive(Clone, Copy)]
pub struct Module {
    pub path: &'static CStr,
    pub parameters: &'static CStr,
    /// Consequence of a failure: the tag of its record.
    pub tag: Tag,
}

/// The parsed job; if it is invalid, the part that could be parsed.
#[derive(Default)]
pub struct Job {
    pub arguments: Words,
    pub environment: Words,
    /// Value of `PATH` in `environment`.
    pub search: Option<&'static [u8]>,
    pub directory: Option<&'static CStr>,
    pub channel: Option<&'static [u8]>,
    pub host_name: Option<&'static [u8]>,
    pub terminal: bool,
    pub block_devices: u64,
    /// Number of disks in [`Job::disks`].
    pub disk_count: u64,
    /// Configuration of the network interface: see [`Tag::Network`].
    pub network: Option<&'static [u8]>,
    /// True if the job came through the window: disks were probed before their contents were there.
    pub restored: bool,
    pub verbose: bool,
    /// User ID, group ID and supplementary groups of the command; empty: root.
    pub user: &'static [u32],
    pub autoload: bool,
    /// True if a directory of the host is the command's root.
    pub has_root: bool,
    /// Number of paths in [`Job::collected`].
    pub collect_count: u64,
    /// Most bytes of collected files.
    pub collect_limit: u64,
    /// Length of the window in bytes, if the payload comes through one.
    pub window: Option<u64>,
    /// Reason why the job is invalid.
    pub broken: Option<&'static [u8]>,
    /// Number of channel modules that are not loaded yet.
    pub channel_modules: usize,
    records: Option<Records<'static>>,
    all: Option<Records<'static>>,
    texts: Texts,
}

impl Job {
    /// Reads and parses the job file.
    pub fn read() -> Result<Self> {
        let path = Path::join(&[PATH.as_bytes()]).ok_or(Errno::INVAL)?;
        Self::parse(file::read_all(path.as_c())?)
    }

    fn parse(bytes: &'static [u8]) -> Result<Self> {
        let Ok(all) = records(bytes) else {
            return Ok(Self { broken: Some(b"bad magic"), ..Self::default() });
        };
        let count = |tag| all.clone().filter(|record| matches!(record, Ok((found, _)) if *found == tag)).count();
        let mut job = Self {
            arguments: Words { pointers: allocate_pointers(count(Tag::Arg))?, ..Words::default() },
            environment: Words { pointers: allocate_pointers(count(Tag::Env))?, ..Words::default() },
            ..Self::default()
        };
        // A record's header has five bytes, so this length has room for every value and its NUL.
        job.texts = Texts(allocate(bytes.len())?);
        job.records = Some(all.clone());
        job.all = Some(all.clone());
        for record in all {
            match record {
                Ok((tag, value)) => job.take(tag, value),
                Err(_) => job.broken = Some(b"unknown or truncated record"),
            }
        }
        if job.arguments.first().is_none() && job.window.is_none() && job.broken.is_none() {
            job.broken = Some(b"no command");
        }
        Ok(job)
    }

    /// Returns the next module to load.
    pub fn next_module(&mut self) -> Option<Module> {
        loop {
            let (tag, value) = self.records.as_mut()?.next()?.ok()?;
            match tag {
                Tag::ChannelModule => self.channel_modules = self.channel_modules.saturating_sub(1),
                Tag::Module | Tag::SoftModule | Tag::Alternative | Tag::LastAlternative => {}
                _ => continue,
            }
            let (path, parameters) = value.iter().position(|&byte| byte == 0).map_or((value, &[][..]), |at| {
                (value.get(..at).unwrap_or_default(), value.get(at + 1..).unwrap_or_default())
            });
            // Two strings need two NULs; a record's header leaves room for five bytes.
            let path = self.texts.terminated(path);
            return Some(Module { path, parameters: self.texts.terminated(parameters), tag });
        }
    }

    /// Returns the disks to wait for: bus, serial number, namespace.
    pub fn disks(&self) -> impl Iterator<Item = (&'static [u8], &'static [u8], u64)> {
        self.all.clone().into_iter().flatten().filter_map(|record| {
            let Ok((Tag::Disk, value)) = record else { return None };
            let mut words = value.split(|&byte| byte == b' ');
            Some((words.next()?, words.next()?, file::number(words.next()?)?))
        })
    }

    /// Returns the shares in order, without the root: whether the guest may write, and the mount point.
    pub fn shares(&self) -> impl Iterator<Item = (bool, &'static [u8])> {
        self.all.clone().into_iter().flatten().filter_map(|record| {
            let Ok((Tag::Share, [mode, path @ ..])) = record else { return None };
            Some((*mode == b'w', path))
        })
    }

    /// Returns the paths and patterns of files to collect.
    pub fn collected(&self) -> impl Iterator<Item = &'static [u8]> {
        self.all.clone().into_iter().flatten().filter_map(|record| match record {
            Ok((Tag::Collect, pattern)) => Some(pattern),
            _ => None,
        })
    }

    fn take(&mut self, tag: Tag, value: &'static [u8]) {
        match tag {
            Tag::Arg => self.arguments.push(self.texts.terminated(value)),
            Tag::Env => {
                let word = self.texts.terminated(value);
                self.environment.push(word);
                if let Some(search) = word.to_bytes().strip_prefix(b"PATH=") {
                    self.search = Some(search);
                }
            }
            Tag::Cwd => self.directory = Some(self.texts.terminated(value)),
            Tag::Module | Tag::SoftModule | Tag::Alternative | Tag::LastAlternative => {}
            Tag::ChannelModule => self.channel_modules += 1,
            Tag::Channel => self.channel = Some(value),
            Tag::Tty => self.terminal = true,
            Tag::Hostname => self.host_name = Some(value),
            Tag::BlockDevices => match file::number(value) {
                Some(count) => self.block_devices = count,
                None => self.broken = Some(b"invalid number of block devices"),
            },
            Tag::Disk => self.disk_count += 1,
            Tag::Network => self.network = Some(value),
            Tag::Window => match file::number(value) {
                Some(len) => self.window = Some(len),
                None => self.broken = Some(b"invalid window length"),
            },
            Tag::Verbose => self.verbose = true,
            Tag::User => match numbers(value) {
                Some(user) => self.user = user,
                None => self.broken = Some(b"invalid user"),
            },
            Tag::Autoload => self.autoload = true,
            Tag::Root => self.has_root = true,
            Tag::Share => {}
            Tag::Collect => self.collect_count += 1,
            Tag::CollectLimit => self.collect_limit = file::number(value).unwrap_or(0),
        }
    }
}

/// Parses decimal numbers separated by spaces: at least two.
fn numbers(text: &[u8]) -> Option<&'static [u32]> {
    let words = || text.split(|&byte| byte == b' ');
    let numbers = allocate_numbers(words().count()).ok()?;
    for (to, word) in numbers.iter_mut().zip(words()) {
        *to = u32::try_from(file::number(word)?).ok()?;
    }
    (numbers.len() > 1).then_some(numbers)
}

/// Memory for NUL-terminated strings.
#[derive(Default)]
struct Texts(&'static mut [u8]);

impl Texts {
    fn terminated(&mut self, value: &[u8]) -> &'static CStr {
        let all = core::mem::take(&mut self.0);
        let Some((text, rest)) = all.split_at_mut_checked(value.len().saturating_add(1)) else {
            return c"";
        };
        self.0 = rest;
        // The last byte is zero from its allocation.
        for (to, from) in text.iter_mut().zip(value) {
            *to = *from;
        }
        CStr::from_bytes_until_nul(text).unwrap_or_default()
    }
}
