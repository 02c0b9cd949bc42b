//! Values of options that several verbs share.

use std::path::PathBuf;

use clap::builder::TypedValueParser;

use crate::spec::{Copy, ModuleRequest};

/// `SRC[=DST]`.
pub fn copy_parser() -> impl TypedValueParser<Value = Copy> {
    clap::builder::NonEmptyStringValueParser::new().map(|text| {
        let (source, destination) = text.split_once('=').map_or((text.as_str(), None), |(from, to)| (from, Some(to)));
        Copy { source: PathBuf::from(source), destination: destination.map(PathBuf::from) }
    })
}

/// `NAME [PARAM=VALUE...]`.
pub fn module_parser() -> impl TypedValueParser<Value = ModuleRequest> {
    clap::builder::NonEmptyStringValueParser::new().map(|text| {
        let (name, params) = text.split_once(' ').unwrap_or((text.as_str(), ""));
        ModuleRequest { name: name.into(), params: params.into() }
    })
}
