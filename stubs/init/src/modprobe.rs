//! `modprobe`: loads modules that the host provides. The kernel runs it as `/proc/1/exe -q -- ALIAS`; commands run it
//! through the link `/sbin/modprobe`.
//!
//! It is a separate process: a module whose initialization oopses takes only this one with it.

use crate::helper_socket::SOCKET;
use crate::line::Line;
use crate::path::Path;
use crate::protocol::frame::MAX_MESSAGE;
use crate::protocol::modules::{
    Answer, Entry, MAX_MODULES, MAX_NAME, MAX_PARAMETERS, Question, Status, Weight, entries,
};
use crate::syscall::file::{Fd, exists, load_module_image, read, remove_module, write};
use crate::syscall::memory::allocate;
use crate::syscall::process::{exit, set_name};
use crate::syscall::socket::connect;
use crate::syscall::start::Arguments;
use crate::syscall::{Errno, Result};
use core::ffi::CStr;

/// Standard output and standard error.
static OUTPUT: Fd = Fd::standard(1);
static ERRORS: Fd = Fd::standard(2);

const HELP: &[u8] = b"Usage: modprobe [-q] [-v] [-n] NAME [PARAM=VALUE...]
       modprobe [-q] [-v] [-n] -a NAME...
       modprobe -r NAME...
Loads kernel modules that bootling provides from the host.
";

/// Returns true if the program is called as `modprobe`. `exe`: by the kernel, see [`crate::helper_socket`].
pub fn is_name(program: Option<&CStr>) -> bool {
    let file = program.and_then(|program| program.to_bytes().rsplit(|&byte| byte == b'/').next());
    matches!(file, Some(b"modprobe" | b"exe"))
}

/// Runs the program.
pub fn run(arguments: &Arguments) -> ! {
    exit(usize::from(!matches!(Call::parse(arguments).and_then(|call| call.run(arguments)), Ok(()))))
}

/// An error that has been reported.
struct Failed;

type Done = core::result::Result<(), Failed>;

/// The parsed command line.
#[derive(Default)]
struct Call {
    by_kernel: bool,
    quiet: bool,
    verbose: bool,
    dry: bool,
    all: bool,
    remove: bool,
    /// Index of the first argument that is not an option.
    first: usize,
}

impl Call {
    fn parse(arguments: &Arguments) -> core::result::Result<Self, Failed> {
        let by_kernel = arguments.get(0).is_some_and(|program| program.to_bytes().ends_with(b"/exe"));
        let mut call = Self { by_kernel, first: 1, ..Self::default() };
        while let Some(word) = arguments.get(call.first).map(CStr::to_bytes)
            && word.len() > 1
            && word.starts_with(b"-")
        {
            call.first += 1;
            if word == b"--" {
                break;
            }
            match word.strip_prefix(b"--") {
                Some(long) => call.option(short(long), word)?,
                None => {
                    for &letter in word.get(1..).unwrap_or_default() {
                        call.option(letter, word)?;
                    }
                }
            }
        }
        Ok(call)
    }

    fn option(&mut self, letter: u8, word: &[u8]) -> Done {
        match letter {
            b'q' => self.quiet = true,
            b'v' => self.verbose = true,
            b'n' => self.dry = true,
            b'a' => self.all = true,
            b'r' => self.remove = true,
            // Blacklists and commands of modprobe.d, which is not read.
            b'b' | b'i' => {}
            b'V' => {
                print(&OUTPUT, b"modprobe (bootling)\n");
                exit(0)
            }
            b'h' => {
                print(&OUTPUT, HELP);
                exit(0)
            }
            _ => {
                return Err(fault(&[b"FATAL: unsupported option ", word, b"; see modprobe --help"]));
            }
        }
        Ok(())
    }

    fn run(&self, arguments: &Arguments) -> Done {
        let Some(name) = arguments.get(self.first) else {
            return Err(fault(&[b"FATAL: missing module name; see modprobe --help"]));
        };
        if !self.all && !self.remove {
            let mut parameters = [0; MAX_PARAMETERS];
            let mut len = 0;
            let words = (self.first + 1..).map_while(|index| arguments.get(index));
            for word in words.map(CStr::to_bytes) {
                for &byte in (if len > 0 { &b" "[..] } else { b"" }).iter().chain(word) {
                    *parameters.get_mut(len).ok_or_else(|| fault(&[b"FATAL: parameters too long"]))? = byte;
                    len += 1;
                }
            }
            return self.load(name.to_bytes(), parameters.get(..len).unwrap_or_default());
        }
        let mut done = Ok(());
        for name in (self.first..).map_while(|index| arguments.get(index)) {
            let this = if self.remove { self.unload(name.to_bytes()) } else { self.load(name.to_bytes(), b"") };
            done = done.and(this);
        }
        done
    }

