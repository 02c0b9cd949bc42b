//! `SHA256SUMS` beside an image, as `sha256sum -c` reads it. Lines of other files that stand there already are kept.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::write::{Output, WriteError};

/// What the file is called.
const NAME: &str = "SHA256SUMS";
/// Nobody has so many images in a directory.
const LARGEST: u64 = 1 << 20;

/// Adds lines for files of `directory`, by name, in place of those that had the same names. Gives the file's path.
pub fn write_sums(directory: &Path, sums: &[(String, [u8; 32])]) -> Result<PathBuf, WriteError> {
    let path = directory.join(NAME);
    let failed = |source| WriteError::Output { name: path.display().to_string(), source };
    let old = read(&path).map_err(failed)?;
    let ours = |line: &&str| sums.iter().any(|(name, _)| name_of(line) == Some(name));
    let mut text: String = old.lines().filter(|line| !ours(line)).flat_map(|line| [line, "\n"]).collect();
    for (name, digest) in sums {
        for byte in digest {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text.extend(["  ", name, "\n"]);
    }
    let mut output = Output::create(&path)?;
    output.write_all(text.as_bytes()).map_err(failed)?;
    output.finish()?;
    Ok(path)
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    match fs::File::open(path) {
        Ok(file) => drop(file.take(LARGEST).read_to_string(&mut text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(text)
}

/// The name in a line: what follows the digest and a space and a space or a star.
fn name_of(line: &str) -> Option<&str> {
    line.get(64..)?.strip_prefix(' ').and_then(|rest| rest.strip_prefix([' ', '*']))
}

#[cfg(test)]
mod tests {
    use super::write_sums;

    #[test]
    fn lines_of_others_stay_and_ours_are_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let sums = [("a.img".to_owned(), [0x11; 32]), ("b.img".to_owned(), [0x22; 32])];
        write_sums(dir.path(), &sums[..]).expect("written");
        let path = write_sums(dir.path(), &[("a.img".to_owned(), [0x33; 32])]).expect("written");
        let text = std::fs::read_to_string(path).expect("read");
        assert_eq!(text, format!("{}  b.img\n{}  a.img\n", "22".repeat(32), "33".repeat(32)));
    }
}
