//! Search for UEFI firmware.
//!
//! Firmware descriptors are searched first, by the rules at the head of `docs/interop/firmware.json`: a file in the
//! user's directory hides files of the same name in the system's directory, which hides those of packages. Of the
//! remaining descriptors the first by file name is used. Known installation paths are searched next.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Descriptor, Files, FirmwareError, Format, Image, Uefi};
use crate::arch::Arch;

/// Maximum descriptor size in bytes.
const DESCRIPTOR_BYTES: u64 = 64 << 10;
/// Maximum number of directory entries read per directory.
const DESCRIPTORS: usize = 256;

/// OVMF without Secure Boot for 64-bit PCs in distributions: directory, code, variables. Larger flash first.
const KNOWN: [(&str, &str, &str); 13] = [
    // Debian, Ubuntu
    ("/usr/share/OVMF", "OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF", "OVMF_CODE.fd", "OVMF_VARS.fd"),
    // Fedora, RHEL
    ("/usr/share/edk2/ovmf", "OVMF_CODE_4M.qcow2", "OVMF_VARS_4M.qcow2"),
    ("/usr/share/edk2/ovmf", "OVMF_CODE.fd", "OVMF_VARS.fd"),
    // Arch, Void
    ("/usr/share/edk2/x64", "OVMF_CODE.4m.fd", "OVMF_VARS.4m.fd"),
    ("/usr/share/edk2/x64", "OVMF_CODE.fd", "OVMF_VARS.fd"),
    ("/usr/share/edk2-ovmf/x64", "OVMF_CODE.fd", "OVMF_VARS.fd"),
    // Gentoo
    ("/usr/share/edk2/OvmfX64", "OVMF_CODE.fd", "OVMF_VARS.fd"),
    ("/usr/share/edk2-ovmf", "OVMF_CODE.fd", "OVMF_VARS.fd"),
    // SUSE
    ("/usr/share/qemu", "ovmf-x86_64-4m-code.bin", "ovmf-x86_64-4m-vars.bin"),
    ("/usr/share/qemu", "ovmf-x86_64-code.bin", "ovmf-x86_64-vars.bin"),
    // NixOS
    ("/run/libvirt/nix-ovmf", "edk2-x86_64-code.fd", "edk2-i386-vars.fd"),
    ("/run/libvirt/nix-ovmf", "OVMF_CODE.fd", "OVMF_VARS.fd"),
];

/// Firmware files that QEMU's `make install` puts into its share directory.
const OWN: (&str, &str) = ("edk2-x86_64-code.fd", "edk2-i386-vars.fd");

/// A search for UEFI firmware.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    arch: Arch,
    machine: String,
    /// Descriptor directories in order of precedence.
    descriptors: Vec<PathBuf>,
    /// Known code and variable files in order of preference.
    known: Vec<(PathBuf, PathBuf)>,
}

impl Search {
    /// Search paths of this host and of the QEMU at `qemu`. `machine` is the full machine type name.
    pub(crate) fn on_host(arch: Arch, machine: String, qemu: &Path) -> Self {
        let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let config = config.or_else(|| std::env::home_dir().map(|home| home.join(".config")));
        let shares = shares_of(qemu);
        let mut descriptors: Vec<PathBuf> = config.iter().map(|config| config.join("qemu/firmware")).collect();
        descriptors.push("/etc/qemu/firmware".into());
        descriptors.extend(shares.iter().flat_map(|share| [share.join("firmware"), share.join("descriptors")]));
        descriptors.extend(["/usr/local/share/qemu/firmware".into(), "/usr/share/qemu/firmware".into()]);
        let own = shares.iter().cloned().chain(["/usr/local/share/qemu".into(), "/usr/share/qemu".into()]);
        let mut known: Vec<(PathBuf, PathBuf)> = Vec::new();
        if arch == Arch::X86_64 {
            // Firmware that is shipped with this QEMU was built with it, and precedes the distribution's firmware.
            known.extend(own.map(|share| (share.join(OWN.0), share.join(OWN.1))));
            known.extend(KNOWN.map(|(dir, code, vars)| (Path::new(dir).join(code), Path::new(dir).join(vars))));
        }
        Self { arch, machine, descriptors, known }
    }

