//! Excerpt of a failed build's output: its first errors, which a parallel build prints long before it ends, and its last
//! lines.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read as _};

/// Number of last lines.
const LAST: usize = 8;
/// Number of errors.
const ERRORS: usize = 3;
/// Number of lines after an error that belong to it: the source line, the marker below it.
const AFTER_ERROR: usize = 2;
/// Length limit of a line, bytes.
const MAX_LINE: u64 = 1000;

/// Reads a build's output. Returns the excerpt, without control characters, with `...` for omitted lines.
pub(super) fn excerpt(mut output: impl BufRead) -> io::Result<Vec<String>> {
    let mut kept: BTreeMap<usize, String> = BTreeMap::new();
    let (mut errors, mut belonging) = (0, 0);
    // Numbers of the lines that are kept because they are the last ones so far.
    let mut last = std::collections::VecDeque::new();
    let mut count = 0;
    while let Some(line) = next_line(&mut output)? {
        if errors < ERRORS && is_error(&line) {
            errors += 1;
            belonging = AFTER_ERROR + 1;
        }
        if belonging > 0 {
            belonging -= 1;
        } else {
            last.push_back(count);
        }
        kept.insert(count, line);
        count += 1;
        if last.front().is_some_and(|number| number + LAST < count) {
            last.pop_front().map(|number| kept.remove(&number));
        }
    }
    let mut lines = Vec::new();
    let mut next = None;
    for (number, line) in kept {
        if next.is_some_and(|next| next != number) {
            lines.push("...".to_owned());
        }
        lines.push(line);
        next = Some(number + 1);
    }
    Ok(lines)
}

/// Reads a line of limited length.
fn next_line(output: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    if output.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    if !bytes.ends_with(b"\n") {
        output.skip_until(b'\n')?;
    }
    let plain = |letter: &char| !letter.is_control() || *letter == '\t';
    Ok(Some(String::from_utf8_lossy(&bytes).chars().filter(plain).collect()))
}

/// Returns true if a compiler, linker or make reports an error in this line.
fn is_error(line: &str) -> bool {
    const SIGNS: [&str; 6] = [
        "error:",
        "error[",
        "undefined reference",
        "undefined symbol",
        "multiple definition",
        "no rule to make target",
    ];
    let line = line.to_ascii_lowercase();
    SIGNS.iter().any(|sign| line.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::excerpt;

    #[test]
    fn the_compilers_error_is_kept_however_much_a_parallel_build_prints_after_it() {
        let error = "fs/x.c:7:5: error: 'y' undeclared\n    7 | y = 1;\n      | ^\n";
        let objects: Vec<String> = (0..5000).map(|number| format!("  CC      fs/{number}.o\n")).collect();
        let objects = objects.concat();
        let text = format!("{objects}{error}{objects}make[1]: *** [fs/x.o] Error 1\nmake: *** [fs] Error 2\n");
        let lines = excerpt(text.as_bytes()).expect("memory");
        assert_eq!(lines[..3].join("\n") + "\n", error);
        assert_eq!(lines[3..5], ["...", "  CC      fs/4994.o"]);
        assert_eq!(lines[10..], ["make[1]: *** [fs/x.o] Error 1", "make: *** [fs] Error 2"]);
        assert_eq!(excerpt(error.as_bytes()).expect("memory").len(), 3, "no line twice");
    }

    #[test]
    fn hostile_output_is_bounded() {
        let text = format!("{}\nerror: \x1b[1m{}", "error: x\n".repeat(100_000), "y".repeat(1 << 20));
        let lines = excerpt(text.as_bytes()).expect("memory");
        assert!(lines.len() < 30 && lines.iter().all(|line| line.len() <= 1000), "{lines:?}");
    }
}
