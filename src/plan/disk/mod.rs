//! A disk image as numbers: what goes on its EFI system partition, how large that is, where everything stands.
//!
//! Pure: sizes go in, places come out. `write::disk` fills them.

mod contents;
mod fat;
mod layout;
mod tree;

pub use contents::Contents;
pub use fat::{FatKind, Geometry, Profile};
pub use layout::{ALIGNMENT, Layout, LayoutError, Names, Sectors, Span, Wanted};
pub use tree::{EspEntry, EspItem, EspNode, EspTree, TreeError};
