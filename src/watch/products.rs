//! Which of the files that look like sources a build writes itself.
//!
//! Where nothing tells git to ignore them, object files and programs stand among the sources, and a build changes them
//! each time. Who wrote a file cannot be told; but a build that has just built everything writes nothing, and one that
//! writes a file whenever it runs does it again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Files that a build writes.
#[derive(Debug, Clone, Default)]
pub struct Products(BTreeSet<PathBuf>);

impl Products {
    /// Whether changes of `path` while the build runs are its own.
    pub fn contains(&self, path: &Path) -> bool {
        self.0.contains(path)
    }

    /// The build wrote these.
    pub fn learn(&mut self, paths: impl IntoIterator<Item = PathBuf>) {
        self.0.extend(paths);
    }

    /// Somebody else wrote these.
    pub fn forget<'a>(&mut self, paths: impl IntoIterator<Item = &'a PathBuf>) {
        for path in paths {
            self.0.remove(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Products;
    use std::path::{Path, PathBuf};

    #[test]
    fn what_somebody_else_writes_is_no_product_any_more() {
        let mut products = Products::default();
        let path = PathBuf::from("a.o");
        products.learn([path.clone(), PathBuf::from("b.o")]);
        products.forget([&path]);
        assert!(!products.contains(&path));
        assert!(products.contains(Path::new("b.o")));
    }
}
