//! Options of every verb that builds an initrd.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

use bootling::{
    root::request::{Copy, KernelRef, ModuleRequest},
    root::spec::{InitrdSpec, RunWhat},
};

/// Contents of the image.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Image")]
pub(crate) struct InitrdArgs {
    /// Kernel for the image: an image file, a release installed below the root, a kernel build tree, or a package
    /// (.deb, .pkg.tar.zst, .apk), which is read without being installed. Several packages: separated by commas, or a
    /// directory of packages; or a directory with the unpacked files. `debian:` is Debian's default kernel, `debian:NAME` another one (`cloud`,
    /// `6.12`, or a package, with =VERSION if needed); the package is fetched once with the host's apt, without root.
    /// Default: the newest readable kernel.
    #[arg(long, short = 'k', value_name = "KERNEL", env = "BOOTLING_KERNEL")]
    pub kernel: Option<OsString>,
    /// Add a program of the host, by path or by name in PATH, with the libraries that it needs. May be repeated. Inside the
    /// guest it runs instead of the busybox applet of the same name, if there is one.
    #[arg(long, value_name = "BINARY")]
    pub with: Vec<OsString>,
    /// Add a file, a directory tree, or everything that matches a glob pattern, at its own path or at DST.
    ///
    /// A SRC that is a directory becomes DST, or is placed below a DST that ends in `/`. If SRC ends in `/`, or DST is
    /// `/`, its contents are merged into DST, with its dot-files, which `SRC/*` does not match.
    ///
    /// If the whole argument names an existing file, it is the source, including any `=`; otherwise it is split at the
    /// first `=` that follows an existing path, or else at the last `=`. May be repeated.
    #[arg(long, value_name = "SRC[=DST]", value_parser = OsStringValueParser::new())]
    pub copy: Vec<OsString>,
    /// Load a kernel module, given by name, alias or path of a .ko file, with its dependencies and these parameters.
    /// May be repeated; modules are loaded in this order.
    #[arg(long, value_name = "NAME [PARAM=VALUE...]", value_parser = module_parser())]
    pub kmod: Vec<ModuleRequest>,
    /// Take programs, libraries, modules and files from the system below DIR instead of the host. `debian:PACKAGE,...` is
    /// a directory with these packages and all that they depend on, fetched once with the host's apt, without root;
    /// `debian:` has bash, busybox and coreutils.
    #[arg(long, value_name = "DIR|debian:PACKAGE[,PACKAGE...]")]
    pub sysroot: Option<PathBuf>,
    /// Run LINE in the guest's shell, then power off. Default without a command: an interactive shell.
    #[arg(long, value_name = "LINE", allow_hyphen_values = true)]
    pub run: Option<OsString>,
    /// Omit busybox and its applets.
    #[arg(long)]
    pub no_busybox: bool,
    /// Search these directories for libraries first, as with `LD_LIBRARY_PATH`, which is also set in the guest.
    #[arg(long, value_name = "DIR[:DIR...]", value_delimiter = ':')]
    pub lib_path: Vec<PathBuf>,
}

impl InitrdArgs {
    /// Returns the initrd specification, with additional programs from a verb's arguments and the command to run.
    pub(crate) fn spec(&self, extra_binaries: &[OsString], run: RunWhat) -> anyhow::Result<InitrdSpec> {
        let root = self.sysroot.clone().unwrap_or_else(|| PathBuf::from("/"));
        let copies: Result<Vec<Copy>, _> = self.copy.iter().map(|typed| copy(typed, &root)).collect();
        let binaries: Vec<OsString> = self.with.iter().chain(extra_binaries).cloned().collect();
        ensure!(binaries.iter().all(|name| !name.is_empty()), "empty program name");
        Ok(InitrdSpec {
            copies: copies?,
            binaries,
            root,
            busybox: !self.no_busybox,
            modules: self.kmod.clone(),
            lib_path: self.lib_path.iter().filter(|path| !path.as_os_str().is_empty()).cloned().collect(),
            run,
            autoload: false,
        })
    }

    /// Returns `--kernel`, if given.
    pub(crate) fn kernel(&self) -> Option<KernelRef> {
        self.kernel.clone().map(KernelRef::Named)
    }
}

