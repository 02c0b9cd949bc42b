//! The libraries of one program: breadth first, each with the object that asked for it, as its dynamic loader would.
//!
//! A name that an object already loaded has, or has as its `DT_SONAME`, is found without a search (`_dl_map_object`), so the
//! order matters and nothing is shared between programs but the answers of equal searches.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;

use crate::arch::Arch;
use crate::resolve::dirs::{Dirs, Found};
use crate::resolve::dlopen_note::Priority;
use crate::resolve::elf::{Abi, ElfError, ElfKind};
use crate::resolve::ldso::{Answer, Glibc, System};
use crate::resolve::musl::{self, Musl};
use crate::spec::ArchivePath;

/// No program loads this many objects; a circle of names that never meet could.
const MAX_OBJECTS: usize = 10_000;

/// One object of a program's address space.
#[derive(Debug, Clone)]
pub struct Object {
    /// The file.
    pub found: Rc<Found>,
    /// Which object asked for it; `None` for the program and its loader.
    pub loader: Option<usize>,
    /// The name it was asked for by.
    pub name: OsString,
    /// True where it is opened at run time.
    pub dlopen: bool,
}

/// A library that is nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its name.
    pub name: OsString,
    /// Who needs it.
    pub by: ArchivePath,
    /// Everywhere that was tried.
    pub tried: std::sync::Arc<[String]>,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, needed by {}: not in {}", self.name.display(), self.by, self.tried.join(", "))
    }
}

/// Everything a program loads.
#[derive(Debug, Default)]
pub struct Closure {
    /// The program, its loader (unless it has none), then its libraries in the order of loading.
    pub objects: Vec<Object>,
    /// How many of them come by `DT_NEEDED` from the start; the others are opened at run time, or needed by such.
    pub linked: usize,
    /// True where `objects[1]` is the loader.
    pub has_interpreter: bool,
    /// Libraries that were not found.
    pub missing: Vec<Missing>,
    /// One-line remarks.
    pub notes: Vec<String>,
    /// Indexes of objects that only `/etc/ld.so.cache` leads to.
    pub by_cache: Vec<usize>,
    /// A configuration file that the loader reads.
    pub config: Option<ArchivePath>,
}

#[derive(Debug)]
enum Libc<'a> {
    Glibc(Glibc<'a>),
    Musl(Musl<'a>),
}

/// Loaders of a root, each made once.
#[derive(Debug)]
pub struct Linker<'a> {
    dirs: &'a Dirs<'a>,
    system: &'a System,
    lib_path: &'a [Vec<u8>],
    libcs: RefCell<HashMap<(Option<ArchivePath>, Abi), Rc<Libc<'a>>>>,
}

impl<'a> Linker<'a> {
    /// `lib_path`: absolute directories that come before the programs' own, as in `LD_LIBRARY_PATH`.
    pub fn new(dirs: &'a Dirs<'a>, system: &'a System, lib_path: &'a [Vec<u8>]) -> Self {
        Self { dirs, system, lib_path, libcs: RefCell::default() }
    }

    /// The closure of `program`. A library that is asked for by itself is treated as a program of its architecture's usual loader.
    pub fn closure(&self, program: &Rc<Found>) -> Result<Closure, ElfError> {
        let elf = &program.elf;
        let mut load = Load { closure: Closure::default(), names: HashMap::new(), files: HashMap::new() };
        load.add(program, None, OsString::new(), false);
        let asked = elf.interpreter.as_ref().map(ArchivePath::new);
        if asked.is_none() && elf.needed.is_empty() && elf.auxiliary.is_empty() {
            load.closure.linked = 1;
            return Ok(load.closure);
        }
        let interpreter = match &asked {
            Some(path) => Some((path.clone(), self.interpreter(program, path, &mut load)?)),
            None => self.usual_interpreter(program)?,
        };
        if asked.is_some() && matches!(&interpreter, Some((_, None))) {
            load.closure.linked = 1;
            return Ok(load.closure);
        }
        let interpreter = interpreter.and_then(|(path, found)| Some((path, found?)));
        if let Some((path, found)) = &interpreter {
            load.add(found, None, path.to_absolute().into_os_string(), false);
            load.closure.has_interpreter = true;
        }
        let libc = self.libc(elf.abi, interpreter.as_ref());
        load.follow(0, &libc)?;
        load.closure.linked = load.closure.objects.len();
        load.opened_later(&libc, self.dirs)?;
        if let Libc::Musl(musl) = &*libc {
            load.closure.config.clone_from(&musl.path_file);
        }
        Ok(load.closure)
    }