    /// Returns the most preferred matching firmware.
    pub(crate) fn find(&self, secure: bool) -> Result<Uefi, FirmwareError> {
        let described = self.descriptors().into_values().find_map(|descriptor| {
            let firmware = descriptor.firmware().filter(|_| descriptor.fits(self.arch, &self.machine, secure))?;
            is_there(&firmware.files).then_some(firmware)
        });
        let known = || {
            let pair = self.known.iter().find(|(code, vars)| !secure && code.is_file() && vars.is_file());
            pair.map(|(code, vars)| Uefi { files: split(code, vars), smm: false })
        };
        described.or_else(known).ok_or_else(|| self.not_found(secure))
    }

    /// Returns the firmware that a descriptor declares for this code file.
    pub(crate) fn describes(&self, code: &Path) -> Option<Uefi> {
        let same = fs::canonicalize(code).ok()?;
        let all = self.descriptors().into_values().filter_map(|descriptor| descriptor.firmware());
        let all: Vec<Uefi> = all.filter(|firmware| is_there(&firmware.files)).collect();
        // Several symbolic links may lead to one file, each with separate variables: prefer the name as given.
        let by_name = all.iter().find(|firmware| firmware.files.code() == code);
        let by_file = || all.iter().find(|found| fs::canonicalize(found.files.code()).is_ok_and(|path| path == same));
        by_name.or_else(by_file).cloned()
    }

    /// Descriptors by file name. A file in an earlier directory hides files of the same name in later directories.
    fn descriptors(&self) -> BTreeMap<OsString, Descriptor> {
        let mut all: BTreeMap<OsString, Option<Descriptor>> = BTreeMap::new();
        for directory in &self.descriptors {
            // Most of these directories do not exist; unreadable ones are skipped.
            let Ok(entries) = fs::read_dir(directory) else { continue };
            for entry in entries.take(DESCRIPTORS).flatten() {
                let path = entry.path();
                if path.extension().is_some_and(|extension| extension == "json") {
                    all.entry(entry.file_name()).or_insert_with(|| read(&path));
                }
            }
        }
        all.into_iter().filter_map(|(name, descriptor)| Some((name, descriptor?))).collect()
    }

    fn not_found(&self, secure: bool) -> FirmwareError {
        let mut places: Vec<&Path> = self.descriptors.iter().map(PathBuf::as_path).collect();
        if !secure {
            places.extend(self.known.iter().filter_map(|(code, _)| code.parent()));
        }
        let mut tried: Vec<String> = Vec::new();
        for place in places {
            let place = place.display().to_string();
            if !tried.contains(&place) {
                tried.push(place);
            }
        }
        let kind = if secure { " that enforces Secure Boot" } else { "" };
        FirmwareError::NotFound { kind, arch: self.arch, machine: self.machine.clone(), tried: tried.join(", ") }
    }
}

/// Share directories of a QEMU program: in its installation prefix, or in its build directory.
fn shares_of(qemu: &Path) -> Vec<PathBuf> {
    let real = fs::canonicalize(qemu).unwrap_or_else(|_| qemu.to_owned());
    let mut shares = Vec::new();
    for program in [qemu, real.as_path()] {
        let Some(directory) = program.parent() else { continue };
        shares.push(directory.join("pc-bios"));
        shares.extend(directory.parent().map(|prefix| prefix.join("share/qemu")));
    }
    shares.dedup();
    shares
}

fn read(path: &Path) -> Option<Descriptor> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    File::open(path).ok()?.take(DESCRIPTOR_BYTES).read_to_end(&mut text).ok()?;
    Descriptor::parse(&text)
}

