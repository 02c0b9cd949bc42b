//! `bootling stamp`: a boot sector for EFI-only images, put in place, taken away again, or only thought of.

mod job;
mod report;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

pub use self::job::Job;
pub use self::report::{Tone, tell};
use super::output;

use bootling::disk::container::content::Content;
use bootling::disk::stamp::{Deed, Records, Wish};
use bootling::format::bootsector::{Message, Preset, Then, boot_code};
use bootling::format::mbr::{BOOT_CODE, Mbr};

/// Longest message file that is read; what fits is far shorter.
const MOST_MESSAGE: u64 = 64 * 1024;

/// Put a boot sector into an EFI-only image that tells whoever boots it by legacy BIOS that UEFI is needed
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
#[command(after_help = "Examples:
  bootling stamp disk.img                        the standard message
  bootling stamp --preset libvirt disk.qcow2     a ready-made one, naming the setting to change
  bootling stamp --message ours.txt --then key-reboot /dev/sdx
  bootling stamp --save old.bin disk.img         keep what was there ...
  bootling stamp --undo=old.bin disk.img         ... and put it back
  bootling stamp -o new.img.zst disk.img.zst     unpacked and packed again as a stream
  bootling stamp --dry-run --json disk.img

Bytes 0 to 439 of the disk change and nothing else: its signature and partition records stay
as they are, unless --fix-mbr or --bios-active is given. Read and written are raw images,
block devices, qcow2, fixed VHD, and raw images compressed by gzip, xz or zstd. Of an overlay
the files below are read with --allow-backing, and never written. One sector is written,
once, synced, and read back; where it is there already, nothing is.

Refused, and done all the same with --force: a disk without a valid GPT, the boot code of
GRUB, syslinux, Windows or somebody unknown, a BIOS boot partition, a partition marked for
legacy BIOS boot, a hybrid or MBR-partitioned disk, a device in use, a raw image that a QEMU
has open, and dirty bitmaps of a qcow2 image, which are lost then.

Exit status: 0, also where nothing had to be done; 2 for wrong usage, 125 where the image was
not stamped.
")]
pub struct StampArgs {
    /// Show the text in FILE, `-` for standard input: UTF-8, at most 79 columns and 23 rows; what
    /// repeats is packed.
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["preset", "undo"])]
    message: Option<PathBuf>,
    /// Show a ready-made text: standard, libvirt, proxmox, ec2 or virtualbox.
    #[arg(long, value_name = "NAME", default_value = "standard", value_parser = preset(), conflicts_with = "undo")]
    preset: Preset,
    /// What comes after the text: halt, key-reboot (a key restarts) or next-device (the BIOS goes on, after 5 seconds).
    #[arg(long, value_name = "WHAT", default_value = "halt", value_parser = then(), conflicts_with = "undo")]
    then: Then,
    /// Mend a wrong protective record: its size, its place, its active flag; make it the first and only one; add one
    /// where there is none.
    #[arg(long, conflicts_with = "undo")]
    fix_mbr: bool,
    /// Put an active record of no type into slot 2, if that is empty: some old BIOSes start no disk without an active
    /// record. With --undo: take it away again.
    #[arg(long)]
    bios_active: bool,
    /// Do it in spite of what speaks against it; see below.
    #[arg(long, short)]
    force: bool,
    /// Take our boot sector away (zeros are left), or put back what --save wrote to FILE: 440 bytes, or 512
    /// with the partition records (but the disk's signature stays).
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    undo: Option<OsString>,
    /// Write the 440 bytes that are replaced to FILE first, or all 512 where partition records change, too. A FILE that
    /// is there and has other bytes is not overwritten.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Open the files that an overlay names below it, for reading. Not for images of strangers: they may name any file,
    /// and what shows through is copied into the image.
    #[arg(long)]
    allow_backing: bool,
    /// What IMAGE is: raw, qcow2 or vhd. Default: what it begins and ends with says it; a block device is raw.
    #[arg(long, value_name = "FORMAT", value_parser = format())]
    format: Option<Content>,
    /// Where a compressed image goes; `-` is standard output. Default: it takes the old one's place.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print what was done as a JSON object.
    #[arg(long)]
    json: bool,
    /// Say nothing where all went well.
    #[arg(long, short)]
    quiet: bool,
    /// The image.
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
}

