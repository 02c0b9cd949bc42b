//! Builds the signature of an EFI program: PKCS#7 `SignedData` around an Authenticode digest.
//!
//! RFC 2315 §9; content and object identifiers: "Windows Authenticode Portable Executable Signature Format" 1.0. The
//! signature contains no signing time, so the same file, key and certificate result in the same signature.

use sha2::{Digest, Sha256};

/// Digest of the signed program.
pub(crate) type Sha256Digest = [u8; 32];

const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
/// 1.3.6.1.4.1.311.2.1.4
const SPC_INDIRECT_DATA: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x04];
/// 1.3.6.1.4.1.311.2.1.15
const SPC_PE_IMAGE_DATA: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x0f];

mod tag {
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const NULL: u8 = 0x05;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;
    /// `[0]`, primitive.
    pub(crate) const BARE_0: u8 = 0x80;
    /// `[0]`, constructed.
    pub(crate) const AROUND_0: u8 = 0xa0;
    /// `[2]`, constructed.
    pub(crate) const AROUND_2: u8 = 0xa2;
}

/// Identity of the signer. All fields are DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Certificate of the signer, followed by intermediate certificates.
    pub(crate) certificates: Vec<Vec<u8>>,
    /// Issuer name of the first certificate.
    pub(crate) issuer: Vec<u8>,
    /// Serial number of the first certificate, an INTEGER.
    pub(crate) serial: Vec<u8>,
}

/// Returns the bytes that the key must sign (RSA PKCS#1 v1.5 with SHA-256) for a file with this digest.
pub(crate) fn to_be_signed(digest: &Sha256Digest) -> Vec<u8> {
    der(tag::SET, &[&attributes(digest)])
}

/// Returns the `SignedData` in its `ContentInfo`.
pub(crate) fn signed_data(digest: &Sha256Digest, signer: &Identity, signature: &[u8]) -> Vec<u8> {
    let version = der(tag::INTEGER, &[&[1]]);
    let sha256 = algorithm(SHA256);
    let content = der(tag::SEQUENCE, &[&spc_indirect_data(digest)]);
    let content = der(tag::SEQUENCE, &[&der(tag::OID, &[SPC_INDIRECT_DATA]), &der(tag::AROUND_0, &[&content])]);
    let info = der(
        tag::SEQUENCE,
        &[
            &version,
            &der(tag::SEQUENCE, &[&signer.issuer, &signer.serial]),
            &sha256,
            &der(tag::AROUND_0, &[&attributes(digest)]),
            &algorithm(RSA_ENCRYPTION),
            &der(tag::OCTET_STRING, &[signature]),
        ],
    );
    let certificates: Vec<&[u8]> = signer.certificates.iter().map(Vec::as_slice).collect();
    let whole = der(
        tag::SEQUENCE,
        &[&version, &der(tag::SET, &[&sha256]), &content, &der(tag::AROUND_0, &certificates), &der(tag::SET, &[&info])],
    );
    der(tag::SEQUENCE, &[&der(tag::OID, &[SIGNED_DATA]), &der(tag::AROUND_0, &[&whole])])
}

/// Returns true if a signature contains this digest. A plain search: it detects mistakes, not forgeries.
pub fn contains_digest(pkcs7: &[u8], digest: &[u8]) -> bool {
    let string = der(tag::OCTET_STRING, &[digest]);
    pkcs7.windows(string.len()).any(|window| window == string)
}

/// Returns the content of the `SpcIndirectDataContent` SEQUENCE. `messageDigest` covers it without tag and length.
fn spc_indirect_data(digest: &Sha256Digest) -> Vec<u8> {
    // All signing tools write this text instead of a file name, as in the example of the specification.
    let obsolete: Vec<u8> = "<<<Obsolete>>>".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let file = der(tag::AROUND_0, &[&der(tag::AROUND_2, &[&der(tag::BARE_0, &[&obsolete])])]);
    let no_flags = der(tag::BIT_STRING, &[&[0]]);
    let image = der(tag::SEQUENCE, &[&no_flags, &file]);
    let data = der(tag::SEQUENCE, &[&der(tag::OID, &[SPC_PE_IMAGE_DATA]), &image]);
    let digest = der(tag::SEQUENCE, &[&algorithm(SHA256), &der(tag::OCTET_STRING, &[digest])]);
    [data, digest].concat()
}

/// Returns the signed attributes, sorted by their bytes, as DER requires for a SET.
fn attributes(digest: &Sha256Digest) -> Vec<u8> {
    let of = Sha256::digest(spc_indirect_data(digest));
    let attribute = |oid: &[u8], value: &[u8]| der(tag::SEQUENCE, &[&der(tag::OID, &[oid]), &der(tag::SET, &[value])]);
    let mut all = [
        attribute(CONTENT_TYPE, &der(tag::OID, &[SPC_INDIRECT_DATA])),
        attribute(MESSAGE_DIGEST, &der(tag::OCTET_STRING, &[&of])),
    ];
    all.sort();
    all.concat()
}

fn algorithm(oid: &[u8]) -> Vec<u8> {
    der(tag::SEQUENCE, &[&der(tag::OID, &[oid]), &der(tag::NULL, &[])])
}

/// Encodes tag, length and value; `parts` are the parts of the value.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut bytes = vec![tag];
    if length < 0x80 {
        bytes.push(length as u8);
    } else {
        let big = length.to_be_bytes();
        let digits: Vec<u8> = big.into_iter().skip_while(|byte| *byte == 0).collect();
        bytes.push(0x80 | digits.len() as u8);
        bytes.extend(digits);
    }
    bytes.extend(parts.concat());
    bytes
}

#[cfg(test)]
mod tests {
    use super::{Identity, contains_digest, der, signed_data, to_be_signed};
    use x509_cert::der::{Any, Decode};

    #[test]
    fn lengths_have_the_shortest_encoding() {
        assert_eq!(der(4, &[&[0; 127]])[..2], [4, 0x7f]);
        assert_eq!(der(4, &[&[0; 128]])[..3], [4, 0x81, 0x80]);
        assert_eq!(der(4, &[&[0; 200], &[0; 100]])[..4], [4, 0x82, 1, 0x2c]);
    }

    #[test]
    fn a_signature_is_der_and_reproducible() {
        let signer =
            Identity { certificates: vec![der(0x30, &[&[5, 0]])], issuer: der(0x30, &[]), serial: der(2, &[&[1]]) };
        let made = signed_data(&[7; 32], &signer, &[9; 256]);
        assert_eq!(made, signed_data(&[7; 32], &signer, &[9; 256]));
        Any::from_der(&made).expect("DER");
        Any::from_der(&to_be_signed(&[7; 32])).expect("DER");
        assert!(contains_digest(&made, &[7; 32]) && !contains_digest(&made, &[8; 32]));
    }
}
