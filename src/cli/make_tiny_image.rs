//! `make-tiny-image`: the command line of the original program for `build`, so that existing scripts work unchanged.
//!
//! Accepts the same options, defaults and argparse rules: long options may be abbreviated if unambiguous, and the last
//! value of a repeated single option is used. Fixes errors of the original: `--copy SRC=DST` copies, a missing item is
//! an error, module names may contain dashes and be followed by parameters.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;

use super::build::{self, Action, Request};
use bootling::format::compression::Compression;
use bootling::{
    root::request::{Copy, KernelRef, ModuleRequest},
    root::spec::{InitrdSpec, RunWhat},
};

/// Builds a tiny initrd from busybox, programs of the host with their libraries, kernel modules and files.
#[derive(Debug, Clone, Parser)]
#[command(name = "make-tiny-image", infer_long_args = true, disable_version_flag = true)]
pub(crate) struct MakeTinyImage {
    /// Image file to write
    #[arg(long, value_name = "FILE", default_value = "tiny-initrd.img", overrides_with = "output")]
    output: PathBuf,
    /// Shell line to run in the guest, followed by a power-off [default: an interactive shell]
    #[arg(long, value_name = "LINE", overrides_with = "run")]
    run: Option<OsString>,
    /// File, directory or glob pattern to include, at its own path or at DST
    #[arg(long, value_name = "SRC[=DST]", value_parser = super::options::copy_parser())]
    copy: Vec<Copy>,
    /// Kernel module to load, with its dependencies
    #[arg(long, value_name = "NAME [PARAM=VALUE...]", value_parser = super::options::module_parser())]
    kmod: Vec<ModuleRequest>,
    /// Kernel release to take modules from [default: the running kernel]
    #[arg(long, value_name = "RELEASE", overrides_with = "kver")]
    kver: Option<OsString>,
    /// Wait for block devices before running the line
    #[arg(long, overrides_with = "blockdevs")]
    blockdevs: bool,
    /// List the contents of the image
    #[arg(long, overrides_with = "verbose")]
    verbose: bool,
    /// Programs to include, by name or path
    #[arg(value_name = "BINARY")]
    binary: Vec<OsString>,
}

/// Settings from the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TinyImage {
    /// Contents of the image.
    pub initrd: InitrdSpec,
    /// Kernel release for the modules; `None` if no module is requested, in which case no kernel need be installed.
    pub kernel: Option<KernelRef>,
    /// Image file.
    pub output: PathBuf,
    /// Number of block devices to wait for.
    pub block_devices: Option<u32>,
    /// True to list the contents.
    pub verbose: bool,
}

impl From<MakeTinyImage> for TinyImage {
    fn from(args: MakeTinyImage) -> Self {
        let kernel = (!args.kmod.is_empty()).then(|| KernelRef::Named(args.kver.unwrap_or_else(running_release)));
        let initrd = InitrdSpec {
            binaries: args.binary,
            copies: args.copy,
            modules: args.kmod,
            run: args.run.map_or(RunWhat::Shell, RunWhat::Line),
            ..InitrdSpec::default()
        };
        // One, since users of the original attach a single disk to inspect.
        let block_devices = args.blockdevs.then_some(1);
        Self { initrd, kernel, output: args.output, block_devices, verbose: args.verbose }
    }
}

/// Runs the verb.
pub(crate) fn run(args: MakeTinyImage, start: Instant) -> anyhow::Result<u8> {
    let image = TinyImage::from(args);
    build::make(&Request {
        spec: image.initrd,
        kernel: image.kernel,
        block_devices: image.block_devices,
        compression: Compression::None,
        deed: Action::Write(&image.output),
        verbose: image.verbose,
        list: image.verbose,
        start,
    })
}

/// `uname -r`.
fn running_release() -> OsString {
    OsStr::from_bytes(rustix::system::uname().release().to_bytes()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::{MakeTinyImage, TinyImage, running_release};
    use bootling::{
        root::request::{Copy, KernelRef, ModuleRequest},
        root::spec::{InitrdSpec, RunWhat},
    };
    use clap::{CommandFactory, Parser};

    fn parse(line: &[&str]) -> Result<TinyImage, clap::Error> {
        MakeTinyImage::try_parse_from([&["make-tiny-image"], line].concat()).map(TinyImage::from)
    }

    #[test]
    fn the_command_line_definition_is_valid() {
        MakeTinyImage::command().debug_assert();
    }

    #[test]
    fn the_default_is_a_shell_in_tiny_initrd_img() {
        let image = parse(&[]).expect("no arguments are required");
        assert_eq!(image.output.to_str(), Some("tiny-initrd.img"));
        assert_eq!(image.initrd, InitrdSpec::default());
        assert_eq!((image.kernel, image.block_devices, image.verbose), (None, None, false));
    }

    #[test]
    fn all_options_are_parsed() {
        let line =
            "--output o.img --copy /a=/b --copy /c --kmod lpc_ich --kver 6.1.0 --blockdevs --verbose date /bin/ls";
        let mut words: Vec<&str> = line.split(' ').collect();
        words.extend(["--run", "cat /proc/cpuinfo", "--kmod", "loop max_loop=4"]);
        let image = parse(&words).expect("accepted by the original");
        let named = |name: &str, params: &str| ModuleRequest { name: name.into(), params: params.into() };
        let copy = |source: &str, to: Option<&str>| Copy { source: source.into(), destination: to.map(Into::into) };
        let initrd = InitrdSpec {
            binaries: vec!["date".into(), "/bin/ls".into()],
            copies: vec![copy("/a", Some("/b")), copy("/c", None)],
            modules: vec![named("lpc_ich", ""), named("loop", "max_loop=4")],
            run: RunWhat::Line("cat /proc/cpuinfo".into()),
            ..InitrdSpec::default()
        };
        let kernel = Some(KernelRef::Named("6.1.0".into()));
        assert_eq!(image, TinyImage { initrd, kernel, output: "o.img".into(), block_devices: Some(1), verbose: true });
    }

    #[test]
    fn argparse_rules_apply() {
        let image =
            parse(&["--out=a", "--r=x y", "--b", "--v", "--outp", "b", "--v", "--", "--odd"]).expect("as argparse");
        assert_eq!(image.output.to_str(), Some("b"), "the last value is used");
        assert_eq!(image.initrd.run, RunWhat::Line("x y".into()));
        assert!(image.verbose && image.block_devices.is_some());
        assert_eq!(image.initrd.binaries, ["--odd"]);
        assert!(parse(&["--k", "x"]).is_err(), "ambiguous: --kmod, --kver");
        assert!(parse(&["--version"]).is_err(), "the original has no such option, and --ver means --verbose");
        assert!(parse(&["--kernel", "x"]).is_err());
    }

    #[test]
    fn modules_are_for_the_running_kernel_by_default() {
        let image = parse(&["--kmod", "loop"]).expect("a module");
        assert_eq!(image.kernel, Some(KernelRef::Named(running_release())));
        // --kver without modules requires nothing, whereas the original requires the modules of that release.
        assert_eq!(parse(&["--kver", "1.2.3"]).expect("a release").kernel, None);
    }
}
