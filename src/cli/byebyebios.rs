//! `byebyebios`: the command line of the original program for `stamp`, so that existing scripts work unchanged.
//!
//! Accepts the same options with argparse's rules. Fixes errors of the original: the disk signature, the protective
//! record and the other three records are preserved, containers other than raw are supported, and a boot loader is not
//! overwritten.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Parser;

use super::output;
use super::stamp::{Job, Tone, fitted, print_report, read_bounded, read_message};
use bootling::disk::stamp::{Action, Wish};
use bootling::format::bootsector::{Message, Then};
use bootling::format::mbr::BOOT_CODE;

/// Install a boot sector that tells users of a legacy BIOS to boot through UEFI
#[derive(Debug, Clone, Parser)]
#[command(name = "byebyebios", infer_long_args = true, disable_version_flag = true)]
#[command(after_help = "Differences from byebyebios 1.0:
  - Only bytes 0 to 439 change. byebyebios overwrote the partition records with a protective
    record for 5 GiB and zeros, and cleared the disk signature. The limit is thus 440 bytes
    instead of 446.
  - Without --boot-stub, bootling's boot sector is used: it initializes all the state that it
    needs, shows the message once per console (not `SSTTOOPP` with -nographic), accepts LF as
    well as CR LF, and compresses repeated text.
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
    let code = match (&args.boot_stub, &args.message) {
        (None, None) => fitted(&Message::standard(), Then::Halt)?,
        (None, Some(file)) => fitted(&read_message(file)?, Then::Halt)?,
        (Some(stub), message) => {
            let reading =
                |file: &PathBuf| read_bounded(file).with_context(|| format!("failed to read {}", file.display()));
            let text = message.as_ref().map(reading).transpose()?;
            joined(&reading(stub)?, &text.unwrap_or_else(|| Message::standard().bytes().to_vec()))?
        }
    };
    let job = Job {
        image: &args.disk_image,
        wish: Wish { deed: Action::Write(code), fix_mbr: false, bios_active: false, force: args.force, saved: false },
        content: None,
        shared: true,
        backing: false,
        save: None,
        output: None,
        dry_run: false,
        notes: Vec::new(),
    };
    // The original prints nothing on success.
    print_report(&job.run()?, Tone::Notes)?;
    Ok(0)
}

/// Concatenates code, text and NUL.
fn joined(stub: &[u8], text: &[u8]) -> anyhow::Result<[u8; BOOT_CODE]> {
    let whole = [stub, text, &[0]].concat();
    if let Some(over) = whole.len().checked_sub(BOOT_CODE).filter(|over| *over > 0) {
        let (stub, text) = (stub.len(), text.len());
        bail!(output::advise(
            anyhow::anyhow!(
                "boot stub ({stub} bytes), message ({text} bytes) and NUL are {over} bytes too long (limit {BOOT_CODE})"
            ),
            "without --boot-stub, repeated text in the message is compressed"
        ));
    }
    let mut code = [0; BOOT_CODE];
    code[..whole.len()].copy_from_slice(&whole);
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::{ByeByeBios, joined};
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
        let code = joined(&[0xfa; 21], &[b'x'; 418]).expect("it fits");
        assert_eq!((code[20], code[21], code[438], code[439]), (0xfa, b'x', b'x', 0));
        let error =
            joined(&[0xfa; 21], &[b'x'; 424]).expect_err("the original program's limit").root_cause().to_string();
        assert!(error.ends_with("6 bytes too long (limit 440)"), "{error}");
    }
}