fn is_there(files: &Files) -> bool {
    match files {
        Files::Split { code, vars } => code.path.is_file() && vars.path.is_file(),
        Files::Combined(image) | Files::Stateless(image) => image.path.is_file(),
        Files::Rom(path) => path.is_file(),
    }
}

/// Code and variables; the file extension determines the format.
fn split(code: &Path, vars: &Path) -> Files {
    let image = |path: &Path| {
        let qcow2 = path.extension().is_some_and(|extension| extension == "qcow2");
        Image { path: path.to_owned(), format: if qcow2 { Format::Qcow2 } else { Format::Raw } }
    };
    Files::Split { code: image(code), vars: image(vars) }
}

#[cfg(test)]
mod tests {
    use super::Search;
    use crate::arch::Arch;
    use std::fs;
    use std::path::Path;

    fn descriptor(dir: &Path, code: &str, features: &str) -> String {
        let dir = dir.display();
        format!(
            r#"{{"interface-types": ["uefi"], "mapping": {{"device": "flash",
                "executable": {{"filename": "{dir}/{code}", "format": "raw"}},
                "nvram-template": {{"filename": "{dir}/vars.fd", "format": "raw"}}}},
                "targets": [{{"architecture": "x86_64", "machines": ["pc-q35-*"]}}], "features": [{features}]}}"#
        )
    }

    #[test]
    fn a_user_descriptor_hides_the_packaged_one_and_an_empty_file_disables_it() {
        let root = tempfile::tempdir().expect("a directory");
        let (user, system) = (root.path().join("user"), root.path().join("system"));
        for dir in [&user, &system] {
            fs::create_dir(dir).expect("a directory");
        }
        for name in ["vars.fd", "a.fd", "b.fd", "s.fd", "known.fd"] {
            fs::write(root.path().join(name), "x").expect("written");
        }
        let write = |dir: &Path, name: &str, text: &str| fs::write(dir.join(name), text).expect("written");
        write(&system, "30-secure.json", &descriptor(root.path(), "s.fd", r#""secure-boot", "enrolled-keys""#));
        write(&system, "40-gone.json", &descriptor(root.path(), "gone.fd", ""));
        write(&system, "50-a.json", &descriptor(root.path(), "a.fd", ""));
        write(&system, "60-b.json", &descriptor(root.path(), "b.fd", ""));
        write(&system, "10-not.txt", &descriptor(root.path(), "s.fd", ""));
        let search = Search {
            arch: Arch::X86_64,
            machine: "pc-q35-7.2".to_owned(),
            descriptors: vec![user.clone(), system],
            known: vec![(root.path().join("known.fd"), root.path().join("vars.fd"))],
        };
        let code = |secure| search.find(secure).map(|found| found.files.code().to_owned());
        assert_eq!(code(false).expect("a"), root.path().join("a.fd"));
        assert_eq!(code(true).expect("s"), root.path().join("s.fd"));
        write(&user, "50-a.json", "");
        assert_eq!(code(false).expect("b"), root.path().join("b.fd"));
        write(&user, "60-b.json", "");
        assert_eq!(code(false).expect("known"), root.path().join("known.fd"));
        fs::remove_file(root.path().join("vars.fd")).expect("removed");
        let error = code(false).expect_err("nothing is left").to_string();
        assert!(error.contains("apt-get install ovmf") && error.contains("pc-q35-7.2"), "{error}");
        assert!(code(true).expect_err("nothing").to_string().contains("Secure Boot"));
    }

    #[test]
    fn the_prefix_and_build_directory_of_a_custom_qemu_are_searched() {
        let places = Search::on_host(Arch::X86_64, String::new(), Path::new("/opt/q/bin/qemu-system-x86_64"));
        let has = |path: &str| places.known.iter().any(|(code, _)| code == Path::new(path));
        assert!(has("/opt/q/share/qemu/edk2-x86_64-code.fd") && has("/opt/q/bin/pc-bios/edk2-x86_64-code.fd"));
        assert!(places.descriptors.contains(&"/opt/q/share/qemu/firmware".into()));
    }
}
