//! Authenticode digest of a PE file.
//!
//! "Windows Authenticode Portable Executable Signature Format", "Calculating the PE Image Hash"; firmware computes the
//! same digest (EDK2 `DxeImageVerificationLib.c`, `HashPeImage`). It covers the headers except the checksum and the
//! directory entry of the certificate table, the sections in file order, and the data after them except the
//! certificates. Refuses sections that overlap, because programs disagree on the digest of such a file.

use std::ops::Range;

use sha2::Digest;

use super::{Pe, PeError};
use crate::format::Medium;

/// Bytes per read.
const CHUNK: usize = 256 << 10;

/// Treatment of the end of a file whose length is not a multiple of 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Unpadded: the digest that firmware measures for an unsigned file.
    Unpadded,
    /// Padded with zeros to a multiple of 8: the digest for a signature.
    Padded,
}

/// Digest, and the amount of data it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digested {
    /// Digest value.
    pub digest: Vec<u8>,
    /// Digested bytes of the file.
    pub(crate) bytes: u64,
    /// Digested padding bytes after them.
    pub padding: u64,
}

/// Returns the digested byte ranges of a file, in order.
pub fn authenticode_ranges(pe: &Pe) -> Result<Vec<Range<u64>>, PeError> {
    let headers = u64::from(pe.size_of_headers);
    let checksum = pe.checksum_offset();
    if headers < checksum + 4 {
        let (offset, value) = (pe.optional + super::headers::optional::SIZE_OF_HEADERS, headers);
        return Err(PeError::Field { field: "SizeOfHeaders", offset, value, rule: "smaller than the headers" });
    }
    let mut ranges = match pe.security_offset() {
        None => vec![0..checksum, checksum + 4..headers],
        Some(entry) => vec![0..checksum, checksum + 4..entry, (entry + 8).min(headers)..headers],
    };
    let mut sections: Vec<_> = pe.sections.iter().filter(|section| section.raw_size != 0).collect();
    sections.sort_by_key(|section| section.raw_offset);
    let mut before = (headers, "the headers".to_owned());
    // Firmware counts the digested bytes, and treats that count as the offset of the remaining data.
    let mut counted = headers;
    for section in sections {
        let start = u64::from(section.raw_offset);
        let name = format!("section {:?}", section.name());
        if start < before.0 {
            return Err(PeError::Overlap { one: before.1, other: name, offset: start });
        }
        ranges.push(start..section.raw_end());
        counted += u64::from(section.raw_size);
        before = (section.raw_end(), name);
    }
    let certificates = pe.security().map_or(0, |table| u64::from(table.size));
    let end = pe.size.checked_sub(certificates).filter(|end| *end >= counted);
    let Some(end) = end else {
        let (offset, length) = (pe.security().map_or(0, |table| table.address.into()), certificates);
        return Err(PeError::Beyond { what: "the certificate table".to_owned(), offset, length, size: pe.size });
    };
    ranges.push(counted..end);
    ranges.retain(|range| !range.is_empty());
    Ok(ranges)
}

/// Digests a file, except its certificates.
pub fn digest<D: Digest>(pe: &Pe, file: &(impl Medium + ?Sized), tail: Tail) -> Result<Digested, PeError> {
    let mut hasher = D::new();
    let mut bytes = 0;
    let mut chunk = vec![0; CHUNK];
    for range in authenticode_ranges(pe)? {
        let mut offset = range.start;
        while offset < range.end {
            let length = usize::try_from(range.end - offset).unwrap_or(CHUNK).min(CHUNK);
            let part = &mut chunk[..length];
            file.read_at(part, offset).map_err(|source| PeError::Io { offset, length, source })?;
            hasher.update(&*part);
            offset += length as u64;
        }
        bytes += range.end - range.start;
    }
    let padding = match tail {
        Tail::Unpadded => 0,
        // A certificate table starts at a multiple of 8, so a signed file is already padded.
        Tail::Padded => pe.size.next_multiple_of(8) - pe.size,
    };
    hasher.update(&[0; 8][..padding as usize]);
    Ok(Digested { digest: hasher.finalize().to_vec(), bytes, padding })
}

#[cfg(test)]
mod tests {
    use super::{Tail, authenticode_ranges, digest};
    use crate::format::pe::builder::Builder;
    use crate::format::pe::{Pe, attach};
    use sha2::Sha256;

    #[test]
    fn checksum_directory_entry_and_certificates_are_not_digested() {
        let plain = Builder::default().build();
        let of = |file: &Vec<u8>, tail| {
            digest::<Sha256>(&Pe::read(file).expect("a PE file"), file, tail).expect("a digest").digest
        };
        let first = of(&plain, Tail::Padded);
        let mut summed = plain.clone();
        summed[0xd8..0xdc].copy_from_slice(&[1, 2, 3, 4]);
        assert_eq!(of(&summed, Tail::Padded), first);
        summed[0xd7] = 1;
        assert!(Pe::read(&summed).is_err() || of(&summed, Tail::Padded) != first);
        // A signature does not change the digest, even if the file must be padded first.
        for more in [0, 3] {
            let mut file = plain.clone();
            file.resize(plain.len() + more, 1);
            let (padded, unpadded) = (of(&file, Tail::Padded), of(&file, Tail::Unpadded));
            assert_eq!(padded == unpadded, more == 0);
            let attached = attach(&Pe::read(&file).expect("a PE file"), b"signature").expect("attached");
            file.extend(attached.tail);
            file[attached.entry_offset as usize..][..8].copy_from_slice(&attached.entry);
            assert_eq!(of(&file, Tail::Padded), padded);
            assert_eq!(of(&file, Tail::Unpadded), padded);
        }
    }

    #[test]
    fn ranges_equal_those_of_goblin() {
        for builder in [
            Builder::default(),
            Builder { plus: false, ..Builder::default() },
            Builder { certificate: 64, ..Builder::default() },
            Builder { symbols: 144, ..Builder::default() },
        ] {
            let file = builder.build();
            let ranges = authenticode_ranges(&Pe::read(&file).expect("a PE file")).expect("ranges");
            let ours: Vec<u8> =
                ranges.iter().flat_map(|range| &file[range.start as usize..range.end as usize]).copied().collect();
            let theirs = goblin::pe::PE::parse(&file).expect("a PE file");
            let theirs: Vec<u8> = theirs.authenticode_ranges().flatten().copied().collect();
            assert!(ours == theirs, "{builder:?}");
        }
    }

    #[test]
    fn a_file_with_an_ambiguous_digest_is_refused() {
        let mut file = Builder::default().build();
        file[0x188 + 40 + 21] = 5;
        let error = authenticode_ranges(&Pe::read(&file).expect("a PE file")).expect_err("refused").to_string();
        assert_eq!(error, "section \".text\" and section \".data\" overlap at offset 0x500");
        let mut file = Builder { certificate: 64, ..Builder::default() }.build();
        let entry = Pe::read(&file).expect("a PE file").security_offset().expect("a directory") as usize;
        file[entry + 6] = 1;
        assert!(authenticode_ranges(&Pe::read(&file).expect("a PE file")).is_err());
    }
}
