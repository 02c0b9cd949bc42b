//! Container format and compression of a disk image, from options or else from the file name.

use std::path::{Path, PathBuf};

use bootling::disk::spec::Format;
use bootling::format::compression::Compression;

/// File name suffixes of unsupported formats, with advice on how to create such a file from a disk image.
const OTHERS: [(&str, &str); 7] = [
    ("vdi", "qemu-img convert -O vdi makes one"),
    ("vhdx", "qemu-img convert -O vhdx makes one"),
    ("qed", "qemu-img convert -O qed makes one"),
    ("iso", "an ISO is not a disk image; xorriso and grub-mkrescue make ISOs"),
    ("dmg", "write .img instead, which macOS also opens"),
    ("ova", "an OVA is an archive of a .vmdk and a description; write .vmdk and pack it with ovftool or VBoxManage"),
    ("ovf", "an OVF is the description of a machine; write .vmdk and refer to it"),
];

/// Format of the output file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Container format.
    pub format: Format,
    /// Compression.
    pub compression: Compression,
    /// Notes on mismatches between file name and format.
    pub notes: Vec<String>,
}

impl Target {
    /// Determines the format: options take precedence over the file name.
    pub(crate) fn new(file: Option<&Path>, format: Option<Format>, compression: Option<Compression>) -> Self {
        let name = file.filter(|file| *file != "-").and_then(Path::file_name).and_then(|name| name.to_str());
        let (inner, promised) = name.map_or((None, None), |name| {
            let (inner, promised) = split(name);
            (suffix(inner).and_then(format_of), promised)
        });
        let target = Self {
            format: format.or(inner).unwrap_or(Format::Raw),
            compression: compression.or(promised).unwrap_or(Compression::None),
            notes: Vec::new(),
        };
        let mut notes = Vec::new();
        let name = name.unwrap_or_default();
        if let Some(inner) = inner.filter(|inner| *inner != target.format) {
            notes.push(format!(
                "{name}: the suffix indicates {}, but the image is written as {}",
                inner.name(),
                target.format.name()
            ));
        }
        let end = suffix(split(name).0).unwrap_or_default();
        let other = OTHERS.iter().find(|(known, _)| end.eq_ignore_ascii_case(known));
        if let Some((_, advice)) = other.filter(|_| format.is_none() && target.format == Format::Raw) {
            notes.push(format!("{name}: written as a raw disk despite the suffix; {advice}"));
        }
        if !name.is_empty() && promised.unwrap_or(Compression::None) != target.compression {
            notes.push(match target.compression {
                Compression::None => format!("{name}: not compressed despite the suffix"),
                how => {
                    format!("{name}: compressed with {how}; tools expect the suffix .{}", how.properties().extension)
                }
            });
        }
        Self { notes, ..target }
    }

    /// Returns the name of the uncompressed file for a compressed one.
    pub(crate) fn inner_name(&self, name: &str) -> String {
        let (inner, promised) = split(name);
        if promised.is_some() { inner.to_owned() } else { format!("{name}.{}", self.format.suffixes()[0]) }
    }
}

/// Splits off the suffix of a compressed file.
fn split(name: &str) -> (&str, Option<Compression>) {
    let mut formats = Compression::for_disks().filter(|how| *how != Compression::None);
    let found = formats.find_map(|how| Some((name.strip_suffix(how.properties().extension)?.strip_suffix('.')?, how)));
    found.map_or((name, None), |(inner, how)| (inner, Some(how)))
}

fn suffix(name: &str) -> Option<&str> {
    PathBuf::from(name).extension().and_then(|end| end.to_str()).and_then(|end| name.get(name.len() - end.len()..))
}

fn format_of(suffix: &str) -> Option<Format> {
    Format::ALL.into_iter().find(|format| format.suffixes().iter().any(|known| suffix.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    use super::Target;
    use bootling::disk::spec::Format;
    use bootling::format::compression::Compression;
    use std::path::Path;

    fn target(name: &str) -> (Format, Compression, usize) {
        let target = Target::new(Some(Path::new(name)), None, None);
        (target.format, target.compression, target.notes.len())
    }

    #[test]
    fn the_file_name_selects_the_format() {
        assert_eq!(target("x.img"), (Format::Raw, Compression::None, 0));
        assert_eq!(target("d/x.raw.zst"), (Format::Raw, Compression::Zstd, 0));
        assert_eq!(target("x.qcow2"), (Format::Qcow2, Compression::None, 0));
        assert_eq!(target("x.VHD.xz"), (Format::Vhd, Compression::Xz, 0));
        assert_eq!(target("linux.efi"), (Format::Uki, Compression::None, 0));
        assert_eq!(target("-"), (Format::Raw, Compression::None, 0));
        assert_eq!(target("x.vdi"), (Format::Raw, Compression::None, 1));
        assert_eq!(target("x.iso.gz"), (Format::Raw, Compression::Gzip, 1));
        assert_eq!(target("x.OVA"), (Format::Raw, Compression::None, 1));
        assert_eq!(target("zst"), (Format::Raw, Compression::None, 0));
    }

    #[test]
    fn mismatching_file_names_are_reported() {
        let both = Target::new(Some(Path::new("x.qcow2")), Some(Format::Raw), Some(Compression::Gzip));
        assert_eq!(
            both.notes,
            [
                "x.qcow2: the suffix indicates qcow2, but the image is written as raw",
                "x.qcow2: compressed with gzip; tools expect the suffix .gz"
            ]
        );
        assert_eq!(both.inner_name("x.qcow2"), "x.qcow2.raw");
        assert_eq!(both.inner_name("x.img.gz"), "x.img");
        let none = Target::new(Some(Path::new("x.img.xz")), None, Some(Compression::None));
        assert_eq!(none.notes, ["x.img.xz: not compressed despite the suffix"]);
    }
}