    fn load(&self, name: &[u8], parameters: &[u8]) -> Done {
        // The kernel requests a binary format while process 1 waits for the start of the command.
        if self.by_kernel && name.starts_with(b"binfmt-") {
            return Err(Failed);
        }
        if name.is_empty() || name.len() > MAX_NAME {
            return self.not_found(name, b"");
        }
        let no_host = |errno| fault(&[b"ERROR: could not insert '", name, b"'", meaning(errno)]);
        // The command may have another root directory.
        let socket = Path::join(&[b"/proc/1/root", SOCKET])
            .ok_or(Errno::INVAL)
            .and_then(|path| connect(path.as_c().to_bytes()))
            .or_else(|_| connect(SOCKET))
            .map_err(no_host)?;
        let buffer = allocate(MAX_MESSAGE).map_err(no_host)?;
        let mut host = Host { socket, buffer };
        host.send(&Question::Request { by_kernel: self.by_kernel, name, parameters }).map_err(no_host)?;
        let plan = match host.answer().map_err(no_host)? {
            Answer::Plan(plan) => plan,
            Answer::End { status: Status::Done, .. } => return Ok(()),
            Answer::End { status: Status::NotFound, text } => return self.not_found(name, text),
            Answer::End { status: Status::Failed, text } => {
                return Err(fault(&[b"ERROR: could not insert '", name, b"': ", text]));
            }
            Answer::File { .. } | Answer::Chunk(_) => return Err(no_host(Errno::INVAL)),
        };
        let kept = allocate(plan.len()).map_err(no_host)?;
        for (to, from) in kept.iter_mut().zip(plan) {
            *to = *from;
        }
        self.follow(&mut host, kept).map_err(|(name, errno)| {
            fault(&[b"ERROR: could not insert '", name, b"'", meaning(errno)])
        })
    }

    /// Loads the modules of a plan that are not loaded yet.
    fn follow<'p>(&self, host: &mut Host, plan: &'p [u8]) -> core::result::Result<(), (&'p [u8], Errno)> {
        let mut wanted = [0; MAX_MODULES];
        let mut count = 0;
        let mut has_alternative = false;
        for (slot, entry) in wanted.iter_mut().zip(entries(plan)) {
            let is_loaded = is_loaded(entry.name);
            *slot = u8::from(!is_loaded && !self.dry);
            has_alternative |= is_loaded && is_alternative(&entry);
            count += 1;
            if self.verbose && !is_loaded {
                let line = Line::new(b"insmod ").text(entry.name).text(b" ").text(entry.parameters);
                print(&OUTPUT, line.text(b"\n").bytes());
            }
        }
        let broken = |errno| (&b"it"[..], errno);
        host.send(&Question::Wanted(wanted.get(..count).unwrap_or_default())).map_err(broken)?;
        loop {
            let (index, len) = match host.answer().map_err(broken)? {
                Answer::File { index, len } => (index, len),
                Answer::End { .. } => return Ok(()),
                Answer::Plan(_) | Answer::Chunk(_) => return Err(broken(Errno::INVAL)),
            };
            let entry = entries(plan).nth(usize::from(index)).ok_or(broken(Errno::INVAL))?;
            let failed = |errno| (entry.name, errno);
            let image = host.receive(len as usize).map_err(failed)?;
            set_name(b"load ", entry.name);
            let result = match Path::join(&[entry.parameters]) {
                Some(parameters) => load_module_image(image, parameters.as_c()),
                None => Err(Errno::INVAL),
            };
            let errno = match result {
                Ok(()) | Err(Errno::EXIST) => Errno(0),
                Err(errno) => errno,
            };
            host.send(&Question::Loaded(errno.code())).map_err(failed)?;
            has_alternative |= errno == Errno(0) && is_alternative(&entry);
            let is_fatal = match entry.weight {
                Weight::Required => true,
                Weight::Soft | Weight::Alternative => false,
                Weight::LastAlternative => !has_alternative,
            };
            if errno != Errno(0) && is_fatal {
                return Err((entry.name, errno));
            }
        }
    }

    fn unload(&self, name: &[u8]) -> Done {
        let mut normal = [0; MAX_NAME + 1];
        for (to, &from) in normal.iter_mut().take(MAX_NAME).zip(name) {
            *to = if from == b'-' { b'_' } else { from };
        }
        if self.dry {
            return Ok(());
        }
        match remove_module(CStr::from_bytes_until_nul(&normal).unwrap_or_default()) {
            Ok(()) => Ok(()),
            Err(Errno::NOENT) => Err(fault(&[b"FATAL: Module ", name, b" is not loaded"])),
            Err(Errno::AGAIN | Errno::BUSY) => {
                Err(fault(&[b"FATAL: Module ", name, b" is in use"]))
            }
            Err(errno) => {
                Err(fault(&[b"ERROR: could not remove '", name, b"'", meaning(errno)]))
            }
        }
    }

    fn not_found(&self, name: &[u8], why: &[u8]) -> Done {
        if !self.quiet {
            fault(&[b"FATAL: Module ", name, b" not found", if why.is_empty() { b"" } else { b"; " }, why]);
        }
        Err(Failed)
    }
}

