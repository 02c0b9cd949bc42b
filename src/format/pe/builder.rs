//! Builds small PE files for tests: two sections, with configurable headers.

/// Properties of the file.
#[derive(Debug, Clone)]
pub(crate) struct Builder {
    /// PE32+ rather than PE32.
    pub(crate) plus: bool,
    /// Number of data directories.
    pub(crate) directories: u32,
    /// `FileAlignment`.
    pub(crate) file_alignment: u32,
    /// `SectionAlignment`.
    pub(crate) section_alignment: u32,
    /// File offset of the first section; also `SizeOfHeaders`.
    pub(crate) headers: u32,
    /// Contents of `.text` and `.data`, without padding.
    pub(crate) contents: [Vec<u8>; 2],
    /// Length of a COFF symbol table at the end, 18 bytes per symbol.
    pub(crate) symbols: u32,
    /// Length of a certificate table at the end; requires more than 4 directories.
    pub(crate) certificate: u32,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            plus: true,
            directories: 16,
            file_alignment: 0x200,
            section_alignment: 0x1000,
            headers: 0x400,
            contents: [b"code".repeat(100), b"data".repeat(10)],
            symbols: 0,
            certificate: 0,
        }
    }
}

impl Builder {
    /// Returns the offset of the section table.
    pub(crate) fn table(&self) -> usize {
        0x98 + self.optional()
    }

    fn optional(&self) -> usize {
        (if self.plus { 112 } else { 96 }) + 8 * self.directories as usize
    }

    /// Builds the file.
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut file = vec![0; self.headers as usize];
        let raw = |length: usize| (length as u32).next_multiple_of(self.file_alignment);
        let mut headers = Vec::new();
        let mut address = self.section_alignment.max(self.headers.next_multiple_of(self.section_alignment));
        for (name, content) in [".text", ".data"].into_iter().zip(&self.contents) {
            let mut header = [0; 40];
            header[..5].copy_from_slice(name.as_bytes());
            let words = [content.len() as u32, address, raw(content.len()), file.len() as u32];
            for (place, word) in header[8..].chunks_exact_mut(4).zip(words) {
                place.copy_from_slice(&word.to_le_bytes());
            }
            headers.extend(header);
            file.extend(content);
            file.resize(file.len().next_multiple_of(self.file_alignment as usize), 0);
            address = (address + content.len() as u32).next_multiple_of(self.section_alignment);
        }
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"MZ");
        put(0x3c, &[0x80]);
        put(0x80, b"PE\0\0");
        put(0x84, &0x8664_u16.to_le_bytes());
        put(0x86, &[2]);
        put(0x94, &(self.optional() as u16).to_le_bytes());
        put(0x98, &(if self.plus { 0x20b_u16 } else { 0x10b }).to_le_bytes());
        put(0x98 + 32, &self.section_alignment.to_le_bytes());
        put(0x98 + 36, &self.file_alignment.to_le_bytes());
        put(0x98 + 44, &[1]);
        put(0x98 + 56, &address.to_le_bytes());
        put(0x98 + 60, &self.headers.to_le_bytes());
        put(0x98 + 64, &0x1234_u32.to_le_bytes());
        put(0x98 + 68, &[10]);
        put(self.table() - 8 * self.directories as usize - 4, &self.directories.to_le_bytes());
        put(self.table(), &headers);
        let end = file.len();
        if self.symbols > 0 {
            file[0x8c..0x90].copy_from_slice(&(end as u32).to_le_bytes());
            file[0x90..0x94].copy_from_slice(&(self.symbols / 18).to_le_bytes());
            file.resize(end + self.symbols as usize, b's');
        }
        if self.certificate > 0 {
            let security = self.table() - 8 * self.directories as usize + 32;
            let start = file.len().next_multiple_of(8);
            file.resize(start, 0);
            file[security..security + 4].copy_from_slice(&(start as u32).to_le_bytes());
            file[security + 4..security + 8].copy_from_slice(&self.certificate.to_le_bytes());
            file.extend(self.certificate.to_le_bytes());
            file.extend([0, 2, 2, 0]);
            file.resize(start + self.certificate as usize, b'c');
        }
        file
    }
}
