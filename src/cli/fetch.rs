//! `bootling fetch`: downloads a kernel, or the packages of a root, and prints the path.

use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::output;
use super::reporter::Reporter;
use bootling::arch::Arch;
use bootling::cache::Cache;
use bootling::guest::Listener as _;
use bootling::root::fetch::{Fetch, KernelPackage, Packages, RootPackages};

/// Fetch a kernel or a root with the host's apt, for any architecture and without root, and print its path
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bootling fetch kernel                                   Debian's default kernel
  bootling fetch kernel cloud                             linux-image-cloud-ARCH
  bootling fetch kernel --arch arm64 6.12
  bootling fetch root --arch arm64 bash coreutils iproute2
  bootling run --kernel \"$(bootling fetch kernel --arch arm64)\" \\
               --sysroot \"$(bootling fetch root --arch arm64)\" -- uname -m

Packages come from the sources in /etc/apt, and apt verifies their signatures; the host's own package
state is neither used nor changed. Results are kept in the cache: a second call needs no network.
Maintainer scripts do not run.
")]
pub(crate) struct FetchArgs {
    #[command(subcommand)]
    what: What,
}

/// Packages to fetch.
#[derive(Debug, Subcommand)]
enum What {
    /// Fetch the package of a kernel
    Kernel {
        #[command(flatten)]
        options: Options,
        /// A package (linux-image-...), or what differs from the default: `cloud`, `6.12`, `rt`. Default: the newest
        /// kernel of the distribution
        #[arg(value_name = "NAME", default_value = "", hide_default_value = true)]
        name: String,
    },
    /// Fetch packages and all that they depend on, and unpack them into a directory for --sysroot
    Root {
        #[command(flatten)]
        options: Options,
        /// Packages. Default: bash, busybox-static and coreutils. busybox-static is always added
        #[arg(value_name = "PACKAGE")]
        packages: Vec<String>,
    },
}

/// Options of both actions.
#[derive(Debug, Args)]
struct Options {
    /// Architecture: `x86_64`, `aarch64` (also amd64, arm64), or any other of Debian's. Default: this host's
    #[arg(long, value_name = "ARCH", value_parser = Arch::parse)]
    arch: Option<Arch>,
    /// Fetch again, even if the cache has it
    #[arg(long)]
    refresh: bool,
    /// Print only the path, and errors
    #[arg(long, short)]
    quiet: bool,
}

/// Runs the verb.
pub(crate) fn run(args: &FetchArgs) -> anyhow::Result<u8> {
    let (options, wanted) = match &args.what {
        What::Kernel { options, name } => (options, Packages::Kernel(KernelPackage::parse(name)?)),
        What::Root { options, packages } => {
            (options, Packages::Root(RootPackages::new(packages.iter().map(String::as_str))?))
        }
    };
    let cache = Cache::open()?;
    if let Some(error) = cache.unwritable() {
        return Err(output::advise(error, "what is fetched is kept in the cache; set BOOTLING_CACHE_DIR"));
    }
    let arch = options.arch.or(Arch::host()).context("unknown host architecture: use --arch")?;
    let mut reporter = Reporter::new(options.quiet);
    let fetch = Fetch { arch, cache: &cache, refresh: options.refresh };
    let path = fetch.get(&wanted, &mut |doing| reporter.progress(doing)).map_err(output::advised)?;
    drop(reporter);
    let mut out = output::content();
    out.write_all(path.as_os_str().as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush())?;
    Ok(0)
}
