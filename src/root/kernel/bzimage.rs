//! The bzImage that belongs to a vmlinux in a build tree. Firmware starts only a bzImage; QEMU starts a vmlinux faster.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::error::KernelError;
use super::{ImageKind, Kernel, image, tree};
use crate::format::elf::ElfError;
use crate::format::kernel::bzimage::BzImage;
use crate::format::kernel::release::version;
use crate::format::kernel::vmlinux::Vmlinux;

impl Kernel {
    /// Returns the same kernel with the image that firmware can start: for a vmlinux, the bzImage of the same build.
    /// Returns the kernel unchanged if there is no bzImage beside the vmlinux. Fails if the bzImage is from another build.
    pub(crate) fn for_firmware(self) -> Result<Self, KernelError> {
        let top = match (self.kind, self.image.parent()) {
            (ImageKind::VmlinuxPvh, Some(top)) => top,
            (ImageKind::BzImage | ImageKind::Arm64 | ImageKind::Absent, _) | (ImageKind::VmlinuxPvh, None) => {
                return Ok(self);
            }
        };
        for path in tree::bzimages(top).into_iter().filter(|path| path.exists()) {
            let Ok(found) = image::identify(&path)? else { continue };
            let (ours, theirs) = (banner(&self.image)?, banner(&path)?);
            let builds = [&ours, &theirs].map(|banner| banner.as_deref().and_then(version));
            let is_other = matches!(builds, [Some(ours), Some(theirs)] if ours != theirs);
            if found.release != self.release || is_other {
                return Err(KernelError::OtherBuild {
                    bzimage: path,
                    found: theirs.unwrap_or_default(),
                    expected: ours.unwrap_or_default(),
                });
            }
            return Ok(Self { image: path, kind: found.kind, ..self });
        }
        Ok(self)
    }
}

/// Returns the text of the kernel's banner in an image, from its release.
fn banner(path: &Path) -> Result<Option<String>, KernelError> {
    let failed = |source| KernelError::Io { doing: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    match Vmlinux::read(&file) {
        Ok(vmlinux) => vmlinux.banner(&file).map_err(failed),
        Err(ElfError::Malformed { .. }) => {
            let mut setup = Vec::new();
            (&file).take(64 << 10).read_to_end(&mut setup).map_err(failed)?;
            let len = file.metadata().map_err(failed)?.len();
            Ok(BzImage::parse(&setup, len).ok().and_then(|header| header.version(&setup)))
        }
        Err(ElfError::Io(source)) => Err(failed(source)),
    }
}

#[cfg(test)]
mod tests {
    use crate::cache::Cache;
    use crate::format::kernel::bzimage::tests::image;
    use crate::format::kernel::vmlinux::tests::vmlinux;
    use crate::root::kernel::{ImageKind, tree};
    use std::fs;

    #[test]
    fn firmware_gets_the_bzimage_of_the_same_build() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let cache = Cache::at(dir.path().join("cache"), 1 << 20).expect("a cache");
        fs::create_dir_all(dir.path().join("arch/x86/boot")).expect("made");
        fs::write(dir.path().join("vmlinux"), vmlinux(62, true)).expect("written");
        let found = || tree::find(dir.path(), "tree", &cache, &mut |_| {}).expect("found").for_firmware();
        assert_eq!(found().expect("alone").kind, ImageKind::VmlinuxPvh);
        let bzimage = dir.path().join("arch/x86/boot/bzImage");
        let with = |version: &[u8]| {
            let mut bytes = image(b"payload!");
            bytes[0x300..0x320].fill(0);
            bytes[0x300..0x300 + version.len()].copy_from_slice(version);
            fs::write(&bzimage, bytes).expect("written");
        };
        with(b"6.9.0-test (a@b) #1");
        let kernel = found().expect("of the same build");
        assert_eq!((kernel.kind, kernel.image.ends_with("arch/x86/boot/bzImage")), (ImageKind::BzImage, true));
        for other in [b"6.9.0-test (a@b) #2".as_slice(), b"6.8.0-test (a@b) #1"] {
            with(other);
            let error = found().expect_err("of another build").to_string();
            let expected = format!("{} is from another build than vmlinux (6.9.0-test (a@b) #1)", bzimage.display());
            assert!(error.starts_with(&expected), "{error}");
        }
    }
}