    /// The file at `PT_INTERP`; where it is missing, the closure says so.
    fn interpreter(&self, program: &Found, path: &ArchivePath, load: &mut Load) -> Result<Option<Rc<Found>>, ElfError> {
        let dir = path.parent().unwrap_or_default().to_absolute();
        let dir = self.dirs.dir(dir.as_os_str().as_bytes());
        let found = match dir {
            Some(dir) => self.dirs.library(&dir, path.file_name(), program.elf.abi)?,
            None => None,
        };
        if found.is_none() {
            load.closure.missing.push(Missing {
                name: path.to_absolute().into_os_string(),
                by: program.resolved.real.clone(),
                tried: ["that very path (its interpreter, PT_INTERP)".to_owned()].into(),
            });
        }
        Ok(found)
    }

    /// For a library asked for by itself.
    fn usual_interpreter(&self, library: &Found) -> Result<Option<(ArchivePath, Option<Rc<Found>>)>, ElfError> {
        let Some(arch) = library.elf.abi.arch() else {
            return Ok(None);
        };
        let is_musl = library.elf.needed.iter().any(|name| name.as_bytes().starts_with(b"libc.musl-"));
        let path = ArchivePath::new(if is_musl { musl_loader(arch) } else { glibc_loader(arch) });
        let dir = path.parent().unwrap_or_default().to_absolute();
        let Some(dir) = self.dirs.dir(dir.as_os_str().as_bytes()) else {
            return Ok(None);
        };
        let found = self.dirs.library(&dir, path.file_name(), library.elf.abi)?;
        Ok(found.map(|found| (path, Some(found))))
    }

    fn libc(&self, abi: Abi, interpreter: Option<&(ArchivePath, Rc<Found>)>) -> Rc<Libc<'a>> {
        let key = (interpreter.map(|(path, _)| path.clone()), abi);
        if let Some(known) = self.libcs.borrow().get(&key) {
            return Rc::clone(known);
        }
        let libc = Rc::new(match interpreter {
            Some((path, _)) if musl::is_musl(path.file_name()) => {
                Libc::Musl(Musl::new(self.dirs, self.lib_path, abi, path))
            }
            other => {
                let real = other.map(|(_, found)| &found.resolved.real);
                Libc::Glibc(Glibc::new(self.dirs, self.system, self.lib_path, abi, real))
            }
        });
        self.libcs.borrow_mut().insert(key, Rc::clone(&libc));
        libc
    }
}

impl Libc<'_> {
    fn search(&self, objects: &[Object], by: usize, name: &OsStr) -> Result<Answer, ElfError> {
        match self {
            Self::Glibc(glibc) => glibc.search(objects, by, name),
            Self::Musl(musl) => musl.search(objects, by, name),
        }
    }
}

/// A closure in the making.
struct Load {
    closure: Closure,
    /// Names and sonames of what is loaded.
    names: HashMap<OsString, usize>,
    /// Device and inode of what is loaded.
    files: HashMap<(u64, u64), usize>,
}

impl Load {
    fn add(&mut self, found: &Rc<Found>, loader: Option<usize>, name: OsString, dlopen: bool) -> bool {
        let id = (found.resolved.metadata.dev(), found.resolved.metadata.ino());
        if let Some(known) = self.files.get(&id) {
            self.names.entry(name).or_insert(*known);
            return false;
        }
        let index = self.closure.objects.len();
        self.files.insert(id, index);
        if let Some(soname) = &found.elf.soname {
            self.names.entry(soname.clone()).or_insert(index);
        }
        self.names.entry(name.clone()).or_insert(index);
        self.closure.objects.push(Object { found: Rc::clone(found), loader, name, dlopen });
        true
    }

    /// Loads what the objects from `start` on need, and what that needs.
    fn follow(&mut self, start: usize, libc: &Libc<'_>) -> Result<(), ElfError> {
        let mut by = start;
        while let Some(object) = self.closure.objects.get(by) {
            let elf = Rc::clone(&object.found.elf);
            let dlopen = object.dlopen;
            for name in &elf.needed {
                if let Some(missing) = self.load(libc, by, name, dlopen)? {
                    self.closure.missing.push(missing);
                }
            }
            for name in &elf.auxiliary {
                // elf/dl-deps.c: an auxiliary library that is missing is passed over in silence.
                self.load(libc, by, name, dlopen)?;
            }
            by += 1;
        }
        Ok(())
    }

    fn load(&mut self, libc: &Libc<'_>, by: usize, name: &OsStr, dlopen: bool) -> Result<Option<Missing>, ElfError> {
        if self.names.contains_key(name) || self.closure.objects.len() >= MAX_OBJECTS {
            return Ok(None);
        }
        match libc.search(&self.closure.objects, by, name)? {
            Answer::Found { found, by_cache } => {
                let index = self.closure.objects.len();
                if self.add(&found, Some(by), name.to_owned(), dlopen) && by_cache {
                    self.closure.by_cache.push(index);
                }
                Ok(None)
            }
            Answer::Loader => Ok(None),
            Answer::Missing(tried) => {
                let by = self.closure.objects.get(by).map(|object| object.found.resolved.real.clone());
                Ok(Some(Missing { name: name.to_owned(), by: by.unwrap_or_default(), tried: tried.to_vec().into() }))
            }
        }
    }

