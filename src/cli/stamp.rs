//! `bootling stamp`: installs, restores or removes the boot sector of an EFI-only image.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::output;

use bootling::disk::container::Content;
use bootling::disk::stamp::{Action, Records, Request, StampReport, StampSpec, stamp_image};
use bootling::format::bootsector::{Message, Preset, Then, boot_code, is_shown_twice};
use bootling::format::mbr::{BOOT_CODE, Mbr};

/// Maximum size of a message file; a message that fits is far shorter.
const MOST_MESSAGE: u64 = 64 * 1024;

/// Install a boot sector in an EFI-only image that tells users of a legacy BIOS to boot through UEFI
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent option")]
#[command(after_help = "Examples:
  bootling stamp disk.img                        the standard message
  bootling stamp --preset libvirt disk.qcow2     a preset that names the setting to change
  bootling stamp --message text.txt --then key-reboot /dev/sdx
  bootling stamp --save old.bin disk.img         save the old boot code
  bootling stamp --undo=old.bin disk.img         restore it
  bootling stamp -o new.img.zst disk.img.zst     rewrite a compressed image as a stream
  bootling stamp --dry-run --json disk.img

Only bytes 0 to 439 of the disk change, and a missing boot signature (55 AA) is added. The disk
signature and the partition records are preserved unless --fix-mbr or --bios-active is given. Supported are raw images, block devices,
qcow2, fixed VHD, and raw images compressed with gzip, xz or zstd. Backing files of an overlay
are read with --allow-backing and never written. One sector is written once, synced and read
back; nothing is written if the boot sector is already in place.

Refused unless --force is given: a disk without an EFI system partition in a GPT or an MBR
partition table; boot code of GRUB, syslinux, Windows or an unknown origin; a BIOS boot
partition; a partition marked for legacy BIOS boot; a hybrid MBR; a device or an image in use;
and a qcow2 image with dirty bitmaps, which are lost.

Refused unless both --force and --save are given: a file that is not a disk and whose first
bytes would be lost, such as an EFI program, a FAT file system, a LUKS volume, an archive or a
compressed file of another format. --undo=FILE restores it.

Exit status: 0, also if nothing had to be changed; 2 for usage errors; 125 if the image was not
stamped.
")]
pub(crate) struct StampArgs {
    /// Show the text in FILE ('-' for standard input): UTF-8, at most 79 columns and 23 rows. Repeated text is
    /// compressed.
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["preset", "undo"])]
    message: Option<PathBuf>,
    /// Show a predefined text: standard, libvirt, proxmox, ec2 or virtualbox.
    #[arg(long, value_name = "NAME", default_value = "standard", value_parser = preset(), conflicts_with = "undo")]
    preset: Preset,
    /// Action after the text: halt, key-reboot (reboot on a key press) or next-device (next boot device after 5
    /// seconds).
    #[arg(long, value_name = "WHAT", default_value = "halt", value_parser = then(), conflicts_with = "undo")]
    then: Then,
    /// Repair the protective MBR record: its size, position and active flag. Makes it the first and only record; adds
    /// it if it is missing.
    #[arg(long, conflicts_with = "undo")]
    fix_mbr: bool,
    /// Put an active record of type 0 in slot 2 if that is empty, since some old BIOSes do not boot a disk without an
    /// active record. With --undo: remove it.
    #[arg(long)]
    bios_active: bool,
    /// Stamp the image despite the objections listed below. Data other than a disk is overwritten only with --save.
    #[arg(long, short)]
    force: bool,
    /// Remove bootling's boot sector (fill with zeros), or restore what --save wrote to FILE: 440 bytes, or 512
    /// including the partition records (the disk signature is preserved).
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    undo: Option<OsString>,
    /// First save the 440 bytes to be replaced in FILE, or all 512 if partition records change as well. An existing
    /// FILE with different contents is not overwritten.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Open the backing files of an overlay for reading. Do not use it for untrusted images: they can name any file,
    /// whose contents are then copied into the image.
    #[arg(long)]
    allow_backing: bool,
    /// Image format: raw, qcow2 or vhd. Default: detected from the first and last bytes; raw for a block device.
    #[arg(long, value_name = "FORMAT", value_parser = format())]
    format: Option<Content>,
    /// Write a compressed image to FILE ('-' for standard output). Default: replace the old file.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print what would be done, without doing it.
    #[arg(long)]
    dry_run: bool,
    /// Print the result as a JSON object.
    #[arg(long)]
    json: bool,
    /// Print only errors.
    #[arg(long, short)]
    quiet: bool,
    /// Image or block device.
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
}

/// Format of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Summary and notes on standard error.
    Plain,
    /// Notes only.
    Notes,
    /// No output.
    Quiet,
    /// JSON object on standard output.
    Json,
}

/// Parser for `--preset`.
pub(crate) fn preset() -> impl TypedValueParser<Value = Preset> {
    PossibleValuesParser::new(Preset::ALL.map(Preset::name))
        .try_map(|word| Preset::ALL.into_iter().find(|known| known.name() == word).ok_or("no such preset"))
}

/// Parser for `--then`.
pub(crate) fn then() -> impl TypedValueParser<Value = Then> {
    PossibleValuesParser::new(Then::ALL.map(word_of))
        .try_map(|word| Then::ALL.into_iter().find(|known| word_of(*known) == word).ok_or("no such action"))
}

