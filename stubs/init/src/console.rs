//! The console: what is said there, and the terminal behind it.

use crate::file;
use crate::line::Line;
use crate::path::Path;
use crate::syscall::Errno;
use crate::syscall::file::{self as files, Fd, NO_TERMINAL, READ_WRITE};

/// The kernel opens `/dev/console` for pid 1 as 0, 1 and 2.
static CONSOLE: Fd = Fd::standard(2);

/// Says a line. If the console does not take it, there is nobody else to tell.
pub fn say(text: &[u8]) {
    let _ = files::write(&CONSOLE, Line::new(b"bootling: ").text(text).text(b"\n").bytes());
}

/// Says what could not be done.
pub fn complain(doing: &[u8], object: &[u8], errno: Errno) {
    say(Line::new(doing).text(b" ").text(object).error(errno).bytes());
}

/// The console itself.
pub fn file() -> &'static Fd {
    &CONSOLE
}

/// Sees to it that 0, 1 and 2 are open: an initrd without `/dev/console` starts pid 1 without them, and what it
/// opens next would end up as the command's input and output.
pub fn ensure() {
    while !files::is_open(2) {
        let Ok(file) =
            files::open(c"/dev/console", READ_WRITE | NO_TERMINAL).or_else(|_| files::open(c"/dev/null", READ_WRITE))
        else {
            return;
        };
        // It stays open.
        core::mem::forget(file);
    }
}

/// Opens the terminal behind `/dev/console`, which itself can control no session: the last of the active ones.
pub fn terminal() -> Result<Fd, Errno> {
    let mut buffer = [0; 256];
    let active = file::read_start(c"/sys/class/tty/console/active", &mut buffer);
    let name = active.trim_ascii().rsplit(|&byte| byte == b' ').next().unwrap_or_default();
    let path = Path::join(&[b"/dev/", name]).filter(|_| !name.is_empty()).ok_or(Errno::NODEV)?;
    files::open(path.as_c(), READ_WRITE | NO_TERMINAL)
}