    /// Adds what is opened at run time: `.note.dlopen`, and what glibc itself opens.
    fn opened_later(&mut self, libc: &Libc<'_>, dirs: &Dirs<'_>) -> Result<(), ElfError> {
        let mut by = 0;
        while let Some(object) = self.closure.objects.get(by) {
            let elf = Rc::clone(&object.found.elf);
            for note in elf.dlopen.iter().filter(|note| note.priority != Priority::Suggested) {
                let mut missing = None;
                for name in &note.sonames {
                    missing = self.open(libc, by, name)?;
                    if missing.is_none() {
                        break;
                    }
                }
                if let Some(missing) = missing {
                    let Missing { name, by, .. } = missing;
                    self.closure
                        .notes
                        .push(format!("{}, which {by} may open at run time, is not here", name.display()));
                }
            }
            by += 1;
        }
        if matches!(libc, Libc::Glibc(_)) {
            self.unwinder(libc, dirs)?;
        }
        Ok(())
    }

    /// Opens a library at run time; what it needs must all be there, else it is as good as missing.
    fn open(&mut self, libc: &Libc<'_>, by: usize, name: &OsStr) -> Result<Option<Missing>, ElfError> {
        let (start, complaints) = (self.closure.objects.len(), self.closure.missing.len());
        if let Some(missing) = self.load(libc, by, name, true)? {
            return Ok(Some(missing));
        }
        self.follow(start, libc)?;
        Ok(self.closure.missing.drain(complaints..).next())
    }

    /// glibc opens `libgcc_s.so.1` when a thread is cancelled or ends by `pthread_exit` (sysdeps/gnu/unwind-resume.c,
    /// misc/unwind-link.c) and aborts without it. Only programs that name these functions get it.
    fn unwinder(&mut self, libc: &Libc<'_>, dirs: &Dirs<'_>) -> Result<(), ElfError> {
        const UNWINDER: &str = "libgcc_s.so.1";
        const C_LIBRARY: [&str; 2] = ["libc.so.6", "libpthread.so.0"];
        if self.names.contains_key(OsStr::new(UNWINDER)) {
            return Ok(());
        }
        let mut asker = None;
        for (index, object) in self.closure.objects.iter().enumerate() {
            let soname = object.found.elf.soname.as_deref().and_then(OsStr::to_str).unwrap_or_default();
            let is_loader = index == 1 && self.closure.has_interpreter;
            if !is_loader
                && !C_LIBRARY.contains(&soname)
                && dirs.binaries.ends_threads(&object.found.resolved.real, &object.found.elf)?
            {
                asker = Some(index);
                break;
            }
        }
        if let Some(by) = asker
            && let Some(missing) = self.open(libc, by, OsStr::new(UNWINDER))?
        {
            self.closure.notes.push(format!("{UNWINDER} is not here: threads of {} cannot be cancelled", missing.by));
        }
        Ok(())
    }
}

/// True for a file that a program can be: executable, or position independent with an interpreter or nothing to load.
pub fn is_program(found: &Found) -> bool {
    match found.elf.kind {
        ElfKind::Executable | ElfKind::Shared => true,
        ElfKind::Other(_) => false,
    }
}

/// Where each architecture's ABI puts glibc's loader.
const fn glibc_loader(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "/lib64/ld-linux-x86-64.so.2",
        Arch::X86 => "/lib/ld-linux.so.2",
        Arch::X32 => "/libx32/ld-linux-x32.so.2",
        Arch::Aarch64 => "/lib/ld-linux-aarch64.so.1",
        Arch::Arm => "/lib/ld-linux-armhf.so.3",
        Arch::Riscv64 => "/lib/ld-linux-riscv64-lp64d.so.1",
        Arch::S390x => "/lib/ld64.so.1",
        Arch::Ppc64le => "/lib64/ld64.so.2",
    }
}

/// And musl's.
const fn musl_loader(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "/lib/ld-musl-x86_64.so.1",
        Arch::X86 => "/lib/ld-musl-i386.so.1",
        Arch::X32 => "/lib/ld-musl-x32.so.1",
        Arch::Aarch64 => "/lib/ld-musl-aarch64.so.1",
        Arch::Arm => "/lib/ld-musl-armhf.so.1",
        Arch::Riscv64 => "/lib/ld-musl-riscv64.so.1",
        Arch::S390x => "/lib/ld-musl-s390x.so.1",
        Arch::Ppc64le => "/lib/ld-musl-powerpc64le.so.1",
    }
}
