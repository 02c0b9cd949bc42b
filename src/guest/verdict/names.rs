//! Names of signals and error numbers, for messages.

/// Returns the name of a signal, such as `SIGSEGV` for 11, or `signal N` if it has none.
pub fn signal_name(signal: i32) -> String {
    match signal_hook::low_level::signal_name(signal) {
        Some(name) => name.to_owned(),
        None => format!("signal {signal}"),
    }
}

/// Returns the host C library's text for an error number; Linux guests use the same numbers.
pub(crate) fn errno_text(errno: u32) -> String {
    let errno = i32::try_from(errno).unwrap_or(0);
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}
