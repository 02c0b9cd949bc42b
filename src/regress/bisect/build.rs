//! Builds a candidate and keeps the end of the build's output.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use crate::process::shell::{Build, Built};
use crate::process::signals::Signals;

/// Maximum length of output examined, in bytes.
const TAIL: u64 = 16 << 10;

/// Runs the build with its output captured. Returns the result and at most `lines` last lines of the output.
pub fn quietly(build: &Build<'_>, signals: &mut Signals, lines: usize) -> io::Result<(Built, Vec<String>)> {
    let said = tempfile::tempfile()?;
    let ended = Build { kept: Some(&said), ..*build }.run(signals)?;
    Ok((ended, tail(said, lines)?))
}

/// Returns the last lines of a file.
fn tail(mut file: File, lines: usize) -> io::Result<Vec<String>> {
    let start = file.metadata()?.len().saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let plain = |line: &str| line.chars().filter(|letter| !letter.is_control() || *letter == '\t').collect();
    let all: Vec<String> = text.lines().map(plain).collect();
    Ok(all[all.len().saturating_sub(lines)..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::{Build, Built, quietly};
    use crate::process::signals::Signals;
    use std::ffi::OsStr;
    use std::path::Path;

    #[test]
    fn the_last_lines_of_the_build_output_are_kept() {
        let line = "seq 1 20000; echo two >&2; printf 'th\\033ree\\n'; exit 3";
        let build = Build { line: OsStr::new(line), directory: Path::new("/"), limit: None, kept: None };
        let (ended, output) = quietly(&build, &mut Signals::catch().expect("signals"), 2).expect("it runs");
        assert_eq!(ended, Built::Failed("exit 3".to_owned()));
        assert_eq!(output, ["two", "three"]);
    }
}
