//! From a checked plan to bytes.
