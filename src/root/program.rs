//! Includes a program and its dependencies: libraries and loader of an ELF file, interpreters of a script.
//!
//! A program of the host takes precedence over a busybox applet, with one exception: if busybox is included, `/bin/sh`
//! is busybox.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::binary::{Binaries, Binary};
use super::busybox::Busybox;
use super::closure::{Closure, Linker, Object};
use super::directory::{Resolved, Root, RootError};
use super::dirs::Found;
use super::fact::{Content, Node, Why};
use super::gather::Gathered;
use super::path::SearchPath;
use super::userland_error::UserlandError;
use crate::arch::Arch;
use crate::format::archive_path::ArchivePath;
use crate::format::elf::{ElfFacts, ElfKind};
use crate::format::ldcache;
use crate::format::script::{MAX_NESTED, Script};

/// Location of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Located {
    /// A file of the root. Its links are not followed yet.
    File(ArchivePath),
    /// An applet of the included busybox.
    Applet,
}

/// Context for including programs.
pub(crate) struct Programs<'a> {
    /// Root of the programs.
    pub(crate) root: &'a Root,
    /// Cache of the binaries below the root.
    pub(crate) binaries: &'a Binaries<'a>,
    /// Library lookup.
    pub(crate) linker: Linker<'a>,
    /// Program lookup.
    pub(crate) path: &'a SearchPath<'a>,
    /// The included busybox, if any.
    pub(crate) busybox: Option<&'a Busybox>,
    /// The guest's architecture.
    pub(crate) arch: Arch,
    done: HashSet<ArchivePath>,
    /// Libraries that the guest's loader finds only through a cache (name, path, architecture), each with a program
    /// whose loader reads it.
    cached: BTreeMap<(Vec<u8>, Vec<u8>, Arch), ArchivePath>,
}

impl<'a> Programs<'a> {
    /// Creates a context without any programs.
    pub(crate) fn new(
        root: &'a Root,
        binaries: &'a Binaries<'a>,
        linker: Linker<'a>,
        path: &'a SearchPath<'a>,
        busybox: Option<&'a Busybox>,
        arch: Arch,
    ) -> Self {
        Self { root, binaries, linker, path, busybox, arch, done: HashSet::new(), cached: BTreeMap::new() }
    }

    /// Locates a program by path or by name.
    pub(crate) fn locate(&self, typed: &OsStr) -> Result<Located, UserlandError> {
        if typed.as_bytes().contains(&b'/') {
            let path = self.root.typed(Path::new(typed));
            // Report a missing file here rather than later.
            self.root.resolve(&path).map_err(|error| match error {
                RootError::Missing { path } => UserlandError::NoSuchFile { path },
                RootError::Loop { .. } | RootError::Io { .. } => error.into(),
            })?;
            return Ok(Located::File(path));
        }
        if let Some(found) = self.path.find(typed) {
            return Ok(Located::File(found));
        }
        match self.busybox {
            Some(busybox) if busybox.has(typed) => Ok(Located::Applet),
            busybox => Err(UserlandError::NoProgram {
                name: typed.to_owned(),
                tried: self.path.tried(),
                no_applet: busybox.is_some(),
            }),
        }
    }

    /// Includes a program requested by the user, with a link if the guest's PATH does not lead to it.
    pub(crate) fn ask(&mut self, typed: &OsStr, out: &mut Gathered<'_>) -> Result<Located, UserlandError> {
        let located = self.locate(typed)?;
        if let Located::File(path) = &located {
            let resolved = self.root.resolve(path)?;
            self.note_capabilities(&resolved, out);
            self.include(path, Why::Asked(typed.to_owned()), path, 0, out)?;
            self.note_shim(&resolved, out)?;
            self.on_path(path, out);
        }
        Ok(located)
    }

    /// Includes the file at `path` and its dependencies. `first` is the outermost script, `depth` the distance from it.
    pub(crate) fn include(
        &mut self,
        path: &ArchivePath,
        why: Why,
        first: &ArchivePath,
        depth: usize,
        out: &mut Gathered<'_>,
    ) -> Result<(), UserlandError> {
        let resolved = self.root.resolve(path)?;
        let refuse = |why| UserlandError::NotAProgram { path: self.root.host_path(&resolved.real), why };
        if !resolved.metadata.is_file() {
            return Err(refuse("not a regular file"));
        }
        out.file(&resolved, why);
        let known = !self.done.insert(resolved.real.clone());
        let executable = resolved.metadata.mode() & 0o111 != 0;
        match self.binaries.get(&resolved.real)? {
            Binary::Elf(_) if known => Ok(()),
            // Nested scripts are walked each time: their depth depends on the starting point.
            Binary::Script(_) if known && depth == 0 => Ok(()),
            Binary::Elf(elf) if executable || elf.kind == ElfKind::Shared => self.elf(&resolved, &elf, out),
            Binary::Script(script) if executable => {
                if depth >= MAX_NESTED {
                    return Err(UserlandError::NestedScripts { script: first.clone() });
                }
                self.script(&resolved.real, &script, first, depth, out)
            }
            Binary::Elf(_) | Binary::Script(_) => Err(refuse("not executable (see chmod)")),
            Binary::Plain => Err(refuse("neither an ELF file nor a script with a #! line")),
        }
    }

