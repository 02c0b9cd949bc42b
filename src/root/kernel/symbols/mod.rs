//! Kernel symbols: maps an address to the function that contains it.
//!
//! Reads the tables inside the image (`kallsyms`), from which the running kernel itself prints names, or the
//! `System.map` of a build tree (`map`; the one in Debian's packages contains no symbols). Neither contains the
//! symbols of modules. Loading takes tens of milliseconds and some megabytes, so callers load symbols on demand.

pub(crate) mod kallsyms;
pub(crate) mod map;

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::{error::KernelError, vmlinux};

/// Limit of the image size, in bytes. The rest of a larger image is ignored.
const IMAGE_BYTES: u64 = 1 << 30;
/// Limit of the size of a `System.map`, in bytes. Real ones are up to 10 MB.
const MAP_BYTES: u64 = 256 << 20;

/// Files that contain a kernel's symbols.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// The kernel image: an ELF file or a bzImage.
    image: PathBuf,
    /// The original of `image`, which may be a copy in the cache. `System.map` is beside the original.
    origin: PathBuf,
}

/// Symbols of a kernel, sorted by address.
#[derive(Debug, Default)]
pub struct Symbols {
    /// Link address of each symbol, and the end of its name in `names`.
    entries: Vec<(u64, u32)>,
    /// For each symbol, nm's letter followed by the name.
    names: String,
    /// Link addresses of `_stext` (or `_text`) and `_etext`.
    text: (u64, u64),
    /// Virtual address, memory size and physical address of each `PT_LOAD` segment.
    loads: Vec<(u64, u64, u64)>,
    /// KASLR offset: run address minus link address, in bytes.
    slide: u64,
}

/// An address, relative to a symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// Name of the symbol.
    pub name: &'a str,
    /// Offset from the start of the symbol, in bytes.
    pub offset: u64,
    /// Size of the symbol in bytes: the distance to the next symbol.
    pub(crate) size: u64,
}

impl fmt::Display for Place<'_> {
    /// Writes the kernel's format: `name+0x1a/0x90`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:#x}/{:#x}", self.name, self.offset, self.size)
    }
}

impl Source {
    /// Creates a source for the kernel image at `image`, which is `origin` itself or was extracted from it.
    pub fn new(image: &Path, origin: &Path) -> Self {
        Self { image: image.to_owned(), origin: origin.to_owned() }
    }

    /// Reads the symbols; `None` if there is no supported table.
    pub fn load(&self) -> Result<Option<Symbols>, KernelError> {
        let failed = |source| KernelError::Io { doing: "read", path: self.image.clone(), source };
        let mut image = Vec::new();
        File::open(&self.image).and_then(|file| file.take(IMAGE_BYTES).read_to_end(&mut image)).map_err(failed)?;
        if !crate::format::elf::is_elf(&image) {
            image = match vmlinux::unpacked(&self.image)? {
                Some(unpacked) => unpacked,
                None => return Ok(None),
            };
        }
        let symbols = Symbols::of_image(&image);
        Ok(symbols.or_else(|| self.map()))
    }

    /// Reads the `System.map` beside the original image, or at the top of its build tree. Does not search elsewhere,
    /// since the map of another kernel gives wrong names.
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
    /// Reads the symbols in an unpacked image; `None` if it has no supported table.
    pub fn of_image(image: &[u8]) -> Option<Self> {
        let symbols = Self::new(kallsyms::entries(image));
        symbols
            .map(|symbols| Self { loads: crate::format::kernel::vmlinux::loads(image).unwrap_or_default(), ..symbols })
    }

    /// Reads the symbols in a `System.map`; `None` if it has no `_stext` (or `_text`) or no `_etext`.
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

    /// Sets the KASLR offset (`CONFIG_RANDOMIZE_BASE`) from the run address of one symbol. Returns false and changes
    /// nothing if the offset is implausible: kernels move by whole megabytes, by less than 1 GiB.
    pub(crate) fn slide_by(&mut self, symbol: &str, address: u64) -> bool {
        let slide = self.linked(symbol).and_then(|linked| address.checked_sub(linked));
        let slide = slide.filter(|slide| slide % (1 << 20) == 0 && *slide < 1 << 30);
        self.slide = slide.unwrap_or(self.slide);
        slide.is_some()
    }

    /// Returns the KASLR offset, in bytes.
    pub(crate) fn slide(&self) -> u64 {
        self.slide
    }

    /// Returns the function that contains a run address; `None` if the address is outside the kernel's text.
    pub fn function(&self, address: u64) -> Option<Place<'_>> {
        let address = address.checked_sub(self.slide)?;
        let (start, end) = self.text;
        (start..end).contains(&address).then(|| self.place(address)).flatten()
    }

    /// Returns the run address of a symbol.
    pub fn address(&self, name: &str) -> Option<u64> {
        Some(self.linked(name)?.wrapping_add(self.slide))
    }

    /// Returns the guest-physical address of a symbol; `None` if the KASLR offset is not 0.
    pub fn physical(&self, name: &str) -> Option<u64> {
        let address = self.linked(name).filter(|_| self.slide == 0)?;
        let (from, _, to) = self.loads.iter().find(|(from, len, _)| address >= *from && address - from < *len)?;
        to.checked_add(address - from)
    }

    /// Returns all symbols, sorted by address: link address, nm's letter, name.
    pub fn iter(&self) -> impl Iterator<Item = (u64, char, &str)> {
        (0..self.entries.len()).filter_map(|at| {
            let mut name = self.name(at)?.chars();
            let kind = name.next()?;
            Some((self.entries.get(at)?.0, kind, name.as_str()))
        })
    }

    /// Finds the symbol that contains a link address. Of several symbols at one address, returns the first, as the
    /// kernel does (`get_symbol_pos`).
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

    /// Returns nm's letter followed by the name.
    fn name(&self, at: usize) -> Option<&str> {
        let end = self.entries.get(at)?.1 as usize;
        let start = at.checked_sub(1).and_then(|before| self.entries.get(before)).map_or(0, |(_, end)| *end as usize);
        self.names.get(start..end)
    }
}

#[cfg(test)]
mod tests;
