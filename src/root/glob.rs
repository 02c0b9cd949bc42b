//! Shell patterns below a root: `*`, `?`, `[...]` within a component, `**` across components.
//!
//! Matching uses the glob crate; walking does not, because the crate's own walk leaves the root through absolute links
//! and silently skips names that are not UTF-8. As in a shell, a leading dot must be matched by a dot.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use glob::{MatchOptions, Pattern, PatternError};

use super::directory::{Root, RootError};
use crate::format::archive_path::ArchivePath;

const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// Failure to expand a pattern.
#[derive(Debug, thiserror::Error)]
pub enum GlobError {
    /// The pattern is invalid.
    #[error("invalid pattern {pattern}")]
    Pattern {
        /// The invalid component.
        pattern: String,
        /// The underlying error.
        source: PatternError,
    },
    /// A directory cannot be read.
    #[error(transparent)]
    Root(#[from] RootError),
}

/// Returns true if a path contains pattern characters.
pub(crate) fn is_pattern(path: &ArchivePath) -> bool {
    has_wildcard(path.as_bytes())
}

/// Returns true if a component contains pattern characters.
pub(crate) fn has_wildcard(part: &[u8]) -> bool {
    part.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

/// Returns every matching path, sorted by bytes. Last components are not followed.
pub(crate) fn expand(root: &Root, pattern: &ArchivePath) -> Result<Vec<ArchivePath>, GlobError> {
    let parts: Vec<&[u8]> = pattern.as_bytes().split(|byte| *byte == b'/').collect();
    let mut found = Vec::new();
    descend(root, &ArchivePath::default(), &parts, &mut found)?;
    found.sort();
    found.dedup();
    Ok(found)
}

fn descend(root: &Root, at: &ArchivePath, parts: &[&[u8]], found: &mut Vec<ArchivePath>) -> Result<(), GlobError> {
    let Some((part, rest)) = parts.split_first() else {
        found.push(at.clone());
        return Ok(());
    };
    if !has_wildcard(part) {
        let next = at.join(OsStr::from_bytes(part));
        if root.exists(&next) {
            descend(root, &next, rest, found)?;
        }
        return Ok(());
    }
    if *part == b"**" {
        descend(root, at, rest, found)?;
    }
    let written = String::from_utf8_lossy(part);
    let pattern = Pattern::new(&written)
        .map_err(|source| GlobError::Pattern { pattern: written.clone().into_owned(), source })?;
    if !root.find(at).is_some_and(|dir| dir.metadata.is_dir()) {
        return Ok(());
    }
    for name in root.list(at)? {
        if !pattern.matches_with(&name.to_string_lossy(), OPTIONS) {
            continue;
        }
        let next = at.join(&name);
        if *part == b"**" {
            // Links are not followed across components, to avoid loops.
            if root.is_real_dir(&next) {
                descend(root, &next, parts, found)?;
            } else if rest.is_empty() {
                found.push(next);
            }
        } else {
            descend(root, &next, rest, found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{GlobError, expand};
    use crate::format::archive_path::ArchivePath;
    use crate::root::directory::Root;
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    #[test]
    fn patterns_match_within_the_root_and_names_need_not_be_utf8() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir_all(dir.path().join("usr/lib/deep/er")).expect("directories");
        symlink("/usr/lib", dir.path().join("lib")).expect("a link");
        for name in [b"a.conf".as_slice(), b"b\xff.conf", b".hidden.conf", b"c.txt", b"deep/er/d.conf"] {
            fs::write(dir.path().join("usr/lib").join(OsStr::from_bytes(name)), b"").expect("a file");
        }
        let root = Root::new(dir.path()).expect("a root");
        let names = |pattern: &str| -> Vec<Vec<u8>> {
            let found = expand(&root, &ArchivePath::new(pattern)).expect("a pattern");
            found.iter().map(|path| path.as_bytes().to_vec()).collect()
        };
        assert_eq!(names("/lib/*.conf"), [b"lib/a.conf".to_vec(), b"lib/b\xff.conf".to_vec()]);
        assert_eq!(names("/lib/.h*"), [b"lib/.hidden.conf".to_vec()]);
        assert_eq!(names("/usr/**/d.conf"), [b"usr/lib/deep/er/d.conf".to_vec()]);
        assert_eq!(names("/usr/[a-l]ib/c.???"), [b"usr/lib/c.txt".to_vec()]);
        assert_eq!(names("/nothing/*"), Vec::<Vec<u8>>::new());
        assert!(matches!(expand(&root, &ArchivePath::new("/usr/[a")), Err(GlobError::Pattern { .. })));
    }
}
