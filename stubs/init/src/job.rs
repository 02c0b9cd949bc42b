//! The job as pid 1 needs it: texts that end in a NUL, lists that `execve` takes.

use crate::file;
use crate::path::Path;
use crate::protocol::job::{PATH, Records, Tag, records};
use crate::syscall::memory::{allocate, allocate_pointers};
use crate::syscall::{Errno, Result};
use core::ffi::CStr;

/// A list of C strings, for the kernel, and its texts, for us.
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

    /// With the null pointer at the end.
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
    /// A driver of the channel: its failure is only noted.
    pub for_channel: bool,
}

/// What pid 1 is to do. What could be read of it, if it is broken.
#[derive(Default)]
pub struct Job {
    pub arguments: Words,
    pub environment: Words,
    /// `PATH` in that environment.
    pub search: Option<&'static [u8]>,
    pub directory: Option<&'static CStr>,
    pub channel: Option<&'static [u8]>,
    pub host_name: Option<&'static [u8]>,
    pub terminal: bool,
    pub block_devices: u64,
    pub verbose: bool,
    /// Wait for archives in a window of so many bytes.
    pub window: Option<u64>,
    /// Why it is broken.
    pub broken: Option<&'static [u8]>,
    /// Modules of the channel that are not loaded yet.
    pub channel_modules: usize,
    records: Option<Records<'static>>,
    texts: Texts,
}

impl Job {
    /// Reads the job's file.
    pub fn read() -> Result<Self> {
        let path = Path::join(&[PATH.as_bytes()]).ok_or(Errno::INVAL)?;
        Self::parse(file::read_all(path.as_c())?)
    }

    fn parse(bytes: &'static [u8]) -> Result<Self> {
        let Ok(all) = records(bytes) else {
            return Ok(Self { broken: Some(b"it does not start as a job does"), ..Self::default() });
        };
        let count = |tag| all.clone().filter(|record| matches!(record, Ok((found, _)) if *found == tag)).count();
        let mut job = Self {
            arguments: Words { pointers: allocate_pointers(count(Tag::Arg))?, ..Words::default() },
            environment: Words { pointers: allocate_pointers(count(Tag::Env))?, ..Words::default() },
            ..Self::default()
        };
        // A record's header is five bytes, so that many bytes have room for every value and its NUL.
        job.texts = Texts(allocate(bytes.len())?);
        job.records = Some(all.clone());
        for record in all {
            match record {
                Ok((tag, value)) => job.take(tag, value),
                Err(_) => job.broken = Some(b"a record is unknown or cut short"),
            }
        }
        if job.arguments.first().is_none() && job.window.is_none() && job.broken.is_none() {
            job.broken = Some(b"there is no command in it");
        }
        Ok(job)
    }

    /// The next module to load.
    pub fn next_module(&mut self) -> Option<Module> {
        loop {
            let (tag, value) = self.records.as_mut()?.next()?.ok()?;
            let for_channel = tag == Tag::ChannelModule;
            if for_channel {
                self.channel_modules = self.channel_modules.saturating_sub(1);
            } else if tag != Tag::Module {
                continue;
            }
            let (path, parameters) = value.iter().position(|&byte| byte == 0).map_or((value, &[][..]), |at| {
                (value.get(..at).unwrap_or_default(), value.get(at + 1..).unwrap_or_default())
            });
            // Two NULs in place of one: a record's header has room for five.
            let path = self.texts.terminated(path);
            return Some(Module { path, parameters: self.texts.terminated(parameters), for_channel });
        }
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
            Tag::Module => {}
            Tag::ChannelModule => self.channel_modules += 1,
            Tag::Channel => self.channel = Some(value),
            Tag::Tty => self.terminal = true,
            Tag::Hostname => self.host_name = Some(value),
            Tag::BlockDevices => match file::number(value) {
                Some(count) => self.block_devices = count,
                None => self.broken = Some(b"the number of block devices is none"),
            },
            Tag::Window => match file::number(value) {
                Some(len) => self.window = Some(len),
                None => self.broken = Some(b"the window's length is no number"),
            },
            Tag::Verbose => self.verbose = true,
        }
    }
}

/// Where texts with a NUL behind them are put.
#[derive(Default)]
struct Texts(&'static mut [u8]);

impl Texts {
    fn terminated(&mut self, value: &[u8]) -> &'static CStr {
        let all = core::mem::take(&mut self.0);
        let Some((text, rest)) = all.split_at_mut_checked(value.len().saturating_add(1)) else {
            return c"";
        };
        self.0 = rest;
        // The last byte stays the zero it was allocated as.
        for (to, from) in text.iter_mut().zip(value) {
            *to = *from;
        }
        CStr::from_bytes_until_nul(text).unwrap_or_default()
    }
}
