//! `byebyebios`: the ancestor's command line, so that its users' scripts run unchanged; what it does is `stamp`.
//!
//! Its options and argparse's habits are kept. What it got wrong is done right: the disk signature, the protective record
//! and the other three records stay, other containers than raw ones are understood, and nobody's boot loader is lost.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Parser;

use super::output;
use super::stamp::{Job, Tone, fitted, read_bounded, read_message, tell};
use bootling::disk::stamp::{Deed, Wish};
use bootling::format::bootsector::{Message, Then};
use bootling::format::mbr::BOOT_CODE;

/// Install a boot sector that tells legacy BIOS users that UEFI is needed
#[derive(Debug, Clone, Parser)]
#[command(name = "byebyebios", infer_long_args = true, disable_version_flag = true)]
#[command(after_help = "As byebyebios 1.0, but:
  - bytes 0 to 439 change and nothing else; it put a protective record for 5 GiB over whatever
    was there, and zeros over the disk signature and the other three records. So 440 bytes have
    room, not 446.
  - without --boot-stub the boot sector is bootling's: it sets up what it needs, shows the
    message once on each console (not `SSTTOOPP` under -nographic), takes LF as well as CR LF,
    and packs what repeats.
  - qcow2, fixed VHD and compressed images are understood, and sectors of 4096 bytes.
  - refused without --force are also the boot code of GRUB, syslinux, Windows or somebody
    unknown, a BIOS boot partition, a hybrid boot record, a GPT with wrong checksums, and an
    image that a QEMU has open. A disk whose partitions are mounted is not: installers run it.
  - what is there already is not written again; what is written is synced and read back.
  - exit status 125, not 1, where the disk was not touched.

`bootling stamp` does the same with more options.
")]
pub struct ByeByeBios {
    /// Take this code as the boot sector's, with the message and a NUL behind it, byte by byte
    #[arg(long, short, value_name = "BOOT-STUB-PATH", overrides_with = "boot_stub")]
    boot_stub: Option<PathBuf>,
    /// Show the text in this file [default: a built-in one]
    #[arg(long, short, value_name = "MESSAGE-PATH", overrides_with = "message")]
    message: Option<PathBuf>,
    /// Install it even where no GPT is found, or something else speaks against it
    #[arg(long, short, overrides_with = "force")]
    force: bool,
    /// The disk or its image
    #[arg(value_name = "DISK-IMAGE-PATH")]
    disk_image: PathBuf,
}

/// Runs the verb.
pub fn run(args: &ByeByeBios) -> anyhow::Result<u8> {
    let code = match (&args.boot_stub, &args.message) {
        (None, None) => fitted(&Message::standard(), Then::Halt)?,
        (None, Some(file)) => fitted(&read_message(file)?, Then::Halt)?,
        (Some(stub), message) => {
            let reading = |file: &PathBuf| read_bounded(file).with_context(|| format!("reading {}", file.display()));
            let text = message.as_ref().map(reading).transpose()?;
            joined(&reading(stub)?, &text.unwrap_or_else(|| Message::standard().bytes().to_vec()))?
        }
    };
    let job = Job {
        image: &args.disk_image,
        wish: Wish { deed: Deed::Write(code), fix_mbr: false, bios_active: false, force: args.force },
        content: None,
        shared: true,
        backing: false,
        save: None,
        output: None,
        dry_run: false,
        notes: Vec::new(),
    };
    // It said nothing where all went well.
    tell(&job.run()?, Tone::Notes)?;
    Ok(0)
}

/// Code, text, NUL.
fn joined(stub: &[u8], text: &[u8]) -> anyhow::Result<[u8; BOOT_CODE]> {
    let whole = [stub, text, &[0]].concat();
    if let Some(over) = whole.len().checked_sub(BOOT_CODE).filter(|over| *over > 0) {
        let (stub, text) = (stub.len(), text.len());
        bail!(output::advise(
            anyhow::anyhow!(
                "joining boot stub ({stub} bytes), message ({text}) and NUL: {over} bytes more than the {BOOT_CODE} there are"
            ),
            "without --boot-stub, what repeats in the message is packed"
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
    fn clap_finds_nothing_wrong_with_it() {
        ByeByeBios::command().debug_assert();
    }

    #[test]
    fn argparse_habits_are_kept() {
        let words = ["byebyebios", "--boot", "a", "-b", "b", "--mes=x", "--force", "--f", "disk"];
        let args = ByeByeBios::try_parse_from(words).expect("as argparse");
        assert_eq!(args.boot_stub.as_deref(), Some("b".as_ref()), "the last one counts");
        assert_eq!((args.message.as_deref(), args.force), (Some("x".as_ref()), true));
        assert!(ByeByeBios::try_parse_from(["byebyebios"]).is_err(), "a disk is needed");
    }

    #[test]
    fn code_and_text_are_joined_as_they_are_while_they_fit() {
        let code = joined(&[0xfa; 21], &[b'x'; 418]).expect("it fits");
        assert_eq!((code[20], code[21], code[438], code[439]), (0xfa, b'x', b'x', 0));
        let error = joined(&[0xfa; 21], &[b'x'; 424]).expect_err("the ancestor's longest").root_cause().to_string();
        assert!(error.ends_with("6 bytes more than the 440 there are"), "{error}");
    }
}
