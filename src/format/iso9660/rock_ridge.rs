//! System use fields of directory records: names, links and moved directories (SUSP 1.12, Rock Ridge 1.12).

use super::fault::Fault;
use crate::format::Medium;
use crate::format::bytes::le32;

/// Maximum number of continuation areas of one record.
const MOST_AREAS: usize = 4;
/// Maximum length of a continuation area.
const LONGEST_AREA: u32 = 2048;
/// Maximum length of a name (`NAME_MAX`), and of a link's target.
const LONGEST_NAME: usize = 255;
const LONGEST_TARGET: usize = 1024;
/// Flags of names and of link components.
const CONTINUES: u8 = 1;
const CURRENT: u8 = 2;
const PARENT: u8 = 4;
const ROOT: u8 = 8;

/// Meaning of the fields of a record.
#[derive(Debug, Default)]
pub(super) struct Extension {
    /// Name.
    pub name: Option<String>,
    /// Target of a symbolic link.
    pub link: Option<String>,
    /// First block of a directory that is stored elsewhere.
    pub child: Option<u32>,
    /// True for a directory at the place where it is stored, not where it belongs.
    pub moved: bool,
}

/// Returns the number of bytes to skip in each system use area, from the first record (`.`) of the root directory;
/// `None` if the volume has no system use fields.
pub(super) fn skip(root: &[u8]) -> Option<usize> {
    let length = usize::from(*root.first()?);
    // The name has one byte, so the fields start at byte 34.
    let area = root.get(34..length)?;
    (area.starts_with(b"SP") && area.get(4..6) == Some(&[0xBE, 0xEF])).then(|| usize::from(*area.get(6).unwrap_or(&0)))
}

/// Parses the system use area of a record, with its continuations.
pub(super) fn extensions(area: &[u8], medium: &impl Medium, block: u64) -> Result<Extension, Fault> {
    let mut found = Extension::default();
    let (mut name, mut link) = (Vec::new(), Link::default());
    let mut next = fields(area, &mut found, &mut name, &mut link);
    for _ in 0..MOST_AREAS {
        let Some((start, offset, length)) = next else { break };
        let mut bytes = vec![0; length.min(LONGEST_AREA) as usize];
        let offset = u64::from(start) * block + u64::from(offset);
        medium.read_at(&mut bytes, offset).map_err(|source| Fault::Read { offset, source })?;
        next = fields(&bytes, &mut found, &mut name, &mut link);
    }
    found.name = (!name.is_empty()).then(|| String::from_utf8_lossy(&name).into_owned());
    found.link = link.present.then(|| String::from_utf8_lossy(&link.target).into_owned());
    Ok(found)
}

/// Target of a link, while it is assembled.
#[derive(Default)]
struct Link {
    present: bool,
    target: Vec<u8>,
    /// True if the next component continues the last one.
    continues: bool,
}

/// Parses the fields of one area. Returns the location of the continuation: block, offset in it, length.
fn fields(area: &[u8], found: &mut Extension, name: &mut Vec<u8>, link: &mut Link) -> Option<(u32, u32, u32)> {
    let mut rest = area;
    let mut next = None;
    while let [one, two, length, _, ..] = *rest {
        let length = usize::from(length);
        let Some(field) = rest.get(4..length) else { break };
        match &[one, two] {
            b"NM" => {
                if let [flags, part @ ..] = field
                    && flags & (CURRENT | PARENT) == 0
                    && name.len() + part.len() <= LONGEST_NAME
                {
                    name.extend(part);
                }
            }
            b"SL" => {
                if let [_, components @ ..] = field {
                    link.present = true;
                    link_components(components, link);
                }
            }
            b"CE" if length >= 28 => next = Some((le32(field, 0), le32(field, 8), le32(field, 16))),
            b"CL" => found.child = Some(le32(field, 0)),
            b"RE" => found.moved = true,
            b"ST" => break,
            _ => {}
        }
        rest = rest.get(length.max(4)..).unwrap_or_default();
    }
    next
}

fn link_components(mut components: &[u8], link: &mut Link) {
    while let [flags, length, after @ ..] = components {
        let (text, following) = after.split_at_checked((*length).into()).unwrap_or((after, &[]));
        if link.target.len() > LONGEST_TARGET {
            return;
        }
        if !link.continues && !link.target.is_empty() && !link.target.ends_with(b"/") {
            link.target.push(b'/');
        }
        link.target.extend(match flags & (CURRENT | PARENT | ROOT) {
            CURRENT => b".".as_slice(),
            PARENT => b"..",
            ROOT => b"/",
            _ => text,
        });
        link.continues = flags & CONTINUES != 0;
        components = following;
    }
}
