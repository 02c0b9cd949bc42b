//! `bootling ls` and `bootling cat`: list and extract the contents of initrds, disk images, EFI programs and bundles.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, Write};
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;

use super::{bundle, listing, output};
use bootling::disk::opened::{HEAD, Opened, is_initrd, open};
use bootling::format::archive_path::ArchivePath;
use bootling::format::measure::hex;
use bootling::format::newc::{Member, walk};
use bootling::initrd::entry::type_and_permissions;
use bootling::initrd::explain::Printable;

/// Maximum size of standard input copied to a temporary file for random access.
const MOST_SPOOLED: u64 = 2 << 30;

/// List the contents of an initrd, disk image, UKI or bundle
///
/// An initrd may consist of several archives, compressed or not, from any tool. For a disk image in any container
/// format, lists the partitions (GPT or MBR) and the files that UEFI firmware reads; for an ISO, its files and boot
/// images (El Torito), too; for a UKI, its sections; for a bundle, its command, result and files, which are verified.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bootling ls tiny-initrd.img
  bootling ls /boot/initrd.img-6.12.0-amd64
  bootling ls --json initrd.img | jq -r '.[] | select(.size > 1000000) | .path'
  curl -s https://example.org/initrd | bootling ls -
  bootling cat disk.qcow2 EFI/BOOT/BOOTX64.EFI | bootling ls -

Columns for an initrd: type and mode, links, owner, group, size or device numbers, time (UTC), path.
gzip, zstd, xz and lz4 are supported. Exit status: 0; 2 for usage errors; 125 if FILE cannot be read.
")]
pub(crate) struct LsArgs {
    /// Initrd, disk image, ISO, UKI or bundle ('-' for standard input).
    file: PathBuf,
    /// Also open the backing files of an overlay.
    #[arg(long)]
    allow_backing: bool,
    /// Print a JSON array with one object per entry.
    #[arg(long)]
    json: bool,
}

/// Print a file in an initrd, bundle, ISO or EFI system partition, or a section of a UKI
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bootling cat initrd.img /etc/os-release
  bootling cat disk.raw EFI/BOOT/BOOTX64.EFI > uki.efi
  bootling cat uki.efi .cmdline
  bootling cat uki.efi .cmdline#2      the second section of that name, as `ls` lists it
  bootling cat debian.iso .disk/info

If an initrd contains PATH several times, the last entry is printed, as the kernel does. On an ISO, its own files
take precedence over those in its boot images. Links are not followed.
")]
pub(crate) struct CatArgs {
    /// Also open the backing files of an overlay.
    #[arg(long)]
    allow_backing: bool,
    /// Initrd, disk image, ISO, UKI or bundle.
    file: PathBuf,
    /// Path of the file, or name of the section in a UKI.
    path: OsString,
}

/// Runs `bootling ls`.
pub(crate) fn run(args: &LsArgs) -> anyhow::Result<u8> {
    let mut out = output::stdout();
    let listed = list_target(args, &mut out);
    // Print what was read before an error.
    out.flush().context("failed to write to standard output")?;
    listed.with_context(|| format!("failed to list {}", name(&args.file)))?;
    Ok(0)
}

/// Lists the contents according to the file type.
fn list_target(args: &LsArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    if let Some(bundle) = bundle::list::open(&args.file)? {
        return if args.json { bundle::list::json(&bundle, out) } else { bundle::list::text(&bundle, out) };
    }
    let opened = if args.file.as_os_str() == "-" {
        match stdin()? {
            Stdin::Spooled(spool) => opened(Path::new(&format!("/proc/self/fd/{}", spool.as_raw_fd())), false)?,
            Stdin::Initrd(input) => return list_initrd(args, input, out),
        }
    } else {
        opened(&args.file, args.allow_backing)?
    };
    let rows = match &opened {
        Opened::Disk(image) => listing::disk(image)?,
        Opened::Program(image) => Some(listing::program(image)?),
        Opened::Initrd(_) => None,
    };
    match rows {
        Some(rows) if args.json => Ok(listing::json(&rows, out)?),
        Some(rows) => Ok(listing::text(&rows, out)?),
        None => list_initrd(args, opened.into_read(), out),
    }
}