    /// Adds the cache that the loaders of the included programs read. Called last, when all programs are known.
    pub(crate) fn finish(self, out: &mut Gathered<'_>) {
        let path = ArchivePath::new("/etc/ld.so.cache");
        let Some(reader) = self.cached.values().next().cloned() else {
            return;
        };
        if out.has(&path) {
            return;
        }
        let libraries: Vec<_> = self.cached.into_keys().collect();
        let content = Content::Bytes(Arc::from(ldcache::write(&libraries)));
        out.add(path, Node::File { mode: 0o644, content, hardlink: None }, Why::Config { by: reader });
    }

    fn elf(&mut self, program: &Resolved, elf: &Rc<ElfFacts>, out: &mut Gathered<'_>) -> Result<(), UserlandError> {
        let host = self.root.host_path(&program.real);
        if let ElfKind::Other(_) = elf.kind {
            let why = "an object file or a core dump, not a program";
            return Err(UserlandError::NotAProgram { path: host, why });
        }
        let fits = elf.abi.arch().is_some_and(|arch| runs(arch, self.arch));
        if !fits {
            return Err(UserlandError::WrongArch { path: host, is: elf.abi.to_string(), guest: self.arch });
        }
        // $ORIGIN of a program is its real directory, as the kernel reports it to the loader (/proc/self/exe).
        let main = Found { path: program.real.clone(), resolved: program.clone(), elf: Rc::clone(elf) };
        let closure = self.linker.closure(&Rc::new(main))?;
        if !closure.missing.is_empty() {
            return Err(UserlandError::MissingLibraries { program: program.real.clone(), missing: closure.missing });
        }
        self.libraries(&closure, out);
        for note in closure.notes {
            out.note(note);
        }
        if let Some(config) = &closure.config {
            let found = self.root.resolve(config)?;
            out.file(&found, Why::Config { by: program.real.clone() });
        }
        Ok(())
    }

    fn libraries(&mut self, closure: &Closure, out: &mut Gathered<'_>) {
        let real = |object: &Object| object.found.resolved.real.clone();
        let program = closure.objects.first().map(real).unwrap_or_default();
        for (index, object) in closure.objects.iter().enumerate().skip(1) {
            let by = object.loader.and_then(|loader| closure.objects.get(loader)).map_or_else(|| program.clone(), real);
            let name = object.name.clone();
            let why = if index == 1 && closure.has_interpreter {
                Why::Interpreter { of: by }
            } else if object.dlopen {
                Why::Dlopen { name, by }
            } else {
                Why::Library { name, by }
            };
            out.file(&object.found.resolved, why);
        }
        for object in closure.by_cache.iter().filter_map(|index| closure.objects.get(*index)) {
            if let Some(arch) = object.found.elf.abi.arch() {
                let path = object.found.path.to_absolute().into_os_string().into_encoded_bytes();
                self.cached.entry((object.name.as_bytes().to_vec(), path, arch)).or_insert_with(|| program.clone());
            }
        }
    }

    fn script(
        &mut self,
        script: &ArchivePath,
        line: &Script,
        first: &ArchivePath,
        depth: usize,
        out: &mut Gathered<'_>,
    ) -> Result<(), UserlandError> {
        if !line.interpreter.as_bytes().starts_with(b"/") {
            let why = "the #! line has a relative interpreter path";
            return Err(UserlandError::NotAProgram { path: self.root.host_path(script), why });
        }
        let interpreter = ArchivePath::new(&line.interpreter);
        let why = Why::Interpreter { of: script.clone() };
        let is_sh = ["bin/sh", "usr/bin/sh"].iter().any(|sh| interpreter.as_bytes() == sh.as_bytes());
        if is_sh && self.busybox.is_some_and(|busybox| busybox.has(interpreter.file_name())) {
            self.shell(script, &interpreter, out);
        } else if self.root.find(&interpreter).is_some() {
            self.include(&interpreter, why.clone(), first, depth + 1, out)?;
        } else {
            self.applet(script, &interpreter, out)?;
        }
        let Some(program) = line.env_program() else {
            return Ok(());
        };
        if program.as_bytes().contains(&b'/') {
            return self.include(&ArchivePath::new(&program), why, first, depth + 1, out);
        }
        match self.locate(&program) {
            Ok(Located::File(path)) => {
                // Scripts may start each other in a loop through env; each of them is included once.
                self.include(&path, why, first, 0, out)?;
                self.on_path(&path, out);
                Ok(())
            }
            Ok(Located::Applet) => Ok(()),
            Err(_) => Err(UserlandError::NoInterpreter {
                name: program,
                script: script.clone(),
                tried: self.path.tried(),
                no_applet: self.busybox.is_some(),
            }),
        }
    }

