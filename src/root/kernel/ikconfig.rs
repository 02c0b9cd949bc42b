//! Configuration embedded in a kernel image (`CONFIG_IKCONFIG`, `kernel/configs.c`): gzip data after a marker.
//!
//! The result is cached, since the search unpacks and reads the whole kernel.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path;

use memchr::memmem;

use super::config::{self, CONFIG_LIMIT, Config};
use super::{ImageKind, Kernel, error::KernelError, vmlinux};
use crate::cache::{Cache, CacheError, Key};
use crate::format::compression::{Compression, Streams};

/// Marker in front of the gzip data.
const START: &[u8] = b"IKCFG_ST";

/// Returns the configuration embedded in the kernel's image; `None` if there is none.
pub(super) fn find(kernel: &Kernel, cache: &Cache) -> Result<Option<Config>, KernelError> {
    let image = &kernel.image;
    let failed = |source| KernelError::Io { doing: "read", path: image.clone(), source };
    let key = Key::of_file("config 2", image, &std::fs::metadata(image).map_err(failed)?);
    let text = if let Some(known) = cache.get(&key) {
        known
    } else {
        // Without the lock of this entry, since unpacking uses other entries.
        let found = open(kernel, cache)?.map_or(Ok(None), search).map_err(failed)?.unwrap_or_default();
        cache.file::<KernelError>(&key, |out| {
            let path = || cache.directory().to_owned();
            let written = out.write_all(&found);
            written.map_err(|source| CacheError::Io { doing: "write to", path: path(), source }.into())
        })?
    };
    let source = format!("the configuration inside {}", kernel.origin);
    Ok(config::read(&text)?.filter(Config::has_options).map(|config| config.from(source)))
}

/// Opens the unpacked kernel; `None` if its compression is unsupported or its payload is damaged, which is reported when
/// it is booted.
fn open(kernel: &Kernel, cache: &Cache) -> Result<Option<Box<dyn Read>>, KernelError> {
    let opened = |path: &Path| {
        let file =
            File::open(path).map_err(|source| KernelError::Io { doing: "read", path: path.to_owned(), source })?;
        Ok(Some(Box::new(file) as Box<dyn Read>))
    };
    match kernel.kind {
        ImageKind::Absent => Ok(None),
        ImageKind::VmlinuxPvh | ImageKind::Arm64 => opened(&kernel.image),
        ImageKind::BzImage => match vmlinux::from_bzimage(&kernel.image, &kernel.origin, cache, &mut |_| {}) {
            Ok(Some(vmlinux)) => opened(&vmlinux),
            Ok(None) => {
                let unpacked = vmlinux::unpacked(&kernel.image).ok().flatten();
                Ok(unpacked.map(|bytes| Box::new(io::Cursor::new(bytes)) as Box<dyn Read>))
            }
            Err(KernelError::Damaged { .. }) => Ok(None),
            Err(other) => Err(other),
        },
    }
}

/// Finds and unpacks the embedded copy.
fn search(mut kernel: Box<dyn Read>) -> io::Result<Option<Vec<u8>>> {
    const PIECE: usize = 1 << 20;
    let mut held: Vec<u8> = Vec::with_capacity(PIECE + START.len());
    loop {
        let read = kernel.by_ref().take(PIECE as u64).read_to_end(&mut held)?;
        if let Some(at) = memmem::find(&held, START) {
            let rest = held.split_off(at + START.len());
            let mut text = Vec::new();
            let gzip = Compression::Gzip.reader(io::BufReader::new(rest.chain(kernel)), Streams::First);
            let unpacked = gzip.and_then(|gzip| gzip.take(CONFIG_LIMIT).read_to_end(&mut text));
            // A marker without gzip data, as in the code that searches for the marker, is not a configuration.
            return Ok(unpacked.is_ok().then_some(text));
        }
        if read == 0 {
            return Ok(None);
        }
        held.drain(..held.len().saturating_sub(START.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::find;
    use crate::arch::Arch;
    use crate::cache::Cache;
    use crate::root::kernel::{ImageKind, Kernel};
    use std::io::Write as _;
    use std::path::Path;

    /// A kernel whose image, a vmlinux, is at `image`.
    fn kernel(image: &Path) -> Kernel {
        Kernel {
            image: image.to_owned(),
            kind: ImageKind::VmlinuxPvh,
            arch: Arch::X86_64,
            release: None,
            modules: None,
            config: None,
            origin: "./vmlinux".to_owned(),
        }
    }

    #[test]
    fn the_embedded_copy_is_found_across_block_boundaries_and_cached() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let cache = Cache::at(dir.path().join("cache"), 1 << 20).expect("a cache");
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(b"CONFIG_PVH=y\n").expect("compressed");
        let gz = gz.finish().expect("finished");
        for before in [0, 5000, (1 << 20) - 3, 3 << 20] {
            let image = dir.path().join(format!("vmlinux-{before}"));
            let bytes = [vec![b'I'; before], b"IKCFG_ST".to_vec(), gz.clone(), b"IKCFG_ED".to_vec()].concat();
            std::fs::write(&image, bytes).expect("written");
            for _ in 0..2 {
                let config = find(&kernel(&image), &cache).expect("searched").expect("found");
                assert!(config.is_builtin("PVH"), "{before}");
                assert_eq!(config.source(), "the configuration inside ./vmlinux");
            }
        }
        let none = dir.path().join("none");
        std::fs::write(&none, vec![0; 100_000]).expect("written");
        for _ in 0..2 {
            assert_eq!(find(&kernel(&none), &cache).expect("searched"), None);
        }
    }
}
