//! `--kselftest` and `--kunit`: tests of existing suites, as the text of a manifest.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::TestArgs;
use crate::cli::output;
use bootling::cache::Cache;
use bootling::suite::import::{ImportError, install, kselftest, kunit};
use bootling::suite::manifest::{self, Origin};

/// Returns the start of the manifest if none is named.
pub(super) fn head(args: &TestArgs) -> &'static str {
    if args.kunit { "name = \"kunit\"\n" } else { "name = \"kselftest\"\n" }
}

/// Returns true if the tests of another suite are requested.
pub(super) fn is_requested(args: &TestArgs) -> bool {
    args.kselftest.is_some() || args.kunit
}

/// Returns the tables of the requested suite; `None` if there is none. `text` is the manifest that they are added to.
pub(super) fn tests(args: &TestArgs, text: &str, origin: Origin<'_>) -> anyhow::Result<Option<String>> {
    if args.kunit {
        return kunit(args, text, origin).map(Some);
    }
    let Some(tree) = &args.kselftest else { return Ok(None) };
    let reading = || format!("invalid --kselftest {}", tree.display());
    let installed = installed(args, tree).with_context(reading)?;
    let variable = |name: &str| std::env::var(name).ok();
    kselftest::manifest(&installed, &variable).map(Some).with_context(reading)
}

/// Returns the tables of the `KUnit` tests of the selected kernels.
fn kunit(args: &TestArgs, text: &str, origin: Origin<'_>) -> anyhow::Result<String> {
    let reading = || format!("failed to read {}", origin.file);
    let mut kernels = manifest::kernels(text, origin).map_err(|error| anyhow::anyhow!("{}\n{error}", reading()))?;
    super::apply_environment(&mut kernels);
    let selected = args.selection.filter(&[]).kernels;
    // The plan reports names that no kernel has.
    if kernels.iter().any(|kernel| selected.contains(&kernel.name)) {
        kernels.retain(|kernel| selected.contains(&kernel.name));
    }
    let found = kunit::manifest(&kernels, origin.folder, &args.execution.overrides(), &mut |note| output::note(note));
    found.map_err(|error| match error {
        ImportError::NoKunit { advice, .. } => output::advise(anyhow::Error::from(error), advice),
        error => error.into(),
    })
}

/// Returns the installed tree, and installs it first if DIR is a kernel tree.
fn installed(args: &TestArgs, tree: &Path) -> anyhow::Result<PathBuf> {
    if tree.join(kselftest::LIST).exists() || !install::is_kernel_tree(tree) {
        return Ok(tree.to_owned());
    }
    let collections = args.selection.collections();
    let what = if collections.is_empty() { "all selftests".to_owned() } else { collections.join(", ") };
    output::note(&format!("building {what} of {}", tree.display()));
    Ok(install::install(tree, &collections, &Cache::open()?, args.verbose)?)
}
