//! Authenticode signatures of EFI programs: a certificate table at the end of the file, and eight bytes in the header
//! with its offset and size.
//!
//! Signing creates a new list of extents and leaves the source file unchanged. Refuses files that `disk::pe` cannot
//! digest, and files whose header has no certificate table entry.

use std::sync::Arc;

use sha2::Sha256;

pub(crate) mod certificate;
pub(crate) mod error;
pub(crate) mod key;
pub(crate) mod pem;
pub(crate) mod signer;

pub use self::signer::{Signer, SignerError};

use crate::format::pe::pkcs7::Sha256Digest;
use crate::format::pe::{Attached, Pe, PeError, Tail, attach, digest};
use crate::output::extents::{Extent, Extents, Source};

/// Signing error.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The program cannot be digested, or its header has no certificate table entry.
    #[error("failed to sign the EFI program")]
    Program(#[from] PeError),
    /// The signer failed.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

/// Computes the Authenticode digest of an EFI program, including the padding that signing adds.
pub fn authenticode(file: &Extents) -> Result<Sha256Digest, PeError> {
    let digested = digest::<Sha256>(&Pe::read(file)?, file, Tail::Padded)?;
    let mut fixed = Sha256Digest::default();
    fixed.copy_from_slice(&digested.digest);
    Ok(fixed)
}

/// Signs an EFI program for Secure Boot. Preserves existing signatures.
pub fn sign(file: &Extents, signer: &Signer) -> Result<Extents, SignatureError> {
    let pkcs7 = signer.sign(&authenticode(file)?)?;
    Ok(attached(file, &attach(&Pe::read(file)?, &pkcs7)?))
}

/// Returns the file with a signature at its end.
pub fn attached(file: &Extents, signature: &Attached) -> Extents {
    let (start, end) = (signature.entry_offset, signature.entry_offset + signature.entry.len() as u64);
    let mut signed = Extents::new(file.size());
    for Extent { at, len, source, from } in file.list() {
        // The parts of the extent before and after the certificate table entry.
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
    fn signing_changes_eight_bytes_of_the_header_and_appends_the_signature() {
        let mut bytes = Builder::default().build();
        bytes.push(1);
        let mut file = Extents::new(0);
        // Split the file in the middle of the entry.
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
