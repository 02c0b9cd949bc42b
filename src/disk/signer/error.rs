//! Why nothing can be signed.

use std::io;
use std::path::PathBuf;

/// No signer.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// A file that would not be read.
    #[error("reading the signing {what} {}", path.display())]
    Io {
        /// "key".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// A key in a token.
    #[error("reading the signing {what}: keys in tokens cannot be used here")]
    Token {
        /// "key".
        what: &'static str,
    },
    /// A key that cannot be used.
    #[error("reading the signing key {}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        why: KeyFault,
    },
    /// A certificate that cannot be used.
    #[error("reading the signing certificate {}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        why: CertificateFault,
    },
    /// Two that do not belong together.
    #[error("signing with key {} and certificate {}: the certificate is for another key", key.display(), certificate.display())]
    Pair {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// The computation failed, which a key that was read does not do.
    #[error("signing: the key gave no signature")]
    Signing,
}

/// What is wrong with a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// It needs a passphrase.
    #[error("it is encrypted")]
    Encrypted,
    /// Another kind.
    #[error("it is no RSA key, and firmware verifies RSA signatures only")]
    NotRsa,
    /// The wrong half, or the other file.
    #[error("it is {0}, not a private key")]
    NotPrivate(&'static str),
    /// Too short, too long, or of numbers that do not fit together.
    #[error("{0}")]
    Rejected(String),
    /// Nothing that is known.
    #[error("no private key in it, neither PEM nor DER")]
    Unknown,
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// Nothing that is known.
    #[error("no X.509 certificate in it, neither PEM nor DER")]
    Unknown,
    /// A certificate that does not decode.
    #[error("a certificate that cannot be decoded: {0}")]
    Damaged(String),
    /// Another kind of key.
    #[error("it is for a key that is not RSA, and firmware verifies RSA signatures only")]
    NotRsa,
}

impl SignerError {
    /// One line of advice, where there is one.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Token { .. } => Some(
                "sign the digest that `bootling digest` prints where the key is, and add the signature by --attach",
            ),
            Self::Key { why: KeyFault::Encrypted, .. } => {
                Some("decrypt it into a private place: openssl pkey -in KEY -out PLAIN")
            }
            Self::Key { why: KeyFault::NotRsa, .. } | Self::Certificate { why: CertificateFault::NotRsa, .. } => Some(
                "make one: openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=me -days 3650 -keyout KEY -out CERT",
            ),
            Self::Key { why: KeyFault::NotPrivate(_), .. } => {
                Some("--sign-key takes the private key and --sign-cert the certificate")
            }
            Self::Pair { .. } => Some(
                "both print the same where they belong together: openssl x509 -in CERT -noout \
                -pubkey, and openssl pkey -in KEY -pubout",
            ),
            Self::Io { .. } | Self::Key { .. } | Self::Certificate { .. } | Self::Signing => None,
        }
    }
}
