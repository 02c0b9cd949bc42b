//! `byebyebios`: the command line of the original program for `stamp`, so that existing scripts work unchanged.
//!
//! Accepts the same options with argparse's rules. Fixes errors of the original: the disk signature, the protective
//! record and the other three records are preserved, containers other than raw are supported, and a boot loader is not
//! overwritten.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Parser;

use super::output;
use super::stamp::{Tone, read_bounded, stamp};
use bootling::disk::stamp::{Action, Request, StampSpec};
use bootling::format::bootsector::{BootCodeError, Message, boot_area, is_shown_twice};
use bootling::format::mbr::{BOOT_AREA, BOOT_CODE};

/// Install a boot sector that tells users of a legacy BIOS to boot through UEFI
#[derive(Debug, Clone, Parser)]
#[command(name = "byebyebios", infer_long_args = true, disable_version_flag = true)]
#[command(after_help = "Differences from byebyebios 1.0:
  - Only bytes 0 to 439 change, and 55 AA is added. byebyebios overwrote the partition records
    with a protective record for 5 GiB and zeros, and cleared the disk signature. Here, only a
    boot stub or message that needs more than 440 bytes overwrites it; the limit is 446 bytes.
  - Without --boot-stub, bootling's boot sector is used: it initializes all the state that it
    needs, shows the message once per console (not `SSTTOOPP` with -nographic), accepts LF as
    well as CR LF and UTF-8, and compresses repeated text. A message that does not compress, or
    with control characters, is written behind a smaller stub, as byebyebios does.
  - Supports qcow2, fixed VHD, compressed images and sectors of 4096 bytes.
  - Also refuses without --force: boot code of GRUB, syslinux, Windows or an unknown origin, a
    BIOS boot partition, a hybrid MBR, a GPT with wrong checksums, and an image open in QEMU. A
    disk with mounted partitions is accepted, as installers require.
  - Refuses even with --force to overwrite an EFI program, a file system, an archive or other
    data that begins in the first sector (`bootling stamp --force --save FILE` saves it first).
  - Does not write an unchanged boot sector; syncs and reads back what it writes.
  - Exits with 125 instead of 1 if the disk was not modified.

`bootling stamp` has more options.
")]
pub(crate) struct ByeByeBios {
    /// Use this code, followed by the message and a NUL, as the boot sector
    #[arg(long, short, value_name = "BOOT-STUB-PATH", overrides_with = "boot_stub")]
    boot_stub: Option<PathBuf>,
    /// Show the text in this file [default: built-in text]
    #[arg(long, short, value_name = "MESSAGE-PATH", overrides_with = "message")]
    message: Option<PathBuf>,
    /// Install the boot sector even without a GPT, or despite other objections
    #[arg(long, short, overrides_with = "force")]
    force: bool,
    /// Disk or disk image
    #[arg(value_name = "DISK-IMAGE-PATH")]
    disk_image: PathBuf,
}

/// Runs the verb.
pub(crate) fn run(args: &ByeByeBios) -> anyhow::Result<u8> {
    let reading = |file: &PathBuf| read_bounded(file).with_context(|| format!("failed to read {}", file.display()));
    let mut notes = Vec::new();
    let text = args.message.as_ref().map(reading).transpose()?;
    let area = match &args.boot_stub {
        None => shown(text.as_deref(), &mut notes)?,
        Some(stub) => joined(&reading(stub)?, text.as_deref().unwrap_or(Message::standard().bytes()))?,
    };
    let (code, signature) = area.split_first_chunk::<BOOT_CODE>().context("the boot sector is too small")?;
    let signature = <[u8; BOOT_AREA - BOOT_CODE]>::try_from(signature).ok().filter(|bytes| *bytes != [0; 6]);
    if signature.is_some() {
        notes.push("the message overwrites the disk signature (bytes 440 to 445)".to_owned());
    }
    let request = Request { signature, force: args.force, ..Request::new(Action::Write(*code)) };
    let spec = StampSpec { shared: true, ..StampSpec::new(request) };
    // The original prints nothing on success.
    stamp(&args.disk_image, &spec, notes, Tone::Notes)
}

