//! Builds small ELF files for tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::arch::Arch;

/// ELF file builder.
#[derive(Debug, Clone)]
pub(crate) struct ElfBuilder {
    /// Architecture, which determines class, byte order and machine.
    pub(crate) arch: Arch,
    /// `e_type`.
    pub(crate) kind: u16,
    interpreter: Option<String>,
    entries: Vec<(u64, String)>,
    flags_1: u64,
    note: Option<Vec<u8>>,
}

impl ElfBuilder {
    /// Creates an empty library.
    pub(crate) fn library(arch: Arch) -> Self {
        Self { arch, kind: 3, interpreter: None, entries: Vec::new(), flags_1: 0, note: None }
    }

    /// Creates a glibc program for x86-64.
    pub(crate) fn program() -> Self {
        Self { interpreter: Some("/lib64/ld-linux-x86-64.so.2".into()), ..Self::library(Arch::X86_64) }
    }

    pub(crate) fn interpreter(mut self, path: &str) -> Self {
        self.interpreter = Some(path.into());
        self
    }

    pub(crate) fn needed(mut self, name: &str) -> Self {
        self.entries.push((1, name.into()));
        self
    }

    pub(crate) fn soname(mut self, name: &str) -> Self {
        self.entries.push((14, name.into()));
        self
    }

    pub(crate) fn rpath(mut self, path: &str) -> Self {
        self.entries.push((15, path.into()));
        self
    }

    pub(crate) fn runpath(mut self, path: &str) -> Self {
        self.entries.push((29, path.into()));
        self
    }

    /// Adds a name to the string table that no known entry refers to, like that of an imported symbol.
    pub(crate) fn string(mut self, name: &str) -> Self {
        self.entries.push((0x6fff_fef0, name.into()));
        self
    }

    pub(crate) fn no_default_lib(mut self) -> Self {
        self.flags_1 = 0x800;
        self
    }

    pub(crate) fn dlopen_note(mut self, json: &str) -> Self {
        self.note = Some(json.as_bytes().to_vec());
        self
    }

    /// Writes the file, executable, and creates its parent directories.
    pub(crate) fn write(&self, path: &Path) {
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, self.build()).expect("a file");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    /// Returns the bytes of the file.
    pub(crate) fn build(&self) -> Vec<u8> {
        let (machine, is_64, little) = self.arch.elf();
        let out = Out { little, is_64 };
        let (header_size, entry_size) = if is_64 { (64, 56) } else { (52, 32) };
        let count = 2 + usize::from(self.interpreter.is_some()) + usize::from(self.note.is_some());
        let body_at = header_size + count * entry_size;
        let mut body: Vec<u8> = Vec::new();
        let mut segments: Vec<(u32, usize, usize, u64)> = Vec::new();
        if let Some(interpreter) = &self.interpreter {
            segments.push((3, body_at, interpreter.len() + 1, 1));
            body.extend(interpreter.bytes().chain([0]));
        }
        if let Some(json) = &self.note {
            pad(&mut body, body_at);
            let mut note = Vec::new();
            for word in [4, json.len() as u32, 0x407c_0c0a] {
                out.word(&mut note, word);
            }
            note.extend(b"FDO\0");
            note.extend(json);
            note.resize(note.len().next_multiple_of(4), 0);
            segments.push((4, body_at + body.len(), note.len(), 4));
            body.extend(note);
        }
        let strings_at = body_at + body.len();
        let mut strings = vec![0];
        let mut entries: Vec<(u64, u64)> = Vec::new();
        for (tag, text) in &self.entries {
            entries.push((*tag, strings.len() as u64));
            strings.extend(text.bytes().chain([0]));
        }
        let size = strings.len() as u64;
        entries.extend([(5, strings_at as u64), (10, size), (0x6fff_fffb, self.flags_1), (0, 0)]);
        body.extend(strings);
        pad(&mut body, body_at);
        let dynamic_at = body_at + body.len();
        for (tag, value) in entries {
            out.long(&mut body, tag);
            out.long(&mut body, value);
        }
        segments.push((2, dynamic_at, body_at + body.len() - dynamic_at, 8));
        segments.insert(0, (1, 0, body_at + body.len(), 4096));
        let mut file = vec![0x7f, b'E', b'L', b'F', 1 + u8::from(is_64), if little { 1 } else { 2 }, 1];
        file.resize(16, 0);
        out.half(&mut file, self.kind);
        out.half(&mut file, machine);
        out.word(&mut file, 1);
        out.long(&mut file, 0);
        out.long(&mut file, header_size as u64);
        out.long(&mut file, 0);
        out.word(&mut file, 0);
        for half in [header_size, entry_size, count, 0, 0, 0] {
            out.half(&mut file, half as u16);
        }
        for (kind, at, length, align) in segments {
            out.program_header(&mut file, kind, at as u64, length as u64, align);
        }
        file.extend(body);
        file
    }
}

fn pad(body: &mut Vec<u8>, start: usize) {
    body.resize((start + body.len()).next_multiple_of(8) - start, 0);
}

struct Out {
    little: bool,
    is_64: bool,
}

impl Out {
    fn half(&self, to: &mut Vec<u8>, value: u16) {
        to.extend(if self.little { value.to_le_bytes() } else { value.to_be_bytes() });
    }

    fn word(&self, to: &mut Vec<u8>, value: u32) {
        to.extend(if self.little { value.to_le_bytes() } else { value.to_be_bytes() });
    }

    fn long(&self, to: &mut Vec<u8>, value: u64) {
        if self.is_64 {
            to.extend(if self.little { value.to_le_bytes() } else { value.to_be_bytes() });
        } else {
            self.word(to, value as u32);
        }
    }

    fn program_header(&self, to: &mut Vec<u8>, kind: u32, at: u64, length: u64, align: u64) {
        const READ_EXECUTE: u32 = 5;
        self.word(to, kind);
        if self.is_64 {
            self.word(to, READ_EXECUTE);
        }
        for value in [at, at, at, length, length] {
            self.long(to, value);
        }
        if !self.is_64 {
            self.word(to, READ_EXECUTE);
        }
        self.long(to, align);
    }
}
