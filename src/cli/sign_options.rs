//! Options for signing EFI programs for Secure Boot.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;

use super::output;
use bootling::disk::signing::Signer;

/// Signing key and certificate.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SignOptions {
    /// Sign for Secure Boot with this RSA key (PEM or DER, unencrypted).
    #[arg(long, value_name = "KEY", help_heading = "Secure Boot and TPM", requires = "sign_cert")]
    pub sign_key: Option<PathBuf>,
    /// Certificate of the key (PEM or DER); intermediate certificates may follow it.
    #[arg(long, value_name = "CERT", help_heading = "Secure Boot and TPM", requires = "sign_key")]
    pub sign_cert: Option<PathBuf>,
}

impl SignOptions {
    /// Reads the key and the certificate, if given. Prints a note if the certificate is outside its validity period.
    pub(crate) fn signer(&self) -> anyhow::Result<Option<Signer>> {
        let (Some(key), Some(certificate)) = (&self.sign_key, &self.sign_cert) else { return Ok(None) };
        let signer = Signer::read(key, certificate).map_err(output::advised)?;
        if let Some(note) = signer.validity_note(SystemTime::now()) {
            output::note(&note);
        }
        Ok(Some(signer))
    }
}
