//! The certificate table: signatures behind everything else in a file.
//!
//! `WIN_CERTIFICATE` is UEFI 2.11 §32.2.4; entries are padded to 8 bytes. Refuses a table that is not at the file's
//! end.

use super::{Pe, PeError};
use crate::disk::Medium;

/// `WIN_CERT_REVISION_2_0`.
const REVISION: u16 = 0x0200;
/// `WIN_CERT_TYPE_PKCS_SIGNED_DATA`.
const PKCS7: u16 = 0x0002;
/// Bytes of a certificate's header.
const HEADER: usize = 8;
/// A signature is some kilobytes, with its certificates.
const MOST: u32 = 1 << 20;

/// The signatures of a file, each a PKCS#7 `SignedData` in DER (perhaps with padding behind it).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Certificates {
    /// In their order.
    pub pkcs7: Vec<Vec<u8>>,
    /// How many entries are of other kinds.
    pub others: usize,
}

impl Certificates {
    /// Reads those of a file; none where it is not signed.
    pub fn read(pe: &Pe, file: &(impl Medium + ?Sized)) -> Result<Self, PeError> {
        let Some(table) = pe.security() else { return Ok(Self::default()) };
        let bytes = table_of(pe, table.address, table.size, file)?;
        let mut found = Self::default();
        let mut at = 0;
        while let Some(header) = bytes.get(at..at + HEADER) {
            let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
            let kind = u16::from_le_bytes([header[6], header[7]]);
            let entry = at.checked_add(length).filter(|_| length >= HEADER).and_then(|end| bytes.get(at + HEADER..end));
            let Some(entry) = entry else {
                let offset = u64::from(table.address) + at as u64;
                let rule = "it has to be at least 8, and to stay inside the table";
                return Err(PeError::Field { field: "dwLength", offset, value: length as u64, rule });
            };
            if kind == PKCS7 {
                found.pkcs7.push(entry.to_vec());
            } else {
                found.others += 1;
            }
            at += length.next_multiple_of(8);
        }
        Ok(found)
    }
}

fn table_of(pe: &Pe, offset: u32, length: u32, file: &(impl Medium + ?Sized)) -> Result<Vec<u8>, PeError> {
    let (start, size) = (u64::from(offset), pe.size);
    if start + u64::from(length) > size {
        let what = "the certificate table".to_owned();
        return Err(PeError::Beyond { what, offset: start, length: length.into(), size });
    }
    if length > MOST {
        let field = "the certificate table's size";
        let offset = pe.security_offset().unwrap_or(0) + 4;
        return Err(PeError::Field { field, offset, value: length.into(), rule: "1 MiB is the most" });
    }
    let mut bytes = vec![0; length as usize];
    let length = bytes.len();
    file.read_at(&mut bytes, start).map_err(|source| PeError::Io { offset: start, length, source })?;
    Ok(bytes)
}

/// What makes a signed file of one that is not, or adds a signature to one that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Where in the file the 8 bytes of the directory entry stand.
    pub entry_offset: u64,
    /// What they are then.
    pub entry: [u8; 8],
    /// What comes behind the file as it was: padding to 8 bytes, and the certificate.
    pub tail: Vec<u8>,
}

/// Puts a signature (PKCS#7 `SignedData` in DER) behind a file. Its digest stays what it was, padding included.
pub fn attach(pe: &Pe, pkcs7: &[u8]) -> Result<Attached, PeError> {
    let Some(entry_offset) = pe.security_offset() else {
        let (field, rule) = ("NumberOfRvaAndSizes", "a file that is to be signed needs at least 5");
        let offset = pe.optional;
        return Err(PeError::Field { field, offset, value: pe.directories.len() as u64, rule });
    };
    let (start, before) = match pe.security() {
        None => (pe.size.next_multiple_of(8), 0),
        Some(table) => {
            let (start, length) = (u64::from(table.address), u64::from(table.size));
            if start + length != pe.size || start % 8 != 0 || length % 8 != 0 {
                let rule = "the certificates have to be the last of the file, aligned to 8 bytes";
                let field = "the certificate table's offset";
                return Err(PeError::Field { field, offset: entry_offset, value: start, rule });
            }
            (start, length)
        }
    };
    let length = HEADER + pkcs7.len();
    let padded = length.next_multiple_of(8);
    let too_big = |size| PeError::TooBig { what: "its signature".to_owned(), size };
    let total = start + before + padded as u64;
    if total > super::MOST {
        return Err(too_big(total));
    }
    let mut tail = vec![0; (start + before - pe.size) as usize];
    // The true length, as sbsign has it: EDK2 walks the table by lengths rounded up to 8 (DxeImageVerificationHandler).
    tail.extend((length as u32).to_le_bytes());
    tail.extend(REVISION.to_le_bytes());
    tail.extend(PKCS7.to_le_bytes());
    tail.extend(pkcs7);
    tail.resize((total - pe.size) as usize, 0);
    let mut entry = [0; 8];
    entry[..4].copy_from_slice(&(start as u32).to_le_bytes());
    entry[4..].copy_from_slice(&((before + padded as u64) as u32).to_le_bytes());
    Ok(Attached { entry_offset, entry, tail })
}

#[cfg(test)]
mod tests {
    use super::super::builder::Builder;
    use super::{Certificates, attach};
    use crate::disk::pe::Pe;

    #[test]
    fn what_was_attached_is_read_again() {
        let mut file = Builder { certificate: 0, ..Builder::default() }.build();
        for count in 1..4_usize {
            let pe = Pe::read(&file).expect("a PE file");
            let attached = attach(&pe, &vec![count as u8; 10 + count]).expect("attached");
            file.extend(&attached.tail);
            let at = attached.entry_offset as usize;
            file[at..at + 8].copy_from_slice(&attached.entry);
            let pe = Pe::read(&file).expect("a PE file");
            let found = Certificates::read(&pe, &file).expect("certificates");
            assert_eq!(found.pkcs7.len(), count);
            assert_eq!(found.pkcs7[count - 1], vec![count as u8; 10 + count]);
            assert_eq!(file.len() % 8, 0);
        }
    }

    #[test]
    fn tables_that_make_no_sense_are_refused() {
        let good = Builder { certificate: 24, ..Builder::default() }.build();
        let pe = Pe::read(&good).expect("a PE file");
        assert_eq!(Certificates::read(&pe, &good).expect("read").pkcs7, [vec![b'c'; 16]]);
        let table = pe.security().expect("signed").address as usize;
        let mut bad = good.clone();
        bad[table] = 7;
        let error = Certificates::read(&pe, &bad).expect_err("refused").to_string();
        assert_eq!(error, "dwLength at offset 0x800 is 0x7: it has to be at least 8, and to stay inside the table");
        bad[table] = 25;
        assert!(Certificates::read(&pe, &bad).is_err());
        let mut far = good.clone();
        let entry = pe.security_offset().expect("a directory") as usize;
        far[entry + 2] = 1;
        let pe = Pe::read(&far).expect("a PE file");
        assert!(Certificates::read(&pe, &far).expect_err("refused").to_string().contains("beyond the end"));
        assert!(attach(&pe, &[1]).is_err());
        let few = Builder { directories: 4, ..Builder::default() }.build();
        let error = attach(&Pe::read(&few).expect("a PE file"), &[1]).expect_err("refused").to_string();
        assert!(error.contains("needs at least 5"), "{error}");
    }
}