/// The connection to the host.
struct Host {
    socket: Fd,
    buffer: &'static mut [u8],
}

impl Host {
    fn send(&mut self, question: &Question<'_>) -> Result<()> {
        let len = question.encode(self.buffer);
        write(&self.socket, self.buffer.get(..len).unwrap_or_default()).map(|_| ())
    }

    fn answer(&mut self) -> Result<Answer<'_>> {
        let len = loop {
            match read(&self.socket, self.buffer) {
                Err(Errno::INTR) => {}
                // The end of the command's run.
                Ok(0) => return Err(Errno::PIPE),
                other => break other?,
            }
        };
        self.buffer.get(..len).and_then(Answer::decode).ok_or(Errno::INVAL)
    }

    /// Receives the bytes of a module, in place: the tag of each message overwrites the byte before its data, which is
    /// then restored.
    fn receive(&mut self, len: usize) -> Result<&'static [u8]> {
        self.send(&Question::Taken)?;
        let image = allocate(len + 1)?;
        let mut at = 0;
        while at < len {
            let room = image.get_mut(at..).unwrap_or_default();
            let before = room.first().copied().unwrap_or_default();
            let received = match read(&self.socket, room) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            let Some(Answer::Chunk(bytes)) = room.get(..received).and_then(Answer::decode) else {
                return Err(if received == 0 { Errno::PIPE } else { Errno::INVAL });
            };
            at += bytes.len();
            if let Some(first) = room.first_mut() {
                *first = before;
            }
            self.send(&Question::Taken)?;
        }
        Ok(image.get(1..).unwrap_or_default())
    }
}

fn is_alternative(entry: &Entry<'_>) -> bool {
    matches!(entry.weight, Weight::Alternative | Weight::LastAlternative)
}

/// Returns true if a module is loaded; a built-in one has no state.
fn is_loaded(name: &[u8]) -> bool {
    Path::join(&[b"/sys/module/", name, b"/initstate"]).is_some_and(|path| exists(path.as_c()))
}

/// Returns the letter of a long option.
fn short(long: &[u8]) -> u8 {
    match long {
        b"quiet" => b'q',
        b"verbose" => b'v',
        b"dry-run" | b"show" => b'n',
        b"all" => b'a',
        b"remove" => b'r',
        b"use-blacklist" => b'b',
        b"ignore-install" | b"ignore-remove" => b'i',
        b"version" => b'V',
        b"help" => b'h',
        _ => 0,
    }
}

/// Returns the text of an error number, as kmod prints it.
fn meaning(errno: Errno) -> &'static [u8] {
    match errno {
        Errno::PERM | Errno::ACCES => b": Operation not permitted",
        Errno::NOENT => b": Unknown symbol in module, or unknown parameter (see dmesg)",
        Errno::NOEXEC => b": Exec format error",
        Errno::NOMEM => b": Cannot allocate memory",
        Errno::BUSY => b": Device or resource busy",
        Errno::NODEV => b": No such device",
        Errno::INVAL => b": Invalid argument",
        Errno::PIPE => b": the host did not answer",
        Errno(129) => b": Key was rejected by service",
        Errno(_) => b": the kernel refused it (see dmesg)",
    }
}

/// Prints an error.
fn fault(parts: &[&[u8]]) -> Failed {
    let line = parts.iter().fold(Line::new(b"modprobe: "), |line, part| line.text(part));
    print(&ERRORS, line.text(b"\n").bytes());
    Failed
}

fn print(file: &Fd, text: &[u8]) {
    // Errors cannot be reported.
    let _ = write(file, text);
}