/// The words of `--preset`.
pub fn preset() -> impl TypedValueParser<Value = Preset> {
    PossibleValuesParser::new(Preset::ALL.map(Preset::name))
        .try_map(|word| Preset::ALL.into_iter().find(|known| known.name() == word).ok_or("no such preset"))
}

/// The words of `--then`.
pub fn then() -> impl TypedValueParser<Value = Then> {
    PossibleValuesParser::new(Then::ALL.map(word_of))
        .try_map(|word| Then::ALL.into_iter().find(|known| word_of(*known) == word).ok_or("no such ending"))
}

/// An ending's word on the command line.
const fn word_of(then: Then) -> &'static str {
    match then {
        Then::Halt => "halt",
        Then::KeyReboot => "key-reboot",
        Then::NextDevice => "next-device",
    }
}

/// The words of `--format`.
fn format() -> impl TypedValueParser<Value = Content> {
    const KNOWN: [(&str, Content); 3] = [("raw", Content::Raw), ("qcow2", Content::Qcow2), ("vhd", Content::Vhd)];
    PossibleValuesParser::new(KNOWN.map(|(word, _)| word))
        .try_map(|word| KNOWN.iter().find(|(known, _)| *known == word).map(|known| known.1).ok_or("no such format"))
}

/// Runs the verb.
pub fn run(args: &StampArgs) -> anyhow::Result<u8> {
    let mut notes = Vec::new();
    let deed = match &args.undo {
        Some(file) if file.is_empty() => Deed::Remove,
        Some(file) => saved(file.as_ref())?,
        None => {
            let message = match &args.message {
                Some(file) => read_message(file)?,
                None => args.preset.message(),
            };
            notes.extend(message.beyond_ascii().map(|character| {
                format!("'{character}' is shown on screens as it should be, but not on serial consoles: they get its code in code page 437")
            }));
            Deed::Write(fitted(&message, args.then)?)
        }
    };
    let job = Job {
        image: &args.image,
        wish: Wish { deed, fix_mbr: args.fix_mbr, bios_active: args.bios_active, force: args.force },
        content: args.format,
        shared: false,
        backing: args.allow_backing,
        save: args.save.as_deref(),
        output: args.output.as_deref(),
        dry_run: args.dry_run,
        notes,
    };
    let tone = if args.json {
        Tone::Json
    } else if args.quiet {
        Tone::Quiet
    } else {
        Tone::Plain
    };
    tell(&job.run()?, tone)?;
    Ok(0)
}

/// The boot code with a message, or how much too long that is.
pub fn fitted(message: &Message, then: Then) -> anyhow::Result<[u8; BOOT_CODE]> {
    boot_code(message, then).map_err(|error| output::advise(error, "what repeats is packed; shorten what does not"))
}

/// Reads a message and checks it.
pub fn read_message(file: &Path) -> anyhow::Result<Message> {
    let doing = || format!("reading the message in {}", named(file));
    Message::parse(&read_bounded(file).with_context(doing)?).with_context(|| named(file))
}

/// Standard input has no path.
fn named(file: &Path) -> String {
    if file == "-" { "standard input".to_owned() } else { file.display().to_string() }
}

/// A whole file, if it is short.
pub fn read_bounded(file: &Path) -> io::Result<Vec<u8>> {
    let input: Box<dyn Read> = if file == "-" { Box::new(io::stdin().lock()) } else { Box::new(File::open(file)?) };
    let mut bytes = Vec::new();
    input.take(MOST_MESSAGE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_MESSAGE {
        return Err(io::Error::other("it has more than 64 KiB"));
    }
    Ok(bytes)
}

/// What `--save` wrote: boot code, or a whole first sector.
fn saved(file: &Path) -> anyhow::Result<Deed> {
    let doing = || format!("reading the boot code in {}", file.display());
    let bytes = read_bounded(file).with_context(doing)?;
    let whole = <&[u8; 512]>::try_from(bytes.as_slice()).ok().map(Mbr::decode);
    let records = whole.map(|whole| Records { records: whole.records, end: [bytes[510], bytes[511]] });
    match bytes.first_chunk() {
        Some(code) if matches!(bytes.len(), BOOT_CODE | 512) => Ok(Deed::Restore(*code, records)),
        _ => {
            let error = anyhow::anyhow!("it has {} bytes, not {BOOT_CODE} or 512", bytes.len()).context(doing());
            Err(output::advise(error, "--undo without a file leaves zeros, which is what most disks have there"))
        }
    }
}
