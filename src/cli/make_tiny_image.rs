//! `make-tiny-image`: the command line of the original program for `build`, so that existing scripts work unchanged.
//!
//! Accepts the same options, defaults and argparse rules: long options may be abbreviated if unambiguous, and the last
//! value of a repeated single option is used. Fixes errors of the original: `--copy SRC=DST` copies, a missing item is
//! an error, module names may contain dashes and be followed by parameters.
//!
//! Also accepts the form of the post that introduced the program, which ends in the image file and the kernel release
//! without options: `make-tiny-image --run poweroff tiny-initrd.img 6.0.8-300.fc37.x86_64`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;

use super::build::{self, Action, Request};
use super::output;
use bootling::format::compression::Compression;
use bootling::root::{directory::Root, userland};
use bootling::{
    root::request::{Copy, KernelRef, ModuleRequest},
    root::spec::{InitrdSpec, RunWhat},
};

/// Builds a tiny initrd from busybox, programs of the host with their libraries, kernel modules and files.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "make-tiny-image",
    infer_long_args = true,
    disable_version_flag = true,
    override_usage = "make-tiny-image [OPTIONS] [BINARY]... [[OUTPUT] KVER]",
    after_help = "The last argument is the kernel release (KVER) if it is a release and not a program; the argument before it is
then the image file (OUTPUT) if it is not a program. A program takes precedence, with a note. Without modules
the release is not used, and need not be installed.

Examples:
  make-tiny-image --run 'cat /proc/cpuinfo'
  make-tiny-image --kmod iTCO_wdt --kver 6.1.0-56-amd64 --output wd.img
  make-tiny-image hwloc-info lstopo-no-graphics tiny-initrd.img 6.0.8-300.fc37.x86_64
"
)]
pub(crate) struct MakeTinyImage {
    /// Image file to write [default: tiny-initrd.img]
    #[arg(long, value_name = "FILE", overrides_with = "output")]
    output: Option<PathBuf>,
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
    /// Take programs, modules and files from the system below DIR instead of the host
    #[arg(long, value_name = "DIR", overrides_with = "sysroot")]
    sysroot: Option<PathBuf>,
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
    /// Notes on arguments with two readings.
    pub notes: Vec<String>,
}

/// The image file and the kernel release at the end of the arguments, if present.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tail {
    output: Option<PathBuf>,
    kver: Option<OsString>,
    notes: Vec<String>,
}

impl Tail {
    /// Removes KVER, and OUTPUT before it, from the end of `words`. `has_output`: an option names the image file.
    /// `is_program` looks a word up as a program.
    fn take(words: &mut Vec<OsString>, has_output: bool, is_program: &dyn Fn(&OsStr) -> bool) -> Self {
        let mut tail = Self::default();
        let Some(last) = words.last().filter(|word| looks_like_release(word)) else { return tail };
        let release = last.display();
        if is_program(last) {
            tail.notes.push(format!("{release} is included as a program; --kver {release} selects the kernel release"));
            return tail;
        }
        tail.kver = words.pop();
        match words.last() {
            Some(before) if is_program(before) => {
                if !has_output {
                    let before = before.display();
                    let note = format!("{before} is included as a program; --output {before} names the image file");
                    tail.notes.push(note);
                }
            }
            Some(_) if !has_output => tail.output = words.pop().map(PathBuf::from),
            Some(_) | None => {}
        }
        tail
    }
}

