//! Signatures of EFI programs: behind the file, and eight bytes in its header that say where.
//!
//! The file stays where it is; signing makes another list of its pieces. Refuses what `disk::pe` cannot digest, and files
//! whose header has no place for a signature.

use std::sync::Arc;

use sha2::Sha256;

use super::signer::{Signer, SignerError};
use crate::format::pe::pkcs7::Sha256Digest;
use crate::format::pe::{Attached, Pe, PeError, Tail, attach, digest};
use crate::output::extents::{Extent, Extents, Source};

/// Why something was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// No digest, or no place for a signature.
    #[error("signing the EFI program")]
    Program(#[from] PeError),
    /// The key's own trouble.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

/// The Authenticode digest of an EFI program, padded as it will be once it is signed.
pub fn authenticode(file: &Extents) -> Result<Sha256Digest, PeError> {
    let digested = digest::<Sha256>(&Pe::read(file)?, file, Tail::Padded)?;
    let mut fixed = Sha256Digest::default();
    fixed.copy_from_slice(&digested.digest);
    Ok(fixed)
}

/// Signs an EFI program for Secure Boot. Signatures that it has stay.
pub fn sign(file: &Extents, signer: &Signer) -> Result<Extents, SignatureError> {
    let pkcs7 = signer.sign(&authenticode(file)?)?;
    Ok(attached(file, &attach(&Pe::read(file)?, &pkcs7)?))
}

/// The file with a signature behind it.
pub fn attached(file: &Extents, signature: &Attached) -> Extents {
    let (start, end) = (signature.entry_offset, signature.entry_offset + signature.entry.len() as u64);
    let mut signed = Extents::new(file.size());
    for Extent { at, len, source, from } in file.list() {
        // What of the piece stands before the entry, and what behind it.
        for (first, last) in [(*at, (at + len).min(start)), ((*at).max(end), at + len)] {
            if first < last {
                signed.add(first, last - first, source.clone(), from + (first - at));
            }
        }
    }
    let bytes = |bytes: &[u8]| Source::Bytes(Arc::from(bytes));
    signed.add(start, end - start, bytes(&signature.entry), 0);
    signed.add(file.size(), signature.tail.len() as u64, bytes(&signature.tail), 0);
    signed
}

#[cfg(test)]
mod tests {
    use super::{attached, authenticode};
    use crate::format::pe::builder::Builder;
    use crate::format::pe::{Certificates, Pe, attach};
    use crate::output::extents::Extents;

    fn whole(extents: &Extents) -> Vec<u8> {
        let mut bytes = Vec::new();
        extents.write_to(&mut bytes).expect("written");
        bytes
    }

    #[test]
    fn a_signature_changes_eight_bytes_and_adds_the_rest() {
        let mut bytes = Builder::default().build();
        bytes.push(1);
        let mut file = Extents::new(0);
        // In pieces that end in the middle of the entry.
        let entry = Pe::read(&bytes).expect("a PE file").security_offset().expect("a directory") as usize;
        file.add_bytes(0, bytes[..entry + 3].to_vec());
        file.add_bytes(entry as u64 + 3, bytes[entry + 3..].to_vec());
        let digest = authenticode(&file).expect("a digest");
        let signature = attach(&Pe::read(&file).expect("a PE file"), b"signature").expect("attached");
        let signed = attached(&file, &signature);
        let after = whole(&signed);
        assert_eq!(signed.size(), after.len() as u64);
        assert_eq!(after[..entry], bytes[..entry]);
        assert_eq!(after[entry + 8..bytes.len()], bytes[entry + 8..]);
        assert_eq!(authenticode(&signed).expect("a digest"), digest);
        let pe = Pe::read(&signed).expect("a PE file");
        assert_eq!(Certificates::read(&pe, &signed).expect("read").pkcs7, [b"signature"]);
    }
}
