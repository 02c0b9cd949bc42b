//! References of an image to other files, which its reader would open with the user's permissions.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::content::Content;

/// Returns what an image refers to: `its backing file`.
pub(crate) fn of(file: &File, content: Content) -> io::Result<Option<&'static str>> {
    match content {
        Content::Qcow2 | Content::Foreign("qcow version 1") => names_of_qcow2(file),
        Content::Foreign("VMDK") => names_of_vmdk(file),
        // The feature bit for a backing file (`docs/interop/qed_spec.rst`).
        Content::Foreign("QED") => {
            let is_overlay = read(file, 16, 1)?.first().is_some_and(|features| features & 1 != 0);
            Ok(is_overlay.then_some("its backing file"))
        }
        Content::Raw | Content::Vhd | Content::Compressed(_) | Content::Foreign(_) => Ok(None),
    }
}

/// Returns the file reference of a qcow2 image (`docs/interop/qcow2.txt`): a backing file at byte 8, or an external
/// data file by bit 2 of the incompatible features at byte 72, which version 2 does not have.
fn names_of_qcow2(file: &File) -> io::Result<Option<&'static str>> {
    let head = read(file, 0, 80)?;
    let is_zero = |from: usize, to: usize| head.get(from..to).is_none_or(|bytes| bytes.iter().all(|byte| *byte == 0));
    if !is_zero(8, 16) {
        return Ok(Some("its backing file"));
    }
    let version = head.get(7).copied().unwrap_or(0);
    let external = version >= 3 && head.get(79).is_some_and(|byte| byte & 0x04 != 0);
    Ok(external.then_some("its data file"))
}

/// Returns the file reference of a VMDK (VMware's "Virtual Disk Format 5.0"): the extents of a separate descriptor, or
/// the parent in the descriptor embedded in a sparse extent.
fn names_of_vmdk(file: &File) -> io::Result<Option<&'static str>> {
    /// QEMU reads at least this much of an embedded descriptor (`block/vmdk.c`, `vmdk_parent_open`).
    const DESCRIPTOR: usize = 20 * 512;
    let head = read(file, 0, 64)?;
    let number = |at: usize| head.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    if !head.starts_with(b"KDMV") || number(12) == 0 {
        return Ok(Some("its extents"));
    }
    for at in [512, number(28).saturating_mul(512)] {
        let text = read(file, at, DESCRIPTOR)?;
        if text.windows(PARENT.len()).any(|window| window.eq_ignore_ascii_case(PARENT)) {
            return Ok(Some("its parent"));
        }
    }
    Ok(None)
}

const PARENT: &[u8] = b"parentFileNameHint";

/// Reads up to `len` bytes at offset `at`.
fn read(file: &File, at: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut got = 0;
    while got < len {
        let Some(offset) = at.checked_add(got as u64) else { break };
        match file.read_at(&mut bytes[got..], offset) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Offset out of range for any file.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => break,
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(got);
    Ok(bytes)
}
