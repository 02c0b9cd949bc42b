//! Certificate files: the signer's certificate first, followed by its issuers.

use std::time::SystemTime;

use x509_cert::Certificate;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _};

use super::error::CertificateFault;
use super::pem::blocks;
use crate::format::pe::pkcs7::Identity;

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Fields of the signer's certificate, and the whole chain.
pub(super) struct Facts {
    pub(crate) identity: Identity,
    pub(crate) subject: String,
    /// `RSAPublicKey`, DER-encoded.
    pub(crate) public_key: Vec<u8>,
    pub(crate) validity: (SystemTime, SystemTime),
}

/// Parses a certificate file.
pub(super) fn parse(bytes: &[u8]) -> Result<Facts, CertificateFault> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    for block in blocks(bytes) {
        if block.label == "CERTIFICATE" {
            let der = block.der.ok_or_else(|| CertificateFault::Damaged("invalid base64".to_owned()))?;
            all.push(der.as_bytes().to_vec());
        }
    }
    if all.is_empty() && bytes.starts_with(&[0x30]) {
        all.push(bytes.to_vec());
    }
    let damaged = |error: x509_cert::der::Error| CertificateFault::Damaged(error.to_string());
    let mut signer = None;
    for der in &all {
        let read = Certificate::from_der(der).map_err(damaged)?;
        signer.get_or_insert(read);
    }
    let signer = signer.ok_or(CertificateFault::Unknown)?;
    let signer = signer.tbs_certificate();
    let key = signer.subject_public_key_info();
    if key.algorithm.oid != RSA_ENCRYPTION {
        return Err(CertificateFault::NotRsa);
    }
    let validity = signer.validity();
    Ok(Facts {
        identity: Identity {
            issuer: signer.issuer().to_der().map_err(damaged)?,
            serial: signer.serial_number().to_der().map_err(damaged)?,
            certificates: all,
        },
        subject: signer.subject().to_string(),
        public_key: key.subject_public_key.raw_bytes().to_vec(),
        validity: (validity.not_before.to_system_time(), validity.not_after.to_system_time()),
    })
}
