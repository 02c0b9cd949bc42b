//! Finds a boot sector's message on consoles and screens.
//!
//! Only printable ASCII is compared, since consoles display other characters differently.

use anyhow::{Context, ensure};
use regex::bytes::Regex;

/// A message as normalized lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    lines: Vec<String>,
}

impl Expected {
    /// Parses the message of a boot sector.
    pub(crate) fn new(message: &str) -> anyhow::Result<Self> {
        let lines: Vec<String> = message.lines().map(plain).filter(|line| !line.is_empty()).collect();
        ensure!(!lines.is_empty(), "cannot test the boot sector's message: it contains no printable ASCII");
        Ok(Self { lines })
    }

    /// Returns a pattern for the last line.
    pub(crate) fn last_line(&self) -> anyhow::Result<Regex> {
        let words = self.lines.last().map(String::as_str).unwrap_or_default().split(' ').map(regex::escape);
        Regex::new(&words.collect::<Vec<_>>().join(".*?")).context("invalid boot sector message")
    }

    /// Counts its occurrences in `lines`.
    fn count(&self, lines: &[String]) -> usize {
        let said: Vec<String> = lines.iter().map(|line| plain(line)).filter(|line| !line.is_empty()).collect();
        let matches = |window: &&[String]| {
            // The first line may start with output of the BIOS.
            window
                .iter()
                .zip(&self.lines)
                .enumerate()
                .all(|(at, (said, line))| if at == 0 { said.ends_with(line.as_str()) } else { said == line })
        };
        said.windows(self.lines.len()).filter(matches).count()
    }

    /// Returns true if the message appears exactly once on the console and on the screen, if any, and the details.
    pub(crate) fn judge(&self, console: &[String], screen: Option<&[String]>) -> (bool, String) {
        let console = self.count(console);
        let screen = screen.map(|rows| self.count(rows));
        let holds = console == 1 && screen.is_none_or(|count| count == 1);
        let screen = screen.map_or_else(String::new, |count| format!(", {} on the screen", times(count)));
        (holds, format!("complete message found {} on the serial console{screen}", times(console)))
    }
}

fn times(count: usize) -> String {
    match count {
        0 => "0 times".to_owned(),
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    }
}

/// Returns the printable ASCII words of a line, separated by single spaces.
fn plain(line: &str) -> String {
    let printable: String = line.chars().map(|letter| if letter.is_ascii_graphic() { letter } else { ' ' }).collect();
    printable.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::Expected;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_message_must_appear_exactly_once() {
        let message = Expected::new("\n  This disk\n\nneeds  UEFI — now.\n").expect("words");
        let once = lines("SeaBIOS\nBooting from Hard Disk...This disk\r\n\n needs UEFI \u{fffd} now.\n\n");
        let twice = [once.clone(), once.clone()].concat();
        let doubled = lines("TThhiiss  ddiisskk\nnneeeeddss");
        assert_eq!(message.judge(&once, None), (true, "complete message found once on the serial console".to_owned()));
        assert!(message.judge(&once, Some(&once)).0);
        let (holds, says) = message.judge(&twice, Some(&once));
        assert!(!holds && says.contains("twice on the serial console, once on the screen"), "{says}");
        let (holds, says) = message.judge(&doubled, Some(&doubled));
        assert!(!holds && says.contains("0 times"), "{says}");
        assert!(!message.judge(&[], None).0);
        assert!(message.last_line().expect("a pattern").is_match("needs UEFI — now.".as_bytes()));
        assert!(Expected::new("\n — \n").is_err());
    }
}
