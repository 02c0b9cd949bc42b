//! Layout of a disk image: the files of its EFI system partition, the FAT geometry, and the offsets of all parts.
//!
//! Pure: computes offsets from sizes. `write::disk` writes the contents.

mod contents;
mod fat;
mod layout;
mod tree;

pub use contents::Contents;
pub use fat::{FatKind, Geometry, Profile};
pub use layout::{ALIGNMENT, Layout, LayoutError, Names, Sectors, Span, Wanted};
pub use tree::{EspEntry, EspItem, EspNode, EspTree, TreeError};
