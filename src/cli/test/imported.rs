//! `--kselftest`: tests of existing suites, as the text of a manifest.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::TestArgs;
use crate::cli::output;
use bootling::cache::Cache;
use bootling::suite::import::{install, kselftest};

/// Start of the manifest if none is named.
pub(super) const HEAD: &str = "name = \"kselftest\"\n";

/// Returns the tables of the requested suite; `None` if there is none.
pub(super) fn tests(args: &TestArgs) -> anyhow::Result<Option<String>> {
    let Some(tree) = &args.kselftest else { return Ok(None) };
    let reading = || format!("invalid --kselftest {}", tree.display());
    let installed = installed(args, tree).with_context(reading)?;
    let variable = |name: &str| std::env::var(name).ok();
    kselftest::manifest(&installed, &variable).map(Some).with_context(reading)
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