/// Returns the boot sector that shows `text`. Text that `stamp` refuses, since a screen does not show it as written, is
/// used unchanged.
fn shown(text: Option<&[u8]>, notes: &mut Vec<String>) -> anyhow::Result<[u8; BOOT_AREA]> {
    let Some(text) = text else { return Ok(boot_area(&Message::standard())?) };
    let message = Message::parse(text).unwrap_or_else(|error| {
        notes.push(format!("{error}; used unchanged"));
        Message::verbatim(text, true)
    });
    let area = boot_area(&message).or_else(|error| {
        let area = boot_area(&Message::verbatim(text, false)).map_err(|_: BootCodeError| error)?;
        notes.push("no room for CR LF at the end of each line: line ends are used unchanged".to_owned());
        Ok::<_, BootCodeError>(area)
    });
    let area = area.map_err(|error| output::advise(error, "shorten the message"))?;
    if is_shown_twice(&area) {
        notes.push("the message does not compress: a serial console that mirrors the screen shows it twice".to_owned());
    }
    Ok(area)
}

/// Concatenates code, text and NUL.
fn joined(stub: &[u8], text: &[u8]) -> anyhow::Result<[u8; BOOT_AREA]> {
    let whole = [stub, text, &[0]].concat();
    if let Some(over) = whole.len().checked_sub(BOOT_AREA).filter(|over| *over > 0) {
        let (stub, text) = (stub.len(), text.len());
        bail!(output::advise(
            anyhow::anyhow!(
                "boot stub ({stub} bytes), message ({text} bytes) and NUL are {over} bytes too long (limit {BOOT_AREA})"
            ),
            "without --boot-stub, repeated text in the message is compressed"
        ));
    }
    let mut area = [0; BOOT_AREA];
    area[..whole.len()].copy_from_slice(&whole);
    Ok(area)
}

#[cfg(test)]
mod tests {
    use super::{ByeByeBios, joined, shown};
    use bootling::format::bootsector::decode_message;
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_command_line_definition_is_valid() {
        ByeByeBios::command().debug_assert();
    }

    #[test]
    fn argparse_rules_apply() {
        let words = ["byebyebios", "--boot", "a", "-b", "b", "--mes=x", "--force", "--f", "disk"];
        let args = ByeByeBios::try_parse_from(words).expect("as argparse");
        assert_eq!(args.boot_stub.as_deref(), Some("b".as_ref()), "the last value is used");
        assert_eq!((args.message.as_deref(), args.force), (Some("x".as_ref()), true));
        assert!(ByeByeBios::try_parse_from(["byebyebios"]).is_err(), "a disk is required");
    }

    #[test]
    fn code_and_text_are_concatenated_unchanged_if_they_fit() {
        let code = joined(&[0xfa; 21], &[b'x'; 424]).expect("the original program's limit");
        assert_eq!((code[20], code[21], code[444], code[445]), (0xfa, b'x', b'x', 0));
        let error = joined(&[0xfa; 21], &[b'x'; 425]).expect_err("one more").root_cause().to_string();
        assert!(error.ends_with("1 bytes too long (limit 446)"), "{error}");
    }

    #[test]
    fn every_message_that_the_original_accepts_is_shown() {
        // English prose, which compresses badly.
        let prose = "This disk image can only be started by UEFI firmware, but your machine or hypervisor has used legacy \
            BIOS to boot it. Please open the settings, choose UEFI (in QEMU and libvirt it is called OVMF or EDK2), and \
            try once more; if nothing of that sort exists, ask whoever runs your cloud, quoting document KB-20731 (\"How \
            we build virtual appliances\"). Enjoy, and just for good measure: vexing zebras jump over quick, lazy dwarf \
            foxes in Xanadu @ 5pm.";
        for (text, size) in [
            (&prose.as_bytes()[..424], 1),
            (&[&prose.as_bytes()[..421], b"\nok"].concat(), 1),
            (&(1..=250).chain(1..=174).collect::<Vec<u8>>(), 2),
            (b"Gr\xf6\xdfe \x81\r\n", 1),
            (b"\x1b[1mSTOP\x1b[m\x07\r\n", 2),
            (&[b'x'; 400], 1),
            (&b"row\n".repeat(24), 1),
            ("\u{4e2d}".as_bytes(), 1),
            (b"", 1),
            (b"\n \n", 1),
        ] {
            let mut notes = Vec::new();
            let area = shown(Some(text), &mut notes).unwrap_or_else(|error| panic!("{text:?}: {error:?}"));
            let shown = decode_message(&area);
            assert!(shown.is_some(), "{text:?}");
            assert!(notes.len() >= size.min(1), "{text:?}: {notes:?}");
        }
        assert!(shown(Some(&(1..=250).chain(1..=197).collect::<Vec<u8>>()), &mut Vec::new()).is_err());
    }
}
