//! The Rust files of this repository, read as text.

use std::fs;
use std::path::{Path, PathBuf};

/// A Rust file.
pub(crate) struct Source {
    /// Path relative to the repository root.
    pub path: PathBuf,
    /// Contents of the file.
    pub text: String,
}

/// Returns the repository root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns all Rust files below `folder`, sorted; none if the directory does not exist.
pub(crate) fn below(folder: &str) -> Vec<Source> {
    let mut found: Vec<Source> = walkdir::WalkDir::new(root().join(folder))
        .sort_by_file_name()
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file() && entry.path().extension().is_some_and(|ext| ext == "rs"))
        .map(|entry| Source {
            path: entry.path().strip_prefix(root()).expect("below the root").to_owned(),
            text: fs::read_to_string(entry.path()).expect("a source file is readable text"),
        })
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}
