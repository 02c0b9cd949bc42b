//! What of a file its signature speaks for: the Authenticode digest.
//!
//! "Windows Authenticode Portable Executable Signature Format", "Calculating the PE Image Hash"; firmware does the same
//! (EDK2 `DxeImageVerificationLib.c`, `HashPeImage`): headers without the checksum and the certificates' directory
//! entry, sections in the order of the file, what is behind them, and nothing of the certificates. Refuses sections
//! that overlap: of such a file no two programs have the same digest.

use std::ops::Range;

use sha2::Digest;

use super::{Pe, PeError};
use crate::disk::Medium;

/// Read at a time, bytes.
const CHUNK: usize = 256 << 10;

/// How the end of a file is counted where its length is no multiple of 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// As it is: what firmware measures of a file without a signature.
    AsItIs,
    /// With zeros up to the next multiple: what a signature will speak for.
    Padded,
}

/// A digest, and of how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digested {
    /// The digest.
    pub digest: Vec<u8>,
    /// Bytes of the file that went in.
    pub bytes: u64,
    /// Zeros behind them that went in.
    pub padding: u64,
}

/// The parts of a file that are digested, in order.
pub fn authenticode_ranges(pe: &Pe) -> Result<Vec<Range<u64>>, PeError> {
    let headers = u64::from(pe.size_of_headers);
    let checksum = pe.checksum_offset();
    if headers < checksum + 4 {
        let (offset, value) = (pe.optional + super::headers::optional::SIZE_OF_HEADERS, headers);
        return Err(PeError::Field { field: "SizeOfHeaders", offset, value, rule: "the headers are longer" });
    }
    let mut ranges = match pe.security_offset() {
        None => vec![0..checksum, checksum + 4..headers],
        Some(entry) => vec![0..checksum, checksum + 4..entry, (entry + 8).min(headers)..headers],
    };
    let mut sections: Vec<_> = pe.sections.iter().filter(|section| section.raw_size != 0).collect();
    sections.sort_by_key(|section| section.raw_offset);
    let mut before = (headers, "the headers".to_owned());
    // Firmware counts what it has digested and takes the rest of the file from there on.
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

/// Digests a file; certificates that it has do not count.
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
        Tail::AsItIs => 0,
        // A table of certificates begins at a multiple of 8: a signed file has its padding already.
        Tail::Padded => pe.size.next_multiple_of(8) - pe.size,
    };
    hasher.update(&[0; 8][..padding as usize]);
    Ok(Digested { digest: hasher.finalize().to_vec(), bytes, padding })
}

#[cfg(test)]
mod tests {
    use super::super::builder::Builder;
    use super::{Tail, authenticode_ranges, digest};
    use crate::disk::pe::{Pe, attach};
    use sha2::Sha256;

    #[test]
    fn checksum_directory_entry_and_certificates_do_not_count() {
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
        // Signing leaves the digest as it was, also where the file had to be padded first.
        for more in [0, 3] {
            let mut file = plain.clone();
            file.resize(plain.len() + more, 1);
            let (padded, unpadded) = (of(&file, Tail::Padded), of(&file, Tail::AsItIs));
            assert_eq!(padded == unpadded, more == 0);
            let attached = attach(&Pe::read(&file).expect("a PE file"), b"signature").expect("attached");
            file.extend(attached.tail);
            file[attached.entry_offset as usize..][..8].copy_from_slice(&attached.entry);
            assert_eq!(of(&file, Tail::Padded), padded);
            assert_eq!(of(&file, Tail::AsItIs), padded);
        }
    }

    #[test]
    fn ranges_are_those_of_goblin() {
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
    fn a_file_without_one_digest_is_refused() {
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
