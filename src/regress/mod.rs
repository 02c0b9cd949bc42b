//! Regressions: what is different between two runs ([`compare`]), a run that somebody else can repeat ([`bundle`]), and
//! since when something is broken ([`bisect`]).

pub mod bisect;
pub mod bundle;
pub mod compare;
