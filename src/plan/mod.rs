//! From facts to a checked map: archive path to entry, with parents, without conflicts.
