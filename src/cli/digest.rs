//! `bootling digest`: prints the digest for a Secure Boot signature, and attaches a signature made elsewhere.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use serde::Serialize;
use sha2::{Sha256, Sha384, Sha512};

use super::output;
use bootling::disk::signing::attached;
use bootling::format::measure::hex;
use bootling::format::pe::pkcs7::contains_digest;
use bootling::format::pe::{Certificates, Digested, Pe, PeError, Tail, attach, digest};
use bootling::format::uki::{StubInfo, UkiSection};
use bootling::initrd::explain::Printable;
use bootling::output::{
    extents::{Extents, SourceFile},
    file::Output,
};

/// Maximum size of a signature; with certificates it is typically a few kilobytes.
const MOST_SIGNATURE: u64 = 1 << 20;

/// Print the Authenticode digest of an EFI program, for an external signer
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bootling digest BOOTX64.EFI
  bootling digest --json BOOTX64.EFI | jq -r .sha256
  bootling digest --attach BOOTX64.p7s -o SIGNED.EFI BOOTX64.EFI

The digest is the one that firmware and sbsign compute: of the whole file except its checksum,
its signatures and the data directory entry for them, padded to 8 bytes. --attach takes PKCS#7
SignedData in DER, as produced by a signing service or `sbattach --detach`.

Exit status: 0; 2 for usage errors; 125 if FILE is not an EFI program.
")]
pub(crate) struct DigestArgs {
    /// EFI program: a unified kernel image, a boot loader or a kernel.
    file: PathBuf,
    /// Hash algorithm. Secure Boot signatures use sha256; TPMs also have banks for the others.
    #[arg(long, value_name = "HASH", default_value = "sha256", conflicts_with_all = ["json", "attach"])]
    hash: Hash,
    /// Print all digests, the signatures and the sections as JSON.
    #[arg(long)]
    json: bool,
    /// Append this signature to the file.
    #[arg(long, value_name = "SIGNATURE", requires = "output", conflicts_with = "json")]
    attach: Option<PathBuf>,
    /// Write the signed file to FILE ('-' for standard output).
    #[arg(short, long, value_name = "FILE", requires = "attach")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// An open EFI program.
struct Program {
    file: Extents,
    pe: Pe,
}

/// Report as written by `--json`.
#[derive(Debug, Serialize)]
struct Report {
    file: PathBuf,
    machine: String,
    size: u64,
    sha256: String,
    sha384: String,
    sha512: String,
    /// Number of zero bytes appended for the digest.
    padding: u64,
    /// For each signature, whether it contains this digest. The signer is not verified.
    signatures: Vec<bool>,
    stub: Option<String>,
    sections: Vec<Section>,
}

#[derive(Debug, Serialize)]
struct Section {
    name: String,
    size: u32,
    offset: u32,
    address: u32,
    /// True if the stub in the file measures the section into PCR 11.
    measured: bool,
}

/// Runs the verb.
pub(crate) fn run(args: &DigestArgs) -> anyhow::Result<u8> {
    let doing = || format!("failed to compute the digest of {}", args.file.display());
    let source = SourceFile::open(&args.file).with_context(doing)?;
    let file = Extents::of_file(&source);
    let pe = Pe::read(&file).map_err(not_efi).with_context(doing)?;
    let program = Program { file, pe };
    if let (Some(signature), Some(output)) = (&args.attach, &args.output) {
        return sign(&program, &args.file, signature, output);
    }
    let mut out = output::stdout();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report(&program, args).with_context(doing)?)?;
        writeln!(out)?;
    } else {
        let digested = program.digest(args.hash).with_context(doing)?;
        // Same format as sha256sum.
        let name = args.file.as_os_str().as_encoded_bytes();
        writeln!(out, "{}  {}", hex(&digested.digest), Printable(name))?;
    }
    out.flush().context("failed to write to standard output")?;
    Ok(0)
}

impl Program {
    fn digest(&self, hash: Hash) -> Result<Digested, PeError> {
        match hash {
            Hash::Sha256 => digest::<Sha256>(&self.pe, &self.file, Tail::Padded),
            Hash::Sha384 => digest::<Sha384>(&self.pe, &self.file, Tail::Padded),
            Hash::Sha512 => digest::<Sha512>(&self.pe, &self.file, Tail::Padded),
        }
    }
}

fn not_efi(error: PeError) -> anyhow::Error {
    match error {
        error @ PeError::NotPe { .. } => output::advise(
            error,
            "EFI programs are the *.EFI files in an EFI system partition; extract one from a disk image with \
             `bootling cat IMAGE EFI/BOOT/BOOTX64.EFI`",
        ),
        other => other.into(),
    }
}

fn report(program: &Program, args: &DigestArgs) -> anyhow::Result<Report> {
    let pe = &program.pe;
    let sha256 = program.digest(Hash::Sha256)?;
    let signatures = Certificates::read(pe, &program.file)?;
    let stub = StubInfo::read(pe, &program.file)?;
    let section = |section: &bootling::format::pe::Section| Section {
        name: section.name(),
        size: section.virtual_size,
        offset: section.raw_offset,
        address: section.address,
        measured: UkiSection::named(&section.name())
            .is_some_and(|known| known.measured() && stub.sections.contains(&known)),
    };
    Ok(Report {
        file: args.file.clone(),
        machine: pe.machine.to_string(),
        size: pe.size,
        sha384: hex(&program.digest(Hash::Sha384)?.digest),
        sha512: hex(&program.digest(Hash::Sha512)?.digest),
        padding: sha256.padding,
        signatures: signatures.pkcs7.iter().map(|pkcs7| contains_digest(pkcs7, &sha256.digest)).collect(),
        sections: pe.sections.iter().map(section).collect(),
        sha256: hex(&sha256.digest),
        stub: stub.identity,
    })
}

/// Appends a signature to a file.
fn sign(program: &Program, file: &Path, signature: &Path, output: &Path) -> anyhow::Result<u8> {
    let doing = || format!("failed to attach {} to {}", signature.display(), file.display());
    let mut pkcs7 = Vec::new();
    let opened = File::open(signature).with_context(doing)?;
    opened.take(MOST_SIGNATURE + 1).read_to_end(&mut pkcs7).with_context(doing)?;
    if pkcs7.len() as u64 > MOST_SIGNATURE {
        return Err(anyhow!("not a signature: larger than 1 MiB")).with_context(doing);
    }
    let digested = program.digest(Hash::Sha256).with_context(doing)?;
    if !pkcs7.starts_with(&[0x30]) {
        let error = anyhow!("not a PKCS#7 signature in DER");
        return Err(output::advise(error, "convert a PEM file with: openssl pkcs7 -in SIG.pem -outform DER -out SIG"))
            .with_context(doing);
    }
    if !contains_digest(&pkcs7, &digested.digest) {
        let error =
            anyhow!("the signature belongs to another file: it does not contain the digest {}", hex(&digested.digest));
        return Err(error).with_context(doing);
    }
    let signature = attach(&program.pe, &pkcs7).with_context(doing)?;
    let mut out = Output::create(output)?;
    let signed = attached(&program.file, &signature);
    signed.write_to(out.file()).and_then(|()| signed.unchanged()).with_context(doing)?;
    out.finish()?;
    Ok(0)
}
