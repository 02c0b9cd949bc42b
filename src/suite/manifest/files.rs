//! `glob`: a test for each file that matches a pattern, in the file's directory.

use std::path::{Path, PathBuf};

use super::name;
use super::table::{Located, Table};
use crate::format::archive_path::ArchivePath;
use crate::root::directory::Root;
use crate::root::glob::{expand, has_wildcard};
use crate::root::spec::RunWhat;

/// Files that match a pattern.
#[derive(Debug, Default)]
pub(super) struct MatchingFiles {
    files: Vec<ArchivePath>,
    /// Number of leading components that are the same in all paths, because they are no patterns.
    fixed: usize,
}

/// A file and the name of its test.
#[derive(Debug)]
pub(super) struct NamedFile {
    /// The path from the first component on that a wildcard matches, with `-` for each slash.
    pub(super) name: String,
    file: ArchivePath,
}

impl NamedFile {
    /// Returns the command that runs the file.
    pub(super) fn command(&self) -> RunWhat {
        RunWhat::Command(vec![self.file.to_absolute().into()])
    }

    /// Returns the file's directory in the guest.
    pub(super) fn directory(&self) -> PathBuf {
        self.file.parent().unwrap_or_default().to_absolute()
    }
}

/// Reads `glob`. Returns `None` if the key is absent, and records an error if no file matches.
pub(super) fn read(keys: &mut Table<'_, '_>, sysroot: &Path, folder: &Path) -> Option<MatchingFiles> {
    let document = keys.document();
    let Located { value, span } = keys.located_text("glob")?;
    let found = find(&value, sysroot, folder).and_then(|found| match &found.files[..] {
        [] => Err(format!("no file matches {value:?}")),
        [..] => Ok(found),
    });
    Some(found.unwrap_or_else(|error| {
        document.error(&span, format!("glob: {error}"));
        MatchingFiles::default()
    }))
}

fn find(pattern: &str, sysroot: &Path, folder: &Path) -> Result<MatchingFiles, String> {
    let root = Root::new(sysroot).map_err(|error| error.to_string())?;
    let absolute = std::path::absolute(folder.join(pattern)).map_err(|error| error.to_string())?;
    let pattern = root.typed(&absolute);
    let mut files = expand(&root, &pattern).map_err(|error| match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })?;
    files.retain(|path| root.find(path).is_some_and(|found| found.metadata.is_file()));
    let components = pattern.as_bytes().split(|byte| *byte == b'/');
    Ok(MatchingFiles { files, fixed: components.take_while(|part| !has_wildcard(part)).count() })
}

impl MatchingFiles {
    /// Returns the files in name order. With a prefix, names start with `PREFIX-`.
    pub(super) fn named(self, prefix: &str) -> impl Iterator<Item = NamedFile> {
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}-") };
        self.files.into_iter().map(move |file| {
            let path = String::from_utf8_lossy(file.as_bytes()).into_owned();
            let components: Vec<&str> = path.split('/').collect();
            let own = components[self.fixed.min(components.len() - 1)..].join("-");
            let allowed = |letter: char| if name::is_name_letter(letter) { letter } else { '_' };
            NamedFile { name: format!("{prefix}{}", own.chars().map(allowed).collect::<String>()), file }
        })
    }
}
