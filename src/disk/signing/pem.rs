//! PEM files (RFC 7468 §2): base64 blocks between `BEGIN` and `END` lines, with arbitrary text around them.

use x509_cert::der::SecretDocument;

/// A PEM block.
pub(super) struct Block {
    /// Label, such as `RSA PRIVATE KEY`.
    pub(crate) label: String,
    /// Decoded content; `None` if it does not decode, as for a key in the traditional encrypted format.
    pub(crate) der: Option<SecretDocument>,
}

/// Returns all blocks of a file; none if it is not PEM.
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
