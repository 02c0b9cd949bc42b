//! A disk image as numbers: what goes on its EFI system partition, how large that is, where everything stands.
//!
//! Pure: sizes go in, places come out. `write::disk` fills them.

pub mod contents;
pub mod fat;
pub mod layout;
pub mod tree;

pub use self::contents::Contents;
pub use self::fat::{FatKind, Geometry, Profile};
pub use self::layout::{ALIGNMENT, Layout, LayoutError, Names, Sectors, Span, Wanted};
pub use self::tree::{EspEntry, EspItem, EspNode, EspTree, TreeError};
