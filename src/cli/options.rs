//! Values of options that several verbs share.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::spec::{Copy, ModuleRequest};

/// `SRC[=DST]`.
pub(super) fn copy(text: &str) -> Result<Copy, String> {
    let (source, destination) = text.split_once('=').map_or((text, None), |(source, to)| (source, Some(to)));
    if source.is_empty() || destination == Some("") {
        return Err("neither SRC nor DST may be empty".to_owned());
    }
    Ok(Copy { source: PathBuf::from(source), destination: destination.map(PathBuf::from) })
}

/// `NAME [PARAM=VALUE...]`.
pub(super) fn module(text: &str) -> Result<ModuleRequest, String> {
    let mut words = text.split_whitespace();
    let name = words.next().ok_or("a module has a name")?;
    Ok(ModuleRequest { name: OsString::from(name), params: words.collect::<Vec<_>>().join(" ").into() })
}
