//! From a transcript to an outcome, and from an outcome to the one exit code.
