//! The `#!` line of a script, read as `fs/binfmt_script.c` reads it.
//!
//! Refuses lines without an interpreter and lines that the kernel would cut.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The kernel looks at this many bytes of a file (`BINPRM_BUF_SIZE`).
pub const LINE_MAX: usize = 256;

/// How many scripts may stand in a row, each the interpreter of the one before.
///
/// `exec_binprm()` in fs/exec.c says `ELOOP` at the sixth.
pub const MAX_NESTED: usize = 5;

/// What a `#!` line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The interpreter's path as written.
    pub interpreter: OsString,
    /// Everything after it, as one argument.
    pub argument: Option<OsString>,
}

/// Reads a file's first bytes (at most [`LINE_MAX`] count). `Ok(None)`: not a script; an error names the rule.
pub fn parse(start: &[u8]) -> Result<Option<Script>, &'static str> {
    let start = start.get(..LINE_MAX).unwrap_or(start);
    let Some(rest) = start.strip_prefix(b"#!") else {
        return Ok(None);
    };
    let line_end = rest.iter().position(|byte| *byte == b'\n' || *byte == 0);
    let line = trim(rest.get(..line_end.unwrap_or(rest.len())).unwrap_or_default());
    if line.is_empty() {
        return Err("the #! line names no interpreter");
    }
    let path_end = line.iter().position(|byte| is_blank(*byte));
    if path_end.is_none() && line_end.is_none() && start.len() == LINE_MAX {
        return Err("the interpreter's name does not end within 256 bytes, where the kernel stops reading");
    }
    let (path, argument) = line.split_at(path_end.unwrap_or(line.len()));
    let argument = trim(argument);
    Ok(Some(Script {
        interpreter: OsString::from_vec(path.to_vec()),
        argument: (!argument.is_empty()).then(|| OsString::from_vec(argument.to_vec())),
    }))
}

impl Script {
    /// The program that `env` is to start, where the interpreter is `env`: `#!/usr/bin/env X`, `#!/usr/bin/env -S A=b X y`.
    pub fn env_program(&self) -> Option<OsString> {
        if self.interpreter.as_bytes().rsplit(|byte| *byte == b'/').next() != Some(b"env") {
            return None;
        }
        let argument = self.argument.as_ref()?.as_bytes();
        if !argument.starts_with(b"-") {
            // Without -S the kernel's one argument is one word to env, blanks and all.
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
        assert_eq!(both("#!/bin/sh"), ("/bin/sh".into(), None), "a file without a line's end");
        assert_eq!(parse(b"echo"), Ok(None));
        assert_eq!(parse(b""), Ok(None));
        assert!(parse(b"#!  \n/bin/sh").is_err());
    }

    #[test]
    fn a_name_that_the_kernel_would_cut_is_refused() {
        let mut long = b"#!/".to_vec();
        long.resize(LINE_MAX + 10, b'x');
        assert!(parse(&long).is_err());
        // An argument that is cut is the kernel's affair: it runs.
        let mut argument = b"#!/bin/sh ".to_vec();
        argument.resize(LINE_MAX + 10, b'x');
        assert!(parse(&argument).expect("runs").is_some());
    }

    #[test]
    fn env_names_the_program_behind_it() {
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
