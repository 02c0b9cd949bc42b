//! Expected ending of a test.

use super::keys::{Keys, Said};
use super::mistake::did_you_mean;

/// Outcomes that a test may expect, named as in verdicts.
pub const OUTCOMES: [&str; 9] =
    ["panic", "reset", "timed-out", "went-away", "watchdog", "powered-off", "qemu-died", "not-executed", "unhealthy"];

/// Expected ending of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Exit with this status.
    Status(u8),
    /// Termination by this signal.
    Signal(u8),
    /// Any other outcome: one of [`OUTCOMES`].
    Outcome(String),
}

impl Default for Ending {
    fn default() -> Self {
        Self::Status(0)
    }
}

/// Reads `status`, `signal` or `outcome`, at most one of which may be set.
pub(super) fn read(keys: &mut Keys<'_, '_>) -> Option<Ending> {
    const WAYS: [&str; 3] = ["status", "signal", "outcome"];
    let given: Vec<&str> = WAYS.into_iter().filter(|key| keys.has(key)).collect();
    if let [_, second, ..] = given[..] {
        let at = keys.key(second);
        keys.sheet().wrong(&at, format!("a test has only one ending: {} conflicts with {second:?}", quoted(given[0])));
    }
    let status = keys.number("status", 0, 255).and_then(|status| u8::try_from(status).ok()).map(Ending::Status);
    let signal = keys.number_or_text("signal").and_then(|Said { value, at }| {
        let number = signal_number(&value);
        if number.is_none() {
            keys.sheet().wrong(&at, format!("unknown signal {value:?}: expected a name such as \"SEGV\", or a number"));
        }
        number.map(Ending::Signal)
    });
    let outcome = keys.text("outcome").and_then(|Said { value, at }| {
        if OUTCOMES.contains(&value.as_str()) {
            return Some(Ending::Outcome(value));
        }
        let hint = did_you_mean(&value, OUTCOMES);
        keys.sheet().wrong(&at, format!("\"outcome\" takes one of {}, not {value:?}{hint}", OUTCOMES.join(", ")));
        None
    });
    status.or(signal).or(outcome)
}

fn quoted(key: &str) -> String {
    format!("{key:?}")
}

/// Parses `SEGV`, `SIGSEGV` or `11`.
fn signal_number(text: &str) -> Option<u8> {
    let numbers = 1..=64_u8;
    if let Ok(number) = text.parse() {
        return numbers.contains(&number).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let is = |known: &str| known.strip_prefix("SIG") == Some(name);
    numbers.into_iter().find(|number| signal_hook::low_level::signal_name(i32::from(*number)).is_some_and(is))
}
