//! The repository's own Rust files, read as text.

use std::fs;
use std::path::{Path, PathBuf};

/// One Rust file.
pub struct Source {
    /// Its path below the repository's root.
    pub path: PathBuf,
    /// All of it.
    pub text: String,
}

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below `folder`, sorted. A folder that is not there has none.
pub fn below(folder: &str) -> Vec<Source> {
    let mut found: Vec<Source> = walkdir::WalkDir::new(root().join(folder))
        .sort_by_file_name()
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file() && entry.path().extension().is_some_and(|ext| ext == "rs"))
        .map(|entry| Source {
            path: entry.path().strip_prefix(root()).expect("walked from there").to_owned(),
            text: fs::read_to_string(entry.path()).expect("a source file is readable text"),
        })
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}
