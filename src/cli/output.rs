//! What people see: standard output that survives a closed pipe, notes, errors with one line of advice.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use bootling::guest::VmError;

/// A pipe that polls writable takes this much without waiting (`pipe(7)`, `PIPE_BUF`).
const PIECE: usize = 4096;

/// Standard output for whatever a verb prints. A reader that has gone (`| head`) is no error.
pub fn stdout() -> impl Write {
    // Colours go only where they can be seen (NO_COLOR, CLICOLOR_FORCE, no terminal).
    let out = anstream::AutoStream::auto(io::stdout());
    BufWriter::new(Patient { out, gone: false })
}

/// Standard output for a file's content, byte for byte: what would be colours in a text is left alone.
pub fn content() -> impl Write {
    BufWriter::new(Patient { out: io::stdout(), gone: false })
}

/// Swallows what nobody reads any more.
struct Patient<W> {
    out: W,
    gone: bool,
}

impl<W: Write> Patient<W> {
    fn forgive<T>(&mut self, result: io::Result<T>, instead: T) -> io::Result<T> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.gone = true;
                Ok(instead)
            }
            result => result,
        }
    }
}

impl<W: Write> Write for Patient<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.gone {
            return Ok(bytes.len());
        }
        let written = self.out.write(bytes);
        self.forgive(written, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        self.forgive(flushed, ())
    }
}

/// One line of advice for the user, carried by an error beside its own words.
#[derive(Debug)]
struct Advice(String);

impl fmt::Display for Advice {
    /// Advice is printed below an error, not in it.
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// Adds advice to an error.
pub fn advise(error: impl Into<anyhow::Error>, advice: impl Into<String>) -> anyhow::Error {
    error.into().context(Advice(advice.into()))
}

/// The advice that an error of the library has for people, added to it.
pub fn advised(error: VmError) -> anyhow::Error {
    match error.advice() {
        Some(advice) => advise(error, advice),
        None => error.into(),
    }
}

/// Prints `error:` and its causes in one line, and below it the advice where there is some.
pub fn fail(error: &anyhow::Error) {
    let label = AnsiColor::Red.on_default().bold();
    to_stderr(&format!("{label}error:{label:#} {}\n", one_line(error)));
    if let Some(Advice(advice)) = error.downcast_ref() {
        let label = Style::new().bold();
        to_stderr(&format!("{label}advice:{label:#} {advice}\n"));
    }
}

/// An error and its causes. A cause that the sentence before it has told already is left out.
pub fn one_line(error: &anyhow::Error) -> String {
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
    line
}

/// One line about what goes on.
pub fn note(text: &str) {
    to_stderr(&format!("bootling: {text}\n"));
}

/// As [`to_stderr`], but gives up where nobody reads for so long: what has timed out is to end.
pub fn to_stderr_within(text: &str, patience: Duration) {
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

/// Prints to standard error, colours only where they can be seen.
pub fn to_stderr(text: &str) {
    // Where standard error itself is gone there is nobody left to tell.
    let _ = anstream::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::{Advice, advise, one_line};
    use anyhow::{Context, anyhow};

    #[test]
    fn causes_are_told_once_in_one_line_and_advice_apart() {
        let error = advise(anyhow!("no space left").context("writing x: no space left"), "make room");
        let error: anyhow::Error = Err::<(), _>(error).context("building").expect_err("an error");
        assert_eq!(one_line(&error), "building: writing x: no space left");
        assert_eq!(error.downcast_ref::<Advice>().expect("advice").0, "make room");
    }
}
