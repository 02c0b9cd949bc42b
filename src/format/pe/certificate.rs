//! Certificate table: the signatures at the end of a PE file.
//!
//! `WIN_CERTIFICATE`: UEFI 2.11 §32.2.4; entries are padded to 8 bytes. Refuses to add a signature if the table is not
//! at the end of the file.

use super::{Pe, PeError};
use crate::format::Medium;

/// `WIN_CERT_REVISION_2_0`.
const REVISION: u16 = 0x0200;
/// `WIN_CERT_TYPE_PKCS_SIGNED_DATA`.
const PKCS7: u16 = 0x0002;
/// Length of a certificate header in bytes.
const HEADER: usize = 8;
/// Maximum size of the table in bytes. A signature with its certificates has a few kilobytes.
const MOST: u32 = 1 << 20;

/// Signatures of a file, each a PKCS#7 `SignedData` in DER, possibly followed by padding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Certificates {
    /// Signatures, in table order.
    pub pkcs7: Vec<Vec<u8>>,
    /// Number of entries of other types.
    pub(crate) others: usize,
}

impl Certificates {
    /// Reads the signatures of a file; empty if it is not signed.
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
                let rule = "must be at least 8 and within the table";
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
        let field = "certificate table size";
        let offset = pe.security_offset().unwrap_or(0) + 4;
        return Err(PeError::Field { field, offset, value: length.into(), rule: "the maximum is 1 MiB" });
    }
    let mut bytes = vec![0; length as usize];
    let length = bytes.len();
    file.read_at(&mut bytes, start).map_err(|source| PeError::Io { offset: start, length, source })?;
    Ok(bytes)
}

/// Changes that add a signature to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// File offset of the directory entry of the certificate table.
    pub(crate) entry_offset: u64,
    /// New content of that entry.
    pub(crate) entry: [u8; 8],
    /// Bytes to append: padding to 8 bytes, and the certificate.
    pub(crate) tail: Vec<u8>,
}

/// Adds a signature (PKCS#7 `SignedData` in DER) to a file. The padded digest of the file does not change.
pub fn attach(pe: &Pe, pkcs7: &[u8]) -> Result<Attached, PeError> {
    let Some(entry_offset) = pe.security_offset() else {
        let (field, rule) = ("NumberOfRvaAndSizes", "a signature requires at least 5");
        let offset = pe.optional;
        return Err(PeError::Field { field, offset, value: pe.directories.len() as u64, rule });
    };
    let (start, before) = match pe.security() {
        None => (pe.size.next_multiple_of(8), 0),
        Some(table) => {
            let (start, length) = (u64::from(table.address), u64::from(table.size));
            if start + length != pe.size || start % 8 != 0 || length % 8 != 0 {
                let rule = "the certificates must be at the end of the file, aligned to 8 bytes";
                let field = "certificate table offset";
                return Err(PeError::Field { field, offset: entry_offset, value: start, rule });
            }
            (start, length)
        }
    };
    let length = HEADER + pkcs7.len();
    let padded = length.next_multiple_of(8);
    let too_big = |size| PeError::TooBig { what: "the signature".to_owned(), size };
    let total = start + before + padded as u64;
    if total > super::MOST {
        return Err(too_big(total));
    }
    let mut tail = vec![0; (start + before - pe.size) as usize];
    // The unpadded length, as in sbsign: EDK2 rounds it up to 8 to find the next entry (DxeImageVerificationHandler).
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
    use super::{Certificates, attach};
    use crate::format::pe::Pe;
    use crate::format::pe::builder::Builder;

    #[test]
    fn attached_signatures_are_read_again() {
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
    fn invalid_tables_are_refused() {
        let good = Builder { certificate: 24, ..Builder::default() }.build();
        let pe = Pe::read(&good).expect("a PE file");
        assert_eq!(Certificates::read(&pe, &good).expect("read").pkcs7, [vec![b'c'; 16]]);
        let table = pe.security().expect("signed").address as usize;
        let mut bad = good.clone();
        bad[table] = 7;
        let error = Certificates::read(&pe, &bad).expect_err("refused").to_string();
        assert_eq!(error, "dwLength at offset 0x800 is 0x7: must be at least 8 and within the table");
        bad[table] = 25;
        assert!(Certificates::read(&pe, &bad).is_err());
        let mut far = good.clone();
        let entry = pe.security_offset().expect("a directory") as usize;
        far[entry + 2] = 1;
        let pe = Pe::read(&far).expect("a PE file");
        assert!(Certificates::read(&pe, &far).expect_err("refused").to_string().contains("past the end"));
        assert!(attach(&pe, &[1]).is_err());
        let few = Builder { directories: 4, ..Builder::default() }.build();
        let error = attach(&Pe::read(&few).expect("a PE file"), &[1]).expect_err("refused").to_string();
        assert!(error.contains("requires at least 5"), "{error}");
    }
}
