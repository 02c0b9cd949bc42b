//! Errors of signing and of reading keys and certificates.

use std::io;
use std::path::PathBuf;

/// Signing is not possible.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// An I/O error.
    #[error("failed to read the signing {what} {}", path.display())]
    Io {
        /// "key" or "certificate".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The key or certificate is in a PKCS#11 token.
    #[error("signing {what}: PKCS#11 tokens are not supported")]
    Token {
        /// "key" or "certificate".
        what: &'static str,
    },
    /// The key is unusable.
    #[error("invalid signing key {}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The fault.
        #[source]
        why: KeyFault,
    },
    /// The certificate is unusable.
    #[error("invalid signing certificate {}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// The fault.
        #[source]
        why: CertificateFault,
    },
    /// The certificate is for another key.
    #[error("signing key {} and certificate {} do not match", key.display(), certificate.display())]
    Pair {
        /// File of the key.
        key: PathBuf,
        /// File of the certificate.
        certificate: PathBuf,
    },
    /// The RSA computation failed. Not expected after the key was accepted.
    #[error("failed to compute the RSA signature")]
    Signing,
}

/// Fault of a key file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// The key is encrypted with a passphrase.
    #[error("the key is encrypted")]
    Encrypted,
    /// Not an RSA key.
    #[error("not an RSA key, but firmware verifies only RSA signatures")]
    NotRsa,
    /// A public key or a certificate.
    #[error("expected a private key, found {0}")]
    NotPrivate(&'static str),
    /// Too short, too long, or inconsistent parameters.
    #[error("{0}")]
    Rejected(String),
    /// No private key found.
    #[error("no private key found (PEM or DER)")]
    Unknown,
}

/// Fault of a certificate file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// No certificate found.
    #[error("no X.509 certificate found (PEM or DER)")]
    Unknown,
    /// A certificate does not decode.
    #[error("failed to decode a certificate: {0}")]
    Damaged(String),
    /// The certified key is not RSA.
    #[error("the certified key is not RSA, but firmware verifies only RSA signatures")]
    NotRsa,
}

impl SignerError {
    /// Returns one line of advice, if there is any.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Token { .. } => Some(
                "sign the output of `bootling digest` on the machine with the token, then add the signature with --attach",
            ),
            Self::Key { why: KeyFault::Encrypted, .. } => {
                Some("decrypt it to a private file: openssl pkey -in KEY -out PLAIN")
            }
            Self::Key { why: KeyFault::NotRsa, .. } | Self::Certificate { why: CertificateFault::NotRsa, .. } => Some(
                "create one: openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=me -days 3650 -keyout KEY -out CERT",
            ),
            Self::Key { why: KeyFault::NotPrivate(_), .. } => {
                Some("pass the private key to --sign-key and the certificate to --sign-cert")
            }
            Self::Pair { .. } => Some(
                "for a matching pair, these print the same: openssl x509 -in CERT -noout -pubkey, \
                and openssl pkey -in KEY -pubout",
            ),
            Self::Io { .. } | Self::Key { .. } | Self::Certificate { .. } | Self::Signing => None,
        }
    }
}
