//! Messages on the console, and its terminal.

use crate::file;
use crate::line::Line;
use crate::path::Path;
use crate::protocol::frame::GIVING_UP;
use crate::syscall::Errno;
use crate::syscall::file::{self as files, Fd, NO_TERMINAL, READ_WRITE};
use crate::syscall::terminal;

/// The kernel opens `/dev/console` for pid 1 as 0, 1 and 2.
static CONSOLE: Fd = Fd::standard(2);

/// Prints a line. Errors are ignored, since they cannot be reported.
pub fn say(text: &[u8]) {
    let _ = files::write(&CONSOLE, Line::new(b"bootling: ").text(text).text(b"\n").bytes());
}

/// Prints an error.
pub fn complain(doing: &[u8], object: &[u8], errno: Errno) {
    say(Line::new(doing).text(b" ").text(object).error(errno).bytes());
}

/// Prints why there is no channel to the host, which reads this line instead, and waits until it was transmitted.
pub fn give_up(doing: &[u8], object: &[u8], errno: Errno) {
    let _ = files::write(&CONSOLE, GIVING_UP);
    complain(doing, object, errno);
    let _ = terminal::drain(&CONSOLE);
}

/// Returns the console.
pub fn file() -> &'static Fd {
    &CONSOLE
}

/// Ensures that descriptors 0, 1 and 2 are open: an initrd without `/dev/console` starts pid 1 without them, and the
/// next opened files would become the command's standard streams.
pub fn ensure() {
    while !files::is_open(2) {
        let Ok(file) =
            files::open(c"/dev/console", READ_WRITE | NO_TERMINAL).or_else(|_| files::open(c"/dev/null", READ_WRITE))
        else {
            return;
        };
        // Keep it open.
        core::mem::forget(file);
    }
}

/// Opens the terminal of `/dev/console`, the last active one. `/dev/console` itself cannot be a controlling terminal.
pub fn terminal() -> Result<Fd, Errno> {
    let mut buffer = [0; 256];
    let active = file::read_start(c"/sys/class/tty/console/active", &mut buffer);
    let name = active.trim_ascii().rsplit(|&byte| byte == b' ').next().unwrap_or_default();
    let path = Path::join(&[b"/dev/", name]).filter(|_| !name.is_empty()).ok_or(Errno::NODEV)?;
    files::open(path.as_c(), READ_WRITE | NO_TERMINAL)
}
