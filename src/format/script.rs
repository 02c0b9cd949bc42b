//! Parses the `#!` line of a script as `fs/binfmt_script.c` does.
//!
//! Rejects lines without an interpreter and lines that the kernel would truncate.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Number of bytes that the kernel examines at the start of a file (`BINPRM_BUF_SIZE`).
pub(crate) const LINE_MAX: usize = 256;

/// Maximum number of nested scripts, each the interpreter of the previous one.
///
/// `exec_binprm()` in fs/exec.c fails with `ELOOP` at the sixth.
pub(crate) const MAX_NESTED: usize = 5;

/// The kernel makes the carriage return a part of the interpreter's path or of its argument.
const CARRIAGE_RETURN: &str = "the #! line ends in CR LF, and the kernel takes the CR as part of the interpreter; \
    convert the file: sed -i 's/\\r$//' FILE";

/// A parsed `#!` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Interpreter path, as written.
    pub(crate) interpreter: OsString,
    /// Rest of the line, as one argument.
    pub(crate) argument: Option<OsString>,
}

/// Parses a file's first bytes (up to [`LINE_MAX`]). Returns `Ok(None)` if it is not a script; an error is the violated
/// rule.
pub(crate) fn parse(start: &[u8]) -> Result<Option<Script>, &'static str> {
    let start = start.get(..LINE_MAX).unwrap_or(start);
    let Some(rest) = start.strip_prefix(b"#!") else {
        return Ok(None);
    };
    let line_end = rest.iter().position(|byte| *byte == b'\n' || *byte == 0);
    let line = rest.get(..line_end.unwrap_or(rest.len())).unwrap_or_default();
    if line_end.is_some() && line.ends_with(b"\r") {
        return Err(CARRIAGE_RETURN);
    }
    let line = trim(line);
    if line.is_empty() {
        return Err("missing interpreter in the #! line");
    }
    let path_end = line.iter().position(|byte| is_blank(*byte));
    if path_end.is_none() && line_end.is_none() && start.len() == LINE_MAX {
        return Err("the interpreter path does not end within the 256 bytes that the kernel reads");
    }
    let (path, argument) = line.split_at(path_end.unwrap_or(line.len()));
    let argument = trim(argument);
    Ok(Some(Script {
        interpreter: OsString::from_vec(path.to_vec()),
        argument: (!argument.is_empty()).then(|| OsString::from_vec(argument.to_vec())),
    }))
}

impl Script {
    /// Returns the program that `env` starts, if the interpreter is `env`: `#!/usr/bin/env X`, `#!/usr/bin/env -S A=b X
    /// y`.
    pub(crate) fn env_program(&self) -> Option<OsString> {
        if self.interpreter.as_bytes().rsplit(|byte| *byte == b'/').next() != Some(b"env") {
            return None;
        }
        let argument = self.argument.as_ref()?.as_bytes();
        if !argument.starts_with(b"-") {
            // Without -S, env treats the kernel's one argument as one word, including blanks.
            return Some(OsStr::from_bytes(argument).to_owned());
        }
        let split = [b"--split-string=".as_slice(), b"--split-string", b"-vS", b"-iS", b"-S"];
        let words = split.into_iter().find_map(|option| argument.strip_prefix(option))?;
        let mut words = words.split(|byte| is_blank(*byte)).filter(|word| !word.is_empty());
        while let Some(word) = words.next() {
            match word {
                b"-u" | b"--unset" | b"-C" | b"--chdir" => drop(words.next()),
                option if option.starts_with(b"-") => {}
                assignment if assignment.contains(&b'=') => {}
                program => return Some(OsStr::from_bytes(program).to_owned()),
            }
        }
        None
    }
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_blank(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_blank(*last)
    {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{LINE_MAX, parse};

    fn both(line: &str) -> (String, Option<String>) {
        let script = parse(line.as_bytes()).expect("a good line").expect("a script");
        (script.interpreter.display().to_string(), script.argument.map(|argument| argument.display().to_string()))
    }

    #[test]
    fn the_line_is_split_once_as_the_kernel_does() {
        assert_eq!(both("#!/bin/sh\necho"), ("/bin/sh".into(), None));
        assert_eq!(both("#! \t/bin/awk  -f x \t\n"), ("/bin/awk".into(), Some("-f x".into())));
        assert_eq!(both("#!/bin/sh"), ("/bin/sh".into(), None), "a file without a newline");
        assert_eq!(parse(b"echo"), Ok(None));
        assert_eq!(parse(b""), Ok(None));
        assert!(parse(b"#!  \n/bin/sh").is_err());
    }

    #[test]
    fn a_line_that_ends_in_cr_is_refused_without_printing_the_cr() {
        for line in [b"#!/bin/bash\r\n".as_slice(), b"#!/bin/sh -e\r\necho", b"#!/usr/bin/env python3\r\n", b"#!\r\n"] {
            let rule = parse(line).expect_err("the kernel would not find the interpreter");
            assert!(rule.contains("ends in CR LF") && !rule.contains('\r'), "{rule}");
        }
        assert!(parse(b"#!/bin/sh\necho\r\n").is_ok(), "only the first line counts");
    }

    #[test]
    fn an_interpreter_path_that_the_kernel_would_truncate_is_refused() {
        let mut long = b"#!/".to_vec();
        long.resize(LINE_MAX + 10, b'x');
        assert!(parse(&long).is_err());
        // A truncated argument is accepted: the kernel runs such a script.
        let mut argument = b"#!/bin/sh ".to_vec();
        argument.resize(LINE_MAX + 10, b'x');
        assert!(parse(&argument).expect("runs").is_some());
    }

    #[test]
    fn the_program_that_env_starts_is_found() {
        for (line, program) in [
            ("#!/usr/bin/env python3", Some("python3")),
            ("#!/usr/bin/env -S python3 -u", Some("python3")),
            ("#!/usr/bin/env -S -i A=b -u C perl -w", Some("perl")),
            ("#!/usr/bin/env --split-string=ruby x", Some("ruby")),
            ("#!/usr/bin/env -i", None),
            ("#!/bin/environment x", None),
        ] {
            let script = parse(line.as_bytes()).expect("a good line").expect("a script");
            assert_eq!(script.env_program().as_deref(), program.map(std::ffi::OsStr::new), "{line}");
        }
    }
}
