//! Names of signals and errors, for sentences.

/// `SIGSEGV` for 11; the number where it has no name.
pub fn signal_name(signal: i32) -> String {
    match signal_hook::low_level::signal_name(signal) {
        Some(name) => name.to_owned(),
        None => format!("signal {signal}"),
    }
}

/// The C library's words for an error number, which Linux guests share with us.
pub(super) fn errno_text(errno: u32) -> String {
    let errno = i32::try_from(errno).unwrap_or(0);
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}