/// Opens a file of any type.
fn opened(file: &Path, backing: bool) -> anyhow::Result<Opened> {
    open(file, backing, &mut output::note).map_err(output::advised)
}

/// Standard input.
enum Stdin {
    /// An initrd, which is read sequentially.
    Initrd(Box<dyn Read>),
    /// A copy of anything else. It has no name, so nothing is left behind if the process is killed.
    Spooled(File),
}

/// Detects the type of standard input.
fn stdin() -> anyhow::Result<Stdin> {
    let mut head = Vec::new();
    io::stdin().lock().take(HEAD as u64).read_to_end(&mut head).context("failed to read standard input")?;
    if is_initrd(&head) || head.len() < HEAD {
        return Ok(Stdin::Initrd(Box::new(Cursor::new(head).chain(io::stdin()))));
    }
    let mut spool = tempfile::tempfile().context("failed to create a file for standard input")?;
    let mut input = Cursor::new(head).chain(io::stdin()).take(MOST_SPOOLED + 1);
    if io::copy(&mut input, &mut spool).context("failed to store standard input")? > MOST_SPOOLED {
        bail!("standard input exceeds {} GiB; use a file instead", MOST_SPOOLED >> 30);
    }
    Ok(Stdin::Spooled(spool))
}

fn list_initrd(args: &LsArgs, input: Box<dyn Read>, out: &mut dyn Write) -> anyhow::Result<()> {
    if args.json { list_json(input, out) } else { list(input, out) }
}

