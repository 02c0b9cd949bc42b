//! A disk image in one call: an EFI program, more files, a root partition and a boot sector become an image in a
//! container.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::esp::{self, EspError};
use super::image::assemble::{Image, ImageError, ImageSpec, image};
use super::image::output::{EmitError, Emitted, emit};
use super::image::{RootFsError, TooLarge, contain, root_content};
use super::layout::{EspEntry, EspNode, EspTree, Layout, LayoutError, LayoutSpec, TreeError};
use super::spec::{DiskSpec, Format};
use crate::format::Guid;
use crate::format::compression::Compression;
use crate::format::pe::Machine;
use crate::output::WriteError;
use crate::output::extents::{Extents, SourceFile};
use crate::output::file::Output;

/// The EFI program that firmware starts from a disk: a unified kernel image, or another boot program.
#[derive(Debug)]
pub struct EfiProgram {
    /// Content of the file.
    pub content: Extents,
    /// Machine that it is built for; determines its name in `EFI/BOOT`.
    pub machine: Machine,
    /// Description, for listings.
    pub what: String,
}

impl EfiProgram {
    /// Opens an existing program. Refuses files that are no EFI program, and machines without UEFI.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let machine = esp::program(path)?;
        let file = SourceFile::open(path).map_err(|source| EspError::unreadable(path, source))?;
        Ok(Self { content: Extents::of_file(&file), machine, what: format!("--efi {}", path.display()) })
    }
}

/// A disk that could not be built.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A file cannot be put on the EFI system partition.
    #[error(transparent)]
    Esp(#[from] EspError),
    /// The paths on the EFI system partition are invalid or conflict.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The contents do not fit.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The root partition cannot be created.
    #[error(transparent)]
    Root(#[from] RootFsError),
    /// The tables or the FAT volume cannot be created.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The disk is too large for its container.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The image cannot be written.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// The output cannot be created or renamed.
    #[error(transparent)]
    Output(#[from] WriteError),
}

/// A complete disk image that is not written yet.
#[derive(Debug)]
pub struct Disk {
    /// Offsets of the partitions.
    pub layout: Layout,
    /// Files of the EFI system partition.
    pub tree: EspTree,
    /// Bytes and identifiers.
    pub image: Image,
    /// Notes for the user.
    pub notes: Vec<String>,
    /// Creation time in seconds since 1970.
    time: u64,
}

impl Disk {
    /// Builds a disk that starts `program`. `scratch` is a directory with enough space for the root partition's file
    /// system. Same contents, same bytes.
    pub fn new(program: &EfiProgram, spec: &DiskSpec, scratch: &Path) -> Result<Self, DiskError> {
        let made = spec.root.as_ref().map(|root| root_content(root, scratch, spec.time)).transpose()?;
        let (root, notes) = made.map_or((None, Vec::new()), |made| (Some(made.content), made.notes));
        let (tree, files) = esp_tree(program, spec)?;
        let contents = tree.contents();
        let layout = Layout::new(&LayoutSpec {
            sectors: spec.sectors,
            profile: spec.profile,
            contents: &contents,
            root: root.as_ref().map(Extents::size),
            size: spec.size,
        })?;
        let image = image(&ImageSpec {
            layout: &layout,
            tree: &tree,
            files: &files,
            root: root.as_ref().map(|root| (root, root_type(program.machine))),
            boot_code: spec.boot_code,
            time: spec.time.into(),
        })?;
        Ok(Self { layout, tree, image, notes, time: spec.time.into() })
    }

    /// Returns the file in a container format.
    pub fn contain(&self, format: Format) -> Result<Extents, TooLarge> {
        contain(format, self.image.extents.clone(), self.image.names.disk, self.time)
    }

    /// Writes the file in a container format. It appears complete or not at all.
    pub fn write(&self, format: Format, path: &Path) -> Result<Emitted, DiskError> {
        let mut output = Output::create(path)?;
        let emitted = emit(&self.contain(format)?, &mut output, Compression::None, false)?;
        output.finish()?;
        Ok(emitted)
    }
}

/// Returns the tree of the EFI system partition, and the contents of its files.
fn esp_tree(program: &EfiProgram, spec: &DiskSpec) -> Result<(EspTree, Vec<Arc<Extents>>), DiskError> {
    let no_name = || EspError::Machine { path: PathBuf::from(&program.what), machine: program.machine };
    let loader = program.machine.default_loader().ok_or_else(no_name)?;
    let mut files = vec![Arc::new(program.content.clone())];
    let mut entries = vec![EspEntry {
        path: format!("EFI/BOOT/{loader}"),
        what: EspNode::File { len: program.content.size(), source: 0 },
        why: program.what.clone(),
    }];
    for added in esp::added(&spec.added)? {
        let what = match &added.file {
            None => EspNode::Dir,
            Some(path) => {
                let content = Extents::of_path(path).map_err(|source| EspError::unreadable(path, source))?;
                let len = content.size();
                files.push(Arc::new(content));
                EspNode::File { len, source: files.len() - 1 }
            }
        };
        entries.push(EspEntry { path: added.path, what, why: added.why });
    }
    Ok((EspTree::new(entries)?, files))
}

/// Returns the type GUID of a root partition for a machine type (UAPI.2, Discoverable Partitions Specification).
fn root_type(machine: Machine) -> Guid {
    match machine {
        Machine::X64 => Guid::ROOT_X86_64,
        Machine::IA32 => Guid::from_fields(0x4447_9540, 0xF297, 0x41B2, [0x9A, 0xF7], 0xD131_D5F0_458A),
        Machine::AA64 => Guid::from_fields(0xB921_B045, 0x1DF0, 0x41C3, [0xAF, 0x44], 0x4C6F_280D_3FAE),
        Machine::ARM => Guid::from_fields(0x69DA_D710, 0x2CE4, 0x4E3C, [0xB1, 0x6C], 0x21A1_D49A_BED3),
        _ => Guid::LINUX_DATA,
    }
}
