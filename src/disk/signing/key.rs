//! Private key files: PKCS#8 and PKCS#1, PEM or DER.

use ring::error::KeyRejected;
use ring::signature::RsaKeyPair;
use x509_cert::der::SecretDocument;

use super::error::KeyFault;
use super::pem::{Block, blocks};

/// Parses a key file.
pub(super) fn parse(bytes: &[u8]) -> Result<RsaKeyPair, KeyFault> {
    let blocks = blocks(bytes);
    if blocks.is_empty() {
        return der(bytes);
    }
    let mut fault = KeyFault::Unknown;
    for Block { label, der } in &blocks {
        let der = der.as_ref().map(SecretDocument::as_bytes);
        let read = match (label.as_str(), der) {
            ("PRIVATE KEY", Some(der)) => pkcs8(der),
            ("RSA PRIVATE KEY", Some(der)) => RsaKeyPair::from_der(der).map_err(|error| rejected(&error)),
            // Keys in the traditional encrypted format have header lines in the block, so it does not decode as base64.
            ("ENCRYPTED PRIVATE KEY", _) | ("RSA PRIVATE KEY" | "EC PRIVATE KEY", None) => Err(KeyFault::Encrypted),
            ("EC PRIVATE KEY" | "DSA PRIVATE KEY" | "OPENSSH PRIVATE KEY", _) => Err(KeyFault::NotRsa),
            ("PUBLIC KEY" | "RSA PUBLIC KEY", _) => Err(KeyFault::NotPrivate("a public key")),
            ("CERTIFICATE", _) => Err(KeyFault::NotPrivate("a certificate")),
            _ => Err(KeyFault::Unknown),
        };
        match read {
            // The file may also contain certificates, before or after the private key.
            Err(why @ (KeyFault::NotPrivate(_) | KeyFault::Unknown)) if fault == KeyFault::Unknown => fault = why,
            Err(KeyFault::NotPrivate(_) | KeyFault::Unknown) => {}
            read => return read,
        }
    }
    Err(fault)
}

fn der(bytes: &[u8]) -> Result<RsaKeyPair, KeyFault> {
    if !bytes.starts_with(&[0x30]) {
        return Err(KeyFault::Unknown);
    }
    let first = match pkcs8(bytes) {
        Ok(pair) => return Ok(pair),
        Err(first) => first,
    };
    match RsaKeyPair::from_der(bytes) {
        Ok(pair) => Ok(pair),
        Err(second) if second.to_string() == "InvalidEncoding" => Err(first),
        Err(second) => Err(rejected(&second)),
    }
}

fn pkcs8(der: &[u8]) -> Result<RsaKeyPair, KeyFault> {
    RsaKeyPair::from_pkcs8(der).map_err(|error| rejected(&error))
}

fn rejected(error: &KeyRejected) -> KeyFault {
    // ring exposes the reason only as this text (ring's src/error/key_rejected.rs).
    match error.to_string().as_str() {
        "WrongAlgorithm" => KeyFault::NotRsa,
        "InvalidEncoding" | "VersionNotSupported" => KeyFault::Unknown,
        "TooSmall" => KeyFault::Rejected("fewer than 2048 bits".to_owned()),
        "TooLarge" => KeyFault::Rejected("more than 4096 bits".to_owned()),
        other => KeyFault::Rejected(format!("inconsistent RSA parameters ({other})")),
    }
}
