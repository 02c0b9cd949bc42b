//! Manifests that tests type.

use std::path::Path;

use crate::spec::test::{Origin, TestSpec};

/// A manifest without a mistake, in no folder.
pub fn spec(text: &str) -> TestSpec {
    TestSpec::parse(text, Origin { file: "bootling.toml", folder: Path::new(""), kernels: &[] }).expect("a manifest")
}
