//! `make-tiny-image`: the ancestor's command line as it stands, so that its users' scripts run unchanged.
//!
//! Every option, its default and argparse's habits are kept: long options may be shortened where that is unambiguous,
//! a repeated single option's last value counts. What the ancestor got wrong is done right: `--copy SRC=DST` copies,
//! a missing item is an error, module names may be written with dashes and carry parameters.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;

use super::build::{self, Deed, Request};
use bootling::format::compression::Compression;
use bootling::{
    initrd::spec::{InitrdSpec, RunWhat},
    root::request::{Copy, KernelRef, ModuleRequest},
};

/// Builds a tiny initrd: busybox, programs of this machine with their libraries, kernel modules, files.
#[derive(Debug, Clone, Parser)]
#[command(name = "make-tiny-image", infer_long_args = true, disable_version_flag = true)]
pub struct MakeTinyImage {
    /// The image to write
    #[arg(long, value_name = "FILE", default_value = "tiny-initrd.img", overrides_with = "output")]
    output: PathBuf,
    /// A shell line to run in the guest, which powers off after it [default: an interactive shell]
    #[arg(long, value_name = "LINE", overrides_with = "run")]
    run: Option<OsString>,
    /// A file, directory or pattern to include, at another place where DST is given
    #[arg(long, value_name = "SRC[=DST]", value_parser = super::options::copy_parser())]
    copy: Vec<Copy>,
    /// A kernel module to load, after all it depends on
    #[arg(long, value_name = "NAME [PARAM=VALUE...]", value_parser = super::options::module_parser())]
    kmod: Vec<ModuleRequest>,
    /// The kernel release to take modules from [default: the running kernel's]
    #[arg(long, value_name = "RELEASE", overrides_with = "kver")]
    kver: Option<OsString>,
    /// Wait for block devices before the line runs
    #[arg(long, overrides_with = "blockdevs")]
    blockdevs: bool,
    /// Say what goes into the image
    #[arg(long, overrides_with = "verbose")]
    verbose: bool,
    /// Programs to include, by name or path
    #[arg(value_name = "BINARY")]
    binary: Vec<OsString>,
}

/// What that command line means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TinyImage {
    /// The image's content.
    pub initrd: InitrdSpec,
    /// The kernel whose modules are meant, a release; `None` where no module is asked for, and none need exist.
    pub kernel: Option<KernelRef>,
    /// Where the image goes.
    pub output: PathBuf,
    /// Block devices to wait for.
    pub block_devices: Option<u32>,
    /// Whether to say what goes in.
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
        // One: the ancestor's users attach the disk they mean to look at.
        let block_devices = args.blockdevs.then_some(1);
        Self { initrd, kernel, output: args.output, block_devices, verbose: args.verbose }
    }
}

/// Runs the verb.
pub fn run(args: MakeTinyImage, start: Instant) -> anyhow::Result<u8> {
    let image = TinyImage::from(args);
    build::make(&Request {
        spec: image.initrd,
        kernel: image.kernel,
        block_devices: image.block_devices,
        compression: Compression::None,
        deed: Deed::Write(&image.output),
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
        initrd::spec::{InitrdSpec, RunWhat},
        root::request::{Copy, KernelRef, ModuleRequest},
    };
    use clap::{CommandFactory, Parser};

    fn parse(line: &[&str]) -> Result<TinyImage, clap::Error> {
        MakeTinyImage::try_parse_from([&["make-tiny-image"], line].concat()).map(TinyImage::from)
    }

    #[test]
    fn clap_finds_nothing_wrong_with_it() {
        MakeTinyImage::command().debug_assert();
    }

    #[test]
    fn without_arguments_it_is_a_shell_in_tiny_initrd_img() {
        let image = parse(&[]).expect("no argument is needed");
        assert_eq!(image.output.to_str(), Some("tiny-initrd.img"));
        assert_eq!(image.initrd, InitrdSpec::default());
        assert_eq!((image.kernel, image.block_devices, image.verbose), (None, None, false));
    }

    #[test]
    fn every_option_arrives() {
        let line =
            "--output o.img --copy /a=/b --copy /c --kmod lpc_ich --kver 6.1.0 --blockdevs --verbose date /bin/ls";
        let mut words: Vec<&str> = line.split(' ').collect();
        words.extend(["--run", "cat /proc/cpuinfo", "--kmod", "loop max_loop=4"]);
        let image = parse(&words).expect("the ancestor takes it");
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
    fn argparse_habits_are_kept() {
        let image =
            parse(&["--out=a", "--r=x y", "--b", "--v", "--outp", "b", "--v", "--", "--odd"]).expect("as argparse");
        assert_eq!(image.output.to_str(), Some("b"), "the last one counts");
        assert_eq!(image.initrd.run, RunWhat::Line("x y".into()));
        assert!(image.verbose && image.block_devices.is_some());
        assert_eq!(image.initrd.binaries, ["--odd"]);
        assert!(parse(&["--k", "x"]).is_err(), "--kmod or --kver?");
        assert!(parse(&["--version"]).is_err(), "no such option there, and --ver is --verbose");
        assert!(parse(&["--kernel", "x"]).is_err());
    }

    #[test]
    fn modules_are_the_running_kernels_unless_told_otherwise() {
        let image = parse(&["--kmod", "loop"]).expect("a module");
        assert_eq!(image.kernel, Some(KernelRef::Named(running_release())));
        // A release alone asks for nothing: the ancestor insists on its modules being there.
        assert_eq!(parse(&["--kver", "1.2.3"]).expect("a release").kernel, None);
    }
}