    /// Adds a link if the guest's PATH does not lead to the program.
    fn on_path(&self, path: &ArchivePath, out: &mut Gathered<'_>) {
        if !self.path.in_guest(path) {
            let dir = ArchivePath::new("/usr/bin");
            let dir = self.root.find(&dir).map_or(dir, |found| found.real);
            let target = path.to_absolute().into_os_string().into_encoded_bytes();
            out.add(dir.join(path.file_name()), Node::Symlink { target }, Why::OnPath { program: path.clone() });
        }
    }

    /// Uses busybox for `#!/bin/sh`.
    fn shell(&self, script: &ArchivePath, interpreter: &ArchivePath, out: &mut Gathered<'_>) {
        if let Some(busybox) = self.busybox {
            busybox.link(self.root, interpreter, out);
        }
        let real = self.root.find(interpreter).map(|found| found.real);
        if real.is_some_and(|real| real.file_name() == "bash") {
            out.note(format!(
                "{script} runs in busybox sh, but {interpreter} is bash here (for bash: --with bash and #!/bin/bash)"
            ));
        }
    }

    fn applet(
        &self,
        script: &ArchivePath,
        interpreter: &ArchivePath,
        out: &mut Gathered<'_>,
    ) -> Result<(), UserlandError> {
        match self.busybox {
            Some(busybox) if busybox.has(interpreter.file_name()) => {
                busybox.link(self.root, interpreter, out);
                Ok(())
            }
            busybox => Err(UserlandError::NoInterpreter {
                name: interpreter.to_absolute().into_os_string(),
                script: script.clone(),
                tried: Vec::new(),
                no_applet: busybox.is_some(),
            }),
        }
    }

    /// Notes a script of a version manager such as pyenv. In its directory of shims, each program is a script that
    /// starts the real one through the manager.
    fn note_shim(&self, program: &Resolved, out: &mut Gathered<'_>) -> Result<(), UserlandError> {
        let directory = program.real.parent().filter(|parent| parent.file_name() == "shims");
        let (Some(directory), Binary::Script(_)) = (directory, self.binaries.get(&program.real)?) else {
            return Ok(());
        };
        let above = directory.parent().unwrap_or_default();
        let manager = above.file_name().to_string_lossy().trim_start_matches('.').to_owned();
        let (path, name) = (&program.real, program.real.file_name().display());
        out.note(format!(
            "{path} is a shim, a script that starts the real {name} through {manager}, which is not in the image; \
             pass the real one: \"$({manager} which {name})\""
        ));
        Ok(())
    }

    /// Notes the loss of file capabilities: newc carries no extended attributes.
    fn note_capabilities(&self, program: &Resolved, out: &mut Gathered<'_>) {
        let mut value = [0; 64];
        let host = self.root.host_path(&program.real);
        if rustix::fs::getxattr(&host, "security.capability", &mut value).is_ok_and(|length| length > 0) {
            out.note(format!(
                "{} loses its file capabilities, which an initrd cannot store; root in the guest has all of them",
                program.real
            ));
        }
    }
}

/// Returns true if a guest of architecture `guest` runs programs for `program`: its own, and i386 on x86-64.
const fn runs(program: Arch, guest: Arch) -> bool {
    matches!((program, guest), (Arch::X86, Arch::X86_64)) || program as u8 == guest as u8
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use crate::arch::Arch;
    use crate::format::elf::tests::builder::ElfBuilder;
    use crate::root::directory::Root;
    use crate::root::spec::{InitrdSpec, RunWhat};
    use crate::root::userland;

    #[test]
    fn a_shim_of_a_version_manager_is_noted_with_the_way_to_the_real_program() {
        let scene = tempfile::tempdir().expect("a temporary directory");
        ElfBuilder::library(Arch::X86_64).write(&scene.path().join("bin/static"));
        let notes = |path: &str| {
            let file = scene.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(file.parent().expect("a parent")).expect("directories");
            fs::write(&file, "#!/bin/static\n").expect("a file");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a mode");
            let run = RunWhat::Command(vec![path.into()]);
            let spec = InitrdSpec { root: scene.path().to_owned(), busybox: false, run, ..InitrdSpec::default() };
            let root = Root::new(&spec.root).expect("a root");
            userland::resolve(&root, &spec, Arch::X86_64).expect("resolved").notes
        };
        assert_eq!(
            notes("/root/.pyenv/shims/python3"),
            [
                "/root/.pyenv/shims/python3 is a shim, a script that starts the real python3 through pyenv, which is not in \
              the image; pass the real one: \"$(pyenv which python3)\""
            ]
        );
        assert_eq!(notes("/opt/tools/python3"), [""; 0]);
    }
}
