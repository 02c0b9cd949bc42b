//! PEM files: blocks of base64 between lines of dashes, with any text around them (RFC 7468 §2).

use x509_cert::der::SecretDocument;

/// A block.
pub(super) struct Block {
    /// `RSA PRIVATE KEY`.
    pub label: String,
    /// What is in it; `None` where it does not decode, an encrypted block of the old kind among others.
    pub der: Option<SecretDocument>,
}

/// All blocks of a file; none where it is not PEM.
pub(super) fn blocks(bytes: &[u8]) -> Vec<Block> {
    let Ok(text) = std::str::from_utf8(bytes) else { return Vec::new() };
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, begun)) = rest.split_once("-----BEGIN ") {
        let Some((label, _)) = begun.split_once("-----") else { break };
        let end = format!("-----END {label}-----");
        let Some((body, behind)) = begun.split_once(&end) else { break };
        let block = format!("-----BEGIN {body}{end}\n");
        let der = SecretDocument::from_pem(&block).ok().map(|(_, der)| der);
        found.push(Block { label: label.to_owned(), der });
        rest = behind;
    }
    found
}
