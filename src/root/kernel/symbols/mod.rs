//! A kernel's symbols: from an address to the function it is in.
//!
//! They come from the tables inside the image ([`kallsyms`]), which are what the running kernel itself prints names from,
//! or from the `System.map` of a build tree ([`map`]; Debian's packages have one line in theirs that says where another
//! is). Symbols of modules are in neither. Costs tens of milliseconds and some megabytes, so it is done when somebody asks.

pub mod kallsyms;
pub mod map;

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::{error::KernelError, vmlinux};

/// Largest image that is read.
const IMAGE_BYTES: u64 = 1 << 30;
/// Largest `System.map`: some have ten megabytes.
const MAP_BYTES: u64 = 256 << 20;

/// Where a kernel's symbols are to be had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// The kernel: an ELF file or a bzImage.
    image: PathBuf,
    /// Where it came from: `image` may be a copy in a cache, and `System.map` is beside the original.
    origin: PathBuf,
}

/// A kernel's symbols, by address.
#[derive(Debug, Default)]
pub struct Symbols {
    /// Addresses as linked, in order, and where their names end in `names`.
    entries: Vec<(u64, u32)>,
    names: String,
    /// From `_stext` to `_etext`.
    text: (u64, u64),
    /// Where the parts that are loaded are linked to, how long they are, and where they are loaded to.
    loads: Vec<(u64, u64, u64)>,
    /// How far from there the kernel runs.
    slide: u64,
}

/// A place in a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The symbol.
    pub name: &'a str,
    /// How far into it.
    pub offset: u64,
    /// How long it is, as far as the next one tells.
    pub size: u64,
}

impl fmt::Display for Place<'_> {
    /// As the kernel prints it: `name+0x1a/0x90`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:#x}/{:#x}", self.name, self.offset, self.size)
    }
}

impl Source {
    /// The kernel image at `image`, which was made from the one at `origin`, or is that.
    pub fn new(image: &Path, origin: &Path) -> Self {
        Self { image: image.to_owned(), origin: origin.to_owned() }
    }

    /// Reads them; `None` where there are none that are known here.
    pub fn load(&self) -> Result<Option<Symbols>, KernelError> {
        let failed = |source| KernelError::Io { doing: "reading", path: self.image.clone(), source };
        let mut image = Vec::new();
        File::open(&self.image).and_then(|file| file.take(IMAGE_BYTES).read_to_end(&mut image)).map_err(failed)?;
        if !image.starts_with(b"\x7fELF") {
            image = match vmlinux::unpacked(&self.image)? {
                Some(unpacked) => unpacked,
                None => return Ok(None),
            };
        }
        let symbols = Symbols::of_image(&image);
        Ok(symbols.or_else(|| self.map()))
    }

    /// Those of the `System.map` beside the original, or at the top of its build tree. Nowhere else: another kernel's would
    /// give wrong names.
    fn map(&self) -> Option<Symbols> {
        let directory = self.origin.parent()?;
        let top = (directory.ends_with("boot"))
            .then(|| directory.ancestors().nth(2).filter(|arch| arch.ends_with("arch"))?.parent())
            .flatten();
        let places = [Some(directory), top].into_iter().flatten().map(|directory| directory.join("System.map"));
        places.filter_map(|path| File::open(path).ok()).find_map(|file| {
            let mut text = Vec::new();
            file.take(MAP_BYTES).read_to_end(&mut text).ok()?;
            Symbols::of_map(&text)
        })
    }
}

impl Symbols {
    /// Those in an unpacked image; `None` where there are none that are known here.
    pub fn of_image(image: &[u8]) -> Option<Self> {
        let symbols = Self::new(kallsyms::entries(image));
        symbols.map(|symbols| Self { loads: crate::format::kernel::elf::loads(image).unwrap_or_default(), ..symbols })
    }

    /// Those in a `System.map`; `None` where that is none.
    pub fn of_map(text: &[u8]) -> Option<Self> {
        Self::new(map::entries(text))
    }

    fn new(list: Vec<kallsyms::Entry>) -> Option<Self> {
        let mut symbols = Self::default();
        for entry in list {
            symbols.names.push(char::from(entry.kind));
            symbols.names.push_str(&String::from_utf8_lossy(&entry.name));
            symbols.entries.push((entry.address, u32::try_from(symbols.names.len()).ok()?));
        }
        let edge = |name| symbols.linked(name);
        symbols.text = (edge("_stext").or_else(|| edge("_text"))?, edge("_etext")?);
        Some(symbols)
    }

    /// Tells how far from its link address the kernel runs (`CONFIG_RANDOMIZE_BASE`), by one symbol's address; whether that
    /// is believable: kernels are moved by megabytes, within a gigabyte.
    pub fn slide_by(&mut self, symbol: &str, address: u64) -> bool {
        let slide = self.linked(symbol).and_then(|linked| address.checked_sub(linked));
        let slide = slide.filter(|slide| slide % (1 << 20) == 0 && *slide < 1 << 30);
        self.slide = slide.unwrap_or(self.slide);
        slide.is_some()
    }

    /// How far from its link address the kernel runs.
    pub fn slide(&self) -> u64 {
        self.slide
    }

    /// The function that an address is in; `None` where it is in none of the kernel itself.
    pub fn function(&self, address: u64) -> Option<Place<'_>> {
        let address = address.checked_sub(self.slide)?;
        let (start, end) = self.text;
        (start..end).contains(&address).then(|| self.place(address)).flatten()
    }

    /// Where a symbol is, as the kernel runs.
    pub fn address(&self, name: &str) -> Option<u64> {
        Some(self.linked(name)?.wrapping_add(self.slide))
    }

    /// Where a symbol is in the guest's memory, for a kernel that is not moved.
    pub fn physical(&self, name: &str) -> Option<u64> {
        let address = self.linked(name).filter(|_| self.slide == 0)?;
        let (from, _, to) = self.loads.iter().find(|(from, len, _)| address >= *from && address - from < *len)?;
        to.checked_add(address - from)
    }

    /// All of them, in order: address as linked, nm's letter, name.
    pub fn iter(&self) -> impl Iterator<Item = (u64, char, &str)> {
        (0..self.entries.len()).filter_map(|at| {
            let mut name = self.name(at)?.chars();
            let kind = name.next()?;
            Some((self.entries.get(at)?.0, kind, name.as_str()))
        })
    }

    /// The symbol before an address, or at it. Of several at one address the kernel names the first (`get_symbol_pos`).
    fn place(&self, address: u64) -> Option<Place<'_>> {
        let after = self.entries.partition_point(|(start, _)| *start <= address);
        let start = self.entries.get(after.checked_sub(1)?)?.0;
        let first = self.entries.partition_point(|(other, _)| *other < start);
        let end = self.entries.get(after).map_or(self.text.1, |(end, _)| *end);
        Some(Place { name: self.name(first)?.get(1..)?, offset: address - start, size: end.saturating_sub(start) })
    }

    fn linked(&self, name: &str) -> Option<u64> {
        let at = (0..self.entries.len()).find(|at| self.name(*at).and_then(|found| found.get(1..)) == Some(name))?;
        Some(self.entries.get(at)?.0)
    }

    /// nm's letter and the name.
    fn name(&self, at: usize) -> Option<&str> {
        let end = self.entries.get(at)?.1 as usize;
        let start = at.checked_sub(1).and_then(|before| self.entries.get(before)).map_or(0, |(_, end)| *end as usize);
        self.names.get(start..end)
    }
}

#[cfg(test)]
mod tests;