/// Returns the name of an action on the command line.
const fn word_of(then: Then) -> &'static str {
    match then {
        Then::Halt => "halt",
        Then::KeyReboot => "key-reboot",
        Then::NextDevice => "next-device",
    }
}

/// Parser for `--format`.
fn format() -> impl TypedValueParser<Value = Content> {
    const KNOWN: [(&str, Content); 3] = [("raw", Content::Raw), ("qcow2", Content::Qcow2), ("vhd", Content::Vhd)];
    PossibleValuesParser::new(KNOWN.map(|(word, _)| word))
        .try_map(|word| KNOWN.iter().find(|(known, _)| *known == word).map(|known| known.1).ok_or("no such format"))
}

/// Runs the verb.
pub(crate) fn run(args: &StampArgs) -> anyhow::Result<u8> {
    let mut notes = Vec::new();
    let action = match &args.undo {
        Some(file) if file.is_empty() => Action::Remove,
        Some(file) => saved(file.as_ref())?,
        None => {
            let message = match &args.message {
                Some(file) => read_message(file)?,
                None => args.preset.message(),
            };
            notes.extend(message.beyond_ascii().map(|character| {
                format!("'{character}' is displayed correctly on screens only; serial consoles get its code in CP437")
            }));
            let code = fitted(&message, args.then)?;
            if is_shown_twice(&code) {
                notes.push(
                    "the message does not compress: a serial console that mirrors the screen shows it twice".into(),
                );
            }
            Action::Write(code)
        }
    };
    let request =
        Request { fix_mbr: args.fix_mbr, bios_active: args.bios_active, force: args.force, ..Request::new(action) };
    let spec = StampSpec {
        content: args.format,
        backing: args.allow_backing,
        save: args.save.clone(),
        output: args.output.clone(),
        dry_run: args.dry_run,
        ..StampSpec::new(request)
    };
    let tone = if args.json {
        Tone::Json
    } else if args.quiet {
        Tone::Quiet
    } else {
        Tone::Plain
    };
    stamp(&args.image, &spec, notes, tone)
}

/// Stamps an image and prints the report, with `notes` first.
pub(crate) fn stamp(image: &Path, spec: &StampSpec, notes: Vec<String>, tone: Tone) -> anyhow::Result<u8> {
    let mut report: StampReport = stamp_image(image, spec).map_err(output::advised)?;
    report.notes.splice(0..0, notes);
    match tone {
        Tone::Quiet => {}
        Tone::Json => {
            let mut out = output::stdout();
            serde_json::to_writer_pretty(&mut out, &report).context("failed to print the report")?;
            writeln!(out).and_then(|()| out.flush()).context("failed to print the report")?;
        }
        Tone::Plain | Tone::Notes => {
            for what in &report.overridden {
                output::note(&format!("{}: overridden: {what}", report.image));
            }
            for note in &report.notes {
                output::note(&format!("{}: {note}", report.image));
            }
            if tone == Tone::Plain {
                output::note(&report.summary());
            }
        }
    }
    Ok(0)
}

/// Returns the boot code with a message. Fails if the message is too long.
pub(crate) fn fitted(message: &Message, then: Then) -> anyhow::Result<[u8; BOOT_CODE]> {
    boot_code(message, then)
        .map_err(|error| output::advise(error, "repeated text is compressed; shorten text that is not repeated"))
}

/// Reads and parses a message file.
pub(crate) fn read_message(file: &Path) -> anyhow::Result<Message> {
    let doing = || format!("failed to read message {}", named(file));
    Message::parse(&read_bounded(file).with_context(doing)?).with_context(|| named(file))
}

/// Formats a path; `-` is standard input.
fn named(file: &Path) -> String {
    if file == "-" { "standard input".to_owned() } else { file.display().to_string() }
}

/// Reads a file of at most 64 KiB.
pub(crate) fn read_bounded(file: &Path) -> io::Result<Vec<u8>> {
    let input: Box<dyn Read> = if file == "-" { Box::new(io::stdin().lock()) } else { Box::new(File::open(file)?) };
    let mut bytes = Vec::new();
    input.take(MOST_MESSAGE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_MESSAGE {
        return Err(io::Error::other("larger than 64 KiB"));
    }
    Ok(bytes)
}

/// Reads a file written by `--save`: boot code, or a complete first sector.
fn saved(file: &Path) -> anyhow::Result<Action> {
    let doing = || format!("failed to read boot code {}", file.display());
    let bytes = read_bounded(file).with_context(doing)?;
    let whole = <&[u8; 512]>::try_from(bytes.as_slice()).ok().map(Mbr::decode);
    let records = whole.map(|whole| Records { records: whole.records, end: [bytes[510], bytes[511]] });
    match bytes.first_chunk() {
        Some(code) if matches!(bytes.len(), BOOT_CODE | 512) => Ok(Action::Restore(*code, records)),
        _ => {
            let error = anyhow::anyhow!("expected {BOOT_CODE} or 512 bytes, found {}", bytes.len()).context(doing());
            Err(output::advise(error, "use --undo without a file to write zeros, the usual contents"))
        }
    }
}
