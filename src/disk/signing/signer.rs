//! Secure Boot signing with an RSA key and its certificate, read from files.
//!
//! Accepts PEM and DER, and PKCS#8 and PKCS#1 keys of 2048 to 4096 bits, which firmware accepts (UEFI 2.11 §32.3.4
//! requires RSA-2048 with SHA-256; EDK2 `CryptPkcs7VerifyEku`). Refuses encrypted keys, keys other than RSA, and a
//! certificate that does not match the key.

use super::{certificate, key};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::SystemTime;

use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};

use crate::format::pe::pkcs7::{Identity, Sha256Digest, signed_data, to_be_signed};

pub use super::error::SignerError;

/// Size limit of a key or certificate file, far above real ones.
const MOST: u64 = 1 << 20;

/// A key and its certificate.
#[derive(Debug)]
pub struct Signer {
    key: RsaKeyPair,
    identity: Identity,
    /// Subject of the certificate: `CN=bootling test`.
    pub subject: String,
    /// Validity period of the certificate: `notBefore` and `notAfter`.
    pub(crate) validity: (SystemTime, SystemTime),
}

impl Signer {
    /// Reads the key and certificate files and checks that they match.
    pub fn read(key: &Path, certificate: &Path) -> Result<Self, SignerError> {
        let cert = certificate::parse(&read(certificate, "certificate")?)
            .map_err(|why| SignerError::Certificate { path: certificate.to_owned(), why })?;
        let pair = key::parse(&read(key, "key")?).map_err(|why| SignerError::Key { path: key.to_owned(), why })?;
        if pair.public().as_ref() != cert.public_key {
            return Err(SignerError::Pair { key: key.to_owned(), certificate: certificate.to_owned() });
        }
        Ok(Self { key: pair, identity: cert.identity, subject: cert.subject, validity: cert.validity })
    }

    /// Signs an Authenticode digest. Returns the PKCS#7 `SignedData`.
    pub fn sign(&self, digest: &Sha256Digest) -> Result<Vec<u8>, SignerError> {
        let mut signature = vec![0; self.key.public().modulus_len()];
        // The random numbers blind the computation; the signature does not depend on them.
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &to_be_signed(digest), &mut signature)
            .map_err(|_| SignerError::Signing)?;
        Ok(signed_data(digest, &self.identity, &signature))
    }

    /// Returns a note if the certificate is not valid at the time `now`. Firmware ignores the validity period; other
    /// verifiers may refuse the signature.
    pub fn validity_note(&self, now: SystemTime) -> Option<String> {
        let (first, last) = self.validity;
        if now < first {
            return Some(format!("the certificate of {} is not valid yet; firmware ignores this", self.subject));
        }
        (now > last).then(|| format!("the certificate of {} has expired; firmware ignores this", self.subject))
    }
}

fn read(path: &Path, what: &'static str) -> Result<Vec<u8>, SignerError> {
    let failed = |source| SignerError::Io { what, path: path.to_owned(), source };
    if path.as_os_str().as_encoded_bytes().starts_with(b"pkcs11:") {
        return Err(SignerError::Token { what });
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(bytes)
}
