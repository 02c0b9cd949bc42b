//! Terminal output: standard output that tolerates a closed pipe and loses nothing silently, notes, and errors with one
//! line of advice.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use bootling::disk::check::CheckError;
use bootling::disk::opened::OpenError;
use bootling::disk::signing::SignerError;
use bootling::disk::stamp::StampError;
use bootling::guest::VmError;
use bootling::root::fetch::FetchError;
use bootling::suite::lock::LockError;
use bootling::sys::stdout_was_closed;

/// Bytes that a pipe accepts without blocking if it polls writable (`pipe(7)`, `PIPE_BUF`).
const PIECE: usize = 4096;

/// Returns standard output for text. A closed reader (`| head`) is not an error.
pub(crate) fn stdout() -> impl Write {
    // Colors are only written if supported (NO_COLOR, CLICOLOR_FORCE, no terminal).
    let out = anstream::AutoStream::auto(io::stdout());
    BufWriter::new(Stdout { out, reader: Reader::MayLeave })
}

/// Returns standard output for the content of a file, without interpretation of escape sequences.
pub(crate) fn content() -> impl Write {
    BufWriter::new(Stdout { out: io::stdout(), reader: Reader::MayLeave })
}

/// Returns standard output for a machine-readable report, which a closed reader loses.
pub(crate) fn report() -> impl Write {
    BufWriter::new(Stdout { out: io::stdout(), reader: Reader::MustStay })
}

/// The first failure to write standard output. The verb's error does not always show it: `serde_json` hides the cause,
/// other errors name the file that was read, and a buffer that is dropped has no error.
static LOST: OnceLock<Lost> = OnceLock::new();

struct Lost {
    cause: String,
    is_reported: AtomicBool,
}

/// Prints an error if output was lost, unless another error has reported it. Returns true if output was lost.
pub(crate) fn report_lost() -> bool {
    let Some(lost) = LOST.get() else { return false };
    if !lost.is_reported.swap(true, Ordering::Relaxed) {
        print_error(&format!("failed to write to standard output: {}", lost.cause));
    }
    true
}

/// Reader at the other end of standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// It may close its end (EPIPE); further output is dropped.
    MayLeave,
    /// It must read everything.
    MustStay,
    /// It has closed its end.
    Gone,
}

/// Standard output that handles a closed reader and records failures.
struct Stdout<W> {
    out: W,
    reader: Reader,
}

impl<W: Write> Stdout<W> {
    fn judge<T>(&mut self, result: io::Result<T>, instead: T) -> io::Result<T> {
        let error = match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && self.reader == Reader::MayLeave => {
                self.reader = Reader::Gone;
                return Ok(instead);
            }
            Err(error) if error.kind() != io::ErrorKind::Interrupted => error,
            result => return result,
        };
        let error = if stdout_was_closed() { io::Error::other("it is closed") } else { error };
        // The first failure is kept.
        let _ = LOST.set(Lost { cause: error.to_string(), is_reported: AtomicBool::new(false) });
        Err(error)
    }
}

impl<W: Write> Write for Stdout<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.reader == Reader::Gone {
            return Ok(bytes.len());
        }
        // On a system without /dev/full, the standard library has opened /dev/null.
        let closed = || Err(io::ErrorKind::NotConnected.into());
        let written = if stdout_was_closed() { closed() } else { self.out.write(bytes) };
        self.judge(written, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        self.judge(flushed, ())
    }
}

/// One line of advice for the user, attached to an error.
#[derive(Debug)]
struct Advice(String);

impl fmt::Display for Advice {
    /// Formats nothing: advice is printed below an error, not in it.
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// Attaches advice to an error.
pub(crate) fn advise(error: impl Into<anyhow::Error>, advice: impl Into<String>) -> anyhow::Error {
    error.into().context(Advice(advice.into()))
}

/// A library error that may have advice.
pub(crate) trait Advised: std::error::Error + Send + Sync + 'static {
    fn advice(&self) -> Option<String>;
}

macro_rules! advised {
    ($($error:ty),+) => {
        $(impl Advised for $error {
            fn advice(&self) -> Option<String> {
                self.advice().map(Into::into)
            }
        })+
    };
}

advised!(CheckError, FetchError, LockError, OpenError, SignerError, StampError, VmError);

/// Attaches the advice of a library error, if any.
pub(crate) fn advised(error: impl Advised) -> anyhow::Error {
    match error.advice() {
        Some(advice) => advise(error, advice),
        None => error.into(),
    }
}

/// Prints `error:` with all causes in one line, and the advice below it, if any. Lost output is reported as such, once.
pub(crate) fn fail(error: &anyhow::Error) {
    let line = one_line(error);
    if LOST.get().is_some_and(|lost| line.contains(&lost.cause)) {
        report_lost();
        return;
    }
    print_error(&line);
    if let Some(Advice(advice)) = error.downcast_ref() {
        let label = Style::new().bold();
        to_stderr(&format!("{label}advice:{label:#} {advice}\n"));
    }
}

fn print_error(line: &str) {
    let label = AnsiColor::Red.on_default().bold();
    to_stderr(&format!("{label}error:{label:#} {line}\n"));
}

/// Formats an error and its causes, omitting causes that the preceding text already contains.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if cause.is_empty() || line.ends_with(&cause) {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&cause);
    }
    visible(&line)
}

/// Escapes control characters, which names of files and programs may contain, except line breaks.
fn visible(text: &str) -> String {
    let is_raw = |letter: char| letter.is_control() && letter != '\n';
    text.chars().fold(String::with_capacity(text.len()), |mut shown, letter| {
        if is_raw(letter) {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
        shown
    })
}

/// Prints a note in one line.
pub(crate) fn note(text: &str) {
    to_stderr(&format!("bootling: {}\n", visible(text)));
}

/// Like [`to_stderr`], but stops if a write blocks for `patience`, since a guest that timed out must end.
pub(crate) fn to_stderr_within(text: &str, patience: Duration) {
    let choice = anstream::AutoStream::choice(&io::stderr());
    let mut shown = anstream::AutoStream::new(Vec::new(), choice);
    // Writing to memory cannot fail.
    let _ = shown.write_all(text.as_bytes());
    let time = Timespec::try_from(patience).ok();
    for piece in shown.into_inner().chunks(PIECE) {
        let stderr = io::stderr();
        let ready = poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], time.as_ref()).is_ok_and(|count| count > 0);
        if !ready || (&stderr).write_all(piece).is_err() {
            return;
        }
    }
}

/// Prints to standard error, with colors if supported.
pub(crate) fn to_stderr(text: &str) {
    // A closed standard error leaves no way to report this.
    let _ = anstream::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::{Advice, advise, one_line};
    use anyhow::{Context, anyhow};

    #[test]
    fn causes_are_printed_once_in_one_line_and_advice_separately() {
        let error = advise(anyhow!("no space left").context("failed to write x: no space left"), "make room");
        let error: anyhow::Error = Err::<(), _>(error).context("failed to build").expect_err("an error");
        assert_eq!(one_line(&error), "failed to build: failed to write x: no space left");
        assert_eq!(error.downcast_ref::<Advice>().expect("advice").0, "make room");
    }

    #[test]
    fn control_characters_of_names_do_not_reach_the_terminal() {
        assert_eq!(one_line(&anyhow!("no program a\r\x1b[2Jb\n  use c")), "no program a\\r\\u{1b}[2Jb\n  use c");
    }
}
