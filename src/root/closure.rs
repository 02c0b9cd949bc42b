//! Libraries of one program, loaded breadth first as its dynamic loader does. Each object records which object required
//! it.
//!
//! A name that matches an already loaded object, or its `DT_SONAME`, is found without a search (`_dl_map_object`). The
//! order therefore matters, and programs share only the results of identical searches.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;

use super::binary::BinaryError;
use super::dirs::{Dirs, Found};
use super::ldso::{Answer, Glibc, System};
use super::musl::{self, Musl};
pub(crate) use super::object::Object;
use crate::format::archive_path::ArchivePath;
use crate::format::elf::Abi;
use crate::format::elf::dlopen_note::Priority;

/// Limit on loaded objects, far above any real program; stops endless chains of distinct names. Smaller in tests, to
/// save time.
const MAX_OBJECTS: usize = if cfg!(test) { 100 } else { 10_000 };

/// A library that was not found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Library name.
    pub name: OsString,
    /// Requiring file.
    pub(crate) by: ArchivePath,
    /// All locations searched.
    pub(crate) tried: std::sync::Arc<[String]>,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, needed by {}: not in {}", self.name.display(), self.by, self.tried.join(", "))
    }
}

/// All objects that a program loads.
#[derive(Debug, Default)]
pub struct Closure {
    /// The program, its loader (if any), then its libraries in load order.
    pub objects: Vec<Object>,
    /// Number of objects loaded at startup through `DT_NEEDED`. The others are opened at run time, or required by such
    /// objects.
    pub linked: usize,
    /// True if `objects[1]` is the loader.
    pub has_interpreter: bool,
    /// Libraries that were not found.
    pub missing: Vec<Missing>,
    /// Notes for the user, one line each.
    pub(crate) notes: Vec<String>,
    /// Indices of objects that are found only through `/etc/ld.so.cache`.
    pub(crate) by_cache: Vec<usize>,
    /// Configuration file that the loader reads, if any.
    pub(crate) config: Option<ArchivePath>,
}

#[derive(Debug)]
enum Libc<'a> {
    Glibc(Glibc<'a>),
    Musl(Musl<'a>),
}

/// Path of a loader as programs name it, and the file found there.
type Interpreter = (ArchivePath, Rc<Found>);

/// C libraries by loader path (`None` if the program names no loader) and ABI.
type Libcs<'a> = HashMap<(Option<ArchivePath>, Abi), Rc<Libc<'a>>>;

/// Dynamic loaders of a root, each created once.
#[derive(Debug)]
pub struct Linker<'a> {
    dirs: &'a Dirs<'a>,
    system: &'a System,
    lib_path: &'a [Vec<u8>],
    libcs: RefCell<Libcs<'a>>,
}

impl<'a> Linker<'a> {
    /// `lib_path`: absolute directories that are searched as if `LD_LIBRARY_PATH` contained them.
    pub fn new(dirs: &'a Dirs<'a>, system: &'a System, lib_path: &'a [Vec<u8>]) -> Self {
        Self { dirs, system, lib_path, libcs: RefCell::default() }
    }

