//! Regressions: compare two runs ([`compare`]), pack a reproducible run ([`bundle`]), find the first bad kernel
//! ([`bisect`]).

pub mod bisect;
pub mod bundle;
pub mod compare;
