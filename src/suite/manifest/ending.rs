//! Expected end of a test.

use super::diagnostic::did_you_mean;
use super::table::{Located, Table};

/// Outcomes that a test may expect, by the names used in verdicts.
pub const OUTCOMES: [&str; 10] = [
    "panic",
    "reset",
    "timed-out",
    "went-away",
    "watchdog",
    "powered-off",
    "qemu-died",
    "not-executed",
    "unhealthy",
    "kernel-crashed",
];

/// Expected end of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Exit status.
    Status(u8),
    /// Signal number.
    Signal(u8),
    /// One of [`OUTCOMES`].
    Outcome(String),
}

impl Default for Ending {
    fn default() -> Self {
        Self::Status(0)
    }
}

/// Reads `status`, `signal` or `outcome`.
pub(super) fn read(keys: &mut Table<'_, '_>) -> Option<Ending> {
    let present: Vec<&str> = ["status", "signal", "outcome"].into_iter().filter(|key| keys.has(key)).collect();
    if let [first, second, ..] = present[..] {
        let message = format!("{first:?} and {second:?} are mutually exclusive");
        keys.document().error(&keys.key_span(second), message);
    }
    let status = keys.number("status", 0..=255).and_then(|status| u8::try_from(status).ok()).map(Ending::Status);
    let signal = keys.number_or_text("signal").and_then(|Located { value, span }| {
        let number = signal_number(&value);
        if number.is_none() {
            let message = format!("unknown signal {value:?}: expected a name such as \"SEGV\", or a number");
            keys.document().error(&span, message);
        }
        number.map(Ending::Signal)
    });
    let outcome = keys.parsed("outcome", |name| {
        if OUTCOMES.contains(&name) {
            return Ok(Ending::Outcome(name.to_owned()));
        }
        Err(format!("expected one of {}, found {name:?}{}", OUTCOMES.join(", "), did_you_mean(name, OUTCOMES)))
    });
    status.or(signal).or(outcome)
}

/// Parses `SEGV`, `SIGSEGV` or `11`.
fn signal_number(text: &str) -> Option<u8> {
    let mut numbers = 1..=64_u8;
    if let Ok(number) = text.parse() {
        return numbers.contains(&number).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    numbers.find(|number| signal_hook::low_level::signal_name(i32::from(*number)) == Some(name.as_str()))
}