    /// Returns the closure of `program`. A library requested on its own is treated as a program of its architecture's
    /// default loader.
    pub fn closure(&self, program: &Rc<Found>) -> Result<Closure, BinaryError> {
        let elf = &program.elf;
        let mut load = Load { closure: Closure::default(), names: HashMap::new(), files: HashMap::new() };
        load.add(program, None, OsString::new(), false);
        let asked = elf.interpreter.as_ref().map(ArchivePath::new);
        if asked.is_none() && elf.needed.is_empty() && elf.auxiliary.is_empty() {
            load.closure.linked = 1;
            return Ok(load.closure);
        }
        let interpreter = match asked {
            Some(path) => {
                let Some(found) = self.interpreter(program, &path, &mut load)? else {
                    load.closure.linked = 1;
                    return Ok(load.closure);
                };
                Some((path, found))
            }
            None => self.usual_interpreter(program)?,
        };
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

    /// Finds the file at `PT_INTERP`; if it does not exist, adds it to the missing libraries.
    fn interpreter(
        &self,
        program: &Found,
        path: &ArchivePath,
        load: &mut Load,
    ) -> Result<Option<Rc<Found>>, BinaryError> {
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
                tried: ["the location given by PT_INTERP".to_owned()].into(),
            });
        }
        Ok(found)
    }

    /// Returns the default loader for a library requested on its own.
    fn usual_interpreter(&self, library: &Found) -> Result<Option<Interpreter>, BinaryError> {
        let Some(arch) = library.elf.abi.arch() else {
            return Ok(None);
        };
        let is_musl = library.elf.needed.iter().any(|name| name.as_bytes().starts_with(b"libc.musl-"));
        let path =
            ArchivePath::new(if is_musl { arch.properties().musl_loader } else { arch.properties().glibc_loader });
        let dir = path.parent().unwrap_or_default().to_absolute();
        let Some(dir) = self.dirs.dir(dir.as_os_str().as_bytes()) else {
            return Ok(None);
        };
        let found = self.dirs.library(&dir, path.file_name(), library.elf.abi)?;
        Ok(found.map(|found| (path, found)))
    }

    fn libc(&self, abi: Abi, interpreter: Option<&Interpreter>) -> Rc<Libc<'a>> {
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
    fn search(&self, objects: &[Object], by: usize, name: &OsStr) -> Result<Answer, BinaryError> {
        match self {
            Self::Glibc(glibc) => glibc.search(objects, by, name),
            Self::Musl(musl) => musl.search(objects, by, name),
        }
    }
}

/// A closure under construction.
struct Load {
    closure: Closure,
    /// Loaded objects by name and soname.
    names: HashMap<OsString, usize>,
    /// Loaded objects by device and inode.
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