/// Parses `SRC[=DST]`, split as the option's help describes.
pub(crate) fn copy(typed: &OsStr, root: &Path) -> anyhow::Result<Copy> {
    let bytes = typed.as_bytes();
    let signs: Vec<usize> = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'=').map(|(at, _)| at).collect();
    let whole = Copy { source: PathBuf::from(typed), destination: None };
    let split = if signs.is_empty() || exists(typed, root) {
        None
    } else {
        let left = |at: &usize| bytes.get(..*at).map(OsStr::from_bytes).unwrap_or_default();
        signs.iter().find(|at| exists(left(at), root)).or(signs.last()).copied()
    };
    let copy = match split {
        None => whole,
        Some(at) => {
            let (source, destination) = bytes.split_at(at);
            let destination = destination.get(1..).unwrap_or_default();
            ensure!(!destination.is_empty(), "invalid --copy {}: missing destination after '='", typed.display());
            let destination = Some(PathBuf::from(OsStr::from_bytes(destination)));
            Copy { source: PathBuf::from(OsStr::from_bytes(source)), destination }
        }
    };
    ensure!(!copy.source.as_os_str().is_empty(), "invalid --copy {}: missing source", typed.display());
    Ok(copy)
}

/// Returns true if the path, or a match of the pattern, exists below `root`.
fn exists(typed: &OsStr, root: &Path) -> bool {
    if typed.is_empty() {
        return false;
    }
    let path = Path::new(typed);
    let inside =
        if root == Path::new("/") { path.to_owned() } else { root.join(path.strip_prefix("/").unwrap_or(path)) };
    if inside.symlink_metadata().is_ok() {
        return true;
    }
    let pattern = inside.to_str().filter(|text| text.contains(['*', '?', '[']));
    pattern.and_then(|pattern| glob::glob(pattern).ok()).is_some_and(|mut found| found.next().is_some())
}

/// Parser for `NAME [PARAM=VALUE...]`, split at the first white space. Accepts any bytes, unlike a `&str` parser.
pub(crate) fn module_parser() -> impl TypedValueParser<Value = ModuleRequest> {
    OsStringValueParser::new().try_map(|typed| module(&typed))
}

/// Parser that applies [`copy`] to the host's root.
pub(crate) fn copy_parser() -> impl TypedValueParser<Value = Copy> {
    OsStringValueParser::new().try_map(|typed| copy(&typed, Path::new("/")).map_err(|error| error.to_string()))
}

/// Splits a module's name from its parameters.
fn module(typed: &OsStr) -> Result<ModuleRequest, &'static str> {
    let bytes = typed.as_bytes().trim_ascii();
    let end = bytes.iter().position(u8::is_ascii_whitespace).unwrap_or(bytes.len());
    let (name, params) = bytes.split_at(end);
    if name.is_empty() {
        return Err("missing module name");
    }
    let word = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    Ok(ModuleRequest { name: word(name), params: word(params.trim_ascii()) })
}

#[cfg(test)]
mod tests {
    use super::{copy, module};
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    fn split(typed: &str, root: &Path) -> (String, Option<String>) {
        let copy = copy(OsStr::new(typed), root).expect("a copy");
        (copy.source.display().to_string(), copy.destination.map(|to| to.display().to_string()))
    }

    #[test]
    fn copy_arguments_are_split_after_an_existing_path() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["plain", "a=b", "x1", "x2"] {
            std::fs::write(dir.path().join(name), "").expect("a file");
        }
        let root = dir.path();
        let to = |text: &str| Some(text.to_owned());
        assert_eq!(split("/plain", root), ("/plain".into(), None));
        assert_eq!(split("/plain=/there", root), ("/plain".into(), to("/there")));
        assert_eq!(split("/plain=/th=ere", root), ("/plain".into(), to("/th=ere")));
        assert_eq!(split("/a=b", root), ("/a=b".into(), None));
        assert_eq!(split("/a=b=/there", root), ("/a=b".into(), to("/there")));
        assert_eq!(split("/x*=/there", root), ("/x*".into(), to("/there")));
        assert_eq!(split("/missing=1=/there", root), ("/missing=1".into(), to("/there")));
        assert!(copy(OsStr::new("/missing="), root).is_err());
        assert!(copy(OsStr::new("=/x"), root).is_err());
        assert!(copy(OsStr::new(""), root).is_err());
    }

    #[test]
    fn module_arguments_are_split_at_the_first_space() {
        let request = module(OsStr::from_bytes(b"loop  max_loop=4 x=\xff ")).expect("a module");
        assert_eq!(request.name, "loop");
        assert_eq!(request.params.as_bytes(), b"max_loop=4 x=\xff");
        assert_eq!(module(OsStr::new("/tmp/my.ko")).expect("a module").params, "");
        assert!(module(OsStr::new("  ")).is_err());
    }
}