fn list(input: impl Read, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut last = 0;
    walk(input, &mut |member, _| {
        let segment = member.segment;
        // Most initrds have one segment, which needs no header.
        if segment.number != last && (segment.number > 1 || segment.offset > 0) {
            writeln!(out, "segment {}, {}, from byte {}:", segment.number, segment.compression, segment.offset)?;
        }
        last = segment.number;
        write_line(member, out)?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(())
}

/// Writes one line in the format of `ls -l`.
fn write_line(member: &Member, out: &mut dyn Write) -> io::Result<()> {
    let header = &member.header;
    let mode = type_and_permissions(header.mode);
    let size = match header.mode & 0o170_000 {
        0o020_000 | 0o060_000 => format!("{},{}", header.rdevice.0, header.rdevice.1),
        _ => header.size.to_string(),
    };
    let (nlink, uid, gid) = (header.nlink, header.uid, header.gid);
    let path = Printable(&member.name);
    write!(out, "{mode} {nlink:>2} {uid} {gid} {size:>10} {} {path}", date(header.mtime))?;
    match &member.target {
        Some(target) => writeln!(out, " -> {}", Printable(target)),
        None => writeln!(out),
    }
}

/// Formats seconds since 1970 as `2026-01-31 23:59`, in UTC.
fn date(seconds: u32) -> String {
    let (days, minutes) = (seconds / 86_400, seconds % 86_400 / 60);
    // Years that start in March have the leap day at the end; 719,468 days before 1970 a cycle of 400 years starts.
    let day = days + 719_468;
    let (cycle, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02} {:02}:{:02}", cycle * 400 + year + carry, minutes / 60, minutes % 60)
}

/// An entry as JSON. Names that are not UTF-8 are also given in hexadecimal.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    #[serde(rename = "type")]
    kind: &'static str,
    mode: String,
    size: u32,
    nlink: u32,
    ino: u32,
    uid: u32,
    gid: u32,
    mtime: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<(u32, u32)>,
    segment: usize,
    packing: &'a str,
    offset: u64,
}

impl<'a> Entry<'a> {
    fn new(member: &Member, packing: &'a str) -> Self {
        let header = &member.header;
        let (kind, device) = match header.mode & 0o170_000 {
            0o040_000 => ("directory", None),
            0o100_000 => ("file", None),
            0o120_000 => ("link", None),
            0o020_000 => ("character device", Some(header.rdevice)),
            0o060_000 => ("block device", Some(header.rdevice)),
            0o010_000 => ("fifo", None),
            0o140_000 => ("socket", None),
            _ => ("unknown", None),
        };
        Self {
            path: String::from_utf8_lossy(&member.name).into_owned(),
            path_hex: std::str::from_utf8(&member.name).is_err().then(|| hex(&member.name)),
            kind,
            mode: format!("{:04o}", header.mode & 0o7777),
            size: header.size,
            nlink: header.nlink,
            ino: header.ino,
            uid: header.uid,
            gid: header.gid,
            mtime: header.mtime,
            target: member.target.as_ref().map(|target| String::from_utf8_lossy(target).into_owned()),
            device,
            segment: member.segment.number,
            packing,
            offset: member.offset,
        }
    }
}

/// Writes one array with one line per entry, while reading.
fn list_json(input: impl Read, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut separator = "[\n";
    walk(input, &mut |member, _| {
        out.write_all(separator.as_bytes())?;
        separator = ",\n";
        serde_json::to_writer(&mut *out, &Entry::new(member, &member.segment.compression.to_string()))?;
        Ok(ControlFlow::Continue(()))
    })?;
    writeln!(out, "{}", if separator == ",\n" { "\n]" } else { "[]" })?;
    Ok(())
}

/// Runs `bootling cat`: the first pass finds the last entry with that name, the second one prints its data.
pub(crate) fn run_cat(args: &CatArgs) -> anyhow::Result<u8> {
    let doing = || format!("failed to read {} in {}", args.path.display(), args.file.display());
    let wanted = ArchivePath::new(&args.path);
    let mut out = output::content();
    let name = args.path.to_string_lossy();
    if let Some(bundle) = bundle::list::open_file(&args.file, &name).with_context(doing)? {
        bundle::list::cat(bundle, &name, &mut out).with_context(doing)?;
        out.flush().context("failed to write to standard output")?;
        return Ok(0);
    }
    let mut file = match opened(&args.file, args.allow_backing).with_context(doing)? {
        Opened::Initrd(file) => file,
        opened => {
            listing::cat(opened, &args.path.to_string_lossy(), &mut out).with_context(doing)?;
            out.flush().context("failed to write to standard output")?;
            return Ok(0);
        }
    };
    let place = locate(&mut file, &wanted).with_context(doing)?;
    file.rewind().with_context(doing)?;
    let mut count: u64 = 0;
    let printed = walk(&mut file, &mut |_, data| {
        count += 1;
        if count <= place {
            return Ok(ControlFlow::Continue(()));
        }
        io::copy(data, &mut out)?;
        Ok(ControlFlow::Break(()))
    });
    printed.with_context(doing)?;
    out.flush().context("failed to write to standard output")?;
    Ok(0)
}

/// Returns the number of entries before the one with the data of `wanted`. Only one of several hard links has the data.
fn locate(file: &mut File, wanted: &ArchivePath) -> anyhow::Result<u64> {
    let mut found: Option<(u64, Member)> = None;
    let mut data = None;
    let mut count: u64 = 0;
    walk(file, &mut |member, _| {
        let linked = |other: &Member| {
            let identity = |member: &Member| (member.header.device, member.header.ino, member.segment.number);
            member.header.nlink > 1 && identity(member) == identity(other)
        };
        if ArchivePath::new(OsStr::from_bytes(&member.name)) == *wanted {
            found = Some((count, member.clone()));
            data = Some(count);
        } else if found.as_ref().is_some_and(|(_, found)| found.header.size == 0 && linked(found))
            && member.header.size > 0
        {
            data = Some(count);
        }
        count += 1;
        Ok(ControlFlow::Continue(()))
    })?;
    let (Some((_, member)), Some(data)) = (found, data) else {
        bail!("no such entry");
    };
    if member.header.mode & 0o170_000 != 0o100_000 {
        let target = member.target.as_ref().map(|target| format!(" -> {}", Printable(target))).unwrap_or_default();
        bail!("{}{target} is not a file", type_and_permissions(member.header.mode));
    }
    Ok(data)
}

fn name(path: &Path) -> String {
    if path == "-" { "standard input".to_owned() } else { path.display().to_string() }
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_follow_the_gregorian_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00"),
            (951_782_399, "2000-02-28 23:59"),
            (951_782_400, "2000-02-29 00:00"),
            (951_868_800, "2000-03-01 00:00"),
            (1_767_225_599, "2025-12-31 23:59"),
            (4_107_542_399, "2100-02-28 23:59"),
            (4_107_542_400, "2100-03-01 00:00"),
            (u32::MAX, "2106-02-07 06:28"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }
}
