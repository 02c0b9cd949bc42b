//! `SHA256SUMS` file in the directory of an image, in the format of `sha256sum -c`. Preserves the lines of other files.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::output::{WriteError, file::Output};

/// File name.
const NAME: &str = "SHA256SUMS";
/// Maximum size of an existing file in bytes.
const LARGEST: u64 = 1 << 20;

/// Adds lines for files in `directory`, and removes existing lines for the same names. Returns an output that the
/// caller must finish. Refuses an existing file of more than 1 MiB.
pub fn write_sums(directory: &Path, sums: &[(String, [u8; 32])]) -> Result<Output, WriteError> {
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
    Ok(output)
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    match fs::File::open(path) {
        Ok(file) => drop(file.take(LARGEST + 1).read_to_string(&mut text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if text.len() as u64 > LARGEST {
        return Err(io::Error::other("the existing file is larger than 1 MiB, so it is not a list of checksums"));
    }
    Ok(text)
}

/// Returns the file name in a line. It follows the digest, a space, and another space or an asterisk.
fn name_of(line: &str) -> Option<&str> {
    line.get(64..)?.strip_prefix(' ').and_then(|rest| rest.strip_prefix([' ', '*']))
}

#[cfg(test)]
mod tests {
    use super::write_sums;
    use crate::output::file::Output;

    #[test]
    fn existing_lines_are_kept_or_replaced_by_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let sums = [("a.img".to_owned(), [0x11; 32]), ("b.img".to_owned(), [0x22; 32])];
        write_sums(dir.path(), &sums[..]).and_then(Output::finish).expect("written");
        write_sums(dir.path(), &[("a.img".to_owned(), [0x33; 32])]).and_then(Output::finish).expect("written");
        let text = std::fs::read_to_string(dir.path().join("SHA256SUMS")).expect("read");
        assert_eq!(text, format!("{}  b.img\n{}  a.img\n", "22".repeat(32), "33".repeat(32)));
    }

    #[test]
    fn a_file_that_is_too_large_is_not_truncated() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("SHA256SUMS");
        std::fs::write(&path, "\n".repeat((1 << 20) + 1)).expect("a file");
        assert!(write_sums(dir.path(), &[("a.img".to_owned(), [0x33; 32])]).is_err());
        assert_eq!(std::fs::metadata(&path).expect("a file").len(), (1 << 20) + 1);
    }
}
