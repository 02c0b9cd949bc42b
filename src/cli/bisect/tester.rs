//! Runs one guest of a candidate.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::cli::output;
use crate::cli::run::RunArgs;
use crate::cli::run_options::{self, RunOptions, Typed};
use bootling::guest::{self, Output, RunSpec, Silent, VmError};
use bootling::process::signals::Signals;
use bootling::regress::bisect::{Attempt, Candidate, NotTested};
use bootling::root::kernel::KernelError;

/// Tests a candidate in one guest. `tree` is the work tree with the candidate's commit; without it, the candidate is a
/// kernel file.
pub(crate) fn test(
    options: &RunOptions,
    tree: Option<&Path>,
    candidate: &Candidate,
    signals: &mut Signals,
) -> Result<Attempt, NotTested> {
    let failed = |error: anyhow::Error| NotTested::Failed(error.into_boxed_dyn_error());
    let run = run_args(options, tree, candidate).map_err(|error| failed(error.into()))?;
    let spec = run.spec(false).map_err(failed)?;
    guest(&run, &spec, signals).map_err(|error| match error {
        // The build succeeded, but produced no usable kernel.
        VmError::Kernel(error) if !matches!(error, KernelError::Fetch(_)) => {
            NotTested::NoKernel(output::one_line(&error.into()).replace('\n', " "))
        }
        error => failed(output::advised(error)),
    })
}

/// Returns the run options for a candidate.
fn run_args(options: &RunOptions, tree: Option<&Path>, candidate: &Candidate) -> Result<RunArgs, clap::Error> {
    let (mut kernel, mut typed) = (None, Vec::new());
    for option in &options.typed {
        let value = option.value.as_ref().map(|value| with_tree(value, tree));
        if option.long == "kernel" {
            kernel = value;
        } else {
            typed.push(Typed { value, ..option.clone() });
        }
    }
    let kernel: OsString = match tree {
        Some(tree) => kernel.map_or_else(|| tree.to_owned(), |kernel| tree.join(kernel)).into(),
        None => candidate.id.clone().into(),
    };
    typed.push(Typed { long: "kernel".to_owned(), place: 0, value: Some(kernel), is_list: false });
    let command: Vec<OsString> = options.command.iter().map(|word| with_tree(word, tree)).collect();
    run_options::read(&typed, &command)
}

/// Runs one guest. A signal ends the guest.
fn guest(run: &RunArgs, spec: &RunSpec, signals: &mut Signals) -> Result<Attempt, VmError> {
    let options = guest::RunOptions { signals: Some(signals), ..run.recorded(Vec::new(), 0) };
    let output: Output = guest::run(spec, options, &mut Silent)?.into();
    Ok(Attempt { booted: output.hello.is_some(), outcome: output.outcome, console: output.console })
}

/// Replaces `{tree}` in an argument by the path of the tree, byte for byte.
fn with_tree(word: &OsStr, tree: Option<&Path>) -> OsString {
    const TREE: &[u8] = b"{tree}";
    let (Some(tree), mut rest) = (tree, word.as_bytes()) else { return word.to_owned() };
    let mut bytes = Vec::new();
    while let Some(at) = rest.windows(TREE.len()).position(|window| window == TREE) {
        bytes.extend_from_slice(&rest[..at]);
        bytes.extend_from_slice(tree.as_os_str().as_bytes());
        rest = &rest[at + TREE.len()..];
    }
    bytes.extend_from_slice(rest);
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::with_tree;
    use std::ffi::OsStr;
    use std::path::Path;

    #[test]
    fn the_tree_is_put_in_wherever_it_is_named() {
        let put = |word: &str| with_tree(OsStr::new(word), Some(Path::new("/t")));
        assert_eq!(put("{tree}/a={tree}"), "/t/a=/t");
        assert_eq!(put("{tre}{tree"), "{tre}{tree");
        assert_eq!(with_tree(OsStr::new("{tree}"), None), "{tree}");
    }
}