    /// Loads the dependencies of the objects from index `start` on, recursively.
    fn follow(&mut self, start: usize, libc: &Libc<'_>) -> Result<(), BinaryError> {
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
                // elf/dl-deps.c: a missing auxiliary library is silently skipped.
                self.load(libc, by, name, dlopen)?;
            }
            by += 1;
        }
        Ok(())
    }

    fn load(&mut self, libc: &Libc<'_>, by: usize, name: &OsStr, dlopen: bool) -> Result<Option<Missing>, BinaryError> {
        if self.names.contains_key(name) {
            return Ok(None);
        }
        if self.closure.objects.len() >= MAX_OBJECTS {
            let program = self.closure.objects.first().map(|program| program.found.resolved.real.to_absolute());
            return Err(BinaryError::violation(&program.unwrap_or_default(), "it loads too many libraries"));
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

    /// Adds the libraries that are opened at run time: those in `.note.dlopen`, and the one that glibc itself opens.
    fn opened_later(&mut self, libc: &Libc<'_>, dirs: &Dirs<'_>) -> Result<(), BinaryError> {
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
                        .push(format!("library {} not found; {by} may open it at run time", name.display()));
                }
            }
            by += 1;
        }
        if matches!(libc, Libc::Glibc(_)) {
            self.unwinder(libc, dirs)?;
        }
        Ok(())
    }

    /// Opens a library at run time. If one of its dependencies is missing, the library counts as missing.
    fn open(&mut self, libc: &Libc<'_>, by: usize, name: &OsStr) -> Result<Option<Missing>, BinaryError> {
        let (start, complaints) = (self.closure.objects.len(), self.closure.missing.len());
        if let Some(missing) = self.load(libc, by, name, true)? {
            return Ok(Some(missing));
        }
        self.follow(start, libc)?;
        Ok(self.closure.missing.drain(complaints..).next())
    }

    /// Adds `libgcc_s.so.1` to programs that name `pthread_cancel` or `pthread_exit`.
    ///
    /// glibc opens it when a thread is canceled or calls `pthread_exit` (sysdeps/gnu/unwind-resume.c,
    /// misc/unwind-link.c) and aborts without it.
    fn unwinder(&mut self, libc: &Libc<'_>, dirs: &Dirs<'_>) -> Result<(), BinaryError> {
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
            self.closure.notes.push(format!("{UNWINDER} not found: threads of {} cannot be canceled", missing.by));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::rc::Rc;

    use super::{Closure, Linker};
    use crate::arch::Arch;
    use crate::format::archive_path::ArchivePath;
    use crate::format::elf::tests::builder::ElfBuilder;
    use crate::root::binary::{Binaries, Binary, BinaryError};
    use crate::root::directory::Root;
    use crate::root::dirs::{Dirs, Found};
    use crate::root::ldso::System;

    const LIB: &str = "usr/lib64";

    /// A root like Fedora's, with a loader and a C library.
    struct Scene(tempfile::TempDir);

    impl Scene {
        fn new() -> Self {
            let scene = Self(tempfile::tempdir().expect("a temporary directory"));
            std::os::unix::fs::symlink("usr/lib64", scene.path().join("lib64")).expect("a link");
            let scene = scene.add("usr/lib64/ld-linux-x86-64.so.2", &lib("ld-linux-x86-64.so.2"));
            scene.add("usr/lib64/libc.so.6", &lib("libc.so.6").needed("ld-linux-x86-64.so.2"))
        }

        fn path(&self) -> &Path {
            self.0.path()
        }

        fn add(self, path: &str, elf: &ElfBuilder) -> Self {
            elf.write(&self.path().join(path));
            self
        }

        fn try_closure(&self, program: &str, lib_path: &[&str]) -> Result<Closure, BinaryError> {
            let root = Root::new(self.path()).expect("a root");
            let (binaries, system) = (Binaries::new(&root), System::of(&root));
            let dirs = Dirs::new(&root, &binaries);
            let lib_path: Vec<Vec<u8>> = lib_path.iter().map(|dir| dir.as_bytes().to_vec()).collect();
            let resolved = root.resolve(&ArchivePath::new(program)).expect("the program");
            let Binary::Elf(elf) = binaries.get(&resolved.real)? else { panic!("not an ELF file") };
            let found = Found { path: resolved.real.clone(), resolved, elf };
            Linker::new(&dirs, &system, &lib_path).closure(&Rc::new(found))
        }

        fn closure(&self, program: &str) -> Closure {
            self.try_closure(program, &[]).expect("good files")
        }

        /// Returns the real paths of the libraries in load order, without the loader and the C library.
        fn libraries(&self, program: &str) -> Vec<String> {
            paths(&self.closure(program))
        }
    }

    fn paths(closure: &Closure) -> Vec<String> {
        assert_eq!(closure.missing, [], "nothing is missing");
        let all = closure.objects.iter().skip(1).map(|object| object.found.resolved.real.to_string());
        all.filter(|path| !path.contains("ld-linux") && !path.contains("libc.so")).collect()
    }

    fn lib(soname: &str) -> ElfBuilder {
        ElfBuilder::library(Arch::X86_64).soname(soname)
    }

    fn program(needed: &str) -> ElfBuilder {
        ElfBuilder::program().needed(needed).needed("libc.so.6")
    }

    #[test]
    fn an_rpath_is_inherited_and_a_runpath_is_not() {
        let scene = Scene::new()
            .add("bin/r", &program("liba.so").rpath("/r"))
            .add("bin/s", &program("liba.so").runpath("/r"))
            .add("r/liba.so", &lib("liba.so").needed("libb.so"))
            .add("r/libb.so", &lib("libb.so"))
            .add("usr/lib64/libb.so", &lib("libb.so"));
        assert_eq!(scene.libraries("/bin/r"), ["/r/liba.so", "/r/libb.so"]);
        assert_eq!(scene.libraries("/bin/s"), ["/r/liba.so", "/usr/lib64/libb.so"]);
    }

    #[test]
    fn an_object_with_a_runpath_ignores_the_rpaths_above_it() {
        let scene = Scene::new()
            .add("bin/p", &program("liba.so").rpath("/r"))
            .add("r/liba.so", &lib("liba.so").runpath("/nowhere").needed("libb.so"))
            .add("r/libb.so", &lib("libb.so"))
            .add("usr/lib64/libb.so", &lib("libb.so"));
        assert_eq!(scene.libraries("/bin/p"), ["/r/liba.so", "/usr/lib64/libb.so"]);
    }

    #[test]
    fn lib_path_is_searched_between_rpath_and_runpath() {
        let scene = Scene::new()
            .add("bin/r", &program("liba.so").rpath("/r"))
            .add("bin/s", &program("liba.so").runpath("/r"))
            .add("r/liba.so", &lib("liba.so"))
            .add("e/liba.so", &lib("liba.so"));
        assert_eq!(paths(&scene.try_closure("/bin/r", &["/e"]).expect("good files")), ["/r/liba.so"]);
        assert_eq!(paths(&scene.try_closure("/bin/s", &["/e"]).expect("good files")), ["/e/liba.so"]);
    }

    #[test]
    fn origin_follows_links_for_a_program_but_not_for_a_library() {
        let scene = Scene::new()
            .add("opt/x/bin/p", &program("liba.so").runpath("$ORIGIN/../$LIB"))
            .add("opt/x/lib64/store/liba.so.1", &lib("liba.so").runpath("${ORIGIN}/plugins").needed("libb.so"))
            .add("opt/x/lib64/plugins/libb.so", &lib("libb.so"));
        std::os::unix::fs::symlink("store/liba.so.1", scene.path().join("opt/x/lib64/liba.so")).expect("a link");
        std::os::unix::fs::symlink("/opt/x/bin/p", scene.path().join("p")).expect("a link");
        let found = ["/opt/x/lib64/store/liba.so.1", "/opt/x/lib64/plugins/libb.so"];
        assert_eq!(scene.libraries("/p"), found);
        let hops = &scene.closure("/p").objects[2].found.resolved.hops;
        assert_eq!(hops.last().map(|hop| hop.link.to_string()).as_deref(), Some("/opt/x/lib64/liba.so"));
    }

    #[test]
    fn a_soname_already_loaded_needs_no_search() {
        let scene = Scene::new()
            .add("bin/p", &program("/opt/liba-special.so").needed("libb.so"))
            .add("opt/liba-special.so", &lib("liba.so"))
            .add("usr/lib64/libb.so", &lib("libb.so").needed("liba.so"))
            .add("usr/lib64/liba.so", &lib("liba.so"));
        assert_eq!(scene.libraries("/bin/p"), ["/opt/liba-special.so", "/usr/lib64/libb.so"]);
    }

    #[test]
    fn libraries_of_other_architectures_are_skipped() {
        let scene = Scene::new()
            .add("bin/p", &program("liba.so").rpath("/32:/arm"))
            .add("32/liba.so", &ElfBuilder::library(Arch::X86))
            .add("arm/liba.so", &ElfBuilder::library(Arch::Aarch64))
            .add("usr/lib64/liba.so", &lib("liba.so"));
        assert_eq!(scene.libraries("/bin/p"), ["/usr/lib64/liba.so"]);
    }

    #[test]
    fn a_library_that_is_not_an_elf_file_is_an_error() {
        let scene = Scene::new().add("bin/p", &program("liba.so"));
        std::fs::write(scene.path().join(LIB).join("liba.so"), "/* GNU ld script */").expect("a file");
        let error = scene.try_closure("/bin/p", &[]).expect_err("a linker script");
        assert!(error.to_string().contains("liba.so: expected a shared library"), "{error}");
    }

    #[test]
    fn a_missing_library_is_reported_with_its_requiring_file_and_all_locations() {
        let scene = Scene::new()
            .add("bin/p", &program("liba.so"))
            .add("usr/lib64/liba.so", &lib("liba.so").runpath("/opt/one:/opt/two").needed("libgone.so.3"));
        let missing = &scene.closure("/bin/p").missing;
        assert_eq!(
            missing[0].to_string(),
            "libgone.so.3, needed by /usr/lib64/liba.so: not in /opt/one, /opt/two, /lib64, /usr/lib64"
        );
    }

    #[test]
    fn nodeflib_disables_the_default_directories() {
        let scene =
            Scene::new().add("bin/p", &program("liba.so").no_default_lib()).add("usr/lib64/liba.so", &lib("liba.so"));
        let missing = scene.closure("/bin/p").missing;
        assert_eq!(missing.first().map(|missing| missing.name.clone()), Some("liba.so".into()));
    }

    #[test]
    fn baseline_libraries_are_preferred_but_a_lone_variant_is_used() {
        let scene = Scene::new()
            .add("bin/p", &program("liba.so").needed("libb.so"))
            .add("usr/lib64/glibc-hwcaps/x86-64-v2/liba.so", &lib("liba.so"))
            .add("usr/lib64/liba.so", &lib("liba.so"))
            .add("usr/lib64/glibc-hwcaps/x86-64-v3/libb.so", &lib("libb.so"));
        let found = ["/usr/lib64/liba.so", "/usr/lib64/glibc-hwcaps/x86-64-v3/libb.so"];
        assert_eq!(scene.libraries("/bin/p"), found);
    }

    #[test]
    fn directories_of_ld_so_conf_are_searched_and_the_guest_needs_a_cache() {
        let scene = Scene::new().add("bin/p", &program("liba.so")).add("opt/lib/liba.so", &lib("liba.so"));
        std::fs::create_dir(scene.path().join("etc")).expect("a directory");
        std::fs::write(scene.path().join("etc/ld.so.conf"), "/usr/lib64\n/opt/lib\n").expect("a file");
        let closure = scene.closure("/bin/p");
        assert_eq!(paths(&closure), ["/opt/lib/liba.so"]);
        let by_cache: Vec<_> = closure.by_cache.iter().map(|index| &closure.objects[*index].name).collect();
        assert_eq!(by_cache, ["liba.so"]);
    }

    #[test]
    fn libraries_opened_at_run_time_are_included_if_found() {
        let note = r#"[{"soname":["libz.so.9","libz.so.1"],"priority":"required"},
            {"soname":"libgone.so","priority":"recommended"},{"soname":"libs.so","priority":"suggested"}]"#;
        let scene = Scene::new()
            .add("bin/p", &program("liba.so"))
            .add("usr/lib64/liba.so", &lib("liba.so").dlopen_note(note))
            .add("usr/lib64/libz.so.1", &lib("libz.so.1").needed("libdeep.so"))
            .add("usr/lib64/libdeep.so", &lib("libdeep.so"))
            .add("usr/lib64/libs.so", &lib("libs.so"));
        let closure = scene.closure("/bin/p");
        assert_eq!(paths(&closure), ["/usr/lib64/liba.so", "/usr/lib64/libz.so.1", "/usr/lib64/libdeep.so"]);
        assert!(closure.objects.iter().skip(closure.linked).all(|object| object.dlopen));
        assert_eq!(closure.notes, ["library libgone.so not found; /usr/lib64/liba.so may open it at run time"]);
    }

    #[test]
    fn the_unwinder_is_included_only_for_programs_that_end_threads() {
        let scene = Scene::new()
            .add("bin/p", &program("libc.so.6").string("pthread_cancel"))
            .add("bin/q", &program("libc.so.6").string("pthread_create"))
            .add("usr/lib64/libgcc_s.so.1", &lib("libgcc_s.so.1"));
        assert_eq!(scene.libraries("/bin/p"), ["/usr/lib64/libgcc_s.so.1"]);
        assert_eq!(scene.libraries("/bin/q"), [""; 0]);
    }

    #[test]
    fn musl_programs_follow_the_rules_of_musl() {
        let musl =
            |needed: &str| ElfBuilder::library(Arch::X86_64).interpreter("/lib/ld-musl-x86_64.so.1").needed(needed);
        let scene = Scene::new()
            .add("lib/ld-musl-x86_64.so.1", &lib("libc.musl-x86_64.so.1"))
            .add(
                "bin/m",
                &musl("liba.so").needed("libc.musl-x86_64.so.1").needed("libpthread.so.0").runpath("$ORIGIN/../m"),
            )
            .add("m/liba.so", &lib("liba.so").needed("libb.so").needed("libd.so"))
            .add("m/libb.so", &lib("libb.so"))
            .add("usr/local/lib/libd.so", &lib("libd.so"))
            .add("usr/lib64/liba.so", &lib("liba.so"))
            .add("bin/dollar", &musl("libb.so").runpath("/m:$LIB"));
        // A RUNPATH is inherited, and every name of libc denotes the loader.
        let found = ["/m/liba.so", "/m/libb.so", "/usr/local/lib/libd.so"];
        let closure = scene.closure("/bin/m");
        assert_eq!(paths(&closure)[1..], found);
        assert_eq!(paths(&closure)[0], "/lib/ld-musl-x86_64.so.1");
        // A token other than $ORIGIN disables the whole path.
        assert_eq!(scene.closure("/bin/dollar").missing.len(), 1);
        std::fs::create_dir_all(scene.path().join("etc")).expect("a directory");
        std::fs::write(scene.path().join("etc/ld-musl-x86_64.path"), "/elsewhere\n/m\n").expect("a file");
        let closure = scene.closure("/bin/dollar");
        assert_eq!(closure.missing, []);
        assert_eq!(closure.config, Some(ArchivePath::new("/etc/ld-musl-x86_64.path")));
    }

    #[test]
    fn static_programs_have_no_dependencies_and_a_missing_interpreter_is_reported() {
        let scene = Scene::new()
            .add("bin/static", &ElfBuilder::library(Arch::X86_64))
            .add("bin/p", &program("libc.so.6").interpreter("/lib/ld-gone.so.1"));
        assert_eq!(scene.closure("/bin/static").objects.len(), 1);
        let missing = &scene.closure("/bin/p").missing;
        assert!(missing[0].to_string().starts_with("/lib/ld-gone.so.1, needed by /bin/p"), "{}", missing[0]);
    }

    #[test]
    fn too_many_libraries_are_an_error() {
        let count = super::MAX_OBJECTS;
        let chain = (0..count).fold(Scene::new().add("bin/p", &program("lib0.so")), |scene, at| {
            scene.add(
                &format!("usr/lib64/lib{at}.so"),
                &lib(&format!("lib{at}.so")).needed(&format!("lib{}.so", at + 1)),
            )
        });
        let error = chain.try_closure("/bin/p", &[]).expect_err("refused").to_string();
        assert!(error.contains("/bin/p: it loads too many libraries"), "{error}");
    }

    #[test]
    fn circular_dependencies_terminate() {
        let scene = Scene::new()
            .add("bin/p", &program("liba.so"))
            .add("usr/lib64/liba.so", &lib("liba.so").needed("libb.so"))
            .add("usr/lib64/libb.so", &lib("libb.so").needed("liba.so").needed("libb.so"));
        assert_eq!(scene.libraries("/bin/p"), ["/usr/lib64/liba.so", "/usr/lib64/libb.so"]);
    }
}
