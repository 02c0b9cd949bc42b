//! `bootling digest`: the digest that a Secure Boot signature is for, and the way back for a signature made elsewhere.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use serde::Serialize;
use sha2::{Sha256, Sha384, Sha512};

use super::output;
use bootling::disk::signature::attached;
use bootling::format::measure::hex;
use bootling::format::pe::pkcs7::speaks_of;
use bootling::format::pe::{Certificates, Digested, Pe, PeError, Tail, attach, digest};
use bootling::format::uki::{StubInfo, UkiSection};
use bootling::initrd::explain::Printable;
use bootling::output::{
    extents::{Extents, SourceFile},
    file::Output,
};

/// Signatures are some kilobytes, with their certificates.
const MOST_SIGNATURE: u64 = 1 << 20;

/// Print the Authenticode digest of an EFI program, to be signed elsewhere
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bootling digest BOOTX64.EFI
  bootling digest --json BOOTX64.EFI | jq -r .sha256
  bootling digest --attach BOOTX64.p7s -o SIGNED.EFI BOOTX64.EFI

The digest is what firmware and sbsign compute: all of the file but its checksum, its
signatures and the entry that leads to them, padded to 8 bytes. --attach takes PKCS#7
SignedData in DER, as a signing service or `sbattach --detach` leaves it.

Exit status: 0, 2 for wrong usage, 125 where FILE is no EFI program.
")]
pub struct DigestArgs {
    /// The EFI program: a unified kernel image, a boot loader, a kernel.
    file: PathBuf,
    /// Which digest; Secure Boot signs sha256, TPMs have banks of the others, too.
    #[arg(long, value_name = "HASH", default_value = "sha256", conflicts_with_all = ["json", "attach"])]
    hash: Hash,
    /// Print all digests, the signatures and the sections as JSON.
    #[arg(long)]
    json: bool,
    /// A signature of the file, to be put behind it.
    #[arg(long, value_name = "SIGNATURE", requires = "output", conflicts_with = "json")]
    attach: Option<PathBuf>,
    /// Where the signed file goes; `-` is standard output.
    #[arg(short, long, value_name = "FILE", requires = "attach")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// An EFI program, open.
struct Program {
    file: Extents,
    pe: Pe,
}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct Report {
    file: PathBuf,
    machine: String,
    size: u64,
    sha256: String,
    sha384: String,
    sha512: String,
    /// Zeros that were digested behind the file's own bytes.
    padding: u64,
    /// For each signature, whether it speaks of this digest. Who made it is not looked at.
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
    /// Whether the stub in the file measures it into PCR 11.
    measured: bool,
}

/// Runs the verb.
pub fn run(args: &DigestArgs) -> anyhow::Result<u8> {
    let doing = || format!("digesting {}", args.file.display());
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
        // As sha256sum prints it.
        let name = args.file.as_os_str().as_encoded_bytes();
        writeln!(out, "{}  {}", hex(&digested.digest), Printable(name))?;
    }
    out.flush().context("printing the digest")?;
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
            "EFI programs are what stands in an ESP as *.EFI; of a disk image, `bootling cat IMAGE EFI/BOOT/BOOTX64.EFI` \
             takes it out",
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
            .is_some_and(|known| known.measured() && stub.knows.contains(&known)),
    };
    Ok(Report {
        file: args.file.clone(),
        machine: pe.machine.to_string(),
        size: pe.size,
        sha384: hex(&program.digest(Hash::Sha384)?.digest),
        sha512: hex(&program.digest(Hash::Sha512)?.digest),
        padding: sha256.padding,
        signatures: signatures.pkcs7.iter().map(|pkcs7| speaks_of(pkcs7, &sha256.digest)).collect(),
        sections: pe.sections.iter().map(section).collect(),
        sha256: hex(&sha256.digest),
        stub: stub.says,
    })
}

/// Puts a signature behind a file.
fn sign(program: &Program, file: &Path, signature: &Path, output: &Path) -> anyhow::Result<u8> {
    let doing = || format!("attaching {} to {}", signature.display(), file.display());
    let mut pkcs7 = Vec::new();
    let opened = File::open(signature).with_context(doing)?;
    opened.take(MOST_SIGNATURE + 1).read_to_end(&mut pkcs7).with_context(doing)?;
    if pkcs7.len() as u64 > MOST_SIGNATURE {
        return Err(anyhow!("it is no signature: it has more than 1 MiB")).with_context(doing);
    }
    let digested = program.digest(Hash::Sha256).with_context(doing)?;
    if !pkcs7.starts_with(&[0x30]) {
        let error = anyhow!("it is no PKCS#7 signature in DER");
        return Err(output::advise(error, "of PEM, openssl makes it: openssl pkcs7 -in SIG.pem -outform DER -out SIG"))
            .with_context(doing);
    }
    if !speaks_of(&pkcs7, &digested.digest) {
        let error = anyhow!("the signature is for another file: it does not have the digest {}", hex(&digested.digest));
        return Err(error).with_context(doing);
    }
    let signature = attach(&program.pe, &pkcs7).with_context(doing)?;
    let mut out = Output::create(output)?;
    let signed = attached(&program.file, &signature);
    signed.write_to(out.file()).and_then(|()| signed.unchanged()).with_context(doing)?;
    out.finish()?;
    Ok(0)
}