/// Returns true if the word has the form of a kernel release: it starts with two numbers.
fn looks_like_release(word: &OsStr) -> bool {
    let is_name = |text: &&str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    let Some(text) = word.to_str().filter(is_name) else { return false };
    let mut parts = text.split('.');
    let major = parts.next().is_some_and(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    major && parts.next().is_some_and(|part| part.starts_with(|first: char| first.is_ascii_digit()))
}

impl TinyImage {
    /// Converts the command line. `is_program` looks a word up as a program.
    fn new(mut args: MakeTinyImage, is_program: &dyn Fn(&OsStr) -> bool) -> Self {
        let tail = match &args.kver {
            Some(_) => Tail::default(),
            None => Tail::take(&mut args.binary, args.output.is_some(), is_program),
        };
        let release = || args.kver.or(tail.kver).unwrap_or_else(running_release);
        let kernel = (!args.kmod.is_empty()).then(|| KernelRef::Named(release()));
        let initrd = InitrdSpec {
            binaries: args.binary,
            copies: args.copy,
            modules: args.kmod,
            run: args.run.map_or(RunWhat::Shell, RunWhat::Line),
            root: args.sysroot.unwrap_or_else(|| PathBuf::from("/")),
            ..InitrdSpec::default()
        };
        // One device: users of the original attach a single disk to inspect.
        let block_devices = args.blockdevs.then_some(1);
        let output = args.output.or(tail.output).unwrap_or_else(|| PathBuf::from("tiny-initrd.img"));
        Self { initrd, kernel, output, block_devices, verbose: args.verbose, notes: tail.notes }
    }
}

/// Runs the verb.
pub(crate) fn run(args: MakeTinyImage, start: Instant) -> anyhow::Result<u8> {
    let root = Root::new(args.sysroot.as_deref().unwrap_or(Path::new("/")))?;
    let image = TinyImage::new(args, &|word| userland::is_program(&root, word));
    for note in &image.notes {
        output::note(note);
    }
    build::make(&Request {
        spec: image.initrd,
        kernel: image.kernel,
        block_devices: image.block_devices,
        compression: Compression::None,
        action: Action::Write(&image.output),
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
    use super::{MakeTinyImage, TinyImage, looks_like_release, running_release};
    use bootling::{
        root::request::{Copy, KernelRef, ModuleRequest},
        root::spec::{InitrdSpec, RunWhat},
    };
    use clap::{CommandFactory, Parser};
    use std::ffi::OsStr;

    fn parse(line: &[&str]) -> Result<TinyImage, clap::Error> {
        let is_program = |word: &OsStr| PROGRAMS.iter().any(|program| word == *program);
        MakeTinyImage::try_parse_from([&["make-tiny-image"], line].concat())
            .map(|args| TinyImage::new(args, &is_program))
    }

    /// Words that are programs in these tests.
    const PROGRAMS: [&str; 6] = ["date", "/bin/ls", "--odd", "hwloc-info", "lstopo-no-graphics", "2.6"];
    const KVER: &str = "6.0.8-300.fc37.x86_64";

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
        assert_eq!(
            image,
            TinyImage {
                initrd,
                kernel,
                output: "o.img".into(),
                block_devices: Some(1),
                verbose: true,
                notes: Vec::new()
            }
        );
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

    /// Output, programs and `--run` of a command line that ends in OUTPUT and KVER.
    fn of_the_post(line: &[&str]) -> (String, Vec<String>, TinyImage) {
        let image = parse(line).expect("a command line of the post");
        let words = image.initrd.binaries.iter().map(|word| word.display().to_string()).collect();
        assert_eq!(image.notes, [""; 0]);
        (image.output.display().to_string(), words, image)
    }

    #[test]
    fn the_command_lines_of_the_post_end_in_output_and_kver() {
        for rest in
            [&[][..], &["--run", "poweroff"], &["--run", "cat /proc/cpuinfo"], &["--copy", "/etc/redhat-release"]]
        {
            let (output, words, image) = of_the_post(&[rest, &["my.img", KVER]].concat());
            assert_eq!((output.as_str(), words.len(), image.kernel), ("my.img", 0, None));
        }
        let (output, words, _) = of_the_post(&["hwloc-info", "lstopo-no-graphics", "tiny-initrd.img", KVER]);
        assert_eq!(words, ["hwloc-info", "lstopo-no-graphics"]);
        assert_eq!(output, "tiny-initrd.img");
        let modules = ["--kmod", "lpc_ich", "--kmod", "iTCO_wdt", "--kmod", "i2c_i801", "tiny-initrd.img", KVER];
        let (_, words, image) = of_the_post(&modules);
        assert_eq!((words.len(), image.initrd.modules.len()), (0, 3));
        assert_eq!(image.kernel, Some(KernelRef::Named(KVER.into())));
    }

    #[test]
    fn a_program_takes_precedence_over_output_and_kver_with_a_note() {
        let image = parse(&["date", "2.6"]).expect("two programs");
        assert_eq!(image.initrd.binaries, ["date", "2.6"]);
        assert_eq!(image.notes, ["2.6 is included as a program; --kver 2.6 selects the kernel release"]);
        let image = parse(&["date", "--kmod", "loop", KVER]).expect("a program and a release");
        assert_eq!((image.initrd.binaries.len(), image.output.to_str()), (1, Some("tiny-initrd.img")));
        assert_eq!(image.kernel, Some(KernelRef::Named(KVER.into())));
        assert_eq!(image.notes, ["date is included as a program; --output date names the image file"]);
        // Options are unambiguous, and a missing program stays an error.
        let image = parse(&["--output", "o", "date", KVER]).expect("an option and a release");
        assert_eq!((image.output.to_str(), image.notes.len()), (Some("o"), 0));
        let image = parse(&["--output", "o", "missing", KVER]).expect("a missing program");
        assert_eq!(image.initrd.binaries, ["missing"]);
        let image = parse(&["--kver", "1.2.3", "x.img", KVER]).expect("two missing programs");
        assert_eq!(image.initrd.binaries, ["x.img", KVER]);
    }

    #[test]
    fn a_release_starts_with_two_numbers() {
        for release in [KVER, "6.1.0-56-amd64", "6.12-rc3+", "7.0"] {
            assert!(looks_like_release(OsStr::new(release)), "{release}");
        }
        for word in ["7z", "7za.img", "6", "x.6.1", "tiny-initrd.img", "6./x", "", ".5", "2to3-3.11"] {
            assert!(!looks_like_release(OsStr::new(word)), "{word}");
        }
    }
}
